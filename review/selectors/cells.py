"""Load one cell of a run with everything that the drawer beside the matrix shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from campaigns.models import ReferencePhoto
from campaigns.prompts.pieces import Piece
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation import causes
from generation.causes import Cause
from generation.choices import HoldReason, JobState, Outcome
from generation.models import Asset, AssetVersion, Attempt, Finding, Job
from generation.selectors import failures
from review.choices import DecisionKind, TaskState
from review.models import Decision, ReviewTask
from review.selectors.workspace import prompt_pieces

_RETRYABLE_STATES = (JobState.FAILED, JobState.QUARANTINED)


@dataclass(frozen=True)
class CellDetail:
    """The details of one cell.

    version: the one in review, else the newest, else None. jobs: those of the newest round, with frozen spec and
    attempts. retryable_jobs: the jobs that a person may retry. findings: those of the version, the worst first.
    """

    asset: Asset
    photo: ReferencePhoto | None
    version: AssetVersion | None
    jobs: Sequence[Job]
    retryable_jobs: Sequence[Job]
    attempts: Sequence[Attempt]
    cause: Cause | None
    error: str
    prompt: Sequence[Piece]
    spec: dict[str, Any]
    findings: Sequence[Finding]
    passed_checks: int
    decisions: Sequence[Decision]
    task: ReviewTask | None

    @property
    def boxes(self) -> list[tuple[int, Finding]]:
        """Return the findings with a box, each with the number that is shown on the image and beside the text."""
        return [(place, finding) for place, finding in enumerate(self.findings, 1) if finding.box]


def cell_detail(*, user: User, brand: Brand, run_id: int, cell_id: int) -> CellDetail:
    """Return the details of one cell. Raises NotFound for a cell of another brand or run.

    Eight queries for any number of attempts and findings.
    """
    rows = Asset.objects.visible_to(user).select_related(
        *("brand", "subject", "cell__run__campaign", "cell__run__endpoint", "cell__run__prompt_version__template"),
        *("cell__run__prompt_version__style", "current_version__master", "current_version__job__endpoint"),
    )
    rows = rows.filter(brand=brand, cell_id=cell_id, cell__run_id=run_id)
    asset = first_or_refuse(rows, _("Run %(run)s has no image %(image)s.") % {"run": run_id, "image": cell_id})
    job_rows = Job.objects.filter(cell_id=cell_id, frozen__round=asset.round).select_related("frozen", "endpoint")
    jobs = list(job_rows.order_by("frozen__candidate", "id"))
    versions = AssetVersion.objects.filter(asset=asset).select_related("master", "job__endpoint")
    version = asset.current_version or versions.order_by("-round", "candidate").first()
    retryable_jobs = [job for job in jobs if job.status in _RETRYABLE_STATES or job.hold_reason == HoldReason.QUOTA]
    broken = next(
        (job for job in jobs if job in retryable_jobs or (job.error and job.status == JobState.CANCELLED)), None
    )
    made = next((job for job in jobs if version and job.pk == version.job_id), None)
    shown = made or broken or (jobs[0] if jobs else None)
    spec = shown.frozen.spec if shown else {}
    findings = list(version.findings.select_related("duplicate").all()) if version else []
    problems = [finding for finding in findings if finding.outcome != Outcome.PASS]
    problems.sort(key=lambda finding: finding.outcome != Outcome.FAIL)
    return CellDetail(
        asset=asset,
        photo=failures.photos([asset.subject_id]).get(asset.subject_id),
        version=version,
        jobs=jobs,
        retryable_jobs=retryable_jobs,
        attempts=_attempts(jobs),
        cause=_cause(broken) if broken else None,
        error=broken.error if broken else "",
        prompt=prompt_pieces(asset, spec.get("prompt", "")),
        spec=spec,
        findings=problems,
        passed_checks=len(findings) - len(problems),
        decisions=_decisions(asset),
        task=ReviewTask.objects.filter(asset=asset, state=TaskState.OPEN).first(),
    )


def _attempts(jobs: Sequence[Job]) -> list[Attempt]:
    rows = Attempt.objects.filter(job__in=[job.pk for job in jobs]).select_related("endpoint", "job")
    return list(rows.order_by("-started_at", "-id")[:20])


def _cause(job: Job) -> Cause | None:
    return causes.find_cause(
        status=job.status, error_kind=job.error_kind, message=job.error, hold_reason=job.hold_reason
    )


def _decisions(asset: Asset) -> list[Decision]:
    """Return valid and undone decisions, newest first, without the undo decisions themselves."""
    rows = Decision.objects.filter(task__asset=asset).exclude(kind=DecisionKind.UNDONE)
    return list(rows.select_related("decided_by", "reason", "version", "voided_by").order_by("-id")[:8])
