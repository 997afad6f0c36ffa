"""Test the page "verify an image" in a browser: drop and choose a file, read the result, with axe and the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import stored_files
from core.models import Brand, User
from generation.models import AssetVersion
from review.choices import ObservedState
from review.services import verify_requests
from tests.browser.test_axe import AXE, FIND
from tests.support import factories, found_images, found_masters

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

DROP = """([bytes, name]) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/jpeg' }));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


@pytest.fixture
def tab(chromium: Any, live_server: Any, brand: Brand, lead: User, page_client: Any) -> Iterator[Any]:
    """Yield the page, in a brand that has an approved and delivered image; its picture can be shown."""
    version = AssetVersion.objects.get(pk=found_masters.create_versions(brand, [8])[8])
    key = stored_files.put(found_images.encode(found_images.make(8)), suffix="jpg").key
    type(version.master).objects.update(storage_key=key, thumbnails=version.master.thumbnails | {"512": key})
    decision = factories.DecisionFactory(task__asset=version.asset, version=version, decided_by=lead)
    factories.DecisionSlotFactory(task=decision.task, decision=decision)
    shop = factories.DestinationFactory(brand=brand, name="Shop in Porto")
    factories.DeliveryFactory(asset=version.asset, version=version, destination=shop, observed=ObservedState.PRESENT)
    context = chromium.new_context(reduced_motion="reduce", viewport={"width": 1440, "height": 900})
    session = page_client(lead).cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    page = context.new_page()
    page.on("filechooser", lambda chooser: None)  # from now on: begun with the key press, it can come too late
    page.goto(f"{live_server.url}/verify/")
    yield page
    context.close()


def test_dropped_copy_is_shown_beside_its_image(tab: Any) -> None:
    data = found_images.crop(found_images.make(8), np.random.default_rng(1))
    tab.evaluate(DROP, [list(data), "found-on-a-market.jpg"])
    tab.wait_for_selector("text=Proofline made this image", timeout=60_000)
    tab.wait_for_function("() => [...document.querySelectorAll('.verify-frame img')].every((one) => one.naturalWidth)")
    assert tab.locator(".verify-images figure:visible").count() == 2
    assert "A part of this image" in tab.inner_text("#verify-result")
    assert tab.locator("[data-looking]").is_hidden()
    tab.evaluate(AXE)
    for scheme in ("dark", "light"):
        tab.emulate_media(color_scheme=scheme)
        assert tab.evaluate(FIND) == []
    for width in (1440, 1024, 390):
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), width


def test_chosen_file_is_verified_with_the_keyboard(tab: Any, tmp_path: Path) -> None:
    unknown = tmp_path / "unknown.jpg"
    unknown.write_bytes(found_images.encode(found_images.make(8, is_foreign=True)))
    tab.focus("#verify-form input[type=file]")
    with tab.expect_file_chooser() as chooser:
        tab.keyboard.press("Enter")
    chooser.value.set_files(unknown)
    tab.wait_for_selector("text=did not make this image", timeout=60_000)
    assert tab.evaluate("document.activeElement.id") == "verify-result"
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(unknown.read_bytes()[:400])
    tab.set_input_files("#verify-form input[type=file]", broken)
    tab.wait_for_selector(".toast >> text=damaged", timeout=60_000)
    assert tab.locator("[data-looking]").is_hidden()


def test_person_who_sends_too_many_reads_when_to_try_again(tab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_requests, "MOST", 0)
    tab.evaluate(DROP, [list(found_images.encode(found_images.make(8))), "found.jpg"])
    tab.wait_for_selector(".toast >> text=Try again in", timeout=60_000)
    assert tab.locator("[data-looking]").is_hidden()
