"""Test every page with axe-core in light and dark, and its width with names of the maximum length."""

from __future__ import annotations

import importlib.resources
import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from PIL import Image

from campaigns.models import Subject
from campaigns.services import guides, imports, sources
from core import stored_files
from core.models import Brand
from generation.models import Attempt, Cell, EndpointStatus, Job, LedgerEntry
from generation.services import comparisons, studio
from generation.services.comparisons import Side
from review.models import ReviewTask
from review.services import reasons
from tests.generation import test_contact_sheets, test_studio_pages, test_workflows
from tests.generation.test_studio import wish
from tests.support import comfy_workflows, factories
from tests.support.images_in_review import create_image_in_review

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.slow]

AXE = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text()
LONG = "x" * 300
WIDTHS = (1440, 1024, 390)
WRONG = b"sku;name;price\nM-1;Mug;cheap\nM-2;Bowl;12,90\nM-3;Jar;dear\n;Lid;5\n"
ODD = b"Art.;Was;Glasur;VK\nM-1;Becher;salbei;12,90\nM-2;Schale;ton;19,90\n"

GROUPS: dict[str, tuple[str, ...]] = {
    "campaigns": (
        "",
        "campaigns/",
        "campaigns/new/",
        "campaigns/{campaign}/",
        "campaigns/{campaign}/brief/",
        "campaigns/{campaign}/specs/",
        "campaigns/{campaign}/standing/",
        "notices/",
    ),
    "runs": (
        "campaigns/{campaign}/runs/new/",
        "campaigns/{campaign}/runs/new/?template=packshots",
        "runs/{run}/",
        "reports/runs/{run}/",
        "reports/campaigns/{campaign}/",
    ),
    "products": (
        "products/",
        "products/?kind=concept",
        "products/new/",
        "products/{subject}/",
        "cutouts/?show=all",
        "photos/{photo}/cutout/",
    ),
    "feeds": (
        "import/",
        "import/{wrong}/",
        "import/{odd}/columns/",
        "import/{clean}/",
        "sources/",
        "sources/{source}/",
    ),
    "words": (
        "prompts/",
        "prompts/{prompt}/",
        "prompts/{prompt}/compare/",
        "styles/",
        "guide/",
        "guide/draft/",
        "guide/v2/changes/",
    ),
    "engines": (
        "endpoints/",
        "endpoints/new/",
        "endpoints/now/",
        "endpoints/packshots/",
        "endpoints/overflow/",
    ),
    "studio": ("studio/", "studio/?try={made}", "studio/?try={failed}"),
    "comparisons": (
        "compare/",
        "compare/new/",
        "compare/{open}/",
        "compare/{told}/",
        "compare/{told}/results/",
    ),
    "workflows": ("endpoints/{new}/workflow/", "endpoints/{marked}/workflow/"),
    "images": (
        "library/",
        "library/download/",
        "assets/{asset}/",
        "review/",
        "review/room/",
        "deliveries/",
        "audit/",
    ),
    "deliveries": (
        "deliveries/",
        "deliveries/?state=failed",
        "deliveries/{delivery}/",
        "deliveries/{delivery}/product/",
        "destinations/",
        "destinations/new/",
        "destinations/new/shopify/",
        "destinations/{destination}/",
        "ai-rules/",
    ),
    "image_feeds": (
        "image-feeds/",
        "image-feeds/new/",
        "image-feeds/{feed}/",
    ),
    "webhooks": (
        "webhooks/",
        "webhooks/new/",
        "webhooks/{webhook}/",
        "webhooks/messages/{message}/",
    ),
}

#: Pages that are checked again after a click: what is clicked, and what appears then.
PRESSED = {
    "studio/": (".studio-go", "#studio-result [role=alert]"),
    "studio/?try={made}": ("[data-open=studio-keep]", "#studio-keep[open]"),
    "destinations/{destination}/": ("form[action$='/plan/'] button", "#answer .bad"),
    "webhooks/{webhook}/": ("form[action$='/test/'] button", "#answer .bad"),
}
#: Returns the findings of axe: rule, impact and place.
FIND = """() => axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations.flatMap(
    rule => rule.nodes.map(
        node => `${rule.id} (${rule.impact}) at ${node.target.join(" ")}: ${node.html.slice(0, 120)}`)
))"""
#: Returns by how many pixels the page is wider than its window, and which elements stick out unscrolled.
STICKS_OUT = """() => {
    const over = document.scrollingElement.scrollWidth - innerWidth;
    if (over <= 0) return "";
    const boxed = one => one.parentElement !== document.body && one.parentElement
        && (getComputedStyle(one.parentElement).overflowX !== "visible" || boxed(one.parentElement));
    const out = [...document.body.querySelectorAll("*")].filter(
        one => one.getBoundingClientRect().right > innerWidth && !boxed(one));
    return `${over} px too wide: ${out.slice(0, 3).map(one => one.outerHTML.slice(0, 90)).join(" … ")}`;
}"""


@pytest.fixture
def brand(db: None) -> Brand:
    name = "Brand with a name that fills what a header has left for it.."
    return factories.BrandFactory(name=name, monthly_budget="20")


@pytest.fixture
def subject(brand: Brand) -> Subject:
    made: Subject = factories.SubjectFactory(brand=brand, name=LONG, key=f"KEY-{'9' * 40}")
    return made


@pytest.fixture
def task(brand: Brand, subject: Subject) -> ReviewTask:
    """Return the task of an image in review, of the product with the long name, with real pixels."""
    campaign = factories.CampaignFactory(brand=brand, subjects=[subject], name="A campaign of many words " * 5)
    made = create_image_in_review(brand, campaign=campaign)
    cell = made.asset.cell
    type(cell).objects.filter(pk=cell.pk).update(subject=subject)
    stored = _painted("WEBP", "teal")
    version = made.asset.versions.get()
    for kept in (version.master, *version.renditions.all()):
        type(kept).objects.filter(pk=kept.pk).update(storage_key=stored.key, sha256=stored.sha256)
    return made


def _create_endpoint_with_history(brand: Brand, cell: Cell) -> None:
    """Create an endpoint with a long name and one day of history: images, errors and a pause."""
    endpoint = factories.EndpointFactory(
        brand=brand, name=LONG[:120], slug="overflow", engine="replicate", lane="cloud", config={"model": "a/b"},
        disclaimer="x" * 40, licence_note=LONG, secret="hush", prices={"image": "0.04"},
    )  # fmt: skip
    now = timezone.now()
    EndpointStatus.objects.create(
        endpoint=endpoint, breaker="open", failures=5, open_until=now + timedelta(minutes=5), last_error=LONG
    )
    for number, outcome in enumerate(("succeeded", "failed", "failed"), start=1):
        Attempt.objects.create(
            job=factories.JobFactory(run=cell.run, cell=cell, endpoint=endpoint, lane="cloud", status="succeeded"),
            number=number, lease_token="0" * 32, endpoint=endpoint, worker="w", outcome=outcome, message=LONG,
            error_kind="" if outcome == "succeeded" else "transient", started_at=now, ended_at=now,
        )  # fmt: skip


def _uncertain(cell: Cell) -> None:
    """Create a submission of the run whose answer was lost, and one that the service refused."""
    uncertainty = {"status": "held", "hold_reason": "uncertain", "error_kind": "uncertain", "error": "No answer."}
    refused = {"status": "failed", "error_kind": "moderation", "error": LONG}
    for candidate, fields in enumerate((uncertainty, refused), start=2):
        job = factories.JobFactory(run=cell.run, cell=cell, **fields)
        factories.JobSpecFactory(job=job, candidate=candidate)
        if "hold_reason" in fields:
            LedgerEntry.objects.create(
                campaign=cell.run.campaign, run=cell.run, job=job, kind="uncertain", amount="0.24"
            )


def _tries(brand: Brand, by: Any) -> dict[str, Any]:
    """Create a try with two images and a refused one, on an endpoint that is priced per second."""
    painter = factories.EndpointFactory(
        engine="painter",
        name=LONG[:120],
        lane="cpu",
        disclaimer="x" * 40,
        licence_note=LONG,
        prices={"second": "0.001"},
    )
    factories.EndpointFactory(engine="ready", name="y" * 120, lane="cpu", disclaimer="y" * 40)
    begun = {name: studio.start(brand=brand, wish=wish(text=LONG, count=2), endpoint=painter, by=by) for name in STATES}
    for name, run in begun.items():
        for job in Job.objects.filter(run=run):
            if name == "made":
                version = test_studio_pages.finish_job(job)
                type(version.master).objects.filter(pk=version.master.pk).update(**_keys(_painted("WEBP", "peru")))
            else:
                test_studio_pages.fail_job(job, LONG)
        test_studio_pages.finish_run(run)
    return {name: run.pk for name, run in begun.items()}


def _sheets(brand: Brand, by: Any) -> dict[str, Any]:
    """Create two contact sheets: an open one, and a revealed one with an image that could not be made."""
    names = (LONG[:120], "y" * 120)
    endpoints = [
        factories.EndpointFactory(
            engine="ready", name=long_name, lane="cpu", disclaimer=long_name[:40], config={"n": long_name[0]}
        )
        for long_name in names
    ]
    sheets = {}
    for name, failing in (("open", ""), ("told", names[0])):
        sheet = comparisons.start(
            brand=brand,
            name=LONG[:160],
            sides=[Side(endpoint) for endpoint in endpoints],
            by=by,
            words=(LONG, f"a {name} jar"),
        )
        test_contact_sheets.finish_images(sheet, failing=failing)
        sheets[name] = sheet
    for row in range(2):
        comparisons.vote(comparison_id=sheets["told"].pk, row=row, column_id=None, by=by)
    comparisons.reveal(comparison_id=sheets["told"].pk, by=by)
    return {name: sheet.pk for name, sheet in sheets.items()}


def _workflows(brand: Brand, by: Any) -> dict[str, Any]:
    """Create a ComfyUI endpoint without a workflow, and one whose workflow has names of the maximum length."""
    new = test_workflows.endpoint(brand)
    graph = comfy_workflows.image_to_image()
    for node in graph.values():
        node["_meta"] = {"title": LONG}
    marked = test_workflows.save_marks(test_workflows.upload_workflow(brand, by, graph=graph), by, **{"10.image": ""})
    return {"new": new.slug, "marked": marked.slug}


def _deliveries(brand: Brand, by: Any) -> dict[str, Any]:
    """Create an image at two destinations with names of the maximum length: failed with a long cause, and live."""
    asset = ReviewTask.objects.get(brand=brand).asset
    shop = factories.DestinationFactory(
        brand=brand, name=LONG[:120], slug="shop", kind="shopify", is_enabled=False, disabled_reason=LONG[:200]
    )
    factories.EndpointFactory(name="w" * 120, lane="cpu", disclaimer="w" * 40)
    type(asset).objects.filter(pk=asset.pk).update(state="approved")
    served: list[dict[str, Any]] = [{"name": LONG[:200], "url": "https://cdn.example/a", "outcome": "alike"}]
    served[0] |= {"distance": 3, "message": LONG, "marks": "lost"}
    live = {"observed": "present", "verification": served, "verified_at": timezone.now()}
    failed = {"observed": "failed", "error": LONG}
    for destination, fields in ((shop, failed), (factories.DestinationFactory(brand=brand, name="y" * 120), live)):
        delivery = factories.DeliveryFactory(
            asset=asset, destination=destination, version=asset.current_version, alt_text=LONG, **fields
        )
        delivery.attempt_rows.create(number=1, started_at=timezone.now(), ended_at=timezone.now(), message=LONG)
    return {"destination": shop.pk, "delivery": delivery.asset.deliveries.get(destination=shop).pk}


def _image_feeds(brand: Brand, by: Any) -> dict[str, Any]:
    """Create an image feed with names of the maximum length."""
    factories.OutputSpecFactory(campaign__brand=brand, slug="w" * 50)
    feed = factories.ImageFeedFactory(brand=brand, name="z" * 120, main_spec="w" * 50)
    return {"feed": feed.pk}


def _webhooks(brand: Brand, by: Any) -> dict[str, Any]:
    """Create a webhook with names of the maximum length that nobody can reach, and a message that was given up."""
    endpoint = factories.WebhookEndpointFactory(
        brand=brand, name="z" * 120, url=f"https://127.0.0.1/{LONG}?key=k", failing_since=timezone.now()
    )
    message = factories.WebhookMessageFactory(
        endpoint=endpoint, state="failed", error=LONG, payload={"type": "run.failed", "data": {"name": LONG}}
    )
    factories.WebhookMessageFactory(endpoint=endpoint, state="delivered", type="run.failed")
    message.attempt_rows.create(number=1, started_at=timezone.now(), milliseconds=9, answer=LONG, error=LONG)
    return {"webhook": endpoint.pk, "message": message.pk}


STATES = ("made", "failed")
#: The rows that a group of pages needs in addition to the image in review.
MORE: dict[str, Callable[[Brand, Any], dict[str, Any]]] = {
    "studio": _tries,
    "comparisons": _sheets,
    "workflows": _workflows,
    "deliveries": _deliveries,
    "image_feeds": _image_feeds,
    "webhooks": _webhooks,
}


@pytest.fixture
def address(brand: Brand, subject: Subject, task: ReviewTask, person: Callable[..., Any]) -> Callable[..., str]:
    """Return `address`: `address("runs/{run}/")` is the path of a page about the image in review and its rows."""
    lead = person("lead")
    reasons.add_defaults(brand=brand, by=lead)
    factories.EndpointFactory(name="Packshot studio", slug="packshots", lane="cpu")
    _create_endpoint_with_history(brand, task.asset.cell)
    _uncertain(task.asset.cell)
    factories.StylePresetFactory(brand=brand)
    factories.DestinationFactory(brand=brand)
    cut = factories.CutoutFactory(photo__subject=subject, confidence=0.4, **_keys(_painted("PNG", "olive")))
    photo = cut.photo
    type(photo).objects.filter(pk=photo.pk).update(**_keys(_painted("JPEG", "tan")))
    guide: dict[str, Any] = {"palette": [{"name": "Clay", "hex": "#b5651d"}], "banned_wording": ["luxury"]}
    guides.publish(guide_id=guides.edit_draft(brand=brand, by=lead, **guide).pk, by=lead, note="The beginning")
    guides.edit_draft(brand=brand, by=lead, **(guide | {"banned_wording": ["cheap"]}))
    cell = task.asset.cell
    names = {
        "campaign": task.asset.campaign.slug,
        "run": cell.run_id,
        "subject": subject.pk,
        "photo": photo.pk,
        "asset": task.asset_id,
        "prompt": cell.run.prompt_version.template.slug,
        "source": sources.create(brand=brand, by=lead, name="Shop feed", kind="push").slug,
        **{
            name: imports.import_feed(
                brand=brand, by=lead, file=io.BytesIO(data), file_name=f"{name}.csv", dry_run=True
            ).pk
            for name, data in {"wrong": WRONG, "odd": ODD, "clean": b"sku,name\nM-1,Mug\n"}.items()
        },
    }
    return lambda page, **more: f"/brands/{brand.slug}/{page.format(**names, **more)}"


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """Yield a tab where axe can be loaded although the pages forbid foreign scripts."""
    context = chromium.new_context(bypass_csp=True, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("group", GROUPS)
def test_pages_are_clean_under_axe_and_no_wider_than_their_window(
    group: str, tab: Any, live_server: Any, person: Any, page_client: Any, address: Callable[..., str], brand: Brand
) -> None:
    user = person("lead", "admin", first_name=LONG[:100])
    more = MORE[group](brand, user) if group in MORE else {}
    session = page_client(user).cookies["sessionid"].value
    tab.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    wrong: list[str] = []
    for page in GROUPS[group]:
        answer = tab.goto(live_server.url + address(page, **more))
        assert answer.status == 200, page
        wrong += [f"/{page} {what}" for what in _violations(tab)]
        if page in PRESSED:
            press, appears = PRESSED[page]
            tab.click(press)
            tab.wait_for_selector(appears)
            wrong += [f"/{page} after {press} {what}" for what in _violations(tab)]
    tab.goto("about:blank")
    assert not wrong, "\n".join(wrong)


def test_signing_in_is_clean_under_axe_and_no_wider_than_its_window(tab: Any, live_server: Any) -> None:
    tab.goto(f"{live_server.url}/accounts/login/")
    assert not _violations(tab)
    tab.evaluate("document.querySelector('h1').outerHTML = '<img src=\"/icon.svg\" width=3000>'")
    problems = "\n".join(_violations(tab))
    assert "image-alt (critical) at" in problems and "px too wide" in problems, "what is wrong is found"


def _violations(tab: Any) -> list[str]:
    tab.evaluate(AXE)
    tab.evaluate("document.querySelectorAll('main details').forEach(one => { one.open = true; })")
    wrong = []
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        wrong += [f"{scheme}: {problem}" for problem in tab.evaluate(FIND)]
    for width in WIDTHS:
        tab.set_viewport_size({"width": width, "height": 900})
        if excess := tab.evaluate(STICKS_OUT):
            wrong.append(f"{width}: {excess}")
    tab.set_viewport_size({"width": 1440, "height": 900})
    return wrong


def _painted(image_format: str, colour: str) -> Any:
    buffer = io.BytesIO()
    Image.new("RGB", (512, 512), colour).save(buffer, image_format)
    return stored_files.put(buffer.getvalue(), suffix=image_format.lower())


def _keys(stored: Any) -> dict[str, str]:
    return {"storage_key": stored.key, "sha256": stored.sha256}
