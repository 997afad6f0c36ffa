"""The lineage of a version back to the feed row, for sidecars, webhooks, the manifest and the asset page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from campaigns.choices import SubjectKind
from campaigns.models import ReferencePhoto
from generation.choices import AttemptOutcome
from generation.engines.base import CONTROL, CONTROL_MAP, MAP, SCENE
from generation.models import AssetVersion, Attempt, JobSpec
from generation.selectors import concepts
from review.models import Decision

RELATED = (
    "asset__brand", "asset__campaign", "asset__subject", "asset__cell__run__prompt_version__template",
    "asset__cell__run__endpoint", "master", "made_by", "job__endpoint", "job__frozen",
)  # fmt: skip
"""The rows that a version is loaded with, for the lineage of many."""


def load_versions(version_ids: Iterable[int]) -> dict[int, AssetVersion]:
    """Return versions with all that their lineage and their files need, by id, in five queries."""
    rows = AssetVersion.objects.filter(pk__in=version_ids).select_related(*RELATED)
    return rows.prefetch_related("findings", "renditions__output_spec", "job__attempt_rows").in_bulk()


def lineage(version: AssetVersion, approval: Decision | None = None) -> dict[str, Any]:
    """Return the lineage as plain JSON: subject, photo, scene, map, prompt, model, seed, checks, approval."""
    frozen = _frozen(version)
    inputs = {**_scene(version, frozen), **_map(version, frozen)} if frozen else {}
    return summary(version, approval) | inputs


def summary(version: AssetVersion, approval: Decision | None = None) -> dict[str, Any]:
    """Return the lineage without the scene and the map, which have to be looked up."""
    asset = version.asset
    subject = asset.subject
    run = asset.cell.run
    record: dict[str, Any] = {
        "subject": {"key": subject.key, "name": subject.name, "attributes": subject.attributes},
        "campaign": {"slug": asset.campaign.slug, "name": asset.campaign.name},
        "run": {"id": run.pk, "name": run.name, "stage": run.stage},
        "axes": asset.cell.axis_values,
        "version": {"id": version.pk, "round": version.round, "candidate": version.candidate, "source": version.source},
        "generated_at": version.created_at.isoformat(),
        "master": {"sha256": version.master.sha256, "width": version.master.width, "height": version.master.height},
    }
    prompt = run.prompt_version
    record["prompt"] = {"template": prompt.template.slug, "version": f"{prompt.template.slug} v{prompt.number}"}
    record |= _making(version)
    record["digital_source_type"] = _source_type(version)
    if version.disclaimer:
        record["disclaimer"] = version.disclaimer
    record["checks"] = [
        {"check": finding.check_name, "outcome": finding.outcome, "message": finding.message}
        for finding in version.findings.all()
    ]
    if version.made_by:
        record["made_by"] = version.made_by.display_name
    if approval:
        record["approval"] = {
            "by": approval.decided_by.display_name,
            "at": approval.decided_at.isoformat(),
            "decision": approval.pk,
            "checklist_version": approval.task.checklist_version_id,
            "note": approval.note,
            "pinned": approval.pinned,
        }
    return record


def _frozen(version: AssetVersion) -> JobSpec | None:
    return getattr(version.job, "frozen", None)


def _making(version: AssetVersion) -> dict[str, Any]:
    """Return the fields of the job's frozen spec and of its successful attempt."""
    spec = _frozen(version)
    if spec is None or version.job is None:
        return {}
    attempts = [attempt for attempt in version.job.attempt_rows.all() if attempt.outcome == AttemptOutcome.SUCCEEDED]
    attempt = attempts[-1] if attempts else None
    details, endpoint = attempt.details if attempt else {}, version.job.endpoint
    model = {"name": details.get("model", ""), "revision": details.get("revision", "")}
    return {
        "rendered_prompt": spec.spec.get("prompt", ""),
        "negative": spec.spec.get("negative", ""),
        "seed": spec.spec.get("seed"),
        "parameters": spec.spec.get("parameters", {}),
        "images": {role: ref["sha256"] for role, ref in spec.spec.get("images", {}).items()},
        "fingerprint": spec.fingerprint,
        "model": {"engine": endpoint.engine, "endpoint": endpoint.slug, **model},
        "generation_seconds": _seconds(attempt),
    }


def _seconds(attempt: Attempt | None) -> float | None:
    """Return how long an attempt took; None if that is unknown."""
    if attempt is None or attempt.ended_at is None:
        return None
    return round((attempt.ended_at - attempt.started_at).total_seconds(), 3)


def _scene(version: AssetVersion, spec: JobSpec) -> dict[str, Any]:
    """Return the scene behind the product: the exact image of the concept, and how it was made."""
    ref = spec.spec.get("images", {}).get(SCENE)
    if ref is None:
        return {}
    key = str(spec.spec.get("parameters", {}).get(SCENE, ""))
    plain = {"concept": key, "sha256": ref["sha256"]}
    scene_version = concepts.find_shown_scene(version, ref["sha256"], key)
    if scene_version is None:
        return {SCENE: plain}
    plain |= {"concept": scene_version.asset.subject.key, "name": scene_version.asset.subject.name}
    made = {"asset": scene_version.asset_id, "version": scene_version.pk}
    made |= {"round": scene_version.round, "candidate": scene_version.candidate}
    return {SCENE: {**plain, **made, "engine": scene_version.job.endpoint.engine if scene_version.job else ""}}


def _map(version: AssetVersion, spec: JobSpec) -> dict[str, Any]:
    """Return the control map of the image: the exact photo of the named concept."""
    ref = spec.spec.get("images", {}).get(CONTROL)
    key = spec.spec.get("parameters", {}).get(CONTROL_MAP)
    if ref is None or not key:
        return {}
    photos = ReferencePhoto.objects.filter(sha256=ref["sha256"], subject__kind=SubjectKind.CONCEPT, subject__key=key)
    photos = photos.filter(subject__brand_id=version.asset.brand_id)
    photo = photos.select_related("subject").order_by("pk").first()
    photo_fields = {"name": photo.subject.name, "subject": photo.subject_id, "photo": photo.pk} if photo else {}
    return {MAP: {"concept": key, "sha256": ref["sha256"], **photo_fields}}


def _source_type(version: AssetVersion) -> str:
    """Return IPTC's digital source type of the image; https://cv.iptc.org/newscodes/digitalsourcetype."""
    if version.job and not version.job.endpoint.plugin.is_generative:
        frozen = _frozen(version)
        has_scene = frozen is not None and SCENE in frozen.spec.get("images", {})
        return "compositeWithTrainedAlgorithmicMedia" if has_scene else "compositeSynthetic"
    return "compositeWithTrainedAlgorithmicMedia" if version.source == "retouched" else "trainedAlgorithmicMedia"
