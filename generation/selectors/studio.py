"""Data of the studio: how far a try is, the person's earlier tries, and examples to begin with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone

from campaigns.choices import PhotoStatus
from campaigns.models import Campaign, ReferencePhoto, Subject
from campaigns.selectors import subjects
from core.models import Brand, User
from generation import causes
from generation.axes import SEED_AXIS
from generation.choices import AttemptOutcome, JobState, RunState, Stage
from generation.models import AssetVersion, Attempt, Job, Run
from generation.selectors import budgets, lanes
from generation.selectors.endpoints import Offer

SHOWN = 12
EXAMPLES = 6
#: Pictures of one endpoint that are looked at for examples, and how many of it are shown.
LOOKED_AT, OF_ONE = 24, 4
#: What a studio can be asked before its brand has made anything.
FIRST_WORDS = (
    "a stoneware mug on an oak table, soft window light",
    "an empty marble table, soft light from the left, seen from the front",
    "a tall glass vase on a plain grey backdrop, one hard light from the right",
)
WAITING = (JobState.QUEUED, JobState.HELD)
UNDERWAY = (*WAITING, JobState.RUNNING, JobState.WAITING)


@dataclass(frozen=True)
class Picture:
    """One picture of a try. version_id: None until it is made. step of steps: 0 of 0 where the engine does not say.
    elapsed: seconds since its worker began. problem: why there is none; cause: what kind of trouble it is."""

    job_id: int
    seed: int
    width: int
    height: int
    status: str
    version_id: int | None = None
    asset_id: int | None = None
    step: int = 0
    steps: int = 0
    elapsed: float = 0.0
    problem: str = ""
    cause: causes.Cause | None = None

    @property
    def is_underway(self) -> bool:
        return self.status in UNDERWAY

    @property
    def is_running(self) -> bool:
        return self.status in (JobState.RUNNING, JobState.WAITING)

    @property
    def rate(self) -> float | None:
        """Steps a second, None before the second step."""
        return self.step / self.elapsed if self.step > 1 and self.elapsed > 0 else None

    @property
    def share(self) -> float:
        """0–1: how much of it is done."""
        if not self.is_underway:
            return 1.0
        return self.step / self.steps if self.steps else 0.0


@dataclass(frozen=True)
class Result:
    """One try as it stands. ahead: pictures of others that wait before it. seconds_left: about, None while unknown.
    has_worker: somebody alive serves its lane. seconds: from its release to its end, None before."""

    run: Run
    pictures: Sequence[Picture]
    ahead: int
    has_worker: bool
    seconds_left: float | None
    seconds: float | None

    @property
    def is_underway(self) -> bool:
        return self.run.state in (RunState.RUNNING, RunState.PLANNED, RunState.PAUSED)

    @property
    def made(self) -> int:
        return sum(one.version_id is not None for one in self.pictures)

    @property
    def percent(self) -> int:
        return round(100 * sum(one.share for one in self.pictures) / len(self.pictures)) if self.pictures else 0

    @property
    def now(self) -> Picture | None:
        """The picture that is being made, the furthest of several."""
        return max((one for one in self.pictures if one.is_running), key=lambda one: one.share, default=None)

    @property
    def failed(self) -> Picture | None:
        return next((one for one in self.pictures if one.problem and not one.is_underway), None)

    @property
    def heeds_seed(self) -> bool:
        return SEED_AXIS in self.run.definition["rows"][0]

    @property
    def first(self) -> Picture | None:
        return self.pictures[0] if self.pictures else None


@dataclass(frozen=True)
class Earlier:
    """One try of the history: its first pictures as asset version ids. size: "512 × 640"."""

    run: Run
    pictures: tuple[int, ...]
    size: str


@dataclass(frozen=True)
class Example:
    """A picture that was made here, and the words that made it. version_id: None for words without a picture."""

    words: str
    version_id: int | None = None
    caution: str = ""
    endpoint: str = ""


@dataclass(frozen=True)
class Left:
    """Money that tries may still cost. is_of_month: of the brand's month, else of the sandbox's own budget."""

    amount: Decimal
    is_of_month: bool


def result(run: Run) -> Result:
    """Return how far a try is. The caller has shown that the person may know of it. Four queries at most."""
    started = Attempt.objects.filter(job=OuterRef("pk"), outcome=AttemptOutcome.RUNNING).order_by("-number")
    rows = (
        Job.objects.filter(run=run).select_related("frozen", "version").order_by("cell__position", "frozen__candidate")
    )
    now = timezone.now()
    pictures = [_picture(job, now) for job in rows.annotate(began_at=Subquery(started.values("started_at")[:1]))]
    ahead, has_worker = 0, True
    if run.state == RunState.RUNNING and pictures:
        waits = [one.job_id for one in pictures if one.status == JobState.QUEUED]
        queued = Job.objects.filter(lane=run.endpoint.lane, status=JobState.QUEUED, pk__lt=min(waits or [0]))
        ahead = queued.count() if waits else 0
        has_worker = lanes.live_workers(run.endpoint.lane) > 0
    ended = run.finished_at - run.released_at if run.finished_at and run.released_at else None
    left = _seconds_left(pictures, run.endpoint.seconds_per_image, ahead)
    return Result(run, pictures, ahead, has_worker, left, ended.total_seconds() if ended else None)


def earlier(user: User, brand: Brand, *, before: int | None = None) -> list[Earlier]:
    """The person's own tries in the studio, newest first, older than run `before`. Two queries."""
    rows = tries(user, brand).filter(requested_by=user).order_by("-id")
    if before is not None:
        rows = rows.filter(pk__lt=before)
    listed = list(rows[:SHOWN])
    pictures: dict[int, list[int]] = {}
    made = AssetVersion.objects.filter(asset__cell__run__in=listed).order_by("asset__cell__position", "pk")
    for run_id, version_id in made.values_list("asset__cell__run_id", "pk"):
        pictures.setdefault(run_id, []).append(version_id)
    return [Earlier(run, tuple(pictures.get(run.pk, ())), _size(run)) for run in listed]


def money_left(brand: Brand) -> Left | None:
    """Return what the budgets that a try counts against have left, the smaller of two; None without a budget."""
    found = []
    if brand.monthly_budget is not None:
        found.append((budgets.month(brand), True))
    sandbox = Campaign.objects.filter(brand=brand, is_sandbox=True, budget__isnull=False).first()
    if sandbox is not None:
        found.append((budgets.standing(sandbox), False))
    limits = [Left(max(one.left, Decimal(0)), is_of_month) for one, is_of_month in found if one.left is not None]
    return min(limits, key=lambda one: one.amount, default=None)


def tries(user: User, brand: Brand) -> QuerySet[Any]:
    """Everybody's runs of free words, with words, style and endpoint; not those of contact sheets, which are told only
    after the vote."""
    rows = Run.objects.visible_to(user).filter(
        campaign__brand=brand,
        campaign__is_sandbox=True,
        prompt_version__template__studio__isnull=False,
        comparison_column=None,
    )
    return rows.select_related("prompt_version__style", "endpoint")


def examples(user: User, brand: Brand, offers: Sequence[Offer]) -> list[Example]:
    """Words to begin with: of pictures that this brand's endpoints made, else plain ones. One query per endpoint."""
    found: list[Example] = []
    for offer in offers:
        if offer.capabilities is None or len(found) >= EXAMPLES:
            continue
        seen: set[str] = set()
        for version in _made_by(user, brand, offer):
            words = str(version.job.frozen.spec.get("prompt", ""))
            if words in seen or len(seen) >= (OF_ONE if offer.capabilities.obeys_prompt else EXAMPLES - OF_ONE):
                continue
            seen.add(words)
            found.append(Example(words, version.pk, offer.endpoint.caution, offer.endpoint.name))
    if not found and any(one.capabilities and one.capabilities.obeys_prompt for one in offers):
        return [Example(words) for words in FIRST_WORDS]
    return found[:EXAMPLES]


def usual(user: User, brand: Brand, offer: Offer) -> Mapping[str, Any]:
    """The settings that the endpoint's latest picture of this brand was made with, to begin with. Two queries."""
    latest = _made_by(user, brand, offer)[:1]
    found: Mapping[str, Any] = latest[0].job.frozen.spec.get("parameters", {}) if latest else {}
    return found


def example(user: User, brand: Brand, version_id: int) -> AssetVersion | None:
    """A made picture with everything that was frozen for it."""
    rows = AssetVersion.objects.visible_to(user).filter(pk=version_id, asset__brand=brand, job__isnull=False)
    found: AssetVersion | None = rows.select_related("job__frozen", "job__endpoint", "asset__subject").first()
    return found


def products(user: User, brand: Brand, words: str, *, limit: int = 12) -> QuerySet[Any]:
    """Active subjects with a ready photo whose key or name holds every word, by key, with their photos."""
    ready = ReferencePhoto.objects.filter(status=PhotoStatus.READY, subject__brand=brand).values("subject_id")
    return subjects.visible(user, brand, words=words).filter(pk__in=ready).prefetch_related(subjects.photos())[:limit]


def photo_of(subject: Subject) -> ReferencePhoto | None:
    """The photo that planning takes where none is named: the front with a cut-out, else the first."""
    ready = [one for one in subject.photos.all() if one.status == PhotoStatus.READY]
    cut = [one for one in ready if any(cutout.is_accepted for cutout in one.cutouts.all())]
    return next(iter([*cut, *ready]), None)


def _made_by(user: User, brand: Brand, offer: Offer) -> list[Any]:
    latest = (
        Attempt.objects.filter(endpoint=offer.endpoint, outcome=AttemptOutcome.SUCCEEDED, job__campaign__brand=brand)
        .exclude(job__run__stage=Stage.SANDBOX)
        .order_by("-id")
        .values_list("job_id", flat=True)[:LOOKED_AT]
    )
    rows = AssetVersion.objects.visible_to(user).filter(job__in=list(latest), asset__is_sandbox=False)
    return list(rows.select_related("job__frozen").order_by("-pk"))


def _picture(job: Any, now: datetime) -> Picture:
    spec: Mapping[str, Any] = job.frozen.spec
    version = getattr(job, "version", None)
    elapsed = (now - job.began_at).total_seconds() if job.began_at else 0.0
    ended = job.status in (JobState.FAILED, JobState.QUARANTINED)
    return Picture(
        job_id=job.pk,
        seed=spec["seed"],
        width=spec["width"],
        height=spec["height"],
        status=job.status,
        version_id=version.pk if version else None,
        asset_id=version.asset_id if version else None,
        step=job.step,
        steps=job.steps,
        elapsed=elapsed,
        problem=job.error if ended or job.error else "",
        cause=causes.of(status=job.status, error_kind=job.error_kind, message=job.error) if ended else None,
    )


def _seconds_left(pictures: Sequence[Picture], each: float, ahead: int) -> float | None:
    """About: what runs by its own rate, what waits by the endpoint's mean; None for what takes longer than that mean
    and does not say how far it is."""
    if not any(one.is_underway for one in pictures):
        return None
    rests = []
    for one in pictures:
        if one.is_running:
            rest = (one.steps - one.step) / one.rate if one.rate else each - one.elapsed
            if rest <= 0 and not one.rate:
                return None
            rests.append(rest)
    waits = sum(one.status in WAITING for one in pictures)
    return (waits + ahead) * each + max(rests, default=0.0)


def _size(run: Run) -> str:
    return str(run.definition["rows"][0].get("size", "")).replace("x", " × ")
