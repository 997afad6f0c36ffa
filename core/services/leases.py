"""Claim rows of leased work, and keep the leases of long work alive.

A claim gives a row to one caller and moves its `due_at` to the end of the lease. So the work of a process that died is
due again by itself, and there is nothing to clean up. The claimer works outside any transaction, then locks the row
with its token, records what came of it, and ends the attempt (core/models.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import structlog
from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from core.models import LeasedRow, RetryPolicy, is_free

log = structlog.get_logger(__name__)

Row = TypeVar("Row", bound=LeasedRow)


def due(rows: QuerySet[Row]) -> QuerySet[Row]:
    """Return those of the rows that an attempt could begin with now, the one that has waited longest first."""
    return rows.filter(due_at__lte=timezone.now()).order_by("due_at", "pk")


@transaction.atomic
def claim(rows: QuerySet[Row], policy: RetryPolicy) -> Row | None:
    """Lease the row that has been due longest; None if none is due. Several callers never get the same one.

    `deaths` counts the earlier attempts that ended without a result; `row.deaths > policy.max_deaths` says that the
    work should be given up instead of tried. In memory, and in the row until the attempt ends, this one counts as dead.
    """
    row = due(rows).select_for_update(skip_locked=True, of=("self",), no_key=True).first()
    return row and _lease(row, policy)


@transaction.atomic
def claim_together(rows: QuerySet[Row], policy: RetryPolicy, *, limit: int) -> list[Row]:
    """Lease up to `limit` of the rows that wait for an attempt, due now or later, to work on them together."""
    waiting = rows.filter(is_free(), due_at__isnull=False).order_by("due_at", "pk")
    locked = waiting.select_for_update(skip_locked=True, of=("self",), no_key=True)[:limit]
    return [_lease(row, policy) for row in locked]


def _lease(row: Row, policy: RetryPolicy) -> Row:
    row.lease(policy)
    row.save(update_fields=row.LEASE_FIELDS)
    return row


def request(rows: QuerySet[Any], /, *, after: timedelta = timedelta(), **changes: Any) -> int:
    """Make the rows due, as LeasedRow.request does, and set their other fields; return how many rows there are."""
    return rows.update(due_at=timezone.now() + after, lease_token=None, attempts=0, deaths=0, **changes)


def lock(claimed: Row, *related: str) -> Row | None:
    """Lock and return the current row; None if the claimer has lost its lease. To be called in a transaction."""
    rows = _held(claimed).select_for_update(of=("self",), no_key=True)
    return rows.select_related(*related or [None]).first()  # without names, Django would follow every foreign key


def renew(claimed: LeasedRow, lease: timedelta) -> bool:
    """Extend the lease of an attempt; False if it was lost."""
    return bool(_held(claimed).update(due_at=timezone.now() + lease))


def _held(claimed: Row) -> QuerySet[Row]:
    """Return the row while its claimer has the lease. One whose attempt has ended in memory has none."""
    rows = type(claimed)._default_manager.filter(lease_token__isnull=False)
    return rows.filter(pk=claimed.pk, lease_token=claimed.lease_token)


@contextmanager
def renewing(claimed: LeasedRow, policy: RetryPolicy) -> Iterator[None]:
    """Keep the lease alive during the block, with a thread that renews it three times per lease."""
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(policy.lease.total_seconds() / 3):
            try:
                if not renew(claimed, policy.lease):
                    break  # the attempt has just ended, or the claimer will see that its lease is lost
            except DatabaseError as error:
                log.warning("lease.not_renewed", error=str(error))
                connection.close()
        connection.close()

    thread = threading.Thread(target=beat, name="lease")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
