"""Comparisons: two prompt versions on the same subjects and seeds, planned as two runs that belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from django.db import transaction

from campaigns import prompts
from campaigns.choices import SeedStrategy
from campaigns.errors import Invalid, Problem
from campaigns.models import PromptVersion
from generation.choices import RunShape, Stage
from generation.models import Run
from generation.services import orders, planning
from generation.services.orders import SEED_AXIS, Asked

TEMPLATE = "ab"
STAGES = (Stage.SANDBOX, Stage.PILOT)


@transaction.atomic
def plan_pair(*, other: PromptVersion, name: str = "", **asked: Unpack[Asked]) -> tuple[Run, Run]:
    """Plan the version asked for and `other` alike, both or neither; the second run is a clone of the first.

    Equal seeds make the prompt the only difference. Raises what planning raises; Invalid for one version twice, a list,
    or a stage whose pictures go on to be delivered.
    """
    first = asked["prompt_version"]
    if first.pk == other.pk:
        raise Invalid("Choose two versions.", [Problem("prompt_version_b", f"{other} cannot be compared with itself.")])
    if asked["stage"] not in STAGES:
        raise Invalid("An A/B is a sandbox or a pilot.", [Problem("stage", "Choose sandbox or pilot.", asked["stage"])])
    if asked.get("shape", RunShape.MATRIX) != RunShape.MATRIX:
        raise Invalid("An A/B takes products, not a list.", [Problem("shape", "Choose products.")])
    one = planning.plan(name=_name(name, first), job_template=TEMPLATE, **asked_of(first, other, asked))
    two = planning.plan(
        name=_name(name, other), job_template=TEMPLATE, cloned_from=one, **asked_of(other, first, asked)
    )
    return one, two


def asked_of(version: PromptVersion, other: PromptVersion, asked: Asked) -> Asked:
    """What one of the two runs is asked: the pair's axes, and one seed for both where theirs would differ."""
    axes: Mapping[str, Sequence[Any]] | None = asked.get("axes")
    used = dict(asked["prompt_version"].axes if axes is None else axes)
    heeds_seeds = SEED_AXIS in orders.open_engine(asked["endpoint"]).capabilities().obeys
    if heeds_seeds and SEED_AXIS not in used and not _seeds_are_equal(version, other):
        used[SEED_AXIS] = [min(version.seed, other.seed) % (prompts.MAX_SEED + 1)]
    of_one: Asked = {**asked, "prompt_version": version, "axes": used}
    return of_one


def _seeds_are_equal(version: PromptVersion, other: PromptVersion) -> bool:
    if version.seed_strategy != other.seed_strategy or version.seed != other.seed:
        return False
    if version.seed_strategy == SeedStrategy.PER_SUBJECT:
        return version.template_id == other.template_id
    return bool(version.seed_strategy == SeedStrategy.FIXED)


def _name(name: str, version: PromptVersion) -> str:
    return f"{name or 'A/B'}: {version.template.name} v{version.number}"[:160]
