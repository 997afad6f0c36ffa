"""Try-outs of a prompt, and the latest image of a subject by a version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from django.utils.translation import gettext as _

from campaigns.models import PromptTemplate, PromptVersion
from core.models import User
from generation.choices import AssetState, RunState, Stage
from generation.models import Asset, AssetVersion, Job, Run
from generation.selectors import disclaimers

SHOWN = 8
IMAGES = 6


@dataclass(frozen=True)
class LastImage:
    """The latest image of one subject. version_id: the newest image, None without one; values: those of its axes.
    problem: why the latest try-out failed. is_making: an image is being made. disclaimer: the disclaimer of the
    image."""

    subject_id: int
    values: str
    is_making: bool
    problem: str
    version_id: int | None = None
    asset_id: int | None = None
    is_sandbox: bool = False
    created_at: Any = None
    disclaimer: str = ""


@dataclass(frozen=True)
class TryOutImages:
    """One try-out with its first images (asset version ids)."""

    run: Run
    images: tuple[int, ...]


def last_images(version: PromptVersion, subject_ids: Sequence[int]) -> dict[int, LastImage]:
    """Return the newest image of this version by subject id, at any stage. Two queries. The caller has checked that the
    person may see the version and the subjects."""
    newest = {subject_id: image for subject_id, *image in _newest_versions(version, subject_ids)}
    latest = {subject_id: states for subject_id, *states in _latest_assets(version, subject_ids)}
    by_subject = {}
    for subject_id in subject_ids:
        axes, *image = newest.get(subject_id, ({},))
        values = ", ".join(str(value) for value in axes.values())
        state, run_state, error = latest.get(subject_id, ("", "", ""))
        is_making = state == AssetState.MAKING and run_state == RunState.RUNNING
        problem = (error or _("It could not be made.")) if state == AssetState.FAILED else ""
        by_subject[subject_id] = LastImage(subject_id, values, is_making, problem, *image)
    return by_subject


def _newest_versions(version: PromptVersion, subject_ids: Sequence[int]) -> QuerySet[Any, Any]:
    """Return the newest image of each subject, its values in the order of LastImage after those of the axes."""
    made = AssetVersion.objects.filter(asset__subject__in=subject_ids, asset__cell__run__prompt_version=version)
    newest = made.order_by("asset__subject_id", "-asset_id", "-round", "candidate").distinct("asset__subject_id")
    image = ("pk", "asset_id", "asset__is_sandbox", "created_at", disclaimers.OF_VERSION)
    return newest.values_list("asset__subject_id", "asset__cell__axis_values", *image)


def _latest_assets(version: PromptVersion, subject_ids: Sequence[int]) -> QuerySet[Any, Any]:
    """Return (subject id, state, state of the run, last error of a job) of the latest asset of each subject."""
    error = Job.objects.filter(cell=OuterRef("cell")).exclude(error="").order_by("-pk").values("error")[:1]
    assets = Asset.objects.filter(subject__in=subject_ids, cell__run__prompt_version=version)
    latest = assets.order_by("subject_id", "-pk").distinct("subject_id")
    return latest.values_list("subject_id", "state", "cell__run__state", Subquery(error))


def list_tryouts(user: User, template: PromptTemplate) -> list[TryOutImages]:
    """Return the latest try-outs of all versions of a prompt, newest first. Two queries."""
    rows = Run.objects.visible_to(user).filter(prompt_version__template=template, stage=Stage.SANDBOX)
    listed = list(rows.select_related("prompt_version__template", "endpoint", "requested_by").order_by("-id")[:SHOWN])
    images: defaultdict[int, list[int]] = defaultdict(list)
    versions = AssetVersion.objects.filter(asset__cell__run__in=listed)
    versions = versions.order_by("asset__cell__position", "-round", "candidate")
    for run_id, version_id in versions.values_list("asset__cell__run_id", "pk")[: SHOWN * IMAGES * 4]:
        images[run_id].append(version_id)
    return [TryOutImages(run, tuple(images[run.pk][:IMAGES])) for run in listed]


def has_running_tryout(version: PromptVersion) -> bool:
    return Run.objects.filter(prompt_version=version, stage=Stage.SANDBOX, state=RunState.RUNNING).exists()
