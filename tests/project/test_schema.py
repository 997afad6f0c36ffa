"""Test that the OpenAPI schema describes the real answers: null, lists, files, and refusals as problem details."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
import schemathesis
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from campaigns.services import imports
from review.models import Decision
from review.services import consequences, decisions, retractions
from tests.support.images_in_review import create_image_in_review, decision_arguments

pytestmark = pytest.mark.django_db
API = "/api/v1"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return made


@pytest.fixture(scope="module")
def schema(document: dict[str, Any]) -> Any:
    return schemathesis.openapi.from_dict(document)


def assert_described(schema: Any, path: str, method: str, answer: Any) -> None:
    """Assert that status, content type and body of the answer match the schema."""
    operation = schema[path][method]
    described = operation.definition.raw["responses"]
    assert str(answer.status_code) in described, f"{answer.status_code} is not described: {answer.content!r}"
    sent = httpx.Response(
        answer.status_code,
        headers=dict(answer.items()),
        content=answer.getvalue(),
        request=httpx.Request(method, f"http://testserver{path}"),
    )
    sent.elapsed = timedelta(0)
    operation.validate_response(sent)


@pytest.fixture
def task(brand: Any) -> Any:
    return create_image_in_review(brand, candidates=2)


def test_what_may_be_null_is_described_so(
    schema: Any, task: Any, brand: Any, lead: Any, reviewer: Any, api_client: Callable[..., Any]
) -> None:
    decisions.approve(**decision_arguments(task), by=reviewer)
    feed_import = imports.import_feed(brand=brand, by=lead, file=io.BytesIO(b"sku,name\nA,Mug\n"), file_name="a.csv")
    client, run = api_client(lead), task.asset.cell.run
    for path, pk in (
        ("imports", feed_import.pk),  # no source
        ("tasks", task.pk),  # claimed by nobody
        ("decisions", Decision.objects.get().pk),  # no reason, voids nothing
        ("runs", run.pk),  # not scheduled, no rate yet
        ("campaigns", run.campaign_id),  # no dates, no budget
        ("assets", task.asset_id),
        ("jobs", task.asset.versions.first().job_id),
        ("prompt-versions", run.prompt_version_id),  # no style
    ):
        assert_described(schema, f"{API}/{path}/{{id}}/", "GET", client.get(f"{API}/{path}/{pk}/"))


def test_what_is_a_plain_list_is_described_so(
    schema: Any, task: Any, brand: Any, lead: Any, reviewer: Any, api_client: Callable[..., Any]
) -> None:
    client, campaign = api_client(reviewer), task.asset.campaign
    started = client.post(f"{API}/tasks/start/?brand={brand.slug}")
    assert len(started.json()) == 1
    assert_described(schema, f"{API}/tasks/start/", "POST", started)
    approved = client.get(f"{API}/campaigns/{campaign.pk}/approved/")
    assert_described(schema, f"{API}/campaigns/{{id}}/approved/", "GET", approved)
    sizes = client.get(f"{API}/campaigns/{campaign.pk}/approved/sizes/")
    assert_described(schema, f"{API}/campaigns/{{id}}/approved/sizes/", "GET", sizes)


def test_what_integrators_pull_is_described_also_with_chosen_fields(
    schema: Any, task: Any, lead: Any, reviewer: Any, api_client: Callable[..., Any]
) -> None:
    decisions.approve(**decision_arguments(task), by=reviewer)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    client, brand = api_client(lead), f"brand={task.brand.slug}"
    for query in (brand, f"{brand}&fields=sku,files.url"):
        for path in ("approved-assets/", "changes/"):
            assert_described(schema, f"{API}/{path}", "GET", client.get(f"{API}/{path}?{query}"))
        product = f"{API}/products/{task.asset.subject.key}/assets/?{query}"
        assert_described(schema, f"{API}/products/{{sku}}/assets/", "GET", client.get(product))
    file = task.asset.versions.first().renditions.get()
    assert_described(schema, f"{API}/files/{{id}}/", "GET", client.get(f"{API}/files/{file.pk}/"))
    retractions.revoke(asset_id=task.asset_id, by=lead, note="licence ended")
    gone = client.get(f"{API}/approved-assets/{task.asset_id}/")
    assert gone.status_code == 410
    assert_described(schema, f"{API}/approved-assets/{{id}}/", "GET", gone)


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        (f"{API}/campaigns/{{id}}/approved/", "200", "application/zip"),
        (f"{API}/audit/", "200", "application/jsonl"),
    ],
)
def test_files_are_described_by_their_content_type(
    path: str,
    status: str,
    kind: str,
    document: dict[str, Any],
    task: Any,
    lead: Any,
    reviewer: Any,
    api_client: Callable[..., Any],
) -> None:
    decisions.approve(**decision_arguments(task), by=reviewer)
    assert kind in document["paths"][path]["get"]["responses"][status]["content"]
    address = path.replace("{id}", str(task.asset.campaign_id))
    answer = api_client(lead).get(f"{address}?as=zip&brand={task.brand.slug}")
    assert answer["Content-Type"] == kind


@pytest.mark.parametrize("path", ["imports", "photos"])
def test_uploads_are_described_as_files(path: str, document: dict[str, Any]) -> None:
    content = document["paths"][f"{API}/{path}/"]["post"]["requestBody"]["content"]["multipart/form-data"]
    name = content["schema"]["$ref"].rsplit("/", 1)[-1]
    assert document["components"]["schemas"][name]["properties"]["file"]["format"] == "binary"


def refusals(task: Any) -> list[tuple[str, str, str, int, dict[str, Any]]]:
    """Return (path of the schema, method, address, expected status, arguments of the client)."""
    campaign = task.asset.campaign
    decide = {"decision": "approved", "version": task.asset.versions.first().pk, "seen": "another"}
    taken = {"brand": task.brand.slug, "slug": campaign.slug, "name": "Again"}
    detail, campaigns = f"{API}/campaigns/{{id}}/", f"{API}/campaigns/"
    return [
        (campaigns, "POST", campaigns, 400, {"data": "{", "content_type": "application/json"}),
        (detail, "GET", f"{API}/campaigns/99999999/", 404, {}),
        (campaigns, "POST", campaigns, 409, {"data": taken, "format": "json"}),
        (
            f"{API}/tasks/{{id}}/decide/",
            "POST",
            f"{API}/tasks/{task.pk}/decide/",
            412,
            {"data": decide, "format": "json"},
        ),
        (campaigns, "POST", campaigns, 415, {"data": "x", "content_type": "text/plain"}),
        (campaigns, "POST", campaigns, 422, {"data": {"name": ""}, "format": "json"}),
        (campaigns, "GET", f"{campaigns}?cursor=wrong", 404, {}),
        (f"{API}/assets/", "GET", f"{API}/assets/?state=wrong", 422, {}),
        (detail, "PATCH", f"{API}/campaigns/{campaign.pk}/", 428, {"data": {"name": "N"}, "format": "json"}),
        (f"{API}/changes/", "GET", f"{API}/changes/?brand=nowhere", 404, {}),
    ]


@pytest.mark.parametrize("number", range(10))
def test_refusals_are_described_as_problem_details(
    number: int, schema: Any, task: Any, lead: Any, api_client: Callable[..., Any]
) -> None:
    path, method, address, status, arguments = refusals(task)[number]
    answer = getattr(api_client(lead), method.lower())(address, **arguments)
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert_described(schema, path, method, answer)


@pytest.mark.parametrize("role", ["nobody", "viewer"])
def test_refused_people_are_described(
    role: str, schema: Any, task: Any, viewer: Any, client: Any, api_client: Callable[..., Any]
) -> None:
    caller = client if role == "nobody" else api_client(viewer)
    answer = caller.get(f"{API}/campaigns/{task.asset.campaign_id}/approved/")
    assert answer.status_code == (401 if role == "nobody" else 403)
    assert_described(schema, f"{API}/campaigns/{{id}}/approved/", "GET", answer)


def test_every_operation_says_how_it_refuses(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            refused = {status: shown for status, shown in operation["responses"].items() if status[0] in "45"}
            assert {"401", "403", "503"} <= set(refused), f"{method} {path}"
            assert all("$ref" in shown for shown in refused.values()), f"{method} {path}"
