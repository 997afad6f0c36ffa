"""Read a brand's deliveries, say their states in words, and say which assets are live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from django.db.models import Case, CharField, Count, F, Max, Q, QuerySet, Value, When
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_lazy as _

from campaigns.models import Campaign
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation.choices import AssetState
from generation.models import Asset, AssetVersion
from generation.selectors import coverage
from review.choices import DesiredState, ObservedState
from review.delivery import base
from review.delivery.marks_advice import MarksAdvice
from review.models import Delivery, Destination
from review.selectors import kept_marks
from review.selectors.kept_marks import MarksSummary

PAGE_SIZE = 50
MAX_CAMPAIGNS = 200

#: The states of deliveries in words, those that need a person first.
STATE_LABELS = {
    "failed": _("failed"),
    "uncertain": _("uncertain"),
    "wrong": _("live, but served differently"),
    "held": _("to release"),
    "scheduled": _("scheduled"),
    "waiting": _("queued"),
    "sending": _("being sent"),
    "removing": _("being removed"),
    "present": _("live"),
    "absent": _("not there"),
}
TONES = {
    "failed": "bad",
    "uncertain": "warn",
    "wrong": "bad",
    "held": "warn",
    "scheduled": "info",
    "waiting": "info",
    "sending": "info",
    "removing": "info",
    "present": "good",
    "absent": "",
}
_TROUBLED = (ObservedState.FAILED, ObservedState.UNCERTAIN)
#: In these states a delivery changes by itself, so its page is read again.
MOVING = ("waiting", "sending", "removing")
#: What is served, compared with the file that was sent; the worst first.
OUTCOMES = ("different", "missing", "unknown", "alike", "same")


@dataclass(frozen=True)
class Filters:
    """The filters of the page; empty means all. destination, campaign: slugs. text: in the product's key or name."""

    state: str = ""
    destination: str = ""
    campaign: str = ""
    text: str = ""

    def as_query(self, **changes: str) -> str:
        names = {"state": self.state, "destination": self.destination, "campaign": self.campaign, "q": self.text}
        return urlencode({name: value for name, value in (names | changes).items() if value})


@dataclass(frozen=True)
class AssetDeliveries:
    """One asset of the page with its deliveries that match, by destination."""

    asset: Asset
    version: AssetVersion
    deliveries: Sequence[Delivery]


@dataclass
class DestinationSummary:
    """A destination with its number of deliveries by state, and the time of the last one that succeeded.

    marks: of the last files that it serves. advice: what to do about lost marks; None if none are lost.
    """

    destination: Destination
    kind_label: str
    counts: dict[str, int] = field(default_factory=dict)
    last_at: datetime | None = None
    marks: MarksSummary = field(default_factory=MarksSummary)
    advice: MarksAdvice | None = None

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def labelled_counts(self) -> list[tuple[str, str, str, int]]:
        """Return (state, its label, its tone, count) of the states that occur."""
        return [
            (state, str(label), TONES[state], self.counts[state])
            for state, label in STATE_LABELS.items()
            if state in self.counts
        ]


def with_state(rows: QuerySet[Delivery]) -> QuerySet[Any]:
    """Add `state`, one of STATE_LABELS, to each delivery."""
    is_wanted = Q(desired=DesiredState.PRESENT)
    is_wrong = Q(verification__contains=[{"outcome": "different"}]) | Q(verification__contains=[{"outcome": "missing"}])
    is_later = Q(publish_at__gt=timezone.now()) | Q(embargo_until__gt=timezone.now())
    cases = [
        When(observed=ObservedState.SENDING, then=Value("sending")),
        When(observed=ObservedState.REMOVING, then=Value("removing")),
        When(is_wanted & Q(is_released=False), then=Value("held")),
        When(is_wanted & is_later & Q(due_at__isnull=False), then=Value("scheduled")),
        # A failure whose cause was cleared is tried again.
        When(Q(due_at__isnull=False) & (~Q(observed__in=_TROUBLED) | Q(error="")), then=Value("waiting")),
        When(observed__in=_TROUBLED, then=F("observed")),
        When(is_wanted & Q(observed=ObservedState.PRESENT) & is_wrong, then=Value("wrong")),
        When(is_wanted & Q(observed=ObservedState.PRESENT), then=Value("present")),
    ]
    return rows.annotate(state=Case(*cases, default=Value("absent"), output_field=CharField()))


def matching_deliveries(user: User, brand: Brand, filters: Filters) -> QuerySet[Any]:
    """Return the deliveries that match, each with its state, unordered."""
    rows = with_state(Delivery.objects.visible_to(user).filter(destination__brand=brand).order_by())
    if filters.state in STATE_LABELS:
        rows = rows.filter(state=filters.state)
    if filters.destination:
        rows = rows.filter(destination__slug=filters.destination)
    if filters.campaign:
        rows = rows.filter(asset__campaign__slug=filters.campaign)
    for term in filters.text.split():
        rows = rows.filter(Q(asset__subject__key__icontains=term) | Q(asset__subject__name__icontains=term))
    return rows


def chosen_deliveries(user: User, brand: Brand, ids: Sequence[int]) -> QuerySet[Delivery]:
    rows: QuerySet[Delivery] = Delivery.objects.visible_to(user).filter(destination__brand=brand, pk__in=ids)
    return rows


def page(
    user: User, brand: Brand, filters: Filters, *, before: int | None = None
) -> tuple[list[AssetDeliveries], int | None]:
    """Return the next assets below id `before` with their deliveries that match, and the next `before`. Two queries."""
    rows = matching_deliveries(user, brand, filters)
    ids = rows.filter(asset_id__lt=before) if before else rows
    shown = list(ids.order_by("-asset_id").values_list("asset_id", flat=True).distinct()[: PAGE_SIZE + 1])
    deliveries = with_details(rows.filter(asset_id__in=shown[:PAGE_SIZE])).order_by("-asset_id", "destination__slug")
    assets = []
    for _asset_id, group in groupby(deliveries, key=lambda delivery: delivery.asset_id):
        of_asset = list(group)
        assets.append(AssetDeliveries(of_asset[0].asset, of_asset[0].version, of_asset))
    return assets, shown[PAGE_SIZE - 1] if len(shown) > PAGE_SIZE else None


def changed_since(
    user: User, brand: Brand, filters: Filters, since: datetime, first: int, last: int
) -> QuerySet[Delivery]:
    """Return the deliveries of the assets with these ids, or between them, that changed since then. One query.

    Their state is not filtered: a row of the page that left its state is among them.
    """
    rows = matching_deliveries(user, brand, replace(filters, state=""))
    return with_details(rows.filter(asset_id__lte=first, asset_id__gte=last, changed_at__gte=since))


def with_details(rows: QuerySet[Delivery]) -> QuerySet[Delivery]:
    return rows.select_related(
        "asset__subject", "asset__campaign", "destination__brand", "version__master", "version__job__endpoint"
    )


def get(user: User, brand: Brand, delivery_id: int) -> Delivery:
    """Return one delivery with its state and attempts. Raises NotFound."""
    rows = with_details(with_state(Delivery.objects.visible_to(user).filter(destination__brand=brand)))
    rows = rows.filter(pk=delivery_id).prefetch_related("attempt_rows")
    delivery: Delivery = first_or_refuse(rows, _("There is no delivery %(id)d.") % {"id": delivery_id})
    return delivery


def find_mend(delivery: Delivery) -> str:
    """Return what mends a delivery: "open" (the destination), "product", "retry", "release", "send", or "".

    The delivery has its state and its destination.
    """
    state = delivery.state  # type: ignore[attr-defined]
    if state not in {"absent", "present"} and not delivery.destination.is_enabled:
        return "open"
    if state in {"failed", "uncertain"}:
        if delivery.needs == base.Need.RULES:
            return "open"
        return "product" if delivery.needs == base.Need.PRODUCT and product_label(delivery.destination) else "retry"
    return {"held": "release", "wrong": "send"}.get(state, "")


def product_label(destination: Destination) -> str:
    """Return the label of the setting with the products that people chose by hand; "" if the kind has none."""
    plugin = find_plugin(destination)
    return plugin.config.settings()[plugin.product_setting].label if plugin and plugin.product_setting else ""


def find_plugin(destination: Destination) -> type[base.Destination] | None:
    """Return the kind of a destination; None if no plug-in has that name any more."""
    return base.DESTINATIONS.get(destination.kind) if destination.kind in base.DESTINATIONS else None


def worst_outcome(delivery: Delivery) -> str:
    """Return the worst outcome of the verification of the delivery's files; "" if there was none."""
    outcomes = {entry.get("outcome", "") for entry in delivery.verification}
    return next((outcome for outcome in OUTCOMES if outcome in outcomes), "")


def destinations(user: User, brand: Brand) -> QuerySet[Destination]:
    rows: QuerySet[Destination] = Destination.objects.visible_to(user).filter(brand=brand)
    return rows


def get_destination(user: User, brand: Brand, pk: int) -> Destination:
    """Return one destination of the brand. Raises NotFound."""
    rows = destinations(user, brand).select_related("brand").filter(pk=pk)
    return first_or_refuse(rows, _("There is no destination %(id)d.") % {"id": pk})


def summarize_destinations(rows: QuerySet[Destination]) -> list[DestinationSummary]:
    """Return the destinations with their counts. Three queries."""
    summaries = {
        destination.pk: DestinationSummary(destination, kind_label(destination.kind))
        for destination in rows.order_by("name", "pk")
    }
    for pk, marks in kept_marks.summarize(summaries, last=kept_marks.LAST_FILES).items():
        summaries[pk].marks = marks
        summaries[pk].advice = kept_marks.find_advice(summaries[pk].destination.kind) if marks.damaged else None
    deliveries = with_state(Delivery.objects.filter(destination__in=summaries).order_by())
    totals = deliveries.values_list("destination", "state").annotate(count=Count("pk"), last=Max("verified_at"))
    for pk, state, count, last_at in totals:
        summary = summaries[pk]
        summary.counts[state] = count
        summary.last_at = max(filter(None, (summary.last_at, last_at)), default=None)
    return list(summaries.values())


def kind_label(kind: str) -> str:
    return translate(base.DESTINATIONS.get(kind).label) if kind in base.DESTINATIONS else kind


def next_deliveries(destination: Destination, limit: int) -> list[Delivery]:
    """Return deliveries of approved images: those that wait, then those that are live, then some that are not stored.

    The last ones are of images that the destination was never to have.
    """
    related = ("brand", "campaign", "subject", "current_version__master")
    is_live = Q(observed=ObservedState.PRESENT, due_at=None)
    rows = Delivery.objects.filter(destination=destination, desired=DesiredState.PRESENT)
    rows = rows.filter(asset__state=AssetState.APPROVED).annotate(is_done=Case(When(is_live, then=1), default=0))
    rows = rows.select_related(*(f"asset__{name}" for name in related), "destination").order_by("is_done", "-pk")
    stored = list(rows[:limit])
    assets = Asset.objects.filter(brand_id=destination.brand_id, state=AssetState.APPROVED, is_sandbox=False)
    assets = assets.exclude(deliveries__destination=destination).exclude(current_version=None)
    others = assets.select_related(*related).order_by("-pk")[: limit - len(stored)]
    return stored + [Delivery(asset=row, destination=destination, version=row.current_version) for row in others]


def campaigns(user: User, brand: Brand) -> list[tuple[str, str]]:
    """Return (slug, name) of the campaigns that have deliveries, the newest first."""
    delivered = Delivery.objects.filter(destination__brand=brand).order_by().values("asset__campaign")
    rows = Campaign.objects.visible_to(user).filter(brand=brand, pk__in=delivered).order_by("-pk")
    return list(rows.values_list("slug", "name")[:MAX_CAMPAIGNS])


def count_by_state(user: User, brand: Brand, filters: Filters | None = None) -> list[tuple[str, str, int]]:
    """Return (state, its label, count) of the deliveries that match the filters but for their state. One query."""
    filters = filters or Filters()
    others = Filters(destination=filters.destination, campaign=filters.campaign, text=filters.text)
    rows = matching_deliveries(user, brand, others)
    totals: dict[str, int] = dict(rows.values_list("state").annotate(count=Count("pk")))
    return [(state, str(label), totals[state]) for state, label in STATE_LABELS.items() if state in totals]


@coverage.register_live_query
def delivered_asset_ids(campaign_id: int) -> QuerySet[Any]:
    """Return the ids of the campaign's assets whose current version is desired and present at a destination."""
    present = Delivery.objects.filter(
        asset__campaign_id=campaign_id, desired=DesiredState.PRESENT, observed=ObservedState.PRESENT
    )
    return present.filter(version=F("asset__current_version")).values("asset_id")
