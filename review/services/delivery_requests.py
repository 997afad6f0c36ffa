"""Requests of people for deliveries: retry, release, schedule, recall, restore, send again; for one or thousands.

Most functions take the chosen deliveries as a query, leave out those that they do not concern, and return how many they
changed. Their number of queries is the same for any number of deliveries. `retry` is for one and says why it refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone
from django.utils.translation import gettext as _

from core import access, clock
from core.access import Action
from core.choices import Lane
from core.errors import Conflict, Invalid, Problem
from core.events import publish
from core.models import Brand, User, is_free
from core.selectors.rows import first_or_refuse
from core.services import wake_ups
from generation.choices import AssetState
from generation.models import Asset
from review.choices import AbsenceCause, DesiredState, ObservedState
from review.events import DeliveryRequested
from review.models import Delivery, Destination

MAX_ALT_TEXT = 512


@transaction.atomic
def retry(*, delivery_id: int, by: User) -> Delivery:
    """Retry one delivery now and restart its backoff schedule; return it.

    Raises Conflict, with the reason, if its destination is disabled, if nothing is to do, if an attempt is running, or
    if it may not be published now.
    """
    rows = Delivery.objects.visible_to(by).select_for_update(of=("self",)).filter(pk=delivery_id)
    rows = rows.select_related("destination__brand")
    delivery: Delivery = first_or_refuse(rows, _("There is no delivery %(id)d.") % {"id": delivery_id})
    destination = delivery.destination
    access.require(by, Action.DELIVER, destination.brand)
    if not destination.is_enabled:
        sentence = _("%(name)s is switched off. %(reason)s Switch it on first.")
        raise Conflict(sentence % {"name": destination.name, "reason": destination.disabled_reason})
    if str(delivery.observed) == str(delivery.desired) and delivery.due_at is None:
        raise Conflict(_("It is where it should be; there is nothing to try."))
    if delivery.is_leased:
        raise Conflict(_("A try is under way at this moment."))
    if delivery.desired == DesiredState.PRESENT:
        _ensure_publishable(delivery)
    _request_retry(destination.brand, Delivery.objects.filter(pk=delivery.pk), by)
    delivery.refresh_from_db()
    return delivery


def _ensure_publishable(delivery: Delivery) -> None:
    """Raise Conflict if nobody has released it, or if its time has not come or is over."""
    now, brand = timezone.now(), delivery.destination.brand
    if not delivery.is_released:
        raise Conflict(_("A lead has to release it first."))
    if delivery.embargo_until and delivery.embargo_until > now:
        day = brand.local_date(delivery.embargo_until)
        raise Conflict(_("Its campaign starts on %(day)s; nothing is published before.") % {"day": day})
    if delivery.expires_at and delivery.expires_at <= now:
        raise Conflict(_("Its time is over since %(day)s.") % {"day": brand.local_date(delivery.expires_at)})
    if delivery.publish_at and delivery.publish_at > now:
        day = brand.local_date(delivery.publish_at)
        raise Conflict(_("It is scheduled for %(day)s; change its schedule to publish it earlier.") % {"day": day})


@transaction.atomic
def retry_many(*, brand: Brand, chosen: QuerySet[Delivery], by: User) -> int:
    """Retry those of the chosen deliveries that failed or are uncertain now; return how many."""
    access.require(by, Action.DELIVER, brand)
    is_allowed = Q(desired=DesiredState.ABSENT) | Q(is_released=True)
    troubled = (ObservedState.FAILED, ObservedState.UNCERTAIN)
    rows = chosen.filter(is_free(), is_allowed, observed__in=troubled, destination__is_enabled=True)
    return _request_retry(brand, rows, by)


def _request_retry(brand: Brand, chosen: QuerySet[Delivery], by: User) -> int:
    return _request(brand, chosen, by, "retried", error="")


@transaction.atomic
def release_many(*, brand: Brand, chosen: QuerySet[Delivery], by: User) -> int:
    """Release those of the chosen deliveries that wait for it, as a lead; return how many."""
    access.require(by, Action.EDIT_BRAND, brand)
    return _request(
        brand, chosen.filter(desired=DesiredState.PRESENT, is_released=False), by, "released", is_released=True
    )


@transaction.atomic
def schedule(*, brand: Brand, chosen: QuerySet[Delivery], by: User, at: datetime | None) -> int:
    """Publish those of the chosen deliveries that are not published yet at this time, or at once without a time."""
    access.require(by, Action.DELIVER, brand)
    if at is not None and at <= timezone.now():
        message = _("That time has passed; choose a later one.")
        raise Invalid(message, [Problem("publish_at", message)])
    unpublished = chosen.filter(desired=DesiredState.PRESENT).exclude(observed=ObservedState.PRESENT, due_at=None)
    return _request(brand, unpublished, by, "scheduled", publish_at=at)


@transaction.atomic
def recall(*, brand: Brand, chosen: QuerySet[Delivery], by: User) -> int:
    """Have the chosen deliveries taken down; their images stay approved."""
    access.require(by, Action.DELIVER, brand)
    return take_down(brand, chosen.filter(desired=DesiredState.PRESENT), by, "recalled", AbsenceCause.HAND)


@transaction.atomic
def restore(*, brand: Brand, chosen: QuerySet[Delivery], by: User) -> int:
    """Have the chosen deliveries taken down and what the destinations had before them put back."""
    access.require(by, Action.DELIVER, brand)
    rows = chosen.exclude(desired=DesiredState.ABSENT, observed=ObservedState.ABSENT, due_at=None)
    rows = rows.exclude(desired=DesiredState.ABSENT, is_restoring=True, error="")
    changes = {"is_restoring": True, "absence": AbsenceCause.HAND, "error": ""}
    return _request(brand, rows, by, "put back", desired=DesiredState.ABSENT, **changes)


@transaction.atomic
def send_again(*, brand: Brand, chosen: QuerySet[Delivery], by: User) -> int:
    """Send again what was recalled by hand, or is live, if it is the approved version; it is then verified again."""
    access.require(by, Action.DELIVER, brand)
    is_over = Q(desired=DesiredState.ABSENT) | Q(observed=ObservedState.PRESENT, due_at=None)
    rows = chosen.filter(is_over, asset__state=AssetState.APPROVED, version=F("asset__current_version"))
    rows = rows.exclude(expires_at__lte=timezone.now())
    changes = {"is_restoring": False, "absence": "", "error": ""}
    return _request(brand, rows, by, "sent again", desired=DesiredState.PRESENT, **changes)


def take_down(brand: Brand, chosen: QuerySet[Delivery], by: User | None, cause: str, absence: str) -> int:
    """Have these deliveries taken down, inside the caller's transaction and rights; return how many."""
    changes = {"is_restoring": False, "absence": absence, "error": ""}
    return _request(brand, chosen, by, cause, desired=DesiredState.ABSENT, **changes)


def bring_back(destination: Destination, chosen: QuerySet[Delivery], by: User | None, cause: str) -> int:
    """Have the approved versions published that were taken down, in the caller's transaction; return how many."""
    chosen.update(version=Subquery(Asset.objects.filter(pk=OuterRef("asset_id")).values("current_version")[:1]))
    is_released = not destination.needs_release
    changes = {"is_restoring": False, "absence": "", "error": "", "is_released": is_released}
    return _request(destination.brand, chosen, by, cause, desired=DesiredState.PRESENT, **changes)


def publish_requests(brand: Brand, made: Sequence[Delivery], by: User | None, cause: str) -> None:
    """Publish that these new deliveries are to happen. The destination of each is loaded."""
    publish(*_list_requests(brand, made, cause, {}), by=by, label="review")


@transaction.atomic
def set_alt_text(*, delivery_id: int, alt_text: str, by: User, is_everywhere: bool = False) -> int:
    """Set what is read to people who do not see the image, at one destination or at all; return how many changed."""
    rows = Delivery.objects.visible_to(by).filter(pk=delivery_id).select_related("destination__brand")
    delivery: Delivery = first_or_refuse(rows, _("There is no delivery %(id)d.") % {"id": delivery_id})
    brand = delivery.destination.brand
    access.require(by, Action.DELIVER, brand)
    if len(alt_text) > MAX_ALT_TEXT:
        message = _("Use at most %(most)d characters; these are %(count)d.")
        message %= {"most": MAX_ALT_TEXT, "count": len(alt_text)}
        raise Invalid(message, [Problem("alt_text", message)])
    rows = Delivery.objects.filter(asset_id=delivery.asset_id)
    rows = rows if is_everywhere else rows.filter(pk=delivery.pk)
    return _request(brand, rows.exclude(alt_text=alt_text), by, "alt text", alt_text=alt_text)


def _request(brand: Brand, chosen: QuerySet[Delivery], by: User | None, cause: str, **changes: Any) -> int:
    """Change the chosen deliveries of the brand, make them due, and publish an event for each; return how many.

    If desired state or content changes, an attempt that is running notices it when it ends. Otherwise the message to
    the destination stays the same one, so that a receiver which has it already can tell.
    """
    rows = chosen.order_by("pk").filter(destination__brand=brand).select_related(None).select_related("destination")
    rows = rows.select_for_update(of=("self",), no_key=True).only(
        "asset", "version", "desired", "destination", "destination__slug"
    )
    deliveries = list(rows)
    if not deliveries:
        return 0
    changed = Delivery.objects.filter(pk__in=[delivery.pk for delivery in deliveries])
    if "error" in changes:
        changes["needs"] = ""
    if changes.keys() & {"desired", "alt_text"}:
        changed.update(wish=F("wish") + 1)
    changed.update(changed_at=clock.now(), **changes)
    changed.make_due()
    publish(*_list_requests(brand, deliveries, cause, changes), by=by, label="review")
    wake_ups.wake(Lane.DELIVERY)
    return len(deliveries)


def _list_requests(
    brand: Brand, deliveries: Sequence[Delivery], cause: str, changes: dict[str, Any]
) -> Iterator[DeliveryRequested]:
    values: dict[str, Any] = {name: changes[name] for name in ("alt_text", "publish_at") if name in changes}
    if at := values.get("publish_at"):
        values["publish_at"] = at.isoformat()
    for delivery in deliveries:
        payload: dict[str, Any] = {
            "delivery": delivery.pk,
            "destination": delivery.destination.slug,
            "desired": str(changes.get("desired", delivery.desired)),
            "version": delivery.version_id,
            "cause": cause,
            **values,
        }
        yield DeliveryRequested(brand_id=brand.pk, object_id=delivery.asset_id, payload=payload)
