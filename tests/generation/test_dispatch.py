"""Test claims, leases and outcomes on a real PostgreSQL, with real threads where two workers may meet."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.utils import timezone

from core.choices import Lane
from core.models import Event
from generation.checks.base import CheckResult
from generation.choices import AttemptOutcome, JobState
from generation.engines.base import EngineError, ErrorKind
from generation.models import Asset, AssetVersion, Attempt, Endpoint, Job, LaneShare, LedgerEntry, Run
from generation.services.dispatch import claims as dispatch
from generation.services.dispatch import outcomes, retries
from generation.services.images.assets import StoredMaster
from review.models import ReviewTask
from tests.support import factories, queued_runs
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.django_db


def test_a_claim_takes_one_batch_of_one_key_and_leases_it():
    endpoint = queued_runs.create_endpoint(batch_size=4)
    queued_runs.create_run(queued_runs.create_campaign(), endpoint, 10, batch_keys=2)
    claim = dispatch.claim(lane="cpu", worker="w1")
    assert len(claim.jobs) == 4
    assert {job.batch_key for job in claim.jobs} == {"k0"}
    held = Job.objects.filter(lease_token=claim.token)
    assert {job.status for job in held} == {JobState.RUNNING}
    assert all(job.lease_expires_at > timezone.now() for job in held)
    assert Attempt.objects.filter(lease_token=claim.token, worker="w1", outcome=AttemptOutcome.RUNNING).count() == 4


def test_a_claim_is_one_query(django_assert_num_queries):
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(), 5)
    with django_assert_num_queries(1):
        dispatch.claim(lane="cpu", worker="w")


def test_higher_priority_goes_first():
    campaign, endpoint = queued_runs.create_campaign(), queued_runs.create_endpoint()
    queued_runs.create_run(campaign, endpoint, 3)
    urgent = queued_runs.create_run(campaign, endpoint, 3, priority=5)
    assert {job.run_id for job in dispatch.claim(lane="cpu", worker="w").jobs} == {urgent.pk}


def test_the_campaign_that_lags_most_goes_next_and_a_sleeper_earns_no_credit():
    endpoint = queued_runs.create_endpoint(batch_size=2)
    Endpoint.objects.update(seconds_per_image=5)
    busy, late = queued_runs.create_campaign(), queued_runs.create_campaign()
    queued_runs.create_run(busy, endpoint, 40)
    for _ in range(5):
        dispatch.claim(lane="cpu", worker="w")
    assert queued_runs.virtual_time("cpu", busy) == pytest.approx(50)
    queued_runs.create_run(late, endpoint, 40)
    assert queued_runs.virtual_time("cpu", late) == pytest.approx(50)
    turns = Counter(dispatch.claim(lane="cpu", worker="w").jobs[0].campaign_id for _ in range(10))
    assert turns == {busy.pk: 5, late.pk: 5}


def test_a_loaded_model_is_kept_while_nobody_lags_too_far():
    endpoint = queued_runs.create_endpoint(batch_size=1)
    Endpoint.objects.update(seconds_per_image=10)
    campaign, other_campaign = queued_runs.create_campaign(), queued_runs.create_campaign()
    queued_runs.create_run(campaign, endpoint, 20)
    queued_runs.create_run(other_campaign, endpoint, 20)
    first = dispatch.claim(lane="cpu", worker="w").jobs[0].campaign_id
    turns = [dispatch.claim(lane="cpu", worker="w", sticky_campaign=first).jobs[0].campaign_id for _ in range(6)]
    assert turns[:2] == [first, first]
    assert set(turns) == {campaign.pk, other_campaign.pk}


def test_jobs_that_must_wait_are_not_claimed():
    run = queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(), 3)
    Job.objects.filter(run=run).update(not_before=timezone.now() + timedelta(minutes=1))
    assert not dispatch.claim(lane="cpu", worker="w")
    assert not dispatch.has_work("cpu")


@pytest.mark.django_db(transaction=True)
def test_jobs_of_a_local_endpoint_that_is_switched_off_wait_and_delay_no_others():
    campaign = queued_runs.create_campaign()
    off, on = queued_runs.create_endpoint(), queued_runs.create_endpoint()
    queued_runs.create_run(campaign, off, 2, priority=5)
    queued_runs.create_run(campaign, on, 2)
    Endpoint.objects.filter(pk=off.pk).update(is_enabled=False)
    assert {job.endpoint_id for job in dispatch.claim(lane=Lane.CPU, worker="w").jobs} == {on.pk}
    assert not dispatch.claim(lane=Lane.CPU, worker="w")
    Endpoint.objects.filter(pk=off.pk).update(is_enabled=True)
    assert len(dispatch.claim(lane=Lane.CPU, worker="w").jobs) == 2


def test_sixteen_claimers_never_take_the_same_job():
    endpoint = queued_runs.create_endpoint(batch_size=3)
    for _ in range(3):
        queued_runs.create_run(queued_runs.create_campaign(), endpoint, 60)
    taken: list[int] = []

    def work(name: str) -> None:
        while claim := dispatch.claim(lane="cpu", worker=name):
            taken.extend(job.id for job in claim.jobs)

    race_without_errors(*(partial(work, f"w{number}") for number in range(16)))
    assert len(taken) == len(set(taken))
    # A claimer that finds only locked heads stops; the next claim takes the rest.
    while claim := dispatch.claim(lane="cpu", worker="last"):
        taken.extend(job.id for job in claim.jobs)
    assert sorted(taken) == sorted(Job.objects.values_list("pk", flat=True))


def test_a_lease_is_renewed_only_by_its_holder():
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(), 2)
    claim = dispatch.claim(lane="cpu", worker="w")
    ids = [job.id for job in claim.jobs]
    assert dispatch.renew({claim.token: ids}) == set(ids)
    assert dispatch.renew({uuid.uuid4(): ids}) == set()
    Job.objects.filter(pk=ids[0]).update(is_cancel_requested=True)
    assert dispatch.renew({claim.token: ids}) == {ids[1]}


@pytest.mark.django_db(transaction=True)
def test_leases_of_several_claims_are_renewed_at_once_and_no_row_is_waited_for():
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(batch_size=2), 6)
    claims = [dispatch.claim(lane="cpu", worker="w") for _ in range(3)]
    held = {claim.token: [job.id for job in claim.jobs] for claim in claims}
    busy = claims[0].jobs[0].id
    Job.objects.update(lease_expires_at=timezone.now())
    kept = []

    def renew() -> None:
        kept.append(dispatch.renew(held))
        connection.close()

    with transaction.atomic():
        Job.objects.select_for_update().get(pk=busy)
        thread = threading.Thread(target=renew)
        thread.start()
        thread.join(60)
        assert kept == [{job.id for claim in claims for job in claim.jobs}]
    renewed = Job.objects.filter(lease_expires_at__gt=timezone.now() + timedelta(seconds=2))
    assert set(renewed.values_list("pk", flat=True)) == kept[0] - {busy}


def test_a_lost_lease_goes_back_to_the_queue_and_its_attempt_is_lost():
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(), 1)
    claim = dispatch.claim(lane="cpu", worker="w")
    Job.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert outcomes.reap() == 1
    job = Job.objects.get()
    assert (job.status, job.deaths, job.lease_token) == (JobState.QUEUED, 1, None)
    assert Attempt.objects.get().outcome == AttemptOutcome.LOST
    assert not outcomes.fail(
        job=claim.jobs[0], token=claim.token, error=EngineError(ErrorKind.TRANSIENT, "x"), worker="w"
    )


def test_a_job_that_cost_three_workers_is_quarantined_with_the_evidence():
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(), 1)
    for _ in range(3):
        assert dispatch.claim(lane="cpu", worker="w")
        Job.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        outcomes.reap()
    job = Job.objects.get()
    assert job.status == JobState.QUARANTINED
    assert "3 of 3" in job.error
    assert Asset.objects.get().state == "failed"
    assert Attempt.objects.filter(outcome=AttemptOutcome.LOST).count() == 3
    assert list(Event.objects.filter(type="generation.job.lost").values_list("payload__deaths", flat=True)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ErrorKind.TRANSIENT, JobState.QUEUED),
        (ErrorKind.RATE, JobState.QUEUED),
        (ErrorKind.MEMORY, JobState.QUEUED),
        (ErrorKind.LOST, JobState.QUEUED),
        (ErrorKind.MODERATION, JobState.FAILED),
        (ErrorKind.INPUT, JobState.FAILED),
        (ErrorKind.CANCELLED, JobState.CANCELLED),
    ],
)
def test_each_kind_of_error_has_its_consequence(kind, status):
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(), 1)
    claim = dispatch.claim(lane="cpu", worker="w")
    assert outcomes.fail(job=claim.jobs[0], token=claim.token, error=EngineError(kind, "It went wrong."), worker="w")
    job = Job.objects.get()
    assert job.status == status
    assert (job.not_before is not None) == (status == JobState.QUEUED)
    assert (Asset.objects.get().state == "failed") == (status != JobState.QUEUED)


def test_quota_holds_the_jobs_of_the_endpoint_for_the_operator():
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(batch_size=1), 3)
    claim = dispatch.claim(lane="cpu", worker="w")
    outcomes.fail(
        job=claim.jobs[0], token=claim.token, error=EngineError(ErrorKind.QUOTA, "Credit is used up."), worker="w"
    )
    assert set(Job.objects.values_list("status", "hold_reason")) == {(JobState.HELD, "quota")}
    assert Asset.objects.filter(state="making").count() == 3


def test_retry_after_is_honoured():
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(), 1)
    claim = dispatch.claim(lane="cpu", worker="w")
    error = EngineError(ErrorKind.RATE, "Slow down.", retry_after_seconds=90)
    outcomes.fail(job=claim.jobs[0], token=claim.token, error=error, worker="w")
    wait = Job.objects.get().not_before - timezone.now()
    assert 80 < wait.total_seconds() <= 90


def test_retries_end_and_the_asset_fails_with_the_engines_words():
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(), 1)
    for _ in range(outcomes.MAX_TRIES[ErrorKind.TRANSIENT]):
        claim = dispatch.claim(lane="cpu", worker="w")
        outcomes.fail(
            job=claim.jobs[0], token=claim.token, error=EngineError(ErrorKind.TRANSIENT, "No route."), worker="w"
        )
        Job.objects.update(not_before=None)
    assert not dispatch.claim(lane="cpu", worker="w")
    assert Job.objects.get().error == "No route."
    assert Event.objects.filter(type="generation.job.failed").count() == 1


def test_what_was_not_started_is_given_back_without_counting_as_an_attempt():
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(), 4)
    claim = dispatch.claim(lane="cpu", worker="w")
    assert dispatch.give_back(claim.token, [job.id for job in claim.jobs]) == 4
    assert set(Job.objects.values_list("status", "attempts")) == {(JobState.QUEUED, 0)}
    assert not Attempt.objects.exists()


def test_the_claim_uses_its_index():
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(), 200)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE generation_job; SET LOCAL enable_seqscan = off")
        cursor.execute(
            """EXPLAIN SELECT id FROM generation_job WHERE lane = 'cpu' AND campaign_id = %s AND status = 'queued'
               ORDER BY priority DESC, batch_key, id LIMIT 1""",
            [LaneShare.objects.get().campaign_id],
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "job_claim" in plan
    assert "Sort" not in plan


def test_a_retry_of_a_paused_run_waits_with_the_others():
    run = queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(batch_size=2), 2)
    claim = dispatch.claim(lane="cpu", worker="w")
    Run.objects.filter(pk=run.pk).update(state="paused")
    outcomes.fail(job=claim.jobs[0], token=claim.token, error=EngineError(ErrorKind.TRANSIENT, "x"), worker="w")
    Job.objects.filter(pk=claim.jobs[1].id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    outcomes.reap()
    assert set(Job.objects.values_list("status", "hold_reason")) == {(JobState.HELD, "paused")}


def test_a_job_that_a_person_queued_again_has_all_its_tries_before_it():
    campaign = queued_runs.create_campaign()
    run = queued_runs.create_run(campaign, queued_runs.create_endpoint(), 1)
    error = EngineError(ErrorKind.TRANSIENT, "No route.")
    for _ in range(outcomes.MAX_TRIES[ErrorKind.TRANSIENT]):
        claim = dispatch.claim(lane="cpu", worker="w")
        outcomes.fail(job=claim.jobs[0], token=claim.token, error=error, worker="w")
        Job.objects.update(not_before=None)
    assert Job.objects.get().status == JobState.FAILED
    factories.MembershipFactory(brand=campaign.brand, user=campaign.owner, role="campaign_manager")
    retries.retry(run_id=run.pk, by=campaign.owner)
    claim = dispatch.claim(lane="cpu", worker="w")
    outcomes.fail(job=claim.jobs[0], token=claim.token, error=error, worker="w")
    job = Job.objects.get()
    assert (job.status, job.tries, job.attempts) == (JobState.QUEUED, 1, 6)


# -- finished images ---------------------------------------------------------------------------------------------------


def stored_result(job, **fields):
    """Return the result of a job: an image that passed one check and is like no other."""
    master = StoredMaster(
        sha256=factories.digest(f"image {job.id}"), storage_key=f"sha256/{job.id}.png", image_format="png", width=64,
        height=64, has_alpha=False, bytes=9, thumbnails={}, hashes={"pdq": "", "pdq_quality": 0, "colours": bytes(48)},
    )  # fmt: skip
    checks = (CheckResult("sharpness", "pass", "Sharp."),)
    return outcomes.StoredResult(master=master, check_results=checks, details={"model": "ready"}, **fields)


@pytest.fixture
def claim():
    """The claim of one job of a run of two."""
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(batch_size=1), 2)
    Endpoint.objects.update(price_per_image="0.50", prices={"million_output_tokens": "10"})
    return dispatch.claim(lane="cpu", worker="w")


def finish(claim, **fields):
    [job] = claim.jobs
    return outcomes.finish(job=job, token=claim.token, made=stored_result(job, **fields), worker="w")


def test_a_finished_image_is_recorded_with_its_events_in_order(claim):
    assert finish(claim)
    job, attempt = Job.objects.get(pk=claim.jobs[0].id), Attempt.objects.get()
    assert (job.status, job.lease_token, job.lease_expires_at) == (JobState.SUCCEEDED, None, None)
    assert (attempt.outcome, attempt.details) == (AttemptOutcome.SUCCEEDED, {"model": "ready"})
    assert attempt.ended_at is not None
    assert [str(entry) for entry in LedgerEntry.objects.all()] == ["settle 0.500000"]
    version, task = AssetVersion.objects.get(job=job), ReviewTask.objects.get()
    assert [(event.type, event.object_id) for event in Event.objects.order_by("id")] == [
        ("generation.job.succeeded", job.pk),
        ("generation.asset.moved", version.asset_id),
        ("generation.version.ready", version.asset_id),
        ("review.task.opened", version.asset_id),
    ]
    assert (task.asset_id, task.state, task.slots.count()) == (version.asset_id, "open", 1)


def test_an_image_is_recorded_in_few_queries(claim, django_assert_num_queries):
    assert finish(claim)  # the first one of a brand makes its checklist, too
    further = dispatch.claim(lane="cpu", worker="w")
    with django_assert_num_queries(11):
        assert finish(further)


def test_the_image_of_a_lost_lease_is_not_recorded(claim):
    Job.objects.filter(pk=claim.jobs[0].id).update(lease_token=uuid.uuid4())
    assert not finish(claim)
    assert not AssetVersion.objects.exists() and not LedgerEntry.objects.exists() and not Event.objects.exists()
    assert Attempt.objects.get().outcome == AttemptOutcome.RUNNING


@pytest.mark.parametrize(("usage", "amount"), [({}, "0.000000"), ({"output_tokens": 1_000_000}, "10.500000")])
def test_an_image_that_was_cancelled_meanwhile_costs_its_usage_and_is_not_recorded(claim, usage, amount):
    Job.objects.filter(pk=claim.jobs[0].id).update(is_cancel_requested=True)
    assert finish(claim, usage=usage)
    assert not AssetVersion.objects.exists()
    assert (Job.objects.get(pk=claim.jobs[0].id).status, Attempt.objects.get().outcome) == (
        JobState.CANCELLED,
        AttemptOutcome.CANCELLED,
    )
    assert [str(entry) for entry in LedgerEntry.objects.all()] == [f"settle {amount}"]
