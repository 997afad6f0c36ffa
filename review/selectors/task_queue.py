"""The review queue: the next tasks that a person may claim, and how many there are.

Nothing here depends on how many tasks are open. Tasks that nobody has decided yet and, of each group of people who
have filled a slot, those that they have decided lie in the index `task_queue` in their order. The groups of the person
who asks are left out, so that no task is read that this person may not decide.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Count, Q
from django.utils import timezone

from core import sql
from core.access import Action, can
from core.models import Brand, User
from review.choices import TaskState
from review.models import ReviewTask, TaskCount

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


def find_free_tasks(
    *,
    brand_id: int,
    stages: Sequence[str],
    by: User,
    now: datetime,
    count: int,
    without: Collection[int] = (),
    has_mine: bool = False,
) -> list[int]:
    """Return the ids of the first tasks that `by` may claim, in their order, stage after stage.

    without: ids to leave out. has_mine: also tasks that `by` has claimed.
    """
    values = {"brand": brand_id, "stages": list(stages), "by": by.pk, "now": now, "count": count}
    values |= {"without": list(without), "mine": by.pk if has_mine else None}
    return [row.id for row in sql.rows(_FREE, values)]


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
