"""Reports about a run or a campaign. Set-based: the same few queries for ten images and for a hundred thousand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Count, Q, Sum

from campaigns.models import Campaign, PromptVersion
from core import sql
from core.models import User
from generation.choices import LedgerKind, Stage
from generation.models import LedgerEntry, Run
from generation.selectors import budgets
from review.choices import DecisionKind
from review.models import Decision

MAX_EXAMPLES = 6

# A decision `e` that `Decisions.not_undone` includes, if it is an approval, a rejection or a request for changes.
_NOT_UNDONE = "NOT EXISTS (SELECT 1 FROM review_decision u WHERE u.voids_id = e.id AND u.kind = 'undone')"

# One row per image, from which the statements below count. Decisions that were undone do not count; an approval that
# was revoked counts. By hand, because the ORM has no LATERAL joins, no GROUPING SETS and no jsonb_each.
# first_look: approved at every stage without a negative decision. decided: it is clear whether that is so.
_FACTS_SQL = f"""
WITH facts AS (
    SELECT c.id AS cell_id, c.run_id, r.prompt_version_id, c.axis_values, c.aspect, a.id AS asset_id, a.state,
           a.subject_id, a.round, v.made > 0 AS is_made, coalesce(v.clean, false) AS is_clean, d.first_at,
           coalesce(d.negatives, 0) AS negatives,
           d.first = 'approved' AND d.negatives = 0 AND a.state <> 'in_review' AS first_look,
           d.negatives > 0 AND a.state IN ('approved', 'stale', 'revoked') AS after_revision,
           d.negatives > 0 OR (d.first = 'approved' AND a.state <> 'in_review') AS decided,
           coalesce(p.delivered, false) AS is_delivered
    FROM generation_run r JOIN generation_cell c ON c.run_id = r.id JOIN generation_asset a ON a.cell_id = c.id
    LEFT JOIN LATERAL (
        SELECT count(*) AS made, bool_or(w.worst_outcome <> 'fail') AS clean
        FROM generation_assetversion w WHERE w.asset_id = a.id
    ) v ON true
    LEFT JOIN LATERAL (
        SELECT (array_agg(e.kind ORDER BY e.id))[1] AS first, min(e.decided_at) AS first_at,
               count(*) FILTER (WHERE e.kind <> 'approved') AS negatives
        FROM review_reviewtask t JOIN review_decision e ON e.task_id = t.id
        WHERE t.asset_id = a.id AND e.kind IN ('approved', 'rejected', 'needs_revision') AND {_NOT_UNDONE}
    ) d ON true
    LEFT JOIN LATERAL (
        SELECT bool_or(y.observed = 'present' AND y.desired = 'present') AS delivered
        FROM review_delivery y WHERE y.asset_id = a.id
    ) p ON true
    WHERE r.id = ANY(%(runs)s)
)
"""  # noqa: S608 - our own text only
_COUNT_COLUMNS = """
    count(*), count(*) FILTER (WHERE is_made), count(*) FILTER (WHERE is_clean), count(*) FILTER (WHERE decided),
    count(*) FILTER (WHERE first_look), count(*) FILTER (WHERE after_revision), count(*) FILTER (WHERE is_delivered),
    count(*) FILTER (WHERE state = 'rejected'), count(*) FILTER (WHERE state IN ('making', 'in_review', 'revising')),
    count(*) FILTER (WHERE state = 'failed')
"""
_BY_VERSION_AND_RUN_SQL = f"""{_FACTS_SQL} SELECT prompt_version_id, run_id, {_COUNT_COLUMNS} FROM facts
GROUP BY GROUPING SETS ((), (prompt_version_id), (run_id)) ORDER BY prompt_version_id, run_id"""  # noqa: S608 - our own text only
_BY_AXIS_VALUE_SQL = f"""{_FACTS_SQL} SELECT axis.name, axis.value, {_COUNT_COLUMNS} FROM facts
CROSS JOIN LATERAL (
    SELECT key AS name, value FROM jsonb_each_text(axis_values) UNION ALL SELECT 'format', aspect
) axis GROUP BY axis.name, axis.value ORDER BY axis.name = 'format', axis.name, count(*) DESC, axis.value LIMIT 60"""  # noqa: S608 - our own text only
_BY_WEEK_SQL = f"""{_FACTS_SQL} SELECT date_trunc('week', first_at)::date AS monday,
    count(*) FILTER (WHERE decided) AS decided, count(*) FILTER (WHERE first_look) AS approved_at_first_look,
    coalesce(100.0 * count(*) FILTER (WHERE first_look) / nullif(count(*) FILTER (WHERE decided), 0), 0) AS percent
FROM facts WHERE first_at IS NOT NULL GROUP BY 1 ORDER BY 1"""  # noqa: S608 - our own text only

# By hand, because the ORM cannot take the first elements of an aggregated array.
# An example is [version id, asset id, disclaimer].
_REASONS_SQL = f"""
SELECT coalesce(o.label, '') AS reason, count(*) AS count, count(*) FILTER (WHERE e.kind = 'rejected') AS rejected,
       count(*) FILTER (WHERE e.kind <> 'rejected') AS sent_back,
       jsonb_path_query_array(
           jsonb_agg(jsonb_build_array(e.version_id, t.asset_id, n.disclaimer) ORDER BY e.id DESC),
           '$[0 to {MAX_EXAMPLES - 1}]'
       ) AS examples
FROM review_decision e JOIN review_reviewtask t ON t.id = e.task_id JOIN generation_asset a ON a.id = t.asset_id
JOIN generation_cell c ON c.id = a.cell_id LEFT JOIN review_reason o ON o.id = e.reason_id
JOIN generation_run r ON r.id = c.run_id JOIN generation_assetversion v ON v.id = e.version_id
LEFT JOIN generation_job j ON j.id = v.job_id
JOIN generation_endpoint n ON n.id = coalesce(j.endpoint_id, r.endpoint_id)
WHERE c.run_id = ANY(%(runs)s) AND e.kind IN ('rejected', 'needs_revision') AND {_NOT_UNDONE}
GROUP BY 1 ORDER BY 2 DESC, 1
"""  # noqa: S608 - our own text only

# By hand, because the ORM has no percentiles; four of them in one statement. Medians in seconds, NULL without
# measurements. queue: release to first attempt. making: of an image. review: wait of a version for its decision.
# total: release to approval.
_TIMES_SQL = """
SELECT
    (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM t.started_at - r.released_at))
     FROM generation_job j JOIN generation_run r ON r.id = j.run_id
     JOIN generation_jobspec f ON f.job_id = j.id AND f.round = 1
     JOIN generation_attempt t ON t.job_id = j.id AND t.number = 1
     WHERE j.run_id = ANY(%(runs)s) AND t.started_at >= r.released_at) AS queue,
    (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM t.ended_at - t.started_at))
     FROM generation_job j JOIN generation_attempt t ON t.job_id = j.id
     WHERE j.run_id = ANY(%(runs)s) AND t.outcome = 'succeeded') AS making,
    (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM e.decided_at - w.created_at))
     FROM review_decision e JOIN generation_assetversion w ON w.id = e.version_id
     JOIN generation_asset a ON a.id = w.asset_id JOIN generation_cell c ON c.id = a.cell_id
     WHERE c.run_id = ANY(%(runs)s) AND e.kind IN ('approved', 'rejected', 'needs_revision')) AS review,
    (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM e.decided_at - r.released_at))
     FROM review_decision e JOIN review_reviewtask t ON t.id = e.task_id JOIN generation_asset a ON a.id = t.asset_id
     JOIN generation_cell c ON c.id = a.cell_id JOIN generation_run r ON r.id = c.run_id
     WHERE c.run_id = ANY(%(runs)s) AND e.kind = 'approved' AND a.state IN ('approved', 'stale')) AS total
"""

_IMAGE_ROWS_SQL = f"""{_FACTS_SQL}
SELECT s.key, s.name, r.name, r.stage, q.slug || ' v' || o.number, f.axis_values, f.aspect, f.state, f.round,
       f.first_look, f.negatives, f.is_delivered, f.first_at
FROM facts f JOIN generation_run r ON r.id = f.run_id JOIN campaigns_subject s ON s.id = f.subject_id
JOIN campaigns_promptversion o ON o.id = f.prompt_version_id JOIN campaigns_prompttemplate q ON q.id = o.template_id
ORDER BY f.run_id, f.cell_id
"""  # noqa: S608 - our own text only


@dataclass(frozen=True)
class ImageCounts:
    """Counts of images by progress. requested ≥ made ≥ passed_checks (a version failed no check).

    decided: it is clear whether they were approved at first look. waiting: being made, revised or in review. failed:
    could not be made.
    """

    requested: int = 0
    made: int = 0
    passed_checks: int = 0
    decided: int = 0
    approved_at_first_look: int = 0
    approved_after_revision: int = 0
    delivered: int = 0
    rejected: int = 0
    waiting: int = 0
    failed: int = 0

    @property
    def approved(self) -> int:
        return self.approved_at_first_look + self.approved_after_revision

    @property
    def first_look_percent(self) -> float | None:
        """Return the share of decided images that were approved at first look, or None while none is decided."""
        return 100.0 * self.approved_at_first_look / self.decided if self.decided else None


@dataclass(frozen=True)
class Money:
    """Amounts in the brand's currency. reserved: reserved and not spent yet."""

    quoted: Decimal = Decimal(0)
    spent: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)

    def __add__(self, other: Money) -> Money:
        return Money(self.quoted + other.quoted, self.spent + other.spent, self.reserved + other.reserved)


@dataclass(frozen=True)
class ReportRow:
    """The numbers of one prompt version, axis value or run. cost_per_approved: None without an approved image."""

    name: str
    counts: ImageCounts
    money: Money = Money()
    version: PromptVersion | None = None
    run: Run | None = None

    @property
    def cost_per_approved(self) -> Decimal | None:
        return self.money.spent / self.counts.approved if self.counts.approved else None


@dataclass(frozen=True)
class Report:
    """The last four are rows of the statements above, and users with the counts of their decisions."""

    total: ReportRow
    versions: Sequence[ReportRow]
    values: Mapping[str, Sequence[ReportRow]]
    runs: Sequence[ReportRow]
    refusal_reasons: Sequence[Any]
    times: Any
    people: Sequence[User]
    weeks: Sequence[Any]


def reported_runs(*, user: User, campaign: Campaign) -> list[Run]:
    """Return the runs in the report of a campaign: the released ones without sandbox runs."""
    rows = Run.objects.visible_to(user).filter(campaign=campaign, released_at__isnull=False)
    return list(rows.exclude(stage=Stage.SANDBOX).select_related("requested_by").order_by("-id"))


def image_rows(runs: Sequence[Run]) -> Iterator[tuple[Any, ...]]:
    """Return one row per image for a spreadsheet, in the order of `IMAGE_COLUMNS`, fetched in chunks."""
    return sql.stream(_IMAGE_ROWS_SQL, {"runs": [run.pk for run in runs]})


IMAGE_COLUMNS = (
    "sku", "name", "run", "stage", "prompt", "values", "format", "state", "rounds", "approved at first look",
    "times refused", "delivered", "first judged",
)  # fmt: skip


def report(runs: Sequence[Run]) -> Report:
    """Return the report of these runs. The caller checks permissions. Seven queries."""
    by_run = {run.pk: run for run in runs}
    ids = list(by_run)
    money = _money_by_run(by_run)
    by_version: dict[int, Money] = {}
    for run in runs:
        by_version[run.prompt_version_id] = by_version.get(run.prompt_version_id, Money()) + money[run.pk]
    versions = PromptVersion.objects.filter(pk__in=by_version).select_related("template").in_bulk()
    total, version_rows, run_rows = ImageCounts(), [], []
    for version_id, run_id, *numbers in sql.rows(_BY_VERSION_AND_RUN_SQL, {"runs": ids}):
        counts = ImageCounts(*numbers)
        if version_id is not None:
            version = versions[version_id]
            version_rows.append(ReportRow(str(version), counts, by_version[version_id], version=version))
        elif run_id is not None:
            run_rows.append(ReportRow(by_run[run_id].name, counts, money[run_id], run=by_run[run_id]))
        else:
            total = counts
    return Report(
        total=ReportRow("", total, sum(money.values(), Money())),
        versions=sorted(version_rows, key=lambda row: (row.name, -row.counts.requested)),
        values=_axis_rows(ids),
        runs=sorted(run_rows, key=lambda row: -row.run.pk if row.run else 0),
        refusal_reasons=sql.rows(_REASONS_SQL, {"runs": ids}),
        times=sql.rows(_TIMES_SQL, {"runs": ids})[0],
        people=_deciders(ids),
        weeks=sql.rows(_BY_WEEK_SQL, {"runs": ids}),
    )


def _money_by_run(by_run: Mapping[int, Run]) -> dict[int, Money]:
    entries = LedgerEntry.objects.filter(run__in=by_run).order_by().values_list("run")
    rows = entries.annotate(spent=Sum("amount", filter=Q(kind=LedgerKind.SETTLE), default=0), promised=budgets.PROMISED)
    money = {pk: Money(run.quoted_cost) for pk, run in by_run.items()}
    for run_id, spent, promised in rows:
        money[run_id] += Money(spent=spent, reserved=max(promised - spent, Decimal(0)))
    return money


def _axis_rows(ids: list[int]) -> dict[str, list[ReportRow]]:
    """Return the rows of each axis. An axis with a single value compares nothing and is left out."""
    by_axis: dict[str, list[ReportRow]] = {}
    for name, value, *numbers in sql.rows(_BY_AXIS_VALUE_SQL, {"runs": ids}):
        by_axis.setdefault(name, []).append(ReportRow(value, ImageCounts(*numbers)))
    return {name: rows for name, rows in by_axis.items() if len(rows) > 1}


def _deciders(ids: list[int]) -> list[User]:
    """Return the people who decided, with the counts `decided`, `approved`, `rejected` and `sent_back`."""
    decisions = Decision.objects.not_undone().filter(task__asset__cell__run__in=ids)
    people = User.objects.filter(decisions__in=decisions).annotate(
        decided=Count("decisions"),
        approved=Count("decisions", filter=Q(decisions__kind=DecisionKind.APPROVED)),
        rejected=Count("decisions", filter=Q(decisions__kind=DecisionKind.REJECTED)),
        sent_back=Count("decisions", filter=Q(decisions__kind=DecisionKind.NEEDS_REVISION)),
    )
    return list(people.order_by("-decided", "pk"))
