"""Test the API: its conventions and its limits."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from django.test import Client

from campaigns.models import Campaign, Subject
from core.models import StoredResponse
from tests.support import factories

ROOT = Path(__file__).resolve().parents[2]
API = "/api/v1"


def campaign_fields(brand: Any, slug: str = "autumn") -> dict[str, Any]:
    specs = [{"slug": "shop", "width": 200, "height": 200, "image_format": "webp"}]
    return {"brand": brand.slug, "slug": slug, "name": "Autumn", "output_specs": specs}


def test_a_repeated_create_gets_the_first_answer(brand, manager, api_client):
    client = api_client(manager)
    first = client.post(f"{API}/campaigns/", campaign_fields(brand), format="json", headers={"Idempotency-Key": "k"})
    repeated = client.post(f"{API}/campaigns/", campaign_fields(brand), format="json", headers={"Idempotency-Key": "k"})
    assert (first.status_code, repeated.status_code) == (201, 201)
    assert repeated.json() == first.json()
    assert repeated["Idempotency-Replayed"] == "true"
    assert Campaign.objects.count() == 1


def test_a_key_used_for_another_request_is_refused(brand, manager, api_client):
    client = api_client(manager)
    client.post(f"{API}/campaigns/", campaign_fields(brand), format="json", headers={"Idempotency-Key": "k"})
    other = client.post(
        f"{API}/campaigns/", campaign_fields(brand, "winter"), format="json", headers={"Idempotency-Key": "k"}
    )
    assert other.status_code == 422
    assert not Campaign.objects.filter(slug="winter").exists()


def test_a_create_that_failed_may_be_repeated_with_its_key(brand, manager, api_client):
    client = api_client(manager)
    broken = {**campaign_fields(brand), "name": ""}
    refused = client.post(f"{API}/campaigns/", broken, format="json", headers={"Idempotency-Key": "k"})
    assert refused.status_code == 422
    assert not StoredResponse.objects.exists()
    assert refused["Content-Type"] == "application/problem+json"
    assert refused.json()["errors"][0]["pointer"] == "/name"


def test_a_change_needs_the_tag_of_what_was_seen(brand, manager, api_client):
    client = api_client(manager)
    made = client.post(f"{API}/campaigns/", campaign_fields(brand), format="json")
    address = f"{API}/campaigns/{made.json()['id']}/"
    assert client.patch(address, {"name": "New"}, format="json").status_code == 428
    tag = client.get(address)["ETag"]
    changed = client.patch(address, {"name": "New"}, format="json", headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["name"]) == (200, "New")
    stale = client.patch(address, {"name": "Other"}, format="json", headers={"If-Match": tag})
    assert stale.status_code == 412
    assert client.get(address).json()["name"] == "New"


def test_one_brand_never_sees_another(brand, other_brand, person, api_client):
    insider, stranger = person("admin"), person("admin", brand=other_brand)
    campaign = factories.CampaignFactory(brand=brand, owner=insider)
    subject = factories.SubjectFactory(brand=brand)
    client = api_client(stranger)
    for address in (f"campaigns/{campaign.pk}/", f"subjects/{subject.pk}/", f"brands/{brand.slug}/"):
        assert client.get(f"{API}/{address}").status_code == 404, address
        assert api_client(insider).get(f"{API}/{address}").status_code == 200, address
    for address in (
        "campaigns/",
        "subjects/",
        "runs/",
        "assets/",
        "jobs/",
        "tasks/",
        "decisions/",
        "deliveries/",
        "imports/",
    ):
        assert client.get(f"{API}/{address}").json()["results"] == [], address
    for address in (
        f"changes/?brand={brand.slug}",
        f"products/X/assets/?brand={brand.slug}",
        f"audit/?brand={brand.slug}",
    ):
        assert client.get(f"{API}/{address}").status_code == 404, address
    created = client.post(f"{API}/campaigns/", campaign_fields(brand), format="json")
    assert created.status_code == 404


def test_a_role_without_the_right_sees_which_roles_have_it(brand, viewer, api_client):
    refused = api_client(viewer).post(f"{API}/campaigns/", campaign_fields(brand), format="json")
    assert refused.status_code == 403
    assert "campaign manager" in refused.json()["detail"]


def test_without_a_token_nothing_is_revealed(brand):
    refused = Client().get(f"{API}/campaigns/")
    assert refused.status_code == 401
    assert refused["Content-Type"] == "application/problem+json"


def test_a_bad_feed_is_answered_with_its_cells(brand, manager, api_client):
    file = io.BytesIO(b"sku,name,price\nA-1,Mug,cheap\nA-1,Mug again,3\n")
    file.name = "products.csv"
    answer = api_client(manager).post(f"{API}/imports/", {"brand": brand.slug, "file": file})
    assert answer.status_code == 201
    body = answer.json()
    assert body["status"] == "refused"
    assert {(error["row"], error["column"]) for error in body["errors"]} >= {(2, "price")}
    assert not Subject.objects.exists()


def test_the_schema_is_valid_and_the_docs_page_needs_nothing_from_outside(live_server, manager, page_client):
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.validation import validate_schema

    schema = SchemaGenerator().get_schema(request=None, public=True)
    validate_schema(schema)
    assert len(schema["paths"]) > 30
    page = page_client(manager).get(f"{API}/docs/").content.decode()
    assert "http://" not in page.replace(live_server.url, "")
    assert "https://" not in page
