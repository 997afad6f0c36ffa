"""Money that a campaign has reserved and spent, in an append-only ledger.

Per run, outstanding = reserved - released - settled, where an uncertain submission counts as settled. A campaign's
committed money is the sum of settled and outstanding money. Every function that writes expects the campaign's row to be
locked, so that two releases cannot both use the same money.
"""

from __future__ import annotations

from decimal import Decimal

from django.utils.translation import gettext as _

from campaigns.models import Campaign
from core.errors import Conflict
from core.events import publish
from core.models import Brand
from generation import events
from generation.choices import HoldReason, LedgerKind
from generation.models import JobSpec, LedgerEntry, Run
from generation.selectors import budgets
from generation.services.images import assets

WARN_AT_PERCENT = (80, 100)


def reserve_for_run(run: Run) -> Decimal:
    """Reserve the cost of the run's undecided jobs, minus its outstanding money; returns the amount.

    Jobs whose master exists cost nothing. Raises Conflict if the campaign's budget, or the brand's for this month, does
    not suffice. If the brand has a budget, its row is locked from here on, so that its campaigns take turns.
    """
    campaign = run.campaign
    needed = max(_to_cover(run.pk) - _outstanding(run), Decimal(0))
    before = budgets.status(campaign)
    message = _(
        "This run needs %(needed)s %(currency)s; %(left)s %(currency)s of the campaign's budget of %(budget)s "
        "%(currency)s is left."
    )
    shown = {"budget": f"{campaign.budget or 0:.2f}", "currency": campaign.brand.currency}
    _ensure_covered(needed, before.left, message, shown, budget="campaign")
    if needed:
        _require_brand_budget(campaign, needed)
        LedgerEntry.objects.create(campaign=campaign, run=run, kind=LedgerKind.RESERVE, amount=needed)
        _publish_passed_marks(run, before, needed)
    return needed


def _require_brand_budget(campaign: Campaign, amount: Decimal) -> None:
    """Raise Conflict if the rest of the brand's budget for this month does not cover `amount`."""
    with_budget = Brand.objects.exclude(monthly_budget=None).select_for_update(of=("self",))
    if (brand := with_budget.filter(pk=campaign.brand_id).first()) is None:
        return
    message = _(
        "This run needs %(needed)s %(currency)s; %(left)s %(currency)s of the %(budget)s %(currency)s that %(brand)s "
        "may spend this month is left."
    )
    shown = {"budget": f"{brand.monthly_budget:.2f}", "brand": brand.name, "currency": brand.currency}
    _ensure_covered(amount, budgets.month_status(brand).left, message, shown, budget="brand")


def _ensure_covered(needed: Decimal, left: Decimal | None, message: str, shown: dict[str, str], *, budget: str) -> None:
    if left is not None and needed > left:
        amounts = {"needed": f"{needed:.2f}", "left": f"{max(left, Decimal(0)):.2f}"}
        raise Conflict(message % {**shown, **amounts}, needed=str(needed), left=str(left), budget=budget)


def _publish_passed_marks(run: Run, before: budgets.BudgetStatus, amount: Decimal) -> None:
    """Publish an event if this reservation takes the campaign past a percentage of WARN_AT_PERCENT of its budget."""
    if not before.budget:
        return
    old, new = before.spent + before.reserved, before.spent + before.reserved + amount
    if passed := [mark for mark in WARN_AT_PERCENT if old * 100 < mark * before.budget <= new * 100]:
        payload = {"percent": max(passed), "committed": str(new), "budget": str(before.budget), "run": run.pk}
        publish(events.BudgetReached(brand_id=run.campaign.brand_id, object_id=run.campaign_id, payload=payload))


def release_unneeded(run: Run) -> Decimal:
    """Release the outstanding money that the run's undecided jobs do not need; returns the amount."""
    spare = _outstanding(run) - _to_cover(run.pk)
    if spare <= 0:
        return Decimal(0)
    LedgerEntry.objects.create(campaign=run.campaign, run=run, kind=LedgerKind.RELEASE, amount=spare)
    return spare


def _outstanding(run: Run) -> Decimal:
    totals = {run_id: promised - settled for run_id, promised, settled in budgets.spending_by_run(run.campaign_id)}
    return max(totals.get(run.pk, Decimal(0)), Decimal(0))


def _to_cover(run_id: int) -> Decimal:
    undecided = JobSpec.objects.filter(job__run=run_id, job__status__in=assets.UNDECIDED)
    return budgets.unmade_cost(undecided.exclude(job__hold_reason=HoldReason.NOT_RELEASED))
