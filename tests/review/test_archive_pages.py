"""Test the page on which approved images are chosen for a download, the download, and the same by the API."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from campaigns.models import Campaign
from core.models import Brand, User
from generation.models import Rendition
from tests.support import factories
from tests.support.archives import create_approved
from tests.support.images_in_review import create_image_in_review

pytestmark = pytest.mark.django_db

Pages = Callable[[User], Client]


@pytest.fixture
def campaign(brand: Brand, reviewer: User) -> Campaign:
    """Return a campaign with two approved images of two outputs, and another one with one image of one."""
    campaigns = [factories.CampaignFactory(brand=brand, slug=slug, name=slug.title()) for slug in ("autumn", "winter")]
    specs = [factories.OutputSpecFactory(campaign=campaigns[0], slug=slug) for slug in ("shop", "story")]
    for _ in range(2):
        create_approved(brand, reviewer, campaign=campaigns[0], specs=specs)
    create_approved(brand, reviewer, campaign=campaigns[1], specs=[factories.OutputSpecFactory(campaign=campaigns[1])])
    Rendition.objects.filter(output_spec=specs[1]).update(bytes=3_000_000)
    return campaigns[0]


def page_of(client: Client, brand: Brand, query: str = "", **headers: str) -> str:
    answer = client.get(reverse("download", args=[brand.slug]) + query, headers=headers)
    assert answer.status_code == 200
    return str(answer.content.decode())


def open_zip(answer: Any) -> zipfile.ZipFile:
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/zip")
    return zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))


def test_the_page_shows_the_outputs_of_a_campaign_with_count_and_size(
    brand: Brand, manager: User, page_client: Pages, campaign: Campaign
) -> None:
    page = page_of(page_client(manager), brand, f"?campaign={campaign.pk}")
    assert "All approved images of Autumn." in page
    assert page.count('name="spec"') == page.count("checked") - 1 == 2
    assert "<b>4</b> files, 5.7 MB" in page
    assert f'name="campaign" value="{campaign.pk}"' in page


def test_the_total_follows_the_choice(brand: Brand, manager: User, page_client: Pages, campaign: Campaign) -> None:
    client, query = page_client(manager), f"?campaign={campaign.pk}&chosen=1"
    total = page_of(client, brand, f"{query}&spec=story", **{"HX-Request": "true"})
    assert "<b>2</b> files, 5.7 MB" in total
    assert "<html" not in total
    nothing = page_of(client, brand, query, **{"HX-Request": "true"})
    assert "disabled" in nothing
    assert "Choose at least one output." in nothing


def test_the_download_has_what_was_chosen(brand: Brand, manager: User, page_client: Pages, campaign: Campaign) -> None:
    client, address = page_client(manager), reverse("approved_zip", args=[brand.slug])
    Rendition.objects.filter(output_spec__slug="story").update(bytes=3)
    answer = client.get(f"{address}?campaign={campaign.pk}&chosen=1&spec=shop&as=bagit")
    assert 'filename="autumn-approved-' in answer["Content-Disposition"]
    names = open_zip(answer).namelist()
    assert names[0].endswith("/bagit.txt")
    assert len([name for name in names if name.endswith(".jpg")]) == 2
    assert len(open_zip(client.get(f"{address}?q=winter")).namelist()) == 4
    refused = client.get(f"{address}?campaign={campaign.pk}&chosen=1")
    assert (refused.status_code, "Choose at least one output." in refused.content.decode()) == (422, True)


def test_a_page_without_approved_images_says_so(brand: Brand, manager: User, page_client: Pages) -> None:
    create_image_in_review(brand)
    assert "None of these images is approved." in page_of(page_client(manager), brand)


def test_neither_viewers_nor_other_brands_get_it(
    brand: Brand, other_brand: Brand, viewer: User, person: Any, page_client: Pages, campaign: Campaign
) -> None:
    stranger = person("lead", brand=other_brand)
    for name in ("download", "approved_zip"):
        assert page_client(viewer).get(reverse(name, args=[brand.slug])).status_code == 403
        assert page_client(stranger).get(reverse(name, args=[brand.slug])).status_code == 404
        address = reverse(name, args=[other_brand.slug])
        assert page_client(stranger).get(f"{address}?campaign={campaign.pk}").status_code == 404


def test_campaign_run_and_library_lead_to_the_page(
    brand: Brand, manager: User, page_client: Pages, campaign: Campaign
) -> None:
    campaign.subjects.set(asset.subject for asset in campaign.assets.all())
    run = campaign.assets.latest("pk").cell.run
    for address, query in (
        (reverse("campaign", args=[brand.slug, campaign.slug]), f"campaign={campaign.pk}"),
        (reverse("run", args=[brand.slug, run.pk]), f"run={run.pk}"),
        (reverse("library", args=[brand.slug]), ""),
    ):
        page = page_client(manager).get(address).content.decode()
        assert f'href="{reverse("download", args=[brand.slug])}?{query}"' in page, address


def test_the_api_gives_sizes_and_archives(
    integrator: User, viewer: User, api_client: Callable[..., APIClient], campaign: Campaign
) -> None:
    client, address = api_client(integrator), f"/api/v1/campaigns/{campaign.pk}/approved/"
    sizes = {row["spec"]: row for row in client.get(f"{address}sizes/").json()}
    assert {spec: row["files"] for spec, row in sizes.items()} == {"shop": 2, "story": 2}
    assert sizes["story"]["bytes"] == 6_000_000
    archive = open_zip(client.get(f"{address}?as=bagit&spec=shop"))
    (info,) = [name for name in archive.namelist() if name.endswith("bag-info.txt")]
    assert b"Payload-Oxum: " in archive.read(info)
    assert client.get(f"{address}?as=zip&spec=poster").status_code == 422
    for path in ("", "?as=zip", "sizes/"):
        assert api_client(viewer).get(address + path).status_code == 403
