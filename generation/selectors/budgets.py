"""Read the ledger: the money that campaigns, brands and runs have reserved and spent. services/budget.py writes it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from django.db.models import Exists, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from campaigns.models import Campaign
from core import clock, sql
from core.models import Brand
from generation.choices import HoldReason, JobState, LedgerKind
from generation.models import JobSpec, LedgerEntry, Master, Run

NEARLY_GONE_PERCENT: Final = 80
#: The money of ledger entries that was reserved and not released again.
PROMISED: Final = Sum("amount", filter=Q(kind=LedgerKind.RESERVE), default=0) - Sum(
    "amount", filter=Q(kind=LedgerKind.RELEASE), default=0
)
#: The money of ledger entries that counts as spent.
SETTLED: Final = Sum("amount", filter=Q(kind__in=(LedgerKind.SETTLE, LedgerKind.UNCERTAIN)), default=0)

# The money that the brand's campaigns spent since `since`, and the money that their active runs still have reserved,
# whenever they reserved it. One statement, because an image that is settled between two would be in neither sum; the
# ORM has no sum of sums as a column.
_OF_BRAND = """
SELECT (
    SELECT coalesce(sum(l.amount), 0) FROM generation_ledgerentry l JOIN campaigns_campaign c ON c.id = l.campaign_id
    WHERE c.brand_id = %(brand)s AND l.kind IN ('settle', 'uncertain') AND l.at >= %(since)s
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


@dataclass(frozen=True)
class BudgetStatus:
    """The money of a campaign or brand. budget and left are None where there is no limit."""

    budget: Decimal | None
    spent: Decimal
    reserved: Decimal

    @property
    def left(self) -> Decimal | None:
        return None if self.budget is None else self.budget - self.spent - self.reserved

    @property
    def spent_percent(self) -> float:
        return min(100.0, float(100 * self.spent / self.budget)) if self.budget else 0.0

    @property
    def reserved_percent(self) -> float:
        return min(100 - self.spent_percent, float(100 * self.reserved / self.budget)) if self.budget else 0.0

    @property
    def is_nearly_gone(self) -> bool:
        return self.spent_percent + self.reserved_percent >= NEARLY_GONE_PERCENT


def status(campaign: Campaign) -> BudgetStatus:
    """Return the campaign's budget and the money that is spent, reserved and left. One query."""
    spent = reserved = Decimal(0)
    for _run_id, promised, settled in spending_by_run(campaign.pk):
        spent += settled
        reserved += max(promised - settled, Decimal(0))
    return BudgetStatus(campaign.budget, spent, reserved)


def month_status(brand: Brand) -> BudgetStatus:
    """Return the brand's money of this calendar month (local time zone). One query."""
    since = timezone.localtime(clock.now()).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    [(spent, reserved)] = sql.rows(_OF_BRAND, {"brand": brand.pk, "since": since})
    return BudgetStatus(brand.monthly_budget, spent, reserved)


def release_cost(run: Run) -> Decimal:
    """Return the money that a release of this run would reserve: the cost of its images that do not exist yet."""
    held = JobSpec.objects.filter(job__run=run, job__status=JobState.HELD, job__hold_reason=HoldReason.NOT_RELEASED)
    return unmade_cost(held)


def masters_of_spec() -> QuerySet[Master]:
    """Return the master that the brand has already for the spec of the outer query."""
    return Master.objects.filter(brand=OuterRef("brand"), fingerprint=OuterRef("fingerprint"))


def unmade_cost(specs: QuerySet[JobSpec]) -> Decimal:
    """Return the quoted cost of those of the specs whose image does not exist yet."""
    return Decimal(specs.filter(~Exists(masters_of_spec())).aggregate(cost=Sum("quoted_cost", default=0))["cost"])


def uncertain_cost(run: Run) -> Decimal:
    uncertain = LedgerEntry.objects.filter(run=run, kind=LedgerKind.UNCERTAIN)
    return Decimal(uncertain.aggregate(amount=Sum("amount", default=Decimal(0)))["amount"])


def spending_by_run(campaign_id: int) -> list[tuple[int, Decimal, Decimal]]:
    """Return (run id, reserved money, settled money) of each run of the campaign. One query."""
    rows = LedgerEntry.objects.filter(campaign=campaign_id).order_by().values_list("run")
    return list(rows.annotate(promised=PROMISED, settled=SETTLED))
