"""Everything about one image: for its page, and for the drawer beside the matrix of its run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import Prefetch
from django.utils import dateformat
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.models import Brand, User
from core.selectors.events import timeline
from core.selectors.rows import first_or_refuse
from generation import causes
from generation.causes import Cause
from generation.choices import AssetState, HoldReason, JobState, Outcome
from generation.models import Asset, AssetVersion, Attempt, Finding, Job, MarkedFile, Rendition
from generation.selectors import failures
from review.choices import DecisionKind, DesiredState, ObservedState, TaskState
from review.models import Decision, Delivery, ReleasedVersion, ReviewTask
from review.selectors import staleness
from review.selectors.deliveries import STATE_LABELS, TONES, with_state
from review.selectors.lineage import lineage, summary
from review.selectors.workspace import prompt_pieces

_DECIDED_SENTENCES = {
    AssetState.APPROVED: gettext_lazy("Approved by %(person)s on %(day)s%(live)s."),
    AssetState.REJECTED: gettext_lazy("Rejected by %(person)s on %(day)s%(reason)s."),
    AssetState.REVOKED: gettext_lazy("Approval revoked by %(person)s on %(day)s: %(note)s"),
    AssetState.REVISING: gettext_lazy("Sent back by %(person)s on %(day)s; round %(round)s of it."),
}
_SENTENCES = {
    AssetState.MAKING: gettext_lazy("Being made."),
    AssetState.FAILED: gettext_lazy("Could not be made; the run says why."),
    AssetState.IN_REVIEW: gettext_lazy("Waits for review, round %(round)s."),
    AssetState.STALE: gettext_lazy("Was approved; waits for another look because something changed%(live)s."),
    AssetState.SUPERSEDED: gettext_lazy("Replaced by another image."),
}


def asset_detail(*, user: User, asset_id: int) -> dict[str, Any]:
    """Return what the page of one image shows. Raises NotFound outside the user's brands.

    status: one sentence. versions: newest round first, with master, findings and renditions. deliveries: with
    destination, attempts, and the label and tone of their state. record: the technical record as plain JSON.
    """
    rows = Asset.objects.visible_to(user).select_related(
        *("brand", "campaign", "subject", "cell__run__prompt_version__template", "cell__run__endpoint"),
        *("current_version__master", "current_version__job__endpoint", "current_version__made_by"),
    )
    asset = first_or_refuse(rows.filter(pk=asset_id), _("There is no image %(number)s.") % {"number": asset_id})
    decision_rows = Decision.objects.filter(task__asset=asset).order_by("id")
    decisions = list(decision_rows.select_related("decided_by", "reason", "version", "task", "voids"))
    delivery_rows = with_state(Delivery.objects.filter(asset=asset).order_by("id"))
    deliveries = list(delivery_rows.select_related("destination").prefetch_related("attempt_rows"))
    for delivery in deliveries:
        delivery.label, delivery.tone = STATE_LABELS[delivery.state], TONES[delivery.state]
    version = asset.current_version
    return {
        "asset": asset,
        "status": status_sentence(asset, decisions, deliveries),
        "versions": _versions(asset),
        "decisions": decisions,
        "deliveries": deliveries,
        "events": list(timeline(user=user, object_type="asset", object_id=asset.pk)),
        "record": lineage(version, staleness.valid_approvals([version.pk]).get(version.pk)) if version else {},
        "staleness": staleness.get_staleness(asset),
    }


SOURCE_TYPES = {
    "trainedAlgorithmicMedia": gettext_lazy("Made by a generative model"),
    "compositeWithTrainedAlgorithmicMedia": gettext_lazy("A product photo or retouched image with generated parts"),
    "compositeSynthetic": gettext_lazy("Composed by software, without a generative model"),
}


def describe_marks(version: AssetVersion) -> dict[str, Any]:
    """Return what the marks of origin of a version's files say: {"kind", "system", "disclaimer", "count", "problem"}.

    count: how many files were marked already. problem: why a file has no marks although it was tried, or "".
    """
    unmarked = ReleasedVersion.objects.filter(version=version, version__renditions__marked_file=None)
    record = summary(version)
    model = record.get("model", {})
    is_generated = "trained" in record["digital_source_type"].lower()
    return {
        "kind": SOURCE_TYPES[record["digital_source_type"]],
        "system": " ".join(filter(None, (model.get("name"), model.get("revision")))) if is_generated else "",
        "disclaimer": version.disclaimer,
        "count": MarkedFile.objects.filter(rendition__version=version).count(),
        "problem": unmarked.values_list("error", flat=True).first() or "",
    }


def _versions(asset: Asset) -> list[AssetVersion]:
    rows = AssetVersion.objects.filter(asset=asset).select_related("master", "made_by", "job__endpoint")
    files = Rendition.objects.select_related("output_spec").order_by("output_spec_id")
    findings = Finding.objects.select_related("duplicate__asset__subject").order_by("id")
    rows = rows.prefetch_related(Prefetch("renditions", files), Prefetch("findings", findings))
    versions = list(rows.order_by("-round", "candidate"))
    for version in versions:
        version.asset = asset
    return versions


def status_sentence(asset: Asset, decisions: Sequence[Decision], deliveries: Sequence[Delivery]) -> str:
    """Return the summary, such as "Approved by Ana Lopes on 14 Nov, live at Shopify since 15 Nov."."""
    valid = [decision for decision in decisions if decision.kind != DecisionKind.UNDONE]
    state = AssetState(asset.state)
    facts: dict[str, Any] = {"round": asset.round, "live": _live_text(deliveries)}
    if valid and state in _DECIDED_SENTENCES:
        last = valid[-1]
        facts |= {"person": last.decided_by.display_name, "day": _day(last.decided_at), "note": last.note}
        facts["reason"] = f" ({last.reason.label})" if last.reason else ""
        return _DECIDED_SENTENCES[state] % facts
    return _SENTENCES[state] % facts if state in _SENTENCES else f"{state.label}."


def _live_text(deliveries: Sequence[Delivery]) -> str:
    desired = [delivery for delivery in deliveries if delivery.desired == DesiredState.PRESENT]
    if live := [delivery for delivery in desired if delivery.observed == ObservedState.PRESENT]:
        places = [
            _("%(destination)s since %(day)s")
            % {"destination": delivery.destination.name, "day": _day(delivery.changed_at)}
            for delivery in live
        ]
        return _(", live at %(places)s") % {"places": _(" and ").join(places)}
    if failed := [delivery for delivery in deliveries if delivery.observed == ObservedState.FAILED]:
        facts = {"destination": failed[0].destination.name, "error": failed[0].error}
        return _("; delivery to %(destination)s failed: %(error)s") % facts
    return _(", on its way") if desired else ""


def _day(at: datetime) -> str:
    return dateformat.format(at, "j M")


_RETRYABLE_STATES = (JobState.FAILED, JobState.QUARANTINED)


def cell_detail(*, user: User, brand: Brand, run_id: int, cell_id: int) -> dict[str, Any]:
    """Return what the drawer of one cell shows. Raises NotFound for a cell of another brand or run.

    version: the one in review, else the newest, else None. retryable_jobs: those of the newest round. findings: the
    worst first. boxes: those with a box, each with its number on the image. Eight queries for any number of them.
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
    attempts = Attempt.objects.filter(job__in=[job.pk for job in jobs]).select_related("endpoint", "job")
    # Valid and undone decisions, newest first, without the undo decisions themselves.
    decisions = Decision.objects.filter(task__asset=asset).exclude(kind=DecisionKind.UNDONE).order_by("-id")
    return {
        "asset": asset,
        "photo": failures.photos([asset.subject_id]).get(asset.subject_id),
        "version": version,
        "retryable_jobs": retryable_jobs,
        "attempts": list(attempts.order_by("-started_at", "-id")[:20]),
        "cause": _cause(broken) if broken else None,
        "error": broken.error if broken else "",
        "prompt": prompt_pieces(asset, spec.get("prompt", "")),
        "spec": spec,
        "findings": problems,
        "boxes": [(place, finding) for place, finding in enumerate(problems, 1) if finding.box],
        "passed_checks": len(findings) - len(problems),
        "decisions": list(decisions.select_related("decided_by", "reason", "version", "voided_by")[:8]),
        "task": ReviewTask.objects.filter(asset=asset, state=TaskState.OPEN).first(),
    }


def _cause(job: Job) -> Cause | None:
    return causes.find_cause(
        status=job.status, error_kind=job.error_kind, message=job.error, hold_reason=job.hold_reason
    )
