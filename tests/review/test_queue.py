"""Tests of the review queue: who gets which tasks, in which order, for how long; and of checklists and reasons."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from core.errors import Conflict, Invalid
from core.events import publish
from core.models import Event
from core.services import brands
from generation.events import VersionReady
from generation.models import Asset
from review.choices import ItemMode, TaskState
from review.models import ReviewTask
from review.selectors import task_queue
from review.services import checklists, decisions, queue, reasons
from tests.support import factories
from tests.support.images_in_review import add_default_reasons, create_image_in_review, decision_arguments
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.django_db


def ready(asset: Any, *, is_sandbox: bool = False) -> None:
    asset.is_sandbox = is_sandbox
    payload = {"round": asset.round, "version_ids": [], "worst_outcome": "pass", "is_sandbox": is_sandbox}
    with transaction.atomic():
        event = VersionReady(brand_id=asset.brand_id, object_id=asset.pk, payload=payload, asset=asset)
        publish(event, label="test")


def test_a_complete_round_opens_a_task_in_the_same_transaction() -> None:
    asset = factories.AssetFactory(state="in_review")
    ready(asset)
    task = ReviewTask.objects.get(asset=asset)
    assert (task.state, task.stage, task.slots.count()) == (TaskState.OPEN, "brand", 1)
    assert task.due_at is not None


def test_an_image_remembers_when_its_state_changed(brand: Any, reviewer: Any) -> None:
    task = create_image_in_review(brand)
    Asset.objects.filter(pk=task.asset_id).update(changed_at=timezone.now() - timedelta(days=2))
    decisions.request_revision(**decision_arguments(task), by=reviewer, needs_retouch=True, note="scratch")
    assert timezone.now() - Asset.objects.get(pk=task.asset_id).changed_at < timedelta(minutes=1)


def test_sandbox_images_are_not_reviewed() -> None:
    asset = factories.AssetFactory(state="in_review")
    ready(asset, is_sandbox=True)
    assert not ReviewTask.objects.exists()


def test_a_next_round_wakes_the_task_with_empty_slots_and_the_checklist_of_now(
    brand: Any, lead: Any, reviewer: Any
) -> None:
    task = create_image_in_review(brand)
    decisions.request_revision(**decision_arguments(task), by=reviewer, needs_retouch=True, note="scratch")
    checklist = task.checklist_version.checklist
    newer = checklists.publish_version(
        checklist_id=checklist.pk, by=lead, items=[{"code": "edge", "sentence": "The edge is clean."}]
    )
    asset = task.asset
    asset.round = 2
    asset.save()
    ready(asset)
    task.refresh_from_db()
    assert (task.state, task.round, task.checklist_version) == (TaskState.OPEN, 2, newer)
    assert task.slots.get().decision is None


def test_a_claimed_batch_begins_with_due_tasks_and_ends_with_skipped_ones(brand: Any, reviewer: Any) -> None:
    later, sooner, skipped = (create_image_in_review(brand) for _ in range(3))
    now = timezone.now()
    ReviewTask.objects.filter(pk=later.pk).update(due_at=now + timedelta(hours=9))
    ReviewTask.objects.filter(pk=sooner.pk).update(due_at=now - timedelta(hours=1))
    queue.skip(task_id=skipped.pk, by=reviewer)
    assert [task.pk for task in queue.claim_batch(brand=brand, by=reviewer)] == [sooner.pk, later.pk, skipped.pk]


def test_start_keeps_what_i_hold_and_tops_up(brand: Any, reviewer: Any, person: Callable[..., Any]) -> None:
    for _ in range(5):
        create_image_in_review(brand)
    mine = {task.pk for task in queue.claim_batch(brand=brand, by=reviewer, size=2)}
    theirs = {task.pk for task in queue.claim_batch(brand=brand, by=person("reviewer"), size=2)}
    assert len(mine) == len(theirs) == 2
    assert not mine & theirs
    again = {task.pk for task in queue.claim_batch(brand=brand, by=reviewer, size=3)}
    assert mine < again
    assert not again & theirs


def test_a_claim_runs_out_after_ten_minutes_unless_renewed(
    brand: Any, reviewer: Any, person: Callable[..., Any]
) -> None:
    task = create_image_in_review(brand)
    other = person("reviewer")
    queue.claim_batch(brand=brand, by=reviewer)
    assert queue.claim_batch(brand=brand, by=other) == []
    ReviewTask.objects.update(claimed_until=timezone.now() + timedelta(seconds=5))
    assert queue.renew_claims(brand=brand, by=reviewer) == 1
    assert ReviewTask.objects.get().claimed_until > timezone.now() + timedelta(minutes=9)
    ReviewTask.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    assert queue.renew_claims(brand=brand, by=reviewer) == 0
    assert [claimed_task.pk for claimed_task in queue.claim_batch(brand=brand, by=other)] == [task.pk]


def test_release_gives_everything_back(brand: Any, reviewer: Any, person: Callable[..., Any]) -> None:
    create_image_in_review(brand)
    queue.claim_batch(brand=brand, by=reviewer)
    assert queue.release_claims(brand=brand, by=reviewer) == 1
    assert len(queue.claim_batch(brand=brand, by=person("reviewer"))) == 1


def test_only_a_lead_may_decide_on_an_image_that_another_person_claimed(
    brand: Any, reviewer: Any, person: Callable[..., Any], lead: Any
) -> None:
    task = create_image_in_review(brand)
    queue.claim_batch(brand=brand, by=reviewer)
    with pytest.raises(Conflict, match=f"{reviewer.display_name} is looking at this"):
        decisions.approve(**decision_arguments(task), by=person("reviewer"))
    decisions.approve(**decision_arguments(task), by=lead)


def test_a_second_opinion_is_asked_of_somebody_else(brand: Any, reviewer: Any, person: Callable[..., Any]) -> None:
    factories.ChecklistVersionFactory(checklist__brand=brand, checklist__slots=2, items=[])
    task = create_image_in_review(brand)
    decisions.approve(**decision_arguments(task), by=reviewer)
    assert queue.claim_batch(brand=brand, by=reviewer) == []
    assert [claimed_task.pk for claimed_task in queue.claim_batch(brand=brand, by=person("reviewer"))] == [task.pk]


def test_an_undo_leaves_the_claim_of_the_person_who_looks_at_the_image(
    brand: Any, reviewer: Any, person: Callable[..., Any]
) -> None:
    factories.ChecklistVersionFactory(checklist__brand=brand, checklist__slots=2, items=[])
    task, second = create_image_in_review(brand), person("reviewer")
    decision = decisions.approve(**decision_arguments(task), by=reviewer)
    assert queue.claim_batch(brand=brand, by=second) == [task]
    decisions.undo(decision_id=decision.pk, by=reviewer)
    task.refresh_from_db()
    assert task.claimed_by == second
    with pytest.raises(Conflict, match=second.display_name):
        decisions.approve(**decision_arguments(task), by=reviewer)


@pytest.mark.django_db(transaction=True)
def test_six_people_who_start_at_once_never_meet_on_an_image(brand: Any, person: Callable[..., Any]) -> None:
    for _ in range(20):
        create_image_in_review(brand)
    people = [person("reviewer") for _ in range(6)]
    batches = race_without_errors(*(partial(queue.claim_batch, brand=brand, by=by, size=5) for by in people))
    claimed = [task.pk for batch in batches for task in batch]
    assert len(claimed) == len(set(claimed)) == 20


def test_the_counts_say_what_waits_for_this_person(
    brand: Any, other_brand: Any, reviewer: Any, viewer: Any, person: Callable[..., Any], django_assert_num_queries: Any
) -> None:
    tasks = [create_image_in_review(brand) for _ in range(4)]
    create_image_in_review(other_brand)
    ReviewTask.objects.filter(pk=tasks[0].pk).update(due_at=timezone.now() - timedelta(hours=1))
    ReviewTask.objects.filter(pk=tasks[3].pk).update(
        claimed_by=person("reviewer"), claimed_until=timezone.now() + timedelta(minutes=5)
    )
    queue.claim_batch(brand=brand, by=reviewer, size=1)
    with django_assert_num_queries(5):  # with the roles of the person
        counts = task_queue.count_tasks(user=reviewer, brand=brand)
    assert (counts["waiting_count"], counts["overdue_count"], counts["claimed_count"]) == (3, 1, 1)
    assert counts["held_by_others_count"] == 1
    assert task_queue.count_tasks(user=reviewer, brand=other_brand)["waiting_count"] == 0
    assert task_queue.count_tasks(user=viewer, brand=brand)["waiting_count"] == 0


def test_the_workspace_counts_only_tasks_that_this_person_can_take(
    brand: Any, reviewer: Any, person: Callable[..., Any], page_client: Any
) -> None:
    """Of four open tasks, a colleague holds one and the reviewer has given the first of two opinions on another."""
    factories.ChecklistVersionFactory(checklist__brand=brand, checklist__slots=2, items=[])
    tasks = [create_image_in_review(brand) for _ in range(4)]
    decisions.approve(**decision_arguments(tasks[0]), by=reviewer)
    queue.claim_task(tasks[1], person("reviewer"))
    client = page_client(reviewer)
    state = client.get(f"/brands/{brand.slug}/review/room/").context["state"]
    assert (state["waiting"], state["held_by_others"]) == (2, 1)
    queue.release_claims(brand=brand, by=reviewer)
    queue.claim_task(tasks[2], person("reviewer"))
    more = client.post(f"/brands/{brand.slug}/review/more/", {}, content_type="application/json").json()
    assert (more["waiting"], more["held_by_others"]) == (1, 2)


# -- checklists and reasons ------------------------------------------------------------------------------------------


def test_versions_of_a_checklist_are_numbered_and_kept(brand: Any, lead: Any) -> None:
    first = checklists.create(brand=brand, by=lead, stage="brand", name="Brand", items=[])
    second = checklists.publish_version(
        checklist_id=first.checklist_id, by=lead, items=[{"code": "a", "sentence": "A.", "mode": "ask"}]
    )
    assert (first.number, second.number) == (1, 2)
    assert checklists.get_or_create_version(brand_id=brand.pk, stage="brand") == second
    with pytest.raises(Conflict):
        checklists.create(brand=brand, by=lead, stage="brand", name="Brand", items=[])


@pytest.mark.parametrize(
    ("items", "pointer"),
    [
        ([{"code": "", "sentence": "x"}], "items/0/code"),
        ([{"code": "a", "sentence": "x"}, {"code": "a", "sentence": "y"}], "items/1/code"),
        ([{"code": "a", "sentence": ""}], "items/0/sentence"),
        ([{"code": "a", "sentence": "x", "mode": "maybe"}], "items/0/mode"),
        ([{"code": code, "sentence": "x", "mode": ItemMode.ASK} for code in "abc"], "items"),
    ],
)
def test_a_checklist_that_cannot_be_answered_is_refused(brand: Any, lead: Any, items: Any, pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        checklists.create(brand=brand, by=lead, stage="brand", name="Brand", items=items)
    assert [problem.pointer for problem in refused.value.problems] == [pointer]


def test_a_new_brand_has_reasons_to_reject() -> None:
    founder = factories.UserFactory(is_superuser=True)
    brand = brands.create_brand(slug="north", name="North", by=founder)
    assert list(brand.reasons.values_list("code", flat=True)) == [code for code, _label in reasons.DEFAULTS]
    assert Event.objects.filter(brand=brand, type="review.reason.saved", actor=founder).count() == 9


def test_reasons_are_added_once_and_retired_ones_cannot_be_chosen(brand: Any, lead: Any, reviewer: Any) -> None:
    add_default_reasons(brand, lead)
    assert reasons.add_defaults(brand=brand, by=lead) == []
    reasons.save(brand=brand, by=lead, code="light", label="Light", is_active=False)
    task = create_image_in_review(brand)
    with pytest.raises(Exception, match="no reason 'light'"):
        decisions.reject(**decision_arguments(task), by=reviewer, reason="light")
