"""Put the usual marks into the files of images whose approval took effect, before integrators ask for them.

The work is a row per version, requested for many at once and claimed some at a time by threads of the io lane. It may
be repeated: a file that has its marks is found again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

import structlog
from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from core import crash_points
from core.choices import Lane
from core.errors import DomainError
from core.io_lane import io_work
from core.models import RetryPolicy
from core.services import leases, wake_ups
from generation.models import Asset, Rendition
from review.delivery.base import DeliveryError
from review.models import ReleasedVersion
from review.selectors import staleness, usable_assets
from review.selectors.lineage import load_versions
from review.services.marked_files import Marker, read_setup

log = structlog.get_logger(__name__)

POLICY: Final = RetryPolicy(waits_seconds=(10, 60, 600, 3600, 6 * 3600))
CLAIMED: Final = 20
"""Versions whose files one attempt marks: their rows are read together."""
WORKING_SECONDS: Final = POLICY.lease.total_seconds() / 2
"""What an attempt has not begun by then, because a time stamp authority is slow, is left to the next one."""
CHUNK: Final = 2000
STOPPED: Final = f"Marking its files stopped the worker {POLICY.max_deaths} times."


def forget(version_id: int) -> None:
    """Let the marks of a version be requested again: another approval may be pinned to other files."""
    ReleasedVersion.objects.filter(version=version_id).delete()


def request(asset_ids: Iterable[int]) -> int:
    """Request the marks of those of these assets that are released and have no row; return of how many."""
    ids = list(asset_ids)
    rows = usable_assets.released(_without_row().filter(pk__in=ids)).order_by("pk") if ids else Asset.objects.none()
    versions = list(rows.values_list("current_version", flat=True))
    if not versions:
        return 0
    now, setup = timezone.now(), read_setup()
    work = [ReleasedVersion(version_id=version_id, marks_setup=setup, due_at=now) for version_id in versions]
    with transaction.atomic():
        ReleasedVersion.objects.bulk_create(work, ignore_conflicts=True)
        wake_ups.wake(Lane.IO)
    return len(work)


def request_missing(limit: int = CHUNK) -> int:
    """Request the marks of released assets for which nobody has yet, up to about `limit`; return of how many.

    Such as those whose approval took effect just before a process died, or before this version was installed. The
    rows are compared before the approvals are looked up, which takes 30 times as long for each asset.
    """
    count = last = 0
    candidates = _without_row().order_by("pk").values_list("pk", flat=True)
    while count < limit and (ids := list(candidates.filter(pk__gt=last)[:limit])):
        count += request(ids)
        last = ids[-1]
    return count


def _without_row() -> QuerySet[Asset]:
    requested = ReleasedVersion.objects.filter(version=OuterRef("current_version"))
    return Asset.objects.filter(staleness.PUBLISHED_ASSETS, ~Exists(requested), is_sandbox=False)


def request_outdated(limit: int = CHUNK) -> int:
    """Request the marks of versions that were marked, or given up, with other settings; return of how many.

    Another signer, address of this site or disclaimer are other settings.
    """
    setup = read_setup()
    if not setup:
        log.warning("released.no_signer")
        return 0
    # Two ranges, because an index cannot answer "is not".
    is_outdated = Q(marks_setup__lt=setup) | Q(marks_setup__gt=setup)
    rows = ReleasedVersion.objects.filter(is_outdated, due_at=None).order_by().values("pk")[:limit]
    with transaction.atomic():
        count = leases.request(ReleasedVersion.objects.filter(pk__in=rows), marks_setup=setup, error="")
        if count:
            wake_ups.wake(Lane.IO)
    return count


@io_work(threads=2)
def mark_next() -> bool:
    """Mark the files of the versions that have been due longest; False if none is due."""
    claimed = _claim()
    if claimed:
        _mark_all(claimed)
    return bool(claimed)


def _claim() -> list[ReleasedVersion]:
    """Lease some versions that are due, or one whose last attempt died, so that the others do not die with it."""
    fresh = ReleasedVersion.objects.filter(due_at__lte=timezone.now(), deaths=0)
    if claimed := leases.claim_together(fresh, POLICY, limit=CLAIMED):
        return claimed
    row = leases.claim(ReleasedVersion.objects.all(), POLICY)
    return [row] if row else []


def _mark_all(claimed: Sequence[ReleasedVersion]) -> None:
    until = time.monotonic() + WORKING_SECONDS
    files = _load_files(row.pk for row in claimed)
    try:
        marker = Marker(file for of_version in files.values() for file in of_version)
    except DeliveryError as error:
        for row in claimed:
            _end(row, error)
        return
    for row in claimed:
        if time.monotonic() > until:
            _postpone(row)
        elif row.deaths > POLICY.max_deaths:
            _end(row, DeliveryError(STOPPED, is_final=True))
        else:
            _end(row, _mark(files.get(row.pk, []), marker))


def _load_files(version_ids: Iterable[int]) -> dict[int, list[Rendition]]:
    """Return the files that the valid approvals of these versions are pinned to, by version, in six queries."""
    versions = load_versions(version_ids)
    return {
        version_id: [
            file
            for file in versions[version_id].renditions.all()
            if usable_assets.is_pinned(approval.pinned, file.output_spec.slug, file.sha256)
        ]
        for version_id, approval in staleness.valid_approvals(versions).items()
    }


def _mark(files: Sequence[Rendition], marker: Marker) -> DeliveryError | DomainError | None:
    """Mark the files of a version and record them as those that integrators get; return what went wrong."""
    try:
        for file in files:
            file.marked_file = marker.mark(file.version, file)
    except (DeliveryError, DomainError) as error:
        return error
    except DatabaseError:
        raise  # due again when the lease expires
    except Exception as unforeseen:
        log.exception("released.failed", version=files[0].version_id)
        return DeliveryError(f"{type(unforeseen).__name__}: {unforeseen}")
    crash_points.point("released.marked")
    Rendition.objects.bulk_update(files, ["marked_file"])
    return None


@transaction.atomic(durable=True)
def _end(claimed: ReleasedVersion, error: Any) -> None:
    """End the attempt at a version: done, to be tried again, or given up."""
    row = leases.lock(claimed)
    if row is None:
        return
    row.error = error.message[:500] if error else ""
    if error is None:
        row.succeed()
    elif getattr(error, "is_final", False):
        row.give_up()
    else:
        row.retry(POLICY)
    row.save(update_fields=["error", *row.LEASE_FIELDS])
    if error is not None:
        log.warning("released.not_marked", version=row.pk, error=row.error, is_given_up=row.due_at is None)


@transaction.atomic(durable=True)
def _postpone(claimed: ReleasedVersion) -> None:
    if (row := leases.lock(claimed)) is not None:
        row.postpone(timedelta())
        row.save(update_fields=row.LEASE_FIELDS)
