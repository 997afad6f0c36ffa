"""Test that the form of a new run follows the choices: a prompt shows its axes, a full run has no number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from campaigns.models import PromptVersion
from core.models import Brand
from tests.browser.signing_in import sign_in
from tests.support import engines, factories

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.slow]

assert engines.ReadyEngine.name == "ready"  # importing it registers the engine


@pytest.fixture
def prompts(brand: Brand) -> list[PromptVersion]:
    """Return three prompts, each with its own axes."""
    own: list[dict[str, Any]] = [
        {"backdrop": ["white", "clay"]},
        {"mood": ["calm"]},
        {"hour": [7, 19], "place": ["bar"]},
    ]
    return [
        factories.PromptVersionFactory(
            template__brand=brand, text="{name} " + " ".join(f"{{{name}}}" for name in axes), axes=axes,
            parameters={}, needs={},
        )
        for axes in own
    ]  # fmt: skip


@pytest.fixture
def form(
    browser_page: Any, live_server: Any, brand: Brand, person: Callable[..., Any], prompts: list[PromptVersion]
) -> Iterator[Any]:
    mugs = [factories.SubjectFactory(brand=brand, name=f"Mug {n}") for n in range(12)]
    campaign = factories.CampaignFactory(brand=brand, subjects=mugs, slug="autumn")
    factories.OutputSpecFactory(campaign=campaign, width=600, height=600)
    factories.EndpointFactory(engine="ready")
    page = browser_page
    sign_in(page, live_server.url, person("lead", username="lena"))
    page.goto(f"{live_server.url}/brands/{brand.slug}/campaigns/autumn/runs/new/?prompt={prompts[0].pk}")
    page.wait_for_selector("#preview .figures")
    yield page
    page.wait_for_load_state("networkidle")
    page.goto("about:blank")


def _axes(page: Any) -> list[str]:
    return page.eval_on_selector_all("#axes [name=axis]", "(all) => all.map((one) => one.value).filter(Boolean)")


def _images(page: Any, count: int) -> None:
    page.wait_for_function(
        "(count) => document.querySelector('#preview .figures dd')?.textContent.trim() === String(count)", arg=count
    )


def test_another_prompt_brings_its_axes_and_the_preview_follows(form: Any, prompts: list[PromptVersion]) -> None:
    assert _axes(form) == ["backdrop"]
    for at, axes, count in ((1, ["mood"], 10), (2, ["hour", "place"], 20), (0, ["backdrop"], 20)):
        form.select_option("#prompt", str(prompts[at].pk))
        form.wait_for_function(
            "(pk) => document.querySelector('#axes [name=axes_of]').value === pk", arg=str(prompts[at].pk)
        )
        assert _axes(form) == axes
        _images(form, count)


def test_a_full_run_shows_no_number_and_is_of_all_products(form: Any) -> None:
    _images(form, 20)
    form.select_option("#stage", "full")
    assert form.locator("#sample").is_hidden()
    _images(form, 24)
    form.select_option("#stage", "pilot")
    assert form.input_value("#sample") == "10"
    _images(form, 20)
    form.select_option("#stage", "partial")
    assert form.input_value("#sample") == "0"
    _images(form, 24)
