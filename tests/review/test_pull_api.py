"""Test the pull API: fields, renditions, conditional requests, tombstones, and the number of queries."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from core.events import publish
from core.models import Brand, User
from core.services import audit
from generation.models import Asset
from review.events import AssetReleased
from review.models import Delivery
from review.selectors import changes
from review.services import consequences, decisions, retractions
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.marked_images import mark_released_files
from tests.support.sealing import seal

pytestmark = pytest.mark.django_db

#: Only committed events are sealed.
committed = pytest.mark.django_db(transaction=True)

API = "/api/v1"
Clients = Callable[[User], APIClient]


@pytest.fixture
def client(integrator: User, api_client: Clients) -> APIClient:
    return api_client(integrator)


@pytest.fixture
def campaign(brand: Brand) -> Any:
    """Return a campaign with two output specs, web and square."""
    made = factories.CampaignFactory(brand=brand)
    for slug, width in (("web", 1600), ("square", 800)):
        factories.OutputSpecFactory(campaign=made, slug=slug, width=width, height=800)
    return made


def approve(campaign: Any, reviewer: User) -> Asset:
    """Return a new approved image of the campaign with a file for each output spec, its approval in effect."""
    specs = list(campaign.output_specs.all())
    task = create_image_in_review(campaign.brand, campaign=campaign, specs=specs)
    decisions.approve(**decision_arguments(task), by=reviewer)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    return Asset.objects.get(pk=task.asset_id)


def count_queries(client: APIClient, address: str) -> int:
    with CaptureQueriesContext(connection) as caught:
        assert client.get(address).status_code == 200, address
    return len(caught)


# -- fields and renditions --------------------------------------------------------------------------------------------


def test_the_list_says_what_a_shop_needs(campaign: Any, reviewer: User, client: APIClient) -> None:
    asset = approve(campaign, reviewer)
    [entry] = client.get(f"{API}/approved-assets/?brand={campaign.brand.slug}").json()["results"]
    assert (entry["asset"], entry["sku"], entry["state"]) == (asset.pk, asset.subject.key, "approved")
    assert entry["alt_text"] == asset.subject.name
    assert entry["campaign"] == {"id": campaign.pk, "slug": campaign.slug, "name": campaign.name}
    assert entry["product"]["name"] == asset.subject.name
    assert {file["spec"] for file in entry["files"]} == {"web", "square"}
    for file in entry["files"]:
        assert client.get(f"{API}/files/{file['url'].rstrip('/').rsplit('/', 1)[-1]}/").status_code == 302


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("sku", {"sku"}),
        ("sku,files.url", {"sku", "files"}),
        ("files.url,files", {"files"}),
        (" asset , product.name,product.key", {"asset", "product"}),
    ],
)
def test_only_the_named_fields_are_returned(
    fields: str, expected: set[str], campaign: Any, reviewer: User, client: APIClient
) -> None:
    approve(campaign, reviewer)
    [entry] = client.get(f"{API}/approved-assets/?brand={campaign.brand.slug}&fields={fields}").json()["results"]
    assert set(entry) == expected
    if fields == "sku,files.url":
        assert [set(file) for file in entry["files"]] == [{"url"}, {"url"}]
    if fields == "files.url,files":
        assert "sha256" in entry["files"][0], "the parent has all its fields"
    if "product" in entry:
        assert set(entry["product"]) == {"name", "key"}


@pytest.mark.parametrize("fields", ["price", "files.colour", "", "sku,files.", "sku.key"])
@pytest.mark.parametrize("path", ["approved-assets/", "products/X/assets/", "changes/"])
def test_unknown_fields_are_refused_with_the_known_ones(
    path: str, fields: str, brand: Brand, client: APIClient
) -> None:
    answer = client.get(f"{API}/{path}?brand={brand.slug}&fields={fields}")
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["errors"][0]["pointer"] == "?fields"
    assert "files.url" in problem["detail"]
    assert "sku" in problem["detail"]


def test_one_rendition_or_several_can_be_chosen(campaign: Any, reviewer: User, client: APIClient) -> None:
    asset = approve(campaign, reviewer)
    other = approve(factories.CampaignFactory(brand=campaign.brand), reviewer)  # an image without any file
    base = f"brand={campaign.brand.slug}&fields=asset,files.spec&renditions="
    for path in ("approved-assets/", f"products/{asset.subject.key}/assets/"):
        for chosen in ("web", "square,web"):
            body = client.get(f"{API}/{path}?{base}{chosen}").json()
            entries = body.get("results") or body["assets"]
            assert [entry["asset"] for entry in entries] == [asset.pk]
            assert {file["spec"] for file in entries[0]["files"]} == set(chosen.split(","))
    assert client.get(f"{API}/approved-assets/{other.pk}/?fields=files&renditions=web").json() == {"files": []}


def test_unknown_renditions_are_refused_with_the_known_ones(campaign: Any, reviewer: User, client: APIClient) -> None:
    asset = approve(campaign, reviewer)
    query = f"brand={campaign.brand.slug}&renditions=web,poster"
    for path in ("approved-assets/", f"approved-assets/{asset.pk}/", "products/X/assets/", "changes/"):
        answer = client.get(f"{API}/{path}?{query}")
        assert answer.status_code == 422, path
        assert answer.json()["errors"] == [
            {"pointer": "?renditions", "detail": "There is no such name. Known are: square, web.", "value": "poster"}
        ]


def test_only_the_files_that_the_approval_is_pinned_to_are_listed(
    campaign: Any, reviewer: User, client: APIClient
) -> None:
    asset = approve(campaign, reviewer)
    made_later = asset.current_version.renditions.get(output_spec__slug="web")
    factories.RenditionFactory(version=asset.current_version, output_spec=made_later.output_spec, recipe_version=2)
    files = client.get(f"{API}/approved-assets/{asset.pk}/").json()["files"]
    assert sorted(file["spec"] for file in files) == ["square", "web"]
    assert changes.stable_url(made_later.pk) in {file["url"] for file in files}


def test_the_alt_text_that_people_wrote_is_returned(campaign: Any, reviewer: User, client: APIClient) -> None:
    asset = approve(campaign, reviewer)
    factories.DeliveryFactory(asset=asset, version=asset.current_version, alt_text="A sage mug on oak")
    assert client.get(f"{API}/approved-assets/{asset.pk}/?fields=alt_text").json() == {"alt_text": "A sage mug on oak"}


def test_the_list_can_be_read_by_campaign_and_page_by_page(campaign: Any, reviewer: User, client: APIClient) -> None:
    images = [approve(campaign, reviewer) for _ in range(3)]
    approve(factories.CampaignFactory(brand=campaign.brand), reviewer)
    address = f"{API}/approved-assets/?brand={campaign.brand.slug}&campaign={campaign.slug}&fields=asset&limit=2"
    first = client.get(address).json()
    rest = client.get(first["next"]).json()
    assert [entry["asset"] for entry in first["results"] + rest["results"]] == [image.pk for image in reversed(images)]
    assert rest["next"] is None
    assert client.get(address.replace(campaign.slug, "nowhere")).status_code == 404


# -- what was recalled ------------------------------------------------------------------------------------------------


@committed
def test_a_recalled_image_is_gone_and_a_tombstone_among_the_changes(
    campaign: Any, reviewer: User, lead: User, client: APIClient
) -> None:
    asset = approve(campaign, reviewer)
    seal()
    query = f"brand={campaign.brand.slug}&fields=kind,asset_id,files.spec"
    page = client.get(f"{API}/changes/?{query}&renditions=web").json()
    assert page["changes"] == [{"kind": "approved", "asset_id": asset.pk, "files": [{"spec": "web"}]}]
    retractions.revoke(asset_id=asset.pk, by=lead, note="licence ended")
    seal()
    answer = client.get(f"{API}/approved-assets/{asset.pk}/")
    assert (answer.status_code, answer.json()["title"]) == (410, "Withdrawn")
    assert "recalled" in answer.json()["detail"]
    assert client.get(f"{API}/approved-assets/?brand={campaign.brand.slug}").json()["results"] == []
    page = client.get(f"{API}/changes/?{query}&since={page['next']}").json()
    assert page["changes"] == [{"kind": "recalled", "asset_id": asset.pk, "files": []}]


@committed
@pytest.mark.parametrize("has_destination", [False, True])
def test_another_version_is_a_replacement_with_and_without_destinations(
    has_destination: bool, campaign: Any, reviewer: User, lead: User, client: APIClient
) -> None:
    if has_destination:
        factories.DestinationFactory(brand=campaign.brand)
    task = create_image_in_review(campaign.brand, campaign=campaign, candidates=2)
    first, second = task.asset.versions.order_by("candidate")
    for version in (first, first, second):
        decisions.approve(**decision_arguments(task, version), by=reviewer)
        consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
        retractions.reopen(asset_id=task.asset_id, by=lead, note="look again")
    seal()
    page = client.get(f"{API}/changes/?brand={campaign.brand.slug}&fields=kind,version_id").json()
    released = [(entry["kind"], entry["version_id"]) for entry in page["changes"] if entry["kind"] != "recalled"]
    assert released == [("approved", first.pk), ("approved", first.pk), ("replaced", second.pk)]


@committed
def test_a_poller_misses_nothing_that_is_committed_late(campaign: Any, reviewer: User, client: APIClient) -> None:
    """An event whose transaction began first and ends last gets a higher number than what was read meanwhile."""
    late = create_image_in_review(campaign.brand).asset
    is_written, may_commit = threading.Event(), threading.Event()

    def release_late() -> None:
        with transaction.atomic():
            publish(AssetReleased.of(late, version=late.current_version_id, renditions={}), label="review")
            is_written.set()
            may_commit.wait(30)
        connection.close()

    thread = threading.Thread(target=release_late)
    thread.start()
    assert is_written.wait(30)
    early = approve(campaign, reviewer)
    audit.seal()
    address = f"{API}/changes/?brand={campaign.brand.slug}&fields=asset_id"
    before = client.get(address).json()
    may_commit.set()
    thread.join()
    seal()
    after = client.get(f"{address}&since={before['next']}").json()
    seen = [entry["asset_id"] for entry in before["changes"] + after["changes"]]
    assert sorted(seen) == sorted([late.pk, early.pk])


def test_an_image_that_was_never_approved_is_not_there(
    brand: Brand, other_brand: Brand, client: APIClient, person: Any, api_client: Clients
) -> None:
    task = create_image_in_review(brand)
    assert client.get(f"{API}/approved-assets/{task.asset_id}/").status_code == 404
    assert client.get(f"{API}/approved-assets/99999999999999999999/").status_code == 404
    assert client.get(f"{API}/approved-assets/x/").status_code == 404


def test_other_brands_and_viewers_get_nothing(
    campaign: Any, reviewer: User, viewer: User, person: Any, other_brand: Brand, api_client: Clients
) -> None:
    asset = approve(campaign, reviewer)
    for user, status in ((viewer, 403), (person("integrator", brand=other_brand), 404)):
        for path in (f"approved-assets/{asset.pk}/", f"approved-assets/?brand={campaign.brand.slug}"):
            assert api_client(user).get(f"{API}/{path}").status_code == status, path


# -- conditional requests ---------------------------------------------------------------------------------------------


def test_reading_again_costs_a_304_until_something_changes(
    campaign: Any, reviewer: User, lead: User, client: APIClient
) -> None:
    asset = approve(campaign, reviewer)
    brand = campaign.brand.slug
    tags = []
    for path in (
        f"approved-assets/?brand={brand}",
        f"approved-assets/{asset.pk}/",
        f"products/{asset.subject.key}/assets/?brand={brand}",
        f"changes/?brand={brand}",
        f"campaigns/{campaign.pk}/approved/",
    ):
        first = client.get(f"{API}/{path}")
        tags.append(first["ETag"])
        again = client.get(f"{API}/{path}", headers={"If-None-Match": first["ETag"]})
        assert (again.status_code, again.content) == (304, b""), path
        for answer in (first, again):
            assert answer["ETag"] == first["ETag"]
            assert answer["Cache-Control"] == "private, no-cache"
            assert {"Authorization", "Cookie"} <= set(answer["Vary"].split(", "))
    Delivery.objects.filter(asset=asset).delete()
    factories.DeliveryFactory(asset=asset, version=asset.current_version, alt_text="Another text")
    changed = client.get(f"{API}/approved-assets/{asset.pk}/", headers={"If-None-Match": tags[1]})
    assert changed.status_code == 200
    assert changed.json()["alt_text"] == "Another text"


def test_other_fields_have_another_tag(campaign: Any, reviewer: User, client: APIClient) -> None:
    address = f"{API}/approved-assets/{approve(campaign, reviewer).pk}/"
    tags = {client.get(f"{address}?fields={fields}")["ETag"] for fields in ("sku", "asset", "files", "files.url")}
    assert len(tags) == 4


def test_a_file_that_the_caller_has_is_not_sent_again(
    campaign: Any, reviewer: User, lead: User, client: APIClient
) -> None:
    asset = approve(campaign, reviewer)
    file = asset.current_version.renditions.get(output_spec__slug="web")
    address = f"{API}/files/{file.pk}/"
    first = client.get(address)
    sha256 = file.marked_files.get().sha256
    assert (first.status_code, first["ETag"]) == (302, f'"{sha256}"')
    assert first["Cache-Control"] == "private, no-store", "the target expires"
    for tag in (f'"{sha256}"', f'W/"{sha256}"', f'"x", "{sha256}"', "*"):
        again = client.get(address, headers={"If-None-Match": tag})
        assert (again.status_code, again["ETag"]) == (304, f'"{sha256}"')
        assert "Location" not in again
    assert client.get(address, headers={"If-None-Match": '"another"'}).status_code == 302
    target = client.get(first["Location"])
    assert target["ETag"] == f'"{sha256}"'
    retractions.revoke(asset_id=asset.pk, by=lead, note="licence ended")
    assert client.get(address, headers={"If-None-Match": f'"{sha256}"'}).status_code == 404


# -- the number of queries --------------------------------------------------------------------------------------------


@committed
def test_the_number_of_queries_does_not_grow_with_the_page(campaign: Any, reviewer: User, client: APIClient) -> None:
    key = approve(campaign, reviewer).subject.key
    addresses = [
        f"{API}/{path}&{more}"
        for path in ("approved-assets/?limit=200", f"products/{key}/assets/?", "changes/?limit=200")
        for more in (f"brand={campaign.brand.slug}", f"brand={campaign.brand.slug}&fields=sku&renditions=web")
    ]
    seal()
    mark_released_files()
    before = [count_queries(client, address) for address in addresses]
    for _ in range(7):
        approve(campaign, reviewer)
    mark_released_files()
    Asset.objects.update(subject=Asset.objects.get(subject__key=key).subject)
    seal()
    assert [count_queries(client, address) for address in addresses] == before


@committed
def test_fields_that_are_left_out_cost_no_query(
    campaign: Any, reviewer: User, client: APIClient, django_assert_num_queries: Any
) -> None:
    asset = approve(campaign, reviewer)
    seal()
    base = f"brand={campaign.brand.slug}"
    roles_and_brand = 2
    for path, fields, expected in (
        ("approved-assets/", "asset,version,state", roles_and_brand + 1),
        ("approved-assets/", "asset,sku,product,campaign,disclaimer,aspect,alt_text", roles_and_brand + 1),
        ("approved-assets/", "asset,files.url", roles_and_brand + 2),
        (f"products/{asset.subject.key}/assets/", "asset", roles_and_brand + 1),
        ("changes/", "cursor,kind,asset_id,because", roles_and_brand + 2),
        ("changes/", "cursor,sku", roles_and_brand + 3),
        ("changes/", "cursor,sku,files", roles_and_brand + 4),
    ):
        with django_assert_num_queries(expected):
            client.get(f"{API}/{path}?{base}&fields={fields}")


def test_an_image_that_a_person_made_costs_no_more_queries(campaign: Any, reviewer: User, client: APIClient) -> None:
    """A version without a job has the disclaimer of the run's endpoint."""
    address = f"{API}/approved-assets/?brand={campaign.brand.slug}&fields=disclaimer"
    images = [approve(campaign, reviewer) for _ in range(3)]
    before = count_queries(client, address)
    for image in images:
        decision = image.current_version.decisions.get()
        made = factories.AssetVersionFactory(asset=image, candidate=2, job=None, master=image.current_version.master)
        slot = decision.slot
        retouched = factories.DecisionFactory(
            task=decision.task, version=made, pinned=decision.pinned, consequences_at=timezone.now()
        )
        type(slot).objects.filter(pk=slot.pk).update(decision=retouched)
        Asset.objects.filter(pk=image.pk).update(current_version=made)
    assert count_queries(client, address) == before
    assert len(client.get(address).json()["results"]) == 3
