"""Deliveries to the tests' Shopify shop: a destination, approved images, attempts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from core import crash_points
from review.models import Delivery, Destination, ReviewTask
from review.services import consequences, decisions, deliveries, destinations
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.shopify_server import CLIENT_ID, CLIENT_SECRET, ShopifyServer
from tests.support.shopify_shop import Product


def create_destination(brand: Any, by: Any, server: ShopifyServer, **config: Any) -> Destination:
    """Create the destination for an app with client credentials."""
    settings = {"url": server.url, "client_id": CLIENT_ID, "allow_private": True} | config
    return destinations.create(
        brand=brand, by=by, slug="shop", name="Shop", kind="shopify", config=settings, secret=CLIENT_SECRET
    )


def create_image_and_product(brand: Any, server: ShopifyServer, **image: Any) -> tuple[ReviewTask, Product]:
    """Create an image in review, and the shop's product of its SKU with two images, one of them the variant's."""
    task = create_image_in_review(brand, **image)
    product = server.shop.add_product(task.asset.subject.key, images=("front", "back"))
    product.variants[0].media = product.media[0]
    return task, product


def approve(task: ReviewTask, by: Any, version: Any = None) -> None:
    decisions.approve(**decision_arguments(task, version), by=by)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))


def attempt() -> Delivery:
    """Make the delivery due, also if a dead worker holds its lease, and attempt it once."""
    Delivery.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
    assert deliveries.attempt_due(limit=1) == 1
    return Delivery.objects.get()


class Killed(BaseException):
    """The end of a process at a crash point."""


@contextmanager
def killing_at(number: int) -> Iterator[list[str]]:
    """End the block with Killed at the crash point that is reached as number `number`; yield the points so far."""
    passed: list[str] = []

    def point(name: str) -> None:
        passed.append(name)
        if len(passed) == number + 1:
            raise Killed(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crash_points, "point", point)
        yield passed
