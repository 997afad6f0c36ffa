"""Test that an image is kept and reused only under the fingerprint that made it, whatever changes after the plan."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaigns.models import Campaign
from core.choices import Lane
from core.errors import Conflict, Invalid, NotAllowed, NotFound
from core.models import Event
from generation.choices import AssetState, HoldReason, JobState, RunState
from generation.finishing import encode
from generation.models import Asset, AssetVersion, Attempt, Endpoint, Job, JobSpec, LedgerEntry, Master, Run, Worker
from generation.selectors import endpoints, failures
from generation.services import runs
from generation.services.dispatch import claims, outcomes, retries
from generation.services.endpoints import changes
from generation.services.images import rounds
from generation.services.planning import fingerprints
from generation.services.planning.fingerprints import Maker
from generation.workers.lane import LaneWorker
from tests.support import factories, painted_engine
from tests.support.painted_engine import (
    PaintedEngine,
    change_config,
    find_mismatches,
    overwrite_weights,
    plan_run,
    release_run,
    work_until_idle,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def clear_meanwhile() -> Iterator[None]:
    yield
    PaintedEngine.meanwhile.clear()


@pytest.fixture
def worker(clean_redis: Any) -> Iterator[LaneWorker]:
    """A worker that keeps everything loaded while endpoints and files change."""
    running = LaneWorker("painter", [Lane.CPU])
    running.start()
    yield running
    running.stop()


@pytest.fixture
def endpoint(db: None, tmp_path: Path) -> Endpoint:
    return painted_engine.create_endpoint(tmp_path)


@pytest.fixture
def campaign(db: None) -> Campaign:
    return painted_engine.create_campaign(budget=Decimal(100))


def other_file(endpoint: Endpoint) -> None:
    path = Path(endpoint.config["file"]).with_name("other")
    path.write_bytes(b"other")
    change_config(endpoint, file=str(path))


def replaced_file(endpoint: Endpoint) -> None:
    path = Path(endpoint.config["file"])
    new = path.with_name("new")
    new.write_bytes(b"fifth")  # as long as before
    new.replace(path)


CHANGES: dict[str, Callable[[Endpoint], None]] = {
    "another setting": lambda endpoint: change_config(endpoint, ink="red"),
    "other weights under the same name": lambda endpoint: overwrite_weights(endpoint, b"second"),
    "a file put in its place": replaced_file,
    "another file": other_file,
    "another quality tier": lambda endpoint: change_config(endpoint, tier="draft"),
    "the prompt is not obeyed any more": lambda endpoint: change_config(endpoint, blind=True),
}


def job_states(run: Run | None = None) -> list[tuple[str, str]]:
    jobs = Job.objects.filter(run=run) if run else Job.objects.all()
    return list(jobs.order_by("pk").values_list("status", "hold_reason"))


# -- what is changed between plan and making --------------------------------------------------------------------------


def test_what_was_changed_after_the_plan_makes_nothing_under_the_plans_fingerprint(worker: LaneWorker, tmp_path: Path):
    planned: dict[tuple[str, str], Run] = {}
    for engine in ("painted", "painted-silently"):
        for name, alter in CHANGES.items():
            endpoint = painted_engine.create_endpoint(tmp_path, engine=engine)
            planned[engine, name] = plan_run(painted_engine.create_campaign(3), endpoint)
            alter(endpoint)
            release_run(planned[engine, name])
    work_until_idle(worker)
    assert Master.objects.count() == AssetVersion.objects.count() == 0
    assert set(Asset.objects.values_list("state", flat=True)) == {AssetState.MAKING}
    for case, run in planned.items():
        assert job_states(run) == [(JobState.HELD, HoldReason.CHANGED)] * 3, case
        assert Run.objects.get(pk=run.pk).state == RunState.RUNNING, case
        events = Event.objects.filter(type="generation.run.engine_changed", object_id=run.pk)
        assert sum(event.payload["jobs"] for event in events) == 3, case


def test_what_is_changed_while_a_batch_is_made_is_kept_only_up_to_the_change(worker: LaneWorker, tmp_path: Path):
    for name, alter in CHANGES.items():
        endpoint = painted_engine.create_endpoint(tmp_path)
        PaintedEngine.meanwhile.extend([lambda: None, lambda alter=alter, endpoint=endpoint: alter(endpoint)])
        run = release_run(plan_run(painted_engine.create_campaign(3), endpoint))
        work_until_idle(worker)
        # Settings are read when a batch of two begins; files are read for each image.
        kept = 1 if name in ("other weights under the same name", "a file put in its place") else 2
        assert [status for status, _ in job_states(run)].count(JobState.SUCCEEDED) == kept, name
        assert [reason for _, reason in job_states(run)].count(HoldReason.CHANGED) == 3 - kept, name
    assert find_mismatches() == []


def test_what_an_engine_does_not_say_of_itself_is_asked_after_each_image(
    worker: LaneWorker, campaign: Campaign, tmp_path: Path
):
    endpoint = painted_engine.create_endpoint(tmp_path, engine="painted-silently")
    PaintedEngine.meanwhile.append(lambda: overwrite_weights(endpoint, b"second"))
    release_run(plan_run(campaign, endpoint))
    work_until_idle(worker)
    assert Master.objects.count() == 0 and {reason for _, reason in job_states()} == {HoldReason.CHANGED}


def test_images_of_a_restored_engine_are_made_as_planned(worker: LaneWorker, campaign: Campaign, endpoint: Endpoint):
    run = release_run(plan_run(campaign, endpoint))
    overwrite_weights(endpoint, b"second")
    work_until_idle(worker)
    overwrite_weights(endpoint, b"first")
    group = failures.groups(Run.objects.get(pk=run.pk))[0]
    assert retries.retry(run_id=run.pk, by=run.requested_by, group=group.key) == 3
    work_until_idle(worker)
    assert Master.objects.count() == 3 and find_mismatches() == []
    assert set(JobSpec.objects.values_list("maker__revision", flat=True)) == {
        PaintedEngine(endpoint.config).model_identity()[1]
    }


def test_trying_again_without_putting_it_back_holds_them_again(
    worker: LaneWorker, campaign: Campaign, endpoint: Endpoint
):
    run = release_run(plan_run(campaign, endpoint))
    overwrite_weights(endpoint, b"second")
    work_until_idle(worker)
    group = failures.groups(Run.objects.get(pk=run.pk))[0]
    retries.retry(run_id=run.pk, by=run.requested_by, group=group.key)
    work_until_idle(worker)
    assert Master.objects.count() == 0 and {reason for _, reason in job_states()} == {HoldReason.CHANGED}


def test_what_was_made_before_the_change_is_reused_and_names_what_made_it(
    worker: LaneWorker, campaign: Campaign, endpoint: Endpoint
):
    release_run(plan_run(campaign, endpoint))
    work_until_idle(worker)
    first = PaintedEngine(endpoint.config).model_identity()
    second_run = plan_run(campaign, endpoint)
    overwrite_weights(endpoint, b"second")
    release_run(second_run)
    work_until_idle(worker)
    reused = Attempt.objects.filter(job__run=second_run)
    assert {(attempt.outcome, attempt.details["model"], attempt.details["revision"]) for attempt in reused} == {
        ("succeeded", *first)
    }
    assert {attempt.details["made_by_job"] for attempt in reused} == set(
        Job.objects.exclude(run=second_run).values_list("pk", flat=True)
    )
    assert Master.objects.count() == 3 and find_mismatches() == []
    third = release_run(plan_run(campaign, endpoint))
    work_until_idle(worker)
    assert Master.objects.count() == 6, "the changed engine makes its own"
    assert (
        not Attempt.objects.filter(job__run=third, details__has_key="reused_master").exists()
        and find_mismatches() == []
    )


def test_an_image_is_reused_although_the_encoder_writes_other_bytes_by_now(
    worker: LaneWorker, campaign: Campaign, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
):
    """Another version of the library that compresses PNG files has this effect."""
    release_run(plan_run(campaign, endpoint))
    work_until_idle(worker)
    masters = list(Master.objects.order_by("pk").values())
    real = encode.encode_master

    def encode_otherwise(pixels: Any) -> Any:
        encoded = real(pixels)
        data = encoded.data + b"another end"
        return replace(encoded, data=data, sha256=hashlib.sha256(data).hexdigest())

    monkeypatch.setattr(encode, "encode_master", encode_otherwise)
    second_run = release_run(plan_run(campaign, endpoint))
    work_until_idle(worker)
    assert set(Job.objects.filter(run=second_run).values_list("status", flat=True)) == {JobState.SUCCEEDED}
    assert list(Master.objects.order_by("pk").values()) == masters


def test_a_technical_record_of_a_reused_image_names_its_model(
    worker: LaneWorker, campaign: Campaign, endpoint: Endpoint
):
    from review.selectors import lineage

    release_run(plan_run(campaign, endpoint))
    work_until_idle(worker)
    second_run = release_run(plan_run(campaign, endpoint))
    work_until_idle(worker)
    version = AssetVersion.objects.filter(job__run=second_run).order_by("pk").first()
    made = lineage._making(version)["model"]
    assert (made["name"], made["revision"]) == PaintedEngine(endpoint.config).model_identity()


def test_all_that_is_queued_for_the_endpoint_is_held_at_once_and_nothing_else(
    campaign: Campaign, endpoint: Endpoint, tmp_path: Path, worker: LaneWorker
):
    others = painted_engine.create_campaign(4)
    elsewhere = painted_engine.create_endpoint(tmp_path)
    for run in (plan_run(campaign, endpoint), plan_run(others, endpoint), plan_run(others, elsewhere)):
        release_run(run)
    overwrite_weights(endpoint, b"second")
    late = release_run(plan_run(others, endpoint))
    claim = claims.claim(lane=Lane.CPU, worker="w", endpoint_id=None)
    while (
        claim.jobs[0].endpoint_id != endpoint.pk
        or Maker(**claim.jobs[0].maker).revision == PaintedEngine(endpoint.config).model_identity()[1]
    ):
        claims.give_back(claim.token, [job.id for job in claim.jobs])
        Job.objects.filter(pk__in=[job.id for job in claim.jobs]).update(not_before=timezone.now() + timedelta(hours=1))
        claim = claims.claim(lane=Lane.CPU, worker="w")
    now = fingerprints.get_maker(endpoint, PaintedEngine(endpoint.config))
    changes.hold(jobs=claim.jobs, token=claim.token, endpoint=endpoint, now=now, worker="w")
    stale = Job.objects.filter(endpoint=endpoint).exclude(run=late)
    assert set(stale.values_list("status", "hold_reason")) == {(JobState.HELD, HoldReason.CHANGED)}
    assert set(Job.objects.filter(run=late).values_list("status", flat=True)) == {JobState.QUEUED}
    assert set(Job.objects.filter(endpoint=elsewhere).values_list("status", flat=True)) == {JobState.QUEUED}
    events = Event.objects.filter(type="generation.run.engine_changed")
    assert sorted(event.payload["jobs"] for event in events) == [3, 4]


def test_a_job_that_was_given_up_meanwhile_is_cancelled_and_not_held(
    worker: LaneWorker, campaign: Campaign, endpoint: Endpoint
):
    release_run(plan_run(campaign, endpoint))
    overwrite_weights(endpoint, b"second")
    Job.objects.update(is_cancel_requested=True)
    work_until_idle(worker)
    assert {status for status, _ in job_states()} == {JobState.CANCELLED}


# -- the run's page ----------------------------------------------------------------------------------------------------


@pytest.fixture
def held_run(worker: LaneWorker, campaign: Campaign, endpoint: Endpoint) -> Run:
    """A run whose three images wait because the file of the same name now holds other weights."""
    run = release_run(plan_run(campaign, endpoint))
    overwrite_weights(endpoint, b"second")
    work_until_idle(worker)
    return Run.objects.get(pk=run.pk)


def test_the_runs_page_says_what_was_planned_and_what_is_there_and_offers_one_button(held_run: Run, client: Any):
    (group,) = failures.groups(held_run)
    assert (group.cause.code, str(group.remedy), group.count) == ("changed", "plan_anew", 3)
    planned = JobSpec.objects.first().maker["revision"]
    now = PaintedEngine(held_run.endpoint.config).model_identity()[1]
    assert f"revision {planned[:8]}" in group.message and f"revision {now[:8]}" in group.message
    client.force_login(held_run.requested_by)
    page = client.get(reverse("run", args=[held_run.campaign.brand.slug, held_run.pk])).content.decode()
    assert "Plan these 3 again with the current model" in page and "engine changed" in page
    answer = client.post(reverse("run_act", args=[held_run.campaign.brand.slug, held_run.pk, "plan-anew"]), follow=True)
    assert "3 images are planned again." in answer.content.decode()
    assert {status for status, _ in job_states()} == {JobState.QUEUED}
    now = timezone.now()
    alive = {"lanes": ["cpu"], "host": "h", "pid": 1, "started_at": now, "seen_at": now}
    Worker.objects.update_or_create(name="alive", defaults=alive)
    sentences = endpoints.explain_job(job_id=Job.objects.first().pk, user=held_run.requested_by)
    assert "turn" in sentences[-1]


def test_a_held_job_explains_what_it_waits_for(held_run: Run):
    sentences = endpoints.explain_job(job_id=Job.objects.first().pk, user=held_run.requested_by)
    assert sentences[-1] == "Its engine was changed after it was planned; somebody has to plan it anew."


def test_the_api_plans_them_anew_too(held_run: Run, api_client: Any):
    answer = api_client(held_run.requested_by).post(reverse("api:run-plan-anew", args=[held_run.pk]))
    assert answer.status_code == 200 and {status for status, _ in job_states()} == {JobState.QUEUED}
    assert api_client(held_run.requested_by).post(reverse("api:run-plan-anew", args=[held_run.pk])).status_code == 409


# -- planned anew ------------------------------------------------------------------------------------------------------


def test_images_planned_anew_are_made_by_the_current_engine(worker: LaneWorker, tmp_path: Path):
    def frozen(run: Run) -> list[Any]:
        rows = JobSpec.objects.filter(job__run=run).order_by("pk")
        return list(rows.values_list("cell_id", "round", "candidate", "spec", "fingerprint"))

    for name, alter in CHANGES.items():
        endpoint = painted_engine.create_endpoint(tmp_path)
        run = plan_run(painted_engine.create_campaign(3), endpoint)
        before = frozen(run)
        alter(endpoint)
        release_run(run)
        work_until_idle(worker)
        expected = changes.ReplanResult(jobs=3, left=0)
        assert changes.replan_held_jobs(run_id=run.pk, by=run.requested_by) == expected, name
        after = frozen(run)
        assert [row[:4] for row in after] == [row[:4] for row in before], name
        assert not {row[4] for row in after} & {row[4] for row in before}, name
        work_until_idle(worker)
        run = Run.objects.get(pk=run.pk)
        assert run.state == RunState.FINISHED and failures.groups(run) == [], name
        assert set(run.cells.values_list("asset__state", flat=True)) == {AssetState.IN_REVIEW}, name
        (event,) = Event.objects.filter(type="generation.run.planned_anew", object_id=run.pk)
        assert (event.payload["jobs"], event.payload["left"]) == (3, 0), name
    assert Master.objects.count() == AssetVersion.objects.count() == 3 * len(CHANGES)


def test_money_is_reserved_at_the_price_of_now_and_spent_once(
    worker: LaneWorker, campaign: Campaign, endpoint: Endpoint
):
    Endpoint.objects.filter(pk=endpoint.pk).update(price_per_image=Decimal("0.5"))
    endpoint.refresh_from_db()
    run = release_run(plan_run(campaign, endpoint))
    Endpoint.objects.filter(pk=endpoint.pk).update(price_per_image=Decimal(2))
    overwrite_weights(endpoint, b"second")
    work_until_idle(worker)
    assert LedgerEntry.objects.filter(kind="settle").count() == 0
    changes.replan_held_jobs(run_id=run.pk, by=run.requested_by)
    assert sum(LedgerEntry.objects.filter(kind="reserve").values_list("amount", flat=True)) == 6
    work_until_idle(worker)
    assert sum(LedgerEntry.objects.filter(kind="settle").values_list("amount", flat=True)) == 6
    assert LedgerEntry.objects.filter(kind="settle").count() == 3


def test_a_budget_that_is_too_small_refuses_and_changes_nothing(held_run: Run):
    Campaign.objects.filter(pk=held_run.campaign_id).update(budget=Decimal(1))
    Endpoint.objects.update(price_per_image=Decimal(2))
    before = list(JobSpec.objects.order_by("pk").values_list("fingerprint", "quoted_cost"))
    with pytest.raises(Conflict, match="is left"):
        changes.replan_held_jobs(run_id=held_run.pk, by=held_run.requested_by)
    assert list(JobSpec.objects.order_by("pk").values_list("fingerprint", "quoted_cost")) == before
    assert {reason for _, reason in job_states()} == {HoldReason.CHANGED}


def test_images_that_would_be_equal_now_are_planned_once_and_the_others_say_why(
    worker: LaneWorker, campaign: Campaign, endpoint: Endpoint
):
    from campaigns.models import PromptVersion

    PromptVersion.objects.update(seed_strategy="fixed")
    run = release_run(plan_run(campaign, endpoint))
    change_config(endpoint, blind=True)
    work_until_idle(worker)
    assert changes.replan_held_jobs(run_id=run.pk, by=run.requested_by) == changes.ReplanResult(jobs=1, left=2)
    assert sorted(job_states()) == [(JobState.HELD, HoldReason.CHANGED)] * 2 + [(JobState.QUEUED, "")]
    (group,) = failures.groups(Run.objects.get(pk=run.pk))
    assert group.count == 2 and "the same image for it as for another one" in group.message


def test_what_the_changed_engine_cannot_make_stays_held_and_says_why(held_run: Run):
    Endpoint.objects.update(engine="packshot")
    with pytest.raises(Invalid, match="It needs an image “cutout”"):
        changes.replan_held_jobs(run_id=held_run.pk, by=held_run.requested_by)
    assert {reason for _, reason in job_states()} == {HoldReason.CHANGED}


def test_an_endpoint_that_cannot_be_used_refuses_with_its_reason(held_run: Run):
    Path(held_run.endpoint.config["file"]).unlink()
    with pytest.raises(Invalid, match="cannot say which model it has"):
        changes.replan_held_jobs(run_id=held_run.pk, by=held_run.requested_by)


def test_in_a_paused_run_they_wait_for_it_to_go_on(held_run: Run, worker: LaneWorker):
    runs.pause(run_id=held_run.pk, by=held_run.requested_by)
    changes.replan_held_jobs(run_id=held_run.pk, by=held_run.requested_by)
    assert job_states() == [(JobState.HELD, HoldReason.PAUSED)] * 3
    runs.resume(run_id=held_run.pk, by=held_run.requested_by)
    work_until_idle(worker)
    assert Master.objects.count() == 3 and find_mismatches() == []


def test_a_run_that_is_cancelled_meanwhile_leaves_nothing_to_plan(held_run: Run):
    runs.cancel(run_id=held_run.pk, by=held_run.requested_by)
    with pytest.raises(Conflict, match="no image that waits"):
        changes.replan_held_jobs(run_id=held_run.pk, by=held_run.requested_by)
    assert {status for status, _ in job_states()} == {JobState.CANCELLED}


def test_only_people_who_may_run_may_plan_anew_and_a_stranger_learns_nothing(held_run: Run):
    viewer = factories.MembershipFactory(brand=held_run.campaign.brand, role="viewer").user
    with pytest.raises(NotAllowed):
        changes.replan_held_jobs(run_id=held_run.pk, by=viewer)
    with pytest.raises(NotFound):
        changes.replan_held_jobs(run_id=held_run.pk, by=factories.MembershipFactory(role="campaign_manager").user)


def test_what_is_changed_again_before_it_is_made_is_held_again(held_run: Run, worker: LaneWorker):
    changes.replan_held_jobs(run_id=held_run.pk, by=held_run.requested_by)
    overwrite_weights(held_run.endpoint, b"third")
    work_until_idle(worker)
    assert Master.objects.count() == 0 and {reason for _, reason in job_states()} == {HoldReason.CHANGED}


# -- rounds, other makers, equal fingerprints --------------------------------------------------------------------------


def test_the_next_round_of_a_changed_engine_is_its_own_even_with_nothing_else_changed(
    worker: LaneWorker, campaign: Campaign, endpoint: Endpoint
):
    release_run(plan_run(campaign, endpoint))
    work_until_idle(worker)
    version = AssetVersion.objects.order_by("pk").first()
    with pytest.raises(Invalid, match="the same image again"):
        rounds.apply_controls(version=version, controls={})
    overwrite_weights(endpoint, b"second")
    changed = rounds.apply_controls(version=version, controls={})
    assert changed.maker == fingerprints.get_maker(endpoint, PaintedEngine(endpoint.config))
    assert changed.fingerprint != version.job.frozen.fingerprint


def test_files_of_a_version_are_of_the_master_that_is_kept_where_another_worker_was_first(
    worker: LaneWorker, campaign: Campaign, endpoint: Endpoint, tmp_path: Path
):
    """Services without a seed answer equal requests differently, so a master must never get the files of another."""
    release_run(plan_run(campaign, painted_engine.create_endpoint(tmp_path, ink="red")))
    work_until_idle(worker)
    source = Master.objects.first()
    run = release_run(plan_run(campaign, endpoint))
    spec = JobSpec.objects.filter(job__run=run).order_by("pk").first()
    copied = ("brand_id", "sha256", "storage_key", "image_format", "width", "height", "bytes", "thumbnails")

    def finish_in_another_worker() -> None:
        values = {name: getattr(source, name) for name in copied}
        Master.objects.create(**values, fingerprint=spec.fingerprint)

    PaintedEngine.meanwhile.append(finish_in_another_worker)
    work_until_idle(worker)
    version = AssetVersion.objects.get(job=spec.job)
    assert (version.master.fingerprint, version.master.sha256) == (spec.fingerprint, source.sha256)
    made = AssetVersion.objects.filter(master=source).first().renditions.get()
    assert version.renditions.get().sha256 == made.sha256
    assert Attempt.objects.get(job=spec.job).details["kept_master"] == source.sha256
    assert Attempt.objects.filter(details__has_key="kept_master").count() == 1


def test_what_was_planned_before_makers_were_recorded_is_kept_under_what_made_it(
    worker: LaneWorker, campaign: Campaign, endpoint: Endpoint
):
    run = plan_run(campaign, endpoint)
    planned = set(JobSpec.objects.values_list("fingerprint", flat=True))
    JobSpec.objects.update(maker={})
    overwrite_weights(endpoint, b"second")
    release_run(run)
    work_until_idle(worker)
    assert Master.objects.count() == 3 and find_mismatches() == []
    assert not planned & set(Master.objects.values_list("fingerprint", flat=True))


@pytest.mark.parametrize(
    ("now", "reported", "made"),
    [
        (Maker("e", "m", "1+s"), ("", ""), Maker("e", "m", "1+s")),
        (Maker("e", "m", "1+s"), ("m", "1+s"), Maker("e", "m", "1+s")),
        (Maker("e", "m", "1+s"), ("m", "1"), Maker("e", "m", "1+s")),
        (Maker("e", "m", "1+s"), ("m", "12"), Maker("e", "m", "12+s")),
        (Maker("e", "m", "1+s"), ("m", "2"), Maker("e", "m", "2+s")),
        (Maker("e", "m", "1+s"), ("m", "1/dated+s"), Maker("e", "m", "1/dated+s")),
        (Maker("e", "n", "3+t"), ("n", "3+t"), Maker("e", "m", "1+s")),
        (Maker("e", "m", "3+t"), ("m", "1+t"), Maker("e", "m", "1+s")),
        (Maker("e", "m", "+t"), ("m", "7"), Maker("e", "m", "7+s")),
    ],
)
def test_a_result_is_of_what_it_was_submitted_to_unless_the_service_says_otherwise(
    now: Maker, reported: tuple[str, str], made: Maker
):
    assert fingerprints.maker_of_result(Maker("e", "m", "1+s"), now, *reported) == made


# -- whatever is changed -----------------------------------------------------------------------------------------------

STEPS = st.one_of(
    st.tuples(st.just("ink"), st.sampled_from(["sage", "clay", None])),
    st.tuples(st.just("file"), st.sampled_from([b"first", b"second", b"third"])),
    st.tuples(st.just("tier"), st.sampled_from(["draft", None])),
    st.tuples(st.just("meanwhile"), st.sampled_from([b"first", b"second", b"third"])),
    st.tuples(st.sampled_from(["plan", "work", "anew", "again", "lose", "pause", "put back"]), st.none()),
)


@pytest.mark.slow
def test_whatever_changes_between_plan_and_result_no_master_has_a_fingerprint_that_did_not_make_it(
    worker: LaneWorker, tmp_path: Path
):
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps=st.lists(STEPS, min_size=3, max_size=9))
    def holds(steps: list[tuple[str, Any]]) -> None:
        PaintedEngine.meanwhile.clear()
        endpoint, campaign = painted_engine.create_endpoint(tmp_path), painted_engine.create_campaign(2)
        planned = [release_run(plan_run(campaign, endpoint))]
        for step, value in steps:
            _take(step, value, endpoint, campaign, planned, worker)
        PaintedEngine.meanwhile.clear()
        work_until_idle(worker)
        assert find_mismatches() == []
        own_jobs = Job.objects.filter(endpoint=endpoint)
        assert not own_jobs.filter(status__in=(JobState.RUNNING, JobState.FAILED)).exists()
        waiting = own_jobs.filter(status=JobState.HELD, hold_reason=HoldReason.CHANGED).count()
        assert own_jobs.filter(status=JobState.SUCCEEDED).count() + waiting == own_jobs.count()
        for run in planned:
            run.refresh_from_db()
            has_waiting = own_jobs.filter(run=run, status=JobState.HELD).exists()
            runs.finish_if_done(run.pk)
            assert Run.objects.get(pk=run.pk).state == (RunState.RUNNING if has_waiting else RunState.FINISHED)

    holds()


def _take(
    step: str, value: Any, endpoint: Endpoint, campaign: Campaign, planned: list[Run], worker: LaneWorker
) -> None:
    run = planned[-1]
    if step in ("ink", "tier"):
        change_config(endpoint, **{step: value})
    elif step == "file":
        overwrite_weights(endpoint, value)
    elif step == "meanwhile":
        PaintedEngine.meanwhile.append(lambda: overwrite_weights(endpoint, value))
    elif step == "put back":
        overwrite_weights(endpoint, b"first")
        change_config(endpoint, ink=None, tier=None)
    elif step == "plan":
        planned.append(release_run(plan_run(campaign, Endpoint.objects.get(pk=endpoint.pk))))
    elif step == "work":
        worker.drain(Lane.CPU)
    elif step == "lose":
        claim = claims.claim(lane=Lane.CPU, worker="dead")
        Job.objects.filter(lease_token=claim.token).update(
            lease_expires_at=timezone.now() - timedelta(minutes=1), deaths=0
        )
        outcomes.reap()
    elif step == "pause" and Run.objects.get(pk=run.pk).state == RunState.RUNNING:
        runs.pause(run_id=run.pk, by=run.requested_by)
        runs.resume(run_id=run.pk, by=run.requested_by)
    elif step in ("anew", "again"):
        for planned_run in planned:
            groups = failures.groups(Run.objects.get(pk=planned_run.pk))
            if not any(group.cause.code == "changed" for group in groups):
                continue
            if step == "anew":
                changes.replan_held_jobs(run_id=planned_run.pk, by=planned_run.requested_by)
            else:
                keys = [group.key for group in groups if group.cause.code == "changed"]
                retries.retry(run_id=planned_run.pk, by=planned_run.requested_by, group=keys[0])
