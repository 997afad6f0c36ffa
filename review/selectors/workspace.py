"""Data of the review workspace: the claimed tasks with their images, and the sidebar of one task."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Prefetch
from django.urls import reverse
from django.utils.translation import gettext as _

from campaigns import prompts
from campaigns.choices import GuideStatus, ImageUse
from campaigns.models import Cutout, GuideVersion, ReferencePhoto
from campaigns.photos import colours
from campaigns.prompts.pieces import Piece, split_text
from campaigns.selectors import campaigns as campaign_selectors
from campaigns.selectors import guides
from campaigns.selectors import prompts as prompt_selectors
from core.models import User
from core.templatetags.proofline import SWATCHES, image, swatch
from generation.choices import Outcome
from generation.control_values import SPEC_FIELDS
from generation.engines import base as engines
from generation.models import Asset, AssetVersion, Finding, JobSpec, Master, Rendition, Run
from generation.selectors import inputs
from review import pins
from review.models import Decision, Reason, ReviewTask
from review.selectors import staleness

#: Long edge of the image in the filmstrip and in the contact sheet, in device pixels.
STRIP_PX = 192
SHEET_PX = 512
LATELY = 200  # the newest decisions of a person, among which those of a brand are looked for
MAX_GUIDE_IMAGES = 2  # do images, and so many don't images; more do not fit beside an image


@dataclass(frozen=True)
class ControlValue:
    """One control of the engine with the value that made this image."""

    control: engines.Control
    value: Any

    @property
    def hex(self) -> str:
        """Return a colour control's value as #rrggbb, or white if the engine uses another notation."""
        text = str(self.value)
        return text if re.fullmatch(r"#[0-9a-fA-F]{6}", text) else "#ffffff"


def candidates_by_asset(tasks: Iterable[ReviewTask]) -> dict[int, list[AssetVersion]]:
    """Return the candidates of each task's round by asset id, with master, renditions and findings. Four queries."""
    rounds = {task.asset_id: task.round for task in tasks}
    files = Rendition.objects.select_related("output_spec").order_by("output_spec_id")
    findings = Finding.objects.select_related("duplicate").order_by("id")
    candidates = AssetVersion.objects.filter(asset_id__in=rounds).select_related("master", "job__endpoint")
    candidates = candidates.prefetch_related(Prefetch("renditions", files), Prefetch("findings", findings))
    by_asset: dict[int, list[AssetVersion]] = {}
    for version in candidates.order_by("candidate"):
        if version.round == rounds[version.asset_id]:
            by_asset.setdefault(version.asset_id, []).append(version)
    return by_asset


def task_cards(tasks: Sequence[ReviewTask]) -> list[dict[str, Any]]:
    """Return a dictionary per task for the page's script: the images, the `seen` tokens, and the items to answer."""
    versions = candidates_by_asset(tasks)
    photos = _first_photos(task.asset.subject_id for task in tasks)
    earlier = _previous_versions(tasks)
    moved = inputs.find_changes(task.asset.cell_id for task in tasks)
    return [
        _task_card(task, versions.get(task.asset_id, []), moved.get(task.asset.cell_id, []))
        | {"photo": photos.get(task.asset.subject_id), "earlier": earlier.get(task.asset_id, [])}
        for task in tasks
    ]


def load_tasks(task_ids: Sequence[int]) -> list[ReviewTask]:
    """Return the tasks in the order of their ids, with the related objects that a card needs."""
    by_id = ReviewTask.objects.select_related("asset__subject", "brand", "checklist_version").in_bulk(task_ids)
    return [by_id[pk] for pk in task_ids if pk in by_id]


def _first_photos(subject_ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    photos: dict[int, dict[str, Any]] = {}
    stored = ReferencePhoto.objects.filter(subject_id__in=set(subject_ids), status="ready")
    for photo in stored.order_by("subject_id", "-position", "-id"):
        photos[photo.subject_id] = _image_json("photo", photo)
    return photos


def _image_json(kind: str, item: ReferencePhoto | Master | Rendition) -> dict[str, Any]:
    return {"src": image(kind, item), "width": item.width, "height": item.height}


def _previous_versions(tasks: Iterable[ReviewTask]) -> dict[int, list[dict[str, Any]]]:
    """Return the version that was last decided before this round, to compare; empty in a first round."""
    rounds = {task.asset_id: task.round for task in tasks if task.round > 1}
    earlier: dict[int, list[dict[str, Any]]] = {}
    judged = Decision.objects.filter(task__asset_id__in=rounds).order_by("-id")
    for decision in judged.select_related("version__master", "version__job__endpoint"):
        version = decision.version
        if version.round < rounds[version.asset_id] and version.asset_id not in earlier:
            label = _("Round %(number)d") % {"number": version.round}
            shown = _image_json("master", version.master) | {"label": label, "disclaimer": version.disclaimer}
            earlier[version.asset_id] = [shown]
    return earlier


def _task_card(
    task: ReviewTask, versions: Sequence[AssetVersion], moved: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    subject = task.asset.subject
    return {
        "id": task.pk,
        "asset": task.asset_id,
        "sku": subject.key,
        "name": subject.name,
        "round": task.round,
        "state": task.state,
        "current": task.asset.current_version_id,
        "ask": [item for item in task.checklist_version.items if item["mode"] == "ask"],
        "versions": [_version_card(version, task, moved) for version in versions],
        "sidebar": reverse("task_sidebar", args=[task.brand.slug, task.pk]),
    }


def _version_card(version: AssetVersion, task: ReviewTask, moved: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    master = version.master
    files = [
        _file_json("rendition", rendition, rendition.output_spec.slug, rendition.output_spec.background)
        for rendition in files_to_deliver(version)
    ]
    return {
        "id": version.pk,
        "candidate": version.candidate,
        "seen": pins.current_state(version, task, version.renditions.all(), moved).token,
        "outcome": version.worst_outcome,
        "disclaimer": version.disclaimer,
        "strip": image("master", master, STRIP_PX),
        "sheet": image("master", master, SHEET_PX),
        "width": master.width,
        "height": master.height,
        "files": files or [_file_json("master", master, "master", "")],
        "marks": [
            {"check": finding.check_name, "outcome": finding.outcome, "message": finding.message, "box": finding.box}
            for finding in version.findings.all()
            if finding.outcome != "pass"
        ],
    }


def _file_json(kind: str, file: Master | Rendition, spec: str, background: str) -> dict[str, Any]:
    details = {"spec": spec, "bytes": file.bytes, "format": file.image_format, "background": background}
    return _image_json(kind, file) | details


def files_to_deliver(version: AssetVersion) -> list[Rendition]:
    """Return the files of a version that would be delivered, largest first; its renditions are loaded already."""
    newest = pins.newest_by_spec(version.renditions.all()).values()
    return sorted(newest, key=lambda file: (-file.width * file.height, file.output_spec.slug))


def task_detail(*, task: ReviewTask, user: User) -> dict[str, Any]:
    """Return what the sidebar of one task shows. The caller checks that `user` may see the task."""
    asset, subject = task.asset, task.asset.subject
    run = asset.cell.run
    frozen = JobSpec.objects.filter(cell=asset.cell, round__lte=task.round).order_by("-round", "candidate").first()
    spec = frozen.spec if frozen else {}
    prompt, backdrop = spec.get("prompt", ""), str(spec.get("parameters", {}).get("backdrop", ""))
    controls = engines.build(run.endpoint.engine, run.endpoint.config).capabilities().controls
    decisions = Decision.objects.visible_to(user).filter(task__asset=asset).order_by("-id")
    items = task.checklist_version.items
    photos = ReferencePhoto.objects.visible_to(user).filter(subject=subject, status="ready").order_by("position", "id")
    return {
        "candidates": [_candidate_detail(version) for version in candidates_by_asset([task]).get(asset.pk, [])],
        "photos": list(photos.prefetch_related(Prefetch("cutouts", Cutout.objects.filter(is_accepted=True)))),
        "facts": [(name, value) for name, value in subject.attributes.items() if name not in SWATCHES and value],
        "colour_hex": swatch(subject.attributes),
        "prompt": prompt_pieces(asset, prompt),
        "negative": spec.get("negative", ""),
        "seed": spec.get("seed"),
        "control_values": list_control_values(spec, controls),
        "history": list(decisions.select_related("decided_by", "reason", "version", "voids")[:12]),
        "guide_excerpt": _guide_excerpt(run, brand_id=task.brand_id, prompt=prompt, backdrop=backdrop),
        "staleness": staleness.get_staleness(asset),
        "items_to_answer": [item for item in items if item["mode"] == "ask"],
        "items_by_exception": [item for item in items if item["mode"] != "ask"],
    }


def _candidate_detail(version: AssetVersion) -> dict[str, Any]:
    """Return a candidate with the files that would be delivered and the number of passed checks."""
    passed = sum(finding.outcome == Outcome.PASS for finding in version.findings.all())
    return {"version": version, "files": files_to_deliver(version), "passed_checks": passed}


def _guide_excerpt(run: Run, *, brand_id: int, prompt: str, backdrop: str) -> dict[str, Any] | None:
    """Return the guide for one image of `run`, or None if the brand has no published guide. Three queries.

    It is the version that was valid when the run was planned. is_planned: the run recorded it. newer_guide: the version
    that is valid now, if it is another one. remarks: problems of the image's prompt by the guide's wording rules.
    backdrop_hex, backdrop_name: the backdrop that the image should have, "" if it is not in the guide.
    """
    current = guides.get_published(brand_id)
    guide = run.guide_version or current
    if guide is None:
        return None
    examples = list(guide.images.filter(use__in=(ImageUse.DO, ImageUse.DONT)).order_by("use", "position", "id"))
    guide_backdrop = _find_backdrop(guide, backdrop)
    return {
        "guide": guide,
        "is_planned": run.guide_version_id is not None,
        "newer_guide": current if current and current.number > guide.number else None,
        "dos": [image for image in examples if image.use == ImageUse.DO][:MAX_GUIDE_IMAGES],
        "donts": [image for image in examples if image.use == ImageUse.DONT][:MAX_GUIDE_IMAGES],
        "remarks": prompts.problems(prompt, guide) if prompt and guide.status == GuideStatus.PUBLISHED else [],
        "backdrop_hex": guide_backdrop["hex"],
        "backdrop_name": guide_backdrop["name"],
    }


def _find_backdrop(guide: GuideVersion, backdrop: str) -> dict[str, str]:
    """Return the guide's backdrop that an image's spec names, by its name or by its colour."""
    requested = backdrop.strip().casefold()
    for guide_backdrop in guide.backdrops:
        if requested and requested in (guide_backdrop["name"].casefold(), guide_backdrop["hex"]):
            return dict(guide_backdrop)
    try:
        return {"name": "", "hex": colours.normalise_hex(requested)}
    except ValueError:
        return {"name": "", "hex": ""}


def recent_decisions(*, user: User, brand_id: int, count: int = 5) -> list[Decision]:
    """Return the user's last valid decisions in a brand, newest last, with the data of the filmstrip.

    They are looked for among the user's newest decisions everywhere, LATELY of them, which the index has in order.
    """
    newest = Decision.objects.filter(decided_by=user).order_by("-id").values_list("pk", flat=True)[:LATELY]
    decisions = Decision.objects.standing().visible_to(user).filter(pk__in=list(newest), task__brand_id=brand_id)
    related = ("task__asset__subject", "version__master", "version__job__endpoint")
    return list(decisions.select_related(*related).order_by("-id")[:count])[::-1]


def reasons(*, brand_id: int) -> list[Reason]:
    """Return the reasons that can be chosen by digit: at most nine."""
    return list(Reason.objects.filter(brand_id=brand_id, is_active=True).order_by("position", "id")[:9])


def prompt_pieces(asset: Asset, sent: str) -> list[Piece]:
    """Return the sent prompt in pieces, cut at the values; one plain piece if a later round changed its words."""
    values = campaign_selectors.placeholder_values(asset.subject)
    source = prompt_selectors.prompt_source(asset.cell.run.prompt_version)
    try:
        rendered = prompts.render(source, values | asset.cell.axis_values)
    except ValueError:
        return [Piece(sent)]
    return split_text(rendered.text, rendered.spans) if rendered.text == sent else [Piece(sent)]


def list_control_values(spec: dict[str, Any], controls: Sequence[engines.Control]) -> list[ControlValue]:
    """Return each control with the frozen spec's value, or its own default."""
    parameters = spec.get("parameters", {})
    control_values = []
    for control in controls:
        value = spec.get(control.parameter) if control.parameter in SPEC_FIELDS else parameters.get(control.parameter)
        control_values.append(ControlValue(control, control.default if value is None else value))
    return control_values
