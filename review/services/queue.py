"""Review tasks on their way to a decision: opened, claimed, renewed, released, skipped, closed."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from core import access, clock
from core.access import Action
from core.errors import Conflict, NotFound
from core.events import publish
from core.models import Brand, User
from generation.models import Asset
from review.choices import TaskState
from review.events import TaskOpened, TaskSkipped
from review.models import DecisionSlot, ReviewTask
from review.services import checklists
from review.states import TASK

#: Timed claims that one person holds at most, over all brands and stages.
MOST_HELD = 40


def get(task_id: int, by: User) -> ReviewTask:
    """The task if `by` may see its brand; NotFound otherwise."""
    task = (
        ReviewTask.objects.visible_to(by)
        .select_related("brand", "asset__campaign", "checklist_version__checklist", "claimed_by")
        .filter(pk=task_id)
        .first()
    )
    if task is None:
        raise NotFound(f"There is no review task {task_id}.")
    return task


def lock(task_id: int) -> ReviewTask:
    """The task, its row locked. The caller holds the asset's lock already: always in this order."""
    return (
        ReviewTask.objects.select_for_update(of=("self",))
        .select_related("brand", "checklist_version__checklist", "claimed_by")
        .get(pk=task_id)
    )


def open_task(*, asset: Asset, stage: str | None = None, by: User | None = None) -> ReviewTask:
    """Have one asset judged at a stage, the brand's first without a name; a task from an earlier round wakes up.

    Called in the transaction in which all candidates of the round were there. Later stages wait until this one is
    decided. The checklist is pinned as it is now; slots are emptied for the new pixels.
    """
    version = checklists.current(brand_id=asset.brand_id, stage=stage)
    stage = version.checklist.stage
    due_at = clock.now() + timedelta(hours=version.checklist.due_hours)
    fresh = {"checklist_version": version, "round": asset.round, "due_at": due_at}
    task, is_new = ReviewTask.objects.get_or_create(
        asset=asset, stage=stage, defaults={"brand_id": asset.brand_id, "state": TaskState.OPEN, **fresh}
    )
    if not is_new:
        _wake(task, fresh, slots=version.checklist.slots)
    slots = [DecisionSlot(task=task, slot=number) for number in range(1, version.checklist.slots + 1)]
    DecisionSlot.objects.bulk_create(slots, ignore_conflicts=True)
    publish(
        TaskOpened(
            brand_id=asset.brand_id,
            object_id=asset.pk,
            payload={"task": task.pk, "stage": stage, "round": asset.round, "checklist_version": version.pk},
        ),
        by=by,
        label="" if by else "review",
    )
    return task


def _wake(task: ReviewTask, fresh: dict[str, object], *, slots: int) -> None:
    if task.state != TaskState.OPEN:
        TASK.ensure(task.state, TaskState.OPEN)
    ReviewTask.objects.filter(pk=task.pk, state=task.state).update(
        state=TaskState.OPEN, claimed_by=None, claimed_until=None, skipped_at=None, escalated_to=None, **fresh
    )
    task.refresh_from_db()
    task.slots.update(decision=None)
    task.slots.filter(slot__gt=slots).delete()


def move(task: ReviewTask, to: str) -> None:
    """Compare-and-set the task's state; a claim ends with it. Conflict if it is no longer what `task` says."""
    TASK.ensure(task.state, to)
    moved = ReviewTask.objects.filter(pk=task.pk, state=task.state).update(
        state=to, claimed_by=None, claimed_until=None
    )
    if not moved:
        raise Conflict("This review task was moved by somebody else a moment ago; look at it again.", task=task.pk)
    task.state = to
    task.claimed_by = task.claimed_until = None


@transaction.atomic
def start(*, brand: Brand, by: User, size: int = 20, stage: str = checklists.FIRST_STAGE) -> list[ReviewTask]:
    """Claim the next open tasks of a stage for `by`, for ten minutes, in the order in which they will be shown.

    What `by` holds already is kept, renewed and counted; nobody holds more than MOST_HELD. Nobody is handed what
    another person holds, nor an image that wants a second opinion and already has theirs. Skipped ones come last, due
    ones first, then by run and subject.
    """
    access.require(by, Action.REVIEW, brand)
    now = clock.now()
    until = now + timedelta(minutes=settings.PROOFLINE["claim_minutes"])
    room = MOST_HELD - _held(by, now)
    open_tasks = ReviewTask.objects.filter(brand=brand, stage=stage, state=TaskState.OPEN)
    held = list(
        open_tasks.filter(claimed_by=by, claimed_until__gt=now)
        .select_for_update(skip_locked=True, of=("self",))  # one that is locked is being decided or renewed
        .values_list("pk", flat=True)
    )
    wanted = max(0, min(size - len(held), room))
    free = (
        open_tasks.filter(Q(claimed_until__isnull=True) | Q(claimed_until__lte=now))
        .exclude(slots__decision__decided_by=by)
        .order_by(*ORDER)
        .select_for_update(skip_locked=True, of=("self",))
        .values_list("pk", flat=True)[:wanted]
    )
    mine = held + (list(free) if wanted else [])
    ReviewTask.objects.filter(pk__in=mine).update(claimed_by=by, claimed_until=until)
    return list(ReviewTask.objects.filter(pk__in=mine).select_related("asset__subject").order_by(*ORDER))


#: How a queue is shown and claimed.
ORDER = (
    F("skipped_at").asc(nulls_first=True),
    F("due_at").asc(nulls_last=True),
    "asset__cell__run_id",
    "asset__subject__key",
    "pk",
)


def _held(by: User, now: datetime) -> int:
    """Return how many claims `by` holds, over all brands, and lock the user's row until the transaction ends.

    The lock keeps two transactions from both finding room for the same person.
    """
    User.objects.select_for_update(no_key=True).get(pk=by.pk)
    return ReviewTask.objects.filter(claimed_by=by, claimed_until__gt=now, state=TaskState.OPEN).count()


def hold(task: ReviewTask, by: User) -> None:
    """Give one open task to `by` for ten minutes, or leave it free if `by` holds MOST_HELD. The caller locks it."""
    if _held(by, clock.now()) >= MOST_HELD:
        return
    task.claimed_by = by
    task.claimed_until = clock.now() + timedelta(minutes=settings.PROOFLINE["claim_minutes"])
    ReviewTask.objects.filter(pk=task.pk).update(claimed_by=by, claimed_until=task.claimed_until)


@transaction.atomic
def renew(*, brand: Brand, by: User) -> int:
    """Keep what `by` still holds for another ten minutes; called by the page while somebody works. Returns how many."""
    access.require(by, Action.REVIEW, brand)
    now = clock.now()
    until = now + timedelta(minutes=settings.PROOFLINE["claim_minutes"])
    mine = ReviewTask.objects.filter(brand=brand, state=TaskState.OPEN, claimed_by=by, claimed_until__gt=now)
    return mine.update(claimed_until=until)


@transaction.atomic
def release(*, brand: Brand, by: User) -> int:
    """Give back everything that `by` holds in this brand. Returns how many."""
    access.require(by, Action.REVIEW, brand)
    mine = ReviewTask.objects.filter(brand=brand, claimed_by=by)
    return mine.update(claimed_by=None, claimed_until=None)


@transaction.atomic
def skip(*, task_id: int, by: User) -> ReviewTask:
    """Put a task behind the others and give it back. Raises Conflict when it is not open."""
    task = get(task_id, by)
    access.require(by, Action.REVIEW, task.brand)
    ensure_free(task, by)
    now = clock.now()
    skipped = ReviewTask.objects.filter(pk=task.pk, state=TaskState.OPEN).update(
        skipped_at=now, claimed_by=None, claimed_until=None
    )
    if not skipped:
        raise Conflict("Only an open task can be skipped; this one is decided already.", task=task.pk)
    payload = {"task": task.pk, "stage": task.stage}
    publish(TaskSkipped(brand_id=task.brand_id, object_id=task.asset_id, payload=payload), by=by)
    task.skipped_at, task.claimed_by, task.claimed_until = now, None, None
    return task


def ensure_free(task: ReviewTask, by: User) -> None:
    """Raise Conflict while another person holds the task; a lead may step in."""
    holder, until = task.claimed_by, task.claimed_until
    if holder is None or holder == by or until is None or until <= clock.now():
        return
    if access.can(by, Action.REVOKE, task.brand):
        return
    raise Conflict(
        f"{holder.display_name} is looking at this image until {timezone.localtime(until):%H:%M}.",
        task=task.pk,
        held_by=holder.display_name,
        until=until.isoformat(),
    )
