"""Test scheduled runs: the clock releases each once, in the name of its planner; refusals are reported, not retried."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from campaigns.models import Campaign, PromptVersion
from core import clock
from core.errors import Conflict, Invalid, NotAllowed
from core.models import Brand, Event, Membership, Notice, User
from generation.choices import RunState
from generation.models import LedgerEntry, Run
from generation.services import runs
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from tests.support import engines, factories
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.django_db

assert engines.ReadyEngine.name == "ready"  # importing it registers the engine


@pytest.fixture
def campaign(brand: Brand, manager: User) -> Campaign:
    made = factories.CampaignFactory(
        brand=brand, subjects=[factories.SubjectFactory(brand=brand) for _ in range(3)], owner=manager
    )
    factories.OutputSpecFactory(campaign=made)
    return made


@pytest.fixture
def planned(campaign: Campaign, manager: User) -> Callable[..., Run]:
    version: PromptVersion = factories.PromptVersionFactory(
        template__brand=campaign.brand, text="{name}", axes={}, parameters={}, needs={}
    )
    endpoint = factories.EndpointFactory(engine="ready", price_per_image=Decimal(1))

    def plan(stage: str = "pilot") -> Run:
        return plans.plan(
            PlanArguments(campaign=campaign, prompt_version=version, endpoint=endpoint, stage=stage, by=manager),
            name="Autumn",
        )

    return plan


def in_minutes(minutes: float = 30) -> datetime:
    return clock.now() + timedelta(minutes=minutes)


def make_due(run: Run) -> None:
    """Set the release time of the run to the past."""
    Run.objects.filter(pk=run.pk).update(release_at=clock.now() - timedelta(seconds=1))


def test_a_planned_run_is_released_when_its_time_has_come_and_not_before(
    planned: Callable[..., Run], manager: User
) -> None:
    run = runs.schedule(run_id=planned().pk, by=manager, at=in_minutes())
    assert runs.release_due() == 0
    make_due(run)
    assert runs.release_due() == 1
    run.refresh_from_db()
    assert run.state == RunState.RUNNING
    event = Event.objects.get(type="generation.run.released")
    assert (event.actor_id, event.actor_label) == (None, f"the schedule, for {manager.display_name}")
    assert runs.release_due() == 0


def test_planning_can_set_the_time_at_once(planned: Callable[..., Run], campaign: Campaign, manager: User) -> None:
    run = planned()
    at = in_minutes()
    arguments = {"campaign": campaign, "prompt_version": run.prompt_version, "endpoint": run.endpoint, "by": manager}
    scheduled = plans.plan(PlanArguments(**arguments, stage="pilot"), release_at=at)
    assert scheduled.release_at == at
    with pytest.raises(Invalid):
        plans.plan(PlanArguments(**arguments, stage="pilot"), release_at=in_minutes(-5))
    assert Run.objects.count() == 2


def test_a_time_is_changed_and_taken_away_with_a_record(planned: Callable[..., Run], manager: User) -> None:
    run = planned()
    first, second = in_minutes(10), in_minutes(20)
    runs.schedule(run_id=run.pk, by=manager, at=first)
    runs.schedule(run_id=run.pk, by=manager, at=second)
    runs.schedule(run_id=run.pk, by=manager, at=second)
    assert runs.schedule(run_id=run.pk, by=manager, at=None).release_at is None
    moves = [event.payload for event in Event.objects.filter(type="generation.run.scheduled").order_by("id")]
    assert moves == [
        {"at": first.isoformat(), "was": None},
        {"at": second.isoformat(), "was": first.isoformat()},
        {"at": None, "was": second.isoformat()},
    ]


def test_only_a_sensible_time_of_a_planned_run_is_taken(
    planned: Callable[..., Run], manager: User, designer: User
) -> None:
    run = planned()
    for wrong in (in_minutes(-1), in_minutes(60 * 24 * 400), datetime(2040, 1, 1)):
        with pytest.raises(Invalid):
            runs.schedule(run_id=run.pk, by=manager, at=wrong)
    with pytest.raises(NotAllowed):
        runs.schedule(run_id=run.pk, by=designer, at=in_minutes())
    runs.release(run_id=run.pk, by=manager)
    with pytest.raises(Conflict):
        runs.schedule(run_id=run.pk, by=manager, at=in_minutes())


def test_a_closed_gate_is_recorded_on_the_run_notified_and_not_tried_again(
    planned: Callable[..., Run], manager: User
) -> None:
    run = runs.schedule(run_id=planned("full").pk, by=manager, at=in_minutes())
    make_due(run)
    assert runs.release_due() == 0
    run.refresh_from_db()
    assert (run.state, run.release_at) == (RunState.PLANNED, None)
    assert run.pause_reason.startswith("It was not released on schedule: A full run is locked.")
    assert Event.objects.filter(type="generation.run.release_refused").count() == 1
    assert Notice.objects.filter(user=manager, kind="release_refused").count() == 1
    runs.release_due()
    assert Event.objects.filter(type="generation.run.release_refused").count() == 1
    runs.schedule(run_id=run.pk, by=manager, at=in_minutes())
    run.refresh_from_db()
    assert run.pause_reason == ""


def test_a_budget_that_is_used_up_refuses_on_schedule_and_nothing_is_reserved(
    planned: Callable[..., Run], campaign: Campaign, manager: User
) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(budget=Decimal("2.50"))
    run = runs.schedule(run_id=planned().pk, by=manager, at=in_minutes())
    make_due(run)
    assert runs.release_due() == 0
    run.refresh_from_db()
    assert "needs 3.00 EUR" in run.pause_reason
    assert LedgerEntry.objects.count() == 0
    assert set(run.jobs.values_list("status", flat=True)) == {"held"}


def test_rights_count_at_the_time_of_release(planned: Callable[..., Run], manager: User) -> None:
    lost, gone = planned(), planned()
    for run in (lost, gone):
        make_due(runs.schedule(run_id=run.pk, by=manager, at=in_minutes()))
    Membership.objects.filter(user=manager).update(role="viewer")
    assert runs.release_if_due(lost.pk) is False
    User.objects.filter(pk=manager.pk).update(is_active=False)
    assert runs.release_if_due(gone.pk) is False
    lost.refresh_from_db()
    gone.refresh_from_db()
    assert "You may not run" in lost.pause_reason
    assert "no account here any more" in gone.pause_reason


@pytest.mark.django_db(transaction=True)
def test_two_clocks_release_a_run_once(planned: Callable[..., Run], manager: User) -> None:
    run = runs.schedule(run_id=planned().pk, by=manager, at=in_minutes())
    make_due(run)
    released = race_without_errors(*[partial(runs.release_if_due, run.pk)] * 4)
    assert sorted(released) == [False, False, False, True]
    assert Event.objects.filter(type="generation.run.released").count() == 1
    assert not Event.objects.filter(type="generation.run.release_refused").exists()
    assert [entry.amount for entry in LedgerEntry.objects.all()] == [Decimal(3)]


def test_the_zone_of_a_time_does_not_matter(planned: Callable[..., Run], manager: User) -> None:
    at = in_minutes().astimezone(UTC)
    run = runs.schedule(run_id=planned().pk, by=manager, at=at)
    run.refresh_from_db()
    assert run.release_at == at


# -- over the API --------------------------------------------------------------------------------------------------


def test_a_run_is_planned_for_a_time_cloned_and_rescheduled_over_the_api(
    planned: Callable[..., Run], manager: User, api_client: Callable[[User], Any]
) -> None:
    earlier, client = planned(), api_client(manager)
    order = {
        "campaign": earlier.campaign_id, "prompt_version": earlier.prompt_version_id, "stage": "pilot",
        "endpoint": earlier.endpoint.slug, "release_at": in_minutes().isoformat(), "job_template": "packshots",
        "aspects": ["1:1"],
    }  # fmt: skip
    made = client.post("/api/v1/runs/", order, format="json").json()
    assert (made["job_template"], made["definition"]["aspects"]) == ("packshots", ["1:1"])
    assert made["release_at"] is not None
    address = f"/api/v1/runs/{made['id']}/"
    assert client.post(f"{address}schedule/", {"release_at": None}, format="json").json()["release_at"] is None
    late = client.post(f"{address}schedule/", {"release_at": in_minutes(-9).isoformat()}, format="json")
    assert late.status_code == 422
    copy = client.post(f"{address}clone/", {"name": "Again"}, format="json")
    assert (copy.status_code, copy.json()["cloned_from"], copy.json()["name"]) == (201, made["id"], "Again")
    missing = client.post("/api/v1/runs/preview/", order | {"missing_only": True}, format="json").json()
    assert missing["cells"] == 0
    assert missing["pilot"]["decisions_needed"] == 10
