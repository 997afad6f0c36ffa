"""Test the page of downloads with axe and the keyboard alone: choose outputs and format, see the total, download."""

from __future__ import annotations

import zipfile
from typing import Any

import pytest

from core.models import Brand, User
from tests.browser.test_axe import AXE, FIND
from tests.support import factories
from tests.support.archives import create_approved

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_outputs_are_chosen_and_downloaded_with_the_keyboard(
    chromium: Any, live_server: Any, brand: Brand, lead: User, reviewer: User, page_client: Any
) -> None:
    campaign = factories.CampaignFactory(brand=brand, slug="autumn")
    specs = [factories.OutputSpecFactory(campaign=campaign, slug=slug) for slug in ("shop", "story")]
    for _ in range(2):
        create_approved(brand, reviewer, campaign=campaign, specs=specs)
    context = chromium.new_context(reduced_motion="reduce")  # else axe sees colours that are still changing
    session = page_client(lead).cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    tab = context.new_page()
    tab.goto(f"{live_server.url}/brands/{brand.slug}/library/download/?campaign={campaign.pk}")
    tab.wait_for_selector("#download-total >> text=4 files")
    tab.evaluate(AXE)
    for scheme in ("dark", "light"):
        tab.emulate_media(color_scheme=scheme)
        assert tab.evaluate(FIND) == []
    tab.focus("[name=spec][value=shop]")
    tab.keyboard.press("Space")
    tab.wait_for_selector("#download-total >> text=2 files")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Space")
    tab.wait_for_selector("#download-total button[disabled]")
    tab.keyboard.press("Space")
    tab.wait_for_selector("#download-total >> text=2 files")
    tab.keyboard.press("Tab")
    with tab.expect_response("**/library/download/?*as=bagit*"):
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("Tab")  # the button keeps the focus when the total is replaced
    tab.wait_for_selector("#download-button:focus")
    with tab.expect_download() as started:
        tab.keyboard.press("Enter")
    assert started.value.suggested_filename.startswith("autumn-approved-")
    with zipfile.ZipFile(started.value.path()) as archive:
        files = [name for name in archive.namelist() if name.endswith(".jpg")]
        assert archive.testzip() is None
    assert len(files) == 2
    assert all("/data/autumn/" in name for name in files)
    context.close()
