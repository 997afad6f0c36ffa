"""Tests that values that PostgreSQL cannot store are refused: JSON bodies, URLs, headers, forms and file names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import RequestFactory

from campaigns.models import Campaign
from core import storable
from core.errors import Invalid
from core.models import StoredResponse

API = "/api/v1"
PROBLEM = "application/problem+json"

UNSTORABLE = {
    "a NUL": '"a\\u0000b"',
    "half of a surrogate pair": '"\\ud800"',
    "the other half": '"x\\udfff"',
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "a float beyond all floats": "1e400",
    "an integer beyond 64 bits": str(2**64),
    "an integer below 64 bits": str(-(2**63) - 1),
    "a deep list": "[" * 60 + "]" * 60,
    "a deep object": '{"a":' * 60 + "1" + "}" * 60,
    "a NUL in a member's name": '{"a\\u0000": 1}',
}


@pytest.mark.parametrize("text", UNSTORABLE.values(), ids=UNSTORABLE)
def test_json_that_cannot_be_stored_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        storable.read_json(f'{{"fine": [1, {text}]}}')
    assert refusal.value.problems[0].pointer.startswith("/fine/1")
    assert "/fine/1" in refusal.value.message
    json.dumps(refusal.value.message).encode()


@pytest.mark.parametrize("text", ["", "{", "[1,]", "'a'", "[" * 100_000, "1" * 5000, "\ufeff{}", "nul"])
def test_text_that_is_no_json_raises_an_error_of_its_own(text: str) -> None:
    with pytest.raises(storable.InvalidJson):
        storable.read_json(text)


@pytest.mark.parametrize(
    "value",
    [
        {"name": "Mug 🍵", "rtl": "كوب", "tab": "a\tb\r\n", "empty": "", "none": None, "yes": True},
        [1.7e308, -1e-400, 0.1, 2**64 - 1, -(2**63)],
        [[[[[[[[[["ten levels"]]]]]]]]]],
        "\ufffe\uffff\u200b\u007f\u0085",
        [],
    ],
)
def test_json_that_can_be_stored_is_left_alone(value: Any) -> None:
    assert storable.read_json(json.dumps(value)) == value
    assert storable.problems(value) == []


def test_the_first_fault_is_named_first_and_long_reports_end() -> None:
    problems = storable.problems({"rows": [{"name": "\x00"} for _ in range(1000)]})
    assert [problem.pointer for problem in problems[:2]] == ["/rows/0/name", "/rows/1/name"]
    assert len(problems) == storable.SHOWN_PROBLEMS


def test_names_are_escaped_as_json_pointers_demand() -> None:
    assert storable.problems({"a/b": {"c~d": "\x00"}})[0].pointer == "/a~1b/c~0d"


# -- the API --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("text", UNSTORABLE.values(), ids=UNSTORABLE)
@pytest.mark.parametrize("address", ["campaigns/", "prompt-versions/", "runs/preview/", "destinations/", "sources/"])
def test_no_body_of_the_api_brings_in_what_cannot_be_stored(text, address, manager, api_client):
    answer = api_client(manager).post(f"{API}/{address}", f'{{"name": {text}}}', content_type="application/json")
    assert (answer.status_code, answer["Content-Type"]) == (422, PROBLEM)
    assert answer.json()["errors"][0]["pointer"].startswith("/name")


@pytest.mark.django_db
@pytest.mark.parametrize("body", [b"[]", b'"text"', b"17", b"null", b"true", b"[[]]", b'[{"name": "x"}]'])
@pytest.mark.parametrize("address", ["campaigns/", "runs/", "imports/", "prompt-templates/", "destinations/"])
def test_a_body_that_is_no_object_is_refused(body, address, manager, api_client):
    client = api_client(manager)
    answer = client.post(
        f"{API}/{address}", body, content_type="application/json", headers={"Idempotency-Key": "a key"}
    )
    assert (answer.status_code, answer["Content-Type"]) in ((422, PROBLEM), (415, PROBLEM))
    assert not StoredResponse.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("query", ["brand__slug=a%00", "%00=1", "cursor=%00", "limit=%00", "slug=x&slug=%00y"])
@pytest.mark.parametrize("address", ["campaigns/", "assets/", "jobs/", "tasks/", "changes/", "products/A-1/assets/"])
def test_no_query_of_the_api_brings_in_a_nul(query, address, manager, api_client):
    answer = api_client(manager).get(f"{API}/{address}?{query}")
    assert (answer.status_code, answer["Content-Type"]) == (422, PROBLEM)
    assert answer.json()["errors"][0]["pointer"].startswith("?")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["products/%00/assets/", "brands/a%00b/", "campaigns/%00/", "runs/1%00/", "nowhere/%00", "endpoints/%00/"]
)
def test_no_path_brings_in_a_nul(path, manager, api_client):
    answer = api_client(manager).get(f"{API}/{path}")
    assert (answer.status_code, answer["Content-Type"]) == (422, PROBLEM)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["Idempotency-Key", "If-Match", "Authorization", "Accept-Language", "X-Anything"])
def test_no_header_brings_in_a_nul(name, manager, api_client):
    fields = {"brand": "x", "slug": "x", "name": "x"}
    answer = api_client(manager).post(f"{API}/campaigns/", fields, format="json", headers={name: "a\x00b"})
    assert (answer.status_code, answer["Content-Type"]) == (422, PROBLEM)
    assert answer.json()["errors"][0]["pointer"] == name


CHARSETS = ["utf-7", "rot13", "hex", "idna", "unicode_escape", "no-such", "utf-16", "utf-8\x00"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "content_type",
    [*(f"application/json; charset={name}" for name in CHARSETS), "text/plain; charset*=utf-8''%00", "a; b*=none''c"],
)
@pytest.mark.parametrize("path", ["/api/v1/campaigns/", "/accounts/login/"])
def test_only_utf_8_is_read(content_type, path):
    """Uses the WSGI entry point, because Django's test client fails on such a header before it calls our code."""
    from config.wsgi import application

    answered: list[str] = []
    environ = RequestFactory()._base_environ(PATH_INFO=path, QUERY_STRING="next=%2B2AA-", CONTENT_TYPE=content_type)
    body = b"".join(application(environ, lambda status, headers, *_: answered.append(status)))
    assert answered == ["415 Unsupported Media Type"]
    assert "UTF-8" in body.decode()


# -- pages ----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("field", ["name", "purpose", "channel", "starts_on", "n\x00ame"])
def test_no_form_brings_in_a_nul(field, brand, manager, page_client):
    fields = {"name": "Autumn", field: "a\x00b"}
    answer = page_client(manager).post(f"/brands/{brand.slug}/campaigns/new/", fields)
    assert answer.status_code == 422
    assert "cannot be stored" in answer.content.decode()
    assert storable.escape_unstorable(field) in answer.content.decode()
    assert not Campaign.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["library/?q=", "products/?q=", "audit/?kind=", "palette/?q=", "deliveries/?before="])
def test_no_address_of_a_page_brings_in_a_nul(page, brand, lead, page_client):
    answer = page_client(lead).get(f"/brands/{brand.slug}/{page}%00")
    assert answer.status_code == 422
    assert "?" + page.split("?")[1].rstrip("=") in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("cookie", ['"\\000"', '"a\\000b"', '"\\000' + "x" * 31 + '"'])
def test_a_session_cookie_with_a_nul_signs_nobody_in(cookie, brand, client):
    client.cookies.load({"sessionid": "x"})
    answer = client.get(f"/brands/{brand.slug}/", headers={"Cookie": f"sessionid={cookie}"})
    assert answer.status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["a\x00b.csv", "\ud800.csv", "../" * 90 + "a.csv", "é" * 300 + ".csv", "\x00"])
def test_no_file_name_is_a_server_error(name, brand, manager, page_client, api_client):
    boundary = "limit"
    part = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\nsku,name\nA,B\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="brand"\r\n\r\n{brand.slug}\r\n--{boundary}--\r\n'
    ).encode(errors="surrogatepass")
    kind = f"multipart/form-data; boundary={boundary}"
    page = page_client(manager).post(f"/brands/{brand.slug}/import/", part, content_type=kind)
    assert page.status_code < 500
    answer = api_client(manager).post(f"{API}/imports/", part, content_type=kind)
    assert answer.status_code < 500
