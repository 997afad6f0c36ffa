"""Test the queues of the queue page: what each has, that claims stay in it, and what the page says about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.urls import reverse

from generation.models import Run
from review.models import ReviewTask
from review.selectors import task_queue
from review.selectors.task_queue import Queue
from review.services import decisions, queue
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments

pytestmark = pytest.mark.django_db


@pytest.fixture
def tasks(brand: Any) -> list[ReviewTask]:
    """Four tasks of runs of their own; the second has findings, and the third was made again."""
    made = [create_image_in_review(brand) for _ in range(4)]
    ReviewTask.objects.filter(pk=made[1].pk).update(has_problem=True)
    ReviewTask.objects.filter(pk=made[2].pk).update(round=2)
    return made


def _queues(user: Any, brand: Any) -> dict[str, int]:
    rows, _more = task_queue.list_queues(user=user, brand=brand, stages=["brand"])
    return {row.queue.slug: row.number for row in rows}


def test_each_queue_says_how_many_tasks_wait_for_this_person(
    tasks: list[ReviewTask], brand: Any, reviewer: Any
) -> None:
    runs = {f"run-{task.run_id}": 1 for task in tasks}
    assert len(runs) == 4
    assert _queues(reviewer, brand) == {"findings": 1, "again": 1, **runs}


def test_what_the_person_has_decided_is_in_no_queue(brand: Any, reviewer: Any, person: Callable[..., Any]) -> None:
    factories.ChecklistVersionFactory(checklist__brand=brand, checklist__slots=2, items=[])
    task = create_image_in_review(brand)
    decisions.approve(**decision_arguments(task), by=reviewer)
    slug = f"run-{task.run_id}"
    assert slug not in _queues(reviewer, brand)
    assert _queues(person("reviewer"), brand)[slug] == 1


@pytest.mark.parametrize("place", [0, 1, 2])
def test_claims_of_a_queue_take_only_its_tasks(tasks: list[ReviewTask], brand: Any, reviewer: Any, place: int) -> None:
    chosen = [Queue(run_id=tasks[0].run_id), Queue(has_problem=True), Queue(is_again=True)][place]
    assert Queue.read(chosen.slug) == chosen
    claimed = queue.claim_batch(brand=brand, by=reviewer, queue=chosen)
    assert [task.pk for task in claimed] == [tasks[place].pk]
    everything = queue.claim_batch(brand=brand, by=reviewer)
    assert {task.pk for task in everything} == {task.pk for task in tasks}


def test_an_unknown_queue_is_everything() -> None:
    assert Queue.read("run-none") == Queue.read("nothing") == Queue.read("") == task_queue.EVERYTHING


def test_the_page_names_the_runs_and_who_is_at_work(
    tasks: list[ReviewTask], brand: Any, reviewer: Any, person: Callable[..., Any], page_client: Any
) -> None:
    mara = person("reviewer", first_name="Mara", last_name="Lund")
    queue.claim_batch(brand=brand, by=mara, queue=Queue(run_id=tasks[3].run_id))
    text = page_client(reviewer).get(reverse("review", args=[brand.slug])).content.decode()
    assert "Mara Lund at work" in text
    for run in Run.objects.filter(pk__in=[task.run_id for task in tasks]):
        assert run.campaign.name in text
        assert f"?queue=run-{run.pk}" in text


def test_the_workspace_opens_with_the_tasks_of_the_queue_and_asks_for_more_of_them(
    tasks: list[ReviewTask], brand: Any, reviewer: Any, page_client: Any
) -> None:
    page = page_client(reviewer).get(reverse("workspace", args=[brand.slug]), {"queue": "findings"})
    state = page.context["state"]
    assert [card["id"] for card in state["cards"]] == [tasks[1].pk]
    assert state["urls"]["more"].endswith("?queue=findings")


def test_a_task_says_whether_its_version_has_a_problem(brand: Any, lead: Any) -> None:
    task = create_image_in_review(brand)
    assert not task.has_problem
    assert task.run_id == task.asset.cell.run_id
    assert task.product_key == task.asset.subject.key
