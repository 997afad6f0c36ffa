"""Make six weeks of an earlier campaign with the real services, under a clock that is set back.

Everything goes through the services: images are generated, checked, reviewed and delivered as usual, only dated
earlier, so the audit trail verifies. The problems that the reviewer names can be seen in the images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any

import cv2
import numpy as np
from django.utils import timezone

from campaigns.choices import SubjectKind
from campaigns.models import Campaign, Cutout, PromptVersion, Subject
from campaigns.services import campaigns, prompts
from campaigns.services.campaigns import SpecInput
from core import clock, stored_files
from core.choices import Lane, Role
from core.models import Brand, User
from core.services import audit, notices
from generation.choices import JobState, Stage
from generation.engines.base import Pixels
from generation.models import AssetVersion, Endpoint, Job, Run
from generation.services import runs
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from generation.workers import lane as lanes
from generation.workers import product
from review import pins
from review.models import ReviewTask
from review.services import consequences, decisions, deliveries, queue

WEEKS = 6
CAMPAIGN = "summer-table"
#: CIELAB distance between a product and its background below which the product is hard to see.
MIN_SEPARATION = 20.0
#: Mistakes that no measurement shows, but that a person who knows the products sees.
KNOWN_ERRORS = {
    "KM-VAS-01": ("wrong-colour", "The feed says sage; the vase is teal."),
    "KM-BWL-04": ("wrong-product", "This is the single noodle bowl; the set has two."),
}
SECONDS_PER_DECISION = 9
#: The roles of the people who take part.
ROLES = (Role.CAMPAIGN_MANAGER, Role.DESIGNER, Role.REVIEWER, Role.LEAD)

DARK = {
    "text": "Moody packshot of the {name} in {colour} {material} on deep {backdrop}, hard light from the left.",
    "axes": {"backdrop": ["moss", "charcoal"]},
    "parameters": {"backdrop": "{backdrop}", "light": "hard left", "fill": 0.92},
}
LIGHT = {
    "text": "The {name} in {colour} {material}, as photographed, on plain {backdrop}; soft light, a short shadow.",
    "axes": {"backdrop": ["white", "sand"]},
    "parameters": {"backdrop": "{backdrop}", "light": "left"},
}
DARK_PILOT = (
    "BTL-03 BWL-02 BWL-03 BWL-04 JAR-01 LMP-01 MUG-01 MUG-02 MUG-03 PLT-02 PLT-03 TEA-01 TEA-02 TEA-03 VAS-01 VAS-02 "
    "VAS-03 VAS-04"
)
LIGHT_PILOT = "BTL-03 BWL-02 BWL-03 JAR-01 MUG-01 MUG-02 PLT-02 TEA-01 VAS-01 VAS-02"
LIGHT_FULL = "BTL-01 BTL-02 BWL-04 JAR-02 JAR-03 LMP-01 LMP-02 LMP-03 MUG-03 MUG-04 PLT-03 TEA-02 TEA-03 VAS-03 VAS-04"


def campaign_start(now: datetime | None = None) -> datetime:
    """Return the start of the campaign: Monday at nine o'clock, six weeks ago."""
    day = timezone.localdate(now or timezone.now()) - timedelta(weeks=WEEKS)
    monday = day - timedelta(days=day.weekday())
    return timezone.make_aware(datetime.combine(monday, time(9)))


def has_history(brand: Brand) -> bool:
    return Campaign.objects.filter(brand=brand, slug=CAMPAIGN).exists()


def make(*, brand: Brand, people: Mapping[Role, User], endpoint: Endpoint) -> Campaign:
    """Make the whole campaign for a brand that has products and photos but no images yet.

    people: a person of the brand for each of ROLES. The audit trail is sealed at the end.
    """
    builder = _HistoryBuilder(brand, people, endpoint, campaign_start())
    builder.worker.start()
    try:
        return builder.build()
    finally:
        builder.worker.stop()
        audit.seal(brand.pk, limit=1_000_000)


class _HistoryBuilder:
    def __init__(self, brand: Brand, people: Mapping[Role, User], endpoint: Endpoint, start: datetime) -> None:
        self.brand, self.endpoint, self.start = brand, endpoint, start
        self.manager, self.designer, self.reviewer, self.lead = (people[role] for role in ROLES)
        self.worker = lanes.LaneWorker("studio-at-the-time", [Lane.CPU])

    def clock_at(self, day: int, hour: int, minute: int = 0) -> Any:
        """Set the clock to that hour, `day` days after the start."""
        return clock.at(self.start + timedelta(days=day, hours=hour - 9, minutes=minute))

    def build(self) -> Campaign:
        with self.clock_at(1, 10):
            campaign = self._brief()
        with self.clock_at(1, 15):
            template = prompts.create_template(
                brand=self.brand, slug="summer-packshot", name="Summer packshot", by=self.designer
            )
            dark = prompts.add_version(template_id=template.pk, by=self.designer, **_version(DARK))
        with self.clock_at(3, 9, 30):
            pilot = self._run(campaign, dark, Stage.PILOT, "Pilot, dark", DARK_PILOT)
        self._review(day=3, hour=14, revise_up_to=4)
        with self.clock_at(4, 8):
            self._work(pilot)  # the images for which changes were requested
        self._review(day=4, hour=11)
        with self.clock_at(9, 11):
            light = prompts.add_version(template_id=template.pk, by=self.designer, **_version(LIGHT))
        with self.clock_at(10, 10):
            prompts.approve_version(version_id=light.pk, by=self.lead)
        with self.clock_at(11, 9):
            self._run(campaign, light, Stage.PILOT, "Pilot, light", LIGHT_PILOT)
        self._review(day=11, hour=15)
        with self.clock_at(17, 16):
            campaigns.update_campaign(campaign_id=campaign.pk, by=self.manager, budget=Decimal("6.00"))
        with self.clock_at(18, 10):
            self._run(campaign, light, Stage.FULL, "Full range, light", LIGHT_FULL)
        self._review(day=21, hour=13)
        with self.clock_at(28, 9):
            for person in (self.manager, self.designer, self.reviewer, self.lead):
                notices.mark_all_read(brand=self.brand, by=person)
        campaign.refresh_from_db()
        return campaign

    def _brief(self) -> Campaign:
        day = timezone.localdate(clock.now())
        campaign = campaigns.create_campaign(
            brand=self.brand,
            by=self.manager,
            slug=CAMPAIGN,
            name="The summer table",
            purpose="Small packshots for the summer newsletter and its landing page.",
            audience="People on the mailing list who bought once.",
            channel="newsletter",
            budget=Decimal("3.00"),
            starts_on=day,
            ends_on=day + timedelta(weeks=5),
            pilot_decisions=20,
            pilot_approval_percent=85,
            review_owner=self.reviewer,
            specs=[SpecInput(slug="newsletter", asset_type="packshot", width=512, height=512)],
        )
        Campaign.objects.filter(pk=campaign.pk).update(is_example_history=True)
        campaigns.add_subjects(campaign_id=campaign.pk, by=self.manager)
        return campaign

    def _run(self, campaign: Campaign, version: PromptVersion, stage: str, name: str, keys: str) -> Run:
        """Plan, release and carry out a run; `keys` come without their brand's prefix."""
        products = Subject.objects.filter(
            brand=self.brand, kind=SubjectKind.PRODUCT, key__in=[f"KM-{key}" for key in keys.split()]
        )
        run = plans.plan(
            PlanArguments(
                campaign=campaign,
                prompt_version=PromptVersion.objects.select_related("template__brand", "style").get(pk=version.pk),
                endpoint=self.endpoint,
                stage=stage,
                by=self.manager,
                subjects=list(products.order_by("key")),
            ),
            name=name,
        )
        runs.release(run_id=run.pk, by=self.manager)
        self._work(run)
        return run

    def _work(self, run: Run) -> None:
        """Do the work of a worker in this process, until no job of the run is queued."""
        while Job.objects.filter(run=run, status=JobState.QUEUED).exists():
            self.worker.drain(Lane.CPU)

    def _review(self, *, day: int, hour: int, revise_up_to: int = 0) -> None:
        """Decide every open review task, then carry out the consequences and deliveries."""
        moment = self.start + timedelta(days=day, hours=hour - 9)
        revised = 0
        while True:
            with clock.at(moment):
                tasks = queue.claim_batch(brand=self.brand, by=self.reviewer, size=queue.MAX_CLAIMS)
            if not tasks:
                break
            for task in tasks:
                moment += timedelta(seconds=SECONDS_PER_DECISION + task.pk % 5)
                with clock.at(moment):
                    revised += self._decide(task, may_revise=revised < revise_up_to)
        with clock.at(moment + timedelta(minutes=1)):
            consequences.carry_out_due(limit=1000)
            while deliveries.attempt_due(limit=100):
                pass

    def _decide(self, task: ReviewTask, *, may_revise: bool) -> bool:
        """Decide the newest image of a task; return True if changes were requested."""
        version = task.asset.versions.select_related("master", "job__frozen").order_by("-round", "candidate")[0]
        decision: dict[str, Any] = {
            "task_id": task.pk,
            "version_id": version.pk,
            "by": self.reviewer,
            "seen": pins.current_state(version, task).token,
        }
        reason, note = find_objection(task.asset.subject, version)
        if not reason:
            decisions.approve(**decision, answers={"colour": "yes"})
        elif may_revise and reason == "off-brand":
            decisions.request_revision(**decision, reason=reason, note=note, controls={"backdrop": "#ffffff"})
            return True
        else:
            decisions.reject(**decision, reason=reason, note=note)
        return False


def find_objection(subject: Subject, version: AssetVersion) -> tuple[str, str]:
    """Return a reviewer's objection to this image: a reason's code and a sentence, or two empty strings."""
    if subject.key in KNOWN_ERRORS:
        return KNOWN_ERRORS[subject.key]
    pixels = product.read_pixels(version.master)[..., :3]
    distance = separation(pixels, _product_colour(subject))
    if distance < MIN_SEPARATION:
        return "off-brand", f"It melts into the backdrop (ΔE {distance:.0f}); put it on a lighter one."
    return "", ""


def separation(pixels: Pixels, colour: Sequence[float]) -> float:
    """Return the CIELAB distance between a product's colour and the image's top left corner, which shows the backdrop.

    pixels: height × width × 3 sRGB uint8; colour: CIELAB.
    """
    corner = np.median(_lab(pixels[4:12, 4:12].reshape(-1, 3)), axis=0)
    return float(np.linalg.norm(corner - np.asarray(colour)))


def _product_colour(subject: Subject) -> Sequence[float]:
    """Return the median colour of the product in its accepted cut-out, CIELAB."""
    cutout = Cutout.objects.get(photo__subject=subject, photo__role="front", is_accepted=True)
    rgba = cv2.imdecode(np.frombuffer(stored_files.read(cutout.storage_key), np.uint8), cv2.IMREAD_UNCHANGED)
    rgba = cv2.resize(rgba, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_NEAREST)
    inside = rgba[rgba[..., 3] > 200][:, 2::-1]
    return [float(value) for value in np.median(_lab(inside), axis=0)]


def _lab(rgb: Any) -> Any:
    """Convert n × 3 sRGB uint8 to n × 3 CIELAB."""
    return cv2.cvtColor((rgb.astype(np.float32) / 255).reshape(1, -1, 3), cv2.COLOR_RGB2LAB)[0]


def _version(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "needs": {"engine": "packshot"}, "policy": {"on_fail": "flag"}}
