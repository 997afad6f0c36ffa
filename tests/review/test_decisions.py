"""Tests of decisions: permissions, pins, undo, and races between two people, of which exactly one wins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from core.access import PERMISSIONS, Action
from core.choices import Role
from core.errors import Conflict, Invalid, NotAllowed, NotFound, Stale
from core.models import Event
from generation.choices import AssetState, JobState, RunState
from generation.models import Asset, Job, Master, Rendition
from review.choices import DecisionKind, DesiredState, ItemMode, TaskState
from review.models import Decision, DecisionSlot, Delivery, ReviewTask
from review.services import checklists, consequences, decisions, queue
from tests.support import factories
from tests.support.images_in_review import add_default_reasons, create_image_in_review, decision_arguments
from tests.support.racing import race, race_without_errors

pytestmark = pytest.mark.django_db


@pytest.fixture
def task(brand: Any, lead: Any) -> ReviewTask:
    add_default_reasons(brand, lead)
    return create_image_in_review(brand, candidates=2)


def after_undo(seconds: int = 31) -> int:
    """Carry out the decisions that are due after the undo time."""
    return consequences.carry_out_due(now=timezone.now() + timedelta(seconds=seconds))


def state_of(task: ReviewTask) -> tuple[str, str]:
    task = ReviewTask.objects.select_related("asset").get(pk=task.pk)
    return task.state, task.asset.state


# -- approving ------------------------------------------------------------------------------------------------------


def test_approving_pins_the_exact_bytes_and_makes_the_candidate_current(task: ReviewTask, reviewer: Any) -> None:
    second = task.asset.versions.get(candidate=2)
    decision = decisions.approve(**decision_arguments(task, second), by=reviewer, note="fine")
    assert state_of(task) == (TaskState.DECIDED, AssetState.APPROVED)
    assert Asset.objects.get(pk=task.asset_id).current_version == second
    assert decision.pinned["master"] == second.master.sha256
    assert list(decision.pinned["renditions"].values()) == [second.renditions.get().sha256]
    assert decision.answers == {}
    event = Event.objects.get(type="review.version.approved")
    assert (event.object_id, event.actor, event.payload["decision"]) == (task.asset_id, reviewer, decision.pk)


def test_a_double_click_on_approve_is_one_approval(task: ReviewTask, reviewer: Any) -> None:
    first = decisions.approve(**decision_arguments(task), by=reviewer)
    again = decisions.approve(**decision_arguments(task), by=reviewer)
    assert again == first
    assert Decision.objects.count() == 1
    assert Event.objects.filter(type="review.version.approved").count() == 1


def test_second_approval_by_another_person_is_a_conflict_that_names_the_first(
    task: ReviewTask, reviewer: Any, person: Callable[..., Any]
) -> None:
    decisions.approve(**decision_arguments(task), by=reviewer)
    with pytest.raises(Conflict, match=rf"{reviewer.display_name} approved this \d s ago"):
        decisions.approve(**decision_arguments(task), by=person("reviewer"))


def test_an_approval_of_what_is_no_longer_there_is_stale(task: ReviewTask, reviewer: Any) -> None:
    looked_at = decision_arguments(task)
    old = Rendition.objects.filter(version_id=looked_at["version_id"]).get()
    Rendition.objects.create(
        version_id=old.version_id,
        output_spec=old.output_spec,
        recipe_version=2,
        sha256=factories.digest("other"),
        storage_key="k",
        image_format="jpeg",
        width=1,
        height=1,
        bytes=1,
    )
    with pytest.raises(Stale):
        decisions.approve(**looked_at, by=reviewer)
    assert state_of(task) == (TaskState.OPEN, AssetState.IN_REVIEW)


def test_an_open_checklist_item_refuses_approval_and_by_exception_is_recorded(
    brand: Any, lead: Any, reviewer: Any
) -> None:
    items = [
        {"code": "colour", "sentence": "The colour is the product's.", "mode": ItemMode.ASK},
        {"code": "edge", "sentence": "The edge is clean.", "mode": ItemMode.BY_EXCEPTION},
    ]
    checklists.create(brand=brand, by=lead, stage="brand", name="Brand review", items=items)
    task = create_image_in_review(brand)
    with pytest.raises(Invalid) as refused:
        decisions.approve(**decision_arguments(task), by=reviewer)
    assert [problem.pointer for problem in refused.value.problems] == ["answers/colour"]
    with pytest.raises(Invalid):
        decisions.approve(**decision_arguments(task), by=reviewer, answers={"colour": "no"})
    decision = decisions.approve(**decision_arguments(task), by=reviewer, answers={"colour": "yes"})
    assert decision.answers == {"colour": "yes", "edge": "confirmed on approve"}


def test_the_author_of_the_brief_does_not_approve_alone(
    brand: Any, person: Callable[..., Any], reviewer: Any, lead: Any
) -> None:
    author = person("reviewer", "campaign_manager")
    campaign = factories.CampaignFactory(brand=brand, owner=author)
    with pytest.raises(NotAllowed, match="another person"):
        decisions.approve(**decision_arguments(create_image_in_review(brand, campaign=campaign)), by=author)
    checklists.get_or_create_version(brand_id=brand.pk, stage="brand").checklist.__class__.objects.update(slots=2)
    task = create_image_in_review(brand, campaign=campaign)
    decisions.approve(**decision_arguments(task), by=author)
    assert state_of(task) == (TaskState.OPEN, AssetState.IN_REVIEW)
    with pytest.raises(Conflict, match="decided this image already"):
        decisions.reject(**decision_arguments(task), by=author, reason="other")
    decisions.approve(**decision_arguments(task), by=reviewer)
    assert state_of(task) == (TaskState.DECIDED, AssetState.APPROVED)


def test_two_approvals_of_a_stage_are_about_one_candidate(
    brand: Any, reviewer: Any, person: Callable[..., Any]
) -> None:
    factories.ChecklistVersionFactory(checklist__brand=brand, checklist__slots=2, items=[])
    task = create_image_in_review(brand, candidates=2)
    first, second = task.asset.versions.order_by("candidate")
    decisions.approve(**decision_arguments(task, first), by=reviewer)
    with pytest.raises(Conflict, match="candidate 1"):
        decisions.approve(**decision_arguments(task, second), by=person("reviewer"))


def test_stages_follow_each_other(brand: Any, lead: Any, reviewer: Any, person: Callable[..., Any]) -> None:
    checklists.create(brand=brand, by=lead, stage="brand", name="Brand", items=[], position=1)
    checklists.create(brand=brand, by=lead, stage="legal", name="Legal", items=[], position=2)
    task = create_image_in_review(brand)
    first = decisions.approve(**decision_arguments(task), by=reviewer)
    assert state_of(task) == (TaskState.DECIDED, AssetState.IN_REVIEW)
    legal = ReviewTask.objects.get(asset=task.asset, stage="legal")
    assert legal.state == TaskState.OPEN
    decisions.undo(decision_id=first.pk, by=reviewer)
    assert state_of(task)[0] == TaskState.OPEN
    assert state_of(legal)[0] == TaskState.AWAITING_VERSION
    decisions.approve(**decision_arguments(task), by=reviewer)
    decisions.approve(**decision_arguments(legal), by=person("reviewer"))
    assert state_of(legal) == (TaskState.DECIDED, AssetState.APPROVED)
    newest = Decision.objects.filter(task=task, slot__isnull=False).get()
    with pytest.raises(Conflict, match="stage legal"):
        decisions.undo(decision_id=newest.pk, by=reviewer)


# -- rejecting ------------------------------------------------------------------------------------------------------


def test_rejecting_needs_a_known_reason_and_marks_the_master_after_30_seconds(task: ReviewTask, reviewer: Any) -> None:
    with pytest.raises(NotFound, match="wrong-colour"):
        decisions.reject(**decision_arguments(task), by=reviewer, reason="ugly")
    decision = decisions.reject(**decision_arguments(task), by=reviewer, reason="wrong-colour", note="teal, not sage")
    assert state_of(task) == (TaskState.DECIDED, AssetState.REJECTED)
    assert not Master.objects.filter(was_rejected=True).exists()
    assert after_undo() == 1
    assert Master.objects.filter(was_rejected=True).get() == decision.version.master
    decisions.undo(decision_id=decision.pk, by=reviewer)
    assert state_of(task) == (TaskState.OPEN, AssetState.IN_REVIEW)
    assert not Master.objects.filter(was_rejected=True).exists()


# -- undo -----------------------------------------------------------------------------------------------------------


def test_undo_within_30_seconds_voids_and_nothing_follows(task: ReviewTask, reviewer: Any, brand: Any) -> None:
    factories.DestinationFactory(brand=brand, config={"path": "/nowhere"})
    decision = decisions.approve(**decision_arguments(task), by=reviewer)
    assert consequences.carry_out_due() == 0
    voiding = decisions.undo(decision_id=decision.pk, by=reviewer)
    assert (voiding.kind, voiding.voids) == (DecisionKind.UNDONE, decision)
    assert decisions.undo(decision_id=decision.pk, by=reviewer) == voiding, "a second press is the same undo"
    assert state_of(task) == (TaskState.OPEN, AssetState.IN_REVIEW)
    after_undo()
    assert not Delivery.objects.exists()
    decisions.approve(**decision_arguments(task), by=reviewer)
    assert state_of(task) == (TaskState.DECIDED, AssetState.APPROVED)
    assert Decision.objects.count() == 3


def test_undo_after_consequences_says_what_it_withdraws(task: ReviewTask, reviewer: Any, brand: Any) -> None:
    shop = factories.DestinationFactory(brand=brand, name="Hot folder", config={"path": "/nowhere"})
    decision = decisions.approve(**decision_arguments(task), by=reviewer)
    assert after_undo() == 1
    assert Delivery.objects.get().desired == DesiredState.PRESENT
    assert Event.objects.filter(type="review.asset.released").count() == 1
    with pytest.raises(Conflict, match="Hot folder") as conflict:
        decisions.undo(decision_id=decision.pk, by=reviewer)
    assert conflict.value.extra["withdraws"] == [shop.name]
    decisions.undo(decision_id=decision.pk, by=reviewer, withdraws=True)
    assert Delivery.objects.get().desired == DesiredState.ABSENT
    assert Event.objects.filter(type="review.asset.recalled").count() == 1
    assert state_of(task) == (TaskState.OPEN, AssetState.IN_REVIEW)


def test_only_the_person_who_decided_or_a_lead_may_undo(
    task: ReviewTask, reviewer: Any, lead: Any, person: Callable[..., Any]
) -> None:
    decision = decisions.approve(**decision_arguments(task), by=reviewer)
    with pytest.raises(NotAllowed):
        decisions.undo(decision_id=decision.pk, by=person("reviewer"))
    assert decisions.undo(decision_id=decision.pk, by=lead).decided_by == lead


def test_a_revoked_approval_is_recalled_at_once_and_a_lead_can_reopen_it(
    task: ReviewTask, reviewer: Any, lead: Any
) -> None:
    decisions.approve(**decision_arguments(task), by=reviewer)
    after_undo()
    with pytest.raises(NotAllowed):
        decisions.revoke(asset_id=task.asset_id, by=reviewer, note="licence ended")
    with pytest.raises(Invalid):
        decisions.revoke(asset_id=task.asset_id, by=lead, note=" ")
    revoked = decisions.revoke(asset_id=task.asset_id, by=lead, note="licence ended")
    assert revoked.kind == DecisionKind.REVOKED
    assert state_of(task) == (TaskState.DECIDED, AssetState.REVOKED)
    assert Event.objects.get(type="review.asset.recalled").payload["cause"] == "revoked: licence ended"
    with pytest.raises(Conflict):
        decisions.revoke(asset_id=task.asset_id, by=lead, note="again")
    decisions.reopen(asset_id=task.asset_id, by=lead)
    assert state_of(task) == (TaskState.OPEN, AssetState.IN_REVIEW)


# -- revising -------------------------------------------------------------------------------------------------------


@pytest.fixture
def revisable(brand: Any, lead: Any) -> ReviewTask:
    add_default_reasons(brand, lead)
    run = factories.RunFactory(campaign__brand=brand, state=RunState.FINISHED)
    return create_image_in_review(brand, run=run)


def test_a_revision_that_changes_nothing_is_refused(revisable: ReviewTask, reviewer: Any) -> None:
    with pytest.raises(Invalid, match="same image"):
        decisions.request_revision(**decision_arguments(revisable), by=reviewer, controls={})
    with pytest.raises(Invalid, match="same image"):
        decisions.request_revision(**decision_arguments(revisable), by=reviewer, controls={"fill": 0.8})
    assert state_of(revisable) == (TaskState.OPEN, AssetState.IN_REVIEW)


def test_a_revision_with_a_control_that_the_engine_lacks_is_refused(revisable: ReviewTask, reviewer: Any) -> None:
    with pytest.raises(Invalid) as refused:
        decisions.request_revision(**decision_arguments(revisable), by=reviewer, controls={"mood": "happy", "fill": 7})
    assert {problem.pointer for problem in refused.value.problems} == {"controls/mood", "controls/fill"}


def test_a_revision_opens_the_next_round_after_30_seconds(revisable: ReviewTask, reviewer: Any) -> None:
    decisions.request_revision(
        **decision_arguments(revisable), by=reviewer, reason="composition", controls={"fill": 0.7}
    )
    assert state_of(revisable) == (TaskState.AWAITING_VERSION, AssetState.REVISING)
    assert Job.objects.filter(status=JobState.QUEUED).count() == 0
    assert after_undo() == 1
    job = Job.objects.get(status=JobState.QUEUED)
    assert (job.frozen.round, job.frozen.spec["parameters"]["fill"]) == (2, 0.7)
    assert job.frozen.spec["parameters"]["backdrop"] == "clay", "what nobody changed stays"
    asset = Asset.objects.get(pk=revisable.asset_id)
    assert asset.round == 2
    assert asset.cell.run.state == RunState.RUNNING, "a finished run works again"
    assert after_undo() == 0
    decision = Decision.objects.get()
    with pytest.raises(Conflict):
        decisions.undo(decision_id=decision.pk, by=reviewer, withdraws=True)


def test_undoing_a_revision_in_time_makes_no_job(revisable: ReviewTask, reviewer: Any) -> None:
    decision = decisions.request_revision(**decision_arguments(revisable), by=reviewer, controls={"fill": 0.7})
    decisions.undo(decision_id=decision.pk, by=reviewer)
    after_undo()
    assert state_of(revisable) == (TaskState.OPEN, AssetState.IN_REVIEW)
    assert not Job.objects.filter(status=JobState.QUEUED).exists()


def test_a_retouch_needs_words_and_goes_to_the_campaign_manager(
    revisable: ReviewTask, reviewer: Any, person: Any
) -> None:
    with pytest.raises(Invalid):
        decisions.request_revision(**decision_arguments(revisable), by=reviewer, needs_retouch=True)
    decisions.request_revision(
        **decision_arguments(revisable), by=reviewer, needs_retouch=True, note="remove the scratch"
    )
    after_undo()
    revisable.refresh_from_db()
    assert revisable.escalated_to == revisable.asset.campaign.owner
    assert not Job.objects.filter(status=JobState.QUEUED).exists()


def test_after_three_rounds_the_campaign_manager_decides(revisable: ReviewTask, reviewer: Any, manager: Any) -> None:
    asset = revisable.asset
    Asset.objects.filter(pk=asset.pk).update(round=3)
    third = factories.AssetVersionFactory(asset=asset, round=3, candidate=1, master__brand=asset.brand, job=None)
    decisions.request_revision(**decision_arguments(revisable, third), by=reviewer, controls={"fill": 0.7})
    after_undo()
    revisable.refresh_from_db()
    assert revisable.escalated_to == asset.campaign.owner
    assert not Job.objects.filter(status=JobState.QUEUED).exists()
    with pytest.raises(NotAllowed):
        consequences.allow_round(task_id=revisable.pk, by=reviewer, controls={"fill": 0.6})
    consequences.allow_round(task_id=revisable.pk, by=manager, controls={"fill": 0.6})
    assert Job.objects.get(status=JobState.QUEUED).frozen.round == 4


# -- permissions ----------------------------------------------------------------------------------------------------

#: Every decision with the permission that it needs.
MOVES: dict[str, tuple[Action, Callable[[ReviewTask, Any], Any]]] = {
    "approve": (Action.REVIEW, lambda task, by: decisions.approve(**decision_arguments(task), by=by)),
    "reject": (Action.REVIEW, lambda task, by: decisions.reject(**decision_arguments(task), by=by, reason="other")),
    "revise": (
        Action.REVIEW,
        lambda task, by: decisions.request_revision(
            **decision_arguments(task), by=by, needs_retouch=True, note="scratch"
        ),
    ),
    "skip": (Action.REVIEW, lambda task, by: decisions.skip(task_id=task.pk, by=by)),
    "start": (Action.REVIEW, lambda task, by: queue.claim_batch(brand=task.brand, by=by)),
    "reopen": (Action.REVOKE, lambda task, by: _approved(task, by, decisions.reopen)),
    "revoke": (Action.REVOKE, lambda task, by: _approved(task, by, decisions.revoke, note="wrong")),
}


def _approved(task: ReviewTask, by: Any, service: Callable[..., Any], **more: Any) -> Any:
    other = factories.UserFactory()
    factories.MembershipFactory(brand=task.brand, user=other, role=Role.REVIEWER)
    decisions.approve(**decision_arguments(task), by=other)
    return service(asset_id=task.asset_id, by=by, **more)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("move", list(MOVES))
def test_permissions(task: ReviewTask, person: Callable[..., Any], role: Role, move: str) -> None:
    action, service = MOVES[move]
    if role in PERMISSIONS[action]:
        service(task, person(role))
    else:
        with pytest.raises(NotAllowed):
            service(task, person(role))


def test_people_of_another_brand_do_not_find_the_task(
    task: ReviewTask, person: Callable[..., Any], other_brand: Any
) -> None:
    stranger = person("lead", brand=other_brand)
    with pytest.raises(NotFound):
        decisions.approve(**decision_arguments(task), by=stranger)


# -- races ----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_eight_people_who_approve_at_once_exactly_one_wins(brand: Any, person: Callable[..., Any]) -> None:
    people = [person("reviewer") for _ in range(8)]
    for _ in range(5):
        task = create_image_in_review(brand)
        looked_at = decision_arguments(task)
        results = race(*[partial(decisions.approve, **looked_at, by=by) for by in people])
        assert sum(isinstance(result, Decision) for result in results) == 1
        assert sum(isinstance(result, Conflict) for result in results) == 7
        assert Decision.objects.filter(task=task).count() == 1
        assert DecisionSlot.objects.filter(task=task, decision__isnull=False).count() == 1


@pytest.mark.django_db(transaction=True)
def test_one_person_pressing_eight_times_makes_one_decision(brand: Any, reviewer: Any) -> None:
    task = create_image_in_review(brand)
    looked_at = decision_arguments(task)
    results = race_without_errors(*[lambda: decisions.approve(**looked_at, by=reviewer)] * 8)
    assert {result.pk for result in results} == {Decision.objects.get(task=task).pk}


@pytest.mark.django_db(transaction=True)
def test_approve_and_reject_at_once_leave_one_decision(brand: Any, lead: Any, person: Callable[..., Any]) -> None:
    add_default_reasons(brand, lead)
    first, second = person("reviewer"), person("reviewer")
    for _ in range(5):
        task = create_image_in_review(brand)
        looked_at = decision_arguments(task)
        results = race(
            lambda looked_at=looked_at: decisions.approve(**looked_at, by=first),
            lambda looked_at=looked_at: decisions.reject(**looked_at, by=second, reason="other"),
        )
        assert sum(isinstance(result, Decision) for result in results) == 1
        assert state_of(task)[1] == Decision.objects.get(task=task).kind


@pytest.mark.django_db(transaction=True)
def test_two_slots_are_filled_by_two_of_five(brand: Any, person: Callable[..., Any]) -> None:
    factories.ChecklistVersionFactory(checklist__brand=brand, checklist__slots=2, items=[])
    people = [person("reviewer") for _ in range(5)]
    task = create_image_in_review(brand)
    looked_at = decision_arguments(task)
    results = race(*[lambda by=by: decisions.approve(**looked_at, by=by) for by in people])
    assert sum(isinstance(result, Decision) for result in results) == 2
    assert state_of(task) == (TaskState.DECIDED, AssetState.APPROVED)


@pytest.mark.django_db(transaction=True)
def test_undo_and_consequences_at_once_do_not_both_happen(brand: Any, reviewer: Any) -> None:
    factories.DestinationFactory(brand=brand, config={"path": "/nowhere"})
    for _ in range(5):
        task = create_image_in_review(brand)
        decision = decisions.approve(**decision_arguments(task), by=reviewer)
        undone, count = race(lambda d=decision: decisions.undo(decision_id=d.pk, by=reviewer), after_undo)
        assert isinstance(count, int)
        is_desired = Delivery.objects.filter(asset=task.asset, desired=DesiredState.PRESENT).exists()
        assert is_desired == isinstance(undone, Conflict)


@pytest.mark.django_db(transaction=True)
def test_housekeepers_at_once_carry_a_decision_out_once(brand: Any, reviewer: Any) -> None:
    task = create_image_in_review(brand)
    decisions.approve(**decision_arguments(task), by=reviewer)
    assert sum(race_without_errors(*[after_undo] * 4)) == 1
    assert Event.objects.filter(type="review.asset.released", object_id=task.asset_id).count() == 1
