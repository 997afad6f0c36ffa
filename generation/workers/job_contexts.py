"""The job context of a claimed batch: the files to make and the photo of each image, in addition to the specs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from campaigns.choices import PhotoStatus
from campaigns.models import OutputSpec
from core import sql
from generation.choices import VersionSource
from generation.finishing.base import Target
from generation.models import Attempt, Master
from generation.services.dispatch.claims import ClaimedJob

_OF_ONE_ATTEMPT = frozenset({"seconds", "log", "usage", "submitted_to", "request_id", "client_request_id", "limits"})

# Written by hand, because a worker runs these for every batch: they are prepared, and take a tenth of the ORM's time.
_CELLS = """
SELECT f.job_id, c.aspect, g.thresholds, photo.size, m.id AS master_id
FROM generation_jobspec f
JOIN generation_cell c ON c.id = f.cell_id
JOIN generation_run r ON r.id = c.run_id
LEFT JOIN campaigns_guideversion g ON g.id = r.guide_version_id
LEFT JOIN generation_master m ON m.brand_id = f.brand_id AND m.fingerprint = f.fingerprint
LEFT JOIN LATERAL (
    SELECT ARRAY[p.width, p.height] AS size FROM campaigns_referencephoto p
    WHERE p.subject_id = c.subject_id AND p.status = %(ready)s ORDER BY p.position, p.id LIMIT 1
) photo ON true
WHERE f.job_id = ANY(%(jobs)s)
"""
_SPECS = "SELECT * FROM campaigns_outputspec WHERE campaign_id = ANY(%(campaigns)s) ORDER BY width DESC, id"


@dataclass(frozen=True)
class JobContext:
    """The context of one job. targets: (output spec id, target) of its aspect group, largest first.

    master: the image that already exists under the job's fingerprint; master_facts: details of how it was made.
    """

    facts: dict[str, Any]
    targets: tuple[tuple[int, Target], ...]
    master: Master | None
    master_facts: dict[str, Any] = field(default_factory=dict)


def load_contexts(jobs: Sequence[ClaimedJob], *, engine: str, is_remote: bool = False) -> dict[int, JobContext]:
    """Return the contexts by job id, in two queries for the whole batch, four if some images exist already.

    is_remote: a service makes the images, in its own sizes.
    """
    values = {"jobs": [job.id for job in jobs], "ready": PhotoStatus.READY.value}
    cells = {row.job_id: row for row in sql.rows(_CELLS, values)}
    specs = sql.instances(OutputSpec, _SPECS, {"campaigns": list({job.campaign_id for job in jobs})})
    masters = Master.objects.in_bulk([row.master_id for row in cells.values() if row.master_id])
    facts = load_master_facts(list(masters))
    contexts_by_job = {}
    for job in jobs:
        cell = cells[job.id]
        master = masters.get(cell.master_id)
        # Equal fingerprints have equal makers.
        planned = {name: job.maker[name] for name in ("model", "revision") if name in job.maker}
        cell_specs = [spec for spec in specs if spec.campaign_id == job.campaign_id and spec.aspect == cell.aspect]
        contexts_by_job[job.id] = JobContext(
            facts={
                "wanted": [job.spec["width"], job.spec["height"]],
                "photo": cell.size,
                "specs": [{"slug": spec.slug, "width": spec.width, "height": spec.height} for spec in cell_specs],
                "engine": engine,
                "is_remote": is_remote,
                "limits": cell.thresholds or {},
            },
            targets=tuple(
                (
                    spec.pk,
                    _target(spec),
                )
                for spec in cell_specs
            ),
            master=master,
            master_facts=planned | facts.get(master.pk, {}) if master else {},
        )
    return contexts_by_job


def _target(spec: OutputSpec) -> Target:
    size = (spec.width, spec.height)
    return Target(spec.slug, *size, spec.image_format, spec.max_bytes, spec.background, spec.label)


def load_master_facts(master_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return, by master id, the details of the attempt that made it, without those of only that attempt. One query."""
    if not master_ids:
        return {}
    attempts = Attempt.objects.filter(
        job__version__master_id__in=master_ids, job__version__source=VersionSource.GENERATED, outcome="succeeded"
    ).order_by("-pk")  # the earliest attempt comes last and so wins in the dict
    rows = attempts.values_list("job__version__master_id", "job_id", "details")
    return {
        master_id: {name: value for name, value in details.items() if name not in _OF_ONE_ATTEMPT}
        | {"made_by_job": job}
        for master_id, job, details in rows
    }
