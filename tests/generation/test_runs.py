"""Test the life of runs: gate, override, budget, reuse, pause, cancel, retry, and two releases at once."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from campaigns.models import Campaign, PromptVersion
from core.errors import Conflict, Invalid, NotAllowed
from core.models import Brand, Event, User
from generation.choices import AssetState, JobState, LedgerKind, RunState
from generation.models import Asset, AssetVersion, Endpoint, Job, JobSpec, LedgerEntry, Run
from generation.selectors import budgets, gates, matrix
from generation.selectors import runs as run_selectors
from generation.services import runs
from generation.services.dispatch import retries
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from tests.support import engines, factories
from tests.support.racing import race, race_without_errors

pytestmark = pytest.mark.django_db

assert engines.ReadyEngine.name == "ready"  # importing it registers the engine


@pytest.fixture
def campaign(brand: Brand) -> Campaign:
    """Return a campaign with five mugs, one output spec and a pilot of four decisions at 75 %."""
    mugs = [factories.SubjectFactory(brand=brand, key=f"MUG-{n}", name=f"Mug {n}") for n in range(5)]
    made = factories.CampaignFactory(brand=brand, subjects=mugs, pilot_decisions=4, pilot_approval_percent=75)
    factories.OutputSpecFactory(campaign=made, slug="shop", width=600, height=600)
    return made


@pytest.fixture
def version(brand: Brand, manager: User) -> PromptVersion:
    return factories.PromptVersionFactory(
        template__brand=brand, text="{name} on white", axes={}, parameters={}, needs={}, created_by=manager
    )


@pytest.fixture
def endpoint() -> Endpoint:
    return factories.EndpointFactory(engine="ready", price_per_image=Decimal("1.50"))


@pytest.fixture
def planned(campaign: Campaign, version: PromptVersion, endpoint: Endpoint, manager: User) -> Callable[..., Run]:
    def plan(**changes: Any) -> Run:
        arguments = {
            "campaign": campaign,
            "prompt_version": version,
            "endpoint": endpoint,
            "stage": "pilot",
            "by": manager,
        }
        return plans.plan(PlanArguments(**arguments | changes))

    return plan


def set_asset_states(run: Run, *states: str) -> None:
    """Give the run's first assets these states, as decisions would."""
    for asset, state in zip(Asset.objects.filter(cell__run=run).order_by("pk"), states, strict=False):
        Asset.objects.filter(pk=asset.pk).update(state=state)


def finish_jobs(run: Run, status: str = JobState.SUCCEEDED, *, limit: int | None = None) -> list[Job]:
    """End the run's queued jobs as workers would leave them."""
    jobs = list(Job.objects.filter(run=run, status=JobState.QUEUED).order_by("pk")[:limit])
    Job.objects.filter(pk__in=[job.pk for job in jobs]).update(status=status)
    return jobs


def output(job: Job, *, outcome: str = "pass", state: str | None = None) -> AssetVersion:
    """Create the asset version that a job produced."""
    asset = Asset.objects.get(cell_id=job.cell_id)
    frozen = job.frozen
    master = factories.MasterFactory(brand=asset.brand, fingerprint=frozen.fingerprint)
    version = AssetVersion.objects.create(
        asset=asset, round=frozen.round, candidate=frozen.candidate, master=master, job=job, worst_outcome=outcome
    )
    if state:
        Asset.objects.filter(pk=asset.pk).update(state=state, current_version=version)
    return version


def statuses(run: Run) -> dict[str, int]:
    return {state: count for state, count in run_selectors.funnel(run).jobs.items() if count}


def record_costs(run: Run, amount: str) -> None:
    for job in Job.objects.filter(run=run, status=JobState.SUCCEEDED):
        LedgerEntry.objects.create(
            campaign=run.campaign, run=run, job=job, kind=LedgerKind.SETTLE, amount=Decimal(amount)
        )


# -- release -------------------------------------------------------------------------------------------------------


def test_release_queues_every_job_and_reserves_its_cost(planned: Callable[..., Run], manager: User) -> None:
    run = runs.release(run_id=planned().pk, by=manager)
    assert run.state == RunState.RUNNING
    assert statuses(run) == {"queued": 5}
    assert set(Job.objects.values_list("hold_reason", flat=True)) == {""}
    [entry] = LedgerEntry.objects.all()
    assert (entry.kind, entry.amount) == ("reserve", Decimal("7.50"))
    [event] = Event.objects.filter(type="generation.run.released")
    assert event.payload == {"queued": 5, "reused": 0, "left_out": 0, "reserved": "7.500000"}


def test_a_run_is_released_once(planned: Callable[..., Run], manager: User) -> None:
    run = planned()
    runs.release(run_id=run.pk, by=manager)
    with pytest.raises(Conflict):
        runs.release(run_id=run.pk, by=manager)
    assert LedgerEntry.objects.count() == 1


def test_roles_that_may_not_run_cannot_release(
    planned: Callable[..., Run], designer: User, reviewer: User, person: Callable[..., User], other_brand: Brand
) -> None:
    run = planned()
    for user in (designer, reviewer, person("campaign_manager", brand=other_brand)):
        with pytest.raises(NotAllowed):
            runs.release(run_id=run.pk, by=user)
    sandbox = planned(stage="sandbox")
    assert runs.release(run_id=sandbox.pk, by=designer).state == RunState.RUNNING


def test_a_full_run_is_locked_until_the_pilot_has_its_decisions(planned: Callable[..., Run], manager: User) -> None:
    pilot, full = planned(), planned(stage="full")
    set_asset_states(pilot, "approved", "approved", "approved")
    with pytest.raises(Conflict, match="3 of 4 decisions") as refusal:
        runs.release(run_id=full.pk, by=manager)
    assert refusal.value.extra["decisions_needed"] == 4
    set_asset_states(pilot, "approved", "approved", "rejected", "rejected")
    with pytest.raises(Conflict, match="50 % approved"):
        runs.release(run_id=full.pk, by=manager)
    set_asset_states(pilot, "approved", "approved", "approved", "rejected")
    assert runs.release(run_id=full.pk, by=manager).state == RunState.RUNNING


def test_only_a_lead_overrides_the_gate_and_only_with_a_reason(
    planned: Callable[..., Run], manager: User, lead: User
) -> None:
    full = planned(stage="full")
    with pytest.raises(NotAllowed):
        runs.release(run_id=full.pk, by=manager, override_reason="The fair is tomorrow.")
    with pytest.raises(Conflict):
        runs.release(run_id=full.pk, by=lead, override_reason="  ")
    run = runs.release(run_id=full.pk, by=lead, override_reason="The fair is tomorrow.")
    run.refresh_from_db()
    assert run.override_reason == "The fair is tomorrow."
    payload = Event.objects.get(type="generation.run.released").payload
    assert payload["override_reason"] == "The fair is tomorrow."
    assert "0 of 4 decisions" in payload["pilot"]


def test_images_of_other_stages_do_not_open_the_gate(planned: Callable[..., Run], campaign: Campaign) -> None:
    run = planned(stage="partial")
    set_asset_states(run, *["approved"] * 5)
    assert not gates.pilot(campaign, run.prompt_version).is_open


def test_a_pilot_of_another_version_does_not_open_the_gate(
    planned: Callable[..., Run], campaign: Campaign, version: PromptVersion, manager: User
) -> None:
    set_asset_states(planned(), *["approved"] * 5)
    better = factories.PromptVersionFactory(
        template=version.template, number=version.number + 1, text="{name} on clay", axes={}, parameters={}, needs={}
    )
    assert gates.pilot(campaign, version).is_open
    assert gates.pilot(campaign, better).decided == 0
    with pytest.raises(Conflict, match=f"pilot of v{better.number} has 0 of 4 decisions"):
        runs.release(run_id=planned(stage="full", prompt_version=better).pk, by=manager)
    assert runs.release(run_id=planned(stage="full").pk, by=manager).state == RunState.RUNNING


def test_a_run_beyond_the_budget_stays_planned(planned: Callable[..., Run], campaign: Campaign, manager: User) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(budget=Decimal("10.00"))
    campaign.refresh_from_db()
    runs.release(run_id=planned().pk, by=manager)
    late = planned()
    with pytest.raises(Conflict, match=r"needs 7\.50 EUR; 2\.50 EUR"):
        runs.release(run_id=late.pk, by=manager)
    late.refresh_from_db()
    assert late.state == RunState.PLANNED
    assert statuses(late) == {"held": 5}


def test_known_masters_cost_nothing_and_rejected_ones_are_left_out(
    planned: Callable[..., Run], brand: Brand, manager: User
) -> None:
    run = planned()
    prints = list(JobSpec.objects.filter(job__run=run).order_by("job").values_list("fingerprint", flat=True))
    factories.MasterFactory(brand=brand, fingerprint=prints[0])
    factories.MasterFactory(brand=brand, fingerprint=prints[1], was_rejected=True)
    run = runs.release(run_id=run.pk, by=manager)
    assert run.reused_count == 1
    assert statuses(run) == {"queued": 4, "cancelled": 1}
    assert LedgerEntry.objects.get().amount == Decimal("4.50")
    left_out = Job.objects.get(status="cancelled")
    assert (left_out.error_kind, left_out.frozen.fingerprint) == ("rejected_before", prints[1])
    assert "rejected" in left_out.error
    assert Asset.objects.get(cell=left_out.cell_id).state == AssetState.SUPERSEDED
    assert Event.objects.get(type="generation.run.released").payload["left_out"] == 1


def test_rejected_masters_come_back_when_asked_for(planned: Callable[..., Run], brand: Brand, manager: User) -> None:
    run = planned()
    factories.MasterFactory(
        brand=brand, fingerprint=JobSpec.objects.filter(job__run=run).first().fingerprint, was_rejected=True
    )
    run = runs.release(run_id=run.pk, by=manager, reuse_rejected=True)
    assert statuses(run) == {"queued": 5}
    assert run.reused_count == 1


# -- pause, resume, cancel, retry ----------------------------------------------------------------------------------


def test_a_pause_holds_waiting_jobs_and_resume_queues_them_again(planned: Callable[..., Run], manager: User) -> None:
    run = runs.release(run_id=planned().pk, by=manager)
    finish_jobs(run, limit=1)
    run = runs.pause(run_id=run.pk, by=manager)
    assert (run.state, run.pause_reason) == (RunState.PAUSED, f"Paused by {manager.display_name}.")
    assert statuses(run) == {"held": 4, "succeeded": 1}
    with pytest.raises(Conflict):
        runs.pause(run_id=run.pk, by=manager)
    run = runs.resume(run_id=run.pk, by=manager)
    assert run.state == RunState.RUNNING
    assert statuses(run) == {"queued": 4, "succeeded": 1}


def test_a_planned_run_cannot_be_resumed_or_paused(planned: Callable[..., Run], manager: User) -> None:
    run = planned()
    for move in (runs.resume, runs.pause):
        with pytest.raises(Conflict):
            move(run_id=run.pk, by=manager)


def test_cancelling_ends_waiting_jobs_asks_running_ones_to_stop_and_releases_the_money(
    planned: Callable[..., Run], campaign: Campaign, manager: User
) -> None:
    run = runs.release(run_id=planned().pk, by=manager)
    [done] = finish_jobs(run, limit=1)
    output(done, state="in_review")
    record_costs(run, "1.50")
    running = Job.objects.filter(run=run, status="queued").first()
    Job.objects.filter(pk=running.pk).update(
        status="running", lease_token="00000000-0000-4000-8000-000000000001", lease_expires_at=timezone.now()
    )
    run = runs.cancel(run_id=run.pk, by=manager)
    assert statuses(run) == {"succeeded": 1, "running": 1, "cancelled": 3}
    assert Job.objects.get(status="running").is_cancel_requested
    states = run_selectors.funnel(run).assets
    assert (states["in_review"], states["superseded"], states["making"]) == (1, 3, 1)
    status = budgets.status(campaign)
    assert (status.spent, status.reserved) == (Decimal("1.50"), Decimal("1.50"))
    with pytest.raises(Conflict):
        runs.resume(run_id=run.pk, by=manager)


def test_a_planned_run_can_be_cancelled(planned: Callable[..., Run], manager: User) -> None:
    run = runs.cancel(run_id=planned().pk, by=manager)
    assert statuses(run) == {"cancelled": 5}
    assert run_selectors.funnel(run).assets["superseded"] == 5
    assert not LedgerEntry.objects.exists()


def test_a_run_finishes_with_its_last_job_and_gives_the_rest_of_its_money_back(
    planned: Callable[..., Run], campaign: Campaign, manager: User
) -> None:
    run = runs.release(run_id=planned().pk, by=manager)
    finish_jobs(run, limit=3)
    record_costs(run, "1.00")
    assert not runs.finish_if_done(run.pk)
    finish_jobs(run, JobState.FAILED)
    assert runs.finish_if_done(run.pk)
    assert not runs.finish_if_done(run.pk)
    run.refresh_from_db()
    assert run.state == RunState.FINISHED
    status = budgets.status(campaign)
    assert (status.spent, status.reserved) == (Decimal("3.00"), Decimal("0"))
    [event] = Event.objects.filter(type="generation.run.finished")
    assert event.payload == {"succeeded": 3, "failed": 2, "cancelled": 0}


def test_retrying_the_failed_wakes_a_finished_run_and_reserves_again(
    planned: Callable[..., Run], campaign: Campaign, manager: User
) -> None:
    run = runs.release(run_id=planned().pk, by=manager)
    finish_jobs(run, limit=3)
    record_costs(run, "1.50")
    for job in finish_jobs(run, JobState.FAILED):
        Asset.objects.filter(cell=job.cell_id).update(state="failed")
    runs.finish_if_done(run.pk)
    assert retries.retry(run_id=run.pk, by=manager) == 2
    run.refresh_from_db()
    assert run.state == RunState.RUNNING
    assert statuses(run) == {"queued": 2, "succeeded": 3}
    assert run_selectors.funnel(run).assets["failed"] == 0
    assert budgets.status(campaign).reserved == Decimal("3.00")
    finish_jobs(run)
    with pytest.raises(Conflict, match="no failed job"):
        retries.retry(run_id=run.pk, by=manager)


def test_retrying_beyond_the_budget_is_refused(planned: Callable[..., Run], campaign: Campaign, manager: User) -> None:
    run = runs.release(run_id=planned().pk, by=manager)
    finish_jobs(run, limit=3)
    record_costs(run, "1.50")
    finish_jobs(run, JobState.FAILED)
    runs.finish_if_done(run.pk)
    Campaign.objects.filter(pk=campaign.pk).update(budget=Decimal("5.00"))
    with pytest.raises(Conflict):
        retries.retry(run_id=run.pk, by=manager)
    assert statuses(run) == {"failed": 2, "succeeded": 3}


def test_priority_reaches_the_waiting_jobs(planned: Callable[..., Run], manager: User) -> None:
    run = runs.release(run_id=planned().pk, by=manager)
    runs.set_priority(run_id=run.pk, by=manager, priority=7)
    assert set(Job.objects.values_list("priority", flat=True)) == {7}
    with pytest.raises(Invalid):
        runs.set_priority(run_id=run.pk, by=manager, priority=101)


# -- health --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bad", "is_paused"), [(6, False), (7, True)])
def test_a_run_pauses_itself_when_more_than_thirty_percent_of_the_last_twenty_are_bad(
    planned: Callable[..., Run], campaign: Campaign, manager: User, bad: int, is_paused: bool
) -> None:
    campaign.subjects.add(*factories.SubjectFactory.create_batch(25, brand=campaign.brand))
    run = runs.release(run_id=planned().pk, by=manager)
    jobs = finish_jobs(run, limit=28)
    for job in jobs[:8]:
        output(job, outcome="fail")  # older than the last twenty
    for number, job in enumerate(jobs[8:]):
        is_bad = number < bad
        output(
            job,
            outcome="fail" if is_bad and number % 2 else "pass",
            state="rejected" if is_bad and not number % 2 else "in_review",
        )
    assert runs.pause_if_unhealthy(run.pk) is is_paused
    run.refresh_from_db()
    assert run.state == ("paused" if is_paused else "running")
    if is_paused:
        assert run.pause_reason.startswith("7 of the last 20")
        assert statuses(run) == {"held": 2, "succeeded": 28}
        assert Event.objects.get(type="generation.run.paused").payload["by_itself"]


def test_after_a_resume_old_outputs_do_not_pause_the_run_again(
    planned: Callable[..., Run], campaign: Campaign, manager: User
) -> None:
    campaign.subjects.add(*factories.SubjectFactory.create_batch(5, brand=campaign.brand))
    run = runs.release(run_id=planned().pk, by=manager)
    for job in finish_jobs(run, limit=8):
        output(job, outcome="fail")
    assert runs.pause_if_unhealthy(run.pk)
    runs.resume(run_id=run.pk, by=manager)
    assert not runs.pause_if_unhealthy(run.pk)


# -- reading -------------------------------------------------------------------------------------------------------


def test_funnel_and_matrix_show_what_is_there_in_two_queries_and_one(
    planned: Callable[..., Run], manager: User, django_assert_num_queries: Any
) -> None:
    run = runs.release(run_id=planned().pk, by=manager)
    [job] = finish_jobs(run, limit=1)
    made = output(job, outcome="flag", state="in_review")
    with django_assert_num_queries(2):
        counts = run_selectors.funnel(run)
    assert (counts.total, counts.done, counts.assets["in_review"], counts.assets["making"]) == (5, 1, 1, 4)
    with django_assert_num_queries(1):
        rows = matrix.rows(run, limit=2)
    assert [row.key for row in rows] == ["MUG-0", "MUG-1"]
    [cell] = rows[0].cells
    assert (cell.state, cell.version_id, cell.worst_outcome, cell.aspect) == ("in_review", made.pk, "flag", "1:1")
    assert rows[1].cells[0].version_id is None
    assert [row.key for row in matrix.rows(run, limit=3, after=rows[1].place)] == ["MUG-2", "MUG-3", "MUG-4"]


def test_progress_knows_rate_and_end_once_two_images_are_made(planned: Callable[..., Run], manager: User) -> None:
    run = runs.release(run_id=planned().pk, by=manager)
    assert run_selectors.progress(run).eta is None
    for job in finish_jobs(run, limit=2):
        output(job)
    seen = run_selectors.progress(run)
    assert seen.percent == 40
    assert seen.rate is not None
    assert seen.eta is not None
    assert seen.seconds_left == 3 / seen.rate


# -- races ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_releases_at_once_never_exceed_the_budget(
    planned: Callable[..., Run], campaign: Campaign, manager: User
) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(budget=Decimal("10.00"))
    campaign.refresh_from_db()
    for _ in range(5):
        pair = [planned(), planned()]
        results = race(*(partial(runs.release, run_id=run.pk, by=manager) for run in pair))
        assert sorted(type(result).__name__ for result in results) == ["Conflict", "Run"]
        status = budgets.status(campaign)
        assert status.reserved + status.spent <= Decimal("10.00")
        for run in pair:
            runs.cancel(run_id=run.pk, by=manager)
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_of_two_people_releasing_one_run_exactly_one_does(
    planned: Callable[..., Run], manager: User, lead: User
) -> None:
    for _ in range(5):
        run = planned()
        results = race(*(partial(runs.release, run_id=run.pk, by=by) for by in (manager, lead)))
        assert sorted(type(result).__name__ for result in results) == ["Conflict", "Run"]
        assert LedgerEntry.objects.filter(run=run).count() == 1
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_ending_the_last_two_jobs_one_finishes_the_run(
    planned: Callable[..., Run], manager: User
) -> None:
    for _ in range(5):
        run = runs.release(run_id=planned().pk, by=manager)
        finish_jobs(run)
        results = race_without_errors(*[partial(runs.finish_if_done, run.pk)] * 4)
        assert sorted(results) == [False, False, False, True]
    connection.close()
