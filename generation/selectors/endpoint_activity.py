"""Activity at endpoints: the last 24 hours of one by the hour with its newest errors, and the current use of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.models import Campaign
from core import clock, sql
from core.choices import Lane
from core.models import Brand, User
from generation import causes
from generation.causes import Cause
from generation.choices import AttemptOutcome, JobState, RunState
from generation.engines.base import ErrorKind
from generation.models import Attempt, Endpoint, Job
from generation.selectors import budgets, endpoint_cards, endpoint_limits
from generation.selectors.budgets import BudgetStatus
from generation.selectors.endpoint_cards import Figures
from generation.selectors.endpoints import count_by_endpoint, live_workers_by_lane

HOURS: Final = 24
SHOWN: Final = 8
MAX_FAILURES_READ: Final = 2000
CAMPAIGNS: Final = 8

#: What dispatch does after a failed attempt of each kind (docs/errors.md).
FOLLOWS: Final = {
    ErrorKind.TRANSIENT: gettext_lazy(
        "It is tried again by itself: five times, or for as long as the service is away."
    ),
    ErrorKind.RATE: gettext_lazy("It is tried again when the service has room."),
    ErrorKind.MEMORY: gettext_lazy("It is tried again, where there is room for it."),
    ErrorKind.LOST: gettext_lazy("It is submitted again."),
    ErrorKind.UNCERTAIN: gettext_lazy(
        "It may have been paid for; whether it is submitted again is the endpoint’s policy."
    ),
    ErrorKind.MODERATION: gettext_lazy("The wording or the image has to change; it goes to a person."),
    ErrorKind.INPUT: gettext_lazy("The submission cannot be carried out as it is; it goes to a person."),
    ErrorKind.STORAGE: gettext_lazy("It goes on when somebody has made room for files and resumed the run."),
    ErrorKind.ENDPOINT: gettext_lazy("The endpoint has to be mended; then the images can be tried again."),
    ErrorKind.QUOTA: gettext_lazy(
        "Everything for this endpoint waits until the account is filled or the key is right."
    ),
}

# Hours begin at full hours of the clock; the last bar is the current hour. As in endpoint_cards.py, both statements
# find the attempts by their start first, which the ORM cannot demand.
_HOURS = """
WITH a AS MATERIALIZED (
    SELECT coalesce(ended_at, started_at) AS at, outcome, job_id FROM generation_attempt
    WHERE started_at >= %(since)s AND endpoint_id = %(endpoint)s AND NOT details ? 'reused_master'
)
SELECT floor(extract(epoch FROM %(end)s - a.at) / 3600)::int,
       count(*) FILTER (WHERE a.outcome = 'succeeded'), count(*) FILTER (WHERE a.outcome IN ('failed', 'lost'))
FROM a JOIN generation_job j ON j.id = a.job_id JOIN campaigns_campaign c ON c.id = j.campaign_id
WHERE c.brand_id = %(brand)s
GROUP BY 1
"""

_ERRORS = """
WITH a AS MATERIALIZED (
    SELECT id, error_kind, message, ended_at, job_id FROM generation_attempt
    WHERE started_at >= %(since)s AND endpoint_id = %(endpoint)s AND outcome IN ('failed', 'lost')
)
SELECT a.error_kind, a.message, a.ended_at, j.run_id, r.name
FROM a JOIN generation_job j ON j.id = a.job_id JOIN generation_run r ON r.id = j.run_id
JOIN campaigns_campaign c ON c.id = j.campaign_id
WHERE c.brand_id = %(brand)s
ORDER BY a.id DESC LIMIT %(most)s
"""


@dataclass(frozen=True)
class Hour:
    """The attempts that succeeded and failed in the hour from `at` on."""

    at: datetime
    made: int
    failed: int


@dataclass(frozen=True)
class Day:
    """The last 24 hours of the clock."""

    hours: Sequence[Hour]

    @property
    def made(self) -> int:
        return sum(hour.made for hour in self.hours)

    @property
    def failed(self) -> int:
        return sum(hour.failed for hour in self.hours)

    @property
    def highest(self) -> int:
        """Return the most attempts of any hour, which the drawing's height stands for."""
        return max(hour.made + hour.failed for hour in self.hours)

    @property
    def marks(self) -> Sequence[Hour]:
        """Return the hours that get a label: every sixth, counted back from now."""
        return self.hours[5::6]


@dataclass
class Trouble:
    """Equal failures of the last day, counted among the MAX_FAILURES_READ newest. message: the words of the newest one;
    follows: what dispatch does after it."""

    cause: Cause
    follows: str
    message: str
    latest: datetime | None
    run_id: int
    run_name: str
    count: int = 1


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


def day(brand: Brand, endpoint: Endpoint) -> Day:
    """Return the brand's attempts at the endpoint by the hour; one query."""
    end = timezone.localtime(clock.now()).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    values = {"brand": brand.pk, "endpoint": endpoint.pk, "end": end, "since": end - timedelta(hours=HOURS)}
    counted = {back: (made, failed) for back, made, failed in sql.rows(_HOURS, values)}
    return Day([Hour(end - timedelta(hours=back + 1), *counted.get(back, (0, 0))) for back in reversed(range(HOURS))])


def troubles(brand: Brand, endpoint: Endpoint) -> list[Trouble]:
    """Return why attempts of the brand failed at the endpoint in the last day, newest first; one query."""
    since = clock.now() - timedelta(hours=HOURS)
    values = {"brand": brand.pk, "endpoint": endpoint.pk, "since": since, "most": MAX_FAILURES_READ}
    by_cause: dict[tuple[str, str], Trouble] = {}
    for kind, message, ended_at, run_id, run_name in sql.rows(_ERRORS, values):
        cause = causes.find_cause(status="failed", error_kind=kind, message=message)
        key = (cause.code, causes.grouping_text(cause, message))
        if key in by_cause:
            by_cause[key].count += 1
        else:
            by_cause[key] = Trouble(cause, str(FOLLOWS.get(kind, "")), message, ended_at, run_id, run_name)
    return list(by_cause.values())[:SHOWN]


def count_setup_failures(brand: Brand, endpoint: Endpoint) -> int:
    """Return how many of the brand's images failed because the endpoint is set up wrongly."""
    failed = Job.objects.filter(endpoint=endpoint, status=JobState.FAILED, campaign__brand=brand)
    return failed.filter(error_kind=ErrorKind.ENDPOINT).count()


def list_endpoint_uses(brand: Brand, user: User) -> list[dict[str, Any]]:
    """Return each endpoint with its "health", "figures" and "gauges": of a service this second, this minute and open
    calls, of own machines what is being made."""
    endpoints = list(endpoint_cards.visible(brand, user).filter(is_enabled=True))
    figures = endpoint_cards.figures(brand, endpoints, with_day=False)
    alive = live_workers_by_lane(endpoints)
    made = Attempt.objects.filter(outcome=AttemptOutcome.SUCCEEDED, started_at__gte=clock.now() - timedelta(minutes=1))
    local = [endpoint for endpoint in endpoints if endpoint.lane != Lane.CLOUD]
    made_by_endpoint = count_by_endpoint(made.filter(endpoint__in=local))
    uses = []
    for endpoint in endpoints:
        numbers = figures[endpoint.pk]
        health = endpoint_cards.assess_health(endpoint, numbers, workers=alive[endpoint.lane])
        if endpoint.lane == Lane.CLOUD:
            gauges = _remote_gauges(endpoint, numbers)
        else:
            gauges = _local_gauges(endpoint, numbers, alive[endpoint.lane], made_by_endpoint.get(endpoint.pk, 0))
        uses.append({"endpoint": endpoint, "health": health, "figures": numbers, "gauges": gauges})
    return uses


def list_budget_uses(brand: Brand, user: User) -> list[tuple[Campaign | None, BudgetStatus]]:
    """Return the brand's money of this month (campaign None), and that of each campaign with a running or paused run; a
    query each."""
    running = Q(runs__state__in=(RunState.RUNNING, RunState.PAUSED))
    busy = Campaign.objects.visible_to(user).filter(running, brand=brand, is_sandbox=False).distinct()
    of_campaigns = [(campaign, budgets.status(campaign)) for campaign in busy.order_by("name")[:CAMPAIGNS]]
    return [(None, budgets.month_status(brand)), *of_campaigns]


def _remote_gauges(endpoint: Endpoint, numbers: Figures) -> list[Gauge]:
    at_once, per_second, per_minute = endpoint_cards.current_limits(endpoint, numbers)
    second, minute = endpoint_limits.count_recent_submissions(endpoint)
    gauges = [
        (_("this second"), second, *per_second),
        (_("this minute"), minute, *per_minute),
        (_("open now"), numbers.in_use, *at_once),
    ]
    return [
        Gauge(label, used, limit, _("no limit known") if limit is None else note) for label, used, limit, note in gauges
    ]


def _local_gauges(endpoint: Endpoint, numbers: Figures, workers: int, made: int) -> list[Gauge]:
    at_once = endpoint.batch_size * workers
    ahead = max(0, numbers.running - at_once) if at_once else 0  # workers take the next batch before this one is done
    next_note = _("and %(n)d next") % {"n": ahead} if ahead else ""
    return [
        Gauge(_("being made"), numbers.running - ahead, at_once or None, next_note),
        Gauge(_("made this minute"), made, None),
    ]
