"""Open, claim, renew, release, skip and close review tasks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import cast

from django.conf import settings
from django.db import transaction
from django.db.models import Exists
from django.utils import timezone
from django.utils.translation import gettext as _

from core import access, clock, sql
from core.access import Action
from core.errors import Conflict
from core.events import publish
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation.models import Asset, AssetProblem
from review.choices import TaskState
from review.events import TaskOpened, TaskSkipped
from review.models import TASK_ORDER, ChecklistVersion, DecisionSlot, ReviewTask
from review.selectors.task_queue import EVERYTHING, Queue, find_free_tasks
from review.services import checklists
from review.states import TASK

MAX_CLAIMS = 40  # of one person at a time, over all brands and stages
MAX_LOOKS = 5  # for tasks that nobody is claiming at the same moment

# Open the task of an asset at a stage (NULL: the first) with the newest version of its checklist and empty slots,
# unless it has one. One statement, because a worker runs it for every image.
_OPEN = """
WITH newest AS (
    SELECT v.id, c.stage, c.slots, c.due_hours
    FROM review_checklistversion v JOIN review_checklist c ON c.id = v.checklist_id
    WHERE c.brand_id = %(brand)s AND (%(stage)s::text IS NULL OR c.stage = %(stage)s)
    ORDER BY c.position, c.id, v.number DESC
    LIMIT 1
), task AS (
    INSERT INTO review_reviewtask (brand_id, asset_id, run_id, product_key, has_problem, checklist_version_id, stage,
                                   state, round, due_at, opened_at)
    SELECT %(brand)s, a.id, c.run_id, s.key, coalesce(v.worst_outcome <> 'pass', false), newest.id, stage,
           'open', %(round)s,
           %(now)s + due_hours * interval '1 hour', %(now)s
    FROM newest
    JOIN generation_asset a ON a.id = %(asset)s
    JOIN generation_cell c ON c.id = a.cell_id
    JOIN campaigns_subject s ON s.id = a.subject_id
    LEFT JOIN generation_assetversion v ON v.id = a.current_version_id
    ON CONFLICT (asset_id, stage) DO NOTHING
    RETURNING *
), slots AS (
    INSERT INTO review_decisionslot (task_id, slot) SELECT task.id, generate_series(1, slots) FROM task, newest
)
SELECT * FROM task
"""


def get(task_id: int, by: User) -> ReviewTask:
    """Return the task. Raises NotFound if `by` may not see its brand."""
    rows = ReviewTask.objects.visible_to(by).filter(pk=task_id)
    rows = rows.select_related("brand", "asset__campaign", "checklist_version__checklist", "claimed_by")
    return first_or_refuse(rows, _("There is no review task %(id)d.") % {"id": task_id})


def lock(task_id: int) -> ReviewTask:
    """Return the task with its row locked. The caller must hold the asset's lock already: always in this order."""
    rows = ReviewTask.objects.select_for_update(of=("self",))
    # Not `claimed_by`: a row that was joined before the wait for the lock says who had claimed the task then.
    return rows.select_related("brand", "checklist_version__checklist").get(pk=task_id)


def open_task(*, asset: Asset, stage: str | None = None, by: User | None = None) -> ReviewTask:
    """Open the review task of one asset at a stage (default: the brand's first), or reopen that of an earlier round.

    The task gets the newest checklist version and empty slots. Later stages wait until this one is decided.
    """
    task = _open(asset, stage) or _reopen(asset, checklists.get_or_create_version(brand_id=asset.brand_id, stage=stage))
    payload = {"round": asset.round, "checklist_version": task.checklist_version_id}
    publish(TaskOpened.of(asset, task=task.pk, stage=task.stage, **payload), by=by, label="review")
    return task


def _open(asset: Asset, stage: str | None) -> ReviewTask | None:
    """Open a task; None if there is one, or if the brand has no checklist yet."""
    values = {"brand": asset.brand_id, "asset": asset.pk, "stage": stage, "round": asset.round, "now": clock.now()}
    return next(iter(sql.instances(ReviewTask, _OPEN, values)), None)


def _reopen(asset: Asset, version: ChecklistVersion) -> ReviewTask:
    checklist = version.checklist
    task = ReviewTask.objects.filter(asset=asset, stage=checklist.stage).first()
    if task is None:
        return cast(ReviewTask, _open(asset, checklist.stage))  # its checklist has just been made
    if task.state != TaskState.OPEN:
        TASK.ensure(task.state, TaskState.OPEN)
    free = {"claimed_by": None, "claimed_until": None, "skipped_at": None, "escalated_to": None}
    fresh = {"round": asset.round, "due_at": clock.now() + timedelta(hours=checklist.due_hours)}
    fresh["has_problem"] = Exists(AssetProblem.objects.filter(asset=asset))
    unmoved = ReviewTask.objects.filter(pk=task.pk, state=task.state)
    unmoved.update(state=TaskState.OPEN, checklist_version=version, **free, **fresh)
    task.refresh_from_db()
    task.slots.update(decision=None)
    task.slots.filter(slot__gt=checklist.slots).delete()
    missing = [DecisionSlot(task=task, slot=number) for number in range(1, checklist.slots + 1)]
    DecisionSlot.objects.bulk_create(missing, ignore_conflicts=True)
    return task


def move(task: ReviewTask, to: str) -> None:
    """Compare and set the task's state and end its claim. Raises Conflict if the state changed meanwhile."""
    TASK.ensure(task.state, to)
    unmoved = ReviewTask.objects.filter(pk=task.pk, state=task.state)
    if not unmoved.update(state=to, claimed_by=None, claimed_until=None):
        raise Conflict(_("This review task was moved by somebody else a moment ago; look at it again."), task=task.pk)
    task.state = to
    task.claimed_by = task.claimed_until = None


@transaction.atomic
def claim_batch(
    *, brand: Brand, by: User, size: int = 20, stage: str = checklists.FIRST_STAGE, queue: Queue = EVERYTHING
) -> list[ReviewTask]:
    """Claim the next open tasks of a stage for `by` for ten minutes, in the order in which they will be shown.

    Tasks that `by` holds already are kept, renewed and counted; nobody holds more than MAX_CLAIMS. Tasks that another
    person holds, and tasks that `by` has decided already, are left out. The order: not skipped before skipped, then by
    due time, run and subject. queue: claim only tasks of this queue, and return only those.
    """
    access.require(by, Action.REVIEW, brand)
    now = clock.now()
    allowed = MAX_CLAIMS - _lock_and_count_claims(by, now)
    open_tasks = ReviewTask.objects.filter(queue.condition, brand=brand, stage=stage, state=TaskState.OPEN)
    held = list(
        open_tasks.filter(claimed_by=by, claimed_until__gt=now)
        .select_for_update(skip_locked=True, of=("self",))  # a locked task is being decided or renewed
        .values_list("pk", flat=True)
    )
    to_claim = max(0, min(size - len(held), allowed))
    task_ids = held + _lock_free_tasks(brand, stage, queue, by, now, to_claim)
    until = now + timedelta(minutes=settings.PROOFLINE["claim_minutes"])
    ReviewTask.objects.filter(pk__in=task_ids).update(claimed_by=by, claimed_until=until)
    return list(ReviewTask.objects.filter(pk__in=task_ids).select_related("asset__subject").order_by(*TASK_ORDER))


def _lock_free_tasks(brand: Brand, stage: str, queue: Queue, by: User, now: datetime, count: int) -> list[int]:
    """Lock the first `count` tasks that `by` may claim and return their ids, in their order.

    Claims at the same moment take the same first tasks: whoever comes second skips them and looks again.
    """
    locked: list[int] = []
    for _round in range(MAX_LOOKS):
        if len(locked) == count:
            break
        first = find_free_tasks(
            brand_id=brand.pk, stages=[stage], by=by, now=now, count=2 * count, without=locked, queue=queue
        )
        rows = ReviewTask.objects.filter(pk__in=first, state=TaskState.OPEN).exclude(claimed_until__gt=now)
        rows = rows.order_by(*TASK_ORDER).select_for_update(skip_locked=True, of=("self",))
        locked += rows.values_list("pk", flat=True)[: count - len(locked)]
        if not first:
            break
    return locked


def _lock_and_count_claims(by: User, now: datetime) -> int:
    """Return how many claims `by` holds, and lock the user's row, so that no two transactions count the same places."""
    User.objects.select_for_update(no_key=True).get(pk=by.pk)
    return ReviewTask.objects.filter(claimed_by=by, claimed_until__gt=now, state=TaskState.OPEN).count()


def claim_task(task: ReviewTask, by: User) -> None:
    """Claim one open task for `by` for ten minutes. The caller locks the task.

    Do nothing while another person holds the task, or if `by` holds MAX_CLAIMS.
    """
    if _find_other_claim(task, by) or _lock_and_count_claims(by, clock.now()) >= MAX_CLAIMS:
        return
    task.claimed_by = by
    task.claimed_until = clock.now() + timedelta(minutes=settings.PROOFLINE["claim_minutes"])
    ReviewTask.objects.filter(pk=task.pk).update(claimed_by=by, claimed_until=task.claimed_until)


@transaction.atomic
def renew_claims(*, brand: Brand, by: User) -> int:
    """Renew the claims of `by` for another ten minutes and return how many. The page calls this during work."""
    access.require(by, Action.REVIEW, brand)
    now = clock.now()
    mine = ReviewTask.objects.filter(brand=brand, state=TaskState.OPEN, claimed_by=by, claimed_until__gt=now)
    return mine.update(claimed_until=now + timedelta(minutes=settings.PROOFLINE["claim_minutes"]))


@transaction.atomic
def release_claims(*, brand: Brand, by: User) -> int:
    """Release every claim of `by` in this brand and return how many."""
    access.require(by, Action.REVIEW, brand)
    return ReviewTask.objects.filter(brand=brand, claimed_by=by).update(claimed_by=None, claimed_until=None)


@transaction.atomic
def skip(*, task_id: int, by: User) -> ReviewTask:
    """Move a task to the end of the queue and release its claim. Raises Conflict when it is not open."""
    task = get(task_id, by)
    access.require(by, Action.REVIEW, task.brand)
    ensure_not_claimed_by_another(lock(task_id), by)
    now = clock.now()
    unmoved = ReviewTask.objects.filter(pk=task.pk, state=TaskState.OPEN)
    if not unmoved.update(skipped_at=now, claimed_by=None, claimed_until=None):
        raise Conflict(_("Only an open task can be skipped; this one is decided already."), task=task.pk)
    publish(TaskSkipped.of(task.asset, task=task.pk, stage=task.stage), by=by)
    task.skipped_at, task.claimed_by, task.claimed_until = now, None, None
    return task


def ensure_not_claimed_by_another(task: ReviewTask, by: User) -> None:
    """Raise Conflict while another person holds the task, unless `by` is a lead."""
    if (claim := _find_other_claim(task, by)) and not access.can(by, Action.REVOKE, task.brand):
        holder, until = claim
        facts = {"name": holder.display_name, "time": f"{timezone.localtime(until):%H:%M}"}
        message = _("%(name)s is looking at this image until %(time)s.") % facts
        raise Conflict(message, task=task.pk, held_by=holder.display_name, until=until.isoformat())


def _find_other_claim(task: ReviewTask, by: User) -> tuple[User, datetime] | None:
    """Return who else holds the task now, and until when."""
    until = task.claimed_until
    if task.claimed_by_id == by.pk or task.claimed_by is None or until is None or until <= clock.now():
        return None
    return task.claimed_by, until
