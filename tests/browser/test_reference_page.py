"""Test the API reference in a real browser, under the usual content security policy."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


#: The page draws the whole schema, which is slow on a busy machine.
PATIENCE_MS = 60_000


@pytest.mark.parametrize("address", ["/api/v1/docs/", "/api/v1/docs/?version=2"])
def test_the_reference_shows_its_operations(address: str, live_server: Any, browser_page: Any) -> None:
    browser_page.set_default_timeout(PATIENCE_MS)
    refused: list[str] = []
    browser_page.on("console", lambda message: refused.append(message.text) if message.type == "error" else None)
    answer = browser_page.goto(f"{live_server.url}{address}")
    browser_page.wait_for_selector(".opblock-summary")
    assert browser_page.locator(".opblock-summary").count() > 50
    assert browser_page.get_by_text("/api/v1/campaigns/", exact=True).first.is_visible()
    browser_page.locator(".opblock-summary").first.click()
    browser_page.wait_for_selector(".opblock-body")
    assert refused == []
    policy = answer.headers["content-security-policy"]
    assert "script-src" not in policy and "default-src 'self'" in policy


def test_an_unknown_address_leads_back(live_server: Any, browser_page: Any) -> None:
    browser_page.goto(f"{live_server.url}/accounts/login/")
    browser_page.goto(f"{live_server.url}/nowhere/")
    browser_page.get_by_role("button", name="Back to where you were").click()
    browser_page.wait_for_url("**/accounts/login/")
    browser_page.goto(f"{live_server.url}/nowhere/")
    browser_page.get_by_role("link", name="Go home").click()
    browser_page.wait_for_url("**/accounts/login/**")
