"""Read image feeds: those of a brand, one by its page or its address, and what people can choose for them."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from campaigns.models import Campaign, OutputSpec
from core import encryption
from core.access import Action
from core.errors import Conflict, NotFound
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from review.image_feeds.base import LAYOUTS
from review.models import Destination, ImageFeed


@dataclass(frozen=True)
class SpecChoice:
    """One output spec by name, as the campaigns of a brand have it. sizes: "1600 × 1600 px", each once."""

    slug: str
    sizes: str


def list_feeds(user: User, brand: Brand) -> QuerySet[ImageFeed]:
    """Return the brand's image feeds, for those who may deliver."""
    rows = ImageFeed.objects.allowed_to(user, Action.DELIVER).filter(brand=brand)
    return rows.select_related("brand", "campaign", "destination")


def get_feed(user: User, brand: Brand, pk: int) -> ImageFeed:
    """Return one image feed of the brand. Raises NotFound."""
    return first_or_refuse(list_feeds(user, brand).filter(pk=pk), _("There is no image feed %(id)d.") % {"id": pk})


def get_by_address(pk: int, key: str) -> ImageFeed:
    """Return the feed of an address. Raises NotFound, with the same sentence whatever is wrong with the address."""
    feed = ImageFeed.objects.filter(pk=pk).select_related("brand", "campaign", "destination").first()
    try:
        is_ours = feed is not None and hmac.compare_digest(feed.key.encode(), key.encode())
    except encryption.Unreadable:
        is_ours = False
    if feed is None or not is_ours or not feed.is_enabled or feed.layout not in LAYOUTS:
        raise NotFound(_("There is no feed at this address. Ask for its present address."))
    return feed


def address_of(feed: ImageFeed) -> str:
    """Return the address at which the file can be fetched without a login. Raises Conflict if it cannot be read."""
    suffix = LAYOUTS.get(feed.layout).suffix if feed.layout in LAYOUTS else "txt"
    try:
        key = feed.key
    except encryption.Unreadable:
        message = _("The address cannot be read with the keys of this installation. Renew it.")
        raise Conflict(message) from None
    return f"{settings.SITE_URL.rstrip('/')}/feeds/{feed.pk}/images.{suffix}?key={key}"


def layout_label(feed: ImageFeed) -> str:
    return LAYOUTS.get(feed.layout).label if feed.layout in LAYOUTS else feed.layout


def list_spec_choices(brand: Brand) -> list[SpecChoice]:
    """Return the output specs of the brand's campaigns, each name once, in the order of the alphabet."""
    specs = OutputSpec.objects.filter(campaign__brand=brand, campaign__is_sandbox=False).order_by("slug", "width")
    sizes: dict[str, dict[str, None]] = {}
    for slug, width, height in specs.values_list("slug", "width", "height"):
        sizes.setdefault(slug, {})[f"{width} × {height} px"] = None
    return [SpecChoice(slug, ", ".join(texts)) for slug, texts in sizes.items()]


def list_campaigns(brand: Brand) -> QuerySet[Campaign]:
    return Campaign.objects.filter(brand=brand, is_sandbox=False)


def list_destinations(brand: Brand) -> QuerySet[Destination]:
    return Destination.objects.filter(brand=brand)


def describe(feed: ImageFeed) -> dict[str, Any]:
    """Return the settings of a feed as events tell them."""
    return {
        "name": feed.name,
        "layout": feed.layout,
        "campaign": feed.campaign.slug if feed.campaign else None,
        "main_spec": feed.main_spec,
        "additional_specs": feed.additional_specs,
        "id_attribute": feed.id_attribute,
        "destination": feed.destination.slug if feed.destination else None,
        "takes_disclaimers": feed.takes_disclaimers,
        "is_enabled": feed.is_enabled,
    }
