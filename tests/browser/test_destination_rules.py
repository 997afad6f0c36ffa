"""Test the rules of a destination with the keyboard alone: add, choose, see the preview, remove, save."""

from __future__ import annotations

from typing import Any

import pytest

from core.models import Brand
from review.models import Destination
from tests.support import factories
from tests.support.approved_images import approve_task
from tests.support.images_in_review import create_image_in_review

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_rules_are_made_and_removed_with_the_keyboard(
    chromium: Any, live_server: Any, brand: Brand, lead: Any, reviewer: Any, page_client: Any
) -> None:
    shop = factories.DestinationFactory(brand=brand, config={"path": "/nowhere"})
    for slug in ("autumn", "autumn", "winter"):
        campaign = brand.campaigns.filter(slug=slug).first() or factories.CampaignFactory(
            brand=brand, slug=slug, name=slug.title()
        )
        approve_task(create_image_in_review(brand, campaign=campaign), reviewer)
    context = chromium.new_context()
    session = page_client(lead).cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    tab = context.new_page()
    tab.goto(f"{live_server.url}/brands/{brand.slug}/destinations/{shop.pk}/")
    tab.wait_for_selector("[data-without-script][hidden]", state="attached")
    focused = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim()"
    for _ in range(2):
        tab.focus("[data-add-row]")
        tab.keyboard.press("Enter")
        assert tab.evaluate(focused) == "What to do"
    tab.keyboard.press("Tab")
    assert tab.evaluate(focused) == "Campaign"
    tab.keyboard.type("Aut")
    tab.wait_for_selector("#rules-preview >> text=2 of 3 approved images")
    assert tab.evaluate(focused) == "Campaign", "the preview takes no focus away"
    assert tab.locator("#rules-preview img").count() == 2
    tab.focus("[data-rows] > :first-child [data-remove-row]")
    tab.keyboard.press("Enter")
    assert tab.locator("[data-rows] > *").count() == 1
    assert tab.evaluate(focused) == "What to do"
    tab.keyboard.type("Nev")
    tab.wait_for_selector("#rules-preview >> text=1 of 3 approved images")
    assert Destination.objects.get().rules == []
    tab.focus("text=Save the rules")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("text=The rules are saved.")
    tab.wait_for_selector("text=2 images are there that the rules no longer send.")
    assert Destination.objects.get().rules == [{"effect": "never", "campaign": "autumn"}]
    context.close()
