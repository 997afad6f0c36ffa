"""Test the studio and a contact sheet in a real browser, with a real worker and votes by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.choices import Lane
from generation.models import Comparison, ComparisonVote, Endpoint, JobSpec, Run
from generation.services import comparisons
from generation.services.comparisons import Side
from tests.browser.signing_in import sign_in
from tests.generation.test_contact_sheets import finish_images
from tests.support import factories, processes

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def endpoints() -> list[Endpoint]:
    """Return two endpoints: the first refuses a cobalt mug, the second makes everything."""
    fails = {"a cobalt mug": "moderation"}
    return [
        factories.EndpointFactory(engine="ready", name=name, lane=Lane.CPU, config=config, seconds_per_image=0.1)
        for name, config in (("Careful", {"fails": fails}), ("Easy", {"seconds": 0.2}))
    ]


@pytest.fixture
def designer(person: Callable[..., Any]) -> Any:
    return person("designer", username="jonas")


@pytest.fixture
def page(browser_page: Any, live_server: Any, designer: Any) -> Iterator[Any]:
    tab = browser_page
    sign_in(tab, live_server.url, designer)
    yield tab
    tab.goto("about:blank")
    tab.wait_for_timeout(300)  # requests must end before the database is emptied


def test_a_prompt_becomes_an_image_within_the_page_and_on_another_endpoint_at_a_click(
    page: Any, live_server: Any, brand: Any, endpoints: list[Endpoint], clean_redis: Any
) -> None:
    page.goto(f"{live_server.url}/brands/{brand.slug}/studio/")
    with processes.running("worker", "cpu"):
        page.fill("#studio-text", "a cobalt mug")
        page.keyboard.press("Control+Enter")
        refusal = page.locator("#studio-result [role=alert]")
        refusal.wait_for(timeout=60_000)
        assert "Careful said: The engine said moderation." in refusal.inner_text()
        refusal.get_by_role("button", name="Easy").click()
        page.locator("#studio-result figure img").wait_for(timeout=60_000)
    assert page.url.endswith(f"?try={Run.objects.latest('pk').pk}")
    careful, easy = JobSpec.objects.order_by("pk").values_list("spec__seed", flat=True)
    assert careful == easy
    page.locator("[data-seed]").click()
    assert page.input_value("#studio-seed") == str(easy)
    assert page.is_checked("[name=is_locked]")
    assert page.locator(".studio-history li").count() == 2


def test_a_contact_sheet_is_voted_on_by_keyboard_and_then_says_who_made_what(
    page: Any, live_server: Any, brand: Any, designer: Any, endpoints: list[Endpoint]
) -> None:
    sheet: Comparison = comparisons.start(
        brand=brand,
        name="Jars",
        sides=[Side(endpoint) for endpoint in endpoints],
        by=designer,
        words=("a jar", "a vase"),
    )
    finish_images(sheet)
    page.goto(f"{live_server.url}/brands/{brand.slug}/compare/{sheet.pk}/")
    assert "Careful" not in page.content() and "Easy" not in page.content()
    page.keyboard.press("j")
    page.keyboard.press("2")
    page.locator("#row-0 .contest-square.is-mine").wait_for()
    page.keyboard.press("j")
    page.keyboard.press("0")
    page.locator("#row-1 [data-pick='0'][aria-pressed='true']").wait_for()
    votes = dict(ComparisonVote.objects.values_list("row", "column_id"))
    assert votes[0] is not None and votes[1] is None
    page.get_by_role("button", name="Tell me which is which in 2 rows").click()
    page.locator("#row-0 .contest-facts").first.wait_for()
    assert "Careful" in page.content() and "Easy" in page.content()
