"""Factories of rows for tests, with defaults that satisfy every constraint; no service runs here."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory
from PIL import Image

from campaigns import models as campaigns
from campaigns.choices import CutoutMethod, ImageFormat, PhotoStatus, PromptStatus, SubjectKind
from core import models as core
from core import signing
from core.choices import Lane, Role
from generation import models as generation
from generation.choices import JobState, RunState, Stage
from review import models as review
from review.choices import DecisionKind, ItemMode, WebhookEvent

PASSWORD = "a long pass phrase"


def tiny_jpeg(text: object) -> bytes:
    """Return a JPEG of 16 × 16 px that differs for each text."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (120, 130, 90)).save(buffer, "JPEG", comment=str(text).encode())
    return buffer.getvalue()


def digest(text: object) -> str:
    """Return the sha256 of a text in hex."""
    return hashlib.sha256(str(text).encode()).hexdigest()


# -- what to make ---------------------------------------------------------------------------------------------------


class UserFactory(DjangoModelFactory[core.User]):
    class Meta:
        model = core.User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"person{n}")
    email = factory.LazyAttribute(lambda user: f"{user.username}@example.com")
    password = factory.django.Password(PASSWORD)


class BrandFactory(DjangoModelFactory[core.Brand]):
    class Meta:
        model = core.Brand

    slug = factory.Sequence(lambda n: f"brand-{n}")
    name = factory.Sequence(lambda n: f"Brand {n}")


class MembershipFactory(DjangoModelFactory[core.Membership]):
    class Meta:
        model = core.Membership

    brand = factory.SubFactory(BrandFactory)
    user = factory.SubFactory(UserFactory)
    role = Role.REVIEWER


class GuideVersionFactory(DjangoModelFactory[campaigns.GuideVersion]):
    class Meta:
        model = campaigns.GuideVersion

    brand = factory.SubFactory(BrandFactory)
    number = factory.Sequence(lambda n: n + 1)
    palette = factory.LazyFunction(lambda: [{"name": "Clay", "hex": "#b5651d"}])


class SubjectFactory(DjangoModelFactory[campaigns.Subject]):
    class Meta:
        model = campaigns.Subject

    brand = factory.SubFactory(BrandFactory)
    kind = SubjectKind.PRODUCT
    key = factory.Sequence(lambda n: f"SKU-{n:05d}")
    name = factory.LazyAttribute(lambda subject: f"Mug {subject.key}")
    attributes = factory.LazyFunction(lambda: {"colour": "sage", "material": "stoneware"})


class VariantFactory(DjangoModelFactory[campaigns.Variant]):
    class Meta:
        model = campaigns.Variant

    subject = factory.SubFactory(SubjectFactory)
    key = factory.Sequence(lambda n: f"variant-{n}")


class ReferencePhotoFactory(DjangoModelFactory[campaigns.ReferencePhoto]):
    """A photo that is ready; its `storage_key` names no file unless the test stores one."""

    class Meta:
        model = campaigns.ReferencePhoto

    subject = factory.SubFactory(SubjectFactory)
    source = factory.Sequence(lambda n: f"photo-{n}.jpg")
    status = PhotoStatus.READY
    sha256 = factory.LazyAttribute(lambda photo: digest(photo.source))
    storage_key = factory.LazyAttribute(
        lambda photo: f"sha256/{photo.sha256[:2]}/{photo.sha256[2:4]}/{photo.sha256}.jpg"
    )
    width = 1024
    height = 1024


class CutoutFactory(DjangoModelFactory[campaigns.Cutout]):
    class Meta:
        model = campaigns.Cutout

    photo = factory.SubFactory(ReferencePhotoFactory)
    method = CutoutMethod.ALPHA
    sha256 = factory.Sequence(lambda n: digest(f"cutout {n}"))
    storage_key = factory.LazyAttribute(lambda cut: f"sha256/{cut.sha256[:2]}/{cut.sha256[2:4]}/{cut.sha256}.png")
    box = factory.LazyFunction(lambda: [100, 100, 900, 900])


class CampaignFactory(DjangoModelFactory[campaigns.Campaign]):
    class Meta:
        model = campaigns.Campaign
        skip_postgeneration_save = True

    brand = factory.SubFactory(BrandFactory)
    slug = factory.Sequence(lambda n: f"campaign-{n}")
    name = factory.Sequence(lambda n: f"Campaign {n}")
    owner = factory.SubFactory(UserFactory)

    @factory.post_generation
    def subjects(self: Any, create: bool, extracted: Any, **_: Any) -> None:
        """`CampaignFactory(subjects=[...])` puts these subjects into the campaign."""
        if create and extracted:
            self.subjects.set(extracted)


class OutputSpecFactory(DjangoModelFactory[campaigns.OutputSpec]):
    class Meta:
        model = campaigns.OutputSpec

    campaign = factory.SubFactory(CampaignFactory)
    slug = factory.Sequence(lambda n: f"spec-{n}")
    width = 1024
    height = 1024
    image_format = ImageFormat.JPEG


class StylePresetFactory(DjangoModelFactory[campaigns.StylePreset]):
    class Meta:
        model = campaigns.StylePreset

    brand = factory.SubFactory(BrandFactory)
    slug = factory.Sequence(lambda n: f"style-{n}")
    name = factory.Sequence(lambda n: f"Style {n}")
    text = "soft window light, shallow depth of field"


class PromptTemplateFactory(DjangoModelFactory[campaigns.PromptTemplate]):
    class Meta:
        model = campaigns.PromptTemplate

    brand = factory.SubFactory(BrandFactory)
    slug = factory.Sequence(lambda n: f"template-{n}")
    name = factory.Sequence(lambda n: f"Template {n}")


class PromptVersionFactory(DjangoModelFactory[campaigns.PromptVersion]):
    class Meta:
        model = campaigns.PromptVersion

    template = factory.SubFactory(PromptTemplateFactory)
    number = factory.Sequence(lambda n: n + 1)
    text = "{name} in {colour} on a {backdrop} backdrop"
    axes = factory.LazyFunction(lambda: {"backdrop": ["white"]})
    parameters = factory.LazyFunction(lambda: {"backdrop": "{backdrop}"})
    needs = factory.LazyFunction(lambda: {"engine": "packshot"})
    status = PromptStatus.APPROVED
    created_by = factory.SubFactory(UserFactory)


class EventFactory(DjangoModelFactory[core.Event]):
    class Meta:
        model = core.Event

    brand = factory.SubFactory(BrandFactory)
    type = "campaigns.thing.happened"
    object_type = "thing"
    object_id = factory.Sequence(lambda n: n + 1)
    actor_label = "test"
    at = factory.LazyFunction(timezone.now)


# -- make it --------------------------------------------------------------------------------------------------------


class EndpointFactory(DjangoModelFactory[generation.Endpoint]):
    class Meta:
        model = generation.Endpoint

    slug = factory.Sequence(lambda n: f"endpoint-{n}")
    name = factory.Sequence(lambda n: f"Endpoint {n}")
    engine = "packshot"
    lane = Lane.GPU


class RunFactory(DjangoModelFactory[generation.Run]):
    """A running pilot; campaign and prompt version are of one brand."""

    class Meta:
        model = generation.Run

    campaign = factory.SubFactory(CampaignFactory)
    prompt_version = factory.SubFactory(
        PromptVersionFactory, template__brand=factory.SelfAttribute("...campaign.brand")
    )
    endpoint = factory.SubFactory(EndpointFactory)
    name = factory.Sequence(lambda n: f"Run {n}")
    stage = Stage.PILOT
    state = RunState.RUNNING
    requested_by = factory.SubFactory(UserFactory)


class CellFactory(DjangoModelFactory[generation.Cell]):
    class Meta:
        model = generation.Cell

    run = factory.SubFactory(RunFactory)
    subject = factory.SubFactory(SubjectFactory, brand=factory.SelfAttribute("..run.campaign.brand"))
    aspect = "1:1"
    position = factory.Sequence(lambda n: n)


class JobFactory(DjangoModelFactory[generation.Job]):
    """A queued job without its frozen spec; JobSpecFactory makes both."""

    class Meta:
        model = generation.Job

    run = factory.SubFactory(RunFactory)
    cell = factory.SubFactory(CellFactory, run=factory.SelfAttribute("..run"))
    campaign = factory.SelfAttribute("run.campaign")
    endpoint = factory.SelfAttribute("run.endpoint")
    lane = factory.SelfAttribute("endpoint.lane")
    batch_key = "packshot-1024"
    status = JobState.QUEUED


class JobSpecFactory(DjangoModelFactory[generation.JobSpec]):
    class Meta:
        model = generation.JobSpec

    job = factory.SubFactory(JobFactory)
    brand = factory.SelfAttribute("job.campaign.brand")
    cell = factory.SelfAttribute("job.cell")
    fingerprint = factory.Sequence(lambda n: digest(f"fingerprint {n}"))
    spec = factory.LazyFunction(dict)


class MasterFactory(DjangoModelFactory[generation.Master]):
    class Meta:
        model = generation.Master

    brand = factory.SubFactory(BrandFactory)
    fingerprint = factory.Sequence(lambda n: digest(f"master fingerprint {n}"))
    sha256 = factory.Sequence(lambda n: digest(f"master {n}"))
    storage_key = factory.LazyAttribute(lambda m: f"sha256/{m.sha256[:2]}/{m.sha256[2:4]}/{m.sha256}.webp")
    image_format = "webp"
    width = 1024
    height = 1024
    bytes = 250_000


class AssetFactory(DjangoModelFactory[generation.Asset]):
    class Meta:
        model = generation.Asset

    cell = factory.SubFactory(CellFactory)
    brand = factory.SelfAttribute("cell.run.campaign.brand")
    campaign = factory.SelfAttribute("cell.run.campaign")
    subject = factory.SelfAttribute("cell.subject")


class AssetVersionFactory(DjangoModelFactory[generation.AssetVersion]):
    class Meta:
        model = generation.AssetVersion

    asset = factory.SubFactory(AssetFactory)
    round = 1
    candidate = factory.Sequence(lambda n: n % 30_000 + 1)
    master = factory.SubFactory(MasterFactory, brand=factory.SelfAttribute("..asset.brand"))


class RenditionFactory(DjangoModelFactory[generation.Rendition]):
    class Meta:
        model = generation.Rendition

    version = factory.SubFactory(AssetVersionFactory)
    output_spec = factory.SubFactory(OutputSpecFactory, campaign=factory.SelfAttribute("..version.asset.campaign"))
    recipe_version = 1
    sha256 = factory.Sequence(lambda n: digest(f"rendition {n}"))
    storage_key = factory.LazyAttribute(lambda r: f"sha256/{r.sha256[:2]}/{r.sha256[2:4]}/{r.sha256}.jpg")
    image_format = "jpeg"
    width = 1024
    height = 1024
    bytes = 120_000


class FindingFactory(DjangoModelFactory[generation.Finding]):
    class Meta:
        model = generation.Finding

    version = factory.SubFactory(AssetVersionFactory)
    check_name = factory.Sequence(lambda n: f"check-{n}")
    outcome = "pass"
    message = "Looks as it should."


# -- review and deliver ---------------------------------------------------------------------------------------------


class ChecklistFactory(DjangoModelFactory[review.Checklist]):
    class Meta:
        model = review.Checklist

    brand = factory.SubFactory(BrandFactory)
    stage = "brand"
    name = "Brand review"


class ChecklistVersionFactory(DjangoModelFactory[review.ChecklistVersion]):
    class Meta:
        model = review.ChecklistVersion

    checklist = factory.SubFactory(ChecklistFactory)
    number = factory.Sequence(lambda n: n + 1)
    items = factory.LazyFunction(
        lambda: [
            {"code": "colour", "sentence": "The colour is the product's colour.", "mode": ItemMode.BY_EXCEPTION.value}
        ]
    )


class ReasonFactory(DjangoModelFactory[review.Reason]):
    class Meta:
        model = review.Reason

    brand = factory.SubFactory(BrandFactory)
    code = factory.Sequence(lambda n: f"reason-{n}")
    label = factory.Sequence(lambda n: f"Reason {n}")


class ReviewTaskFactory(DjangoModelFactory[review.ReviewTask]):
    """An open task of stage "brand" without slots; DecisionSlotFactory adds them."""

    class Meta:
        model = review.ReviewTask

    asset = factory.SubFactory(AssetFactory)
    brand = factory.SelfAttribute("asset.brand")
    run = factory.SelfAttribute("asset.cell.run")
    product_key = factory.SelfAttribute("asset.subject.key")
    checklist_version = factory.SubFactory(
        ChecklistVersionFactory, checklist__brand=factory.SelfAttribute("...asset.brand")
    )
    stage = "brand"


class DecisionFactory(DjangoModelFactory[review.Decision]):
    class Meta:
        model = review.Decision

    task = factory.SubFactory(ReviewTaskFactory)
    version = factory.SubFactory(AssetVersionFactory, asset=factory.SelfAttribute("..task.asset"))
    kind = DecisionKind.APPROVED
    decided_by = factory.SubFactory(UserFactory)
    decided_at = factory.LazyFunction(timezone.now)
    effective_at = factory.LazyFunction(timezone.now)


class DecisionSlotFactory(DjangoModelFactory[review.DecisionSlot]):
    class Meta:
        model = review.DecisionSlot

    task = factory.SubFactory(ReviewTaskFactory)
    slot = 1


class DestinationFactory(DjangoModelFactory[review.Destination]):
    class Meta:
        model = review.Destination

    brand = factory.SubFactory(BrandFactory)
    slug = factory.Sequence(lambda n: f"destination-{n}")
    name = factory.Sequence(lambda n: f"Destination {n}")
    kind = "folder"


class DeliveryFactory(DjangoModelFactory[review.Delivery]):
    class Meta:
        model = review.Delivery

    asset = factory.SubFactory(AssetFactory)
    destination = factory.SubFactory(DestinationFactory, brand=factory.SelfAttribute("..asset.brand"))
    version = factory.SubFactory(AssetVersionFactory, asset=factory.SelfAttribute("..asset"))


class ImageFeedFactory(DjangoModelFactory[review.ImageFeed]):
    class Meta:
        model = review.ImageFeed

    brand = factory.SubFactory(BrandFactory)
    name = factory.Sequence(lambda n: f"Feed {n}")
    layout = "google_merchant"
    key = factory.Sequence(lambda n: f"key-{n}")


class WebhookEndpointFactory(DjangoModelFactory[review.WebhookEndpoint]):
    class Meta:
        model = review.WebhookEndpoint

    brand = factory.SubFactory(BrandFactory)
    name = factory.Sequence(lambda n: f"Webhook {n}")
    url = "https://hooks.example/proofline?key=hidden"
    events = factory.LazyFunction(lambda: list(WebhookEvent.values))
    secret = factory.LazyFunction(signing.new_secret)


class WebhookMessageFactory(DjangoModelFactory[review.WebhookMessage]):
    class Meta:
        model = review.WebhookMessage

    endpoint = factory.SubFactory(WebhookEndpointFactory)
    event_id = factory.Sequence(lambda n: f"evt_{n}")
    type = WebhookEvent.IMPORT_FINISHED.value
    payload = factory.LazyAttribute(
        lambda message: {"type": message.type, "timestamp": timezone.now().isoformat(), "data": {"import": 1}}
    )
