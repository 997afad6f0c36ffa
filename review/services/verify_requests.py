"""Requests to verify an image: a few at once, and so many a minute for each person."""

from __future__ import annotations

from typing import Final

from django.core.files import File
from django.utils.translation import ngettext

from core import rate_limits
from core.errors import TooManyRequests
from core.models import User
from review.selectors import found_images
from review.selectors.found_images import Examination
from review.services import signing, web_slots

MOST: Final = 60
SECONDS: Final = 60
"""A person may send MOST images within SECONDS."""


def verify(file: File[bytes], *, user: User) -> Examination:
    """Return what the file shows. Raises TooManyRequests, Invalid for a file that cannot be opened, and Busy."""
    _count(user)
    with web_slots.slot():
        return found_images.examine(file.read(), user=user, anchors=signing.get_anchors())


def _count(user: User) -> None:
    wait = rate_limits.count_request("verify", user.pk, most=MOST, seconds=SECONDS)
    if wait:
        sentence = ngettext(
            "You have verified %(most)d images within a minute, which is the most. Try again in %(count)d second.",
            "You have verified %(most)d images within a minute, which is the most. Try again in %(count)d seconds.",
            wait,
        )
        raise TooManyRequests(sentence % {"most": MOST, "count": wait}, retry_after_seconds=wait)
