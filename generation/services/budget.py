"""Money: what a campaign has promised and spent, kept in an append-only ledger.

Per run, outstanding = reserved - released - settled, where an order in doubt counts as settled. A campaign's
committed money is what was settled plus what is outstanding. Every function that writes expects the campaign's row to
be locked: two releases cannot both see the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.db import connection
from django.utils import timezone

from campaigns.models import Campaign
from core import clock
from core.errors import Conflict
from core.events import publish
from core.models import Brand
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
_TO_RELEASE = """
SELECT coalesce(sum(f.quoted_cost), 0)
FROM generation_job j JOIN generation_jobspec f ON f.job_id = j.id
WHERE j.run_id = %s AND j.status = 'held' AND j.hold_reason = 'not_released' AND NOT EXISTS (
    SELECT 1 FROM generation_master m WHERE m.brand_id = f.brand_id AND m.fingerprint = f.fingerprint
)
"""
# What the brand's campaigns spent since `since`, and what their runs at work have outstanding, whenever reserved.
_OF_BRAND = """
SELECT (
    SELECT coalesce(sum(l.amount), 0) FROM generation_ledgerentry l JOIN campaigns_campaign c ON c.id = l.campaign_id
    WHERE c.brand_id = %(brand)s AND l.kind IN ('settle', 'doubt') AND l.at >= %(since)s
), (
    SELECT coalesce(sum(greatest(o.promised, 0)), 0) FROM (
        SELECT sum(CASE l.kind WHEN 'reserve' THEN l.amount ELSE -l.amount END) AS promised
        FROM generation_ledgerentry l JOIN generation_run r ON r.id = l.run_id
        JOIN campaigns_campaign c ON c.id = r.campaign_id
        WHERE c.brand_id = %(brand)s AND r.state IN ('running', 'paused', 'planned')
        GROUP BY l.run_id
    ) o
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


def month(brand: Brand) -> Standing:
    """What the brand spent in this calendar month, by the installation's time zone, and what is promised. One query."""
    since = timezone.localtime(clock.now()).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        cursor.execute(_OF_BRAND, {"brand": brand.pk, "since": since})
        spent, reserved = cursor.fetchone()
    return Standing(brand.monthly_budget, spent, reserved)


def needed(run: Run) -> Decimal:
    """Return what releasing a planned run would reserve: the cost of its images, without those that exist already."""
    with connection.cursor() as cursor:
        cursor.execute(_TO_RELEASE, [run.pk])
        return Decimal(cursor.fetchone()[0])


def cover(*, run: Run, campaign: Campaign) -> Decimal:
    """Reserve what the run's undecided jobs will cost beyond what it has outstanding; returns the amount.

    Jobs whose master exists cost nothing. Raises Conflict when the campaign's budget, or the brand's for this month,
    cannot bear it. Where the brand has one its row is locked from here on: campaigns of one brand take turns.
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
            budget="campaign",
        )
    if wanted:
        _ask_brand(campaign, wanted)
        LedgerEntry.objects.create(campaign=campaign, run=run, kind=LedgerKind.RESERVE, amount=wanted)
        _warn(run, campaign, before, wanted)
    return wanted


def _ask_brand(campaign: Campaign, wanted: Decimal) -> None:
    """Raise Conflict if what the brand may spend this month does not cover `wanted`."""
    brand = Brand.objects.get(pk=campaign.brand_id)
    if brand.monthly_budget is None:
        return
    brand = Brand.objects.select_for_update(of=("self",)).get(pk=brand.pk)
    left = month(brand).left
    if left is not None and wanted > left:
        raise Conflict(
            f"This run needs {wanted:.2f} {brand.currency}; {max(left, Decimal(0)):.2f} {brand.currency} of the "
            f"{brand.monthly_budget:.2f} {brand.currency} that {brand.name} may spend this month is left.",
            needed=str(wanted),
            left=str(left),
            budget="brand",
        )


def _warn(run: Run, campaign: Campaign, before: Standing, wanted: Decimal) -> None:
    """Say so when this reservation takes the campaign across one of the marks of its budget."""
    if not before.budget:
        return
    old, new = before.spent + before.reserved, before.spent + before.reserved + wanted
    passed = [mark for mark in WARN_AT_PERCENT if old * 100 < mark * before.budget <= new * 100]
    if passed:
        payload = {"percent": max(passed), "committed": str(new), "budget": str(before.budget), "run": run.pk}
        publish(
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
