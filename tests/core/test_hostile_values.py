"""Tests of invalid values where they are converted, and of races for names."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from django.db import connection

from campaigns.models import FeedSource, GuideVersion
from campaigns.prompts import listing
from campaigns.services import guides, sources
from core import config_fields, storable
from core.errors import Conflict, DomainError, Invalid
from core.plugin_config import Kind, Setting
from generation.engines import service
from generation.engines.openai import answers as openai_answers
from generation.services.endpoints import editing
from generation.views import run_form
from review.delivery.webhook import Webhook
from review.models import Destination
from review.services import destinations
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.racing import race, race_without_errors

API = "/api/v1"


# -- conversions ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        {"version": True},
        {"version": "1"},
        {"version": 2**64},
        {"seen": 7},
        {"note": {"a": 1}},
        {"note": ["x"]},
        {"note": "\x00"},
        {"note": "\ud800"},
        {"answers": ["x"]},
        {"answers": "x"},
        {"reason": ["x"]},
        {"reason": {}},
        {"controls": 5},
        {"controls": [[]]},
    ],
)
@pytest.mark.parametrize("verb", ["approve", "reject", "revise"])
def test_a_decision_of_odd_types_is_refused(change, verb, brand, reviewer, page_client):
    task = create_image_in_review(brand)
    pair = decision_arguments(task)
    body = {"version": pair["version_id"], "seen": pair["seen"], **change}
    answer = page_client(reviewer).post(
        f"/brands/{brand.slug}/review/tasks/{task.pk}/{verb}/", json.dumps(body), content_type="application/json"
    )
    unused = {"approve": {"reason", "controls"}, "reject": {"answers", "controls"}, "revise": {"answers"}}[verb]
    assert 400 <= answer.status_code < 500 or set(change) & unused
    assert answer.status_code < 500


@pytest.mark.django_db
@pytest.mark.parametrize("known_tasks", [None, 5, "x", {"a": 1}, [[]], [{}], [None, "x", 1.5], [2**62]])
def test_odd_lists_of_known_tasks_are_no_server_error(known_tasks, brand, reviewer, page_client):
    create_image_in_review(brand)
    body = json.dumps({"known": known_tasks})
    answer = page_client(reviewer).post(f"/brands/{brand.slug}/review/more/", body, content_type="application/json")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body", [b"\xff", b"[", b"[" * 100_000, b"1" * 5000, b'{"a": NaN}', b'{"a": "\\ud800"}', b"[]"]
)
@pytest.mark.django_db
def test_odd_bodies_of_the_review_page_are_refused(body, brand, reviewer, page_client):
    task = create_image_in_review(brand)
    address = f"/brands/{brand.slug}/review/tasks/{task.pk}/approve/"
    assert page_client(reviewer).post(address, body, content_type="application/json").status_code == 422


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("0001-01-01T00:00", "Pacific/Auckland"),
        ("9999-12-31T23:59", "America/New_York"),
        ("2026-11-24T08:00", "../etc/passwd"),
        ("2026-11-24T08:00", "x" * 5000),
        ("2026-11-24T08:00", "/"),
        ("20261-11-24", "UTC"),
        ("", ""),
    ],
)
def test_a_time_that_no_clock_shows_is_refused(text, zone):
    with pytest.raises(Invalid):
        run_form.parse_local_time(text, zone)


@pytest.mark.parametrize("text", ["9" * 5000, "9" * 400 + ".5", "-" + "1" * 30, "1e400", "NaN", "٣", "²"])
def test_an_axis_value_that_is_no_number_of_ours_stays_text(text):
    assert run_form.parse_axes([("size", text)], {}) == {"size": [text]}


@pytest.mark.parametrize("text", ["1e400", "-1e999", "NaN", "inf", "Infinity"])
def test_no_setting_of_an_engine_is_infinite(text):
    setting = Setting(name="max_side", label="Longest side", kind=Kind.NUMBER)
    with pytest.raises(ValueError, match="number"):
        config_fields.parse_value(setting, text)


@pytest.mark.parametrize("text", ["²", "٣²", "9" * 5000, "-1", "1e400", "NaN", ""])
def test_headers_of_a_service_that_are_no_numbers_do_no_harm(text):
    headers = [("x-ratelimit-limit-requests", text), ("retry-after-ms", text), ("retry-after", text)]
    response = httpx.Response(429, headers=[(name, value.encode("utf-8")) for name, value in headers])
    limit = openai_answers.rate_limits(response).get("requests", {}).get("limit", 0.0)
    assert 0 <= limit < 10**15
    assert (service.retry_after(response) or 0.0) <= service.MAX_RETRY_AFTER_SECONDS


HOSTILE_JSON = ["NaN", "1e400", '"\\u0000"', '"\\ud800"', "[" * 60 + "]" * 60, "9" * 30, "9" * 5000, "{", "[" * 100_000]


@pytest.mark.parametrize("text", HOSTILE_JSON)
def test_json_in_a_field_of_a_form_is_refused_in_a_sentence(text):
    with pytest.raises(ValueError, match="\\.") as refusal:
        storable.read_json_field(f'{{"a": {text}}}')
    assert not isinstance(refusal.value, json.JSONDecodeError)


def test_a_backslash_before_u0000_is_text_like_any_other():
    assert storable.read_json_field('{"a": "C:\\\\u0000"}') == {"a": "C:\\u0000"}


@pytest.mark.parametrize("text", HOSTILE_JSON)
def test_a_list_of_images_as_json_is_refused_in_words(text):
    read = listing.read_listing(f'[{{"sku": "M-1", "backdrop": {text}}}]')
    assert not read.is_valid
    assert read.issues[0].message


@pytest.mark.parametrize("cell", ["\x00", "a\x00b", "\x00" * 10, "clay\x00", "\x00clay"])
def test_a_list_of_images_as_csv_holds_no_nul(cell):
    read = listing.read_listing(f"sku,backdrop,light\nM-1,{cell},soft\nM-2,clay,soft\n")
    assert all("\x00" not in str(row) for row in read.rows)


@pytest.mark.django_db
@pytest.mark.parametrize("value", ["\x00", "\ud800", float("nan"), float("inf"), 2**70, {"a\x00": 1}])
def test_no_endpoint_keeps_what_cannot_be_stored(value, brand, lead):
    endpoint = factories.EndpointFactory(brand=brand)
    with pytest.raises(Invalid):
        editing.update(endpoint_id=endpoint.pk, by=lead, config={"workflow": {"1": value}})


@pytest.mark.django_db
@pytest.mark.parametrize(
    "config",
    [5, 1.5, True, "x", ["x"], [["a", "b"]], {"url": 5}, {"url": {}}, {"url": "https://example.com", "a\x00": 1}],
)
@pytest.mark.parametrize("kind", ["webhook", "folder", "s3"])
def test_settings_of_a_destination_that_are_no_object_are_refused(config, kind, brand, lead, api_client):
    fields = {"brand": brand.slug, "slug": "shop", "name": "Shop", "kind": kind, "config": config}
    assert api_client(lead).post(f"{API}/destinations/", fields, format="json").status_code == 422


@pytest.mark.parametrize("seconds", [None, {}, [], "soon", float("nan"), 0, -1, 10**400])
def test_a_time_limit_of_a_webhook_is_a_number_above_zero(seconds):
    config = {"url": "https://example.com", "timeout_seconds": seconds}
    assert list(dict(Webhook.config.problems(config))) == ["timeout_seconds"]


@pytest.mark.django_db
@pytest.mark.parametrize("minutes", [-1, 0, 14, 2**31, 2**62])
@pytest.mark.parametrize("kind", ["push", "url"])
def test_an_interval_that_no_column_holds_is_refused(minutes, kind, brand, manager, api_client):
    fields = {
        "brand": brand.slug,
        "name": "Shop",
        "kind": kind,
        "every_minutes": minutes,
        "url": "https://example.com/f",
    }
    answer = api_client(manager).post(f"{API}/sources/", fields, format="json")
    assert answer.status_code == 422
    assert "every_minutes" in str(answer.json()["errors"])


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "products/{n}/", "runs/{n}/", "import/{n}/", "assets/{n}/", "review/tasks/{n}/rail/", "compare/{n}/",
        "compare/1/{n}/", "guide/v{n}/", "notices/{n}/", "photos/{n}/cutout/", "runs/1/compare/{n}/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("number", [2**63, 10**30, 10**4000])
def test_no_row_has_a_number_beyond_64_bits(path, number, brand, lead, page_client):
    answer = page_client(lead).get(f"/brands/{brand.slug}/{path.format(n=number)}")
    assert answer.status_code == 404


# -- races ------------------------------------------------------------------------------------------------------------


def assert_one_won(results: list[Any]) -> None:
    refused = [result for result in results if isinstance(result, DomainError)]
    assert len(refused) == len(results) - 1, results
    assert all(isinstance(refusal, Conflict | Invalid) for refusal in refused), results


@pytest.mark.django_db(transaction=True)
def test_of_eight_people_who_give_a_source_the_same_name_one_wins(brand, manager):
    def create() -> Any:
        return sources.create(brand=brand, by=manager, name="Shop feed", kind="push")

    assert_one_won(race(*[create] * 8))
    assert FeedSource.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_eight_people_who_give_a_destination_the_same_name_one_wins(brand, lead, tmp_path):
    def create() -> Any:
        config = {"path": str(tmp_path / brand.slug / "out")}
        return destinations.create(brand=brand, by=lead, slug="shop", name="Shop", kind="folder", config=config)

    assert_one_won(race(*[create] * 8))
    assert Destination.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_eight_people_who_publish_a_guide_over_the_api_one_wins(brand, lead, api_client):
    guides.edit_draft(brand=brand, by=lead, light="left")

    def publish() -> Any:
        client = api_client(lead)
        client.raise_request_exception = False
        return client.post(f"{API}/brands/{brand.slug}/guide/publish/", {}, format="json").status_code

    answers = race_without_errors(*[publish] * 8)
    assert sorted(answers) == [200] + [409] * 7


@pytest.mark.django_db(transaction=True)
def test_drafting_and_publishing_a_guide_at_once_never_wait_for_each_other(brand, lead):
    for turn in range(5):
        draft = guides.edit_draft(brand=brand, by=lead, light="left" if turn % 2 else "right")
        results = race(
            lambda draft=draft: guides.publish(guide_id=draft.pk, by=lead),
            lambda turn=turn: guides.edit_draft(brand=brand, by=lead, fill_ratio=0.5 + turn / 100),
        )
        assert all(isinstance(result, GuideVersion) for result in results), results


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("address", ["campaigns", "prompt-templates", "destinations", "sources"])
def test_of_four_people_who_take_a_name_over_the_api_one_wins(address, brand, lead, api_client, tmp_path):
    fields: dict[str, Any] = {"brand": brand.slug, "slug": "autumn", "name": "Autumn"}
    if address == "destinations":
        fields |= {"kind": "folder", "config": {"path": str(tmp_path / brand.slug / "out")}}
    if address == "sources":
        fields = {"brand": brand.slug, "name": "Autumn", "kind": "push"}

    def create() -> Any:
        client = api_client(lead)
        client.raise_request_exception = False
        return client.post(f"{API}/{address}/", fields, format="json").status_code

    answers = race_without_errors(*[create] * 4)
    assert answers.count(201) == 1
    assert set(answers) <= {201, 409, 422}
    assert connection.is_usable()
