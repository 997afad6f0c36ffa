"""Test what the scripts compute, each module alone in Chromium."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def script(browser_context: Any, live_server: Any) -> Any:
    """Return run(module, body, *values): the result of a function whose `module` is static/js/<module>."""
    page = browser_context.new_page()
    page.goto(f"{live_server.url}/accounts/login/")

    def run(module: str, body: str, *values: Any) -> Any:
        return page.evaluate(
            f"""async (values) => {{
                const module = await import('/static/js/{module}');
                const run = async (module, ...values) => {{ {body} }};
                return run(module, ...values);
            }}""",
            list(values),
        )

    return run


MASK = """
    const photo = module.canvasOf(200, 100);
    const paint = photo.getContext('2d');
    paint.fillStyle = '#c00';
    paint.fillRect(0, 0, 200, 100);
    let changes = 0;
    const mask = new module.Mask(photo, null, { width: 200, height: 100, onChange: () => { changes += 1; } });
    const alpha = (canvas, x, y) => canvas.getContext('2d').getImageData(x, y, 1, 1).data[3];
    const at = (x, y) => [alpha(mask.canvas, x, y), alpha(mask.cut, x, y)];
    mask.setBrush(0.6, 0);
"""


@pytest.mark.parametrize(
    ("size", "radius"), [(0, 1), (1, 200), (0.5, pytest.approx(200**0.5))], ids=["least", "most", "half"]
)
def test_a_brush_grows_from_a_pixel_to_a_sixth_of_the_photo(script: Any, size: float, radius: Any) -> None:
    assert script("cutout/mask.js", "return module.radiusOf(...values);", size, 1200, 800) == radius


def test_a_stroke_makes_its_way_product_and_nothing_else(script: Any) -> None:
    body = (
        MASK
        + "mask.begin({x: 40, y: 50}); mask.strokeTo({x: 120, y: 50}); mask.end(); return [at(80, 50), at(80, 80)];"
    )
    assert script("cutout/mask.js", body) == [[255, 255], [0, 0]]


def test_a_stroke_that_removes_makes_its_way_background(script: Any) -> None:
    body = (
        MASK
        + """
        mask.begin({x: 40, y: 50}); mask.strokeTo({x: 120, y: 50}); mask.end();
        mask.mode = 'remove';
        mask.begin({x: 80, y: 50}); mask.end();
        return [at(80, 50), at(44, 50)];
    """
    )
    assert script("cutout/mask.js", body) == [[0, 0], [255, 255]]


def test_undo_and_redo_go_through_the_strokes_in_order(script: Any) -> None:
    body = (
        MASK
        + """
        mask.begin({x: 40, y: 50}); mask.end();
        mask.begin({x: 150, y: 50}); mask.end();
        const seen = [];
        const look = () => seen.push([at(40, 50)[0], at(150, 50)[1], mask.done.length, mask.undone.length]);
        look(); mask.undo(); look(); mask.undo(); look(); mask.undo(); look(); mask.redo(); look();
        mask.begin({x: 100, y: 20}); mask.end(); look();
        return seen;
    """
    )
    assert script("cutout/mask.js", body) == [
        [255, 255, 2, 0], [255, 0, 1, 1], [0, 0, 0, 2], [0, 0, 0, 2], [255, 0, 1, 1], [255, 0, 2, 0]
    ]  # fmt: skip


def test_a_stroke_that_becomes_a_pinch_leaves_nothing(script: Any) -> None:
    body = (
        MASK
        + """
        mask.begin({x: 40, y: 50}); mask.end();
        mask.begin({x: 150, y: 50}); mask.abandon();
        mask.begin({x: -90, y: -90}); mask.abandon();
        return [at(40, 50)[0], at(150, 50)[0], mask.done.length, mask.undone.length, mask.isPainting];
    """
    )
    assert script("cutout/mask.js", body) == [255, 0, 1, 0, False]


def test_each_change_of_the_mask_is_told(script: Any) -> None:
    body = MASK + "mask.begin({x: 40, y: 50}); mask.end(); mask.undo(); return changes;"
    assert script("cutout/mask.js", body) == 3


def test_zooming_keeps_the_point_under_the_pointer(script: Any) -> None:
    body = """
        const canvas = document.createElement('canvas');
        canvas.style = 'position: fixed; left: 10px; top: 20px; width: 400px; height: 300px';
        document.body.append(canvas);
        const one = document.createElement('canvas');
        const view = new module.View(canvas, { photo: one, cut: one, width: 800, height: 400 }, '#fff');
        const pointer = { clientX: 110, clientY: 220 };
        const fitted = view.scale;
        const before = view.place(pointer).on;
        view.zoom(3, view.place(pointer));
        const after = view.place(pointer).on;
        view.zoom(1000);
        const most = view.scale;
        view.zoomToFull();
        return [fitted, Math.hypot(after.x - before.x, after.y - before.y), most, view.scale];
    """
    fitted, moved, most, full = script("cutout/view.js", body)
    assert fitted == pytest.approx((400 - 24) / 800)
    assert moved == pytest.approx(0, abs=1e-9)
    assert (most, full) == (24, pytest.approx(1))


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ({"key": "a", "code": "KeyA"}, "a"),
        ({"key": "ф", "code": "KeyA"}, "a"),
        ({"key": "a", "code": "KeyA", "ctrlKey": True}, ""),
        ({"key": " ", "code": "Space"}, "Space"),
        ({"key": "a", "code": "KeyA", "isComposing": True}, ""),
    ],
    ids=["a letter", "the same key of a Russian keyboard", "with Control", "space", "in the middle of a composition"],
)
def test_a_key_press_has_a_name_whatever_the_keyboard(script: Any, key: dict[str, Any], named: str) -> None:
    body = """
        let name;
        document.body.addEventListener('keydown', (event) => { name = module.named(event); }, { once: true });
        document.activeElement.blur();
        document.body.dispatchEvent(new KeyboardEvent('keydown', key));
        return name;
    """.replace("key)", "values[0])")
    assert script("keys.js", body, key) == named
