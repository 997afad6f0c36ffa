"""Findings about the history of an image: the code that knows the history calls these. The pixels are not inspected."""

from __future__ import annotations

from typing import Final

from generation.checks.base import CheckResult

NEAR_DUPLICATE: Final = "near_duplicate"
MADE_BY_ANOTHER: Final = "made_by_another"


def near_duplicate(subject: str, distance: int) -> CheckResult:
    """Return the finding that an image looks the same as one of another subject. distance: differing bits of 256."""
    message = f"Looks the same as the image of {subject}; do the two share one photo?"
    return CheckResult(NEAR_DUPLICATE, "flag", message, float(distance))


def rejected_before() -> CheckResult:
    """Return the finding that an image is not new, and that a person rejected it."""
    return CheckResult("rejected_before", "flag", "This very image was made before and rejected.")


def made_by_another(planned: str, actual: str) -> CheckResult:
    """Return the finding that a service made an image with another version of its model than was planned."""
    return CheckResult(MADE_BY_ANOTHER, "flag", f"It was planned for {planned}; the service made it with {actual}.")
