"""Deliver approved assets to destinations (plug-ins) and withdraw them: desired state, claims, attempts, results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import structlog
from django.db import transaction
from django.db.models import F, Max, Q
from django.utils import timezone

from core import clock
from core.choices import Lane
from core.events import DomainEvent, publish
from core.models import User
from core.services import leases, wake_ups
from generation.models import Asset, AssetVersion
from review.choices import DesiredState, ObservedState
from review.delivery.base import DeliveryError, Package, Receipt
from review.events import AssetRecalled, DeliveryCompleted, DeliveryFailed, DeliveryRequested
from review.models import Delivery, DeliveryAttempt, DeliveryQuerySet, Destination
from review.selectors import delivery_rules
from review.services import delivery_dates, destinations, packages
from review.services.delivery_sessions import POLICY, open_session
from review.services.destination_answers import hide_secret_of, tidy, tidy_error, tidy_receipt
from review.services.verification import compare_delivered, describe_leftovers, find_leftovers
from review.states import DELIVERY

log = structlog.get_logger(__name__)

CUT_OFF = "The worker was cut off before it said how it went."
OVERTAKEN = "The worker stood still, and another one took the delivery over; what it left is looked at once more."


def deliver_everywhere(*, asset: Asset, version: AssetVersion, cause: str) -> int:
    """Set the version as desired at every enabled destination of its brand whose rules send it; return at how many.

    What the rules no longer send stays where it is until a person has it recalled. The caller holds the asset's lock.
    """
    enabled = Destination.objects.filter(brand_id=asset.brand_id, is_enabled=True).select_related("brand")
    receivers = [destination for destination in enabled if delivery_rules.sends_version(destination, version)]
    changed = []
    for destination in receivers:
        delivery, is_new = Delivery.objects.get_or_create(
            asset=asset,
            destination=destination,
            defaults={
                "version": version,
                "desired": DesiredState.PRESENT,
                "is_released": not destination.needs_release,
                "due_at": None if destination.needs_release else timezone.now(),
            },
        )
        if not is_new:
            if delivery.desired == DesiredState.PRESENT and delivery.version_id == version.pk:
                continue
            _set_desired(delivery, DesiredState.PRESENT, version)
        changed.append(delivery.pk)
        _publish_desired(delivery, DesiredState.PRESENT, version, cause, None)
    if changed:
        delivery_dates.refresh(receivers[0].brand, delivery_ids=changed)
        wake_ups.wake(Lane.DELIVERY)
    return len(receivers)


def withdraw_everywhere(*, asset: Asset, by: User | None, cause: str) -> int:
    """Set the asset as absent wherever it is or is expected, and publish the recall. The caller holds its lock."""
    deliveries = list(Delivery.objects.filter(asset=asset, desired=DesiredState.PRESENT).select_related("destination"))
    for delivery in deliveries:
        _set_desired(delivery, DesiredState.ABSENT, delivery.version)
        _publish_desired(delivery, DesiredState.ABSENT, delivery.version, cause, by)
    payload = {"version": asset.current_version_id, "sku": asset.subject.key, "cause": cause}
    publish(AssetRecalled.of(asset, **payload), by=by, label="review")
    if deliveries:
        wake_ups.wake(Lane.DELIVERY)
    return len(deliveries)


def has_due() -> bool:
    return leases.due(_deliverable()).exists()


def attempt_due(limit: int = 50) -> int:
    """Try up to `limit` deliveries that are due, one after the other; return how many were tried.

    Several workers may call this at once: each delivery is claimed by one worker. No transaction is open during a
    request to a destination.
    """
    done = 0
    while done < limit and (claimed := _claim()):
        _attempt(*claimed)
        done += 1
    return done


def _deliverable() -> DeliveryQuerySet:
    """Return what may be tried: nothing is published while its embargo lasts, nor after it has expired."""
    now = timezone.now()
    is_untimely = Q(embargo_until__gt=now) | Q(expires_at__lte=now)
    return Delivery.objects.filter(Q(desired=DesiredState.ABSENT) | ~is_untimely, destination__is_enabled=True)


@transaction.atomic(durable=True)
def _claim() -> tuple[Delivery, DeliveryAttempt] | None:
    """Lease the delivery that has been due longest, and record the attempt."""
    rows = _deliverable().select_related("destination", "asset__brand", "asset__campaign", "asset__subject")
    delivery = leases.claim(rows, POLICY)
    if delivery is None:
        return None
    active = ObservedState.SENDING if delivery.desired == DesiredState.PRESENT else ObservedState.REMOVING
    was_cut_off = delivery.observed in {ObservedState.SENDING, ObservedState.REMOVING}
    DELIVERY.ensure(ObservedState.FAILED if was_cut_off else delivery.observed, active)
    delivery.observed = active
    delivery.save(update_fields=["observed", "changed_at"])
    now = clock.now()
    DeliveryAttempt.objects.filter(delivery=delivery, ended_at__isnull=True).update(ended_at=now, message=CUT_OFF)
    last = delivery.attempt_rows.aggregate(last=Max("number"))["last"] or 0
    return delivery, DeliveryAttempt.objects.create(delivery=delivery, number=last + 1, started_at=now)


def _attempt(delivery: Delivery, attempt: DeliveryAttempt) -> None:
    """Make one attempt outside any transaction, then store its result in a transaction."""
    with leases.renewing(delivery, POLICY):
        outcome = _push_or_recall(delivery)
    _record_result(delivery, attempt, outcome)


def _push_or_recall(delivery: Delivery) -> Receipt | DeliveryError:
    hide = hide_secret_of(delivery.destination)
    try:
        if delivery.deaths > POLICY.max_deaths:
            raise DeliveryError(f"The worker was cut off in {POLICY.max_deaths} attempts in a row.", is_final=True)
        if why := destinations.list_prohibitions(delivery.destination):
            raise DeliveryError(" ".join(why), is_final=True)
        plugin = destinations.build_plugin(delivery.destination)
        package = packages.build_package(delivery)
        session = open_session(delivery)
        if delivery.desired == DesiredState.PRESENT:
            _record_file_names(delivery, package)
            receipt = tidy_receipt(plugin.push(package, session), hide)
            delivery.verification = tidy(compare_delivered(plugin, package.files, receipt.files), hide)
            return receipt
        receipt = plugin.restore(package, session) if delivery.is_restoring else plugin.recall(package, session)
        receipt = tidy_receipt(receipt, hide)
        if leftovers := find_leftovers(plugin, package.previous):
            raise DeliveryError(describe_leftovers(leftovers))
        delivery.verification = []
        return receipt
    except DeliveryError as refused:
        return tidy_error(refused, hide)
    except Exception as unforeseen:
        log.exception("delivery.failed", delivery=delivery.pk)
        return tidy_error(DeliveryError(f"{type(unforeseen).__name__}: {unforeseen}"), hide)


def _record_file_names(delivery: Delivery, package: Package) -> None:
    """Store what the files are called before they are written, so that an interrupted attempt can be cleaned up."""
    listed = _list_files(delivery.files, package.delivered_files)
    if len(listed) > len(delivery.files):
        delivery.files = listed
        Delivery.objects.filter(pk=delivery.pk, lease_token=delivery.lease_token).update(files=delivery.files)


def _list_files(*lists: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return the files of all lists, each once. Other bytes are another file, also under the same name."""
    files: dict[tuple[str, str], dict[str, str]] = {}
    for entry in chain(*lists):
        files.setdefault((entry["name"], entry["sha256"]), dict(entry))
    return list(files.values())


@transaction.atomic(durable=True)
def _record_result(claimed: Delivery, attempt: DeliveryAttempt, outcome: Receipt | DeliveryError) -> None:
    """Store the result of an attempt, unless its lease was lost.

    Due again at once if the desired state has changed, or if an earlier attempt has ended only meanwhile.
    """
    delivery = leases.lock(claimed, "destination", "asset")
    if delivery is None:
        _record_overtaken(claimed, attempt)
        return
    if isinstance(outcome, DeliveryError):
        _record_failure(delivery, outcome)
    else:
        _record_success(delivery, claimed, outcome)
    delivery.save()
    if delivery.wish != claimed.wish:
        Delivery.objects.filter(pk=delivery.pk).make_due()
    elif DeliveryAttempt.objects.filter(delivery=delivery, ended_at__gt=attempt.started_at).exists():
        Delivery.objects.filter(pk=delivery.pk, due_at=None).update(due_at=timezone.now())
    DeliveryAttempt.objects.filter(delivery=delivery, ended_at__isnull=True).update(
        ended_at=clock.now(),
        is_success=not isinstance(outcome, DeliveryError),
        status_code=outcome.status_code,
        message=outcome.message,
    )


def _record_overtaken(claimed: Delivery, attempt: DeliveryAttempt) -> None:
    """Have the destination looked at once more: an attempt went on there after another one had taken its place.

    What it may have changed is known to it alone: the names of its files, and the destination's state before.
    """
    delivery = Delivery.objects.select_for_update(no_key=True).get(pk=claimed.pk)
    delivery.files = _list_files(delivery.files, claimed.files)
    delivery.before = delivery.before or claimed.before
    DeliveryAttempt.objects.filter(pk=attempt.pk).update(ended_at=clock.now(), message=OVERTAKEN)
    waits_for_release = delivery.desired == DesiredState.PRESENT and not delivery.is_released
    if delivery.due_at is None and not waits_for_release:  # an attempt that is running sees this one's end
        delivery.due_at = timezone.now()
    delivery.save(update_fields=["files", "before", "due_at", "changed_at"])
    log.warning("delivery.overtaken", delivery=delivery.pk)


def _record_success(delivery: Delivery, claimed: Delivery, receipt: Receipt) -> None:
    reached = ObservedState.PRESENT if claimed.observed == ObservedState.SENDING else ObservedState.ABSENT
    DELIVERY.ensure(delivery.observed, reached)
    delivery.observed = reached
    delivery.files = [dict(entry) for entry in receipt.files] if reached == ObservedState.PRESENT else []
    delivery.error = delivery.needs = ""
    delivery.verification, delivery.verified_at = claimed.verification, clock.now()
    if reached == ObservedState.ABSENT and delivery.wish == claimed.wish:
        delivery.before = None
    delivery.succeed()
    payload = {"observed": str(reached), "version": claimed.version_id, "files": delivery.files}
    payload["outcomes"] = sorted({entry["outcome"] for entry in delivery.verification})
    _publish(DeliveryCompleted, delivery, payload, label="delivery")


def _record_failure(delivery: Delivery, error: DeliveryError) -> None:
    delivery.observed = ObservedState.UNCERTAIN if error.is_uncertain else ObservedState.FAILED
    delivery.error, delivery.needs = error.message[:500], error.needs
    if error.is_final:
        delivery.give_up()
    else:
        delivery.retry(POLICY, error.retry_after_seconds)
    if is_over := delivery.due_at is None:
        payload = {"message": error.message, "attempt": delivery.attempts}
        _publish(DeliveryFailed, delivery, payload, label="delivery")
    if error.disables or (is_over and not error.is_final):
        destinations.disable(delivery.destination, reason=error.message)


def _set_desired(delivery: Delivery, desired: str, version: AssetVersion) -> None:
    """Change the desired state. An attempt that is running notices it when it ends.

    What is to be published needs another release, if the destination needs one.
    """
    row = Delivery.objects.filter(pk=delivery.pk)
    changes: dict[str, Any] = {"desired": desired, "version": version, "error": "", "needs": ""}
    changes |= {"is_restoring": False, "absence": ""}
    if desired == DesiredState.PRESENT:
        changes["is_released"] = not delivery.destination.needs_release
    row.update(wish=F("wish") + 1, changed_at=clock.now(), **changes)
    row.make_due()
    delivery.refresh_from_db()


def _publish_desired(delivery: Delivery, desired: str, version: AssetVersion, cause: str, by: User | None) -> None:
    payload = {"desired": str(desired), "version": version.pk, "cause": cause}
    _publish(DeliveryRequested, delivery, payload, by=by, label="review")


def _publish(
    event: type[DomainEvent], delivery: Delivery, payload: dict[str, Any], *, label: str, by: User | None = None
) -> None:
    destination = delivery.destination
    payload = {"delivery": delivery.pk, "destination": destination.slug, **payload}
    publish(event(brand_id=destination.brand_id, object_id=delivery.asset_id, payload=payload), by=by, label=label)
