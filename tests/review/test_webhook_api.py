"""Test the API of webhooks: create, secret once, rotate, test, log and replay; rights and brands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from core.models import StoredResponse
from review.models import WebhookEndpoint, WebhookMessage
from tests.support import factories
from tests.support.receiver import Answer, receiving

pytestmark = pytest.mark.django_db
WEBHOOKS, MESSAGES = "/api/v1/webhooks/", "/api/v1/webhook-messages/"


def test_a_lead_creates_a_webhook_and_gets_its_secret_once(brand: Any, lead: Any, api_client: Any) -> None:
    client = api_client(lead)
    given = {"brand": brand.slug, "name": "PIM", "url": "https://a.example/in?key=k", "events": ["run.finished"]}
    made = client.post(WEBHOOKS, given, format="json", headers={"Idempotency-Key": "hook-1"})
    assert made.status_code == 201 and made.json()["url"] == "https://a.example/in?…"
    assert client.post(WEBHOOKS, given, format="json", headers={"Idempotency-Key": "hook-1"}).json() == made.json()
    endpoint = WebhookEndpoint.objects.get()
    address = f"{WEBHOOKS}{endpoint.pk}/"
    shown = client.post(f"{address}secret/")
    assert shown.json() == {"secret": endpoint.secret} and "no-store" in shown["Cache-Control"]
    assert client.post(f"{address}secret/").status_code == 409
    rotated = client.post(f"{address}rotate/", headers={"Idempotency-Key": "hook-2"})
    assert rotated.status_code == 200 and rotated.json()["previous_secret_until"]
    assert client.post(f"{address}secret/").json()["secret"] != endpoint.secret
    assert not any("whsec_" in str(stored.body) for stored in StoredResponse.objects.all())


def test_a_webhook_is_changed_by_whoever_saw_the_current_one(
    brand: Any, lead: Any, integrator: Any, api_client: Any
) -> None:
    endpoint = factories.WebhookEndpointFactory(brand=brand, url="https://a.example/in?key=k")
    client, address = api_client(lead), f"{WEBHOOKS}{endpoint.pk}/"
    assert client.patch(address, {"name": "PIM"}, format="json").status_code == 428
    tag = client.get(address)["ETag"]
    body = {"name": "PIM", "events": ["run.finished"], "url": "https://a.example/in?…"}
    changed = client.patch(address, body, format="json", headers={"If-Match": tag})
    assert changed.status_code == 200 and body.items() <= changed.json().items()
    late = client.patch(address, {"is_enabled": False}, format="json", headers={"If-Match": tag})
    assert late.status_code == 412
    off = client.patch(address, {"is_enabled": False}, headers={"If-Match": changed["ETag"]})  # as a form
    assert (off.json()["is_enabled"], off.json()["name"]) == (False, "PIM")
    endpoint.refresh_from_db()
    assert endpoint.url == "https://a.example/in?key=k", "a hidden query stays the stored one"
    wrong = client.patch(address, {"url": "http://a.example"}, format="json", headers={"If-Match": "*"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/url")
    assert api_client(integrator).patch(address, body, format="json", headers={"If-Match": "*"}).status_code == 403


def test_mistakes_are_named(brand: Any, lead: Any, api_client: Any) -> None:
    given = {"brand": brand.slug, "name": "PIM", "url": "https://a.example/in", "events": ["run.painted"]}
    refused = api_client(lead).post(WEBHOOKS, given, format="json")
    assert refused.status_code == 422 and refused.json()["errors"][0]["pointer"].startswith("/events")
    given |= {"events": ["run.finished"], "url": "http://a.example/in"}
    refused = api_client(lead).post(WEBHOOKS, given, format="json")
    assert refused.status_code == 422 and "url" in refused.json()["errors"][0]["pointer"]


def test_an_integrator_tests_reads_the_log_and_replays(
    brand: Any, integrator: Any, api_client: Any, settings: Any
) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    client = api_client(integrator)
    with receiving() as receiver:
        receiver.answers = [Answer(202, body=b"later")]
        endpoint = factories.WebhookEndpointFactory(brand=brand, url=receiver.url)
        tested = client.post(f"{WEBHOOKS}{endpoint.pk}/test/").json()
    [attempt] = tested["attempt_rows"]
    assert (tested["type"], attempt["status_code"], attempt["answer"]) == ("webhook.test", 202, "later")
    failed = factories.WebhookMessageFactory(endpoint=endpoint, state="failed")
    listed = client.get(f"{MESSAGES}?endpoint={endpoint.pk}&state=failed").json()["results"]
    assert [row["event_id"] for row in listed] == [failed.event_id]
    assert client.get(f"{MESSAGES}{failed.pk}/").json()["payload"] == failed.payload
    since = {"since": (timezone.now() - timedelta(hours=1)).isoformat()}
    assert client.post(f"{WEBHOOKS}{endpoint.pk}/replay/", since, format="json").json() == {"count": 1}
    WebhookMessage.objects.filter(pk=failed.pk).update(state="failed", due_at=None)
    assert client.post(f"{MESSAGES}{failed.pk}/replay/").json()["state"] == "waiting"


def test_rights_and_brands(
    brand: Any, integrator: Any, viewer: Any, other_brand: Any, person: Any, api_client: Any
) -> None:
    endpoint = factories.WebhookEndpointFactory(brand=brand)
    message = factories.WebhookMessageFactory(endpoint=endpoint)
    given = {"brand": brand.slug, "name": "PIM", "url": "https://a.example/in", "events": ["run.finished"]}
    assert api_client(integrator).post(WEBHOOKS, given, format="json").status_code == 403
    for verb in ("secret", "rotate"):
        assert api_client(integrator).post(f"{WEBHOOKS}{endpoint.pk}/{verb}/").status_code == 403
    for user in (viewer, person("lead", brand=other_brand)):
        client = api_client(user)
        assert client.get(WEBHOOKS).json()["results"] == client.get(MESSAGES).json()["results"] == []
        assert client.get(f"{MESSAGES}{message.pk}/").status_code == 404
        assert client.post(f"{MESSAGES}{message.pk}/replay/").status_code == 404
        assert client.post(f"{WEBHOOKS}{endpoint.pk}/test/").status_code == 404
