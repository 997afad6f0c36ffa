"""Try-outs of a prompt, and the latest image of a subject by a version."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from campaigns.models import PromptTemplate, PromptVersion
from core.models import User
from generation.choices import AssetState, RunState, Stage
from generation.models import AssetVersion, Run
from generation.selectors import sql

SHOWN = 8
IMAGES = 6

_LAST = """
SELECT DISTINCT ON (a.subject_id) a.subject_id, c.axis_values, v.id, a.id, a.is_sandbox, v.created_at, e.disclaimer
FROM generation_assetversion v JOIN generation_asset a ON a.id = v.asset_id
JOIN generation_cell c ON c.id = a.cell_id JOIN generation_run r ON r.id = c.run_id
LEFT JOIN generation_job j ON j.id = v.job_id
JOIN generation_endpoint e ON e.id = coalesce(j.endpoint_id, r.endpoint_id)
WHERE a.subject_id = ANY(%(subjects)s) AND r.prompt_version_id = %(version)s
ORDER BY a.subject_id, a.id DESC, v.round DESC, v.candidate
"""
_UNDER_WAY = """
SELECT DISTINCT ON (a.subject_id) a.subject_id, a.state, r.state,
       (SELECT j.error FROM generation_job j WHERE j.cell_id = c.id AND j.error <> '' ORDER BY j.id DESC LIMIT 1)
FROM generation_asset a JOIN generation_cell c ON c.id = a.cell_id JOIN generation_run r ON r.id = c.run_id
WHERE a.subject_id = ANY(%(subjects)s) AND r.prompt_version_id = %(version)s
ORDER BY a.subject_id, a.id DESC
"""


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
    parameters: dict[str, Any] = {"subjects": list(subject_ids), "version": version.pk}
    newest = {row[0]: row[1:] for row in sql.rows(_LAST, parameters)}
    latest = {row[0]: row[1:] for row in sql.rows(_UNDER_WAY, parameters)}
    by_subject = {}
    for subject_id in subject_ids:
        axes, *image = newest.get(subject_id, ("{}",))
        values = ", ".join(str(value) for value in json.loads(axes).values())
        state, run_state, error = latest.get(subject_id, ("", "", ""))
        is_making = state == AssetState.MAKING and run_state == RunState.RUNNING
        problem = (error or _("It could not be made.")) if state == AssetState.FAILED else ""
        by_subject[subject_id] = LastImage(subject_id, values, is_making, problem, *image)
    return by_subject


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
