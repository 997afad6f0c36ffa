"""Previews: the images, the cost and the problems of a run, added up draft by draft. Nothing here writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any

from django.utils.translation import ngettext

from campaigns import prompts
from campaigns.choices import SeedStrategy
from generation.choices import AssetState, Stage
from generation.models import Asset
from generation.selectors import budgets, gates
from generation.services.planning import estimates
from generation.services.planning.counting import Cause, Collision, DraftCounter, SubjectProblem, describe_empty_run
from generation.services.planning.drafts import Draft, Drafter
from generation.services.planning.plan_requests import PlanRequest

FIRST_SHOWN = 3


@dataclass(frozen=True)
class WordingFinding:
    """A remark about wording from the brand guide on `count` prompts. text: the first prompt; lint: the place in it."""

    lint: prompts.Lint
    count: int
    subject: str
    text: str


@dataclass(frozen=True)
class FirstPrompt:
    """One prompt as it will be sent. seed: None if it is drawn when the run is planned."""

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
class Preview(estimates.Interval):
    """The preview of a run. cost: money for images that are not reused, in the brand's currency; seconds: its duration.

    rejected_before: jobs whose image exists and was rejected; release leaves them out by default. approved_before:
    cells with an approved image; approving both makes two files. problems: the first PROBLEMS_SHOWN of `problem_count`.
    left_out: causes for `left_out_count` images that only lack something; counts and cost do not include them. The
    other `blocking_count` problems and collisions (files that would share a name) prevent planning; wording and notes
    only warn. budget_left: None without a budget. pilot: that of the prompt version, which a full run needs.
    """

    subjects: int
    cells: int
    jobs: int
    reused: int
    rejected_before: int
    approved_before: int
    cost: Decimal
    currency: str
    seconds: float
    first: tuple[FirstPrompt, ...]
    problems: tuple[SubjectProblem, ...]
    problem_count: int
    blocking_count: int
    left_out: tuple[Cause, ...]
    left_out_count: int
    wording: tuple[WordingFinding, ...]
    collisions: tuple[Collision, ...]
    notes: tuple[str, ...]
    budget_left: Decimal | None
    pilot: gates.Pilot

    @property
    def can_be_planned(self) -> bool:
        return self.cells > 0 and self.blocking_count == 0 and not self.collisions

    @property
    def fits_budget(self) -> bool:
        return self.budget_left is None or self.cost <= self.budget_left

    @property
    def short_of(self) -> Decimal:
        """The money that the budget lacks for this run."""
        return Decimal(0) if self.budget_left is None else max(self.cost - self.budget_left, Decimal(0))

    @property
    def may_exceed_budget(self) -> bool:
        """Return whether the quote fits the budget, but the highest recent cost of such images does not."""
        dear = self.cost_high if self.cost_high is not None else self.cost
        return self.fits_budget and self.budget_left is not None and dear > self.budget_left


class PreviewBuilder(DraftCounter):
    """Add up drafts to a Preview."""

    def __init__(self, request: PlanRequest) -> None:
        super().__init__(request)
        self.subjects: set[int] = set()
        self.reused = self.rejected = self.approved = 0
        self.first: list[FirstPrompt] = []
        self.wording: dict[tuple[str, str], WordingFinding] = {}
        approved = Asset.objects.filter(campaign=request.campaign, state=AssetState.APPROVED, is_sandbox=False)
        if request.stage == Stage.SANDBOX:
            approved = approved.none()
        #: (subject id, values key, aspect) of the campaign's approved images.
        self.approved_cells = set(approved.values_list("subject_id", "cell__values_key", "cell__aspect"))

    def add(self, batch: Sequence[Draft]) -> tuple[list[Draft], dict[str, bool]]:
        for draft in batch:
            self._read(draft)
        ready, masters = super().add(batch)
        for draft in ready:
            self.subjects.add(draft.subject.id)
            self.approved += (draft.subject.id, draft.values_key, draft.group.aspect) in self.approved_cells
            existing = [masters[job.fingerprint] for job in draft.jobs if job.fingerprint in masters]
            self.rejected += sum(existing)
            self.reused += len(existing) - sum(existing)
        return ready, masters

    def _read(self, draft: Draft) -> None:
        rendered = draft.rendered
        if rendered is None:
            return
        if len(self.first) < FIRST_SHOWN and draft.jobs:
            self.first.append(self._first_prompt(draft, rendered))
        if self.request.guide is None or not self.request.capabilities.obeys_prompt:
            return
        remarks = prompts.problems(rendered.text, self.request.guide)
        firsts = {(remark.kind, remark.word): remark for remark in reversed(remarks)}
        for key, remark in firsts.items():
            finding = self.wording.get(key) or WordingFinding(remark, 0, draft.subject.key, rendered.text)
            self.wording[key] = replace(finding, count=finding.count + 1)

    def _first_prompt(self, draft: Draft, rendered: prompts.RenderedPrompt) -> FirstPrompt:
        is_drawn = self.request.prompt_version.seed_strategy == SeedStrategy.RANDOM
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
            seed=None if is_drawn else draft.jobs[0].seed,
        )

    def result(self, drafter: Drafter) -> Preview:
        """Return the preview of all drafts that were added, with what their drafter found."""
        request, skipped = self.request, drafter.skipped_count
        self.add_unknown(drafter.unknown)
        sentence = ngettext(
            "%(n)d product that is not ready was passed over.",
            "%(n)d products that are not ready were passed over.",
            skipped,
        )
        notes = [*request.notes, *([sentence % {"n": skipped}] if skipped else [])]
        if not self.cells and not self.problems:
            self.add_problem(SubjectProblem("", "unknown_subject", describe_empty_run(request)))
        interval = estimates.estimate_interval(request.endpoint, self.works)
        return Preview(
            **asdict(interval),
            subjects=len(self.subjects),
            cells=self.cells,
            jobs=self.jobs,
            reused=self.reused,
            rejected_before=self.rejected,
            approved_before=self.approved,
            cost=self.cost,
            currency=request.campaign.brand.currency,
            seconds=sum(work.seconds for work in self.works.values()) / interval.workers,
            first=tuple(self.first),
            problems=tuple(self.problems),
            problem_count=self.kinds.total(),
            blocking_count=self.blocking_count,
            left_out=tuple(self.left_out),
            left_out_count=self.left_out_count,
            wording=tuple(self.wording.values()),
            collisions=tuple(self.files.collisions.values()),
            notes=tuple(notes),
            budget_left=budgets.status(request.campaign).left,
            pilot=gates.pilot(request.campaign, request.prompt_version),
        )
