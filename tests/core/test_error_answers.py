"""Tests of error responses: problem+json from the API, an error page for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection, connections
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import include, path
from django.views.decorators.http import require_POST
from rest_framework.test import APIClient
from rest_framework.views import APIView

from config import errors
from core.errors import Conflict, Invalid
from core.refusals import refusal_for
from tests.support import factories

API = "/api/v1"
PROBLEM = "application/problem+json"


def problem(answer: Any, status: int) -> dict[str, Any]:
    """Return the problem details of an API response and check that they are complete."""
    assert (answer.status_code, answer["Content-Type"]) == (status, PROBLEM), answer.content[:300]
    body: dict[str, Any] = json.loads(answer.content)
    assert body["status"] == status and body["title"] and body["detail"] and body["type"]
    return body


def page(answer: Any, status: int) -> str:
    """Return the text of an error page and check that it is one of ours with a link back."""
    assert answer.status_code == status, answer.content[:300]
    text = str(answer.content.decode())
    assert "error-page" in text and "data-back" in text and 'href="/"' in text
    assert f'<p class="faint">{status}</p>' in text
    return text


class Breaks(APIView):
    """An API view that raises the exception of the test."""

    authentication_classes = permission_classes = ()
    error: BaseException = ZeroDivisionError("a fault of ours")

    def get(self, request: Any) -> Any:
        raise type(self).error


def breaks(request: HttpRequest) -> HttpResponse:
    raise Breaks.error


@require_POST
def only_post(request: HttpRequest) -> HttpResponse:
    return HttpResponse("fine")


urlpatterns = [
    path("api/v1/breaks/", Breaks.as_view()),
    path("breaks/", breaks),
    path("only-post/", only_post),
    path("", include("config.urls")),
]
handler400, handler403 = "config.errors.bad_request", "config.errors.permission_denied"
handler404, handler500 = "config.errors.page_not_found", "config.errors.server_error"


@pytest.fixture
def breaking(settings: Any) -> Iterator[type[Breaks]]:
    """Add URLs that fail: /breaks/ and /api/v1/breaks/ raise `breaking.error`."""
    settings.ROOT_URLCONF = __name__
    yield Breaks
    Breaks.error = ZeroDivisionError("a fault of ours")


# -- the API --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["nowhere/", "campaigns/1/nowhere/", "runs/x/", "campaigns/99999999999999999999/"])
@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "patch"])
def test_an_unknown_address_of_the_api_is_a_problem(address, method, manager, api_client):
    answer = getattr(api_client(manager), method)(f"{API}/{address}")
    problem(answer, 405 if answer.status_code == 405 and address != "nowhere/" else 404)


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["campaigns/", "runs/", "schema/", "docs/", "brands/", "audit/?brand=x"])
def test_a_wrong_method_of_the_api_is_a_problem(address, manager, api_client):
    answer = api_client(manager).delete(f"{API}/{address}")
    problem(answer, 405)
    assert "GET" in answer["Allow"]


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["campaigns/", "runs/", "schema/", "docs/", "brands/"])
def test_an_answer_that_the_caller_cannot_read_is_a_problem(address, manager, api_client):
    problem(api_client(manager).get(f"{API}/{address}", headers={"Accept": "image/png"}), 406)


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "image/png", "x", "application/json5"])
def test_a_body_of_an_unknown_kind_is_a_problem(kind, manager, api_client):
    problem(api_client(manager).post(f"{API}/campaigns/", b"<a/>", content_type=kind), 415)


@pytest.mark.django_db
@pytest.mark.parametrize("body", [b"{", b"[1,", b"'a'", b"\xff\xfe", b"", b"[" * 100_000])
def test_a_body_that_cannot_be_read_is_a_problem(body, manager, api_client):
    answer = api_client(manager).post(f"{API}/campaigns/", body, content_type="application/json")
    problem(answer, 422 if not body else 400)


@pytest.mark.django_db
@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=é", "; boundary=" + "x" * 300, "; bound=x"])
def test_a_form_without_its_boundary_is_a_problem(boundary, manager, api_client):
    answer = api_client(manager).post(f"{API}/imports/", b"x", content_type=f"multipart/form-data{boundary}")
    problem(answer, answer.status_code)
    assert answer.status_code in (400, 415, 422)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "words", ["", "Token", "Token x", "Token é", "Basic", "Basic !", "Basic AGE6Yg==", "Basic YTo=", "Bearer x"]
)
def test_an_anonymous_caller_gets_a_problem(words, db):
    for method, address in (("get", "brands/"), ("post", "tokens/")):
        answer = getattr(APIClient(), method)(f"{API}/{address}", headers={"Authorization": words})
        problem(answer, 401 if words.isascii() else 422)


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["campaigns/", "runs/", "imports/", "destinations/", "prompt-templates/"])
def test_a_session_without_csrf_token_gets_a_problem(address, manager):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(manager)
    assert "CSRF" in problem(client.post(f"{API}/{address}", {}, format="json"), 403)["detail"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "cursor", ["x", "cD14", "cD0xJw==", "cD05OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "bz0tMQ==", "%F0%9F", "cD0lMDA="]
)
@pytest.mark.parametrize("address", ["campaigns/", "subjects/"])
def test_a_cursor_that_is_none_of_ours_is_a_problem(cursor, address, manager, api_client):
    answer = api_client(manager).get(f"{API}/{address}?cursor={cursor}")
    assert answer.status_code in (200, 404)
    if answer.status_code == 404:
        problem(answer, 404)


@pytest.mark.parametrize("version", ["1", "", "%0d%0aX: y", "%22%0a", "../../x", "é" * 300])
@pytest.mark.django_db
def test_a_version_asked_of_the_schema_changes_nothing(version, client):
    answer = client.get(f"{API}/schema/?version={version}")
    assert answer.status_code == 200
    assert "version" not in answer["Content-Disposition"]


def test_no_extra_member_of_a_problem_replaces_a_standard_one():
    answer = errors.error_response(
        RequestFactory().get("/api/v1/x/"), Conflict("Taken.", status="open", title="x", row=3)
    )
    assert problem(answer, 409) == {
        "type": "about:blank", "title": "Conflict", "status": 409, "detail": "Taken.", "row": 3,
    }  # fmt: skip


# -- pages ----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/nowhere/", "/brands/", "/files/x/y/z/", "/favicon.ico", "/brands/x/y/z/"])
@pytest.mark.parametrize("is_signed_in", [True, False])
def test_an_unknown_address_is_a_page_of_ours(address, is_signed_in, manager, client, page_client):
    text = page((page_client(manager) if is_signed_in else client).get(address), 404)
    assert ("Sign out" in text) == is_signed_in


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["http://[::1", "//[", "http://[x]/", "https://[::1]]/", "http://other.example/"])
@pytest.mark.parametrize("place", ["login/", "logout/", "password/reset/"])
def test_an_address_to_go_on_to_that_is_none_of_ours_is_ignored(place, address, client):
    answer = client.get(f"/accounts/{place}", {"next": address})
    assert answer.status_code in (200, 302)
    assert address not in answer.headers.get("Location", "")


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["campaigns/new/", "import/", "products/photos/", "styles/", "notices/read/"])
def test_a_form_without_csrf_token_gets_a_page_of_ours(address, brand, manager):
    client = Client(enforce_csrf_checks=True)
    client.force_login(manager)
    text = page(client.post(f"/brands/{brand.slug}/{address}", {"name": "x"}), 403)
    assert "load the page again" in text


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "put", "delete", "patch", "options"])
def test_a_wrong_method_gets_a_page_of_ours(method, breaking, manager, page_client):
    answer = getattr(page_client(manager), method)("/only-post/")
    page(answer, 405)
    assert answer["Allow"] == "POST"


@pytest.mark.django_db
def test_htmx_gets_words_instead_of_a_page(breaking, manager, page_client):
    client = page_client(manager)
    client.raise_request_exception = False
    for address, status in (("/only-post/", 405), ("/nowhere/", 404), ("/breaks/", 500)):
        answer = client.get(address, headers={"HX-Request": "true"})
        assert answer.status_code == status
        assert 'role="alert"' in answer.content.decode() and "<html" not in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("host", ["evil.example", "a b", "[", "localhost:x", "\x00"])
def test_a_host_that_is_not_ours_gets_a_page_or_a_problem(host, client):
    assert page(
        client.get("/accounts/login/", headers={"Host": host}), client.get("/", headers={"Host": host}).status_code
    )
    answer = client.get(f"{API}/brands/", headers={"Host": host})
    problem(answer, answer.status_code)
    assert answer.status_code in (400, 422)


# -- our own errors, and services that are down ------------------------------------------------------------------------


def test_a_fault_of_ours_is_a_page_that_needs_no_database(breaking):
    """Without the django_db mark, any query while the page is rendered is an error."""
    client = Client(raise_request_exception=False)
    text = page(client.get("/breaks/"), 500)
    assert "a fault of ours" not in text
    problem(client.get(f"{API}/breaks/"), 500)


AWAY = {
    "refused": psycopg.OperationalError("connection refused"),
    "closed": psycopg.InterfaceError("the connection is closed"),
    "shut down": psycopg.errors.AdminShutdown("terminating connection"),
    "full": psycopg.errors.TooManyConnections("too many clients already"),
    "deadlock": psycopg.errors.DeadlockDetected("deadlock detected"),
    "standby": psycopg.errors.ReadOnlySqlTransaction("cannot execute UPDATE in a read-only transaction"),
}


def raised(error: psycopg.Error) -> Exception:
    """Return the error as Django's database layer raises it."""
    try:
        with connection.wrap_database_errors:
            raise error
    except Exception as wrapped:
        return wrapped


@pytest.mark.parametrize("error", AWAY.values(), ids=AWAY)
def test_a_database_that_is_away_is_503_with_a_time_to_come_back(error, breaking):
    breaking.error = raised(error)
    client = Client(raise_request_exception=False)
    for answer in (client.get("/breaks/"), client.get(f"{API}/breaks/")):
        assert int(answer["Retry-After"]) > 0
    page(client.get("/breaks/"), 503)
    problem(client.get(f"{API}/breaks/"), 503)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("address", ["/", "/accounts/login/", f"{API}/brands/", f"{API}/tokens/", "/nowhere/"])
def test_no_page_breaks_while_the_database_refuses_connections(address, manager):
    """No server listens at the database's address."""
    client = Client(raise_request_exception=False)
    client.force_login(manager)
    connection.close()
    kept = dict(connection.settings_dict)
    connection.settings_dict.update({"HOST": "127.0.0.1", "PORT": "9"})
    try:
        answer = client.get(address, headers={"Authorization": "Basic YTpi"} if "tokens" in address else {})
    finally:
        connections["default"].close()
        connection.settings_dict.update(kept)
    if address.startswith("/api/"):
        problem(answer, 503)
    elif answer.status_code != 200:
        page(answer, 503)
    assert answer.status_code == 200 or answer["Retry-After"]


@pytest.mark.parametrize(
    "kind", ["ConnectionError", "TimeoutError", "BusyLoadingError", "ReadOnlyError", "ResponseError"]
)
def test_redis_that_is_away_is_503(kind, breaking):
    import redis.exceptions

    breaking.error = getattr(redis.exceptions, kind)("away")
    client = Client(raise_request_exception=False)
    page(client.get("/breaks/"), 503)
    problem(client.get(f"{API}/breaks/"), 503)


# -- errors that only the database finds -------------------------------------------------------------------------------


def test_a_unique_constraint_that_decides_a_race_is_a_conflict_that_names_the_field(brand):
    factories.CampaignFactory(brand=brand, slug="autumn")
    with pytest.raises(Exception) as raised_error:  # noqa: PT011
        factories.CampaignFactory(brand=brand, slug="autumn")
    refusal = refusal_for(raised_error.value)
    assert isinstance(refusal, Conflict)
    assert "campaign" in refusal.message and "slug" in refusal.message and "brand" not in refusal.message


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "x" * 5000},
        {"pilot_decisions": 2**70},
        {"slug": "x" * 300},
        {"budget": 10**30},
        {"patience_seconds": 2**40},
    ],
)
def test_a_value_that_no_column_holds_is_a_mistake_of_the_input(fields, brand):
    with pytest.raises(Exception) as raised_error:  # noqa: PT011
        factories.CampaignFactory(brand=brand, **fields)
    assert isinstance(refusal_for(raised_error.value), Invalid)


def test_an_unexpected_error_is_not_turned_into_a_refusal():
    for error in (ZeroDivisionError(), KeyError("x"), ValueError("x"), AttributeError("x"), RuntimeError("x")):
        assert refusal_for(error) is None
