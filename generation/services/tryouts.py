"""Try-outs: run the editor's prompt at once for a few subjects in the sandbox. Its images do not go to review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from campaigns import prompts
from campaigns.models import PromptTemplate, PromptVersion
from campaigns.services import prompts as prompt_services
from core.access import Action, require
from core.errors import Invalid, NotFound, Problem
from core.models import User
from generation.models import Endpoint, Run
from generation.services import runs
from generation.services.planning import plans

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

    fields: as `prompts.add_version` takes them; they become the next draft if they differ from `based_on`. If it raises
    Invalid, NotAllowed or Conflict, neither a version nor a run is left.
    """
    require(by, Action.RUN_SANDBOX, template.brand)
    if not subjects:
        raise Invalid(_("Nothing to try."), [Problem("subjects", _("Tick at least one product to try it on."))])
    if len(subjects) > MAX_SUBJECTS:
        message = _("Try at most %(n)d products at once.") % {"n": MAX_SUBJECTS}
        raise Invalid(_("Too many to try."), [Problem("subjects", message)])
    version, is_new = _get_or_add_version(template, fields, based_on, by)
    rows = list_rows(version, subjects)
    run = plans.plan_tryout(
        brand=template.brand, prompt_version=version, endpoint=endpoint, rows=rows, by=by, name=f"Try of {version}"
    )
    return TryOut(runs.release(run_id=run.pk, by=by, reuse_rejected=True), version, is_new)


def list_rows(version: PromptVersion, subjects: Sequence[int]) -> list[dict[str, Any]]:
    """Return the rows of a list run: the n-th subject gets the n-th variant of the version's axes."""
    variants = prompts.expand_axes(version.axes) or [{}]
    return [{"subject": pk, **variants[at % len(variants)]} for at, pk in enumerate(subjects)]


def _get_or_add_version(
    template: PromptTemplate, fields: Mapping[str, Any], based_on: PromptVersion | None, by: User
) -> tuple[PromptVersion, bool]:
    if based_on is not None:
        if based_on.template_id != template.pk:
            message = _("%(prompt)s has no version %(id)s.")
            raise NotFound(message % {"prompt": template.name, "id": based_on.pk})
        style = fields.get("style")
        is_same_style = not style or (style.text, style.negative) == (based_on.style_text, based_on.style_negative)
        if is_same_style and all(getattr(based_on, name) == value for name, value in fields.items() if name != "note"):
            return based_on, False
    return prompt_services.add_version(template_id=template.pk, by=by, **fields), True
