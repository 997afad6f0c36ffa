"""Test the Shopify destination through the service, against a shop of ours on real sockets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from campaigns.models import Subject
from generation.models import AssetVersion
from review.choices import ObservedState
from review.delivery.base import DeliveryError
from review.delivery.names import remote_name
from review.models import Delivery, Destination, ReviewTask
from review.services import decisions, deliveries, delivery_requests, destinations, packages
from review.services.delivery_sessions import open_session
from tests.support import factories
from tests.support.images_in_review import create_image_in_review
from tests.support.racing import race_without_errors
from tests.support.shopify_deliveries import approve, attempt, create_destination, create_image_and_product
from tests.support.shopify_server import OLD_TOKEN, ShopifyServer, serving_shop
from tests.support.shopify_shop import ShopFile

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(settings: Any, clean_redis: Any) -> Iterator[ShopifyServer]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    with serving_shop() as running:
        yield running


@pytest.fixture
def destination(brand: Any, lead: Any, server: ShopifyServer) -> Destination:
    return create_destination(brand, lead, server)


def our_file(server: ShopifyServer) -> ShopFile:
    """Return the only file of the shop that came from us."""
    [file] = [file for file in server.shop.files.values() if file.created_at]
    return file


def names(server: ShopifyServer) -> list[str]:
    """Return the names of the files that came from us."""
    return [file.name for file in server.shop.files.values() if file.created_at]


def plan() -> list[str]:
    delivery = Delivery.objects.get()
    plugin = destinations.build_plugin(delivery.destination)
    return plugin.plan(packages.build_package(delivery), open_session(delivery))


def ask_again(**changes: Any) -> Delivery:
    """Deliver once more what is there already."""
    Delivery.objects.update(due_at=timezone.now(), **changes)
    return attempt()


# -- delivery ---------------------------------------------------------------------------------------------------------


def test_an_approved_image_is_shown_by_its_product_and_variant(
    brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, product = create_image_and_product(brand, server)
    approve(task, reviewer)
    delivery = attempt()
    assert (delivery.observed, delivery.error, delivery.due_at) == (ObservedState.PRESENT, "", None)
    file, marked = our_file(server), task.asset.versions.get().renditions.get().marked_files.get()
    assert server.shop.images_of(product) == ["front.jpg", "back.jpg", file.name]
    assert product.variants[0].media == file.id
    assert file.alt == task.asset.subject.name
    assert set(file.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert str(task.asset_id) in file.name and marked.sha256[:8] in file.name
    [entry] = delivery.files
    assert (entry["id"], entry["sha256"]) == (file.id, marked.sha256)
    assert [(report["outcome"], report["url"]) for report in delivery.verification] == [("same", entry["url"])]
    assert server.storage.seen_tokens == [] and server.throttled == 0
    assert server.counts["token"] == 1


def test_several_files_come_in_their_order_to_the_place_of_the_settings(
    brand: Any, lead: Any, reviewer: Any, server: ShopifyServer
) -> None:
    create_destination(brand, lead, server, position=2)
    campaign = factories.CampaignFactory(brand=brand)
    specs = [factories.OutputSpecFactory(campaign=campaign, slug=slug) for slug in ("one", "two", "three")]
    task, product = create_image_and_product(brand, server, campaign=campaign, specs=specs)
    server.shop.reorder_seconds = server.shop.processing_seconds = 0.4
    approve(task, reviewer)
    delivery = attempt()
    assert delivery.observed == ObservedState.PRESENT, delivery.error
    ours = [server.shop.files[entry["id"]].name for entry in delivery.files]
    assert len(set(ours)) == 3
    assert server.shop.images_of(product) == ["front.jpg", *ours, "back.jpg"]
    assert product.variants[0].media == delivery.files[0]["id"]


@pytest.mark.parametrize(
    ("config", "attributes"),
    [
        ({"find_by": "barcode"}, {"barcode": "4006381333931"}),
        ({"find_by": "handle"}, {"handle": "handle-2"}),
        ({"find_by": "metafield", "metafield": "custom.article"}, {"article": "A-77"}),
    ],
)
def test_products_are_found_by_other_keys(
    config: dict[str, str], attributes: dict[str, str], brand: Any, lead: Any, reviewer: Any, server: ShopifyServer
) -> None:
    create_destination(brand, lead, server, **config)
    server.shop.add_product("OTHER", barcode="1")
    product = server.shop.add_product("", barcode="4006381333931", metafields={"custom.article": "A-77"})
    task = create_image_in_review(brand)
    Subject.objects.update(attributes=attributes)
    approve(task, reviewer)
    assert attempt().observed == ObservedState.PRESENT, Delivery.objects.get().error
    assert server.shop.images_of(product) == names(server)


def test_a_product_that_is_not_found_is_chosen_by_hand(
    brand: Any, lead: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task = create_image_in_review(brand)
    sku = task.asset.subject.key
    server.shop.add_product(f"{sku}-BLUE")
    product = server.shop.add_product("ANOTHER")
    approve(task, reviewer)
    delivery = attempt()
    assert (delivery.observed, delivery.due_at) == (ObservedState.FAILED, None)
    assert delivery.error.startswith(f"The shop has no product with the sku {sku}. Create it there, or choose one")
    assert names(server) == []
    number = product.id.rpartition("/")[2]
    config = destination.config | {"products": f'{{"{sku}": {number}}}'}
    destinations.change(destination_id=destination.pk, by=lead, config=config)
    delivery_requests.retry(delivery_id=delivery.pk, by=lead)
    assert attempt().observed == ObservedState.PRESENT
    assert server.shop.images_of(product) == names(server)


def test_two_products_of_one_sku_are_refused(
    brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, _product = create_image_and_product(brand, server)
    server.shop.add_product(task.asset.subject.key)
    approve(task, reviewer)
    assert attempt().error == f"2 products of the shop have the sku {task.asset.subject.key}. Choose one."
    assert names(server) == []


def test_the_alt_text_is_changed_without_a_new_upload(
    brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, _product = create_image_and_product(brand, server)
    approve(task, reviewer)
    attempt()
    assert ask_again(alt_text="x" * 512).observed == ObservedState.PRESENT
    assert our_file(server).alt == "x" * 512
    assert server.counts["CreateFile"] == 1


def test_a_changed_alt_text_reaches_the_shop_by_itself(
    brand: Any, reviewer: Any, manager: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, _product = create_image_and_product(brand, server)
    approve(task, reviewer)
    delivery = attempt()
    delivery_requests.set_alt_text(delivery_id=delivery.pk, alt_text="A sage mug on clay", by=manager)
    assert deliveries.attempt_due() == 1
    assert our_file(server).alt == "A sage mug on clay" and server.counts["CreateFile"] == 1


def test_what_people_in_the_shop_moved_stays_and_what_they_took_off_comes_back(
    brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, product = create_image_and_product(brand, server)
    approve(task, reviewer)
    attempt()
    product.media.insert(0, product.media.pop())
    ask_again()
    assert server.shop.images_of(product) == [*names(server), "front.jpg", "back.jpg"]
    product.media.pop(0)
    ask_again()
    assert server.shop.images_of(product) == ["front.jpg", "back.jpg", *names(server)]
    assert server.counts["CreateFile"] == 1
    server.changes.fileDelete(None, [our_file(server).id])
    assert "uploaded again" in ask_again().error
    assert attempt().observed == ObservedState.PRESENT
    assert server.shop.images_of(product) == ["front.jpg", "back.jpg", *names(server)]
    assert product.variants[0].media == our_file(server).id


def test_an_image_moves_to_the_product_that_is_chosen_later(
    brand: Any, lead: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, wrong = create_image_and_product(brand, server)
    right = server.shop.add_product("RIGHT")
    approve(task, reviewer)
    attempt()
    config = destination.config | {"products": f'{{"{task.asset.subject.key}": "{right.id}"}}'}
    destinations.change(destination_id=destination.pk, by=lead, config=config)
    ask_again()
    assert server.shop.images_of(wrong) == ["front.jpg", "back.jpg"]
    assert server.shop.images_of(right) == names(server)


def test_long_names_stay_apart_by_asset_and_bytes() -> None:
    long = "Müller Vase " * 20 + ".JPG"
    made = {remote_name(asset, long, sha256 * 64) for asset in (1, 2, 123456789) for sha256 in "ab"}
    assert len(made) == 6 and {len(name) for name in made} <= set(range(90, 101))
    assert all(name.startswith("muller-vase-muller-vase-") for name in made)
    assert remote_name(1, "Müller Vase.JPG", "a" * 64) == "muller-vase-1-aaaaaaaa.jpg"


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_a_file_that_the_shop_cannot_process_is_deleted_there(
    brand: Any, lead: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, product = create_image_and_product(brand, server)
    server.shop.failures.append("IMAGE_PROCESSING_FAILURE")
    approve(task, reviewer)
    delivery = attempt()
    assert delivery.error == "The shop could not process the image: (IMAGE_PROCESSING_FAILURE)"
    assert (delivery.due_at, names(server)) == (None, [])
    delivery_requests.retry(delivery_id=delivery.pk, by=lead)
    assert attempt().observed == ObservedState.PRESENT
    assert server.shop.images_of(product) == ["front.jpg", "back.jpg", *names(server)]


def test_slow_processing_is_waited_for_over_attempts(
    brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, _product = create_image_and_product(brand, server)
    server.shop.processing_seconds = 2.0
    Destination.objects.update(config=destination.config | {"ready_seconds": 0.2})
    approve(task, reviewer)
    assert attempt().error == "The shop is still processing the image."
    time.sleep(2)
    assert attempt().observed == ObservedState.PRESENT
    assert server.counts["CreateFile"] == 1


def test_an_upload_above_the_size_limit_leaves_nothing(
    brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, _product = create_image_and_product(brand, server)
    server.storage.max_bytes = 2
    approve(task, reviewer)
    delivery = attempt()
    assert "answered 400" in delivery.error and delivery.due_at is None
    assert (names(server), server.shop.staged) == ([], {})


def test_a_full_product_is_refused_before_anything_is_sent(
    brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, product = create_image_and_product(brand, server)
    product.media += [f"gid://shopify/MediaImage/{number}" for number in range(248)]
    for media in product.media[2:]:
        server.shop.files[media] = ShopFile(media, f"{media}.jpg", b"", "", 0.0)
    approve(task, reviewer)
    assert "has 250 images, the most that Shopify takes" in attempt().error
    assert server.counts["Stage"] == 0


def test_a_missing_permission_is_named(
    brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, product = create_image_and_product(brand, server)
    server.shop.scopes.discard("write_products")
    approve(task, reviewer)
    delivery = attempt()
    assert delivery.error.startswith("Access denied: Missing permission to manage products.")
    assert "write_products" in delivery.error and delivery.due_at is None
    assert server.shop.images_of(product) == ["front.jpg", "back.jpg"]


def test_the_connection_test_names_what_is_missing(
    brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, _product = create_image_and_product(brand, server)
    approve(task, reviewer)
    session = open_session(Delivery.objects.get())
    assert destinations.build_plugin(destination).test_connection(session) == []
    server.shop.scopes.clear()
    assert destinations.build_plugin(destination).test_connection(session) == [
        "The app may not read products: give it the scope read_products.",
        "The app may not change products: give it the scope write_products.",
        "The app may not upload files: give it the scope write_files.",
        "The app may not look files up: give it the scope read_files.",
    ]
    destination.secret = "wrong"
    with pytest.raises(DeliveryError, match=r"gives this app no token: .*The client secret is wrong") as refused:
        destinations.build_plugin(destination).test_connection(session)
    assert refused.value.is_final


# -- versions, recall, restore ----------------------------------------------------------------------------------------


def approve_second_version(task: ReviewTask, lead: Any, reviewer: Any) -> AssetVersion:
    second = task.asset.versions.order_by("candidate").last()
    assert second is not None
    approve(decisions.reopen(asset_id=task.asset_id, by=lead), reviewer, second)
    return second


def test_a_new_version_takes_the_place_of_the_earlier_one(
    brand: Any, lead: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, product = create_image_and_product(brand, server, candidates=2)
    approve(task, reviewer)
    attempt()
    product.media.insert(1, product.media.pop())
    [earlier] = names(server)
    second = approve_second_version(task, lead, reviewer)
    [sentence_for_new, sentence_for_variant, sentence_for_old] = plan()
    assert "as image 2 of" in sentence_for_new and "variant" in sentence_for_variant
    assert sentence_for_old == f"Delete the earlier image {earlier}."
    delivery = attempt()
    assert delivery.observed == ObservedState.PRESENT, delivery.error
    file = our_file(server)
    assert file.name != earlier and second.renditions.get().marked_files.get().sha256[:8] in file.name
    assert server.shop.images_of(product) == ["front.jpg", file.name, "back.jpg"]
    assert product.variants[0].media == file.id
    assert plan() == [f"Nothing to do: {product.id} has the image already."]


def test_a_recalled_image_is_gone_and_the_variant_has_its_own_again(
    brand: Any, lead: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, product = create_image_and_product(brand, server)
    approve(task, reviewer)
    [entry] = attempt().files
    plugin = destinations.build_plugin(destination)
    assert plugin.read_delivered(entry)
    decisions.revoke(asset_id=task.asset_id, by=lead, note="licence ended")
    delivery = attempt()
    assert (delivery.observed, delivery.error) == (ObservedState.ABSENT, "")
    assert names(server) == [] and plugin.read_delivered(entry) is None
    assert server.shop.images_of(product) == ["front.jpg", "back.jpg"]
    assert product.variants[0].media == product.media[0]
    assert delivery.attempt_rows.latest("pk").message == "1 image deleted"


def test_an_image_that_was_recalled_is_delivered_again(
    brand: Any, lead: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, product = create_image_and_product(brand, server)
    approve(task, reviewer)
    attempt()
    decisions.revoke(asset_id=task.asset_id, by=lead, note="licence ended")
    attempt()
    approve(decisions.reopen(asset_id=task.asset_id, by=lead), reviewer)
    assert attempt().observed == ObservedState.PRESENT
    assert server.shop.images_of(product) == ["front.jpg", "back.jpg", our_file(server).name]


def test_a_restore_puts_order_alt_texts_and_variant_image_back(
    brand: Any, lead: Any, reviewer: Any, server: ShopifyServer
) -> None:
    create_destination(brand, lead, server, position=1)
    task, product = create_image_and_product(brand, server)
    approve(task, reviewer)
    attempt()
    assert server.shop.images_of(product) == [our_file(server).name, "front.jpg", "back.jpg"]
    front, back = product.media[1:]
    server.shop.files[front].alt = "changed since"
    product.media[:] = [product.media[0], back, front]
    decisions.revoke(asset_id=task.asset_id, by=lead, note="licence ended")
    Delivery.objects.update(is_restoring=True)
    delivery = attempt()
    assert (delivery.observed, delivery.error) == (ObservedState.ABSENT, "")
    assert names(server) == []
    assert product.media == [front, back]
    assert server.shop.files[front].alt == "front"
    assert product.variants[0].media == front
    expected = "1 image deleted; the product has 2 of its 2 earlier images as before."
    assert delivery.attempt_rows.latest("pk").message == expected


# -- tokens and the rate limit ----------------------------------------------------------------------------------------


def test_a_token_is_renewed_when_it_expires_and_when_it_is_taken_back(
    brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, _product = create_image_and_product(brand, server)
    server.token_seconds = 1.0
    server.shop.processing_seconds = 2.0
    approve(task, reviewer)
    assert attempt().observed == ObservedState.PRESENT
    assert server.counts["token"] >= 2
    time.sleep(1)
    server.token_seconds = 3600
    ask_again()
    before = server.counts["token"]
    ask_again()
    assert server.counts["token"] == before
    server.tokens.clear()
    assert ask_again().observed == ObservedState.PRESENT
    assert server.counts["token"] == before + 1


def test_an_old_token_is_sent_as_it_is(brand: Any, lead: Any, reviewer: Any, server: ShopifyServer) -> None:
    made = create_destination(brand, lead, server)
    config = {name: value for name, value in made.config.items() if name != "client_id"}
    destinations.change(destination_id=made.pk, by=lead, config=config, secret=OLD_TOKEN)
    task, _product = create_image_and_product(brand, server)
    approve(task, reviewer)
    assert attempt().observed == ObservedState.PRESENT
    assert server.counts["token"] == 0
    server.tokens.clear()
    delivery = ask_again()
    assert delivery.error == "The shop refuses the access token; enter a new one."


def test_a_limit_that_others_have_used_up_is_waited_for(
    brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    task, _product = create_image_and_product(brand, server)
    approve(task, reviewer)
    server.bucket.drain(rate=40.0)
    assert attempt().observed == ObservedState.PRESENT
    assert 1 <= server.throttled <= 2, "the first answer says how much there is"


def test_two_workers_share_the_limit_and_are_not_throttled(
    brand: Any, reviewer: Any, destination: Destination, server: ShopifyServer
) -> None:
    server.bucket.maximum = server.bucket.available = 200.0
    server.bucket.rate = 40.0
    pairs = [create_image_and_product(brand, server) for _ in range(6)]
    for task, _product in pairs:
        approve(task, reviewer)
    started = time.monotonic()
    assert sum(race_without_errors(deliveries.attempt_due, deliveries.attempt_due)) == 6
    possible = 200.0 + (time.monotonic() - started) * 40.0
    assert not Delivery.objects.exclude(observed=ObservedState.PRESENT).exists()
    assert all(len(server.shop.images_of(product)) == 3 for _task, product in pairs)
    assert server.throttled == 0
    assert server.bucket.used > 0.8 * possible, f"{server.bucket.used:.0f} of {possible:.0f} points"
