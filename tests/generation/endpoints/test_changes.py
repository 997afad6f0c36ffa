"""Test setting up and changing endpoints: permissions, and that no answer shows a secret."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.utils import timezone

from core.models import Brand, Event, User
from generation.models import Endpoint, EndpointStatus
from tests.generation.endpoints.endpoint_helpers import MODEL, SECRET, address, settings_of

pytestmark = pytest.mark.django_db


def test_a_lead_sets_an_endpoint_up_and_changes_it(
    brand: Brand, lead: User, page_client: Callable[[User], Client]
) -> None:
    client = page_client(lead)
    given = {"slug": "flux", "name": "Flux", "engine": "replicate", "lane": "cloud", "setting_model": "a/b",
             "when_uncertain": "hold", "batch_size": "1", "seconds_per_image": "4", "price_per_image": "0",
             "price_second": "0.000725", "secret": SECRET}  # fmt: skip
    answer = client.post(address(brand, "new/"), given)
    assert answer.status_code == 302, answer.content.decode()
    made = Endpoint.objects.get()
    assert (made.brand, made.secret, made.prices, made.max_per_minute) == (brand, SECRET, {"second": "0.000725"}, None)
    page = client.get(address(brand, "flux/")).content.decode()
    assert "is set up" in page and SECRET not in page and made.config == {"model": "a/b"}
    changed = {**given, "name": "Flux fast", "max_per_minute": "30", "price_second": "", "price_image": "0.01"}
    assert client.post(address(brand, "flux/"), changed).status_code == 302
    made.refresh_from_db()
    assert (made.name, made.max_per_minute, made.prices) == ("Flux fast", 30.0, {"image": "0.01"})
    assert (made.slug, made.engine, made.secret) == ("flux", "replicate", SECRET)


def test_a_refusal_is_shown_beside_its_field_and_the_secret_is_not_repeated(
    brand: Brand, lead: User, brand_endpoint: Endpoint, page_client: Callable[[User], Client]
) -> None:
    client = page_client(lead)
    for fields, words in (
        ({"setting_inputs": "{"}, "This is not JSON"),
        ({"setting_inputs": f'{{"api_key": "{SECRET}2"}}'}, "belongs into the secret"),
        ({"setting_model": ""}, "does not take this"),
        ({"setting_max_side": "wide"}, "whole number from 16 to 16384"),
        ({"setting_cancel_after": "soon"}, "does not take this"),
        ({"max_concurrent": "0"}, "empty to find out"),
        ({"price_image": "-1"}, "lies between 0"),
        ({"price_image": "1e999999"}, "no more than"),
        ({"price_image": "1e-999999"}, "no more than"),
    ):
        answer = client.post(address(brand, "overflow/"), settings_of(brand_endpoint, **fields))
        assert answer.status_code == 422 and words in answer.content.decode(), fields
    new = client.post(address(brand, "new/"), {"slug": "x", "secret": SECRET})
    assert new.status_code == 422 and SECRET not in new.content.decode()
    brand_endpoint.refresh_from_db()
    assert brand_endpoint.config == {"model": MODEL} and brand_endpoint.lane == "cloud"


def test_an_operator_moves_an_endpoint_together_with_its_secret(
    brand: Brand, operator: User, brand_endpoint: Endpoint, page_client: Callable[[User], Client]
) -> None:
    client = page_client(operator)
    moved = settings_of(brand_endpoint, setting_model="a/b", setting_base_url="https://models.example.com/v1")
    refused = client.post(address(brand, "overflow/"), moved)
    assert refused.status_code == 422 and "kept secret would be sent to" in refused.content.decode()
    assert client.post(address(brand, "overflow/"), moved | {"secret": "another"}).status_code == 302
    brand_endpoint.refresh_from_db()
    assert brand_endpoint.secret == "another" and brand_endpoint.config["base_url"] == "https://models.example.com/v1"


def test_a_secret_is_replaced_and_removed_and_never_shown(
    brand: Brand, lead: User, brand_endpoint: Endpoint, page_client: Callable[[User], Client]
) -> None:
    client = page_client(lead)
    assert "kept, not shown" in client.get(address(brand, "overflow/")).content.decode()
    assert client.post(address(brand, "overflow/secret/"), {"secret": f"{SECRET}2"}).status_code == 302
    brand_endpoint.refresh_from_db()
    assert brand_endpoint.secret == f"{SECRET}2"
    assert client.post(address(brand, "overflow/secret/"), {"secret": ""}).status_code == 422
    assert client.post(address(brand, "overflow/secret/"), {"remove": "1"}).status_code == 302
    brand_endpoint.refresh_from_db()
    assert brand_endpoint.secret == ""


def test_people_who_may_not_change_an_endpoint_are_refused_whatever_is_posted(
    brand: Brand, manager: User, brand_endpoint: Endpoint, page_client: Callable[[User], Client]
) -> None:
    client = page_client(manager)
    for page, given in (
        ("overflow/", settings_of(brand_endpoint, name="Mine")),
        ("overflow/secret/", {"secret": "mine"}),
        ("overflow/off/", {}),
        ("overflow/again/", {}),
        ("new/", {"slug": "x"}),
    ):
        assert client.post(address(brand, page), given).status_code == 403, page
    brand_endpoint.refresh_from_db()
    assert (brand_endpoint.name, brand_endpoint.secret, brand_endpoint.is_enabled) == ("Overflow", SECRET, True)


def test_an_endpoint_is_switched_off_and_tried_again_by_buttons(
    brand: Brand, lead: User, brand_endpoint: Endpoint, page_client: Callable[[User], Client]
) -> None:
    EndpointStatus.objects.create(
        endpoint=brand_endpoint, breaker="open", failures=5, open_until=timezone.now() + timedelta(1)
    )
    client = page_client(lead)
    assert "Try again now" in client.get(address(brand, "overflow/")).content.decode()
    answer = client.post(address(brand, "overflow/again/"))
    assert "next submission now" in str([str(message) for message in get_messages(answer.wsgi_request)])
    assert EndpointStatus.objects.get().breaker == "half_open"
    client.post(address(brand, "overflow/off/"))
    assert "switched off" in client.get(address(brand)).content.decode()
    assert client.post(address(brand, "overflow/dance/")).status_code == 404


def test_the_secret_is_in_no_page_no_api_answer_no_event_and_no_log(
    brand: Brand, brand_endpoint: Endpoint, operator: User, lead: User, page_client: Callable[[User], Client],
    api_client: Callable[[User], Any], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    sealed = Endpoint.objects.get(pk=brand_endpoint.pk).sealed_secret
    outputs = []
    for user in (operator, lead):
        client = page_client(user)
        for page in ("", "new/", "now/", "overflow/", "overflow/answer/"):
            outputs.append(client.get(address(brand, page)).content.decode())
        outputs.append(api_client(user).get("/api/v1/endpoints/").content.decode())
        outputs.append(client.post(address(brand, "overflow/secret/"), {"secret": SECRET}).content.decode())
        outputs.append(client.get(f"/brands/{brand.slug}/audit/").content.decode())
    outputs.append(
        page_client(operator).get(f"/admin/generation/endpoint/{brand_endpoint.pk}/change/").content.decode()
    )
    outputs += [str(payload) for payload in Event.objects.values_list("payload", flat=True)]
    outputs += [caplog.text, *capsys.readouterr()]
    assert not any(SECRET in output or sealed in output for output in outputs)
    assert "overflow" in outputs[0]


def test_the_api_shows_limits_and_terms_but_neither_settings_nor_secret(
    brand_endpoint: Endpoint, viewer: User, api_client: Callable[[User], Any]
) -> None:
    Endpoint.objects.filter(pk=brand_endpoint.pk).update(max_per_minute=600, disclaimer="demo model")
    (entry,) = api_client(viewer).get("/api/v1/endpoints/").json()["results"]
    assert (entry["max_per_minute"], entry["max_concurrent"], entry["disclaimer"]) == (600, None, "demo model")
    assert not {"config", "secret", "sealed_secret", "prices"} & set(entry)
