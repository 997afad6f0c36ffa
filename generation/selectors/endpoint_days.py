"""One endpoint's last 24 hours for people: successes and failures by the hour, and the newest errors in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core import clock
from core.models import Brand
from generation import causes
from generation.causes import Cause
from generation.choices import JobState
from generation.engines.base import ErrorKind
from generation.models import Endpoint, Job
from generation.selectors import sql

HOURS: Final = 24
SHOWN: Final = 8
MAX_FAILURES_READ: Final = 2000
#: Sizes of the drawing, in its own units.
BAR_WIDTH: Final = 16
BAR_STEP: Final = 20
HEIGHT: Final = 100

#: What dispatch does after a failed attempt of each kind (docs/errors.md).
FOLLOWS: Final = {
    ErrorKind.TRANSIENT: _("It is tried again by itself: five times, or for as long as the service is away."),
    ErrorKind.RATE: _("It is tried again when the service has room."),
    ErrorKind.MEMORY: _("It is tried again, where there is room for it."),
    ErrorKind.LOST: _("It is submitted again."),
    ErrorKind.UNCERTAIN: _("It may have been paid for; whether it is submitted again is the endpoint’s policy."),
    ErrorKind.MODERATION: _("The wording or the image has to change; it goes to a person."),
    ErrorKind.INPUT: _("The submission cannot be carried out as it is; it goes to a person."),
    ErrorKind.STORAGE: _("It goes on when somebody has made room for files and resumed the run."),
    ErrorKind.ENDPOINT: _("The endpoint has to be mended; then the images can be tried again."),
    ErrorKind.QUOTA: _("Everything for this endpoint waits until the account is filled or the key is right."),
}

# Hours begin at full hours of the clock; the last bar is the current hour.
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
    """One bar: attempts that succeeded and failed in the hour from `at` on, and its coordinates (y downwards)."""

    at: datetime
    made: int
    failed: int
    x: int
    made_y: float
    made_height: float
    failed_y: float
    failed_height: float


@dataclass(frozen=True)
class Day:
    """The last 24 hours of the clock. highest: the most attempts of any hour, which the drawing's height stands for."""

    hours: Sequence[Hour]
    made: int
    failed: int
    highest: int
    width: int = HOURS * BAR_STEP
    height: int = HEIGHT

    @property
    def marks(self) -> list[Hour]:
        """Return the hours that get a label: every sixth, counted back from now."""
        return [hour for n, hour in enumerate(self.hours) if (HOURS - 1 - n) % 6 == 0]


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


def day(brand: Brand, endpoint: Endpoint) -> Day:
    """Return the brand's attempts at the endpoint by the hour; one query."""
    end = timezone.localtime(clock.now()).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    values = {"brand": brand.pk, "endpoint": endpoint.pk, "end": end, "since": end - timedelta(hours=HOURS)}
    counted = {back: (made, failed) for back, made, failed in sql.rows(_HOURS, values)}
    plain = [(end - timedelta(hours=back + 1), *counted.get(back, (0, 0))) for back in reversed(range(HOURS))]
    highest = max(made + failed for _at, made, failed in plain)
    scale = HEIGHT / highest if highest else 0.0
    hours = [_hour(n, at, made, failed, scale) for n, (at, made, failed) in enumerate(plain)]
    return Day(hours, sum(hour.made for hour in hours), sum(hour.failed for hour in hours), highest)


def _hour(number: int, at: datetime, made: int, failed: int, scale: float) -> Hour:
    made_height, failed_height = round(made * scale, 2), round(failed * scale, 2)
    made_y = round(HEIGHT - made_height, 2)
    x = number * BAR_STEP + (BAR_STEP - BAR_WIDTH) // 2
    return Hour(at, made, failed, x, made_y, made_height, round(made_y - failed_height, 2), failed_height)


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
