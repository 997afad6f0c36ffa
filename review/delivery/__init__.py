"""Destination plug-ins, one per module. Importing this package registers them."""

from review.delivery import folder, webhook  # noqa: F401
