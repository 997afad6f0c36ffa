"""Try-outs: run the editor's prompt at once for a few subjects in the sandbox. Its images do not go to review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from campaigns import prompts
from campaigns.models import PromptTemplate, PromptVersion
from campaigns.services import campaigns
from campaigns.services import prompts as prompt_services
from core.access import Action, require
from core.errors import Invalid, NotFound, Problem
from core.models import User
from generation.choices import RunShape, Stage
from generation.models import Endpoint, Run
from generation.services import runs
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments

MAX_SUBJECTS = 12


@dataclass(frozen=True)
class TryOut:
    """A released sandbox run. is_new: the editor's text was saved as this version first."""

    run: Run
    version: PromptVersion
    is_new: bool


@transaction.atomic
def start(
    *,
    template: PromptTemplate,
    fields: Mapping[str, Any],
    based_on: PromptVersion | None,
    subjects: Sequence[int],
    endpoint: Endpoint,
    by: User,
) -> TryOut:
    """Make one image (with its candidates) per subject; subject n gets the n-th variant of the axes.

    fields: as `prompts.add_version` takes them. If they differ from `based_on`, they are saved as the next draft;
    otherwise no version is added. If it raises Invalid, NotAllowed or Conflict, neither a version nor a run is left.
    """
    require(by, Action.RUN_SANDBOX, template.brand)
    if not subjects:
        raise Invalid("Nothing to try.", [Problem("subjects", "Tick at least one product to try it on.")])
    if len(subjects) > MAX_SUBJECTS:
        raise Invalid("Too many to try.", [Problem("subjects", f"Try at most {MAX_SUBJECTS} products at once.")])
    version, is_new = _version(template, fields, based_on, by)
    variants = prompts.expand_axes(version.axes)
    rows = [
        {"subject": subject, **(variants[place % len(variants)] if variants else {})}
        for place, subject in enumerate(subjects)
    ]
    run = plans.plan(
        PlanArguments(
            campaign=campaigns.get_or_create_sandbox(brand=template.brand, by=by),
            prompt_version=version,
            endpoint=endpoint,
            stage=Stage.SANDBOX,
            shape=RunShape.LIST,
            rows=rows,
            by=by,
            all_or_nothing=True,
        ),
        name=f"Try of {version}",
    )
    return TryOut(runs.release(run_id=run.pk, by=by, reuse_rejected=True), version, is_new)


def _version(
    template: PromptTemplate, fields: Mapping[str, Any], based_on: PromptVersion | None, by: User
) -> tuple[PromptVersion, bool]:
    if based_on is not None:
        if based_on.template_id != template.pk:
            raise NotFound(f"{template.name} has no version {based_on.pk}.")
        style = fields.get("style")
        is_same_style = (
            style.text == based_on.style_text and style.negative == based_on.style_negative if style else True
        )
        if is_same_style and all(getattr(based_on, name) == value for name, value in fields.items() if name != "note"):
            return based_on, False
    return prompt_services.add_version(template_id=template.pk, by=by, **fields), True
