"""Test the pacing of an endpoint: limits that are found from real rows, and how they are raised again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from core.choices import Lane
from generation import rate_limits
from generation.choices import Breaker
from generation.engines.base import EngineError, ErrorKind
from generation.models import Attempt, Endpoint, EndpointStatus
from generation.rate_limits import LearntRate
from generation.selectors import endpoint_limits
from generation.services.dispatch import claims
from generation.services.remote import pacing, submissions, throttle
from tests.support import queued_runs

pytestmark = pytest.mark.django_db

ASKS_FOR_PATIENCE = EngineError(ErrorKind.RATE, "Slow down.", retry_after_seconds=1.0)


def create_endpoint() -> Endpoint:
    return queued_runs.create_endpoint(engine="wire", lane=Lane.CLOUD, url="http://127.0.0.1:9")


def find_rate(endpoint: Endpoint) -> LearntRate:
    return endpoint_limits.learnt_rates(EndpointStatus.objects.get(endpoint=endpoint))[rate_limits.SECOND]


def record_submissions(endpoint: Endpoint, count: int) -> list[tuple[int, Any, datetime]]:
    """Record this many submissions one after the other; return job, lease token and time of each."""
    queued_runs.create_run(queued_runs.create_campaign(), endpoint, count)
    claim = claims.claim(lane=Lane.CLOUD, worker="here", limit=count, endpoint_id=endpoint.pk)
    for job in claim.jobs:
        assert submissions.record_intent(job_id=job.id, token=claim.token)
    moments = (
        Attempt.objects.filter(lease_token=claim.token).order_by("submitted_at").values_list("job_id", "submitted_at")
    )
    return [(job_id, claim.token, moment) for job_id, moment in moments if moment is not None]


def submit_next(endpoint: Endpoint) -> None:
    turn = throttle.wait_for_turn(endpoint)
    assert turn is not None
    turn.wait_until_allowed()


@pytest.mark.parametrize("refused", [(1, 3), (0, 1), (2, 3), (3, 1)])
def test_two_of_four_that_went_out_together_are_a_limit_of_two_in_whatever_order_they_arrived(
    refused: tuple[int, int], clean_redis: Any
) -> None:
    endpoint = create_endpoint()
    attempts = record_submissions(endpoint, 4)
    for job_id, token, _ in (attempts[number] for number in refused):
        submissions.record_refusal(job_id=job_id, token=token)
    for _, _, moment in (attempts[number] for number in refused):
        pacing.record_failure(endpoint, ASKS_FOR_PATIENCE, submitted_at=moment)
    assert find_rate(endpoint).submissions == 2


@pytest.mark.parametrize("rate", [0.7, 1.0, 1.4, 2.9])
def test_a_small_rate_that_is_made_use_of_grows(rate: float, clean_redis: Any) -> None:
    endpoint = create_endpoint()
    long_ago = timezone.now() - timedelta(seconds=20)
    EndpointStatus.objects.create(
        endpoint=endpoint, rates={rate_limits.SECOND: LearntRate(rate, long_ago, is_first_guess=False).to_json()}
    )
    endpoint = Endpoint.objects.select_related("status").get(pk=endpoint.pk)
    for _ in range(int(rate)):
        submit_next(endpoint)
    pacing.record_success(endpoint, in_use=1)
    assert find_rate(endpoint).submissions > rate


def test_a_rate_that_is_not_made_use_of_stays(clean_redis: Any) -> None:
    endpoint = create_endpoint()
    long_ago = timezone.now() - timedelta(seconds=20)
    EndpointStatus.objects.create(endpoint=endpoint, rates={rate_limits.SECOND: LearntRate(8.0, long_ago).to_json()})
    endpoint = Endpoint.objects.select_related("status").get(pk=endpoint.pk)
    submit_next(endpoint)
    pacing.record_success(endpoint, in_use=1)
    assert find_rate(endpoint).submissions == 8


def record_accepted_submissions(endpoint: Endpoint, count: int) -> list[tuple[int, Any, datetime]]:
    """Record this many submissions that the service accepted two seconds ago."""
    made = record_submissions(endpoint, count)
    Attempt.objects.filter(endpoint=endpoint).update(submitted_at=timezone.now() - timedelta(seconds=2))
    return made


@pytest.mark.parametrize(("submissions", "more"), [(4, 1), (5, 1), (7, 1), (8, 0)])
def test_a_limit_without_refusal_for_a_second_grows_by_one_up_to_twice_the_answered_calls(
    submissions: int, more: int, clean_redis: Any
) -> None:
    endpoint = create_endpoint()
    record_submissions(endpoint, submissions)
    assert pacing.lock_load(endpoint.pk).submissions == 0
    Attempt.objects.filter(endpoint=endpoint).update(submitted_at=timezone.now() - timedelta(seconds=2))
    assert pacing.lock_load(endpoint.pk).submissions == more
    assert [load.submissions for load in pacing.list_loads()] == [more]


def test_a_service_that_answers_one_is_known_to_take_as_many_as_it_had(clean_redis: Any) -> None:
    endpoint = create_endpoint()
    job_id, token, _ = record_accepted_submissions(endpoint, 7)[0]
    submissions.record_answer(job_id=job_id, token=token)
    pacing.record_success(endpoint, in_use=4)
    assert EndpointStatus.objects.get(endpoint=endpoint).window == 7
    assert pacing.lock_load(endpoint.pk).submissions == 1  # the place that became free


def test_the_first_refusal_of_a_call_too_many_leaves_as_many_as_were_open(clean_redis: Any) -> None:
    endpoint = create_endpoint()
    record_accepted_submissions(endpoint, 7)
    [(job_id, token, moment)] = record_submissions(endpoint, 1)
    submissions.record_refusal(job_id=job_id, token=token)
    pacing.record_failure(endpoint, ASKS_FOR_PATIENCE, submitted_at=moment)
    status = EndpointStatus.objects.get(endpoint=endpoint)
    assert (status.window, status.window_peak, status.rates) == (7, 7, {})


# -- limits that were found while the endpoint was failing -------------------------------------------------------------


def create_failing_status(
    endpoint: Endpoint, breaker: str, *, found_minutes_ago: float, healthy_minutes_ago: float | None
) -> EndpointStatus:
    """Create a status with a window and two rates, found this long ago; the endpoint last worked this long ago."""
    now = timezone.now()
    found_at = now - timedelta(minutes=found_minutes_ago)
    rates = {name: LearntRate(1.0, found_at).to_json() for name in (rate_limits.SECOND, rate_limits.MINUTE)}
    healthy_at = None if healthy_minutes_ago is None else now - timedelta(minutes=healthy_minutes_ago)
    return EndpointStatus.objects.create(
        endpoint=endpoint,
        breaker=breaker,
        failures=0 if breaker == Breaker.CLOSED else 6,
        window=1.0,
        window_peak=1.0,
        window_cut_at=found_at,
        rates=rates,
        last_success_at=healthy_at,
    )


@pytest.mark.parametrize(
    ("breaker", "found_minutes_ago", "healthy_minutes_ago", "is_kept"),
    [
        (Breaker.HALF_OPEN, 5, 10, False),
        (Breaker.HALF_OPEN, 0, 60, False),
        (Breaker.OPEN, 5, 10, False),
        (Breaker.HALF_OPEN, 5, None, False),
        (Breaker.HALF_OPEN, 60 * 24, 60 * 25, False),
        (Breaker.HALF_OPEN, 20, 10, True),
        (Breaker.OPEN, 60, 1, True),
        (Breaker.CLOSED, 5, 10, True),
    ],
)
def test_limits_found_while_an_endpoint_was_ill_are_forgotten_when_it_works_again(
    breaker: str,
    found_minutes_ago: float,
    healthy_minutes_ago: float | None,
    is_kept: bool,
    clean_redis: Any,
) -> None:
    endpoint = create_endpoint()
    create_failing_status(
        endpoint, breaker, found_minutes_ago=found_minutes_ago, healthy_minutes_ago=healthy_minutes_ago
    )
    endpoint = Endpoint.objects.select_related("status").get(pk=endpoint.pk)
    pacing.record_success(endpoint, in_use=1)
    status = EndpointStatus.objects.get(endpoint=endpoint)
    assert status.breaker == Breaker.CLOSED
    assert sorted(status.rates) == ([rate_limits.MINUTE, rate_limits.SECOND] if is_kept else [])
    assert (status.window_peak is not None) is is_kept
    if not is_kept:
        assert endpoint_limits.concurrency_limit(endpoint, status) == int(endpoint_limits.FIRST_WINDOW)


@pytest.mark.parametrize(
    ("engine", "config", "max_concurrent", "at_once"),
    [
        ("replicate", {"cog": True, "base_url": "http://gpu-1:5000"}, None, 1),
        ("replicate", {"cog": True, "base_url": "http://gpu-1:5000"}, 3, 3),
        ("replicate", {"cog": False, "model": "a/b"}, None, 4),
        ("replicate", {"model": "a/b"}, None, 4),
        ("replicate", {"model": "a/b"}, 7, 7),
        ("openai", {"model": "gpt-image-2"}, None, 4),
    ],
)
def test_a_cog_server_gets_one_submission_at_once_unless_its_operator_allows_more(
    engine: str, config: dict[str, Any], max_concurrent: int | None, at_once: int
) -> None:
    endpoint = queued_runs.create_endpoint(engine="wire", lane=Lane.CLOUD, url="http://127.0.0.1:9")
    endpoint.engine, endpoint.config, endpoint.max_concurrent = engine, config, max_concurrent
    endpoint.save()
    assert endpoint_limits.concurrency_limit(endpoint, None) == at_once
    pacing.record_success(endpoint, in_use=1)
    endpoint = Endpoint.objects.select_related("status").get(pk=endpoint.pk)
    limit = (
        at_once if engine == "replicate" and (config.get("cog") or max_concurrent) else endpoint_limits.MAX_CONCURRENT
    )
    for taken in (1, 2, 40):
        assert endpoint_limits.concurrency_limit(endpoint, endpoint.status, taken) <= limit
