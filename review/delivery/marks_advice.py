"""What becomes of a file's marks of origin at a kind of destination, and what a person can do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MarksAdvice:
    """Advice for people whose destination removes marks. cause: where marks are lost there. remedy: what to do.

    Both are whole sentences in English, and are shown translated.
    """

    cause: str
    remedy: str


SAVED_AGAIN = MarksAdvice(
    "The file is delivered with its marks. Something between it and its readers saves the images again, such as an"
    " image optimizer or a CDN.",
    "Have it serve the files as they are, or keep metadata: Cloudflare has the switch “Preserve Content Credentials”,"
    " Fastly the parameter “metadata=c2pa”.",
)
"""The advice of kinds that keep files byte for byte, or of which nothing is known."""
