"""Test the pages of webhooks: list, form, secret shown once, test button, log, replay, switching on and off."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from core.models import Brand, User
from review.delivery import signed_messages
from review.models import WebhookEndpoint, WebhookMessage
from review.services import webhooks
from tests.support import factories
from tests.support.receiver import Answer, Receiver

pytestmark = pytest.mark.django_db

Pages = Callable[[User], Client]
URL = "https://hooks.example/in?key=hidden"


@pytest.fixture
def endpoint(brand: Brand, lead: User) -> WebhookEndpoint:
    return webhooks.create(brand=brand, by=lead, name="PIM", url=URL, events=["run.finished", "asset.approved"])


def address(brand: Brand, rest: str = "") -> str:
    return f"/brands/{brand.slug}/webhooks/{rest}"


def text_of(answer: Any) -> str:
    """Return the words of a page, each run of white space as one blank."""
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def test_an_empty_list_says_what_a_webhook_is(brand: Brand, lead: User, integrator: User, page_client: Pages) -> None:
    answer = page_client(lead).get(address(brand))
    assert "No webhook yet" in text_of(answer) and address(brand, "new/") in answer.content.decode()
    assert address(brand, "new/") not in page_client(integrator).get(address(brand)).content.decode()


def test_a_lead_sets_up_a_webhook_and_sees_its_secret_once(brand: Brand, lead: User, page_client: Pages) -> None:
    client = page_client(lead)
    form = client.get(address(brand, "new/")).content.decode()
    assert form.count('name="events"') == 7 and "Take it down." in form
    given = {"name": "PIM", "url": URL, "events": ["run.paused", "asset.approved"]}
    made = client.post(address(brand, "new/"), given)
    endpoint = WebhookEndpoint.objects.get()
    assert made["Location"] == address(brand, f"{endpoint.pk}/")
    assert (endpoint.url, endpoint.events) == (URL, ["asset.approved", "run.paused"])
    page = client.get(made["Location"]).content.decode()
    assert "Show the secret" in page and endpoint.secret not in page and "key=hidden" not in page
    shown = client.post(address(brand, f"{endpoint.pk}/secret/"))
    assert endpoint.secret in shown.content.decode() and "no-store" in shown["Cache-Control"]
    again = client.post(address(brand, f"{endpoint.pk}/secret/"), follow=True)
    assert endpoint.secret not in again.content.decode() and "nobody can read it again" in text_of(again)


def test_mistakes_are_shown_at_their_fields(brand: Brand, lead: User, page_client: Pages) -> None:
    answer = page_client(lead).post(address(brand, "new/"), {"name": "PIM", "url": "http://hooks.example/"})
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == {"events"}
    given = {"name": "PIM", "url": "http://hooks.example/", "events": ["run.paused"]}
    answer = page_client(lead).post(address(brand, "new/"), given)
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == {"url"}


def test_a_change_keeps_the_query_that_the_form_hides(
    brand: Brand, lead: User, endpoint: WebhookEndpoint, page_client: Pages
) -> None:
    page = page_client(lead).get(address(brand, f"{endpoint.pk}/"))
    hidden = page.context["form"]["url"].value()
    assert hidden == "https://hooks.example/in?…"
    given = {"name": "DAM", "url": hidden, "events": ["import.finished"]}
    page_client(lead).post(address(brand, f"{endpoint.pk}/"), given)
    endpoint.refresh_from_db()
    assert (endpoint.name, endpoint.url, endpoint.events) == ("DAM", URL, ["import.finished"])


def test_rotating_and_switching_need_the_right(
    brand: Brand, lead: User, integrator: User, endpoint: WebhookEndpoint, page_client: Pages
) -> None:
    for verb in ("off", "rotate"):
        assert page_client(integrator).post(address(brand, f"{endpoint.pk}/{verb}/")).status_code == 403
    client = page_client(lead)
    secret = endpoint.secret
    page = client.post(address(brand, f"{endpoint.pk}/rotate/"), follow=True)
    assert "The previous secret signs too, until" in text_of(page)
    client.post(address(brand, f"{endpoint.pk}/off/"))
    endpoint.refresh_from_db()
    assert endpoint.previous_secret == secret != endpoint.secret
    assert not endpoint.is_enabled
    assert "no message is sent. A person switched it off." in text_of(client.get(address(brand, f"{endpoint.pk}/")))
    client.post(address(brand, f"{endpoint.pk}/on/"))
    endpoint.refresh_from_db()
    assert endpoint.is_enabled and endpoint.disabled_reason == ""
    assert client.post(address(brand, f"{endpoint.pk}/paint/")).status_code == 404


@pytest.mark.parametrize("htmx", [True, False])
def test_a_test_shows_status_time_and_answer(
    brand: Brand, lead: User, integrator: User, receiver: Receiver, page_client: Pages, htmx: bool
) -> None:
    endpoint = webhooks.create(brand=brand, by=lead, name="PIM", url=receiver.url, events=["run.paused"])
    receiver.answers = [Answer(200, body=b"<b>thanks</b>"), Answer(500, body=b"broken")]
    headers = {"HX-Request": "true"} if htmx else {}
    answer = page_client(integrator).post(address(brand, f"{endpoint.pk}/test/"), headers=headers)
    assert "The test arrived: the receiver answered 200." in text_of(answer)
    assert re.search(r"\b\d+ ms\b", text_of(answer)) and "&lt;b&gt;thanks" in answer.content.decode()
    answer = page_client(integrator).post(address(brand, f"{endpoint.pk}/test/"), headers=headers)
    assert "answered 500." in text_of(answer) and "broken" in text_of(answer)
    assert [message.state for message in WebhookMessage.objects.order_by("pk")] == ["delivered", "failed"]


def test_the_log_is_filtered_by_state_and_event_and_goes_on(
    brand: Brand, lead: User, endpoint: WebhookEndpoint, page_client: Pages
) -> None:
    for number in range(60):
        state = "failed" if number % 2 else "delivered"
        factories.WebhookMessageFactory(
            endpoint=endpoint, state=state, type="run.paused" if number < 55 else "run.failed"
        )
    client, page = page_client(lead), address(brand, f"{endpoint.pk}/")
    first = client.get(page).context
    assert len(first["rows"]) == 50
    assert len(client.get(f"{page}?before={first['next_before']}").context["rows"]) == 10
    assert {row.state for row in client.get(f"{page}?state=failed").context["rows"]} == {"failed"}
    assert len(client.get(f"{page}?type=run.failed").context["rows"]) == 5
    assert "No message matches." in text_of(client.get(f"{page}?type=webhook.test"))
    assert len(client.get(f"{page}?state=odd&type=odd&before=odd").context["rows"]) == 50


def test_a_message_shows_payload_and_attempts_and_is_sent_again(
    brand: Brand, lead: User, endpoint: WebhookEndpoint, page_client: Pages
) -> None:
    payload = {"type": "run.paused", "data": {"feed": "https://a.example/x?key=hidden"}}
    message = factories.WebhookMessageFactory(endpoint=endpoint, state="failed", error="Given up.", payload=payload)
    message.attempt_rows.create(
        number=1, started_at=timezone.now(), milliseconds=12, status_code=503, answer="busy", error="It answered 503."
    )
    client, page = page_client(lead), address(brand, f"messages/{message.pk}/")
    words = text_of(client.get(page))
    for expected in ("Given up.", "503", "12 ms", "busy", "run.paused"):
        assert expected in words
    assert "key=hidden" not in words
    client.post(page)
    message.refresh_from_db()
    assert (message.state, message.error) == ("waiting", "") and message.due_at is not None
    assert "It is sent once" not in text_of(client.get(page))
    test = factories.WebhookMessageFactory(endpoint=endpoint, type=signed_messages.TEST, state="delivered")
    assert "Send it again" not in text_of(client.get(address(brand, f"messages/{test.pk}/")))


def test_what_failed_since_a_time_is_sent_again(
    brand: Brand, lead: User, endpoint: WebhookEndpoint, page_client: Pages
) -> None:
    factories.WebhookMessageFactory(endpoint=endpoint, state="failed")
    old = factories.WebhookMessageFactory(endpoint=endpoint, state="failed")
    WebhookMessage.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=9))
    client, replay = page_client(lead), address(brand, f"{endpoint.pk}/replay/")
    assert "Give the time since which" in text_of(client.post(replay, follow=True))
    since = (timezone.now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    assert "1 message is sent again." in text_of(client.post(replay, {"since": since}, follow=True))
    assert "No message has failed since then." in text_of(client.post(replay, {"since": since}, follow=True))
    old.refresh_from_db()
    assert old.state == "failed"


def test_another_brand_sees_nothing(
    brand: Brand, endpoint: WebhookEndpoint, other_brand: Brand, person: Any, page_client: Pages
) -> None:
    message = factories.WebhookMessageFactory(endpoint=endpoint)
    stranger = page_client(person("lead", brand=other_brand))
    for page in ("", f"{endpoint.pk}/", f"messages/{message.pk}/"):
        assert stranger.get(address(brand, page)).status_code == 404
        if page:
            assert stranger.get(address(other_brand, page)).status_code == 404
    assert stranger.post(address(other_brand, f"{endpoint.pk}/test/")).status_code == 404
    assert stranger.post(address(other_brand, f"{endpoint.pk}/rotate/")).status_code == 404
