"""The part of the example that uses the small model: images of empty places, packshots in them, and ideas for tiles.

It uses the same services as everything else: concepts, prompts, runs, workers, review. Its settings are in brand.json
under "little_model". Without its weights or without torch all of it is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from django.db import transaction

from campaigns.choices import SubjectKind
from campaigns.models import Campaign, PromptTemplate, Subject
from campaigns.services import campaigns, subjects
from campaigns.services.subjects import NewSubject
from core.choices import Role
from core.models import Brand, User
from examples import loading
from examples.loading import Example
from examples.running import RunSettings, ensure_run
from generation.choices import AssetState, Stage
from generation.engines.base import Pixels
from generation.models import Asset, AssetVersion, Endpoint, Run
from generation.workers import product
from review import pins
from review.choices import TaskState
from review.models import ReviewTask
from review.services import decisions

WEIGHTS = loading.EXAMPLES / "model" / "weights"
REQUIRED_PACKAGES = ("torch", "diffusers", "transformers")
#: Number of scenes in a packshot run.
SCENES = 2
#: Most variation of lightness (CIELAB) around the shading of a place where a product will stand; more means an object.
MAX_CLUTTER = 14.0


@dataclass(frozen=True)
class Sketches:
    """Everything that this part of the example needs, as it is in the database now."""

    example: Example
    endpoint: Endpoint
    packshot: Endpoint
    places: Campaign
    ideas: Campaign
    prompts: Mapping[str, PromptTemplate]
    plain: Mapping[str, Any]


@dataclass(frozen=True)
class ImageCounts:
    """Counts of images. places: images of places; chosen_places: approved places; packshots: those in a chosen place;
    ideas: tiles; waiting: images of all kinds in review; failed: images that could not be made."""

    places: int = 0
    chosen_places: int = 0
    packshots: int = 0
    ideas: int = 0
    waiting: int = 0
    failed: int = 0


def unavailable_reason(weights: Path = WEIGHTS) -> str:
    """Return a sentence that says why the small model cannot be used here and what to do; empty if it can."""
    if not has_weights(weights):
        return f"there are no weights in {weights}; `python -m examples.model train` makes them."
    if names := missing_packages():
        return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not installed; `make engines` does that."
    return ""


def has_weights(folder: Path) -> bool:
    return (folder / "model_index.json").is_file()


def missing_packages() -> list[str]:
    """Return the packages that the model needs and this Python does not have."""
    return [name for name in REQUIRED_PACKAGES if find_spec(name) is None]


def image_side(weights: Path) -> int:
    """Return the edge in pixels of the model's images, from its own files."""
    shape = json.loads((weights / "unet" / "config.json").read_text(encoding="utf-8"))
    halvings = json.loads((weights / "vae" / "config.json").read_text(encoding="utf-8"))
    doublings = len(halvings.get("block_out_channels") or halvings["decoder_block_out_channels"]) - 1
    return int(shape["sample_size"]) << doublings


@transaction.atomic
def load(example: Example, weights: Path = WEIGHTS) -> Sketches:
    """Create the endpoint, concepts, prompts and campaigns that do not exist yet."""
    plain = loading.read(example.feed.parent)["little_model"]
    brand = example.brand
    people = {role: User.objects.get(username=example.login_of(role)) for role in Role.values if _has(example, role)}
    prompts = {
        plain_prompt["slug"]: loading.prompt(brand, plain_prompt, people[Role.DESIGNER], people[Role.LEAD])
        for plain_prompt in plain["prompts"]
    }
    logins = {login.username: User.objects.get(username=login.username) for login in example.logins}
    made = {
        name: _campaign(brand, plain[name], logins, people[Role.CAMPAIGN_MANAGER], image_side(weights))
        for name in ("places", "ideas")
    }
    return Sketches(
        example=example,
        endpoint=_endpoint(plain["endpoint"], weights),
        packshot=Endpoint.objects.get(slug=plain["before"]["endpoint"]),
        prompts=prompts,
        plain=plain,
        **made,
    )


def start_runs(sketches: Sketches) -> list[Run]:
    """Start the runs in which the model makes places and ideas."""
    return [
        _run(sketches, sketches.places, sketches.plain["places"]["run"]),
        _run(sketches, sketches.ideas, sketches.plain["ideas"]["run"]),
    ]


def choose_places(sketches: Sketches) -> list[str]:
    """Let the example's reviewer pick a candidate of each place, or none; return the keys of all chosen places."""
    reviewer = User.objects.get(username=sketches.example.login_of(Role.REVIEWER))
    waiting = ReviewTask.objects.filter(
        asset__campaign=sketches.places, state=TaskState.OPEN, round=1, asset__state=AssetState.IN_REVIEW
    )
    for task in waiting.select_related("asset", "checklist_version").order_by("pk"):
        _decide(task, reviewer)
    chosen = Asset.objects.filter(campaign=sketches.places, state=AssetState.APPROVED)
    keys = set(chosen.values_list("subject__key", flat=True))
    return [subject["key"] for subject in sketches.plain["places"]["subjects"] if subject["key"] in keys]


def start_packshots(sketches: Sketches, scenes: Sequence[str]) -> Run | None:
    """Start a run of packshots of some products in the first of the chosen places; None if no place was chosen."""
    plain = sketches.plain["before"]
    ordered = [key for key in plain["scenes"] if key in scenes] + [key for key in scenes if key not in plain["scenes"]]
    if not ordered:
        return None
    shown = Subject.objects.filter(brand=sketches.example.brand, kind=SubjectKind.PRODUCT, key__in=plain["products"])
    settings = RunSettings(
        campaign=sketches.example.campaign,
        prompt=sketches.prompts[plain["prompt"]],
        endpoint=sketches.packshot,
        stage=Stage.PILOT,
        name=plain["name"],
        by=sketches.example.owner,
        subjects=list(shown.order_by("key")),
        axes={"scene": ordered[:SCENES]},
        aspects=plain["aspects"],
    )
    return ensure_run(settings)[0]


def count_images(sketches: Sketches, runs: Sequence[Run]) -> ImageCounts:
    """Return the counts of images in these runs."""
    made = AssetVersion.objects.filter(asset__cell__run__in=runs)
    assets = Asset.objects.filter(cell__run__in=runs)
    return ImageCounts(
        places=made.filter(asset__campaign=sketches.places).count(),
        chosen_places=assets.filter(campaign=sketches.places, state=AssetState.APPROVED).count(),
        packshots=made.filter(asset__campaign=sketches.example.campaign).count(),
        ideas=made.filter(asset__campaign=sketches.ideas).count(),
        waiting=assets.filter(state=AssetState.IN_REVIEW).count(),
        failed=assets.filter(state=AssetState.FAILED).count(),
    )


def clutter(pixels: Pixels) -> float:
    """Return how cluttered the place for a product is: the lightness around a plane of shading, in the lower middle.

    pixels: height × width × 3 sRGB uint8. CIELAB lightness, a standard deviation; an even table has 0.
    """
    small = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    light = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2LAB)[..., 0], (0, 0), 1.5)[28:60, 14:50]
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]]
    plane = np.stack([rows.ravel(), columns.ravel(), np.ones(light.size)], axis=1)
    fitted = plane @ np.linalg.lstsq(plane, light.ravel(), rcond=None)[0]
    return float(np.std(light.ravel() - fitted))


def _decide(task: ReviewTask, reviewer: User) -> None:
    """Approve the least cluttered candidate, or reject the image if all candidates are cluttered."""
    versions = task.asset.versions.select_related("master").filter(round=task.round).order_by("candidate")
    looked = [(clutter(product.read_pixels(version.master)[..., :3]), version) for version in versions]
    least, best = min(looked, key=lambda pair: (pair[0], pair[1].candidate))
    decision: dict[str, Any] = {
        "task_id": task.pk,
        "version_id": best.pk,
        "by": reviewer,
        "seen": pins.current_state(best, task).token,
    }
    if least > MAX_CLUTTER:
        decisions.reject(**decision, reason="other", note="It is not empty: there is no room for a product.")
        return
    answers = {item["code"]: "n/a" for item in task.checklist_version.items if item["mode"] == "ask"}
    decisions.approve(
        **decision, answers=answers, note="The calmest of them; there is room for a product in the middle."
    )


def _run(sketches: Sketches, campaign: Campaign, plain: Mapping[str, Any]) -> Run:
    settings = RunSettings(
        campaign=campaign,
        prompt=sketches.prompts[plain["prompt"]],
        endpoint=sketches.endpoint,
        stage=Stage.PILOT,
        name=plain["name"],
        by=sketches.example.owner,
    )
    return ensure_run(settings)[0]


def _endpoint(plain: Mapping[str, Any], weights: Path) -> Endpoint:
    """Return the endpoint of the model in that folder, with the new path if the folder has moved."""
    config = {**plain["config"], "model": str(weights), "max_side": image_side(weights)}
    endpoint, _ = Endpoint.objects.get_or_create(slug=plain["slug"], defaults={**plain, "config": config})
    if not Path(str(endpoint.config.get("model", ""))).is_dir():
        endpoint.config = config
        endpoint.save(update_fields=["config"])
    return endpoint


def _campaign(brand: Brand, plain: Mapping[str, Any], people: Mapping[str, User], by: User, edge: int) -> Campaign:
    """Return the campaign with its concepts; its outputs are squares of `edge` pixels, as the model makes them."""
    square = [{**spec, "width": edge, "height": edge} for spec in plain["campaign"]["specs"]]
    campaign = loading.campaign(brand, {**plain["campaign"], "specs": square}, people)
    entries = [NewSubject(subject["name"], subject["key"], subject["attributes"]) for subject in plain["subjects"]]
    subjects.create(brand=brand, kind=SubjectKind.CONCEPT, entries=entries, by=by)
    there = Subject.objects.filter(
        brand=brand, kind=SubjectKind.CONCEPT, is_active=True, key__in=[entry.key for entry in entries]
    )
    campaigns.add_subjects(campaign_id=campaign.pk, by=by, subject_ids=list(there.values_list("pk", flat=True)))
    return campaign


def _has(example: Example, role: str) -> bool:
    return any(role in login.roles for login in example.logins)
