"""Test the page of deliveries with the keyboard alone: choose rows, choose all, retry."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from core.models import Brand
from review.models import Delivery
from tests.support import factories
from tests.support.images_in_review import create_image_in_review

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_deliveries_are_chosen_and_retried_with_the_keyboard(
    chromium: Any, live_server: Any, brand: Brand, lead: Any, page_client: Any
) -> None:
    shop = factories.DestinationFactory(brand=brand)
    for _ in range(3):
        asset = create_image_in_review(brand).asset
        factories.DeliveryFactory(
            asset=asset, destination=shop, version=asset.current_version, observed="failed", error="It answered 500."
        )
    context = chromium.new_context()
    session = page_client(lead).cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    tab = context.new_page()
    tab.goto(f"{live_server.url}/brands/{brand.slug}/deliveries/")
    selected = tab.locator("b[data-selected]")
    tab.wait_for_selector("#delivery-form[data-selected='0']")
    for key in ("j", "Space", "j", "j", "k", "Space"):
        tab.keyboard.press(key)
    assert selected.inner_text() == "2 selected"
    assert tab.evaluate("document.querySelector('[data-check-all]').indeterminate")
    tab.focus("[data-check-all]")
    tab.keyboard.press("Space")
    assert selected.inner_text() == "3 selected"
    tab.focus("[name=verb][value=retry]")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("text=3 deliveries are tried again now.")
    assert Delivery.objects.filter(due_at__isnull=False, error="").count() == 3
    context.close()


def test_rows_change_while_the_focus_stays(
    chromium: Any, live_server: Any, brand: Brand, lead: Any, page_client: Any
) -> None:
    shop = factories.DestinationFactory(brand=brand)
    made = []
    for observed in ("sending", "failed", "failed"):
        asset = create_image_in_review(brand).asset
        made.append(
            factories.DeliveryFactory(
                asset=asset,
                destination=shop,
                version=asset.current_version,
                observed=observed,
                error="It answered 500.",
            )
        )
    moving, kept, mended = made
    context = chromium.new_context()
    session = page_client(lead).cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    tab = context.new_page()
    tab.goto(f"{live_server.url}/brands/{brand.slug}/deliveries/")
    tab.check(f"input[name=delivery][value='{moving.pk}']")
    tab.focus(f"#mend-{kept.pk}")
    Delivery.objects.filter(pk=kept.pk).update(error="It answered 502.", changed_at=timezone.now())
    tab.wait_for_selector("text=It answered 502.")
    assert tab.evaluate("document.activeElement.id") == f"mend-{kept.pk}"
    tab.focus(f"#mend-{mended.pk}")
    Delivery.objects.filter(pk=mended.pk).update(observed="present", error="", changed_at=timezone.now())
    tab.wait_for_selector(f"#state-{mended.pk} >> text=live")
    assert tab.evaluate("document.activeElement.value") == str(mended.pk), "its button is gone: the row's box has it"
    assert tab.is_checked(f"input[name=delivery][value='{moving.pk}']")
    Delivery.objects.filter(pk=moving.pk).update(observed="present", error="", changed_at=timezone.now())
    tab.wait_for_selector(f"#state-{moving.pk} >> text=live")
    assert tab.locator("#delivery-progress[hx-get]").count() == 0, "nothing moves any more"
    context.close()
