"""The review queue: the next tasks that a person may claim, and how many there are.

Nothing here depends on how many tasks are open. Tasks that nobody has decided yet and, of each group of people who
have filled a slot, those that they have decided lie in the index `task_queue` in their order. The groups of the person
who asks are left out, so that no task is read that this person may not decide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Q
from django.utils import timezone

from core import sql
from core.access import Action, can
from core.models import Brand, User
from core.pages import parse_row_id
from generation.models import AssetVersion, Run
from review.choices import TaskState
from review.models import ReviewTask, RunTaskCount, TaskCount

PROBLEMS, AGAIN = "findings", "again"
MAX_RUNS = 12
THUMBNAILS = 4

# The groups are found by a loose index scan, which PostgreSQL has not, so the first statement is recursive.
_FREE = """
WITH RECURSIVE people AS (
    SELECT stage, (SELECT min(deciders) FROM review_reviewtask
                   WHERE brand_id = %(brand)s AND stage = stages.stage AND state = 'open') AS deciders
    FROM unnest(%(stages)s::text[]) stages (stage)
    UNION ALL
    SELECT stage, (SELECT min(deciders) FROM review_reviewtask t
                   WHERE brand_id = %(brand)s AND t.stage = people.stage AND state = 'open'
                     AND t.deciders > people.deciders)
    FROM people WHERE deciders IS NOT NULL
)
SELECT task.id
FROM people
CROSS JOIN LATERAL (
    SELECT t.id, t.skipped_at, t.due_at, t.run_id, t.product_key
    FROM review_reviewtask t
    WHERE t.brand_id = %(brand)s AND t.stage = people.stage AND t.deciders = people.deciders AND t.state = 'open'
      AND {queue}
      AND (t.claimed_until IS NULL OR t.claimed_until <= %(now)s OR t.claimed_by_id = %(mine)s)
      AND t.id <> ALL(%(without)s)
    ORDER BY t.skipped_at NULLS FIRST, t.due_at NULLS LAST, t.run_id, t.product_key, t.id
    LIMIT %(count)s
) task
WHERE NOT %(by)s = ANY(people.deciders)
ORDER BY array_position(%(stages)s::text[], people.stage::text),
         task.skipped_at NULLS FIRST, task.due_at NULLS LAST, task.run_id, task.product_key, task.id
LIMIT %(count)s
"""


@dataclass(frozen=True)
class Queue:
    """A part of a brand's open tasks: all, those of a run, those with findings, or those that were made again."""

    run_id: int | None = None
    has_problem: bool = False
    is_again: bool = False

    @classmethod
    def read(cls, slug: str) -> Queue:
        """Return the queue of a `slug`; all tasks for one that is unknown."""
        if slug.startswith("run-"):
            return cls(run_id=parse_row_id(slug.removeprefix("run-")))
        return {PROBLEMS: cls(has_problem=True), AGAIN: cls(is_again=True)}.get(slug, cls())

    @property
    def slug(self) -> str:
        if self.run_id:
            return f"run-{self.run_id}"
        return PROBLEMS if self.has_problem else AGAIN if self.is_again else ""

    @property
    def condition(self) -> Q:
        """Return the condition of tasks, and with `_SQL` the same for the statement: each has an index of its own."""
        if self.run_id:
            return Q(run_id=self.run_id)
        return Q(has_problem=True) if self.has_problem else Q(round__gt=1) if self.is_again else Q()


EVERYTHING = Queue()
_SQL = {PROBLEMS: "t.has_problem", AGAIN: "t.round > 1", "": "true"}


def find_free_tasks(
    *,
    brand_id: int,
    stages: Sequence[str],
    by: User,
    now: datetime,
    count: int,
    without: Collection[int] = (),
    has_mine: bool = False,
    queue: Queue = EVERYTHING,
) -> list[int]:
    """Return the ids of the first tasks that `by` may claim, in their order, stage after stage.

    without: ids to leave out. has_mine: also tasks that `by` has claimed.
    """
    values = {"brand": brand_id, "stages": list(stages), "by": by.pk, "now": now, "count": count}
    values |= {"without": list(without), "mine": by.pk if has_mine else None}
    if queue.run_id:
        values["run"] = queue.run_id
    condition = "t.run_id = %(run)s" if queue.run_id else _SQL[queue.slug]
    return [row.id for row in sql.rows(_FREE.format(queue=condition), values)]


def count_tasks(*, user: User, brand: Brand, action: Action = Action.REVIEW) -> dict[str, Any]:
    """Return the counts of the open tasks of a brand, zeros if the user may not do `action` there. Four queries.

    open_count: all. waiting_count: those that the user may claim or has claimed. overdue_count: those of them past
    their due time. decided_count: those that wait for others, because the user has decided already. oldest_at: when the
    oldest open one was opened.
    """
    counts = dict.fromkeys(
        ("open_count", "waiting_count", "overdue_count", "claimed_count", "held_by_others_count", "decided_count"), 0
    )
    if not can(user, action, brand):
        return counts | {"oldest_at": None}
    now = timezone.now()
    this_hour = int(now.timestamp() // 3600)
    for deciders, due_hour, number in TaskCount.objects.filter(brand=brand).sums("deciders", "due_hour"):
        counts["open_count"] += number
        if user.pk in deciders:
            counts["decided_count"] += number
        else:
            counts["waiting_count"] += number
            counts["overdue_count"] += number * (due_hour < this_hour)
    tasks = ReviewTask.objects.filter(brand=brand, state=TaskState.OPEN)
    hour_began = datetime.fromtimestamp(3600 * this_hour, tz=now.tzinfo)
    due_this_hour = tasks.filter(due_at__gte=hour_began, due_at__lt=now)
    counts["overdue_count"] += due_this_hour.exclude(deciders__contains=[user.pk]).count()
    is_others = ~Q(claimed_by=user) & ~Q(deciders__contains=[user.pk])
    claims = tasks.filter(claimed_until__gt=now).aggregate(
        mine=Count("pk", filter=Q(claimed_by=user)),
        others=Count("pk", filter=is_others),
        overdue=Count("pk", filter=is_others & Q(due_at__lt=now)),
    )
    counts["waiting_count"] -= claims["others"]
    counts["overdue_count"] -= claims["overdue"]
    counts |= {"claimed_count": claims["mine"], "held_by_others_count": claims["others"]}
    oldest = tasks.order_by("opened_at").values_list("opened_at", flat=True).first()
    return counts | {"oldest_at": oldest}


@dataclass
class QueueRow:
    """One queue of the queue page. number: tasks that the user may decide. due_at: of its first task.

    people: the names of those who hold tasks of it now, except the user's.
    """

    queue: Queue
    number: int = 0
    run: Run | None = None
    due_at: datetime | None = None
    versions: list[AssetVersion] = field(default_factory=list)
    people: list[str] = field(default_factory=list)


# Some open tasks of each run, in the order of the index; the ORM has no LATERAL.
_FIRST_OF_RUNS = """
SELECT task.run_id, task.due_at, task.asset_id
FROM unnest(%(runs)s::bigint[]) run (id)
CROSS JOIN LATERAL (
    SELECT t.run_id, t.due_at, t.asset_id
    FROM review_reviewtask t
    WHERE t.brand_id = %(brand)s AND t.run_id = run.id AND t.state = 'open' AND t.stage = ANY(%(stages)s)
    LIMIT %(count)s
) task
"""


def list_queues(*, user: User, brand: Brand, stages: Sequence[str]) -> tuple[list[QueueRow], int]:
    """Return the queues that have tasks for the user: findings, made again, and the newest runs; and the number of
    runs beyond MAX_RUNS. Six queries."""
    problems, again = QueueRow(Queue(has_problem=True)), QueueRow(Queue(is_again=True))
    numbers: dict[int, int] = defaultdict(int)
    counts = RunTaskCount.objects.filter(brand=brand).exclude(deciders__contains=[user.pk])
    for run_id, has_problem, is_again, number in counts.sums("run_id", "has_problem", "is_again"):
        numbers[run_id] += number
        problems.number += number * has_problem
        again.number += number * is_again
    newest = sorted(numbers, reverse=True)[:MAX_RUNS]
    runs = Run.objects.select_related("campaign").in_bulk(newest)
    rows = {pk: QueueRow(Queue(run_id=pk), numbers[pk], runs[pk]) for pk in newest if pk in runs}
    _add_first_tasks(rows, brand, stages)
    claimed = ReviewTask.objects.filter(brand=brand, state=TaskState.OPEN, claimed_until__gt=timezone.now())
    holders = set(claimed.exclude(claimed_by=user).filter(run__in=rows).values_list("run", "claimed_by"))
    people = User.objects.in_bulk({holder_id for _run_id, holder_id in holders})
    for run_id, holder_id in holders:
        rows[run_id].people.append(people[holder_id].display_name)
    for row in rows.values():
        row.people.sort()
    return [row for row in (problems, again, *rows.values()) if row.number], max(0, len(numbers) - MAX_RUNS)


def _add_first_tasks(rows: dict[int, QueueRow], brand: Brand, stages: Sequence[str]) -> None:
    values = {"runs": list(rows), "brand": brand.pk, "stages": list(stages), "count": THUMBNAILS}
    first = sql.rows(_FIRST_OF_RUNS, values)
    versions = AssetVersion.objects.filter(asset__in=[task.asset_id for task in first], asset__current_version=F("pk"))
    by_asset = {version.asset_id: version for version in versions.select_related("master", "job__endpoint")}
    for task in first:
        row = rows[task.run_id]
        row.due_at = min(filter(None, (row.due_at, task.due_at)), default=None)
        if version := by_asset.get(task.asset_id):
            row.versions.append(version)
