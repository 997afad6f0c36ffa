"""Image feeds in tests: a campaign with three outputs, approved images of products, and the file as a shop reads it."""

from __future__ import annotations

from typing import Any

from django.test import Client

from campaigns.models import Subject
from core.models import Brand, User
from generation.models import Asset, Rendition
from review.image_feeds.base import LAYOUTS
from review.models import ImageFeed
from review.selectors import image_feeds as selectors
from review.services import image_feeds as services
from review.services.image_feeds import FeedSettings
from tests.support import factories
from tests.support.archives import create_approved

SPECS = (("web", "packshot", 1600), ("square", "packshot", 800), ("scene", "scene", 1200))


def create_campaign(brand: Brand) -> Any:
    """Return a campaign with the output specs of SPECS."""
    made = factories.CampaignFactory(brand=brand)
    for slug, asset_type, width in SPECS:
        factories.OutputSpecFactory(campaign=made, slug=slug, width=width, height=800, asset_type=asset_type)
    return made


def create_mug(brand: Brand) -> Subject:
    attributes = {"handle": "sage-mug", "google_id": "shopify_DE_1"}
    subject: Subject = factories.SubjectFactory(
        brand=brand, key="MUG-1", name="Mug & “Saucer”, sage", attributes=attributes
    )
    return subject


def approve(campaign: Any, by: User, subject: Subject, **files: dict[str, Any]) -> Asset:
    """Return an approved image of the product. files: by output spec, what differs from an ordinary file."""
    asset = create_approved(
        campaign.brand, by, campaign=campaign, specs=list(campaign.output_specs.all()), subject=subject
    )
    for rendition in Rendition.objects.filter(version=asset.current_version).select_related("output_spec"):
        differs = files.get(rendition.output_spec.slug, {})
        values = {"width": rendition.output_spec.width, "height": 800} | differs
        Rendition.objects.filter(pk=rendition.pk).update(**values)
    return asset


def create_feed(brand: Brand, by: User, layout: str = "google_merchant", **settings: Any) -> ImageFeed:
    chosen = {"main_spec": "web", "additional_specs": ["square", "scene"]} | settings
    return services.create(brand=brand, by=by, settings=FeedSettings(name="Shop", layout=layout, **chosen))


def read_file(feed: ImageFeed) -> str:
    """Return the file as a shop fetches it, without a session."""
    feed.refresh_from_db()
    answer = Client().get(selectors.address_of(feed))
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == LAYOUTS.get(feed.layout).media_type
    return answer.getvalue().decode()
