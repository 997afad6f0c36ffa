"""The job context of a claimed batch: the files to make and the photo of each image, in addition to the specs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from campaigns.choices import PhotoStatus
from campaigns.models import OutputSpec, ReferencePhoto
from generation.choices import VersionSource
from generation.finishing.base import Target
from generation.models import Attempt, Cell, Master
from generation.services.dispatch.claims import ClaimedJob

_OF_ONE_ATTEMPT = frozenset({"seconds", "log", "usage", "submitted_to", "request_id", "client_request_id", "limits"})


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
    """Return the contexts by job id, in four queries for the whole batch, five if some images exist already.

    is_remote: a service makes the images, in its own sizes.
    """
    cells = {
        cell.pk: cell
        for cell in Cell.objects.filter(pk__in={job.cell_id for job in jobs}).select_related("run__guide_version")
    }
    specs = list(OutputSpec.objects.filter(campaign_id__in={job.campaign_id for job in jobs}).order_by("-width"))
    photos = _front_photos({cell.subject_id for cell in cells.values()})
    masters = {
        (master.brand_id, master.fingerprint): master
        for master in Master.objects.filter(
            brand_id__in={job.brand_id for job in jobs}, fingerprint__in={job.fingerprint for job in jobs}
        )
    }
    facts = load_master_facts([master.pk for master in masters.values()])
    contexts_by_job = {}
    for job in jobs:
        master = masters.get((job.brand_id, job.fingerprint))
        # Equal fingerprints have equal makers.
        planned = {name: job.maker[name] for name in ("model", "revision") if name in job.maker}
        cell = cells[job.cell_id]
        cell_specs = [spec for spec in specs if spec.campaign_id == job.campaign_id and spec.aspect == cell.aspect]
        contexts_by_job[job.id] = JobContext(
            facts={
                "wanted": [job.spec["width"], job.spec["height"]],
                "photo": photos.get(cell.subject_id),
                "specs": [{"slug": spec.slug, "width": spec.width, "height": spec.height} for spec in cell_specs],
                "engine": engine,
                "is_remote": is_remote,
                "limits": guide.thresholds if (guide := cell.run.guide_version) else {},
            },
            targets=tuple(
                (
                    spec.pk,
                    Target(spec.slug, spec.width, spec.height, spec.image_format, spec.max_bytes, spec.background),
                )
                for spec in cell_specs
            ),
            master=master,
            master_facts=planned | facts.get(master.pk, {}) if master else {},
        )
    return contexts_by_job


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


def _front_photos(subject_ids: set[int]) -> dict[int, list[int]]:
    """Return [width, height] of the first ready photo, by subject id."""
    rows = (
        ReferencePhoto.objects.filter(subject_id__in=subject_ids, status=PhotoStatus.READY)
        .order_by("subject_id", "position", "id")
        .distinct("subject_id")
        .values_list("subject_id", "width", "height")
    )
    return {subject_id: [width, height] for subject_id, width, height in rows}
