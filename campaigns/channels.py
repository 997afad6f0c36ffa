"""Presets of well-known channels, which become output specs with one click. Plain data.

`rule` says which numbers the channel demands; the others are our advice. Every field of a spec can be changed later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise

    from campaigns.services.campaigns import SpecInput

MB: Final = 1_000_000
GOOGLE_MIN_SIDE: Final = 500
"""Pixels per side that Google Merchant requires of every product image from 31 January 2027 on."""
GOOGLE_ADVISED_SIDE: Final = 1500
_GOOGLE: Final = ("google", "merchant", "shopping")


@dataclass(frozen=True)
class Preset:
    """One output of one channel. rule: a sentence that says where its numbers come from."""

    slug: str
    channel: str
    label: str | StrPromise
    width: int
    height: int
    image_format: str
    max_bytes: int
    asset_type: str
    rule: str | StrPromise
    background: str = ""

    @property
    def is_wide(self) -> bool:
        return self.width > self.height

    @property
    def byte_limit(self) -> str:
        """Return the byte limit as channels write it: "8 MB", "300 KB"."""
        return f"{self.max_bytes / MB:g} MB" if self.max_bytes >= MB else f"{self.max_bytes / 1000:g} KB"


PRESETS: Final = (
    Preset(
        "shopify", "Shopify", _("Shop square"), 2048, 2048, "jpeg", 20 * MB, "packshot",
        _("Shopify takes up to 4472 × 4472 px and 20 MB and asks for 2048 × 2048 so that zoom works."),
    ),
    Preset(
        "google-merchant", "Google Merchant", _("Product feed"), 1500, 1500, "jpeg", 16 * MB, "packshot",
        _("Google advises 1500 × 1500 px and takes 16 MB; from 31 January 2027 it refuses less than 500 × 500."),
        background="#ffffff",
    ),
    Preset(
        "instagram", "Instagram", _("Post 4:5"), 1080, 1350, "jpeg", 8 * MB, "social",
        _("The tallest post that is shown uncut; JPEG up to 8 MB."),
    ),
    Preset(
        "story", "Stories", _("Story 9:16"), 1080, 1920, "jpeg", 8 * MB, "social",
        _("Fills a phone; keep words out of the top and bottom 250 px, where the app draws its own."),
    ),
    Preset(
        "blog-header", "Blog", _("Header 1200 × 630"), 1200, 630, "jpeg", 300_000, "header",
        _("The shape that link previews show uncut; 300 KB is our advice for fast pages."),
    ),
    Preset(
        "amazon-main", "Amazon", _("Main image"), 2000, 2000, "jpeg", 10 * MB, "packshot",
        _("Amazon wants pure white behind the product and at least 1600 px for zoom; 10 MB at most."),
        background="#ffffff",
    ),
    Preset(
        "marketplace-thumb", "Marketplaces", _("Thumbnail"), 500, 500, "webp", 60_000, "thumbnail",
        _("500 px is the least that Google takes from 2027 on; 60 KB is our advice for lists of many."),
    ),
)  # fmt: skip


def size_remarks(specs: Iterable[SpecInput], *, channel: str = "") -> dict[str, str]:
    """Return spec slug -> remark about its size, for specs with an unsuitable size for Google.

    A spec is for Google if its slug or the campaign's channel says so.
    """
    is_google = any(word in channel.lower() for word in _GOOGLE)
    remarks = {}
    for spec in specs:
        if not is_google and not any(word in spec.slug for word in _GOOGLE):
            continue
        if min(spec.width, spec.height) < GOOGLE_MIN_SIDE:
            remarks[spec.slug] = gettext("Google Merchant refuses less than 500 × 500 px from 31 January 2027 on.")
        elif min(spec.width, spec.height) < GOOGLE_ADVISED_SIDE:
            remarks[spec.slug] = gettext("Google Merchant advises 1500 × 1500 px or more.")
    return remarks
