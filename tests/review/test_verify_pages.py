"""Test the page and the API of "verify an image"."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from campaigns.photos import intake
from core.models import Brand, User
from generation.models import AssetVersion
from review.choices import ObservedState
from tests.support import factories, found_images, found_masters

pytestmark = pytest.mark.django_db


def upload(number: int, *, is_foreign: bool = False) -> SimpleUploadedFile:
    data = found_images.encode(found_images.make(number, is_foreign=is_foreign), quality=80)
    return SimpleUploadedFile("found.jpg", data, "image/jpeg")


@pytest.fixture
def version(brand: Brand) -> AssetVersion:
    """Return an approved and delivered version."""
    found = AssetVersion.objects.get(pk=found_masters.create_versions(brand, [8])[8])
    person = factories.UserFactory(first_name="Ana", last_name="Lopes")
    decision = factories.DecisionFactory(task__asset=found.asset, version=found, decided_by=person)
    factories.DecisionSlotFactory(task=decision.task, decision=decision)
    shop = factories.DestinationFactory(brand=brand, name="Shop in Porto")
    factories.DeliveryFactory(asset=found.asset, version=found, destination=shop, observed=ObservedState.PRESENT)
    return found


def test_page_shows_the_lineage(version: AssetVersion, brand: Brand, viewer: User, page_client: Any) -> None:
    answer = page_client(viewer).post(reverse("verify", args=[brand.slug]), {"file": upload(8)})
    page = answer.content.decode()
    asset = version.asset
    prompt = asset.cell.run.prompt_version
    wanted = (asset.subject.key, asset.campaign.name, str(prompt), "Ana Lopes", "Shop in Porto", "of 256 bits differ")
    assert [words for words in wanted if words not in page] == []
    assert f"{reverse('asset', args=[brand.slug, asset.pk])}?version={version.pk}" in page


def test_script_gets_the_result_alone(version: AssetVersion, brand: Brand, viewer: User, page_client: Any) -> None:
    address, headers = reverse("verify", args=[brand.slug]), {"Accept": "application/json"}
    html = page_client(viewer).post(address, {"file": upload(8)}, headers=headers).json()["html"]
    assert "Proofline made this image" in html and "<html" not in html


def test_unknown_image_is_answered_honestly(
    version: AssetVersion, brand: Brand, viewer: User, page_client: Any
) -> None:
    answer = page_client(viewer).post(reverse("verify", args=[brand.slug]), {"file": upload(8, is_foreign=True)})
    assert answer.status_code == 200
    assert "did not make this image for your brands, or it was changed too much" in answer.content.decode()


def test_page_says_what_is_wrong_with_a_file(brand: Brand, viewer: User, page_client: Any) -> None:
    client, address = page_client(viewer), reverse("verify", args=[brand.slug])
    for file, words in (
        (None, "Choose an image first"),
        (SimpleUploadedFile("notes.pdf", b"%PDF-1.7 notes"), "no JPEG, PNG, WebP or AVIF"),
    ):
        answer = client.post(address, {"file": file} if file else {})
        assert (answer.status_code, words in answer.content.decode()) == (422, True)


def test_short_address_leads_to_the_brand_used_last(brand: Brand, viewer: User, page_client: Any, client: Any) -> None:
    assert page_client(viewer).get("/verify/").url == reverse("verify", args=[brand.slug])
    assert client.get("/verify/").status_code == 302  # to the sign-in page


def test_api_returns_lineage_deliveries_and_marks(version: AssetVersion, viewer: User, api_client: Any) -> None:
    answer = api_client(viewer).post("/api/v1/verify/", {"file": upload(8)}, format="multipart")
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["found"], body["how"], body["covered"] > 0.9) == (True, "looks", True)
    [image] = body["images"]
    assert (image["asset"], image["version"]) == (version.asset_id, version.pk)
    assert image["lineage"]["approval"]["by"] == "Ana Lopes"
    assert [delivery["destination"] for delivery in image["deliveries"]] == ["Shop in Porto"]
    assert [(mark["name"], mark["state"]) for mark in body["marks"]] == [
        ("XMP", "absent"),
        ("Content Credentials", "absent"),
    ]


def test_api_answers_other_brands_as_unknown(
    version: AssetVersion, person: Any, other_brand: Brand, api_client: Any
) -> None:
    client = api_client(person("lead", brand=other_brand))
    answers = [
        client.post("/api/v1/verify/", {"file": file}, format="multipart").json()
        for file in (upload(8), upload(8, is_foreign=True))
    ]
    for answer in answers:
        del answer["sha256"]
    assert answers[0] == answers[1]
    assert answers[0]["found"] is False and answers[0]["images"] == []


def test_api_refuses_what_is_no_image(brand: Brand, viewer: User, api_client: Any, monkeypatch: Any) -> None:
    client = api_client(viewer)
    answer = client.post("/api/v1/verify/", {"file": SimpleUploadedFile("a.txt", b"text")}, format="multipart")
    assert (answer.status_code, "no JPEG" in answer.json()["detail"]) == (422, True)
    assert client.post("/api/v1/verify/", {}, format="multipart").status_code in (400, 422)
    monkeypatch.setattr(intake, "MAX_BYTES", 1000)
    answer = client.post("/api/v1/verify/", {"file": upload(8)}, format="multipart")
    assert (answer.status_code, "at most" in answer.json()["detail"]) == (422, True)


def test_number_of_queries_does_not_grow(
    brand: Brand, viewer: User, page_client: Any, django_assert_max_num_queries: Any
) -> None:
    made = found_masters.create_versions(brand, [8, 9, 10, 11, 0, 1])
    factories.AssetVersionFactory.create_batch(
        3, asset__cell__run__campaign__brand=brand, master=AssetVersion.objects.get(pk=made[8]).master
    )
    client, address = page_client(viewer), reverse("verify", args=[brand.slug])
    with django_assert_max_num_queries(20):
        answer = client.post(address, {"file": upload(8)})
    assert "it is one of these 4" in " ".join(answer.content.decode().split())
