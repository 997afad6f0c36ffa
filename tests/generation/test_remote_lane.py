"""Test the remote lane against a service on a real socket: submissions, results, and no submission paid twice."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from core.choices import Lane
from generation import rate_limits
from generation.choices import AttemptOutcome, Breaker, HoldReason, JobState, LedgerKind
from generation.engines import base as engines
from generation.models import AssetVersion, Attempt, Endpoint, EndpointStatus, Job, LedgerEntry
from generation.selectors import endpoint_limits
from generation.services import runs
from generation.services.dispatch import outcomes
from generation.services.planning import fingerprints
from generation.workers.leases import Leases
from generation.workers.remote import RemoteLane
from tests.support import processes, queued_runs
from tests.support.remote_engine import ImageService
from tests.support.remote_server import CUT_AFTER, CUT_BEFORE, Fault, Window, plain, serving

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def image_service() -> Iterator[ImageService]:
    with serving(ImageService()) as service:
        yield service


@contextlib.contextmanager
def working(name: str = "here") -> Iterator[RemoteLane]:
    """Run a remote lane in this process."""
    leases = Leases(name, [Lane.CLOUD])
    lane = RemoteLane(name, leases)
    leases.start()
    lane.start()
    try:
        yield lane
    finally:
        lane.stop()
        leases.stop()


def create_wire_endpoint(service: ImageService, *, limits: dict[str, Any] | None = None, **config: Any) -> Endpoint:
    endpoint = queued_runs.create_endpoint(engine="wire", lane=Lane.CLOUD, url=service.url, **config)
    for name, value in (limits or {}).items():
        setattr(endpoint, name, value)
    endpoint.save()
    return endpoint


def all_jobs_ended() -> bool:
    outcomes.reap()
    return not Job.objects.filter(status__in=("queued", "running", "waiting")).exists()


def wait_until_all_ended(seconds: float = 60) -> None:
    processes.wait_until(all_jobs_ended, seconds=seconds, what=f"the jobs end: {states()}")


def states() -> dict[str, int]:
    return dict(Counter(Job.objects.values_list("status", flat=True)))


def test_submissions_wait_at_the_service_and_their_images_are_stored(
    image_service: ImageService, clean_redis: Any
) -> None:
    queued_runs.create_run(queued_runs.create_campaign(), create_wire_endpoint(image_service), 12)
    with working():
        wait_until_all_ended()
    assert states() == {JobState.SUCCEEDED: 12}
    assert sorted(image_service.paid) == sorted(Job.objects.values_list("pk", flat=True))
    assert AssetVersion.objects.count() == 12
    attempt = Attempt.objects.first()
    assert attempt is not None
    assert attempt.submitted_at is not None
    assert attempt.remote_id.startswith("submission-")
    assert str(attempt.marker) == image_service.submissions[attempt.remote_id].marker


def test_a_service_that_answers_at_once_needs_no_asking(image_service: ImageService, clean_redis: Any) -> None:
    queued_runs.create_run(
        queued_runs.create_campaign(), create_wire_endpoint(image_service, at_once=True, looks_up=False), 5
    )
    with working():
        wait_until_all_ended()
    assert states() == {JobState.SUCCEEDED: 5}
    assert image_service.counts["GET /submissions"] == 0


def test_a_submission_whose_answer_was_lost_is_looked_up_and_not_paid_twice(
    image_service: ImageService, clean_redis: Any
) -> None:
    queued_runs.create_run(queued_runs.create_campaign(), create_wire_endpoint(image_service), 3)
    image_service.fail_next("POST /submissions", CUT_AFTER)
    with working():
        wait_until_all_ended()
    assert states() == {JobState.SUCCEEDED: 3}
    assert len(image_service.paid) == 3
    assert not Attempt.objects.exclude(outcome=AttemptOutcome.SUCCEEDED).exists()


def test_a_submission_that_never_arrived_is_sent_again_under_another_marker(
    image_service: ImageService, clean_redis: Any
) -> None:
    queued_runs.create_run(queued_runs.create_campaign(), create_wire_endpoint(image_service), 1)
    image_service.fail_next("POST /submissions", CUT_BEFORE)
    with working():
        wait_until_all_ended()
    assert states() == {JobState.SUCCEEDED: 1}
    assert len(image_service.paid) == 1
    first, second = Attempt.objects.order_by("number")
    assert first.outcome == AttemptOutcome.LOST
    assert first.marker != second.marker


def test_without_lookup_a_lost_answer_stays_uncertain_and_counts_as_spent(
    image_service: ImageService, clean_redis: Any
) -> None:
    run = queued_runs.create_run(
        queued_runs.create_campaign(), create_wire_endpoint(image_service, at_once=True, looks_up=False), 2
    )
    run.jobs.first().frozen.__class__.objects.update(quoted_cost="0.04")
    image_service.fail_next("POST /develop", CUT_AFTER)
    with working():
        wait_until_all_ended()
    held = Job.objects.get(status=JobState.HELD)
    assert held.hold_reason == HoldReason.UNCERTAIN
    assert len(image_service.paid) == 2
    uncertainty = LedgerEntry.objects.get(kind=LedgerKind.UNCERTAIN)
    assert (uncertainty.job_id, uncertainty.amount) == (held.pk, Decimal("0.04"))


def test_a_cancelled_run_is_cancelled_at_the_service_too(image_service: ImageService, clean_redis: Any) -> None:
    image_service.seconds = 120
    campaign = queued_runs.create_campaign()
    campaign.owner.is_superuser = True
    campaign.owner.save()
    run = queued_runs.create_run(campaign, create_wire_endpoint(image_service), 2)
    with working():
        processes.wait_until(lambda: states() == {"waiting": 2}, seconds=60, what="both are under way")
        runs.cancel(run_id=run.pk, by=campaign.owner)
        wait_until_all_ended()
    assert states() == {JobState.CANCELLED: 2}
    assert all(submission.is_cancelled for submission in image_service.submissions.values())


@pytest.mark.parametrize(
    ("kind", "state"), [("input", JobState.FAILED), ("moderation", JobState.FAILED), ("quota", JobState.HELD)]
)
def test_what_the_service_refuses_for_good_is_not_submitted_again(
    kind: str, state: str, image_service: ImageService, clean_redis: Any
) -> None:
    queued_runs.create_run(
        queued_runs.create_campaign(), create_wire_endpoint(image_service), 1, prompts=[f"fail:{kind}"]
    )
    with working():
        wait_until_all_ended()
    assert states() == {state: 1}
    assert len(image_service.paid) == 1


def test_what_the_service_forgot_is_submitted_again(image_service: ImageService, clean_redis: Any) -> None:
    image_service.seconds = 1
    queued_runs.create_run(queued_runs.create_campaign(), create_wire_endpoint(image_service), 1)
    with working():
        processes.wait_until(lambda: bool(image_service.submissions), seconds=60, what="the submission")
        image_service.submissions.clear()
        wait_until_all_ended()
    assert states() == {JobState.SUCCEEDED: 1}
    assert len(image_service.paid) == 2


def test_no_more_submissions_are_under_way_than_the_endpoint_accepts(
    image_service: ImageService, clean_redis: Any
) -> None:
    image_service.most_at_once, image_service.seconds = 3, 0.05
    endpoint = create_wire_endpoint(image_service, limits={"max_concurrent": 3}, at_once=True, looks_up=False)
    queued_runs.create_run(queued_runs.create_campaign(), endpoint, 15)
    with working("one"), working("two"):
        wait_until_all_ended()
    assert states() == {JobState.SUCCEEDED: 15}
    assert not image_service.refused


def test_an_endpoint_that_is_switched_off_gets_nothing_more_when_a_place_falls_free(
    image_service: ImageService, clean_redis: Any
) -> None:
    image_service.seconds = 0.4
    endpoint = create_wire_endpoint(image_service, limits={"max_concurrent": 2}, at_once=True, looks_up=False)
    queued_runs.create_run(queued_runs.create_campaign(), endpoint, 30)
    with working():
        processes.wait_until(lambda: len(image_service.paid) >= 4, seconds=60, what="submissions")
        Endpoint.objects.filter(pk=endpoint.pk).update(is_enabled=False)
        processes.wait_until(
            lambda: not Job.objects.filter(status=JobState.RUNNING).exists(), seconds=60, what="what is under way ends"
        )
        left = Job.objects.filter(status=JobState.QUEUED).count()
        assert left > 10
        assert len(image_service.paid) == 30 - left
    assert Job.objects.filter(status=JobState.QUEUED).count() == left


def test_known_limits_are_kept_by_all_workers_together(image_service: ImageService, clean_redis: Any) -> None:
    image_service.limits = (Window(8, 0.9),)  # a stalled machine sends some late; two separate counts allow ten
    endpoint = create_wire_endpoint(
        image_service, limits={"max_per_second": 5, "max_per_minute": 290, "max_concurrent": 50}
    )
    queued_runs.create_run(queued_runs.create_campaign(), endpoint, 14)
    with working("one"), working("two"):
        wait_until_all_ended()
    assert states() == {JobState.SUCCEEDED: 14}
    assert not image_service.refused


def test_a_service_that_asks_to_slow_down_is_left_alone_and_then_asked_again(
    image_service: ImageService, clean_redis: Any
) -> None:
    image_service.limits = (Window(2, 1.0),)
    endpoint = create_wire_endpoint(image_service)
    queued_runs.create_run(queued_runs.create_campaign(), endpoint, 6)
    with working():
        wait_until_all_ended()
    assert states() == {JobState.SUCCEEDED: 6}
    assert len(image_service.paid) == 6


def test_an_unknown_rate_limit_is_found_and_kept(image_service: ImageService, clean_redis: Any) -> None:
    image_service.limits = (Window(4, 1.0),)
    endpoint = create_wire_endpoint(image_service)
    queued_runs.create_run(queued_runs.create_campaign(), endpoint, 24)
    with working("one"), working("two"):
        wait_until_all_ended()
    assert len(image_service.paid) == 24
    rates = endpoint_limits.learnt_rates(EndpointStatus.objects.get(endpoint=endpoint))
    assert 2 <= rates[rate_limits.SECOND].submissions < 6
    assert not Attempt.objects.filter(error_kind="rate", submitted_at__isnull=False).exists()


def test_an_unknown_limit_of_calls_at_once_is_found_and_kept(image_service: ImageService, clean_redis: Any) -> None:
    image_service.most_at_once, image_service.seconds = 6, 1.5
    endpoint = create_wire_endpoint(image_service, at_once=True, looks_up=False)
    queued_runs.create_run(queued_runs.create_campaign(), endpoint, 40)
    with working("one"), working("two"):
        wait_until_all_ended()
    assert len(image_service.paid) == 40
    status = EndpointStatus.objects.get(endpoint=endpoint)
    assert status.window is not None
    assert 5 <= status.window < 7


def test_five_failures_in_a_row_open_the_breaker_and_one_success_closes_it(
    image_service: ImageService, clean_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generation.services.remote.pacing.FIRST_REST_SECONDS", 0.5)
    monkeypatch.setattr("generation.services.dispatch.outcomes.backoff_seconds", lambda tries: 0.1)
    down = Fault(response=plain({"detail": "down"}, 503))
    image_service.fail_next("POST /submissions", *[down] * 6)
    endpoint = create_wire_endpoint(image_service, limits={"max_concurrent": 1})
    queued_runs.create_run(queued_runs.create_campaign(), endpoint, 8)
    statuses = EndpointStatus.objects.filter(endpoint=endpoint)
    with working():
        processes.wait_until(lambda: statuses.filter(breaker=Breaker.OPEN).exists(), seconds=60, what="it opens")
        assert statuses.get().failures >= 5
        wait_until_all_ended()
    assert states() == {JobState.SUCCEEDED: 8}
    assert statuses.get().breaker == Breaker.CLOSED
    assert image_service.counts["POST /submissions"] == 14


POINTS = ("claimed", "intended", "submitted", "entrusted", "polled", "resumed", "generated", "stored", "finish.written")


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_any_step_pays_for_nothing_twice(
    point: str, image_service: ImageService, clean_redis: Any
) -> None:
    queued_runs.create_run(
        queued_runs.create_campaign(), create_wire_endpoint(image_service, limits={"max_concurrent": 2}), 4
    )
    victim = processes.start_doomed("cloud", point)
    assert victim.wait(60) == -signal.SIGKILL
    with processes.running("worker", "cloud"):
        wait_until_all_ended()
    assert states() == {JobState.SUCCEEDED: 4}
    assert Counter(image_service.paid) == dict.fromkeys(Job.objects.values_list("pk", flat=True), 1)
    assert AssetVersion.objects.count() == 4
    assert LedgerEntry.objects.filter(kind=LedgerKind.SETTLE).count() == 4


@pytest.mark.slow
def test_a_worker_killed_in_the_call_of_a_service_without_lookup_leaves_an_uncertain_submission_and_no_second_one(
    image_service: ImageService, clean_redis: Any
) -> None:
    image_service.seconds = 3
    endpoint = create_wire_endpoint(
        image_service, limits={"max_concurrent": 2}, at_once=True, looks_up=False, timeout_seconds=20
    )
    queued_runs.create_run(queued_runs.create_campaign(), endpoint, 4)
    victim = processes.start("worker", "cloud")
    processes.wait_until(lambda: len(image_service.paid) == 2, seconds=60, what="two calls under way")
    victim.kill()
    image_service.seconds = 0.05
    with processes.running("worker", "cloud"):
        wait_until_all_ended()
    assert states() == {JobState.SUCCEEDED: 2, JobState.HELD: 2}
    assert max(Counter(image_service.paid).values()) == 1
    assert LedgerEntry.objects.filter(kind=LedgerKind.UNCERTAIN).count() == 2


def test_what_was_made_before_is_not_submitted(image_service: ImageService, clean_redis: Any) -> None:
    campaign, endpoint = queued_runs.create_campaign(), create_wire_endpoint(image_service)
    first, second = queued_runs.create_run(campaign, endpoint, 1), queued_runs.create_run(campaign, endpoint, 1)
    frozen = first.jobs.get().frozen
    type(frozen).objects.filter(job__run=second).update(fingerprint=frozen.fingerprint)
    planned_for = fingerprints.get_maker(endpoint, engines.build(endpoint.engine, endpoint.config))
    type(frozen).objects.update(maker=planned_for.to_json())
    Job.objects.filter(run=second).update(not_before=timezone.now() + timedelta(hours=1))
    with working():
        processes.wait_until(lambda: states().get(JobState.SUCCEEDED) == 1, seconds=60, what="the first is made")
        Job.objects.filter(run=second).update(not_before=None)
        wait_until_all_ended()
    assert states() == {JobState.SUCCEEDED: 2}
    assert len(image_service.paid) == 1


def test_a_local_engine_on_the_lane_of_services_is_refused_in_words(clean_redis: Any) -> None:
    queued_runs.create_run(
        queued_runs.create_campaign(), queued_runs.create_endpoint(engine="ready", lane=Lane.CLOUD), 1
    )
    with working():
        wait_until_all_ended()
    assert "on the lane gpu or cpu" in Job.objects.get().error
