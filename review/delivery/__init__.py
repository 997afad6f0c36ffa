"""Places that approved assets go to, one plug-in a file; importing the package makes its own plug-ins known."""

from review.delivery import folder, webhook  # noqa: F401
