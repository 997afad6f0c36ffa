"""Current use of the endpoints: submissions per second and minute against the limits, open calls, reserved money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final

from django.db.models import Q
from django.utils.translation import gettext as _

from campaigns.models import Campaign
from core import clock
from core.choices import Lane
from core.models import Brand, User
from generation.choices import AttemptOutcome, RunState
from generation.models import Attempt, Endpoint, EndpointStatus
from generation.selectors import budgets, endpoint_cards, endpoint_limits, lanes, waits
from generation.selectors.endpoint_cards import Figures, Health

CAMPAIGNS: Final = 8
#: From this percentage on, money is running out. An endpoint at its limit is no problem: it works as fast as it may.
NEARLY: Final = 80


@dataclass(frozen=True)
class Gauge:
    """One bar: how much of a limit is used. limit: None if none is known. note: a text beside it."""

    label: str
    used: float
    limit: float | None
    note: str = ""

    @property
    def percent(self) -> float:
        return min(100.0, 100.0 * self.used / self.limit) if self.limit else 0.0


@dataclass(frozen=True)
class EndpointUse:
    """One endpoint now. gauges of a service: this second, this minute, open calls; of own machines: being made."""

    endpoint: Endpoint
    health: Health
    figures: Figures
    gauges: Sequence[Gauge]


@dataclass(frozen=True)
class BudgetUse(budgets.BudgetStatus):
    """The money of a campaign, or of the brand in this month (campaign None)."""

    campaign: Campaign | None = None

    @property
    def is_nearly_gone(self) -> bool:
        return self.spent_percent + self.reserved_percent >= NEARLY


def list_endpoint_uses(brand: Brand, user: User) -> list[EndpointUse]:
    endpoints = list(endpoint_cards.visible(brand, user).filter(is_enabled=True))
    figures = endpoint_cards.figures(brand, endpoints, with_day=False)
    alive = lanes.live_workers_by_lane(endpoints)
    made = Attempt.objects.filter(outcome=AttemptOutcome.SUCCEEDED, started_at__gte=clock.now() - timedelta(minutes=1))
    local = [endpoint for endpoint in endpoints if endpoint.lane != Lane.CLOUD]
    made_by_endpoint = waits.count_by_endpoint(made.filter(endpoint__in=local))
    uses = []
    for endpoint in endpoints:
        status = getattr(endpoint, "status", None)
        numbers = figures[endpoint.pk]
        health = endpoint_cards.assess_health(endpoint, status, numbers, workers=alive[endpoint.lane])
        if endpoint.lane == Lane.CLOUD:
            gauges = _remote_gauges(endpoint, status, numbers)
        else:
            gauges = _local_gauges(endpoint, numbers, alive[endpoint.lane], made_by_endpoint.get(endpoint.pk, 0))
        uses.append(EndpointUse(endpoint, health, numbers, gauges))
    return uses


def list_budget_uses(brand: Brand, user: User) -> list[BudgetUse]:
    """Return the brand's money of this month, and that of each campaign with a running or paused run; a query each."""
    running = Q(runs__state__in=(RunState.RUNNING, RunState.PAUSED))
    busy = Campaign.objects.visible_to(user).filter(running, brand=brand, is_sandbox=False).distinct()
    of_campaigns = [
        BudgetUse(**asdict(budgets.status(campaign)), campaign=campaign)
        for campaign in busy.order_by("name")[:CAMPAIGNS]
    ]
    return [BudgetUse(**asdict(budgets.month_status(brand))), *of_campaigns]


def _remote_gauges(endpoint: Endpoint, status: EndpointStatus | None, numbers: Figures) -> list[Gauge]:
    second, minute = endpoint_limits.count_recent_submissions(endpoint)
    at_once = endpoint_limits.concurrency_limit(endpoint, status, numbers.in_use)
    return [
        _gauge(_("this second"), second, endpoint_limits.per_second(endpoint), endpoint.max_per_second),
        _gauge(_("this minute"), minute, endpoint_limits.per_minute(endpoint), endpoint.max_per_minute),
        _gauge(_("open now"), numbers.in_use, at_once, endpoint.most_at_once),
    ]


def _gauge(label: str, used: int, limit: float | None, operator_limit: float | None) -> Gauge:
    """Return a gauge. limit: the limit that applies now; operator_limit: the one that an operator has set."""
    note = _("no limit known") if limit is None else endpoint_cards.learnt_limit_note(limit, operator_limit)
    return Gauge(label, used, limit, note)


def _local_gauges(endpoint: Endpoint, numbers: Figures, workers: int, made: int) -> list[Gauge]:
    at_once = endpoint.batch_size * workers
    ahead = max(0, numbers.running - at_once) if at_once else 0  # workers take the next batch before this one is done
    next_note = _("and %(n)d next") % {"n": ahead} if ahead else ""
    return [
        Gauge(_("being made"), numbers.running - ahead, at_once or None, next_note),
        Gauge(_("made this minute"), made, None),
    ]
