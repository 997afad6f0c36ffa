"""The work of this app on the io lane, which its services register. Only workers import this module."""

from campaigns.services import imports, photo_loading, sources  # noqa: F401
