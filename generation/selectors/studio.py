"""Data of the studio: the progress of a try-out, the person's earlier try-outs, and examples to begin with."""

from __future__ import annotations

from collections import defaultdict
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
from generation.choices import SEED_AXIS, AttemptOutcome, JobState, RunState, Stage
from generation.models import AssetVersion, Attempt, Job, Run
from generation.selectors import budgets, lanes
from generation.selectors.endpoints import Offer

SHOWN = 12
EXAMPLES = 6
#: Images of one endpoint that are considered as examples, and how many of them are shown.
LOOKED_AT, OF_ONE = 24, 4
#: Example prompts for a brand that has not made anything yet.
EXAMPLE_PROMPTS = (
    "a stoneware mug on an oak table, soft window light",
    "an empty marble table, soft light from the left, seen from the front",
    "a tall glass vase on a plain grey backdrop, one hard light from the right",
)
WAITING = (JobState.QUEUED, JobState.HELD)
UNDERWAY = (*WAITING, JobState.RUNNING, JobState.WAITING)


@dataclass(frozen=True)
class Image:
    """One image of a try-out. version_id: None until it is made. step of steps: 0 of 0 if the engine does not report
    them. elapsed: seconds since its worker began. problem: why there is no image; cause: the kind of problem."""

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
        """Return the steps per second, None before the second step."""
        return self.step / self.elapsed if self.step > 1 and self.elapsed > 0 else None

    @property
    def share(self) -> float:
        if not self.is_underway:
            return 1.0
        return self.step / self.steps if self.steps else 0.0


@dataclass(frozen=True)
class Result:
    """The state of one try-out. ahead: images of others that are queued before it. seconds_left: an estimate, None
    while unknown. has_worker: a live worker serves its lane. seconds: from its release to its end, None before."""

    run: Run
    images: Sequence[Image]
    ahead: int
    has_worker: bool
    seconds_left: float | None
    seconds: float | None

    @property
    def is_underway(self) -> bool:
        return self.run.state in (RunState.RUNNING, RunState.PLANNED, RunState.PAUSED)

    @property
    def made(self) -> int:
        return sum(image.version_id is not None for image in self.images)

    @property
    def percent(self) -> int:
        return round(100 * sum(image.share for image in self.images) / len(self.images)) if self.images else 0

    @property
    def running_image(self) -> Image | None:
        """Return the image that is being made; of several the one with the most progress."""
        running = [image for image in self.images if image.is_running]
        return max(running, key=lambda image: image.share, default=None)

    @property
    def failed(self) -> Image | None:
        return next((image for image in self.images if image.problem and not image.is_underway), None)

    @property
    def obeys_seed(self) -> bool:
        return SEED_AXIS in self.run.definition["rows"][0]


@dataclass(frozen=True)
class HistoryEntry:
    """One try-out of the history: its images as asset version ids."""

    run: Run
    images: tuple[int, ...]

    @property
    def size(self) -> str:
        return str(self.run.definition["rows"][0].get("size", "")).replace("x", " × ")


@dataclass(frozen=True)
class Example:
    """An image that the brand has made, and its prompt. version_id: None for a prompt without an image."""

    words: str
    version_id: int | None = None
    disclaimer: str = ""
    endpoint: str = ""


@dataclass(frozen=True)
class MoneyLeft:
    """The money that try-outs may still cost. is_of_month: from the brand's month, else from the sandbox's budget."""

    amount: Decimal
    is_of_month: bool


def load_result(run: Run) -> Result:
    """Return the state of a try-out. The caller has checked that the person may see it. Four queries at most."""
    started = Attempt.objects.filter(job=OuterRef("pk"), outcome=AttemptOutcome.RUNNING).order_by("-number")
    rows = Job.objects.filter(run=run).annotate(began_at=Subquery(started.values("started_at")[:1]))
    rows = rows.select_related("frozen", "version").order_by("cell__position", "frozen__candidate")
    now = timezone.now()
    images = [_image(job, now) for job in rows]
    ahead, has_worker = 0, True
    if run.state == RunState.RUNNING and images:
        if queued_ids := [image.job_id for image in images if image.status == JobState.QUEUED]:
            queued = Job.objects.filter(lane=run.endpoint.lane, status=JobState.QUEUED, pk__lt=min(queued_ids))
            ahead = queued.count()
        has_worker = lanes.live_workers(run.endpoint.lane) > 0
    ended = run.finished_at - run.released_at if run.finished_at and run.released_at else None
    left = _seconds_left(images, run.endpoint.seconds_per_image, ahead)
    return Result(run, images, ahead, has_worker, left, ended.total_seconds() if ended else None)


def load_history(user: User, brand: Brand, *, before: int | None = None) -> list[HistoryEntry]:
    """Return the person's own try-outs in the studio, newest first, older than run `before`. Two queries."""
    rows = Run.objects.visible_to(user).filter(campaign__brand=brand, campaign__is_sandbox=True, requested_by=user)
    # Contact sheets are revealed only after the vote.
    rows = rows.filter(prompt_version__template__studio__isnull=False, comparison_column=None)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    listed = list(rows.select_related("prompt_version__style", "endpoint").order_by("-id")[:SHOWN])
    images: defaultdict[int, list[int]] = defaultdict(list)
    versions = AssetVersion.objects.filter(asset__cell__run__in=listed).order_by("asset__cell__position", "pk")
    for run_id, version_id in versions.values_list("asset__cell__run_id", "pk"):
        images[run_id].append(version_id)
    return [HistoryEntry(run, tuple(images[run.pk])) for run in listed]


def money_left(brand: Brand) -> MoneyLeft | None:
    """Return the money that is left for try-outs, the smaller of two budgets; None without a budget."""
    amounts: list[tuple[Decimal | None, bool]] = []
    if brand.monthly_budget is not None:
        amounts.append((budgets.month_status(brand).left, True))
    if sandbox := Campaign.objects.filter(brand=brand, is_sandbox=True, budget__isnull=False).first():
        amounts.append((budgets.status(sandbox).left, False))
    limits = [MoneyLeft(max(left, Decimal(0)), is_of_month) for left, is_of_month in amounts if left is not None]
    return min(limits, key=lambda limit: limit.amount, default=None)


def examples(user: User, brand: Brand, offers: Sequence[Offer]) -> list[Example]:
    """Return the prompts of images that the brand has made, else EXAMPLE_PROMPTS. Two queries per endpoint."""
    made_examples: list[Example] = []
    for offer in offers:
        if offer.capabilities is None or len(made_examples) >= EXAMPLES:
            continue
        newest: dict[str, int] = {}
        for version in _made_by(user, brand, offer):
            newest.setdefault(str(version.job.frozen.spec.get("prompt", "")), version.pk)
        most = OF_ONE if offer.capabilities.obeys_prompt else EXAMPLES - OF_ONE
        for words, version_id in list(newest.items())[:most]:
            made_examples.append(Example(words, version_id, offer.endpoint.disclaimer, offer.endpoint.name))
    if not made_examples and any(offer.capabilities and offer.capabilities.obeys_prompt for offer in offers):
        return [Example(words) for words in EXAMPLE_PROMPTS]
    return made_examples[:EXAMPLES]


def load_last_settings(user: User, brand: Brand, offer: Offer) -> Mapping[str, Any]:
    """Return the settings of the endpoint's latest image of this brand, to begin with. Two queries."""
    latest = _made_by(user, brand, offer)[:1]
    parameters: Mapping[str, Any] = latest[0].job.frozen.spec.get("parameters", {}) if latest else {}
    return parameters


def find_example(user: User, brand: Brand, version_id: int) -> AssetVersion | None:
    """Return a generated image with everything that was frozen for it, None if there is none."""
    rows = AssetVersion.objects.visible_to(user).filter(pk=version_id, asset__brand=brand, job__isnull=False)
    version: AssetVersion | None = rows.select_related("job__frozen", "job__endpoint", "asset__subject").first()
    return version


def products(user: User, brand: Brand, words: str, *, limit: int = 12) -> QuerySet[Any]:
    """Return active subjects with a ready photo whose key or name contains every word, by key, with their photos."""
    ready = ReferencePhoto.objects.filter(status=PhotoStatus.READY, subject__brand=brand).values("subject_id")
    rows = subjects.visible(user, brand, words=words).filter(pk__in=ready)
    return rows.prefetch_related(subjects.prefetch_photos())[:limit]


def default_photo(subject: Subject) -> ReferencePhoto | None:
    """Return the photo that planning uses where none is named: the first with a cut-out, else the first."""
    ready = [photo for photo in subject.photos.all() if photo.status == PhotoStatus.READY]
    cut = [photo for photo in ready if any(cutout.is_accepted for cutout in photo.cutouts.all())]
    return next(iter([*cut, *ready]), None)


def _made_by(user: User, brand: Brand, offer: Offer) -> list[Any]:
    succeeded = Attempt.objects.filter(endpoint=offer.endpoint, outcome=AttemptOutcome.SUCCEEDED)
    latest = succeeded.filter(job__campaign__brand=brand).exclude(job__run__stage=Stage.SANDBOX).order_by("-id")
    job_ids = list(latest.values_list("job_id", flat=True)[:LOOKED_AT])
    rows = AssetVersion.objects.visible_to(user).filter(job__in=job_ids, asset__is_sandbox=False)
    return list(rows.select_related("job__frozen").order_by("-pk"))


def _image(job: Any, now: datetime) -> Image:
    spec: Mapping[str, Any] = job.frozen.spec
    version = getattr(job, "version", None)
    elapsed = (now - job.began_at).total_seconds() if job.began_at else 0.0
    cause = None
    if job.status in (JobState.FAILED, JobState.QUARANTINED):
        cause = causes.find_cause(status=job.status, error_kind=job.error_kind, message=job.error)
    return Image(
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
        problem=job.error,
        cause=cause,
    )


def _seconds_left(images: Sequence[Image], seconds_each: float, ahead: int) -> float | None:
    """Estimate the seconds that are left: by its own rate for a running image, by the endpoint's mean for a queued one.
    None if an image takes longer than the mean and does not report its progress."""
    if not any(image.is_underway for image in images):
        return None
    rests = []
    for image in images:
        if image.is_running:
            remaining = (image.steps - image.step) / image.rate if image.rate else seconds_each - image.elapsed
            if remaining <= 0 and not image.rate:
                return None
            rests.append(remaining)
    waiting_count = sum(image.status in WAITING for image in images)
    return (waiting_count + ahead) * seconds_each + max(rests, default=0.0)
