"""Test deliveries and destinations in the API: states, requests for one and for many, alt text, dry run, rights."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from core.models import Brand, Event, User
from review.models import Delivery, Destination
from review.services import consequences, decisions, destinations
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments

pytestmark = pytest.mark.django_db

API = "/api/v1"
Clients = Callable[[User], APIClient]
ACTIONS = ("retry", "release", "schedule", "recall", "restore", "send")


@pytest.fixture
def client(integrator: User, api_client: Clients) -> APIClient:
    return api_client(integrator)


@pytest.fixture
def folder(brand: Brand, lead: User, tmp_path: Path) -> Destination:
    path = tmp_path / brand.slug / "shop"
    path.mkdir(parents=True)
    return destinations.create(
        brand=brand, by=lead, slug="shop", name="Shop folder", kind="folder", config={"path": str(path)}
    )


@pytest.fixture
def delivery(brand: Brand, folder: Destination, reviewer: User) -> Delivery:
    """Return the delivery of a newly approved image, which was not attempted yet."""
    return approve(brand, reviewer)


def approve(brand: Brand, by: User) -> Delivery:
    task = create_image_in_review(brand)
    decisions.approve(**decision_arguments(task), by=by)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    return Delivery.objects.get(asset=task.asset_id)


def finish(delivery: Delivery) -> None:
    """Store what a worker stores when the delivery is done."""
    Delivery.objects.filter(pk=delivery.pk).update(observed=delivery.desired, due_at=None)


def post(client: APIClient, path: str, body: Any = None, **headers: str) -> Any:
    return client.post(f"{API}/{path}", body or {}, format="json", headers=headers)


# -- the list ---------------------------------------------------------------------------------------------------------


def test_deliveries_are_listed_with_their_state(delivery: Delivery, client: APIClient) -> None:
    asset = delivery.asset
    for query, count in (
        ("", 1),
        (f"brand={asset.brand.slug}&asset={asset.pk}&destination=shop&campaign={asset.campaign.slug}", 1),
        (f"sku={asset.subject.key}&state=waiting", 1),
        ("state=failed", 0),
        ("brand=another", 0),
    ):
        assert len(client.get(f"{API}/deliveries/?{query}").json()["results"]) == count, query
    [entry] = client.get(f"{API}/deliveries/").json()["results"]
    assert (entry["state"], entry["desired"], entry["observed"], entry["mend"]) == ("waiting", "present", "absent", "")
    assert entry["campaign"] == asset.campaign.slug
    Delivery.objects.update(observed="failed", error="The shop is closed.", due_at=None)
    entry = client.get(f"{API}/deliveries/{delivery.pk}/").json()
    assert (entry["state"], entry["mend"], entry["error"]) == ("failed", "retry", "The shop is closed.")
    assert client.get(f"{API}/deliveries/?state=odd").status_code == 422


def test_the_number_of_queries_does_not_grow_with_the_lists(
    brand: Brand, delivery: Delivery, reviewer: User, client: APIClient
) -> None:
    def count(path: str) -> int:
        with CaptureQueriesContext(connection) as caught:
            assert client.get(f"{API}/{path}").status_code == 200
        return len(caught)

    paths = ("deliveries/", "destinations/")
    before = [count(path) for path in paths]
    for _ in range(3):
        factories.DestinationFactory(brand=brand)
        approve_everywhere = create_image_in_review(brand)
        decisions.approve(**decision_arguments(approve_everywhere), by=reviewer)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    assert Delivery.objects.count() > 6
    assert [count(path) for path in paths] == before


# -- requests for one -------------------------------------------------------------------------------------------------


def test_a_delivery_is_recalled_and_sent_again(delivery: Delivery, client: APIClient) -> None:
    finish(delivery)
    recalled = post(client, f"deliveries/{delivery.pk}/recall/")
    assert (recalled.status_code, recalled.json()["desired"], recalled.json()["state"]) == (200, "absent", "waiting")
    again = post(client, f"deliveries/{delivery.pk}/recall/")
    assert again.status_code == 409
    assert "queued" in again.json()["detail"]
    sent = post(client, f"deliveries/{delivery.pk}/send/")
    assert (sent.status_code, sent.json()["desired"]) == (200, "present")
    restored = post(client, f"deliveries/{delivery.pk}/restore/")
    assert restored.json()["desired"] == "absent"
    assert Delivery.objects.get().is_restoring
    causes = [event.payload["cause"] for event in Event.objects.filter(type="review.delivery.wanted").order_by("id")]
    assert causes[1:] == ["recalled", "sent again", "put back"]


def test_a_failed_delivery_is_retried(delivery: Delivery, client: APIClient) -> None:
    Delivery.objects.update(observed="failed", error="Closed.", due_at=None)
    answer = post(client, f"deliveries/{delivery.pk}/retry/")
    assert (answer.status_code, answer.json()["state"], answer.json()["error"]) == (200, "waiting", "")
    newest = Event.objects.filter(type="review.delivery.wanted").order_by("id").last()
    assert newest is not None and newest.payload["cause"] == "retried"
    finish(delivery)
    assert post(client, f"deliveries/{delivery.pk}/retry/").status_code == 409


def test_a_delivery_is_scheduled(delivery: Delivery, client: APIClient) -> None:
    at = (timezone.now() + timedelta(days=2)).replace(microsecond=0)
    answer = post(client, f"deliveries/{delivery.pk}/schedule/", {"publish_at": at.isoformat()})
    assert (answer.status_code, answer.json()["state"]) == (200, "scheduled")
    assert Delivery.objects.get().publish_at == at
    early = post(client, f"deliveries/{delivery.pk}/retry/")
    assert early.status_code == 409 and "scheduled for" in early.json()["detail"]
    past = post(client, f"deliveries/{delivery.pk}/schedule/", {"publish_at": "2020-01-01T08:00:00Z"})
    assert past.status_code == 422
    assert past.json()["errors"][0]["pointer"] == "/publish_at"
    assert post(client, f"deliveries/{delivery.pk}/schedule/").json()["errors"][0]["pointer"] == "/publish_at"
    assert post(client, f"deliveries/{delivery.pk}/schedule/", {"publish_at": None}).json()["state"] == "waiting"


def test_only_a_lead_releases(
    brand: Brand, folder: Destination, reviewer: User, lead: User, client: APIClient, api_client: Clients
) -> None:
    destinations.change(destination_id=folder.pk, by=lead, needs_release=True)
    delivery = approve(brand, reviewer)
    assert client.get(f"{API}/deliveries/{delivery.pk}/").json()["state"] == "held"
    assert post(client, f"deliveries/{delivery.pk}/release/").status_code == 403
    released = post(api_client(lead), f"deliveries/{delivery.pk}/release/")
    assert (released.status_code, released.json()["state"], released.json()["is_released"]) == (200, "waiting", True)


# -- requests for many ------------------------------------------------------------------------------------------------


def test_many_are_recalled_at_once(brand: Brand, delivery: Delivery, reviewer: User, client: APIClient) -> None:
    others = [approve(brand, reviewer) for _ in range(2)]
    chosen = [delivery.pk, others[0].pk, 99_999_999]
    body = {"brand": brand.slug, "action": "recall", "matching": {"ids": chosen}}
    first = post(client, "deliveries/act/", body, **{"Idempotency-Key": "recall-1"})
    assert (first.status_code, first.json()) == (200, {"changed": 2})
    again = post(client, "deliveries/act/", body, **{"Idempotency-Key": "recall-1"})
    assert (again.json(), again["Idempotency-Replayed"]) == ({"changed": 2}, "true")
    assert post(client, "deliveries/act/", body).json() == {"changed": 0}
    matching = {"brand": brand.slug, "action": "recall", "matching": {"destination": "shop", "state": "waiting"}}
    assert post(client, "deliveries/act/", matching).json() == {"changed": 1}


def test_many_are_scheduled_at_once(brand: Brand, delivery: Delivery, reviewer: User, client: APIClient) -> None:
    approve(brand, reviewer)
    at = (timezone.now() + timedelta(days=2)).isoformat()
    body = {"brand": brand.slug, "action": "schedule", "matching": {"campaign": delivery.asset.campaign.slug}}
    assert post(client, "deliveries/act/", {**body, "publish_at": at}).json() == {"changed": 1}
    assert Delivery.objects.exclude(publish_at=None).get() == delivery


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"action": "recall"}, "/matching"),
        ({"action": "recall", "matching": {}}, "/matching"),
        ({"action": "recall", "matching": {"ids": ["x"]}}, "/matching/ids/0"),
        ({"action": "recall", "matching": {"state": "odd"}}, "/matching/state"),
        ({"action": "explode", "matching": {"ids": [1]}}, "/action"),
        ({"action": "schedule", "matching": {"ids": [1]}}, "/publish_at"),
        ({"action": "retry", "matching": {"ids": [1]}, "publish_at": None}, "/publish_at"),
    ],
)
def test_mistakes_are_named(body: dict[str, Any], pointer: str, brand: Brand, client: APIClient) -> None:
    answer = post(client, "deliveries/act/", {"brand": brand.slug, **body})
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


@pytest.mark.parametrize("action", ACTIONS)
def test_the_services_decide_who_may_do_it(
    action: str, delivery: Delivery, reviewer: User, person: Any, other_brand: Brand, api_client: Clients
) -> None:
    brand, at = delivery.asset.brand.slug, {"publish_at": None} if action == "schedule" else {}
    many = {"brand": brand, "action": action, "matching": {"ids": [delivery.pk]}, **at}
    stranger = person("lead", brand=other_brand)
    for user, status in ((reviewer, 403), (stranger, 404)):
        assert post(api_client(user), f"deliveries/{delivery.pk}/{action}/", at).status_code == status
        assert post(api_client(user), "deliveries/act/", many).status_code == status
    foreign = {**many, "brand": other_brand.slug}
    assert post(api_client(stranger), "deliveries/act/", foreign).json() == {"changed": 0}
    delivery.refresh_from_db()
    assert (delivery.desired, delivery.wish) == ("present", 1)


# -- alt text ---------------------------------------------------------------------------------------------------------


def test_an_alt_text_is_changed_by_whoever_saw_the_current_one(delivery: Delivery, client: APIClient) -> None:
    address, body = f"{API}/deliveries/{delivery.pk}/", {"alt_text": "A sage mug"}
    assert client.patch(address, body, format="json").status_code == 428
    tag = client.get(address)["ETag"]
    changed = client.patch(address, body, format="json", headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["alt_text"]) == (200, "A sage mug")
    late = client.patch(address, {"alt_text": "Other"}, format="json", headers={"If-Match": tag})
    assert late.status_code == 412
    long = client.patch(address, {"alt_text": "x" * 513}, format="json", headers={"If-Match": "*"})
    assert (long.status_code, long.json()["errors"][0]["pointer"]) == (422, "/alt_text")


def test_an_alt_text_can_be_set_at_all_destinations_of_the_image(
    brand: Brand, delivery: Delivery, client: APIClient
) -> None:
    elsewhere = factories.DeliveryFactory(
        asset=delivery.asset, version=delivery.version, destination__brand=brand, alt_text="Old"
    )
    body = {"alt_text": "A sage mug", "everywhere": True}
    client.patch(f"{API}/deliveries/{delivery.pk}/", body, format="json", headers={"If-Match": "*"})
    elsewhere.refresh_from_db()
    assert elsewhere.alt_text == "A sage mug"


# -- destinations -----------------------------------------------------------------------------------------------------


def test_destinations_show_their_state_and_never_their_secret(
    brand: Brand, delivery: Delivery, lead: User, api_client: Clients
) -> None:
    body = {
        "brand": brand.slug, "slug": "hook", "name": "Hook", "kind": "webhook", "secret": "whsec_" + "c2VjcmV0" * 5,
        "config": {"url": "https://shop.example/hook"},
    }  # fmt: skip
    made = post(api_client(lead), "destinations/", body)
    assert made.status_code == 201, made.content
    shown = {entry["slug"]: entry for entry in api_client(lead).get(f"{API}/destinations/").json()["results"]}
    assert shown["shop"]["counts"] == {"waiting": 1}
    assert shown["hook"] == made.json()
    assert (shown["hook"]["counts"], shown["hook"]["last_success_at"], shown["hook"]["is_enabled"]) == ({}, None, True)
    assert "c2VjcmV0" not in str(shown)
    Delivery.objects.update(observed="present", due_at=None, verified_at=timezone.now())
    entry = api_client(lead).get(f"{API}/destinations/{delivery.destination_id}/").json()
    assert (entry["counts"], bool(entry["last_success_at"])) == ({"present": 1}, True)


def test_a_destination_is_changed_by_whoever_saw_the_current_one(
    brand: Brand, folder: Destination, lead: User, client: APIClient, api_client: Clients
) -> None:
    by_lead, address = api_client(lead), f"{API}/destinations/{folder.pk}/"
    assert by_lead.patch(address, {"name": "Shop"}, format="json").status_code == 428
    tag, body = by_lead.get(address)["ETag"], {"name": "Shop", "needs_release": True, "ends_with_campaign": True}
    changed = by_lead.patch(address, body, format="json", headers={"If-Match": tag})
    assert changed.status_code == 200 and body.items() <= changed.json().items()
    assert changed["ETag"] == by_lead.get(address)["ETag"] != tag
    late = by_lead.patch(address, {"is_enabled": False}, format="json", headers={"If-Match": tag})
    assert (late.status_code, late.json()["etag"]) == (412, changed["ETag"])
    off = by_lead.patch(address, {"is_enabled": False}, headers={"If-Match": changed["ETag"]})  # as a form
    assert (off.json()["is_enabled"], off.json()["needs_release"], off.json()["slug"]) == (False, True, "shop")
    wrong = by_lead.patch(address, {"config": {"path": "/etc"}}, format="json", headers={"If-Match": "*"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/config/path")
    assert client.patch(address, body, format="json", headers={"If-Match": "*"}).status_code == 403


def test_a_secret_is_written_and_never_read(brand: Brand, lead: User, api_client: Clients) -> None:
    url = {"url": "https://shop.example/hook?key=k"}
    first = "whsec_" + "Zmlyc3Qh" * 5
    hook = destinations.create(brand=brand, by=lead, slug="hook", name="Hook", kind="webhook", config=url, secret=first)
    body: dict[str, Any] = {"secret": "whsec_" + "c2VjcmV0" * 5, "config": {"url": "https://shop.example/hook?…"}}
    address = f"{API}/destinations/{hook.pk}/"
    changed = api_client(lead).patch(address, body, format="json", headers={"If-Match": "*"})
    assert changed.status_code == 200 and "c2VjcmV0" not in changed.content.decode()
    hook.refresh_from_db()
    assert (hook.secret, hook.config) == (body["secret"], url), "a hidden query stays the stored one"
    api_client(lead).patch(address, {"name": "Other"}, format="json", headers={"If-Match": "*"})
    hook.refresh_from_db()
    assert hook.secret == body["secret"]


def test_a_connection_is_tested_and_a_delivery_planned(
    folder: Destination, delivery: Delivery, client: APIClient
) -> None:
    tested = post(client, f"destinations/{folder.pk}/test/")
    assert (tested.status_code, tested.json()["problems"]) == (200, [])
    [planned] = post(client, f"destinations/{folder.pk}/plan/").json()
    assert (planned["asset"], planned["sku"], planned["error"]) == (delivery.asset_id, delivery.asset.subject.key, "")
    assert planned["changes"]
    assert not any(path.is_file() for path in Path(folder.config["path"]).rglob("*")), "nothing was changed"
    Destination.objects.update(config={"path": "/etc"})
    tested = post(client, f"destinations/{folder.pk}/test/").json()
    assert (tested["can_be_used"], tested["was_asked"], len(tested["problems"])) == (False, False, 1)
    [planned] = post(client, f"destinations/{folder.pk}/plan/").json()
    assert (planned["changes"], planned["error"]) == ([], tested["problems"][0])


def test_reviewers_may_not_ask_a_destination(folder: Destination, reviewer: User, api_client: Clients) -> None:
    for action in ("test", "plan"):
        assert post(api_client(reviewer), f"destinations/{folder.pk}/{action}/").status_code == 403
