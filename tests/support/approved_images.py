"""Approved images for tests: planned by the real services, made by hand, approved."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from PIL import Image

from campaigns.models import FeedImport, Subject
from campaigns.services import imports
from core import stored_files
from core.models import Brand, User
from generation.choices import AssetState
from generation.models import Asset, JobSpec, Run
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from review.models import Decision, ReviewTask
from review.services import consequences, decisions, queue
from tests.support import factories
from tests.support.images_in_review import decision_arguments

FEED_HEADINGS = ("sku", "name", "colour", "material", "price")


def create_product(brand: Brand, key: str = "MUG-1", **attributes: str) -> Subject:
    """Create a product with a ready photo and an accepted cut-out."""
    values = {"colour": "sage", "material": "stoneware", "price": "12.90"} | attributes
    subject: Subject = factories.SubjectFactory(brand=brand, key=key, name="Mug", attributes=values)
    photo = factories.ReferencePhotoFactory(subject=subject, source=f"{key}.jpg")
    factories.CutoutFactory(photo=photo)
    return subject


def plan_run(brand: Brand, subjects: list[Subject], by: User, **version: Any) -> Run:
    """Plan a packshot run of these products, one image each unless `axes` differ. version: prompt fields."""
    campaign = factories.CampaignFactory(brand=brand, subjects=subjects)
    factories.OutputSpecFactory(campaign=campaign, width=600, height=600)
    fields = {"text": "{name} in {colour}", "axes": {}, "parameters": {"backdrop": "white"}} | version
    prompt = factories.PromptVersionFactory(template__brand=brand, **fields)
    endpoint = factories.EndpointFactory(config={})
    return plans.plan(
        PlanArguments(campaign=campaign, prompt_version=prompt, endpoint=endpoint, stage="pilot", by=by, subjects=None)
    )


def make_image(asset: Asset) -> ReviewTask:
    """Make the image of a planned asset as a worker does; return its open task."""
    frozen = JobSpec.objects.select_related("job").get(cell_id=asset.cell_id, candidate=1, round=1)
    type(frozen.job).objects.filter(pk=frozen.job_id).update(status="succeeded")
    master = factories.MasterFactory(brand=asset.brand, fingerprint=frozen.fingerprint, **_image(asset.pk))
    version = factories.AssetVersionFactory(asset=asset, candidate=1, master=master, job=frozen.job)
    for spec in asset.campaign.output_specs.all():
        stored = stored_files.put(factories.tiny_jpeg(f"{asset.pk} {spec.pk}"), suffix="jpg")
        factories.RenditionFactory(
            version=version, output_spec=spec, sha256=stored.sha256, storage_key=stored.key, bytes=stored.bytes
        )
    Asset.objects.filter(pk=asset.pk).update(current_version=version, state=AssetState.IN_REVIEW)
    asset.refresh_from_db()
    with transaction.atomic():
        return queue.open_task(asset=asset)


def approve_task(task: ReviewTask, by: User, *, in_effect: bool = True) -> Decision:
    """Approve the task; with `in_effect` also run what follows 30 s later."""
    decision = decisions.approve(by=by, **decision_arguments(task))
    if in_effect:
        consequences.carry_out_due(now=timezone.now() + timedelta(minutes=1))
    return decision


def create_approved_image(brand: Brand, subject: Subject, manager: User, reviewer: User, **version: Any) -> Asset:
    """Return an approved image of the product, with its approval in effect."""
    [asset] = Asset.objects.filter(cell__run=plan_run(brand, [subject], manager, **version))
    approve_task(make_image(asset), reviewer)
    asset.refresh_from_db()
    assert asset.state == AssetState.APPROVED
    return asset


def import_products(
    brand: Brand, by: User, *rows: tuple[str, ...], headings: tuple[str, ...] = FEED_HEADINGS
) -> FeedImport:
    """Import a small feed of products."""
    text = "\n".join(",".join(row) for row in (headings, *rows)) + "\n"
    done = imports.import_feed(brand=brand, file=io.BytesIO(text.encode()), file_name="feed.csv", by=by)
    assert done.status == "applied", list(done.issues.values_list("message", flat=True))
    return done


def _image(number: int) -> dict[str, str]:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (number % 256, 120, 90)).save(buffer, "WEBP")
    stored = stored_files.put(buffer.getvalue(), suffix="webp")
    return {"sha256": stored.sha256, "storage_key": stored.key}
