"""Planning: what a run would make and cost (`preview`), and the rows that make it so (`plan`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from campaigns import events as spine
from campaigns import prompts
from campaigns.errors import Conflict, Invalid, Problem
from campaigns.models import Campaign, PromptVersion, User
from campaigns.services import prompts as prompt_services
from generation import events
from generation.choices import HoldReason, JobState, RunShape, RunState, Stage
from generation.models import Asset, Cell, Endpoint, Job, JobSpec, Run
from generation.selectors import lanes
from generation.services import budget, copying, names, orders
from generation.services.drafts import Draft, Drafter
from generation.services.orders import Order
from generation.states import RUN

JOBS_PER_COPY = 5000
PROBLEMS_SHOWN = 200
FIRST_SHOWN = 3


@dataclass(frozen=True)
class SubjectProblem:
    """Why one picture cannot be made. kind: "missing_value", "missing_photo", "missing_cutout", "engine", "values",
    "duplicate" or "unknown_subject"."""

    subject: str
    kind: str
    message: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WordingFinding:
    """One remark of the brand guide's wording, on `count` of the prompts; `lint` marks it in the first, `text`."""

    lint: prompts.Lint
    count: int
    subject: str
    text: str


@dataclass(frozen=True)
class FirstPrompt:
    """One prompt as it will be sent. seed None: drawn when the run is planned."""

    subject: str
    subject_name: str
    values: Mapping[str, Any]
    aspect: str
    width: int
    height: int
    text: str
    negative: str
    parameters: Mapping[str, Any]
    spans: tuple[prompts.Span, ...]
    seed: int | None


@dataclass(frozen=True)
class Preview:
    """What a run would be. cost: money for what is not reused, in the brand's currency; seconds: until it is done.

    rejected_before: jobs whose very picture was rejected earlier; release leaves them out unless told otherwise.
    problems: the first PROBLEMS_SHOWN of `problem_count`; any forbids planning. wording, collisions (files that would
    share a name) and notes only warn. budget_left: None without a budget.
    """

    subjects: int
    cells: int
    jobs: int
    reused: int
    rejected_before: int
    cost: Decimal
    currency: str
    seconds: float
    first: tuple[FirstPrompt, ...]
    problems: tuple[SubjectProblem, ...]
    problem_count: int
    wording: tuple[WordingFinding, ...]
    collisions: tuple[names.Collision, ...]
    notes: tuple[str, ...]
    budget_left: Decimal | None

    @property
    def can_be_planned(self) -> bool:
        return self.cells > 0 and self.problem_count == 0

    @property
    def fits_budget(self) -> bool:
        return self.budget_left is None or self.cost <= self.budget_left


def preview(
    *,
    campaign: Campaign,
    prompt_version: PromptVersion,
    endpoint: Endpoint,
    stage: str,
    by: User,
    subjects: Iterable[Any] | None = None,
    shape: str = RunShape.MATRIX,
    rows: Iterable[Mapping[str, Any]] | None = None,
    axes: Mapping[str, Sequence[Any]] | None = None,
    sample: int | None = None,
) -> Preview:
    """Look at a run without writing anything.

    subjects: ids or Subjects, None for all active ones of the campaign; sample: only so many, spread over them.
    shape "list" takes rows, {"subject": SKU or id, "backdrop": "clay"}, one picture each (per aspect of the campaign).
    axes: instead of the prompt version's own. Raises NotAllowed; Invalid for what is wrong with the run as a whole
    (an axis that the engine ignores, an endpoint switched off); what is wrong with single subjects is in the result.
    """
    order = orders.load(
        campaign=campaign,
        prompt_version=prompt_version,
        endpoint=endpoint,
        stage=stage,
        by=by,
        subjects=subjects,
        shape=shape,
        rows=rows,
        axes=axes,
        sample=sample,
    )
    drafter = Drafter(order)
    tally = _Tally(order)
    for batch in _batches(drafter.drafts()):
        tally.add(batch)
    tally.add_unknown(drafter.unknown)
    return tally.result()


@transaction.atomic
def plan(
    *,
    campaign: Campaign,
    prompt_version: PromptVersion,
    endpoint: Endpoint,
    stage: str,
    by: User,
    subjects: Iterable[Any] | None = None,
    shape: str = RunShape.MATRIX,
    rows: Iterable[Mapping[str, Any]] | None = None,
    axes: Mapping[str, Sequence[Any]] | None = None,
    sample: int | None = None,
    name: str = "",
    priority: int = 0,
) -> Run:
    """Write a run with its cells, jobs, frozen specs and assets; jobs are held until release. Arguments as `preview`.

    Everything or nothing: Invalid lists what is wrong per subject, and then no row exists. The prompt version is
    frozen from now on. Rows are written by COPY in chunks; memory does not grow with the run.
    """
    version = prompt_services.lock(prompt_version.pk)
    order = orders.load(
        campaign=campaign,
        prompt_version=version,
        endpoint=endpoint,
        stage=stage,
        by=by,
        subjects=subjects,
        shape=shape,
        rows=rows,
        axes=axes,
        sample=sample,
    )
    run = Run.objects.create(
        campaign=campaign,
        prompt_version=version,
        endpoint=endpoint,
        name=name or f"{version.template.name} v{version.number}, {Stage(stage).label.lower()}",
        stage=stage,
        shape=shape,
        definition=order.definition(),
        priority=priority,
        requested_by=by,
    )
    totals = _write(order, run)
    _move_to_planned(run, totals)
    prompt_services.mark_used(version=version, by=by)
    payload = {"stage": str(stage), "cells": run.cell_count, "jobs": run.job_count, "cost": str(run.quoted_cost)}
    payload |= {"campaign": campaign.pk, "prompt_version": version.pk, "endpoint": endpoint.slug}
    spine.publish(events.RunPlanned(brand_id=campaign.brand_id, object_id=run.pk, payload=payload), by=by)
    return run


# -- preview -------------------------------------------------------------------------------------------------------


class _Tally:
    """Adds drafts up to a Preview."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.subjects: set[int] = set()
        self.cells = self.jobs = self.reused = self.rejected = self.problem_count = 0
        self.cost = Decimal(0)
        self.seconds = 0.0
        self.first: list[FirstPrompt] = []
        self.problems: list[SubjectProblem] = []
        self.wording: dict[tuple[str, str], WordingFinding] = {}
        self.names = names.Collisions(order)

    def add(self, batch: Sequence[Draft]) -> None:
        verdicts = _known_masters(self.order, [job.fingerprint for draft in batch for job in draft.jobs])
        for draft in batch:
            self.subjects.add(draft.subject.id)
            self.cells += 1
            self.jobs += len(draft.jobs)
            for job in draft.jobs:
                if job.fingerprint not in verdicts:
                    self.cost += draft.cost
                    self.seconds += draft.seconds
                elif verdicts[job.fingerprint]:
                    self.rejected += 1
                else:
                    self.reused += 1
            for kind, message in draft.problems:
                self._problem(draft.subject.key, kind, message, draft.values)
            self.names.add(draft)
            self._read(draft)

    def add_unknown(self, unknown: list[tuple[str, str]]) -> None:
        for subject, message in unknown:
            self._problem(subject, "unknown_subject", message, {})

    def _problem(self, subject: str, kind: str, message: str, values: Mapping[str, Any]) -> None:
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(SubjectProblem(subject, kind, message, values))

    def _read(self, draft: Draft) -> None:
        rendered = draft.rendered
        if rendered is None:
            return
        if len(self.first) < FIRST_SHOWN and draft.jobs:
            self.first.append(_first(self.order, draft))
        if self.order.guide is None or not self.order.capabilities.obeys_prompt:
            return
        remarks = prompts.problems(rendered.text, self.order.guide)
        firsts = {(remark.kind, remark.word): remark for remark in reversed(remarks)}
        for key, remark in firsts.items():
            known = self.wording.get(key)
            self.wording[key] = (
                WordingFinding(known.lint, known.count + 1, known.subject, known.text)
                if known
                else WordingFinding(remark, 1, draft.subject.key, rendered.text)
            )

    def result(self) -> Preview:
        workers = max(1, lanes.live_workers(self.order.endpoint.lane))
        if not self.cells and not self.problem_count:
            self._problem("", "unknown_subject", "There is no active subject in this campaign; add or import some.", {})
        return Preview(
            subjects=len(self.subjects),
            cells=self.cells,
            jobs=self.jobs,
            reused=self.reused,
            rejected_before=self.rejected,
            cost=self.cost,
            currency=self.order.campaign.brand.currency,
            seconds=self.seconds / workers,
            first=tuple(self.first),
            problems=tuple(self.problems),
            problem_count=self.problem_count,
            wording=tuple(self.wording.values()),
            collisions=self.names.found(),
            notes=self.order.notes,
            budget_left=budget.standing(self.order.campaign).left,
        )


def _first(order: Order, draft: Draft) -> FirstPrompt:
    rendered = draft.rendered
    assert rendered is not None
    return FirstPrompt(
        subject=draft.subject.key,
        subject_name=draft.subject.name,
        values=draft.values,
        aspect=draft.group.aspect,
        width=draft.group.width,
        height=draft.group.height,
        text=rendered.text,
        negative=rendered.negative,
        parameters=draft.parameters,
        spans=rendered.spans,
        seed=None if order.version.seed_strategy == "random" else draft.jobs[0].seed,
    )


def _known_masters(order: Order, fingerprints: list[str]) -> dict[str, bool]:
    """Fingerprint -> was it rejected, for those of which the brand has a master."""
    if order.version.seed_strategy == "random" or not fingerprints:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT fingerprint, was_rejected FROM generation_master WHERE brand_id = %s AND fingerprint = ANY(%s)",
            [order.campaign.brand_id, fingerprints],
        )
        return dict(cursor.fetchall())


def _batches(drafts: Iterator[Draft]) -> Iterator[list[Draft]]:
    """Drafts in lists of about JOBS_PER_COPY jobs."""
    batch: list[Draft] = []
    weight = 0
    for draft in drafts:
        batch.append(draft)
        weight += max(1, len(draft.jobs))
        if weight >= JOBS_PER_COPY:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


# -- plan ----------------------------------------------------------------------------------------------------------


@dataclass
class _Totals:
    cells: int = 0
    jobs: int = 0
    cost: Decimal = Decimal(0)


def _write(order: Order, run: Run) -> _Totals:
    """Stream drafts into the tables. From the first problem on it only collects."""
    drafter = Drafter(order)
    totals = _Totals()
    problems: list[Problem] = []
    kinds: Counter[str] = Counter()
    for batch in _batches(drafter.drafts()):
        for draft in batch:
            kinds.update(kind for kind, _ in draft.problems)
            problems += [Problem(f"subjects/{draft.subject.key}", message, kind) for kind, message in draft.problems]
        if not problems:
            _copy(order, run, batch, totals)
        del problems[PROBLEMS_SHOWN:]
    for subject, message in drafter.unknown:
        kinds["unknown_subject"] += 1
        problems.append(Problem(f"subjects/{subject}", message, "unknown_subject"))
    if problems:
        count = sum(kinds.values())
        raise Invalid(
            f"Nothing was planned: {count} problems, the first with {problems[0].pointer.partition('/')[2]}: "
            f"{problems[0].message}",
            problems[:PROBLEMS_SHOWN],
            problem_count=count,
            kinds=dict(kinds),
        )
    if not totals.cells:
        message = "There is no active subject in this campaign; add or import some."
        raise Invalid(message, [Problem("subjects", message)])
    return totals


def _copy(order: Order, run: Run, batch: Sequence[Draft], totals: _Totals) -> None:
    campaign_id, brand_id = run.campaign_id, order.campaign.brand_id
    cell_ids = copying.reserve_ids(Cell, len(batch))
    cells = list(zip(cell_ids, batch, strict=True))
    drawn = [(cell_id, draft, job) for cell_id, draft in cells for job in draft.jobs]
    jobs = list(zip(copying.reserve_ids(Job, len(drawn)), drawn, strict=True))
    copying.insert(
        Cell,
        same={"run_id": run.pk},
        fields=["id", "subject_id", "axis_values", "values_key", "aspect", "position"],
        rows=(
            (cell_id, draft.subject.id, dict(draft.values), draft.values_key, draft.group.aspect, totals.cells + at)
            for at, (cell_id, draft) in enumerate(cells)
        ),
    )
    copying.insert(
        Asset,
        same={"brand_id": brand_id, "campaign_id": campaign_id, "is_sandbox": run.stage == Stage.SANDBOX},
        fields=["subject_id", "cell_id"],
        rows=((draft.subject.id, cell_id) for cell_id, draft in cells),
    )
    copying.insert(
        Job,
        same={
            "run_id": run.pk,
            "campaign_id": campaign_id,
            "endpoint_id": run.endpoint_id,
            "lane": order.endpoint.lane,
            "priority": run.priority,
            "status": JobState.HELD.value,
            "hold_reason": HoldReason.NOT_RELEASED.value,
        },
        fields=["id", "cell_id", "batch_key"],
        rows=((job_id, cell_id, draft.batch_key) for job_id, (cell_id, draft, _) in jobs),
    )
    copying.insert(
        JobSpec,
        same={"brand_id": brand_id, "round": 1},
        fields=["job_id", "cell_id", "candidate", "fingerprint", "quoted_cost", "spec"],
        rows=(
            (job_id, cell_id, job.candidate, job.fingerprint, draft.cost, job.spec)
            for job_id, (cell_id, draft, job) in jobs
        ),
    )
    totals.cells += len(cells)
    totals.jobs += len(jobs)
    totals.cost += sum((draft.cost * len(draft.jobs) for _, draft in cells), Decimal(0))


def _move_to_planned(run: Run, totals: _Totals) -> None:
    RUN.ensure(run.state, RunState.PLANNED)
    changes = {"state": RunState.PLANNED, "cell_count": totals.cells, "job_count": totals.jobs}
    moved = Run.objects.filter(pk=run.pk, state=RunState.DRAFT).update(**changes, quoted_cost=totals.cost)
    if not moved:
        raise Conflict(f"The run {run.name} is no longer a draft.")
    run.refresh_from_db()
