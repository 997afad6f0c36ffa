"""Money: what a campaign has promised and spent, kept in an append-only ledger.

Per run, outstanding = reserved - released - settled, where an order in doubt counts as settled. A campaign's
committed money is what was settled plus what is outstanding. Every function that writes expects the campaign's row to
be locked: two releases cannot both see the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.db import connection

from campaigns import events as spine
from campaigns.errors import Conflict
from campaigns.models import Campaign
from generation import events
from generation.choices import LedgerKind
from generation.models import LedgerEntry, Run

_BY_RUN = """
SELECT run_id,
       coalesce(sum(CASE kind WHEN 'reserve' THEN amount WHEN 'release' THEN -amount END), 0),
       coalesce(sum(amount) FILTER (WHERE kind IN ('settle', 'doubt')), 0)
FROM generation_ledgerentry WHERE campaign_id = %s GROUP BY run_id
"""

_TO_COVER = """
SELECT coalesce(sum(f.quoted_cost), 0)
FROM generation_job j JOIN generation_jobspec f ON f.job_id = j.id
WHERE j.run_id = %s AND j.status = ANY(%s) AND j.hold_reason <> 'not_released' AND NOT EXISTS (
    SELECT 1 FROM generation_master m WHERE m.brand_id = f.brand_id AND m.fingerprint = f.fingerprint
)
"""
UNDECIDED = ["queued", "running", "waiting", "held"]
WARN_AT_PERCENT = (80, 100)


@dataclass(frozen=True)
class Standing:
    """A campaign's money. budget and left are None where there is no limit."""

    budget: Decimal | None
    spent: Decimal
    reserved: Decimal

    @property
    def left(self) -> Decimal | None:
        return None if self.budget is None else self.budget - self.spent - self.reserved


def standing(campaign: Campaign) -> Standing:
    """What is spent, what is promised, what is left. One query."""
    spent = reserved = Decimal(0)
    for _, promised, settled in _by_run(campaign.pk):
        spent += settled
        reserved += max(promised - settled, Decimal(0))
    return Standing(campaign.budget, spent, reserved)


def cover(*, run: Run, campaign: Campaign) -> Decimal:
    """Reserve what the run's undecided jobs will cost beyond what it has outstanding; returns the amount.

    Jobs whose master exists cost nothing. Raises Conflict when the campaign's budget cannot bear it.
    """
    wanted = max(_to_cover(run.pk) - _outstanding(run), Decimal(0))
    before = standing(campaign)
    left = before.left
    if left is not None and wanted > left:
        currency = campaign.brand.currency
        raise Conflict(
            f"This run needs {wanted:.2f} {currency}; {max(left, Decimal(0)):.2f} {currency} of the campaign's budget "
            f"of {campaign.budget:.2f} {currency} is left.",
            needed=str(wanted),
            left=str(left),
        )
    if wanted:
        LedgerEntry.objects.create(campaign=campaign, run=run, kind=LedgerKind.RESERVE, amount=wanted)
        _warn(run, campaign, before, wanted)
    return wanted


def _warn(run: Run, campaign: Campaign, before: Standing, wanted: Decimal) -> None:
    """Say so when this reservation takes the campaign across one of the marks of its budget."""
    if not before.budget:
        return
    old, new = before.spent + before.reserved, before.spent + before.reserved + wanted
    passed = [mark for mark in WARN_AT_PERCENT if old * 100 < mark * before.budget <= new * 100]
    if passed:
        payload = {"percent": max(passed), "committed": str(new), "budget": str(before.budget), "run": run.pk}
        spine.publish(
            events.BudgetReached(brand_id=campaign.brand_id, object_id=campaign.pk, payload=payload), label="the line"
        )


def free(*, run: Run, campaign: Campaign) -> Decimal:
    """Give back what is outstanding beyond the run's undecided jobs; returns the amount."""
    spare = _outstanding(run) - _to_cover(run.pk)
    if spare <= 0:
        return Decimal(0)
    LedgerEntry.objects.create(campaign=campaign, run=run, kind=LedgerKind.RELEASE, amount=spare)
    return spare


def _by_run(campaign_id: int) -> list[tuple[int, Decimal, Decimal]]:
    with connection.cursor() as cursor:
        cursor.execute(_BY_RUN, [campaign_id])
        rows: list[tuple[int, Decimal, Decimal]] = cursor.fetchall()
        return rows


def _outstanding(run: Run) -> Decimal:
    totals = {run_id: promised - settled for run_id, promised, settled in _by_run(run.campaign_id)}
    return max(totals.get(run.pk, Decimal(0)), Decimal(0))


def _to_cover(run_id: int) -> Decimal:
    with connection.cursor() as cursor:
        cursor.execute(_TO_COVER, [run_id, UNDECIDED])
        amount: Decimal = cursor.fetchone()[0]
        return amount
