"""Comparisons: pairs of runs with two prompt versions (A/B), and blind contact sheets that people vote on."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns import prompts
from campaigns.choices import SeedStrategy
from campaigns.models import PromptVersion
from campaigns.services import prompts as prompt_services
from core import clock
from core.access import Action, require
from core.errors import Conflict, Invalid, NotFound, Problem
from core.events import publish
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation import events
from generation.choices import SEED_AXIS, WORDS_AXIS, AssetState, RunShape, Stage
from generation.models import Asset, Comparison, ComparisonColumn, ComparisonVote, Endpoint, Run
from generation.services import runs, studio
from generation.services.planning import drafts, plan_requests, plans
from generation.services.planning.plan_requests import PlanArguments

TEMPLATE = "ab"
STAGES = (Stage.SANDBOX, Stage.PILOT)
MIN_SIDES: Final = 2
MAX_SIDES: Final = 6
MAX_ROWS: Final = 24
#: A free prompt is a value of a row, and the values of a row have at most 500 characters together with the seed.
MAX_PROMPT_LENGTH: Final = 400


@transaction.atomic
def plan_pair(arguments: PlanArguments, *, other: PromptVersion, name: str = "") -> tuple[Run, Run]:
    """Plan a run of the given version and an equal run of `other`, both or neither; the second is a clone of the first.

    Equal seeds make the prompt the only difference. Raises what planning does, and Invalid for what is no pair.
    """
    first = arguments.prompt_version
    if first.pk == other.pk:
        message = _("%(version)s cannot be compared with itself.") % {"version": other}
        raise Invalid(_("Choose two versions."), [Problem("prompt_version_b", message)])
    if arguments.stage not in STAGES:
        problem = Problem("stage", _("Choose sandbox or pilot."), arguments.stage)
        raise Invalid(_("An A/B is a sandbox or a pilot."), [problem])
    if arguments.shape != RunShape.MATRIX:
        raise Invalid(_("An A/B takes products, not a list."), [Problem("shape", _("Choose products."))])
    first_run = plans.plan(side_of_pair(first, other, arguments), name=_name(name, first), job_template=TEMPLATE)
    second_run = plans.plan(
        side_of_pair(other, first, arguments), name=_name(name, other), job_template=TEMPLATE, cloned_from=first_run
    )
    return first_run, second_run


def side_of_pair(version: PromptVersion, other: PromptVersion, arguments: PlanArguments) -> PlanArguments:
    """Return the request for one of the two runs: with the pair's axes, and one common seed if theirs would differ."""
    axes = arguments.used_axes
    heeds_seeds = SEED_AXIS in plan_requests.open_engine(arguments.endpoint).capabilities().obeys
    if heeds_seeds and SEED_AXIS not in axes and not _seeds_are_equal(version, other):
        axes[SEED_AXIS] = [min(version.seed, other.seed) % (prompts.MAX_SEED + 1)]
    side = replace(arguments, prompt_version=version, axes=axes, all_or_nothing=True)
    if arguments.sample:
        # One sample for both: which products are ready may differ between the two versions.
        return replace(side, subjects=drafts.Drafter(plan_requests.load(arguments)).subject_ids(), sample=None)
    return side


def _seeds_are_equal(version: PromptVersion, other: PromptVersion) -> bool:
    if version.seed_strategy != other.seed_strategy or version.seed != other.seed:
        return False
    if version.seed_strategy == SeedStrategy.PER_SUBJECT:
        return version.template_id == other.template_id
    return bool(version.seed_strategy == SeedStrategy.FIXED)


def _name(name: str, version: PromptVersion) -> str:
    return f"{name or 'A/B'}: {version.template.name} v{version.number}"[:160]


@dataclass(frozen=True)
class Side:
    """One column of a new sheet: an endpoint and its parameters, with a prompt version unless for free prompts."""

    endpoint: Endpoint
    version: PromptVersion | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.version is None:
            return self.endpoint.name
        return _("%(version)s on %(endpoint)s") % {"version": self.version, "endpoint": self.endpoint}


@transaction.atomic
def start(
    *,
    brand: Brand,
    name: str,
    sides: Sequence[Side],
    by: User,
    subjects: Sequence[int] = (),
    words: Sequence[str] = (),
    width: int = 1024,
    height: int = 1024,
    seed: int | None = None,
) -> Comparison:
    """Make every row on every side with the same seeds, and open the vote.

    subjects: the id of each row's product, for sides with versions; it takes the variant of its row, as in a try-out.
    words: free prompts, for sides without. Raises Invalid, which says which side cannot be made and why.
    """
    require(by, Action.RUN_SANDBOX, brand)
    _check(name, sides, subjects, words)
    base = secrets.randbelow(prompts.MAX_SEED - MAX_ROWS) if seed is None else seed
    count = len(subjects or words)
    comparison: Comparison = Comparison.objects.create(brand=brand, name=name.strip(), row_count=count, created_by=by)
    planned = []
    for position, side in enumerate(sides):
        if side.version is None:
            version, rows = _add_free(brand, side, words, by)
        else:
            version, rows = side.version, studio.list_rows(side.version, subjects)
        rows = _with_size_and_seeds(rows, side.endpoint, width, height, base)
        run = _plan_column(side, name, version, rows, brand, by)
        ComparisonColumn.objects.create(comparison=comparison, position=position, run=run)
        planned.append(run)
    for run in planned:
        runs.release(run_id=run.pk, by=by, reuse_rejected=True)
    payload = {"name": comparison.name, "rows": count, "runs": [run.pk for run in planned]}
    publish(events.ComparisonStarted.of(comparison, **payload), by=by)
    return comparison


@transaction.atomic
def vote(*, comparison_id: int, row: int, column_id: int | None, by: User) -> ComparisonVote:
    """Vote for the best image of a row, None for none of them; a person's new vote replaces the earlier one.

    Raises NotFound; Conflict while an image of the row is still being made, and after the row was revealed to the
    person; Invalid for a column without an image in this row.
    """
    comparison = _lock_comparison(comparison_id, by)
    if not 0 <= row < comparison.row_count:
        raise NotFound(_("%(comparison)s has no row %(row)d.") % {"comparison": comparison.name, "row": row + 1})
    run_ids = dict(comparison.columns.values_list("pk", "run_id"))
    images = Asset.objects.filter(cell__run__in=run_ids.values(), cell__position=row)
    states = dict(images.values_list("cell__run_id", "state"))
    if AssetState.MAKING in states.values():
        raise Conflict(_("An image of this row is still being made; vote when all of them are there."))
    if column_id is not None:
        if column_id not in run_ids:
            raise NotFound(_("%(comparison)s has no such column.") % {"comparison": comparison.name})
        if states.get(run_ids[column_id]) in (None, AssetState.FAILED, AssetState.SUPERSEDED):
            message = _("There is no image under this letter to vote for.")
            raise Invalid(message, [Problem("letter", message)])
    earlier_vote = ComparisonVote.objects.filter(comparison=comparison, row=row, voter=by).first()
    if earlier_vote is not None and earlier_vote.revealed_at is not None:
        raise Conflict(_("You have seen which is which in this row, so your vote cannot be changed."))
    cast, _is_new = ComparisonVote.objects.update_or_create(
        comparison=comparison, row=row, voter=by, defaults={"column_id": column_id}
    )
    payload = {"row": row, "column": column_id, "instead_of": earlier_vote.column_id if earlier_vote else None}
    publish(events.ComparisonVoted.of(comparison, **payload), by=by)
    return cast


@transaction.atomic
def reveal(*, comparison_id: int, by: User) -> int:
    """Reveal rows that the person voted on, for good; returns how many. Raises NotFound, Conflict without votes."""
    comparison = _lock_comparison(comparison_id, by)
    own_votes = ComparisonVote.objects.filter(comparison=comparison, voter=by)
    opened = own_votes.filter(revealed_at=None).update(revealed_at=clock.now())
    if not opened and not own_votes.exists():
        raise Conflict(_("Vote on a row first; then you are told which endpoint made which of its images."))
    if opened:
        publish(events.ComparisonRevealed.of(comparison, rows=opened), by=by)
    return opened


def _check(name: str, sides: Sequence[Side], subjects: Sequence[int], words: Sequence[str]) -> None:
    problems = []
    if not 0 < len(name.strip()) <= 160:
        problems.append(Problem("name", _("Give it a name of at most 160 characters.")))
    if not MIN_SIDES <= len(sides) <= MAX_SIDES:
        message = ngettext(
            "Compare %(fewest)d to %(most)d columns; %(n)d was given.",
            "Compare %(fewest)d to %(most)d columns; %(n)d were given.",
            len(sides),
        )
        problems.append(Problem("sides", message % {"fewest": MIN_SIDES, "most": MAX_SIDES, "n": len(sides)}))
    if len({(side.endpoint.pk, side.version.pk if side.version else None) for side in sides}) < len(sides):
        problems.append(Problem("sides", _("The same endpoint and version stand there twice.")))
    if bool(subjects) == bool(words) or any(bool(side.version) != bool(subjects) for side in sides):
        problems.append(Problem("rows", _("Give products with prompt versions, or free prompts without.")))
    field = "subjects" if subjects else "words"
    if len(subjects or words) > MAX_ROWS:
        problems.append(Problem(field, _("A sheet has at most %(n)d rows.") % {"n": MAX_ROWS}))
    if len({prompt.strip() for prompt in words}) < len(words) or len(set(subjects)) < len(subjects):
        problems.append(Problem(field, _("A row stands there twice.")))
    if any(not 0 < len(prompt.strip()) <= MAX_PROMPT_LENGTH for prompt in words):
        message = _("A prompt of a sheet has 1 to %(n)d characters.") % {"n": MAX_PROMPT_LENGTH}
        problems.append(Problem(field, message))
    if problems:
        raise Invalid(problems[0].message, problems)


def _add_free(brand: Brand, side: Side, words: Sequence[str], by: User) -> tuple[PromptVersion, list[dict[str, Any]]]:
    """Return one version for all rows, and the rows with their free prompts."""
    brand_studio = prompt_services.ensure_studio(brand=brand, by=by)
    needs = {"engine": side.endpoint.engine}
    version = prompt_services.find_or_add_version(
        studio=brand_studio, by=by, text=f"{{{WORDS_AXIS}}}", parameters=dict(side.parameters), needs=needs
    )
    return version, [{"subject": brand_studio.subject_id, WORDS_AXIS: prompt.strip()} for prompt in words]


def _with_size_and_seeds(
    rows: Sequence[Mapping[str, Any]], endpoint: Endpoint, width: int, height: int, first_seed: int
) -> list[dict[str, Any]]:
    """Return the rows with the size that the engine makes, and with increasing seeds if it obeys a seed."""
    capabilities = plan_requests.open_engine(endpoint).capabilities()
    size = "x".join(map(str, plan_requests.master_size(width, height, capabilities)))
    obeys_seed = SEED_AXIS in capabilities.obeys
    return [
        {**row, "size": size, **({SEED_AXIS: first_seed + at} if obeys_seed else {})} for at, row in enumerate(rows)
    ]


def _plan_column(
    side: Side, name: str, version: PromptVersion, rows: list[dict[str, Any]], brand: Brand, by: User
) -> Run:
    try:
        return plans.plan_tryout(
            brand=brand, prompt_version=version, endpoint=side.endpoint, rows=rows, by=by, name=f"Compare: {name}"[:160]
        )
    except Invalid as refusal:
        sentences = list(dict.fromkeys(problem.message for problem in refusal.problems))[:3]
        message = _("%(side)s cannot make it: %(reasons)s")
        message %= {"side": side, "reasons": " ".join(sentences) or refusal.message}
        raise Invalid(message, [Problem("sides", message)]) from refusal


def _lock_comparison(comparison_id: int, by: User) -> Comparison:
    rows = Comparison.objects.visible_to(by).select_related("brand").select_for_update(of=("self",))
    rows = rows.filter(pk=comparison_id)
    comparison: Comparison = first_or_refuse(rows, _("There is no comparison %(id)s.") % {"id": comparison_id})
    require(by, Action.VIEW, comparison.brand)
    return comparison
