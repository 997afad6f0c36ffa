"""Tests that the approvals of earlier stages do not count for an image whose inputs have changed since."""

from __future__ import annotations

import pytest

from core.models import Brand
from generation.models import Asset
from review.choices import TaskState
from review.models import DecisionSlot, ReviewTask
from review.services import consequences
from tests.support.review_programs import OWNER, ReviewScene, Step

pytestmark = pytest.mark.django_db(transaction=True)

APPROVE, EDIT = Step("approve"), Step("edit", variant=1)
EDIT_AGAIN = Step("edit", variant=2)


@pytest.fixture
def scene(brand: Brand) -> ReviewScene:
    """Return images at the first of two stages, each with one slot."""
    scene = ReviewScene(brand)
    scene.reset([1, 1])
    return scene


def do(scene: ReviewScene, *steps: tuple[str, Step]) -> None:
    for person, step in steps:
        scene.do(person, step)


def assert_waits_for_first_stage(scene: ReviewScene, state: str) -> None:
    asset = Asset.objects.get(pk=scene.images[0].pk)
    assert asset.state == state
    assert [task.stage for task in ReviewTask.objects.filter(asset=asset, state=TaskState.OPEN)] == ["brand"]
    assert not DecisionSlot.objects.filter(task__asset=asset, decision__isnull=False).exists()


@pytest.mark.parametrize("decision", ["reject", "request_revision"])
def test_undoing_a_decision_after_an_input_changed_begins_the_review_again(scene: ReviewScene, decision: str) -> None:
    do(scene, ("first", APPROVE), ("second", Step(decision)), (OWNER, EDIT), ("second", Step("undo")))
    assert_waits_for_first_stage(scene, "in_review")


def test_an_image_that_the_manager_returns_after_an_input_changed_begins_the_review_again(scene: ReviewScene) -> None:
    do(scene, ("first", APPROVE), ("second", Step("request_revision")), ("second", Step("carry_out")), (OWNER, EDIT))
    task = ReviewTask.objects.get(asset=scene.images[0], stage="legal")
    consequences.return_to_review(task_id=task.pk, by=scene.people[OWNER], note="It is clean.")
    assert_waits_for_first_stage(scene, "in_review")


def test_a_stale_image_whose_input_changes_again_between_the_stages_begins_the_review_again(scene: ReviewScene) -> None:
    do(scene, ("first", APPROVE), ("second", APPROVE), (OWNER, EDIT), ("first", APPROVE), (OWNER, EDIT_AGAIN))
    assert_waits_for_first_stage(scene, "stale")


def test_undoing_a_decision_keeps_the_approvals_of_unchanged_inputs(scene: ReviewScene) -> None:
    do(scene, ("first", APPROVE), ("second", Step("reject")), ("second", Step("undo")))
    open_tasks = ReviewTask.objects.filter(asset=scene.images[0], state=TaskState.OPEN)
    assert [task.stage for task in open_tasks] == ["legal"]
