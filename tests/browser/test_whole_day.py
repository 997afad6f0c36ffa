"""Test a whole day in a real browser with a real worker: from a brief and a feed with errors to a report."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from campaigns.choices import CutoutMethod
from campaigns.models import Campaign, Cutout, GuideVersion, PromptVersion, ReferencePhoto, Subject
from generation.models import Asset, Job, JobSpec, Run
from review.services import reasons
from tests.browser.signing_in import sign_in
from tests.support import factories, processes

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.slow]

PHOTOS = Path(__file__).resolve().parents[2] / "examples" / "photos"
FEED = """Artikelnummer;Name;Farbe;Material;Preis;Foto
DAY-01;Fell mug;moss;stoneware;24,00;mug-moss.jpg
DAY-02;Tarn mug;ochre;earthenware;on request;mug-ochre.jpg
DAY-03;;oat;stoneware;18,00;bowl-oat.jpg
DAY-04;Beck side plate;cobalt;porcelain;on request;plate-cobalt.jpg
DAY-05;Beck moon vase;plum;porcelain;58,00;vase-plum.jpg
DAY-05;Beck moon vase again;plum;porcelain;58,00;vase-plum.jpg
DAY-06;Beck teapot;ink;porcelain;72,00;teapot-ink.jpg
"""
PAINTED = "() => document.querySelector('#panes .pane:last-child:not(.is-loading) img')?.naturalWidth > 0"


class Day:
    """One browser, and the actions of several people on the pages."""

    def __init__(self, page: Any, site: str, brand: Any) -> None:
        self.page, self.site, self.brand = page, site, brand
        page.set_default_timeout(90_000)  # photos are cut out within one request, which is slow on a busy machine

    def become(self, user: Any) -> None:
        self.page.goto("about:blank")  # ends the requests of the page before, whose answers would set cookies again
        self.page.context.clear_cookies()
        sign_in(self.page, self.site, user)
        self.page.wait_for_url(f"{self.site}/brands/**")

    def go(self, path: str) -> None:
        self.page.goto(f"{self.site}/brands/{self.brand.slug}/{path}")

    def press(self, name: str, exact: bool = False) -> None:
        """Press a button that leads to another page."""
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=name, exact=exact).first.click()


@pytest.fixture
def day(browser_page: Any, live_server: Any, brand: Any) -> Iterator[Day]:
    yield Day(browser_page, live_server.url, brand)
    browser_page.unroute_all(behavior="ignoreErrors")
    browser_page.wait_for_load_state("networkidle")
    browser_page.goto("about:blank")


def test_from_a_brief_to_a_report(day: Day, brand: Any, person: Callable[..., Any], tmp_path: Path) -> None:
    lead, manager, reviewer = person("lead"), person("campaign_manager"), person("reviewer")
    reasons.add_defaults(brand=brand, by=lead)
    factories.EndpointFactory(slug="packshot", name="Packshot studio", engine="packshot", lane="cpu")
    day.become(lead)
    _write_the_guide(day)
    day.become(manager)
    _write_the_brief(day)
    _bring_the_feed_in(day, tmp_path)
    _bring_the_photos_in(day, tmp_path)
    _repair_a_cutout(day)
    _write_the_prompt(day)
    day.become(lead)
    _approve_the_prompt(day)
    with processes.running("worker", "cpu", "housekeeping", "delivery", "io"):
        day.become(manager)
        _run(day, stage="pilot", sample=3)
        _find_the_gate_locked(day)
        day.become(reviewer)
        _approve_everything(day)
        day.become(manager)
        _find_the_gate_open(day)
        _run(day, stage="full", sample=0, template="missing")
        day.become(reviewer)
        _approve_everything(day)
    day.become(manager)
    _read_the_report(day)


def _write_the_guide(day: Day) -> None:
    day.go("guide/")
    day.press("Write the first version")
    day.page.fill("#fill_ratio", "70")
    day.press("Save size and light")
    day.page.fill("#note", "What the range has in common")
    day.press("Publish v1")
    guide = GuideVersion.objects.get(brand=day.brand, status="published")
    assert guide.fill_ratio == pytest.approx(0.7)


def _write_the_brief(day: Day) -> None:
    day.go("campaigns/new/")
    day.page.fill("#id_name", "Spring shelf")
    day.page.fill("#id_purpose", "New packshots for the shop.")
    day.page.fill("#id_pilot_decisions", "3")
    day.page.fill("#id_pilot_approval_percent", "80")
    day.press("Create the campaign")
    day.go("campaigns/spring-shelf/specs/")
    day.page.fill("#id_slug", "shop")
    day.page.fill("#id_width", "512")
    day.page.fill("#id_height", "512")
    day.press("Add", exact=True)
    assert Campaign.objects.get(brand=day.brand).output_specs.get().width == 512


def _bring_the_feed_in(day: Day, folder: Path) -> None:
    """Import a German spreadsheet with five errors of three kinds; fix each kind with one button."""
    feed = folder / "sortiment.csv"
    feed.write_bytes(FEED.replace("\n", "\r\n").encode("cp1252"))
    day.go("import/")
    with day.page.expect_navigation():
        day.page.set_input_files("input[name=file]", feed)
    assert "mistakes stand in the way; nothing was written" in day.page.inner_text("main")
    assert not Subject.objects.filter(brand=day.brand).exists()
    for button in ("Leave them empty", "Use the SKU as name", "Keep the first"):
        day.press(button)
    day.press("Apply all of it")
    assert list(Subject.objects.filter(brand=day.brand).values_list("key", flat=True)) == [
        f"DAY-0{number}" for number in range(1, 7)
    ]
    assert Subject.objects.get(key="DAY-03").attributes["colour"] == "oat"


def _bring_the_photos_in(day: Day, folder: Path) -> None:
    archive = folder / "photos.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for photo in ReferencePhoto.objects.filter(subject__brand=day.brand):
            packed.write(PHOTOS / photo.source, photo.source)
    day.go("import/")
    day.page.set_input_files("input[name=photos]", archive)
    day.press("Add the photos")
    assert ReferencePhoto.objects.filter(subject__brand=day.brand, status="ready").count() == 6
    day.go("campaigns/spring-shelf/")
    day.press("Add all products")


def _repair_a_cutout(day: Day) -> None:
    """Remove a corner of the mug with the brush; every later image uses the saved cut-out."""
    photo = ReferencePhoto.objects.get(subject__key="DAY-01")
    before = photo.cutouts.get(is_accepted=True)
    day.page.goto(f"{day.site}{reverse('cutout', args=[day.brand.slug, photo.pk])}")
    day.page.wait_for_selector("[data-wait]", state="hidden")
    day.page.click("[data-mode=remove]")
    box = day.page.locator("#bench canvas").bounding_box()
    across, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    day.page.mouse.move(across - 20, down)
    day.page.mouse.down()
    day.page.mouse.move(across + 20, down, steps=8)
    day.page.mouse.up()
    with day.page.expect_navigation():
        day.page.click("[data-do=save]")
    after = Cutout.objects.get(photo=photo, is_accepted=True)
    assert (after.method, after.sha256 != before.sha256) == (CutoutMethod.MANUAL, True)


def _write_the_prompt(day: Day) -> None:
    day.go("prompts/")
    day.page.get_by_label("Name of a new prompt").fill("Shelf packshot")
    day.press("Begin")
    day.page.fill("#id_text", "The {name} in {colour}, as photographed, on {backdrop}.")
    day.page.fill("#id_axes", "backdrop: white, sand")
    day.page.select_option("#id_engine", "packshot")
    day.page.wait_for_selector("fieldset.controls")
    day.press("Save as v1")
    version = PromptVersion.objects.get(template__brand=day.brand)
    assert (version.axes, version.needs["engine"]) == ({"backdrop": ["white", "sand"]}, "packshot")
    day.press("Ask a lead to approve v1")


def _approve_the_prompt(day: Day) -> None:
    day.go("notices/")
    assert "Shelf packshot" in day.page.inner_text("main")
    day.go("prompts/shelf-packshot/v1/")
    day.press("Approve v1")
    assert PromptVersion.objects.get(template__brand=day.brand).status == "approved"


def _run(day: Day, *, stage: str, sample: int, template: str = "") -> None:
    """Plan, look at the preview, release, and watch the cells fill without reloading the page."""
    day.go(f"campaigns/spring-shelf/runs/new/?stage={stage}&template={template}")
    day.page.select_option("#stage", stage)
    if sample:
        day.page.fill("#sample", str(sample))
    day.page.wait_for_selector("#preview .figures")
    day.press("Plan this run")
    run = Run.objects.filter(campaign__brand=day.brand).order_by("-pk")[0]
    assert (run.stage, run.state) == (stage, "planned")
    day.press("Release")
    day.page.wait_for_function(
        "count => document.querySelectorAll('.matrix-cell img').length >= count", arg=run.cell_count, timeout=60_000
    )
    processes.wait_until(
        lambda: not Job.objects.filter(run=run).exclude(status="succeeded").exists(), seconds=60, what="every image"
    )
    mug = JobSpec.objects.filter(job__run=run, job__cell__subject__key="DAY-01").first()
    if mug is not None:
        cutout = Cutout.objects.get(photo__subject__key="DAY-01", is_accepted=True)
        assert mug.spec["images"]["cutout"]["sha256"] == cutout.sha256


def _find_the_gate_locked(day: Day) -> None:
    day.go("campaigns/spring-shelf/")
    assert "0 of 3 decisions" in day.page.inner_text("#rollout")


def _find_the_gate_open(day: Day) -> None:
    day.go("campaigns/spring-shelf/")
    assert "The pilot is through" in day.page.inner_text("#rollout")


def _approve_everything(day: Day) -> None:
    day.go("review/room/")
    waiting = Asset.objects.filter(brand=day.brand, state="in_review")
    while count := waiting.count():
        day.page.wait_for_function(PAINTED)
        with day.page.expect_response(lambda answer: "/approve/" in answer.url):
            day.page.keyboard.press("a")
        assert waiting.count() == count - 1


def _read_the_report(day: Day) -> None:
    run = Run.objects.filter(campaign__brand=day.brand).order_by("-pk")[0]
    day.go(f"reports/runs/{run.pk}/")
    report = day.page.inner_text("main")
    assert "approved" in report.lower() and str(run.cell_count) in report
    day.go("campaigns/spring-shelf/")
    assert "6 of 6" in day.page.inner_text("main")
