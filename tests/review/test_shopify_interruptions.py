"""Test the Shopify destination with deaths, lost answers and a late search: never a second image, never a lost one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from review.choices import ObservedState
from review.models import Delivery, Destination, ReviewTask
from review.services import decisions, deliveries
from tests.support import processes
from tests.support.remote_server import CUT_AFTER, CUT_BEFORE, Fault, plain
from tests.support.shopify_deliveries import (
    Killed,
    approve,
    attempt,
    create_destination,
    create_image_and_product,
    killing_at,
)
from tests.support.shopify_server import ShopifyServer, serving_shop
from tests.support.shopify_shop import Product

pytestmark = pytest.mark.django_db(transaction=True)

#: What a first delivery to a variant with an image asks of the shop.
PUSH = (
    "token", "ProductOfVariant", "ProductImages", "VariantImage", "Stage", "upload", "CreateFile", "File", "UpdateFile",
    "Reorder", "Job", "ClearVariantImage", "SetVariantImage", "file",
)  # fmt: skip
#: What a restore asks of it, whose product has another order and another alt text meanwhile.
RESTORE = ("ProductImages", "DeleteFiles", "UpdateFile", "VariantImage", "SetVariantImage", "Reorder", "Job")
FAULTS = {
    "cut before": CUT_BEFORE,
    "cut after": CUT_AFTER,
    "504 after": Fault(response=plain("", 504), after_effect=True),
    "503 before": Fault(response=plain("", 503)),
}


@pytest.fixture
def server(settings: Any, clean_redis: Any) -> Iterator[ShopifyServer]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    with serving_shop() as running:
        yield running


@pytest.fixture
def destination(brand: Any, lead: Any, server: ShopifyServer) -> Destination:
    return create_destination(brand, lead, server, position=1)


def deliver_until(observed: str, task: ReviewTask) -> Delivery:
    """Attempt the delivery of one asset until it is there or gone, at most four times."""
    rows = Delivery.objects.filter(asset=task.asset_id)
    for _attempt in range(4):
        rows.filter(due_at__isnull=False).update(due_at=timezone.now())
        deliveries.attempt_due()
        delivery = rows.get()
        if delivery.observed == observed and delivery.due_at is None:
            return delivery
    raise AssertionError(f"{delivery.observed}: {delivery.error}")


def ensure_delivered_once(task: ReviewTask, product: Product, server: ShopifyServer) -> None:
    """Assert that the shop has one file of this asset, in the first place of its product and at its variant."""
    [entry] = deliver_until(ObservedState.PRESENT, task).files
    ours = [file for file in server.shop.files.values() if f"-{task.asset_id}-" in file.name]
    assert [file.id for file in ours] == [entry["id"]]
    assert server.shop.images_of(product) == [ours[0].name, "front.jpg", "back.jpg"]
    assert product.variants[0].media == entry["id"]


def ensure_as_before(task: ReviewTask, product: Product, server: ShopifyServer) -> None:
    """Assert that the shop has nothing of this asset, and the product what it had."""
    deliver_until(ObservedState.ABSENT, task)
    assert not [file.name for file in server.shop.files.values() if f"-{task.asset_id}-" in file.name]
    assert server.shop.images_of(product) == ["front.jpg", "back.jpg"]
    assert [server.shop.files[media].alt for media in product.media] == ["front", "back"]
    assert product.variants[0].media == product.media[0]


def change_in_shop(product: Product, server: ShopifyServer) -> None:
    """Change the order and an alt text as people in the shop might."""
    ours, front, back = product.media
    product.media[:] = [back, ours, front]
    server.shop.files[back].alt = "changed since"


def start_restore(task: ReviewTask, lead: Any) -> None:
    decisions.revoke(asset_id=task.asset_id, by=lead, note="licence ended")
    Delivery.objects.filter(asset=task.asset_id).update(is_restoring=True)


def test_a_death_at_any_boundary_leaves_one_image(
    brand: Any, lead: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    boundaries = set()
    for number in range(100):
        task, product = create_image_and_product(brand, server)
        approve(task, reviewer)
        with killing_at(number) as passed:
            try:
                deliveries.attempt_due()
                break
            except Killed as death:
                boundaries.add((str(death), number))
        ensure_delivered_once(task, product, server)
    assert len(boundaries) == number == len(passed) >= 11, "every boundary was tried"
    ensure_delivered_once(task, product, server)


@pytest.mark.parametrize("fault", FAULTS)
def test_any_answer_may_be_lost_during_a_delivery(
    fault: str, brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    for route in PUSH:
        task, product = create_image_and_product(brand, server)
        approve(task, reviewer)
        remote = server.storage if route in {"upload", "file"} else server
        if route == "token":
            server.tokens.clear()
        remote.fail_next(route, FAULTS[fault])
        ensure_delivered_once(task, product, server)
        assert not remote.faults[route], f"{route} was not asked for"


@pytest.mark.parametrize("fault", FAULTS)
def test_any_answer_may_be_lost_during_a_restore(
    fault: str, brand: Any, lead: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    for route in RESTORE:
        task, product = create_image_and_product(brand, server)
        approve(task, reviewer)
        ensure_delivered_once(task, product, server)
        change_in_shop(product, server)
        start_restore(task, lead)
        server.fail_next(route, FAULTS[fault])
        ensure_as_before(task, product, server)
        assert not server.faults[route], f"{route} was not asked for"


def test_a_recall_after_a_death_at_any_boundary_leaves_nothing(
    brand: Any, lead: Any, reviewer: Any, destination: Destination, server: ShopifyServer, monkeypatch: Any
) -> None:
    monkeypatch.setattr("review.delivery.shopify.files.SEARCH_LAG_SECONDS", 0.0)
    for number in range(12):
        task, product = create_image_and_product(brand, server)
        approve(task, reviewer)
        with killing_at(number), pytest.raises(Killed):
            deliveries.attempt_due()
        start_restore(task, lead)
        ensure_as_before(task, product, server)


@pytest.mark.parametrize("fails_later", [False, True])
def test_a_search_that_lags_behind_makes_no_second_file(
    fails_later: bool, brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, product = create_image_and_product(brand, server)
    server.shop.index_seconds, server.shop.duplicates_fail_later = 3600, fails_later
    server.fail_next("CreateFile", CUT_AFTER)
    approve(task, reviewer)
    assert attempt().observed == ObservedState.UNCERTAIN
    for _attempt in range(2):
        delivery = attempt()
        assert "already, but its search does not show it yet" in delivery.error
        assert delivery.observed in {ObservedState.UNCERTAIN, ObservedState.FAILED} and delivery.due_at
        assert len([file for file in server.shop.files.values() if file.created_at]) == 1
    server.shop.index_seconds = 0
    ensure_delivered_once(task, product, server)


def test_a_recall_waits_until_the_search_would_show_an_uncertain_upload(
    brand: Any, lead: Any, reviewer: Any, destination: Destination, server: ShopifyServer, monkeypatch: Any
) -> None:
    task, product = create_image_and_product(brand, server)
    server.shop.index_seconds = 3600
    server.fail_next("CreateFile", CUT_AFTER)
    approve(task, reviewer)
    attempt()
    start_restore(task, lead)
    delivery = attempt()
    assert delivery.error == "It is not known yet whether the shop has an image that was sent a moment ago."
    assert delivery.observed == ObservedState.FAILED
    assert delivery.due_at and 200 < (delivery.due_at - timezone.now()).total_seconds() <= 300
    server.shop.index_seconds = 0
    ensure_as_before(task, product, server)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["delivery.journalled", "delivery.sent", "delivery.done"])
def test_killed_workers_leave_one_image(
    point: str, brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, product = create_image_and_product(brand, server)
    approve(task, reviewer)
    worker = processes.start("worker", "delivery", PROOFLINE_KILL_AT=point, PROOFLINE_ALLOW_PRIVATE_WEBHOOKS="1")
    assert worker.wait(60) == -signal.SIGKILL
    assert Delivery.objects.get().observed == ObservedState.SENDING
    ensure_delivered_once(task, product, server)
