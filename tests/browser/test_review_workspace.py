"""Test the review workspace in a real browser: each keystroke makes one decision, never two."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image

from core import stored_files
from generation.models import Asset, Master, Rendition
from review.models import TASK_ORDER, Decision, ReviewTask
from review.services import decisions, queue, reasons
from tests.browser.signing_in import sign_in
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.processes import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.slow]

BOX_SHARE = """() => {
    const box = document.getElementById("booth").getBoundingClientRect();
    return (box.width * box.height) / (innerWidth * innerHeight);
}"""
PAINTED = "() => document.querySelector('#panes .pane:last-child:not(.is-loading) img')?.naturalWidth > 0"


def _paint(task: ReviewTask, shade: int) -> None:
    """Give the task's master and rendition real pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (1024, 1024), (shade, 120, 90)).save(buffer, "JPEG")
    stored = stored_files.put(buffer.getvalue(), suffix="jpg")
    Master.objects.filter(versions__asset=task.asset_id).update(storage_key=stored.key, sha256=stored.sha256)
    Rendition.objects.filter(version__asset=task.asset_id).update(storage_key=stored.key, sha256=stored.sha256)


@pytest.fixture
def tasks(brand: Any, person: Callable[..., Any]) -> list[ReviewTask]:
    """Return the tasks of six images in review, in the order in which they are shown."""
    reasons.add_defaults(brand=brand, by=person("lead"))
    campaign = factories.CampaignFactory(brand=brand)
    run = factories.RunFactory(campaign=campaign)
    specs = [factories.OutputSpecFactory(campaign=campaign)]
    made = [create_image_in_review(brand, campaign=campaign, run=run, specs=specs) for _ in range(6)]
    for place, task in enumerate(made):
        _paint(task, 40 * place)
    return list(ReviewTask.objects.filter(brand=brand).order_by(*TASK_ORDER))


@pytest.fixture
def workspace(browser_page: Any, live_server: Any, brand: Any, person: Callable[..., Any], tasks: Any) -> Iterator[Any]:
    """Yield the review workspace, opened by a reviewer, with the first image loaded."""
    reviewer = person("reviewer", username="eva")
    page = browser_page
    sign_in(page, live_server.url, reviewer)
    page.goto(f"{live_server.url}/brands/{brand.slug}/review/room/")
    page.wait_for_function(PAINTED)
    yield page
    page.unroute_all(behavior="ignoreErrors")
    page.wait_for_load_state("networkidle")  # requests must end before the database is emptied
    page.goto("about:blank")


def _shown(page: Any) -> int:
    """Return the id of the task on the screen."""
    return int(page.get_attribute("#workspace", "data-task"))


def _press(page: Any, key: str) -> None:
    with page.expect_response(_is_decision):
        page.keyboard.press(key)


def _is_decision(answer: Any) -> bool:
    return answer.request.method == "POST" and ("/tasks/" in answer.url or "/decisions/" in answer.url)


def test_a_key_approves_and_the_next_image_is_there(workspace: Any, tasks: list[ReviewTask]) -> None:
    _press(workspace, "a")
    assert Decision.objects.get().kind == "approved"
    assert _shown(workspace) == tasks[1].pk
    tasks[0].refresh_from_db()
    assert tasks[0].state == "decided"


def test_what_others_hold_is_not_left(workspace: Any, tasks: list[ReviewTask], person: Callable[..., Any]) -> None:
    create_image_in_review(tasks[0].brand)
    queue.claim_batch(brand=tasks[0].brand, by=person("reviewer"), size=1)
    workspace.reload()
    workspace.wait_for_function(PAINTED)
    assert workspace.inner_text("#left") == "6 left"
    _press(workspace, "a")
    assert workspace.inner_text("#left") == "5 left"


def test_reject_takes_its_reason_from_a_digit(workspace: Any, tasks: list[ReviewTask]) -> None:
    workspace.keyboard.press("x")
    _press(workspace, "3")
    decision = Decision.objects.get()
    assert (decision.kind, decision.task_id, decision.reason and decision.reason.code) == (
        "rejected",
        tasks[0].pk,
        "artefact",
    )


def test_undo_brings_the_image_back(workspace: Any, tasks: list[ReviewTask]) -> None:
    _press(workspace, "a")
    _press(workspace, "z")
    workspace.wait_for_function(f"() => document.getElementById('workspace').dataset.task === '{tasks[0].pk}'")
    tasks[0].refresh_from_db()
    assert tasks[0].state == "open"
    assert Asset.objects.get(pk=tasks[0].asset_id).state == "in_review"


def test_a_held_key_approves_only_one(workspace: Any, tasks: list[ReviewTask]) -> None:
    with workspace.expect_response(_is_decision):
        for _ in range(12):
            workspace.keyboard.down("a")  # a second down without an up is a repeat
    workspace.wait_for_function(f"() => document.getElementById('workspace').dataset.task === '{tasks[1].pk}'")
    workspace.wait_for_timeout(800)  # time for any other effect of the key
    workspace.keyboard.up("a")
    assert Decision.objects.count() == 1
    assert _shown(workspace) == tasks[1].pk


def test_a_key_is_ignored_until_the_image_is_painted(workspace: Any, tasks: list[ReviewTask]) -> None:
    workspace.route("**/files/rendition/**", lambda route: route.abort())
    workspace.reload(wait_until="commit")
    workspace.wait_for_selector("#workspace[data-ready=yes]")
    workspace.keyboard.press("a")
    workspace.get_by_text("not on the screen yet").wait_for()
    assert not Decision.objects.exists()


def test_keys_do_nothing_in_a_field_or_with_a_modifier(workspace: Any) -> None:
    workspace.keyboard.press("Control+a")
    workspace.wait_for_selector("#sidebar-note")
    workspace.keyboard.press("n")
    workspace.keyboard.type("a nice axe")
    workspace.wait_for_timeout(300)
    assert workspace.input_value("#sidebar-note") == "a nice axe"
    assert not Decision.objects.exists()


def test_the_second_reviewer_gets_a_message(
    workspace: Any, tasks: list[ReviewTask], person: Callable[..., Any]
) -> None:
    first = person("lead", username="lena", first_name="Lena")
    decisions.approve(by=first, **decision_arguments(tasks[0]))
    _press(workspace, "a")
    workspace.wait_for_selector(".toast.bad")
    words = workspace.inner_text(".toast.bad")
    assert "Lena" in words
    assert "Show it" in words
    assert Decision.objects.count() == 1


def test_many_are_rejected_at_once_from_the_sheet(workspace: Any, tasks: list[ReviewTask]) -> None:
    workspace.keyboard.press("g")
    workspace.wait_for_function("() => [...document.querySelectorAll('.cell img')].every((image) => image.complete)")
    workspace.keyboard.press("Shift+ArrowRight")
    workspace.keyboard.press("Shift+ArrowRight")
    workspace.keyboard.press("x")
    _press(workspace, "1")
    rejected = Decision.objects.filter(kind="rejected").values_list("task_id", flat=True)
    wait_until(lambda: rejected.count() >= 3, seconds=60, what="three are rejected")
    assert set(rejected) == {task.pk for task in tasks[:3]}


def test_the_image_has_most_of_the_screen(workspace: Any) -> None:
    assert workspace.evaluate(BOX_SHARE) >= 0.70
    workspace.keyboard.press("i")
    assert workspace.evaluate(BOX_SHARE) >= 0.88


def test_space_shows_every_pixel_and_back(workspace: Any) -> None:
    width = "() => document.querySelector('#panes img').getBoundingClientRect().width * devicePixelRatio"
    workspace.mouse.move(500, 400)
    assert workspace.evaluate(width) < 1024
    workspace.keyboard.press("Space")
    assert round(workspace.evaluate(width)) == 1024
    workspace.keyboard.press("Space")
    assert workspace.evaluate(width) < 1024


def test_nothing_scrolls_sideways_on_a_phone(workspace: Any) -> None:
    workspace.set_viewport_size({"width": 390, "height": 844})
    workspace.reload()
    workspace.wait_for_function(PAINTED)
    assert workspace.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert workspace.locator(".verbs-sidebar [data-do=approve]").is_visible()
