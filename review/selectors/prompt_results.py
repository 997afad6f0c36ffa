"""Results of prompt versions: images made, share approved at first look, reasons of refusals, and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from core import sql

MAX_IMAGES = 12

# The first decision about each image's first round. Decisions that were undone do not count.
_FIRST_DECISIONS_SQL = """
SELECT run.prompt_version_id, first.kind, coalesce(reason.label, ''), count(*)
FROM generation_run run
JOIN generation_cell c ON c.run_id = run.id JOIN generation_asset a ON a.cell_id = c.id AND NOT a.is_sandbox
JOIN LATERAL (
    SELECT d.kind, d.reason_id FROM review_decision d JOIN review_reviewtask t ON t.id = d.task_id
    JOIN generation_assetversion v ON v.id = d.version_id
    WHERE t.asset_id = a.id AND v.round = 1 AND d.kind IN ('approved', 'rejected', 'needs_revision')
      AND NOT EXISTS (SELECT 1 FROM review_decision u WHERE u.voids_id = d.id AND u.kind = 'undone')
    ORDER BY d.id LIMIT 1
) first ON true
LEFT JOIN review_reason reason ON reason.id = first.reason_id
WHERE run.prompt_version_id = ANY(%s) GROUP BY 1, 2, 3
"""
_IMAGE_COUNTS_SQL = """
SELECT run.prompt_version_id, count(*) FILTER (WHERE NOT a.is_sandbox), count(*) FILTER (WHERE a.is_sandbox)
FROM generation_run run
JOIN generation_cell c ON c.run_id = run.id JOIN generation_asset a ON a.cell_id = c.id
JOIN generation_assetversion v ON v.asset_id = a.id
WHERE run.prompt_version_id = ANY(%s) GROUP BY 1
"""
_COST_SQL = """
SELECT run.prompt_version_id, sum(entry.amount) FROM generation_run run
JOIN generation_ledgerentry entry ON entry.run_id = run.id AND entry.kind = 'settle'
WHERE run.prompt_version_id = ANY(%s) GROUP BY 1
"""
_NEWEST_IMAGES_SQL = """
SELECT v.id, a.id, a.state, e.disclaimer FROM generation_run run
JOIN generation_cell c ON c.run_id = run.id JOIN generation_asset a ON a.cell_id = c.id
JOIN generation_assetversion v ON v.id = a.current_version_id LEFT JOIN generation_job j ON j.id = v.job_id
JOIN generation_endpoint e ON e.id = coalesce(j.endpoint_id, run.endpoint_id)
WHERE run.prompt_version_id = %s ORDER BY a.is_sandbox, a.id DESC LIMIT %s
"""


@dataclass(frozen=True)
class Image:
    version_id: int
    asset_id: int
    state: str
    disclaimer: str


@dataclass(frozen=True)
class Results:
    """The results of one prompt version.

    decided, approved_at_first_look: images decided, and of these approved at first look, without the sandbox. reasons:
    the most frequent first. made, sandbox_images: images outside and inside the sandbox. cost: in the brand's currency.
    """

    decided: int = 0
    approved_at_first_look: int = 0
    reasons: tuple[tuple[str, int], ...] = ()
    made: int = 0
    sandbox_images: int = 0
    cost: Decimal = Decimal(0)
    images: tuple[Image, ...] = ()

    @property
    def approval_percent(self) -> int | None:
        """Return the share of approved images, or None before the first decision."""
        return round(100 * self.approved_at_first_look / self.decided) if self.decided else None


def results(version_ids: Sequence[int]) -> dict[int, Results]:
    """Return version id -> results. Three queries and one per version for images. The caller checks permissions."""
    ids = list(version_ids)
    decisions = sql.rows(_FIRST_DECISIONS_SQL, [ids])
    counts = {version_id: (made, sandbox) for version_id, made, sandbox in sql.rows(_IMAGE_COUNTS_SQL, [ids])}
    costs = dict(sql.rows(_COST_SQL, [ids]))
    by_version = {}
    for version_id in ids:
        own = [(kind, reason, count) for pk, kind, reason, count in decisions if pk == version_id]
        reasons = sorted(((reason, count) for _, reason, count in own if reason), key=lambda pair: (-pair[1], pair[0]))
        made, sandbox_images = counts.get(version_id, (0, 0))
        by_version[version_id] = Results(
            decided=sum(count for _, _, count in own),
            approved_at_first_look=sum(count for kind, _, count in own if kind == "approved"),
            reasons=tuple(reasons[:4]),
            made=made,
            sandbox_images=sandbox_images,
            cost=costs.get(version_id, Decimal(0)),
            images=tuple(Image(*row) for row in sql.rows(_NEWEST_IMAGES_SQL, [version_id, MAX_IMAGES])),
        )
    return by_version
