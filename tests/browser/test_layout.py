"""Test the layout: messages stay in the window and off the filmstrip, and the navigation is never cut."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.signing_in import sign_in
from tests.browser.test_review_workspace import tasks, workspace  # noqa: F401

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.slow]

SIZES = [(1440, 900), (1024, 768), (800, 600), (701, 900), (390, 844), (320, 640)]
TEXTS = {
    "short": "Saved.",
    "a sentence": "The server cannot be reached. What you see may be old; it goes on when the connection is back. " * 2,
    "a long word": "x" * 400,
}
SAY = """async ([text, count]) => {
    const page = [...document.scripts].find((one) => /js\\/(room|app)/.test(one.src)).src;
    const { toast } = await import(page.replace(/(room|app)/, 'toast'));
    const action = { label: 'Try again', run() {} };
    for (let at = 0; at < count; at += 1) toast(text, { tone: 'bad', seconds: 60, action });
}"""
OUTSIDE = """() => [...document.querySelectorAll('#toasts, .toast, .toast button')]
    .map((one) => one.getBoundingClientRect())
    .filter((box) => box.left < 0 || box.right > innerWidth + 0.5 || box.top < 0 || box.bottom > innerHeight + 0.5)
    .length"""
COVERED = """(names) => {
    const host = document.getElementById('toasts').getBoundingClientRect();
    return names.filter((name) => {
        const box = document.querySelector(name).getBoundingClientRect();
        const isBeside = host.left >= box.right || host.right <= box.left;
        return box.width && !isBeside && host.top < box.bottom && host.bottom > box.top;
    });
}"""
CUT = """() => {
    const nav = document.querySelector('.chrome nav');
    const frame = nav.getBoundingClientRect();
    const parts = [...nav.querySelectorAll('a'), ...document.querySelectorAll('.chrome > *')];
    return parts.filter((one) => {
        const box = one.getBoundingClientRect();
        const isInNav = one.parentElement === nav;
        return box.left < -0.5 || box.right > innerWidth + 0.5 || box.bottom > innerHeight + 0.5
            || one.scrollWidth > one.clientWidth + 1
            || (isInNav && (box.right > frame.right + 0.5 || box.left < frame.left - 0.5));
    }).map((one) => one.textContent.trim() || one.className);
}"""


@pytest.mark.parametrize("text", TEXTS)
def test_messages_stay_in_the_window_and_off_the_filmstrip(workspace: Any, text: str) -> None:  # noqa: F811
    workspace.evaluate(SAY, [TEXTS[text], 3])
    for sidebar in ("open", "closed"):
        workspace.evaluate("(sidebar) => { document.getElementById('workspace').dataset.sidebar = sidebar; }", sidebar)
        for width, height in SIZES:
            workspace.set_viewport_size({"width": width, "height": height})
            assert workspace.evaluate(OUTSIDE) == 0, (width, sidebar)
            assert workspace.evaluate(COVERED, ["#films", ".verbs-sidebar"]) == [], (width, sidebar)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_navigation_is_not_cut_and_messages_do_not_cover_it(
    browser_page: Any, live_server: Any, brand: Any, person: Any, width: int, height: int
) -> None:
    lead = person("lead", "admin", username="lena")
    type(brand).objects.filter(pk=brand.pk).update(name="A brand with quite a long name")
    page = browser_page
    page.set_viewport_size({"width": width, "height": height})
    sign_in(page, live_server.url, lead)
    page.goto(f"{live_server.url}/brands/{brand.slug}/")
    page.wait_for_load_state("networkidle")
    assert page.locator(".chrome nav a").count() >= 9
    assert page.evaluate(CUT) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate(SAY, [TEXTS["a sentence"], 3])
    assert page.evaluate(OUTSIDE) == 0
    assert page.evaluate(COVERED, [".chrome nav"]) == []
    page.goto("about:blank")


@pytest.mark.parametrize("level", ["brand menu", "person menu", "palette"])
def test_escape_closes_what_is_open_and_nothing_else(
    browser_page: Any, live_server: Any, brand: Any, person: Any, level: str
) -> None:
    page = browser_page
    sign_in(page, live_server.url, person("lead", username="lena"))
    page.goto(f"{live_server.url}/brands/{brand.slug}/")
    page.wait_for_load_state("networkidle")
    opener, opened = {
        "brand menu": (".brand-switch > summary", ".brand-switch[open]"),
        "person menu": (".menu.end > summary", ".menu.end[open]"),
        "palette": ("[data-palette]", "#palette[open]"),
    }[level]
    page.click(opener)
    assert page.locator(opened).count() == 1
    page.keyboard.press("Escape")
    page.wait_for_function("(name) => !document.querySelector(name)", arg=opened)
    assert page.url.endswith(f"/brands/{brand.slug}/")
    page.goto("about:blank")
