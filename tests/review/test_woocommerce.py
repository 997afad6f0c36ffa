"""Test the destination "woocommerce" over a real socket: images of products and variations, by media id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.errors import Invalid
from review.choices import ObservedState
from review.models import Delivery, Destination
from review.services import deliveries, destinations, packages
from review.services.delivery_sessions import open_session
from tests.support import site_deliveries as support
from tests.support.site_deliveries import approve, finish, our_media, revoke, textured
from tests.support.wordpress_server import WordPressServer, serving

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[[int], Callable[[], None]]


@pytest.fixture
def site(settings: Any) -> Iterator[WordPressServer]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    with serving() as running:
        yield running
        assert running.sources == 0, "an address was sent instead of an id"


@pytest.fixture
def destination(site: WordPressServer, brand: Any, lead: Any) -> Destination:
    return support.create_destination(site, brand, lead, "woocommerce")


def images(site: WordPressServer, product: int) -> list[int]:
    shown: list[int] = site.products[product]["images"]
    return shown


def plan() -> list[str]:
    given = Delivery.objects.select_related("destination").get()
    plugin = destinations.build_plugin(given.destination)
    return plugin.plan(packages.build_package(given), open_session(given))


# -- products ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("position", "place"), [(0, 2), (1, 0), (2, 1), (9, 2)])
def test_an_image_gets_its_place_and_the_others_stay_as_they_are(
    site: WordPressServer, brand: Any, lead: Any, reviewer: Any, position: int, place: int
) -> None:
    support.create_destination(site, brand, lead, "woocommerce", position=position)
    theirs = [site.add_media(), site.add_media("back.jpg", "Back")]
    product = site.add_product("MUG-1", theirs)
    approve(support.create_task(brand, textured(1), key="MUG-1"), reviewer)
    assert f"Show them as image {place + 1} of product {product}." in plan()
    finish()
    [ours] = our_media(site, textured(1))
    assert images(site, product) == [*theirs[:place], ours, *theirs[place:]]
    assert [site.media[each].alt_text for each in theirs] == ["Theirs", "Back"]
    delivery = Delivery.objects.get()
    assert [report["outcome"] for report in delivery.verification] == ["same"]
    assert delivery.files[0]["id"] == str(ours)


def test_a_variation_gets_its_own_image_and_its_product_keeps_its_own(
    site: WordPressServer, destination: Destination, brand: Any, reviewer: Any, lead: Any
) -> None:
    theirs, blue = site.add_media(), site.add_media("blue.jpg")
    product = site.add_product("MUG-1", [theirs])
    variation = site.add_variation(product, "MUG-1-BLUE", blue)
    task = support.create_task(brand, textured(1), key="MUG-1-BLUE")
    approve(task, reviewer)
    assert plan()[-1] == f"Make the first of them the image of variation {product}/{variation}."
    finish()
    assert [site.variations[variation]["image"]] == our_media(site, textured(1))
    assert images(site, product) == [theirs]
    revoke(task, lead, restores=True)
    finish()
    assert (site.variations[variation]["image"], images(site, product)) == (blue, [theirs])


def test_a_variation_without_an_image_has_none_after_a_restore(
    site: WordPressServer, brand: Any, lead: Any, reviewer: Any
) -> None:
    """The shop answers with the product's image for a variation that has none."""
    support.create_destination(site, brand, lead, "woocommerce", on_product=True, position=1)
    theirs = site.add_media()
    product = site.add_product("MUG-1", [theirs])
    variation = site.add_variation(product, "MUG-1-BLUE")
    task = support.create_task(brand, textured(1), key="MUG-1-BLUE")
    approve(task, reviewer)
    finish()
    [ours] = our_media(site, textured(1))
    assert (site.variations[variation]["image"], images(site, product)) == (ours, [ours, theirs])
    revoke(task, lead, restores=True)
    finish()
    assert (site.variations[variation]["image"], images(site, product)) == (0, [theirs])


def test_a_product_is_chosen_by_hand_where_the_sku_differs(
    site: WordPressServer, brand: Any, lead: Any, reviewer: Any
) -> None:
    product = site.add_product("OTHER", [])
    support.create_destination(site, brand, lead, "woocommerce", products=f'{{"MUG-1": "{product}"}}')
    approve(support.create_task(brand, textured(1), key="MUG-1"), reviewer)
    finish()
    assert images(site, product) == our_media(site, textured(1))


def test_a_choice_by_hand_that_is_no_number_is_refused(site: WordPressServer, brand: Any, lead: Any) -> None:
    with pytest.raises(Invalid, match="Give a JSON object"):
        support.create_destination(site, brand, lead, "woocommerce", products='{"MUG-1": "mug"}')


def test_a_product_that_is_missing_twice_there_or_none_stops_before_anything_is_uploaded(
    site: WordPressServer, destination: Destination, brand: Any, reviewer: Any
) -> None:
    approve(support.create_task(brand, textured(1), key="MUG-1"), reviewer)
    deliveries.attempt_due()
    assert "no product with the SKU MUG-1" in Delivery.objects.get().error
    for _ in range(2):
        site.add_product("MUG-1", [])
    Delivery.objects.all().make_due()
    deliveries.attempt_due()
    assert "2 products of the shop have the SKU MUG-1" in Delivery.objects.get().error
    assert site.media == {}


def test_an_article_is_no_product(site: WordPressServer, destination: Destination, brand: Any, reviewer: Any) -> None:
    approve(support.create_task(brand, textured(1), key="spring", kind="article"), reviewer)
    deliveries.attempt_due()
    assert "deliver it to WordPress" in Delivery.objects.get().error


# -- interruptions ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["push", "replacement", "recall", "restore"])
def start(request: Any, site: WordPressServer, destination: Destination, brand: Any, reviewer: Any, lead: Any) -> Start:
    """Return a function that prepares a delivery of one product and of a variation of it."""
    kind = request.param

    def start(number: int) -> Callable[[], None]:
        contents = (textured(2 * number), textured(2 * number + 1))
        theirs = [site.add_media(), site.add_media()]
        product = site.add_product(f"MUG-{number}", [*theirs])
        is_variation, own = number % 2 == 0, site.add_media()
        variation = site.add_variation(product, f"MUG-{number}-BLUE", own)
        task = support.create_task(brand, *contents, key=f"MUG-{number}" + ("-BLUE" if is_variation else ""))
        approve(task, reviewer)
        if kind != "push":
            finish()
            [ours] = our_media(site, contents[0])
            if not is_variation:
                assert images(site, product) == [*theirs, ours]
                site.products[product]["images"] = [theirs[0], ours, theirs[1]]  # somebody moves it
        if kind == "replacement":
            support.approve_another(task, 2, reviewer, lead)
        elif kind != "push":
            revoke(task, lead, restores=kind == "restore")

        def check() -> None:
            shown, variation_image = images(site, product), site.variations[variation]["image"]
            if kind in {"push", "replacement"}:
                newest, oldest = contents if kind == "push" else contents[::-1]
                [ours] = our_media(site, newest)
                assert our_media(site, oldest) == []
                order = [*theirs, ours] if kind == "push" else [theirs[0], ours, theirs[1]]
                assert (shown, variation_image) == ((theirs, ours) if is_variation else (order, own))
            else:
                assert our_media(site, *contents) == []
                cleared = is_variation and kind == "recall"
                assert (shown, variation_image) == (theirs, 0 if cleared else own)

        return check

    return start


def test_a_break_of_any_request_leaves_each_image_once(site: WordPressServer, start: Start) -> None:
    assert support.break_each_request(site, start) > 9


def test_a_process_that_ends_at_any_point_leaves_each_image_once(start: Start, monkeypatch: Any) -> None:
    assert support.kill_at_each_point(monkeypatch, start) >= 1


# -- recall and restore -----------------------------------------------------------------------------------------------


def test_a_restore_brings_back_removed_images_order_and_texts_and_keeps_new_ones(
    site: WordPressServer, destination: Destination, brand: Any, reviewer: Any, lead: Any
) -> None:
    theirs = [site.add_media() for _ in range(4)]
    product = site.add_product("MUG-1", [*theirs])
    task = support.create_task(brand, textured(1), key="MUG-1")
    approve(task, reviewer)
    finish()
    [ours] = our_media(site, textured(1))
    added = site.add_media("new.jpg")
    site.products[product]["images"] = [added, theirs[2], ours, theirs[0]]
    site.media[theirs[0]].alt_text = "changed"
    del site.media[theirs[3]]
    revoke(task, lead, restores=True)
    finish()
    assert images(site, product) == [*theirs[:3], added]
    assert site.media[theirs[0]].alt_text == "Theirs"
    assert "1 were deleted in the shop" in Delivery.objects.get().attempt_rows.latest("number").message


def test_an_image_follows_its_sku_to_another_product(
    site: WordPressServer, destination: Destination, brand: Any, reviewer: Any, lead: Any
) -> None:
    first, second = site.add_product("MUG-1", []), site.add_product("", [])
    task = support.create_task(brand, textured(1), textured(2), key="MUG-1")
    approve(task, reviewer)
    finish()
    site.products[first]["sku"], site.products[second]["sku"] = "", "MUG-1"
    support.approve_another(task, 2, reviewer, lead)
    finish()
    assert (images(site, first), images(site, second)) == ([], our_media(site, textured(2)))
    assert our_media(site, textured(1)) == []


def test_a_product_that_is_gone_does_not_stop_a_recall(
    site: WordPressServer, destination: Destination, brand: Any, reviewer: Any, lead: Any
) -> None:
    product = site.add_product("MUG-1", [])
    task = support.create_task(brand, textured(1), key="MUG-1")
    approve(task, reviewer)
    finish()
    del site.products[product]
    revoke(task, lead, restores=True)
    finish()
    assert (Delivery.objects.get().observed, site.media) == (ObservedState.ABSENT, {})


# -- connection -------------------------------------------------------------------------------------------------------


def test_the_connection_test_says_what_is_missing(site: WordPressServer, destination: Destination) -> None:
    plugin = destinations.build_plugin(destination)
    session: Any = None
    assert plugin.test_connection(session) == []
    site.rights -= {"edit_others_products", "upload_files"}
    assert plugin.test_connection(session) == [
        "The user editor may not upload files: give it the role Editor.",
        "The user editor may not edit all products: give it the role Shop manager.",
    ]
    site.rights -= {"edit_products"}
    assert (
        plugin.test_connection(session)[-1] == "The user editor may not read products: give it the role Shop manager."
    )
    site.has_woocommerce = False
    assert plugin.test_connection(session)[-1] == "The site has no WooCommerce: install and activate it."
