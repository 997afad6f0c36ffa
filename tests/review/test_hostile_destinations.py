"""Test destinations whose servers are hostile or careless: what they answer cannot harm what we keep and show."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from core.errors import Busy
from core.models import Brand, Event, User
from review.choices import ObservedState
from review.delivery import http
from review.delivery.base import DeliveryError, Package
from review.delivery.hidden_secrets import HiddenSecret
from review.delivery.hot_folder.bucket import BucketStorage
from review.delivery.http_template.destination import HttpTemplate
from review.delivery.shopify import operations
from review.delivery.shopify.client import ShopClient
from review.delivery.shopify.operations import API_VERSION
from review.delivery.uploads import Upload
from review.delivery.wagtail.site import WagtailSite
from review.models import Delivery, DeliveryAttempt, Destination, ReviewTask
from review.services import deliveries, destination_checks, destinations, web_slots
from tests.support import awkward_server, hostile_files, site_deliveries
from tests.support.awkward_server import AwkwardServer, Talk

pytestmark = pytest.mark.django_db(transaction=True)

GRAPHQL = f"/admin/api/{API_VERSION}/graphql.json"
LOGIN = "editor:correct-horse-battery"
TEMPLATE = """
headers: {Authorization: "Basic {secret.basic}"}
upload:
  method: POST
  url: /files
  raw: "{file}"
  answer: {id: /id, url: /url}
"""
NEEDED = {
    "http": {"template": TEMPLATE},
    "cloudinary": {"cloud_name": "demo"},
    "sanity": {"project": "abc12def"},
    "contentful": {"space": "cf1"},
}
FIND = """
find: {method: GET, url: /files, answer: {match: {/name: "{file.name}"}, id: /id}}
"""


@pytest.fixture
def server(settings: Any) -> Iterator[AwkwardServer]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    with awkward_server.serving() as running:
        yield running


@pytest.fixture
def task(brand: Brand) -> ReviewTask:
    return site_deliveries.create_task(brand, site_deliveries.textured(1))


def answering(content: Any, status: str = "200 OK") -> Callable[[Talk], None]:
    body = json.dumps(content).encode()
    return lambda talk: talk.answer(body, status, content_type="application/json")


def connect(server: AwkwardServer, brand: Brand, lead: User, kind: str = "http", **config: Any) -> Destination:
    config = {"url": server.url("").rstrip("/"), "allow_private": True, **NEEDED.get(kind, {}), **config}
    if kind == "contentful":
        config["upload_url"] = config["url"]
    return destinations.create(brand=brand, by=lead, slug=kind, name=kind, kind=kind, config=config, secret=LOGIN)


def deliver(task: ReviewTask, reviewer: User) -> Delivery:
    site_deliveries.approve(task, reviewer)
    deliveries.attempt_due()
    return Delivery.objects.get()


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
@pytest.mark.parametrize("place", ["message", "id", "url"])
def test_text_that_cannot_be_stored_is_a_failed_delivery_and_not_a_crash(
    text: str, place: str, server: AwkwardServer, brand: Brand, lead: User, reviewer: User, task: ReviewTask
) -> None:
    if place == "message":
        server.pages["/files"] = answering({"message": text}, "400 Bad Request")
    else:
        server.pages["/files"] = answering({"id": "7", "url": "/7", place: text})
    connect(server, brand, lead)
    delivery = deliver(task, reviewer)
    assert delivery.observed in {ObservedState.FAILED, ObservedState.UNCERTAIN}
    assert not delivery.is_leased
    assert f"\\u{ord(text[1]):04x}" in delivery.error.lower() or f"U+{ord(text[1]):04X}" in delivery.error


def test_ids_of_thousands_of_digits_are_put_in_order(server: AwkwardServer) -> None:
    ids = ["9" * 5000, "10", "8"]
    server.pages["/files"] = answering([{"id": number, "name": "mug.jpg"} for number in ids])
    config = {"url": server.url("").rstrip("/"), "allow_private": True, "template": TEMPLATE + FIND}
    package = Package(event_id="e", asset_id=1, sku="MUG", brand="b", campaign="c", files=(), lineage={})
    found = HttpTemplate(config, LOGIN).uploads.find(package, Upload(f"file:{'0' * 64}:mug.jpg"))
    assert [made["id"] for made in found] == ids[::-1]


def test_errors_of_megabytes_are_cut_before_they_are_kept_and_sealed(
    server: AwkwardServer, brand: Brand, lead: User, reviewer: User, task: ReviewTask
) -> None:
    server.pages[GRAPHQL] = answering({"errors": [{"message": "x" * 3_000_000}]})
    connect(server, brand, lead, "shopify")
    delivery = deliver(task, reviewer)
    assert delivery.observed == ObservedState.FAILED
    assert len(DeliveryAttempt.objects.get().message) <= 1000
    kept = Event.objects.filter(type="review.delivery.failed").get()
    assert len(json.dumps(kept.payload)) < 3000


@pytest.mark.parametrize(
    "kind",
    [
        "wordpress",
        "wagtail",
        "resourcespace",
        "strapi",
        "woocommerce",
        "http",
        "sanity",
        "contentful",
        "shopify",
        "cloudinary",
        "bynder",
    ],
)
def test_a_login_that_the_server_repeats_in_its_error_is_not_shown(
    kind: str, server: AwkwardServer, brand: Brand, lead: User, reviewer: User, task: ReviewTask
) -> None:
    class Everything(dict[str, Any]):
        def get(self, path: str, default: Any = None) -> Any:
            return answering({"message": words, "code": "refused"}, "400 Bad Request")

    words = f"You sent {LOGIN} ({base64.b64encode(LOGIN.encode()).decode()}), with {LOGIN.partition(':')[2]}."
    server.pages = Everything()
    destination = connect(server, brand, lead, kind)
    delivery = deliver(task, reviewer)
    test = destination_checks.test_connection(destination_id=destination.pk, by=lead)
    shown = [delivery.error, DeliveryAttempt.objects.get().message, *test.problems]
    shown += [json.dumps(payload) for payload in Event.objects.values_list("payload", flat=True)]
    assert "You sent" in delivery.error
    for text in shown:
        assert "correct-horse" not in text
        assert base64.b64encode(LOGIN.encode()).decode() not in text


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,<script>alert(1)</script>", " JavaScript:x"])
def test_an_address_that_is_a_script_is_no_link(
    url: str,
    server: AwkwardServer,
    brand: Brand,
    lead: User,
    reviewer: User,
    task: ReviewTask,
) -> None:
    server.pages["/files"] = answering({"id": "7", "url": url})
    connect(server, brand, lead)
    delivery = deliver(task, reviewer)
    client = Client()
    client.force_login(lead)
    page = client.get(reverse("delivery", args=[brand.slug, delivery.pk])).content.decode()
    assert delivery.observed == ObservedState.PRESENT
    assert "javascript:" not in page.lower()
    assert "data:text" not in page
    assert [entry["url"] for entry in delivery.files] == [""]


def test_hiding_a_huge_secret_takes_no_longer_than_reading_it() -> None:
    secret = "user:" + "ab" * 500_000
    started = time.monotonic()
    assert HiddenSecret(secret).hide("The server answered " + "ab" * 200) == "The server answered …"
    assert time.monotonic() - started < 5


class Purse:
    """A rate limit that lets everything pass and notes what was paid."""

    def __init__(self) -> None:
        self.paid: list[float] = []

    def wait(self, cost: float) -> None:
        self.paid.append(cost)

    def report(self, *, available: float, maximum: float, per_second: float, unused: float = 0.0) -> None: ...


def test_a_shop_cannot_change_what_operations_cost_at_others(server: AwkwardServer) -> None:
    greedy, other = server.url("/greedy"), server.url("/other")
    cost = {"requestedQueryCost": 10**9, "actualQueryCost": 1}
    server.pages[f"/greedy{GRAPHQL}"] = answering({"data": {}, "extensions": {"cost": cost}})
    server.pages[f"/other{GRAPHQL}"] = answering({"data": {}})
    purse = Purse()
    for address in (greedy, greedy, other):
        ShopClient(address, "", "key", allow_private=True).run(operations.SHOP, purse)
    assert purse.paid == [3, 1000, 3]


def test_a_shop_that_is_slow_to_give_a_token_holds_up_no_other(server: AwkwardServer) -> None:
    slow, quick = server.url("/slow"), server.url("/quick")
    is_asked = threading.Event()

    def wait(talk: Talk) -> None:
        is_asked.set()
        talk.drip(b"HTTP/1.1 200 OK\r\n", every_seconds=1)

    server.pages["/slow/admin/oauth/access_token"] = wait
    server.pages["/quick/admin/oauth/access_token"] = answering({"access_token": "t", "expires_in": 3600})
    server.pages[f"/quick{GRAPHQL}"] = answering({"data": {"shop": {"name": "Quick"}}})

    def ask_slow() -> None:
        with contextlib.suppress(DeliveryError):
            ShopClient(slow, "app", "key", allow_private=True).run(operations.SHOP, Purse())

    asking = threading.Thread(target=ask_slow, daemon=True)
    asking.start()
    assert is_asked.wait(5)
    started = time.monotonic()
    data = ShopClient(quick, "app", "key", allow_private=True).run(operations.SHOP, Purse())
    assert data == {"shop": {"name": "Quick"}}
    assert time.monotonic() - started < 5
    server.is_closing.set()
    asking.join(30)


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden"])
@pytest.mark.parametrize("method", ["read", "delete"])
def test_a_bucket_that_sends_without_end_is_cut_off(method: str, status: str, server: AwkwardServer) -> None:
    def endless(talk: Talk) -> None:
        talk.send(f"HTTP/1.1 {status}\r\nContent-Type: image/png\r\n\r\n".encode())
        awkward_server.send_forever(talk, b"x" * 1_000_000)

    server.pages["/images/a.png"] = endless
    storage = BucketStorage("images", "", server.url("").rstrip("/"), "eu-central-1", key="id", value="key")
    tracemalloc.start()
    try:
        with pytest.raises(DeliveryError, match=r"no file of ours|too long or too slow"):
            getattr(storage, method)("a.png")
        assert tracemalloc.get_traced_memory()[1] < 250_000_000
    finally:
        tracemalloc.stop()


def test_the_image_of_a_product_is_neither_waited_for_nor_read_without_end(
    server: AwkwardServer, brand: Brand, lead: User
) -> None:
    def product(name: str) -> dict[str, Any]:
        return {
            "id": name,
            "title": name * 1000,
            "variants": {"nodes": []},
            "featuredMedia": {"preview": {"image": {"url": server.url(f"/{name}")}}},
        }

    def endless(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n")
        awkward_server.send_forever(talk, b"x" * 100_000)

    server.pages["/slow"] = lambda talk: talk.drip(b"HTTP/1.1 200 OK\r\nServer: slow\r\n" * 20, every_seconds=1)
    server.pages["/endless"] = endless
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    server.pages["/drawing"] = lambda talk: talk.answer(svg, content_type="image/png")
    nodes = [product(name) for name in ("slow", "endless", "drawing", *"abcdefghijklmnopq")]
    server.pages[GRAPHQL] = answering({"data": {"products": {"nodes": nodes}, "productVariants": {"nodes": []}}})
    shop, started = connect(server, brand, lead, "shopify"), time.monotonic()
    found = destination_checks.find_products(destination_id=shop.pk, text="mug", by=lead)
    assert time.monotonic() - started < 15
    assert [offer.product.id for offer in found.products] == ["slow", "endless", "drawing", *"abcdefghi"]
    assert not any(offer.image for offer in found.products)
    assert max(len(offer.product.title) for offer in found.products) <= 1000


def test_questions_to_slow_destinations_leave_half_of_the_web_threads_free(
    server: AwkwardServer, brand: Brand, lead: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = connect(server, brand, lead)
    slots = threading.BoundedSemaphore(1)
    monkeypatch.setattr(web_slots, "_slots", lambda: slots)
    ask: list[Callable[[], Any]] = [
        lambda: destination_checks.test_connection(destination_id=destination.pk, by=lead),
        lambda: destination_checks.plan_next(destination_id=destination.pk, by=lead),
        lambda: destination_checks.find_products(destination_id=destination.pk, text="mug", by=lead),
    ]
    for question in ask:
        with web_slots.slot(), pytest.raises(Busy):
            question()
        question()


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "192.0.0.192", "[fe80::1]"])
def test_no_destination_reaches_the_metadata_of_a_cloud_where_private_addresses_are_allowed(host: str) -> None:
    with pytest.raises(DeliveryError, match="not a public address"):
        http.Client(f"http://{host}", allow_private=True).send("GET", "/latest/meta-data/")


def test_a_site_with_endless_newer_images_is_not_searched_for_ever(server: AwkwardServer) -> None:
    items = [{"id": 10**6, "meta": {"download_url": "/x.png"}}] * 20
    server.pages["/images/"] = answering({"items": items})
    site = WagtailSite(server.url("").rstrip("/"), "token", allow_private=True)
    with pytest.raises(DeliveryError, match="look for it by hand"):
        list(site.images_after(1))
    assert len(server.paths) == 500


def test_an_image_that_costs_much_to_open_is_not_opened_to_compare_it(
    server: AwkwardServer, brand: Brand, lead: User, reviewer: User, task: ReviewTask
) -> None:
    served = hostile_files.png(9000, 9000)
    server.pages["/files"] = answering({"id": "7", "url": "/7.png"})
    server.pages["/7.png"] = lambda talk: talk.answer(served)
    connect(server, brand, lead)
    site_deliveries.approve(task, reviewer)
    tracemalloc.start()
    try:
        deliveries.attempt_due()
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    assert [entry["outcome"] for entry in Delivery.objects.get().verification] == ["different"]
