"""Set up, change and delete image feeds, renew their addresses, and record when their files are fetched."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Case, DateTimeField, F, Q, Value, When
from django.db.models.functions import Greatest
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.models import Campaign
from core import access
from core.access import Action
from core.errors import Invalid, Problem
from core.events import publish
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from review.events import ImageFeedAddressRenewed, ImageFeedDeleted, ImageFeedSaved
from review.image_feeds.base import LAYOUTS
from review.models import Destination, ImageFeed
from review.selectors import image_feeds as selectors
from review.selectors import usable_assets


@dataclass(frozen=True)
class FeedSettings:
    """All that people choose for an image feed; see the model."""

    name: str
    layout: str
    campaign: Campaign | None = None
    main_spec: str = ""
    additional_specs: Sequence[str] = ()
    id_attribute: str = ""
    destination: Destination | None = None
    takes_disclaimers: bool = False


@transaction.atomic
def create(*, brand: Brand, by: User, settings: FeedSettings) -> ImageFeed:
    """Create an image feed with a new address. Raises Invalid."""
    access.require(by, Action.EDIT_BRAND, brand)
    feed = ImageFeed(brand=brand)
    _assign(feed, vars(settings))
    feed.key = _new_key()
    feed.save()
    _publish_saved(feed, by)
    return feed


@transaction.atomic
def change(*, feed_id: int, by: User, is_enabled: bool | None = None, **settings: Any) -> ImageFeed:
    """Change the given values, named as in FeedSettings; its address stays the same but for the file's suffix."""
    feed = _lock(feed_id, by)
    if is_enabled is not None:
        feed.is_enabled = is_enabled
    _assign(feed, settings)
    feed.save()
    _publish_saved(feed, by)
    return feed


@transaction.atomic
def renew_address(*, feed_id: int, by: User) -> ImageFeed:
    """Give the feed a new address; the old one ends now. The addresses of its images stay."""
    feed = _lock(feed_id, by)
    feed.key = _new_key()
    feed.save(update_fields=["sealed_key"])
    publish(ImageFeedAddressRenewed.of(feed, name=feed.name), by=by)
    return feed


@transaction.atomic
def delete(*, feed_id: int, by: User) -> str:
    """Delete a feed and return its name. Its address ends; what receivers have fetched stays with them."""
    feed = _lock(feed_id, by)
    publish(ImageFeedDeleted.of(feed, name=feed.name, layout=feed.layout), by=by)
    feed.delete()
    return feed.name


def record_content(feed: ImageFeed, tag: str) -> datetime:
    """Record a request for the file, and return the time since which its content is this one.

    The time is later than that of another content by a second at least, because HTTP dates have no fractions.
    """
    now = timezone.now()
    later = Greatest(Value(now), F("content_changed_at") + timedelta(seconds=1))
    changed_at = Case(
        When(~Q(content_tag=tag) | Q(content_changed_at=None), then=later),
        default=F("content_changed_at"),
        output_field=DateTimeField(),
    )
    # The database reads the old values on the right of every assignment.
    ImageFeed.objects.filter(pk=feed.pk).update(fetched_at=now, content_changed_at=changed_at, content_tag=tag)
    feed.refresh_from_db(fields=["content_changed_at"])
    return feed.content_changed_at or now


def _lock(feed_id: int, by: User) -> ImageFeed:
    rows = ImageFeed.objects.visible_to(by).select_for_update(of=("self",))
    rows = rows.select_related("brand", "campaign", "destination")
    feed: ImageFeed = first_or_refuse(rows.filter(pk=feed_id), _("There is no image feed %(id)d.") % {"id": feed_id})
    access.require(by, Action.EDIT_BRAND, feed.brand)
    return feed


def _new_key() -> str:
    return secrets.token_urlsafe(24)


def _assign(feed: ImageFeed, settings: dict[str, Any]) -> None:
    """Set the values and check them with the others. Raises Invalid."""
    for name, value in settings.items():
        setattr(feed, name, value.strip() if isinstance(value, str) else value)
    feed.additional_specs = list(dict.fromkeys(feed.additional_specs))
    if problems := _find_problems(feed):
        sentences = " ".join(problem.message for problem in problems)
        raise Invalid(_("The image feed cannot be saved: %(why)s") % {"why": sentences}, problems)


def _find_problems(feed: ImageFeed) -> list[Problem]:
    problems = [] if feed.name else [Problem("name", _("Give it a name."))]
    if feed.layout not in LAYOUTS:
        message = _("There is no layout %(name)s; the layouts are %(known)s.")
        message %= {"name": feed.layout, "known": ", ".join(LAYOUTS.names())}
        problems.append(Problem("layout", message, feed.layout))
    if feed.campaign and feed.campaign.brand_id != feed.brand_id:
        problems.append(Problem("campaign", _("It is a campaign of another brand.")))
    if feed.destination and feed.destination.brand_id != feed.brand_id:
        problems.append(Problem("destination", _("It is a destination of another brand.")))
    if feed.additional_specs and not feed.main_spec:
        problems.append(Problem("main_spec", _("Choose the output of the main image too.")))
    for name, slugs in (("main_spec", [feed.main_spec]), ("additional_specs", feed.additional_specs)):
        problems += _find_unknown_specs(feed.brand, name, [slug for slug in slugs if slug])
    return problems


def _find_unknown_specs(brand: Brand, field: str, slugs: Collection[str]) -> list[Problem]:
    found, known = usable_assets.find_specs(brand.pk, slugs)
    message = _("No campaign has the output %(slug)s; there are %(known)s.")
    return [
        Problem(field, message % {"slug": slug, "known": ", ".join(known) or _("none")}, slug)
        for slug in slugs
        if slug not in found
    ]


def _publish_saved(feed: ImageFeed, by: User) -> None:
    publish(ImageFeedSaved.of(feed, **selectors.describe(feed)), by=by)
