"""The data of the fuzz tests: one brand with a row of every kind, and one person per role."""

from __future__ import annotations

import io
import zipfile
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.utils import timezone
from PIL import Image

from campaigns.models import Cutout, OutputSpec, ReferencePhoto, Subject
from campaigns.services import guides, images, imports, prompts, sources
from core import stored_files
from core.models import Brand, User
from core.services import audit
from generation.models import Asset, Attempt, Job, LedgerEntry, Run
from generation.services import comparisons, studio
from generation.services.comparisons import Side
from generation.services.planning import plans, scheduled_runs
from generation.services.planning.plan_requests import PlanArguments
from review.choices import DesiredState
from review.models import Delivery, Destination
from review.services import consequences, decisions, destinations, image_feeds, reasons
from review.services.image_feeds import FeedSettings
from tests.generation import test_contact_sheets, test_studio_pages, test_workflows
from tests.generation.test_studio import wish
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments

#: Every role of the product, an operator (superuser), somebody of another brand, and somebody who is not signed in.
ROLES: dict[str, tuple[str, ...]] = {
    "operator": (),
    "lead": ("lead", "admin"),
    "manager": ("campaign_manager", "designer"),
    "reviewer": ("reviewer",),
    "integrator": ("integrator",),
    "viewer": ("viewer",),
    "stranger": (),
}
WRONG_FEED = b"sku;name;price\nM-1;Mug;cheap\nM-2;Bowl;12,90\nM-3;Jar;dear\n;Lid;5\n"
ODD_FEED = b"Art.;Was;Glasur;VK\nM-1;Becher;salbei;12,90\nM-2;Schale;ton;19,90\n"
FEED = b"sku,name\nM-1,Mug\n"


def image_bytes(image_format: str = "JPEG", colour: str = "teal", size: int = 256) -> bytes:
    """Return an image of a dark jar on white, which the cut-out service accepts."""
    image = Image.new("RGB", (size, size), "white")
    image.paste(colour, (size // 4, size // 5, 3 * size // 4, 4 * size // 5))  # type: ignore[arg-type]
    buffer = io.BytesIO()
    image.save(buffer, image_format)
    return buffer.getvalue()


def zip_bytes() -> bytes:
    """Return an archive with one photo, named as in a feed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("mug.jpg", image_bytes())
    return buffer.getvalue()


def build(folder: Path) -> dict[str, User]:
    """Write the rows and return the people by role. `folder` is where files may be delivered to."""
    brand = factories.BrandFactory(slug="north", name="North", monthly_budget="20")
    other = factories.BrandFactory(slug="south", name="South")
    people = {role: factories.UserFactory(username=role) for role in ROLES}
    for role, memberships in ROLES.items():
        for name in memberships:
            factories.MembershipFactory(brand=brand, user=people[role], role=name)
    factories.MembershipFactory(brand=other, user=people["stranger"], role="lead")
    User.objects.filter(username="operator").update(is_superuser=True, is_staff=True)
    people["operator"].refresh_from_db()
    reasons.add_defaults(brand=brand, by=people["lead"])
    mugs = [_product(brand, number) for number in (1, 2)]
    factories.SubjectFactory(brand=brand, kind="concept", key="tea-time", name="Tea time")
    factories.StylePresetFactory(brand=brand)
    _guide(brand, people["lead"])
    _feeds(brand, people["lead"])
    for slug in ("shop", "held", "recalled"):
        config = {"path": str(folder / "north" / slug)}
        destinations.create(brand=brand, by=people["lead"], slug=slug, name=slug.title(), kind="folder", config=config)
    _run_in_review(brand, mugs[0], people)
    rules = [{"effect": "never", "kind": "product"}]  # so that their pages offer to recall what was sent
    for destination in Destination.objects.filter(brand=brand):
        destinations.change(destination_id=destination.pk, by=people["lead"], rules=rules)
    _lost_delivery(brand, people["lead"])
    _webhook(brand)
    Delivery.objects.filter(destination__slug="held").update(is_released=False, due_at=None)
    Delivery.objects.filter(destination__slug="recalled").update(desired=DesiredState.ABSENT, due_at=None)
    feed = FeedSettings(name="Shop", layout="json", main_spec=OutputSpec.objects.filter(campaign__brand=brand)[0].slug)
    image_feeds.create(brand=brand, by=people["lead"], settings=feed)
    _planned_run(brand, mugs, people)
    _tries_and_sheets(brand, people["manager"])
    _endpoints(brand, people["lead"])
    audit.seal()
    return people


def _lost_delivery(brand: Brand, lead: User) -> None:
    """Add a shop, and a delivery to it that waits for somebody to choose its product."""
    url = "https://north.example"
    shop = destinations.create(
        brand=brand, by=lead, slug="store", name="Store", kind="shopify", config={"url": url}, secret="shpat_1"
    )
    asset = Asset.objects.filter(brand=brand, current_version__isnull=False).order_by("pk").first()
    factories.DeliveryFactory(
        asset=asset, destination=shop, version=asset.current_version, observed="failed",
        error="The shop has no such product.", needs="product",
    )  # fmt: skip


def _webhook(brand: Brand) -> None:
    """Add a webhook at an address that is always refused, and a message that was given up."""
    endpoint = factories.WebhookEndpointFactory(brand=brand, url="https://127.0.0.1/in")
    message = factories.WebhookMessageFactory(endpoint=endpoint, state="failed", error="It answered 500.")
    message.attempt_rows.create(number=1, started_at=timezone.now(), milliseconds=9, status_code=500, error="500.")


def _stored(image_format: str, colour: str) -> dict[str, str]:
    stored = stored_files.put(image_bytes(image_format, colour), suffix=image_format.lower())
    return {"storage_key": stored.key, "sha256": stored.sha256}


def _product(brand: Brand, number: int) -> Subject:
    mug: Subject = factories.SubjectFactory(brand=brand, key=f"MUG-{number}")
    factories.VariantFactory(subject=mug)
    cutout: Cutout = factories.CutoutFactory(
        photo__subject=mug, photo__width=256, photo__height=256, confidence=0.4, box=[64, 51, 192, 205],
        **_stored("PNG", "olive"),
    )  # fmt: skip
    ReferencePhoto.objects.filter(pk=cutout.photo_id).update(**_stored("JPEG", "tan"))
    return mug


def _guide(brand: Brand, lead: User) -> None:
    fields: dict[str, Any] = {"palette": [{"name": "Clay", "hex": "#b5651d"}], "banned_wording": ["luxury"]}
    guides.publish(guide_id=guides.edit_draft(brand=brand, by=lead, **fields).pk, by=lead, note="The beginning")
    draft = guides.edit_draft(brand=brand, by=lead, **(fields | {"banned_wording": ["cheap"]}))
    files = [("mood.jpg", image_bytes(colour="navy"))]
    images.add_to_guide(guide_id=draft.pk, use="do", files_given=files, by=lead)


def _feeds(brand: Brand, lead: User) -> None:
    sources.create(brand=brand, by=lead, name="Shop feed", kind="url", url="https://shop.example/feed.csv")
    sources.create(brand=brand, by=lead, name="PIM", kind="push")
    for name, data, dry_run in (
        ("wrong", WRONG_FEED, True),
        ("odd", ODD_FEED, True),
        ("clean", b"sku,name\nM-9,Mug\n", True),
        ("applied", FEED, False),
    ):
        imports.import_feed(brand=brand, by=lead, file=io.BytesIO(data), file_name=f"{name}.csv", dry_run=dry_run)


def _run_in_review(brand: Brand, mug: Subject, people: dict[str, User]) -> None:
    """Create a running run: one image to review, one approved and delivered, one just approved, one failed job."""
    campaign = factories.CampaignFactory(
        brand=brand, subjects=[mug], slug="autumn", owner=people["manager"], budget=Decimal(100)
    )
    spec = factories.OutputSpecFactory(campaign=campaign, width=512, height=512)
    files = [("mood.jpg", image_bytes(colour="navy"))]
    images.add_to_brief(campaign_id=campaign.pk, files_given=files, by=people["manager"])
    run = factories.RunFactory(campaign=campaign, requested_by=people["manager"], endpoint__slug="packshot")
    tasks = [create_image_in_review(brand, run=run, specs=[spec], subject=mug, candidates=2) for _ in range(4)]
    for task in tasks:
        for version in task.asset.versions.all():
            stored = _stored("WEBP", "peru")
            type(version.master).objects.filter(pk=version.master_id).update(**stored)
            version.renditions.update(**stored, image_format="webp", bytes=len(image_bytes("WEBP", "peru")))
    decisions.approve(**decision_arguments(tasks[0]), by=people["reviewer"])
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    decisions.approve(**decision_arguments(tasks[1]), by=people["reviewer"])
    decisions.reject(**decision_arguments(tasks[2]), by=people["reviewer"], reason="composition")
    cell = tasks[3].asset.cell
    failed = factories.JobFactory(run=run, cell=cell, status="failed", error_kind="moderation", error="Refused.")
    factories.JobSpecFactory(job=failed, candidate=7)
    uncertain = factories.JobFactory(run=run, cell=cell, status="held", hold_reason="uncertain", error_kind="uncertain")
    factories.JobSpecFactory(job=uncertain, candidate=8)
    LedgerEntry.objects.create(campaign=campaign, run=run, job=uncertain, kind="uncertain", amount="0.24")


def _planned_run(brand: Brand, mugs: list[Subject], people: dict[str, User]) -> None:
    """Create a campaign with a planned run, one with a paused run, and a scheduled run."""
    manager = people["manager"]
    campaign = factories.CampaignFactory(brand=brand, subjects=mugs, slug="winter", owner=manager)
    factories.OutputSpecFactory(campaign=campaign, slug="shop", width=128, height=128)
    endpoint = factories.EndpointFactory(engine="ready", slug="ready", lane="cpu", price_per_image=Decimal("0.10"))
    version = factories.PromptVersionFactory(
        template__brand=brand, template__slug="table", text="{name} on a {backdrop} table", parameters={}, needs={},
        created_by=manager,
    )  # fmt: skip
    prompts.add_version(template_id=version.template_id, by=manager, text="{name} on oak")
    order = {"campaign": campaign, "prompt_version": version, "endpoint": endpoint, "by": manager}
    for _ in range(2):
        run = plans.plan(PlanArguments(stage="pilot", **order))
    Run.objects.filter(pk=run.pk).update(state="paused", released_at=timezone.now())
    scheduled_runs.create(**order, name="New mugs", daily_budget=Decimal(5))
    cell = run.cells.first()
    job = Job.objects.filter(cell=cell).first()
    assert job is not None
    Job.objects.filter(pk=job.pk).update(status="held", hold_reason="changed")
    Attempt.objects.create(
        job=job, number=1, lease_token="0" * 32, endpoint=endpoint, worker="w", outcome="failed",
        message="No answer.", error_kind="transient", started_at=timezone.now(), ended_at=timezone.now(),
    )  # fmt: skip


def _tries_and_sheets(brand: Brand, manager: User) -> None:
    """Create a studio run with an image, one that still runs, and a comparison to vote on."""
    painter = factories.EndpointFactory(engine="painter", slug="painter", lane="cpu", prices={"second": "0.001"})
    for is_made in (True, False):
        run = studio.start(brand=brand, wish=wish(count=2), endpoint=painter, by=manager)
        for job in Job.objects.filter(run=run) if is_made else []:
            version = test_studio_pages.finish_job(job)
            type(version.master).objects.filter(pk=version.master.pk).update(**_stored("WEBP", "teal"))
            test_studio_pages.finish_run(run)
    ready = factories.EndpointFactory(engine="ready", slug="ready-too", lane="cpu", config={"n": 2})
    sides = [Side(painter), Side(ready)]
    sheet = comparisons.start(brand=brand, name="Jars", sides=sides, by=manager, words=("a jar", "a mug"))
    test_contact_sheets.finish_images(sheet)


def _endpoints(brand: Brand, lead: User) -> None:
    """Create endpoints of the brand: one for each kind of engine that has its own page."""
    test_workflows.upload_workflow(brand, lead)
    factories.EndpointFactory(
        brand=brand, slug="overflow", engine="replicate", lane="cloud", config={"model": "a/b"}, secret="hush"
    )
