"""Deliveries to the tests' Wagtail site through the proxy before it."""

from __future__ import annotations

from typing import Any

from review.models import Delivery, Destination, ReviewTask
from review.services import destinations
from tests.support import site_deliveries
from tests.support.troubled_proxy import TroubledProxy
from tests.support.wagtail_server import WagtailServer, new_slug

UPLOADS = ("POST", "/api/v3/images/")


def create_destination(
    wagtail: WagtailServer, proxy: TroubledProxy, brand: Any, lead: Any, user: str = "publisher", **config: Any
) -> Destination:
    config = {"url": f"{proxy.url}/api/v3", "allow_private": True, "featured_field": "featured_image"} | config
    return destinations.create(
        brand=brand, by=lead, slug="wagtail", name="Wagtail", kind="wagtail", config=config, secret=wagtail.tokens[user]
    )


def create_article(brand: Any) -> ReviewTask:
    """Return the open task of an article with two candidates, which no page has yet."""
    contents = site_deliveries.textured(1), site_deliveries.textured(2)
    return site_deliveries.create_task(brand, *contents, key=new_slug(), kind="article")


def slug_of(task: ReviewTask) -> str:
    return str(task.asset.subject.key)


def delivery() -> Delivery:
    return Delivery.objects.select_related("destination").get()
