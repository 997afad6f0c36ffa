"""Test that keys typed into a field are only text, in every view and every kind of field."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from review.choices import ItemMode
from review.models import Decision, ReviewTask
from review.services import checklists
from tests.browser.test_review_workspace import _press, tasks, workspace  # noqa: F401
from tests.support.processes import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.slow]

#: Letters of nearly every key of the review page.
EVERY_KEY = "axrszjkgfcvpbinm 123+-0"
SHEET_PAINTED = (
    "() => [...document.querySelectorAll('.cell img')].every((image) => image.complete && image.naturalWidth)"
)
STATE = """() => { const { view, sidebar, surround, task, context } = document.getElementById('workspace').dataset;
    return JSON.stringify({ view, sidebar, surround, task, context }); }"""

FIELDS = {
    "a text field": "<input id='typed'>",
    "a search field": "<input id='typed' type='search'>",
    "a text area": "<textarea id='typed'></textarea>",
    "a list of choices": "<select id='typed'><option>one</option><option>two</option></select>",
    "editable content": "<div id='typed' contenteditable='true'>words</div>",
    "plain editable content": "<p id='typed' contenteditable='plaintext-only'>words</p>",
    "a text box by role": "<div id='typed' role='textbox' tabindex='0'>words</div>",
}


def _sheet(page: Any) -> None:
    page.keyboard.press("g")
    page.wait_for_function(SHEET_PAINTED)


@pytest.mark.parametrize("view", ["focus", "sheet"])
def test_reject_shows_its_reasons_in_every_view(workspace: Any, view: str) -> None:  # noqa: F811
    if view == "sheet":
        _sheet(workspace)
    workspace.keyboard.press("x")
    assert workspace.locator("#reasons").is_visible()
    assert workspace.locator("#reasons [name=words]").is_visible()


@pytest.mark.parametrize("view", ["focus", "sheet"])
def test_words_typed_as_a_reason_run_no_key(
    workspace: Any,  # noqa: F811
    tasks: list[ReviewTask],  # noqa: F811
    view: str,
) -> None:
    if view == "sheet":
        _sheet(workspace)
    before = workspace.evaluate(STATE)
    workspace.keyboard.press("x")
    for words in ("blurry edge", "grease mark", "zipper missing", "a scratch", "not our cup", "jagged"):
        workspace.fill("#reasons [name=words]", "")
        workspace.keyboard.type(words)
        assert workspace.input_value("#reasons [name=words]") == words
        assert workspace.evaluate(STATE) == before
    assert not Decision.objects.exists()
    _press(workspace, "Enter")
    decision = Decision.objects.get()
    assert (decision.kind, decision.task_id, decision.note) == ("rejected", tasks[0].pk, words)


@pytest.mark.parametrize("view", ["focus", "sheet"])
def test_no_key_of_the_review_page_acts_in_a_field(workspace: Any, view: str) -> None:  # noqa: F811
    if view == "sheet":
        _sheet(workspace)
    for field, html in FIELDS.items():
        workspace.evaluate(
            "(html) => { document.getElementById('typed')?.remove();"
            " document.getElementById('workspace').insertAdjacentHTML('beforeend', html); }",
            html,
        )
        workspace.focus("#typed")
        before = workspace.evaluate(STATE)
        workspace.keyboard.type(EVERY_KEY)
        assert workspace.evaluate(STATE) == before, field
        workspace.evaluate("document.getElementById('typed').blur()")
    assert not Decision.objects.exists()


def test_a_key_of_a_composition_runs_nothing(workspace: Any) -> None:  # noqa: F811
    before = workspace.evaluate(STATE)
    for composing, key in product(
        ("{ isComposing: true }", "{ keyCode: 229 }"), ("a", "x", "b", "Enter", "Escape", "g")
    ):
        workspace.evaluate(
            f"(key) => document.body.dispatchEvent(new KeyboardEvent('keydown', "
            f"{{ key, bubbles: true, cancelable: true, ...{composing} }}))",
            key,
        )
    assert workspace.evaluate(STATE) == before
    assert workspace.locator("#reasons").is_hidden()


def test_escape_goes_back_one_level_at_a_time(workspace: Any) -> None:  # noqa: F811
    _sheet(workspace)
    workspace.keyboard.press("Shift+ArrowRight")
    workspace.keyboard.press("x")
    workspace.keyboard.type("blurry")
    levels = []
    for _ in range(3):
        workspace.keyboard.press("Escape")
        levels.append(
            workspace.evaluate(
                "() => [document.activeElement.name === 'words', !document.getElementById('reasons').hidden,"
                " document.querySelectorAll('.cell.is-selected').length]"
            )
        )
    assert levels == [[False, True, 2], [False, False, 2], [False, False, 0]]
    assert workspace.get_attribute("#workspace", "data-view") == "sheet"


@pytest.fixture
def questions(brand: Any, person: Callable[..., Any], db: None) -> None:
    """Give the brand a checklist with two questions for each image."""
    items = [
        {"code": "colour", "sentence": "The colour is right.", "mode": ItemMode.ASK},
        {"code": "logo", "sentence": "The logo is whole.", "mode": ItemMode.ASK},
    ]
    checklists.create(brand=brand, by=person("lead"), stage="brand", name="Brand review", items=items)


@pytest.mark.usefixtures("questions")
@pytest.mark.parametrize("count", [1, 3])
def test_a_selection_is_approved_with_one_set_of_answers(request: pytest.FixtureRequest, count: int) -> None:
    page, shown = request.getfixturevalue("workspace"), request.getfixturevalue("tasks")
    _sheet(page)
    for _ in range(count - 1):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("a")
    page.keyboard.press("Enter")  # nothing is answered yet
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.keyboard.press("2")
    page.keyboard.press("Enter")  # the second is answered no
    assert page.locator("#answers").is_visible()
    assert not Decision.objects.exists()
    page.keyboard.press("2")
    _press(page, "Enter")
    wait_until(lambda: Decision.objects.count() >= count, seconds=60, what="all of them are approved")
    decided = Decision.objects.values_list("task_id", "kind", "answers__colour", "answers__logo")
    assert set(decided) == {(task.pk, "approved", "yes", "n/a") for task in shown[:count]}
