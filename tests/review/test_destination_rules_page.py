"""Test the rules on the page of a destination: rows of choices, preview, mistakes, what is missing or excluded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from core.models import Brand, User
from review.models import Delivery, Destination
from review.selectors import delivery_rules
from tests.support import factories
from tests.support.approved_images import approve_task
from tests.support.images_in_review import create_image_in_review

pytestmark = pytest.mark.django_db

Pages = Callable[[User], Client]
NAMES = ("effect", "campaign", "spec", "kind", "category", "disclaimer")


@pytest.fixture
def shop(brand: Brand) -> Any:
    return factories.DestinationFactory(brand=brand, name="Main shop", config={"path": "/nowhere"})


def approve(brand: Brand, by: User, slug: str) -> Any:
    campaign = brand.campaigns.filter(slug=slug).first() or factories.CampaignFactory(
        brand=brand, slug=slug, name=f"The {slug}"
    )
    task = create_image_in_review(brand, campaign=campaign)
    approve_task(task, by)
    return task.asset


def rows(*given: dict[str, str], **more: str) -> dict[str, Any]:
    """Return rules as the form posts them."""
    return {f"rules_{name}": [rule.get(name, "") for rule in given] for name in NAMES} | more


def address(brand: Brand, shop: Destination, name: str = "destination_rules", *more: str) -> str:
    return reverse(name, args=[brand.slug, shop.pk, *more])


AUTUMN = {"effect": "send", "campaign": "autumn"}


def test_rules_are_saved_and_shown_as_chosen(
    brand: Brand, shop: Destination, reviewer: User, lead: User, page_client: Pages
) -> None:
    approve(brand, reviewer, "autumn")
    client = page_client(lead)
    assert "every approved image goes there" in client.get(address(brand, shop, "destination")).content.decode()
    answer = client.post(address(brand, shop), rows(AUTUMN, {"effect": "never", "kind": "article"}))
    assert answer.status_code == 302 and answer["Location"].endswith("#rules")
    shop.refresh_from_db()
    assert shop.rules == [AUTUMN, {"effect": "never", "kind": "article"}]
    page = client.get(address(brand, shop, "destination")).content.decode()
    assert '<option value="autumn" selected>The autumn</option>' in page
    assert '<option value="article" selected>Article</option>' in page
    assert page.count('class="destination-rule"') == 3, "two, and the template of a new one"


def test_the_preview_shows_count_and_images(
    brand: Brand, shop: Destination, reviewer: User, lead: User, page_client: Pages
) -> None:
    wanted, other = approve(brand, reviewer, "autumn"), approve(brand, reviewer, "winter")
    create_image_in_review(brand)
    for headers, more in (({"HX-Request": "true"}, {}), ({}, {"preview": "1"})):
        answer = page_client(lead).post(
            address(brand, shop), rows(AUTUMN, {"effect": "never"}, **more), headers=headers
        )
        page = answer.content.decode()
        assert "<b>1</b> of 2 approved images go there" in page, "the row without a condition does not count"
        assert f'/assets/{wanted.pk}/"' in page and f'/assets/{other.pk}/"' not in page.partition("rules-preview")[2]
    shop.refresh_from_db()
    assert shop.rules == []


def test_without_scripts_rows_are_added_and_removed(
    brand: Brand, shop: Destination, reviewer: User, lead: User, page_client: Pages
) -> None:
    approve(brand, reviewer, "autumn")
    client = page_client(lead)
    page = client.post(address(brand, shop), rows(AUTUMN, add="1")).content.decode()
    assert page.count('class="destination-rule"') == 3 and '<option value="autumn" selected>' in page
    page = client.post(address(brand, shop), rows(AUTUMN, {"effect": "never"}, remove="0")).content.decode()
    assert page.count('class="destination-rule"') == 2 and '<option value="autumn" selected>' not in page
    shop.refresh_from_db()
    assert shop.rules == []


def test_a_mistake_stands_in_its_row(
    brand: Brand, shop: Destination, reviewer: User, lead: User, page_client: Pages
) -> None:
    approve(brand, reviewer, "autumn")
    answer = page_client(lead).post(address(brand, shop), rows(AUTUMN, {"effect": "never", "campaign": "autum"}))
    page = answer.content.decode()
    assert answer.status_code == 422 and "The brand has no campaign &#x27;autum&#x27;." in page
    answer = page_client(lead).post(address(brand, shop), rows({"effect": "never"}))
    assert answer.status_code == 422 and "Say which images the rule is about" in answer.content.decode()


def test_what_is_missing_or_excluded_is_counted_with_its_button(
    brand: Brand, shop: Destination, reviewer: User, lead: User, manager: User, viewer: User, page_client: Pages
) -> None:
    autumn, winter = approve(brand, reviewer, "autumn"), approve(brand, reviewer, "winter")
    Delivery.objects.all().delete()
    factories.DeliveryFactory(asset=winter, version=winter.current_version, destination=shop, observed="present")
    Destination.objects.update(rules=[AUTUMN])
    page = page_client(manager).get(address(brand, shop, "destination")).content.decode()
    assert "1 image is there that the rules no longer send." in page and "Recall them" in page
    assert "1 approved image is missing there." in page and "Send them" in page
    assert "Campaign: The autumn" in page and "rules_effect" not in page, "who cannot change them reads them"
    page = page_client(viewer).get(address(brand, shop, "destination")).content.decode()
    assert "is missing there" in page and "Send them" not in page and "Recall them" not in page
    assert page_client(viewer).post(address(brand, shop, "destination_update", "send")).status_code == 403
    assert page_client(manager).post(address(brand, shop, "destination_update", "burn")).status_code == 404
    assert page_client(manager).post(address(brand, shop), rows(AUTUMN)).status_code == 403
    for kind, words in (("send", "1 image is on its way."), ("recall", "1 image is taken down.")):
        answer = page_client(manager).post(address(brand, shop, "destination_update", kind), follow=True)
        assert words in answer.content.decode()
    assert Delivery.objects.get(asset=autumn).desired == "present"
    assert Delivery.objects.get(asset=winter).absence == "rules"
    answer = page_client(manager).post(address(brand, shop, "destination_update", "send"), follow=True)
    assert "Nothing was to do" in answer.content.decode()


def test_the_page_needs_as_many_queries_for_many_images_and_rules(
    brand: Brand, shop: Destination, reviewer: User, lead: User, page_client: Pages
) -> None:
    client, counts = page_client(lead), []
    Destination.objects.update(rules=[AUTUMN])
    approve(brand, reviewer, "autumn")
    client.get(address(brand, shop, "destination"))
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            client.get(address(brand, shop, "destination"))
        counts.append(len(queries))
        for _number in range(3):
            approve(brand, reviewer, "autumn")
        Destination.objects.update(rules=[AUTUMN, {"effect": "never", "category": "Mugs", "spec": "web"}])
    assert counts[0] == counts[1]


def test_more_than_can_be_counted_fast_are_not_counted(
    monkeypatch: pytest.MonkeyPatch, brand: Brand, shop: Destination, reviewer: User, lead: User, page_client: Pages
) -> None:
    monkeypatch.setattr(delivery_rules, "MAX_COUNTED", 1)
    for slug in ("autumn", "winter", "spring"):
        approve(brand, reviewer, slug)
    Delivery.objects.all().delete()
    page = page_client(lead).get(address(brand, shop, "destination")).content.decode()
    assert "More than 1 approved images are missing there." in page


@pytest.mark.parametrize("value", ["a\0b", "x" * 10_000, "{}", "'; --"])
def test_hostile_values_are_mistakes(
    value: str, brand: Brand, shop: Destination, reviewer: User, lead: User, page_client: Pages
) -> None:
    approve(brand, reviewer, "autumn")
    client = page_client(lead)
    for name in NAMES[1:]:
        given = rows({"effect": "send", name: value})
        assert client.post(address(brand, shop), given).status_code in {400, 422}
        answer = client.post(address(brand, shop), given, headers={"HX-Request": "true"})
        assert answer.status_code in {200, 400, 422}
    shop.refresh_from_db()
    assert shop.rules == []
