"""Try-outs: their progress in the studio, earlier ones, examples to begin with, and images of prompt versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.choices import PhotoStatus
from campaigns.models import Campaign, PromptTemplate, PromptVersion, ReferencePhoto, Subject
from campaigns.selectors import subjects
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation import causes
from generation.choices import SEED_AXIS, AssetState, AttemptOutcome, JobState, RunState, Stage
from generation.models import Asset, AssetVersion, Attempt, Job, Run
from generation.selectors import budgets, endpoints, images
from generation.selectors.endpoints import Offer

#: Try-outs that the studio and the prompt editor list, and their images together.
SHOWN, SHOWN_OF_PROMPT, MAX_IMAGES = 12, 8, 200
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
    """One image of a try-out: its job with spec and version. elapsed: seconds since its worker began."""

    job: Job
    elapsed: float

    @property
    def spec(self) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = self.job.frozen.spec
        return spec

    @property
    def version(self) -> AssetVersion | None:
        return getattr(self.job, "version", None)

    @property
    def cause(self) -> causes.Cause | None:
        """Return the kind of problem for which there is no image."""
        job = self.job
        if job.status not in (JobState.FAILED, JobState.QUARANTINED):
            return None
        return causes.find_cause(status=job.status, error_kind=job.error_kind, message=job.error)

    @property
    def is_underway(self) -> bool:
        return self.job.status in UNDERWAY

    @property
    def is_running(self) -> bool:
        return self.job.status in (JobState.RUNNING, JobState.WAITING)

    @property
    def rate(self) -> float | None:
        """Return the steps per second, None before the second step."""
        return self.job.step / self.elapsed if self.job.step > 1 and self.elapsed > 0 else None

    @property
    def share(self) -> float:
        """Return the part that is done; 0 if the engine does not report its steps."""
        if not self.is_underway:
            return 1.0
        return self.job.step / self.job.steps if self.job.steps else 0.0


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
        return sum(image.version is not None for image in self.images)

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
        return next((image for image in self.images if image.job.error and not image.is_underway), None)

    @property
    def obeys_seed(self) -> bool:
        return SEED_AXIS in self.run.definition["rows"][0]


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
class TryOut:
    """One try-out with its images (asset version ids)."""

    run: Run
    images: Sequence[int]

    @property
    def size(self) -> str:
        """Return the size of a try-out of the studio."""
        return str(self.run.definition["rows"][0].get("size", "")).replace("x", " × ")


def load_result(run: Run) -> Result:
    """Return the state of a try-out. The caller has checked that the person may see it. Four queries at most."""
    started = Attempt.objects.filter(job=OuterRef("pk"), outcome=AttemptOutcome.RUNNING).order_by("-number")
    rows = Job.objects.filter(run=run).annotate(began_at=Subquery(started.values("started_at")[:1]))
    rows = rows.select_related("frozen", "version").order_by("cell__position", "frozen__candidate")
    now = timezone.now()
    images = [Image(job, (now - job.began_at).total_seconds() if job.began_at else 0.0) for job in rows]
    ahead, has_worker = 0, True
    if run.state == RunState.RUNNING and images:
        if queued_ids := [image.job.pk for image in images if image.job.status == JobState.QUEUED]:
            queued = Job.objects.filter(lane=run.endpoint.lane, status=JobState.QUEUED, pk__lt=min(queued_ids))
            ahead = queued.count()
        has_worker = endpoints.live_workers(run.endpoint.lane) > 0
    ended = run.finished_at - run.released_at if run.finished_at and run.released_at else None
    left = _seconds_left(images, run.endpoint.seconds_per_image, ahead)
    return Result(run, images, ahead, has_worker, left, ended.total_seconds() if ended else None)


def load_history(user: User, brand: Brand, *, before: int | None = None) -> list[TryOut]:
    """Return the person's own try-outs in the studio, newest first, older than run `before`. Two queries."""
    rows = Run.objects.visible_to(user).filter(campaign__brand=brand, campaign__is_sandbox=True, requested_by=user)
    # Contact sheets are revealed only after the vote.
    rows = rows.filter(prompt_version__template__studio__isnull=False, comparison_column=None)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    return with_images(rows.select_related("prompt_version__style", "endpoint").order_by("-id")[:SHOWN])


def money_left(brand: Brand) -> dict[str, Any] | None:
    """Return the "amount" that try-outs may still cost, the smaller of two budgets, and whether it "is_of_month" or of
    the sandbox; None without a budget."""
    month = budgets.month_status(brand) if brand.monthly_budget is not None else None
    sandbox = Campaign.objects.filter(brand=brand, is_sandbox=True, budget__isnull=False).first()
    limits: list[dict[str, Any]] = []
    for status, is_of_month in ((month, True), (budgets.status(sandbox) if sandbox else None, False)):
        if status is not None and status.left is not None:
            limits.append({"amount": max(status.left, Decimal(0)), "is_of_month": is_of_month})
    return min(limits, key=lambda limit: limit["amount"], default=None)


def examples(user: User, brand: Brand, offers: Sequence[Offer]) -> list[dict[str, Any]]:
    """Return images that the brand has made, each with its prompt ("words"), "version_id", "endpoint" and "disclaimer";
    without any, the EXAMPLE_PROMPTS. Two queries per endpoint."""
    made_examples: list[dict[str, Any]] = []
    for offer in offers:
        if offer.capabilities is None or len(made_examples) >= EXAMPLES:
            continue
        newest: dict[str, int] = {}
        for version in _made_by(user, brand, offer):
            newest.setdefault(str(version.job.frozen.spec.get("prompt", "")), version.pk)
        most = OF_ONE if offer.capabilities.obeys_prompt else EXAMPLES - OF_ONE
        made_by = {"endpoint": offer.endpoint.name, "disclaimer": offer.endpoint.disclaimer}
        for words, version_id in list(newest.items())[:most]:
            made_examples.append({"words": words, "version_id": version_id, **made_by})
    if not made_examples and any(offer.capabilities and offer.capabilities.obeys_prompt for offer in offers):
        return [{"words": words} for words in EXAMPLE_PROMPTS]
    return made_examples[:EXAMPLES]


def load_last_settings(user: User, brand: Brand, offer: Offer) -> Mapping[str, Any]:
    """Return the settings of the endpoint's latest image of this brand, to begin with. Two queries."""
    latest = _made_by(user, brand, offer)[:1]
    parameters: Mapping[str, Any] = latest[0].job.frozen.spec.get("parameters", {}) if latest else {}
    return parameters


def get_example(user: User, brand: Brand, version_id: int) -> AssetVersion:
    """Return a generated image with everything that was frozen for it. Raises NotFound."""
    rows = AssetVersion.objects.visible_to(user).filter(pk=version_id, asset__brand=brand, job__isnull=False)
    rows = rows.select_related("job__frozen", "job__endpoint", "asset__subject")
    version: AssetVersion = first_or_refuse(rows, _("This image is not there, or nobody knows how it was made."))
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


def _seconds_left(images: Sequence[Image], seconds_each: float, ahead: int) -> float | None:
    """Estimate the seconds that are left: by its own rate for a running image, by the endpoint's mean for a queued one.
    None if an image takes longer than the mean and does not report its progress."""
    if not any(image.is_underway for image in images):
        return None
    rests = []
    for image in images:
        if image.is_running:
            remaining = (image.job.steps - image.job.step) / image.rate if image.rate else seconds_each - image.elapsed
            if remaining <= 0 and not image.rate:
                return None
            rests.append(remaining)
    waiting_count = sum(image.job.status in WAITING for image in images)
    return (waiting_count + ahead) * seconds_each + max(rests, default=0.0)


def last_images(version: PromptVersion, subject_ids: Sequence[int]) -> dict[int, LastImage]:
    """Return the newest image of this version by subject id, at any stage. Two queries. The caller has checked that the
    person may see the version and the subjects."""
    made = AssetVersion.objects.filter(asset__subject__in=subject_ids, asset__cell__run__prompt_version=version)
    made = made.order_by("asset__subject_id", "-asset_id", "-round", "candidate").distinct("asset__subject_id")
    image_columns = ("pk", "asset_id", "asset__is_sandbox", "created_at", images.DISCLAIMER_OF_VERSION)
    newest = made.values_list("asset__subject_id", "asset__cell__axis_values", *image_columns)
    images_by_subject = {subject_id: image for subject_id, *image in newest}
    assets = Asset.objects.filter(subject__in=subject_ids, cell__run__prompt_version=version)
    assets = assets.order_by("subject_id", "-pk").distinct("subject_id")
    error = Job.objects.filter(cell=OuterRef("cell")).exclude(error="").order_by("-pk").values("error")[:1]
    latest = assets.values_list("subject_id", "state", "cell__run__state", Subquery(error))
    states_by_subject = {subject_id: states for subject_id, *states in latest}
    last = {}
    for subject_id in subject_ids:
        axes, *image = images_by_subject.get(subject_id, ({},))
        values = ", ".join(str(value) for value in axes.values())
        state, run_state, error_text = states_by_subject.get(subject_id, ("", "", ""))
        is_making = state == AssetState.MAKING and run_state == RunState.RUNNING
        problem = (error_text or _("It could not be made.")) if state == AssetState.FAILED else ""
        last[subject_id] = LastImage(subject_id, values, is_making, problem, *image)
    return last


def list_tryouts(user: User, template: PromptTemplate) -> list[TryOut]:
    """Return the latest try-outs of all versions of a prompt, newest first. Two queries."""
    rows = Run.objects.visible_to(user).filter(prompt_version__template=template, stage=Stage.SANDBOX)
    return with_images(
        rows.select_related("prompt_version__template", "endpoint", "requested_by").order_by("-id")[:SHOWN_OF_PROMPT]
    )


def with_images(runs: Iterable[Run]) -> list[TryOut]:
    """Return the runs with their images, at most MAX_IMAGES of all together. Two queries."""
    images: dict[int, list[int]] = {run.pk: [] for run in runs}
    versions = AssetVersion.objects.filter(asset__cell__run__in=images)
    versions = versions.order_by("asset__cell__position", "-round", "candidate")
    for run_id, version_id in versions.values_list("asset__cell__run_id", "pk")[:MAX_IMAGES]:
        images[run_id].append(version_id)
    return [TryOut(run, images[run.pk]) for run in runs]


def has_running_tryout(version: PromptVersion) -> bool:
    return Run.objects.filter(prompt_version=version, stage=Stage.SANDBOX, state=RunState.RUNNING).exists()
