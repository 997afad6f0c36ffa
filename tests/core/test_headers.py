"""Tests of caching headers: pages, lists and errors are never cached; an ETag is revalidated each time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from core.models import Brand
from review.services import consequences, decisions
from tests.support.images_in_review import create_image_in_review, decision_arguments

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "address",
    [
        "/brands/{brand}/campaigns/",
        "/brands/{brand}/library/",
        "/brands/{brand}/notices/unread/",
        "/brands/{brand}/library/approved.zip",
        "/brands/{brand}/audit/export.jsonl",
        "/brands/nowhere/",
        "/accounts/login/",
    ],
)
def test_pages_and_refusals_are_never_stored(
    address: str, brand: Brand, lead: Any, page_client: Callable[..., Any]
) -> None:
    answer = page_client(lead).get(address.format(brand=brand.slug))
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize("address", ["campaigns/", "brands/", "campaigns/0/", "changes/?brand=nowhere", "schema/"])
def test_answers_of_the_api_without_a_tag_are_never_stored(
    address: str, lead: Any, api_client: Callable[..., Any]
) -> None:
    assert api_client(lead).get(f"/api/v1/{address}")["Cache-Control"] == "private, no-store"


def test_a_page_for_people_who_are_not_signed_in_is_never_stored(brand: Brand, client: Any) -> None:
    for address in (f"/brands/{brand.slug}/", "/api/v1/campaigns/"):
        assert client.get(address)["Cache-Control"] == "private, no-store", address


@pytest.mark.parametrize("kind", ["campaign", "asset", "prompt-version", "guide"])
def test_a_response_with_an_etag_is_revalidated(
    kind: str, brand: Brand, lead: Any, api_client: Callable[..., Any]
) -> None:
    task = create_image_in_review(brand)
    run = task.asset.cell.run
    address = {
        "campaign": f"campaigns/{run.campaign_id}/",
        "asset": f"assets/{task.asset_id}/",
        "prompt-version": f"prompt-versions/{run.prompt_version_id}/",
        "guide": f"brands/{brand.slug}/guide/",
    }[kind]
    client = api_client(lead)
    first = client.get(f"/api/v1/{address}")
    assert first["Cache-Control"] == "private, no-cache"
    again = client.get(f"/api/v1/{address}", headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"/api/v1/{address}", headers={"If-None-Match": '"another"'}).status_code == 200


def test_a_redirect_to_a_file_is_not_kept_beyond_its_approval(
    brand: Brand, integrator: Any, reviewer: Any, api_client: Callable[..., Any]
) -> None:
    task = create_image_in_review(brand)
    decisions.approve(**decision_arguments(task), by=reviewer)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    rendition = task.asset.versions.get().renditions.get()
    answer = api_client(integrator).get(f"/api/v1/files/{rendition.pk}/")
    assert (answer.status_code, answer["Cache-Control"]) == (302, "private, no-store")


@pytest.mark.parametrize(("query", "kept"), [("", "private, no-cache"), ("?v={hash}", "immutable")])
def test_a_stored_image_is_private_and_kept_for_ever_only_where_its_address_names_its_content(
    query: str, kept: str, brand: Brand, lead: Any, page_client: Callable[..., Any]
) -> None:
    rendition = create_image_in_review(brand).asset.versions.get().renditions.get()
    address = f"/files/rendition/{rendition.pk}/{query.format(hash=rendition.sha256[:12])}"
    answer = page_client(lead).get(address)
    assert answer["Cache-Control"].startswith("private") and kept in answer["Cache-Control"]
    assert answer["ETag"]
