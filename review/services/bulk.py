"""Make the same decision about many images. Each has its own transaction and its own outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from core.errors import DomainError, Invalid
from core.models import User
from review.models import Decision, ReviewTask
from review.services import decisions

MAX_ITEMS = 200


@dataclass(frozen=True)
class Item:
    """One selected image: its task, the version shown, and the token of what was seen."""

    task_id: int
    version_id: int
    seen: str


@dataclass(frozen=True)
class TaskResult:
    """The result for one task: the decision, or the HTTP status and message of the error."""

    task_id: int
    decision_id: int | None
    status: int
    message: str = ""


def approve(
    *, items: Sequence[Item], by: User, note: str = "", answers: Mapping[str, str] | None = None
) -> list[TaskResult]:
    """Approve each image. One conflict does not stop the others.

    `answers` are given once for the whole selection: each image takes those that its own checklist asks for. An image
    whose checklist asks for more is refused.
    """
    given = answers or {}
    tasks = ReviewTask.objects.filter(pk__in=[item.task_id for item in items] if given else [])
    items_by_task = dict(tasks.values_list("pk", "checklist_version__items"))

    def approve_item(item: Item) -> Decision:
        codes = {entry["code"] for entry in items_by_task.get(item.task_id, ())}
        own_answers = {code: value for code, value in given.items() if code in codes}
        return decisions.approve(
            task_id=item.task_id, version_id=item.version_id, by=by, seen=item.seen, note=note, answers=own_answers
        )

    return _decide_each(items, approve_item)


def reject(*, items: Sequence[Item], by: User, reason: str, note: str = "") -> list[TaskResult]:
    """Reject each image for the same reason."""
    return _decide_each(
        items,
        lambda item: decisions.reject(
            task_id=item.task_id, version_id=item.version_id, by=by, seen=item.seen, reason=reason, note=note
        ),
    )


def _decide_each(items: Sequence[Item], decide: Callable[[Item], Decision]) -> list[TaskResult]:
    if len(items) > MAX_ITEMS:
        message = _("At most %(most)d images at once; these are %(count)d.")
        raise Invalid(message % {"most": MAX_ITEMS, "count": len(items)})
    outcomes = []
    for item in items:
        try:
            outcomes.append(TaskResult(item.task_id, decide(item).pk, 200))
        except DomainError as error:
            problems = "; ".join(problem.message for problem in getattr(error, "problems", []))
            sentence = f"{error.message} {problems}".strip()
            outcomes.append(TaskResult(item.task_id, None, error.status, sentence))
    return outcomes
