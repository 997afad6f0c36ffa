"""Read what a brand's settings and deliveries say about the rules for AI-made images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone

from campaigns.models import OutputSpec
from core.models import Brand, User
from generation.models import Endpoint
from review.delivery.rules import Rules
from review.image_feeds.google_merchant import LIMITS as GOOGLE_LIMITS
from review.models import Destination, ImageFeed
from review.selectors import kept_marks
from review.selectors.kept_marks import MarksSummary

DAYS: Final = 30
MOST_FILES: Final = 2000
"""The most files of a destination that are counted, the newest: 20 destinations with so many take about 0.1 s."""
GOOGLE_FEED: Final = "google_merchant"


@dataclass(frozen=True)
class DestinationFacts:
    """A destination, the marks of the files that it got in the last DAYS days, and the disclaimers that may go there.

    has_rules: whether its rules choose among images.
    """

    destination: Destination
    marks: MarksSummary
    disclaimers: Sequence[str]
    has_rules: bool

    @property
    def is_cut(self) -> bool:
        """Return whether there may be more files than were counted."""
        return self.marks.checked + self.marks.unknown >= MOST_FILES


@dataclass(frozen=True)
class BrandFacts:
    """What the rules are about in a brand. endpoints: those with a disclaimer. small_specs: below Google's limit."""

    destinations: Sequence[DestinationFacts]
    endpoints: Sequence[Endpoint]
    feeds: Sequence[ImageFeed]
    small_specs: Sequence[OutputSpec]

    @property
    def google_feeds(self) -> list[ImageFeed]:
        return [feed for feed in self.feeds if feed.layout == GOOGLE_FEED]


def read_facts(user: User, brand: Brand) -> BrandFacts:
    """Return the facts of a brand that the user may see. Five queries."""
    endpoints = list(Endpoint.objects.filter(Q(brand=brand) | Q(brand=None)).exclude(disclaimer="").order_by("name"))
    feeds = ImageFeed.objects.visible_to(user).filter(brand=brand, is_enabled=True)
    least = GOOGLE_LIMITS.least_side
    specs = OutputSpec.objects.visible_to(user).filter(Q(width__lt=least) | Q(height__lt=least), campaign__brand=brand)
    return BrandFacts(
        destinations=_read_destinations(user, brand, sorted({endpoint.disclaimer for endpoint in endpoints})),
        endpoints=endpoints,
        feeds=list(feeds.select_related("destination").order_by("name")),
        small_specs=list(specs.filter(campaign__is_sandbox=False).select_related("campaign").order_by("-campaign_id")),
    )


def _read_destinations(user: User, brand: Brand, disclaimers: Sequence[str]) -> list[DestinationFacts]:
    found = list(Destination.objects.visible_to(user).filter(brand=brand).order_by("name", "pk"))
    since = timezone.now() - timedelta(days=DAYS)
    summaries = kept_marks.summarize([destination.pk for destination in found], since=since, last=MOST_FILES)
    facts = []
    for destination in found:
        rules = Rules.read(destination.rules)
        taken = [words for words in disclaimers if not rules.keeps_away(words)]
        facts.append(DestinationFacts(destination, summaries[destination.pk], taken, bool(rules.rules)))
    return facts
