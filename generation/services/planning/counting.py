"""Count the drafts of a run: the images and their cost, those that are left out, the problems that prevent the run, and
files that would get the same name. Nothing here writes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.choices import SeedStrategy
from campaigns.models import OutputSpec
from core import sql
from generation.choices import Stage
from generation.finishing import names
from generation.services.planning.drafts import Draft
from generation.services.planning.estimates import Work
from generation.services.planning.plan_requests import PlanRequest

#: Problems of a product, a concept or an engine, which leave its images out. Any other problem is a mistake in the
#: request, and refuses the run.
LACKS = frozenset({"missing_value", "missing_photo", "missing_cutout", "missing_scene", "missing_map", "engine"})
PROBLEMS_SHOWN = 200
SUBJECTS_NAMED = 100
#: Equal for all files of a run that are delivered on one day, so these do not distinguish files.
_SAME_FOR_ALL = {"date": "20000101", "status": "approved"}


@dataclass(frozen=True)
class SubjectProblem:
    """The reason for which one image cannot be made. kind: one of LACKS, "values", "duplicate", "banned_word" or
    "unknown_subject". concept: the id of the concept whose image is missing, None without one."""

    subject: str
    kind: str
    message: str
    values: Mapping[str, Any] = field(default_factory=dict)
    concept: int | None = None


@dataclass
class Cause:
    """One reason for which images are left out; a run's row keeps them as JSON.

    subjects: the keys of the first SUBJECTS_NAMED of `subject_count`. concept: as in SubjectProblem.
    """

    kind: str
    message: str
    images: int = 0
    subject_count: int = 0
    subjects: list[str] = field(default_factory=list)
    concept: int | None = None

    @property
    def more(self) -> int:
        """Return how many subjects are not among the eight that a page names."""
        return max(0, self.subject_count - 8)


class DraftCounter:
    """The counts of one run. works: by batch key, the images that must be made, without those that exist already.

    problems: the first PROBLEMS_SHOWN of them. kinds: how many there are of each kind. blocking_count: images, and
    unknown subjects, that prevent the run.
    """

    def __init__(self, request: PlanRequest) -> None:
        self.request = request
        self.cells = self.jobs = self.left_out_count = self.blocking_count = 0
        self.works: defaultdict[str, Work] = defaultdict(Work)
        self.problems: list[SubjectProblem] = []
        self.kinds: Counter[str] = Counter()
        self.files = FileNames(request)
        self._causes: dict[tuple[str, str], Cause] = {}
        self._counted: set[tuple[str, str, int]] = set()

    @property
    def cost(self) -> Decimal:
        return sum((work.cost for work in self.works.values()), Decimal(0))

    @property
    def left_out(self) -> list[Cause]:
        """Return the causes for which images are left out, those of the most images first."""
        return sorted(self._causes.values(), key=lambda cause: -cause.images)

    def add(self, batch: Sequence[Draft]) -> tuple[list[Draft], dict[str, bool]]:
        """Count drafts; return those that can be made, and which of their masters exist, as `_find_masters` does."""
        for draft in batch:
            if draft.problems:
                self._set_aside(draft)
        ready = [draft for draft in batch if not draft.problems]
        masters = _find_masters(self.request, [job.fingerprint for draft in ready for job in draft.jobs])
        for draft in ready:
            self.cells += 1
            self.jobs += len(draft.jobs)
            if new := sum(job.fingerprint not in masters for job in draft.jobs):
                self.works[draft.batch_key].add(new, draft.cost, draft.seconds)
            self.files.add(draft)
        return ready, masters

    def add_unknown(self, unknown: Sequence[tuple[str, str]]) -> None:
        for subject, message in unknown:
            self.blocking_count += 1
            self.add_problem(SubjectProblem(subject, "unknown_subject", message))

    def add_problem(self, problem: SubjectProblem) -> None:
        self.kinds[problem.kind] += 1
        if len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(problem)

    def _set_aside(self, draft: Draft) -> None:
        """Count a draft of which no image can be made: it is left out, or it prevents the run."""
        concepts = {kind: self._concept(draft, kind) for kind, _message in draft.problems}
        for kind, message in draft.problems:
            self.add_problem(SubjectProblem(draft.subject.key, kind, message, draft.values, concepts[kind]))
        if self.request.all_or_nothing or not concepts.keys() <= LACKS:
            self.blocking_count += 1
            return
        self.left_out_count += 1
        for kind, message in dict.fromkeys(draft.problems):
            cause = self._causes.setdefault((kind, message), Cause(kind, message, concept=concepts[kind]))
            cause.images += 1
            if (kind, message, draft.subject.id) not in self._counted:
                self._counted.add((kind, message, draft.subject.id))
                cause.subject_count += 1
                if len(cause.subjects) < SUBJECTS_NAMED:
                    cause.subjects.append(draft.subject.key)

    def _concept(self, draft: Draft, problem: str) -> int | None:
        """Return the id of the concept that a problem is about, None if there is no such concept."""
        about = (lookup for lookup in self.request.named if lookup.use.problem == problem)
        return next((lookup.concept(str(draft.parameters.get(lookup.use.parameter, ""))) for lookup in about), None)


def describe_empty_run(request: PlanRequest) -> str:
    """Return a sentence that says why a run has no image to make."""
    if request.missing_only:
        return _("Nothing is missing: every subject has an image of each aspect, made or on its way.")
    return _("There is no active subject in this campaign; add or import some.")


def _find_masters(request: PlanRequest, fingerprints: list[str]) -> dict[str, bool]:
    """Return, by fingerprint, whether the brand's master was rejected, for those of which it has one."""
    if request.prompt_version.seed_strategy == SeedStrategy.RANDOM or not fingerprints:
        return {}
    # By hand, because planning asks this for every batch, and IN takes twice as long as ANY: 50 ms for 2,000 against
    # 23.
    statement = "SELECT fingerprint, was_rejected FROM generation_master WHERE brand_id = %s AND fingerprint = ANY(%s)"
    return dict(sql.rows(statement, [request.campaign.brand_id, fingerprints]))


@dataclass
class Collision:
    """Files of one output spec that would get the name of another file of the run, with the first such pair as example.

    lacking: the placeholder that would distinguish them, empty if no placeholder does.
    """

    spec: str
    pattern: str
    name: str
    count: int
    subject: str
    other: str
    lacking: str

    @property
    def message(self) -> str:
        both = self.subject
        if self.other != self.subject:
            both = _("%(first)s and %(second)s") % {"first": self.subject, "second": self.other}
        files = ngettext("%(n)d file", "%(n)d files", self.count) % {"n": self.count}
        if self.lacking:
            sentence = _(
                "%(files)s for %(spec)s would take another's name, such as %(name)s of %(both)s: "
                "add {%(lacking)s} to the file name “%(pattern)s”."
            )
        else:
            sentence = _(
                "%(files)s for %(spec)s would take another's name, such as %(name)s of %(both)s: "
                "what differs between them is lost in a file's name."
            )
        return sentence % {**asdict(self), "files": files, "both": both}


class FileNames:
    """Collect the file names of one run and find equal ones; upper and lower case are not distinguished.

    `{variation}` stands for the axis values. Of an image, only one candidate is delivered, so they share a name.
    """

    def __init__(self, request: PlanRequest) -> None:
        # Sandbox images are never delivered, so their file names may be equal.
        groups = request.groups if request.stage != Stage.SANDBOX else ()
        shared_values = {"brand": request.campaign.brand.slug, "campaign": request.campaign.slug, **_SAME_FOR_ALL}
        self._name: dict[int, Callable[[Mapping[str, object]], str]] = {
            spec.pk: names.make_namer(
                spec.name_pattern,
                image_format=spec.image_format,
                fixed={**shared_values, "asset_type": spec.asset_type, "spec": spec.slug},
            )
            for group in groups
            for spec in group.specs
        }
        #: Hash of a name -> (SKU, spec) of the first file with it. Hashes keep this small for 100,000 files.
        self._taken: dict[int, tuple[str, str]] = {}
        self.collisions: dict[str, Collision] = {}

    def add(self, draft: Draft) -> None:
        """Count the draft's files, one per output spec of its aspect."""
        sku = draft.subject.key
        values = {"sku": sku, "variation": "-".join([str(value) for value in draft.values.values()])}
        for spec in draft.group.specs:
            if spec.pk not in self._name:
                continue
            name = self._name[spec.pk](values)
            identity = hash(name.casefold())
            if identity in self._taken:
                self._note(spec, name, sku, *self._taken[identity])
            else:
                self._taken[identity] = (sku, spec.slug)

    def _note(self, spec: OutputSpec, name: str, sku: str, other: str, other_spec: str) -> None:
        if collision := self.collisions.get(spec.slug):
            collision.count += 1
            return
        differs = "sku" if sku != other else "spec" if spec.slug != other_spec else "variation"
        lacking = "" if differs in names.fields_of(spec.name_pattern) else differs
        self.collisions[spec.slug] = Collision(spec.slug, spec.name_pattern, name, 1, sku, other, lacking)
