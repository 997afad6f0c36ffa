"""Test the run page in a real browser: arrows move through cells, the drawer follows, and cells fill live."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image

from core import stored_files
from generation.models import Asset, Job, Run
from tests.browser.signing_in import sign_in
from tests.support import factories
from tests.support.images_in_review import packshot_spec

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.slow]

VALUES = ("clay", "sage", "charcoal")


@pytest.fixture
def run(brand: Any) -> Run:
    """Return a run of four mugs on three backdrops, of which the images of the last mug are not made yet."""
    made = factories.RunFactory(campaign=factories.CampaignFactory(brand=brand), cell_count=12)
    for number in range(4):
        subject = factories.SubjectFactory(brand=brand, key=f"MUG-{number}", name=f"Mug {number}")
        for place, value in enumerate(VALUES):
            cell = factories.CellFactory(
                run=made, subject=subject, axis_values={"backdrop": value}, values_key=f'{{"backdrop":"{value}"}}'
            )
            asset = factories.AssetFactory(cell=cell)
            frozen = factories.JobSpecFactory(job__run=made, job__cell=cell, spec=packshot_spec())
            if number < 3:
                _paint(asset, frozen.job, shade=30 * (3 * number + place))
    return made


def _paint(asset: Asset, job: Job, *, shade: int) -> None:
    """Finish the job as a worker does."""
    buffer = io.BytesIO()
    Image.new("RGB", (512, 512), (shade % 256, 120, 90)).save(buffer, "WEBP")
    stored = stored_files.put(buffer.getvalue(), suffix="webp")
    master = factories.MasterFactory(
        brand=asset.brand, storage_key=stored.key, sha256=stored.sha256, width=512, height=512
    )
    version = factories.AssetVersionFactory(asset=asset, master=master, job=job, candidate=1)
    Job.objects.filter(pk=job.pk).update(status="succeeded")
    Asset.objects.filter(pk=asset.pk).update(state="in_review", current_version=version)


@pytest.fixture
def page(browser_page: Any, live_server: Any, run: Run, person: Callable[..., Any]) -> Iterator[Any]:
    """Yield the run page, opened by the campaign manager."""
    manager = person("campaign_manager", username="jonas")
    tab = browser_page
    sign_in(tab, live_server.url, manager)
    tab.goto(f"{live_server.url}/brands/{run.campaign.brand.slug}/runs/{run.pk}/")
    tab.wait_for_selector("#matrix .matrix-cell img")
    yield tab
    tab.goto("about:blank")
    tab.wait_for_timeout(300)  # requests must end before the database is emptied


def _in_drawer(page: Any, name: str, value: str) -> None:
    page.wait_for_function(
        """([name, value]) => {
            const head = document.querySelector("#drawer .cell-detail-head");
            return head && head.querySelector("h2").textContent === name && head.textContent.includes(value);
        }""",
        arg=[name, value],
    )


def test_a_failure_fits_into_a_narrow_window(page: Any, run: Run) -> None:
    failed = Job.objects.filter(run=run, cell__subject__key="MUG-3")
    failed.update(status="failed", error_kind="changed", error="The model was changed.")
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    page.wait_for_selector(".failure-mend .button")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_arrows_walk_the_cells_and_the_drawer_follows(page: Any) -> None:
    page.locator(".matrix-cell").first.focus()
    page.keyboard.press("Enter")
    _in_drawer(page, "Mug 0", "clay")
    assert "A mug on clay" in page.inner_text("#drawer .prompt")
    page.keyboard.press("ArrowRight")
    _in_drawer(page, "Mug 0", "sage")
    page.keyboard.press("ArrowDown")
    _in_drawer(page, "Mug 1", "sage")
    page.keyboard.press("ArrowLeft")
    _in_drawer(page, "Mug 1", "clay")
    page.keyboard.press("ArrowLeft")  # the first column: the focus stays
    page.keyboard.press("ArrowUp")
    _in_drawer(page, "Mug 0", "clay")
    assert page.locator(".matrix-cell.is-open").count() == 1
    page.wait_for_function("() => document.querySelector('#drawer .cell-frame img').naturalWidth > 0")
    box = page.locator("#drawer .cell-frame img").bounding_box()
    assert box["width"] > 300, "the image is big"


def test_escape_closes_the_drawer_and_gives_the_cell_back(page: Any) -> None:
    page.locator(".matrix-cell").nth(4).click()
    _in_drawer(page, "Mug 1", "sage")
    page.locator("#drawer a").first.focus()
    page.keyboard.press("Escape")
    assert page.is_hidden("#drawer")
    assert page.evaluate("document.activeElement.id") == page.locator(".matrix-cell").nth(4).get_attribute("id")
    page.keyboard.press("ArrowRight")
    assert page.is_hidden("#drawer"), "walking alone opens nothing"
    assert page.evaluate("document.activeElement.id") == page.locator(".matrix-cell").nth(5).get_attribute("id")


def test_held_arrows_ask_for_the_last_cell_only(page: Any) -> None:
    page.locator(".matrix-cell").first.click()
    _in_drawer(page, "Mug 0", "clay")
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url) if "/cells/" in request.url else None)
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    _in_drawer(page, "Mug 2", "charcoal")
    assert len(requested) <= 2


def test_an_image_appears_in_its_cell_and_in_the_open_drawer(page: Any, run: Run) -> None:
    asset = Asset.objects.get(subject__key="MUG-3", cell__axis_values__backdrop="sage")
    cell = f"#cell-{asset.cell_id}"
    page.locator(cell).click()
    _in_drawer(page, "Mug 3", "sage")
    assert page.locator(f"{cell} img").count() == 0
    assert page.locator("#drawer .cell-frame").count() == 0
    before = page.inner_text(".progress-line")
    _paint(asset, Job.objects.get(cell_id=asset.cell_id), shade=200)
    page.wait_for_selector(f"{cell}.is-open img", timeout=60_000)
    page.wait_for_selector("#drawer .cell-frame img", timeout=60_000)
    assert page.evaluate("document.activeElement.id") == cell[1:], "the hand stays where it was"
    assert page.inner_text(".progress-line") != before


def test_live_updates_are_small_and_stop_in_a_hidden_tab(page: Any) -> None:
    with page.expect_response(lambda answer: "/live/" in answer.url) as first:
        pass
    assert first.value.status == 204
    assert len(first.value.request.post_data) < 400
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url) if "/live/" in request.url else None)
    page.wait_for_timeout(4500)
    assert requested == []
