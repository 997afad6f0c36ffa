"""Test the library's pages and facets: the order, the filters, that long walks end and continue; and counts of home."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from generation.choices import AssetState
from generation.models import Asset, Finding
from review.selectors import home, library
from review.selectors.library import Filters
from tests.support import factories

pytestmark = pytest.mark.django_db
ROWS = 12


@pytest.fixture
def assets(brand: Any, monkeypatch: pytest.MonkeyPatch) -> list[Asset]:
    """Twelve images of two campaigns in two states; every third has a finding. A page has five, a walk looks at six."""
    for name, value in (("PAGE_SIZE", 5), ("CHUNK", 2), ("MAX_WALK", 6), ("MAX_COUNT", 4), ("MAX_COUNT_WALK", 6)):
        monkeypatch.setattr(library, name, value)
    campaigns = [factories.CampaignFactory(brand=brand, name=name) for name in ("Spring", "Autumn")]
    made = []
    for number in range(ROWS):
        state = AssetState.APPROVED if number % 2 else AssetState.IN_REVIEW
        subject = factories.SubjectFactory(brand=brand, key=f"CUP-{number}", name="Cup" if number else "Rare vase")
        asset = factories.AssetFactory(brand=brand, campaign=campaigns[number % 2], subject=subject, state=state)
        version = factories.AssetVersionFactory(asset=asset, worst_outcome="pass" if number % 3 else "flag")
        if number % 3 == 0:
            Finding.objects.create(version=version, check_name="blank", outcome="flag", message="")
        Asset.objects.filter(pk=asset.pk).update(current_version=version)
        made.append(asset)
    return made


def _keys(user: Any, brand: Any, after: int | None = None, **filters: Any) -> tuple[list[str], int | None]:
    page = library.page(user=user, brand=brand, filters=Filters(**filters), after=after)
    return [asset.subject.key for asset in page["assets"]], page["next_after"]


def _all_keys(user: Any, brand: Any, **filters: Any) -> list[str]:
    keys, after = _keys(user, brand, **filters)
    while after is not None:
        more, after = _keys(user, brand, after, **filters)
        keys += more
    return keys


def _facet(user: Any, brand: Any, name: str, **filters: Any) -> dict[str, str]:
    facets = library.facets(user=user, brand=brand, filters=Filters(**filters))
    return {facet.label: facet.display for facet in facets[name]}


def test_pages_show_every_image_once_newest_first(assets: list[Asset], brand: Any, lead: Any) -> None:
    assert _all_keys(lead, brand) == [f"CUP-{number}" for number in reversed(range(ROWS))]
    assert _all_keys(lead, brand, states=["approved"]) == [f"CUP-{number}" for number in (11, 9, 7, 5, 3, 1)]
    assert _all_keys(lead, brand, problem="blank") == [f"CUP-{number}" for number in (9, 6, 3, 0)]
    assert _all_keys(lead, brand, problem="any", states=["approved"]) == ["CUP-9", "CUP-3"]
    assert _all_keys(lead, brand, campaign_id=assets[1].campaign_id, problem="any") == ["CUP-9", "CUP-3"]


def test_a_search_looks_at_a_few_images_and_continues(
    assets: list[Asset], brand: Any, lead: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _keys(lead, brand, text="rare vase") == (["CUP-0"], None)
    monkeypatch.setattr(library, "MAX_SUBJECTS", 0)  # as if more products were found than are read one by one
    keys, after = _keys(lead, brand, text="rare vase")
    assert (keys, after) == ([], assets[ROWS - 6].pk)
    assert _all_keys(lead, brand, text="rare vase") == ["CUP-0"]
    assert _all_keys(lead, brand, text="cup autumn", states=["approved"]) == [f"CUP-{n}" for n in (11, 9, 7, 5, 3, 1)]


def test_facets_are_kept_numbers_each_without_its_own_filter(assets: list[Asset], brand: Any, lead: Any) -> None:
    assert _facet(lead, brand, "states", states=["approved"]) == {"Approved": "6", "In Review": "6"}
    assert _facet(lead, brand, "campaigns", states=["approved"]) == {"Autumn": "6"}
    assert _facet(lead, brand, "problems", states=["approved"]) == {"blank": "2"}
    assert _facet(lead, brand, "states", problem="blank") == {"Approved": "2", "In Review": "2"}


def test_facets_of_a_search_count_the_first_images(assets: list[Asset], brand: Any, lead: Any) -> None:
    assert _facet(lead, brand, "states", text="cup") == {"Approved": "2+", "In Review": "2+"}
    assert _facet(lead, brand, "states", text="rare vase") == {"In Review": "1"}
    assert _facet(lead, brand, "problems", text="rare vase", states=["approved"]) == {}
    assert _facet(lead, brand, "states", text="rare vase", problem="blank") == {"In Review": "1"}


def test_a_page_needs_the_same_queries_for_any_number_of_images(
    assets: list[Asset], brand: Any, lead: Any, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(3):
        _keys(lead, brand)


def test_home_says_of_a_number_that_it_is_counted_no_further(
    brand: Any, lead: Any, page_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "MAX_COUNT", 2)
    factories.SubjectFactory.create_batch(2, brand=brand)
    client = page_client(lead)
    assert "2 products have no photo yet." in client.get(reverse("brand_home", args=[brand.slug])).content.decode()
    factories.SubjectFactory(brand=brand)
    assert "2+ products have no photo yet." in client.get(reverse("brand_home", args=[brand.slug])).content.decode()
