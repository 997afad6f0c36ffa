"""Tests of every page through the client: permissions, errors, and the number of queries."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from PIL import Image

from campaigns.models import Campaign, PromptVersion, Subject
from core import stored_files
from core.choices import Role
from core.templatetags.proofline import field_label
from review.models import Decision, Delivery, ReviewTask
from review.services import reasons
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments

pytestmark = pytest.mark.django_db

ALL = frozenset(Role.values)
MANAGERS = frozenset({"campaign_manager", "lead", "admin"})
REVIEWERS = frozenset({"reviewer", "lead", "admin"})

PAGES: dict[str, frozenset[str]] = {
    "": ALL,
    "campaigns/": ALL,
    "campaigns/new/": MANAGERS,
    "campaigns/{campaign}/": ALL,
    "campaigns/{campaign}/brief/": MANAGERS,
    "campaigns/{campaign}/specs/": MANAGERS,
    "campaigns/{campaign}/runs/new/": ALL,
    "runs/{run}/": ALL,
    "runs/{run}/rows/": ALL,
    "runs/{run}/cells/{cell}/": ALL,
    "reports/runs/{run}/": ALL,
    "reports/campaigns/{campaign}/": ALL,
    "notices/": ALL,
    "notices/unread/": ALL,
    "products/": ALL,
    "products/?kind=article": ALL,
    "products/new/": MANAGERS,
    "cutouts/": ALL,
    "cutouts/?show=all": ALL,
    "products/{subject}/": ALL,
    "import/": MANAGERS | {"integrator"},
    "prompts/": ALL,
    "prompts/{prompt}/": ALL,
    "prompts/{prompt}/compare/": ALL,
    "prompts/{prompt}/subjects/?q=m": ALL,
    "styles/": ALL,
    "guide/": ALL,
    "library/": ALL,
    "library/download/": ALL - {"viewer"},
    "assets/{asset}/": ALL,
    "deliveries/": ALL,
    "deliveries/?state=failed&q=m": ALL,
    "deliveries/{delivery}/": ALL,
    "deliveries/{delivery}/product/": frozenset({"lead", "admin"}),
    "destinations/": ALL,
    "destinations/new/": frozenset({"lead", "admin"}),
    "destinations/new/shopify/": frozenset({"lead", "admin"}),
    "destinations/{destination}/": ALL,
    "ai-rules/": ALL,
    "webhooks/": MANAGERS | {"integrator"},
    "webhooks/new/": frozenset({"lead", "admin"}),
    "webhooks/{webhook}/": MANAGERS | {"integrator"},
    "webhooks/messages/{message}/": MANAGERS | {"integrator"},
    "review/": ALL,
    "review/room/": REVIEWERS,
    "review/tasks/{task}/rail/": REVIEWERS,
    "audit/": MANAGERS,
    "audit/verify/": MANAGERS,
    "palette/?q=m": ALL,
}

#: The maximum number of queries, for any number of rows. Session, user, brand, right, navigation and bell take six.
MOST_QUERIES = {
    "": 26,
    "campaigns/": 10,
    "campaigns/{campaign}/": 26,
    "runs/{run}/": 22,
    "runs/{run}/cells/{cell}/": 20,
    "reports/runs/{run}/": 22,
    "reports/campaigns/{campaign}/": 22,
    "notices/": 10,
    "products/": 16,
    "library/": 18,
    "library/download/": 8,
    "assets/{asset}/": 31,
    "deliveries/": 13,
    "deliveries/{delivery}/": 9,
    "destinations/": 9,
    "destinations/{destination}/": 18,  # of them 8 are for the rules: their choices, their preview, what is missing
    "ai-rules/": 11,
    "webhooks/": 8,
    "webhooks/{webhook}/": 10,
    "review/": 26,
    "review/room/": 30,
    "audit/": 12,
}


@pytest.fixture
def task(brand: Any) -> ReviewTask:
    """Make one image in review, with real pixels."""
    made = create_image_in_review(brand)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "WEBP")
    stored = stored_files.put(buffer.getvalue(), suffix="webp")
    made.asset.versions.get().master.__class__.objects.update(storage_key=stored.key, sha256=stored.sha256)
    return made


@pytest.fixture
def address(brand: Any, task: ReviewTask) -> Callable[[str], str]:
    """Return a function: `address("runs/{run}/")` is the full path of a page about the image in review."""
    cell = task.asset.cell
    shop = factories.DestinationFactory(brand=brand, kind="shopify")
    delivery = factories.DeliveryFactory(
        asset=task.asset, destination=shop, version=task.asset.current_version, observed="failed", error="No product."
    )
    message = factories.WebhookMessageFactory(endpoint__brand=brand)
    names = {
        "webhook": message.endpoint_id,
        "message": message.pk,
        "destination": shop.pk,
        "delivery": delivery.pk,
        "campaign": task.asset.campaign.slug,
        "run": cell.run_id,
        "cell": cell.pk,
        "subject": cell.subject_id,
        "asset": task.asset_id,
        "task": task.pk,
        "prompt": cell.run.prompt_version.template.slug,
    }
    return lambda page: f"/brands/{brand.slug}/{page.format(**names)}"


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("role", Role.values)
def test_a_page_opens_for_the_roles_that_may(
    page: str, role: str, person: Any, page_client: Any, address: Callable[[str], str]
) -> None:
    answer = page_client(person(role)).get(address(page))
    assert answer.status_code == (200 if role in PAGES[page] else 403)


@pytest.mark.parametrize("page", PAGES)
def test_another_brand_does_not_exist(
    page: str, person: Any, other_brand: Any, page_client: Any, address: Callable[[str], str]
) -> None:
    stranger = page_client(person("admin", brand=other_brand))
    assert stranger.get(address(page)).status_code == 404


@pytest.mark.parametrize("page", PAGES)
def test_strangers_are_asked_to_sign_in(page: str, client: Any, address: Callable[[str], str]) -> None:
    answer = client.get(address(page))
    assert answer.status_code == 302
    assert "/accounts/login/" in answer["Location"]


@pytest.mark.parametrize("page", MOST_QUERIES)
def test_a_page_costs_no_more_queries_with_more_rows(
    page: str, brand: Any, person: Any, page_client: Any, address: Callable[[str], str], task: ReviewTask
) -> None:
    client = page_client(person("lead"))
    client.get(address(page))
    for _ in range(8):
        create_image_in_review(brand, run=task.asset.cell.run, specs=[])
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(address(page)).status_code == 200
    assert len(queries) <= MOST_QUERIES[page], "\n".join(query["sql"][:160] for query in queries)


def test_the_start_page_redirects_to_the_brand(brand: Any, viewer: Any, page_client: Any) -> None:
    assert page_client(viewer).get("/")["Location"] == f"/brands/{brand.slug}/"


def test_somebody_without_a_brand_sees_whom_to_ask(page_client: Any) -> None:
    answer = page_client(factories.UserFactory()).get("/")
    assert answer.status_code == 200
    assert b"You are in no brand yet" in answer.content


# -- images ---------------------------------------------------------------------------------------------------------


def test_an_image_may_be_kept_for_ever_under_its_hash(task: ReviewTask, viewer: Any, page_client: Any) -> None:
    master = task.asset.versions.get().master
    client = page_client(viewer)
    answer = client.get(f"/files/master/{master.pk}/?v={master.sha256[:12]}")
    assert answer.status_code == 200
    assert "immutable" in answer["Cache-Control"]
    assert answer["X-Content-Type-Options"] == "nosniff"
    again = client.get(f"/files/master/{master.pk}/?v={master.sha256[:12]}", HTTP_IF_NONE_MATCH=answer["ETag"])
    assert again.status_code == 304
    assert "immutable" not in client.get(f"/files/master/{master.pk}/")["Cache-Control"]


@pytest.mark.parametrize("kind", ["master", "version"])
def test_an_image_of_another_brand_does_not_exist(
    kind: str, task: ReviewTask, person: Any, other_brand: Any, page_client: Any
) -> None:
    version = task.asset.versions.get()
    pk = version.pk if kind == "version" else version.master_id
    assert page_client(person("admin", brand=other_brand)).get(f"/files/{kind}/{pk}/").status_code == 404
    assert page_client(person("viewer")).get(f"/files/{kind}/{pk}/").status_code == 200


def test_a_small_copy_is_small(brand: Any, viewer: Any, page_client: Any) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1000, 500), "teal").save(buffer, "JPEG")
    stored = stored_files.put(buffer.getvalue(), suffix="jpg")
    photo = factories.ReferencePhotoFactory(
        subject=factories.SubjectFactory(brand=brand), sha256=stored.sha256, storage_key=stored.key
    )
    answer = page_client(viewer).get(f"/files/photo/{photo.pk}/?px=90")
    assert Image.open(io.BytesIO(answer.getvalue())).size == (96, 48)


# -- posts of the review workspace ------------------------------------------------------------------------------------


def _decision_body(task: ReviewTask, **more: Any) -> str:
    looked = decision_arguments(task)
    return json.dumps({"version": looked["version_id"], "seen": looked["seen"], **more})


def _post(client: Any, task: ReviewTask, verb: str, body: str) -> Any:
    return client.post(
        f"/brands/{task.brand.slug}/review/tasks/{task.pk}/{verb}/", body, content_type="application/json"
    )


def test_a_posted_approval_is_a_decision(task: ReviewTask, reviewer: Any, page_client: Any) -> None:
    answer = _post(page_client(reviewer), task, "approve", _decision_body(task))
    assert answer.status_code == 200
    assert Decision.objects.get(pk=answer.json()["id"]).decided_by == reviewer


def test_the_second_to_approve_gets_a_message_that_names_who_was_first(
    task: ReviewTask, reviewer: Any, person: Any, page_client: Any
) -> None:
    _post(page_client(person("reviewer", first_name="Eva")), task, "approve", _decision_body(task))
    answer = _post(page_client(reviewer), task, "approve", _decision_body(task))
    assert answer.status_code == 409
    assert "Eva" in answer.json()["detail"]


def test_a_decision_on_a_stale_page_gets_a_message(task: ReviewTask, reviewer: Any, page_client: Any) -> None:
    answer = _post(
        page_client(reviewer), task, "approve", json.dumps(json.loads(_decision_body(task)) | {"seen": "0" * 32})
    )
    assert answer.status_code == 412


def test_an_unknown_reason_says_which_there_are(brand: Any, task: ReviewTask, lead: Any, page_client: Any) -> None:
    reasons.add_defaults(brand=brand, by=lead)
    answer = _post(page_client(lead), task, "reject", _decision_body(task, reason="ugly"))
    assert answer.status_code == 404
    assert "artefact" in answer.json()["detail"]


def test_posts_without_a_session_are_401_in_words(task: ReviewTask, client: Any) -> None:
    answer = _post(client, task, "approve", _decision_body(task))
    assert answer.status_code == 401
    assert "sign in" in answer.json()["detail"]


def test_unreadable_posts_are_refused(task: ReviewTask, reviewer: Any, page_client: Any) -> None:
    assert _post(page_client(reviewer), task, "approve", "[").status_code == 422
    assert _post(page_client(reviewer), task, "approve", "{}").status_code == 422


def test_undo_returns_the_card(task: ReviewTask, reviewer: Any, page_client: Any) -> None:
    client = page_client(reviewer)
    made = _post(client, task, "approve", _decision_body(task)).json()["id"]
    answer = client.post(
        f"/brands/{task.brand.slug}/review/decisions/{made}/undo/", "{}", content_type="application/json"
    )
    assert answer.status_code == 200
    assert answer.json()["card"]["id"] == task.pk
    task.refresh_from_db()
    assert task.state == "open"


# -- pages of a campaign manager --------------------------------------------------------------------------------------


def test_a_brief_is_written_with_its_output(brand: Any, manager: Any, page_client: Any) -> None:
    client = page_client(manager)
    given = {"name": "Autumn table", "pilot_decisions": 10, "pilot_approval_percent": 80}
    answer = client.post(f"/brands/{brand.slug}/campaigns/new/", given)
    assert answer["Location"] == f"/brands/{brand.slug}/campaigns/autumn-table/"
    spec = {"slug": "shop", "width": 800, "height": 800, "image_format": "jpeg", "name_pattern": "{sku}"}
    client.post(f"/brands/{brand.slug}/campaigns/autumn-table/specs/", spec)
    campaign = Campaign.objects.get(slug="autumn-table")
    assert [str(output_spec) for output_spec in campaign.output_specs.all()] == ["shop 800×800 jpeg"]


def test_a_mistake_in_the_brief_is_shown_beside_its_field(brand: Any, manager: Any, page_client: Any) -> None:
    given = {
        "name": "X",
        "starts_on": "2026-12-02",
        "ends_on": "2026-12-01",
        "pilot_decisions": 1,
        "pilot_approval_percent": 80,
    }
    answer = page_client(manager).post(f"/brands/{brand.slug}/campaigns/new/", given)
    assert answer.status_code == 200
    assert b"ends before it starts" in answer.content


@pytest.mark.django_db(transaction=True)
def test_a_feed_is_checked_and_then_applied(brand: Any, manager: Any, page_client: Any) -> None:
    client = page_client(manager)
    feed = SimpleUploadedFile("feed.csv", b"sku,name,colour\nM-1,Mug,sage\nM-2,Bowl,clay\n", "text/csv")
    checked = client.post(f"/brands/{brand.slug}/import/", {"file": feed})
    assert not Subject.objects.exists()
    page = client.get(checked["Location"])
    assert b"2 rows are right" in page.content
    client.post(checked["Location"])
    assert Subject.objects.filter(brand=brand).count() == 2


@pytest.mark.django_db(transaction=True)
def test_mistakes_of_a_feed_are_grouped_with_their_cell(brand: Any, manager: Any, page_client: Any) -> None:
    client = page_client(manager)
    feed = SimpleUploadedFile("feed.csv", b"sku,name\n4.0E+12,Mug\nM-2,Bowl\n", "text/csv")
    answer = client.post(f"/brands/{brand.slug}/import/", {"file": feed}, follow=True)
    assert b"A2" in answer.content
    assert b"4.0E+12" in answer.content
    assert b"Apply all of it" not in answer.content


def test_a_prompt_is_shown_on_real_subjects_while_typed(brand: Any, person: Any, page_client: Any) -> None:
    designer = person("designer")
    factories.SubjectFactory(brand=brand, name="Mug", attributes={"colour": "sage"})
    factories.GuideVersionFactory(brand=brand, status="published", banned_wording=["cheap"])
    template = factories.PromptTemplateFactory(brand=brand)
    client = page_client(designer)
    address = f"/brands/{brand.slug}/prompts/{template.slug}/"
    answer = client.post(f"{address}preview/", {"text": "A cheap {name} in {colour}, {glaze}", "axes": ""})
    assert b"No value for glaze" in answer.content
    answer = client.post(f"{address}preview/", {"text": "A cheap {name} in {colour}", "axes": "light: left, right"})
    assert b"2 images per product" in answer.content
    assert re.search(rb'<mark\s+class="banned"', answer.content)
    assert b">sage</mark>" in answer.content
    assert not PromptVersion.objects.filter(template=template).exists()
    fields = {"text": "A {name}", "axes": "", "parameters": "{}", "seed_strategy": "fixed", "seed": 1, "candidates": 1}
    assert client.post(address, fields).status_code == 302
    assert PromptVersion.objects.get(template=template).number == 1


def test_live_sends_only_cells_that_changed(task: ReviewTask, manager: Any, page_client: Any) -> None:
    client = page_client(manager)
    run = task.asset.cell.run
    page = client.get(f"/brands/{task.brand.slug}/runs/{run.pk}/")
    cell = page.context["sheet"].rows[0].cells[0]
    address = f"/brands/{task.brand.slug}/runs/{run.pk}/live/"
    same = client.post(address, {"cells": f"{cell.cell_id}-{cell.mark}"})
    assert f'id="cell-{cell.cell_id}"'.encode() not in same.content
    other = client.post(address, {"cells": f"{cell.cell_id}-00000"})
    assert f'id="cell-{cell.cell_id}"'.encode() in other.content


def test_a_run_is_paused_from_its_page(task: ReviewTask, manager: Any, page_client: Any) -> None:
    run = task.asset.cell.run
    page_client(manager).post(f"/brands/{task.brand.slug}/runs/{run.pk}/pause/")
    run.refresh_from_db()
    assert run.state == "paused"


def test_a_viewer_cannot_pause_a_run(task: ReviewTask, viewer: Any, page_client: Any) -> None:
    run = task.asset.cell.run
    answer = page_client(viewer).post(f"/brands/{task.brand.slug}/runs/{run.pk}/pause/")
    assert answer.status_code == 403
    assert b"This needs one of these roles" in answer.content


def test_the_library_filters_and_goes_on_by_keyset(brand: Any, viewer: Any, page_client: Any, task: ReviewTask) -> None:
    client = page_client(viewer)
    address = f"/brands/{brand.slug}/library/"
    assert task.asset.subject.key.encode() in client.get(address, {"state": "in_review"}).content
    assert task.asset.subject.key.encode() not in client.get(address, {"state": "approved"}).content
    rest = client.get(address, {"after": task.asset_id}, headers={"HX-Request": "true"})
    assert b"<html" not in rest.content


@pytest.mark.parametrize(
    ("pointer", "label"),
    [
        ("skus", "SKUs"), ("titles", "Titles"), ("subjects/KM-BTL-01", "Product KM-BTL-01"), ("/subjects", "Products"),
        ("axes/colour", "Axis colour"), ("rows/3", "Row 3"), ("rows/3/price", "Row 3, price"),
        ("palette/2/hex", "Colour"), ("config/path", "Path"), ("C2", "C2"), ("row 14", "Row 14"),
        ("prompt_version", "Prompt"), ("/", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_problem_is_shown_with_the_label_of_its_field(pointer: str, label: str) -> None:
    assert field_label(pointer) == label


# -- deliveries on other pages -----------------------------------------------------------------------------------------


def test_the_asset_names_the_state_of_its_delivery_as_the_desk_does_and_links_to_it(
    viewer: Any, page_client: Any, address: Callable[[str], str]
) -> None:
    link = address("deliveries/{delivery}/")
    client = page_client(viewer)
    assert re.search(
        rf'state bad">failed</span>\s*<a href="{link}"', client.get(address("assets/{asset}/")).content.decode()
    )
    Delivery.objects.update(observed="present", error="", due_at=None)
    assert re.search(
        rf'state good">live</span>\s*<a href="{link}"', client.get(address("assets/{asset}/")).content.decode()
    )


@pytest.mark.parametrize("role", Role.values)
def test_the_palette_offers_only_pages_that_open(role: str, brand: Any, person: Any, page_client: Any) -> None:
    client = page_client(person(role))
    results = client.get(f"/brands/{brand.slug}/palette/").json()["results"]
    assert {client.get(result["href"]).status_code for result in results} == {200}
    offered = {result["name"] for result in results}
    assert "Destinations" in offered
    assert ("Webhooks" in offered) == (role in PAGES["webhooks/"])
    assert ("Download approved images" in offered) == (role in PAGES["library/download/"])
