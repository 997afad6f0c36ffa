"""Test packshots before a scene: the scene is smooth and blurred, and the product stays as photographed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from campaigns.photos import cutout
from generation.engines.base import ErrorKind, ImageRef, Spec, Task
from generation.engines.packshot import scenes
from generation.engines.packshot.engine import Packshot, compose
from tests.generation.test_packshot import RecordingContext, product


def table_scene(width: int = 128, height: int = 128) -> np.ndarray:
    """Return an image of an empty table with a chequered cloth before a wall of three stripes."""
    y, x = np.mgrid[0:height, 0:width]
    is_dark = (x // 8 + y // 8) % 2 == 0
    image = np.where(is_dark[..., None], (150, 110, 80), (235, 225, 210))
    wall = np.stack([90 + 40 * (x * 3 // width), np.full_like(x, 130), np.full_like(x, 160)], axis=-1)
    return np.where((y < height * 0.55)[..., None], wall, image).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    channels = {2: cv2.COLOR_GRAY2BGR, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    code = channels[image.shape[2] if image.ndim == 3 else 2]
    return cv2.imencode(".png", cv2.cvtColor(image, code))[1].tobytes()


def blurred_scene(image: np.ndarray, width: int, height: int, blur: float = 0.5) -> np.ndarray:
    """Return the scene scaled to the frame: float32, height × width × 3."""
    small = scenes.blur_scene(image, width=width, height=height, blur=blur, foot=0.9)
    return np.dstack([small.enlarge(channel, width, height) for channel in range(3)])


def compose_packshot(rgba: np.ndarray, image: np.ndarray, width: int = 512, height: int = 512, **parameters: object):
    """Return (pixels, box) of a packshot before a scene."""
    setting, problems = Packshot().parse({"scene": "cloth", **parameters})
    assert problems == []
    small = scenes.blur_scene(image, width=width, height=height, blur=setting.scene_blur, foot=setting.baseline)
    return compose(rgba, setting, width, height, scene=small)


@pytest.mark.parametrize("size", [(256, 256), (512, 640), (900, 500)])
def test_the_product_is_the_scaled_photo_before_a_scene_as_without_one(size: tuple[int, int]) -> None:
    rgba = product("vase")
    kept = {"shadow": "strong", "reflection": "mirror"}
    pixels, box = compose_packshot(rgba, table_scene(), *size, **kept)
    plain, _ = compose(rgba, Packshot().parse({"backdrop": "clay", **kept})[0], *size)
    left, top, right, bottom = (round(share * size[n % 2]) for n, share in enumerate(box))
    product_size = (right - left, bottom - top)
    method = cv2.INTER_AREA if product_size[0] < rgba.shape[1] else cv2.INTER_CUBIC
    scaled = cv2.resize(np.ascontiguousarray(rgba[..., :3]), product_size, interpolation=method)
    solid = cv2.resize((rgba[..., 3] == 255).astype(np.float32), product_size, interpolation=cv2.INTER_AREA) >= 1
    solid = cv2.erode(solid.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert solid.sum() > 5000
    inside = pixels[top:bottom, left:right][solid]
    assert np.array_equal(inside, scaled[solid]) and np.array_equal(inside, plain[top:bottom, left:right][solid])
    assert np.abs(pixels[:20, :20].astype(int) - plain[:20, :20]).max() > 20


@pytest.mark.parametrize("blur", [0.0, 0.5])
def test_a_small_scene_is_enlarged_without_steps(blur: float) -> None:
    """Enlarged sixteen times, a scene bends at the edges of its pixels no more than between them."""
    large = blurred_scene(table_scene(), 2048, 2048, blur)
    bends = np.abs(np.diff(large[1200:2000], n=2, axis=1)).mean(axis=(0, 2))
    by_phase = np.array([bends[phase::16].mean() for phase in range(16)])
    assert by_phase.max() < 1.5 * by_phase.min() + 0.01
    assert np.abs(np.diff(large, axis=1)).max() < 12  # a step of the cloth is 115


def test_the_wall_is_softer_than_the_table_on_which_it_stands() -> None:
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, (np.arange(128) // 8) % 2 == 0] = 255
    contrast = np.ptp(blurred_scene(stripes, 512, 512)[:, 100:400, 0], axis=1)
    assert contrast[460] > 235 and contrast[20] < 170 and np.all(np.diff(contrast[60:440:40]) > -0.5)


def test_the_blur_control_is_obeyed_and_nothing_else_of_the_scene_changes() -> None:
    soft, sharp = (blurred_scene(table_scene(), 512, 512, blur) for blur in (1.0, 0.0))
    detail = [np.abs(np.diff(scene, axis=1)).mean() for scene in (soft, sharp)]
    assert detail[0] < 0.6 * detail[1]
    assert np.abs(soft.mean(axis=(0, 1)) - sharp.mean(axis=(0, 1))).max() < 2


def test_a_soft_scene_shows_no_bands() -> None:
    slope = np.zeros((64, 64, 3), np.uint8)
    slope[:] = (100 + 8 * np.arange(64)[None, :, None] / 64).astype(np.uint8)
    pixels, _ = compose_packshot(product("bottle"), slope, 800, 800, shadow="none")
    rows = pixels[:50, :, 0].astype(int)
    runs = np.diff(np.flatnonzero(np.diff(rows[20], prepend=-1)))
    assert np.abs(np.diff(rows, axis=1)).max() <= 2 and runs.max() < 30


def test_the_scene_covers_the_frame_in_its_own_proportions_and_keeps_the_table() -> None:
    marked = np.zeros((120, 120, 3), np.uint8)
    marked[:, 55:65] = 255  # an upright post, 10 of 120 wide
    marked[110:] = (255, 0, 0)
    wide = blurred_scene(marked, 800, 400, 0.0)
    assert wide.shape == (400, 800, 3)
    assert (wide[100, :, 0] > 127).sum() == pytest.approx(800 / 12, abs=6)  # not stretched
    assert abs(np.flatnonzero(wide[100, :, 0] > 127).mean() - 399.5) < 4
    assert wide[-1, 100, 0] < 60 < 200 < blurred_scene(marked, 400, 400, 0.0)[-1, 100, 0]
    assert scenes.crop_to_aspect(marked, width=800, height=400).shape == (60, 120, 3)
    assert np.array_equal(scenes.crop_to_aspect(marked, width=800, height=400), marked[39:99])
    assert scenes.crop_to_aspect(marked, width=300, height=600).shape == (120, 60, 3)


def test_shadows_darken_the_scene_and_it_is_seen_through_glass_and_handles() -> None:
    rgba = product("mug")
    lit, shaded = (compose_packshot(rgba, table_scene(), shadow=shadow)[0].astype(int) for shadow in ("none", "soft"))
    lost = (lit - shaded).sum(axis=2)
    assert lost[420:].sum() > 10 * max(1, lost[:200].sum()) and lost.min() >= -6  # the dither is ±½ a level each
    blue = np.full((128, 128, 3), (0, 0, 255), np.uint8)
    seen_through = np.all(abs(compose_packshot(rgba, blue, shadow="none")[0].astype(int) - (0, 0, 255)) < 2, axis=2)
    seen_through = seen_through.astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(seen_through, connectivity=4)
    assert count == 3 and sorted(stats[1:, cv2.CC_STAT_AREA])[0] > 1000


def test_a_low_product_stays_on_the_table_before_a_scene() -> None:
    plate = product("plate")
    on_paper = compose(plate, Packshot().parse({})[0], 512, 512)[1][3]
    on_table, on_line = (
        compose_packshot(plate, table_scene(), position=position)[1][3] for position in ("auto", "baseline")
    )
    assert on_paper < on_table - 0.05 < on_line - 0.05 and on_line == pytest.approx(0.9, abs=0.002)


def spec(scene: str = "cloth", key: str = "cloth", size: int = 128, **parameters: object) -> Spec:
    images = {"cutout": ImageRef("sha", "mug"), "scene": ImageRef(f"sha-{key}", key)}
    return Spec("", size, size, 0, parameters={"scene": scene, **parameters}, images=images)


@pytest.fixture
def files() -> dict[str, bytes]:
    return {"mug": cutout.to_png(product()), "cloth": png(table_scene()), "nothing": b"no image"}


def test_a_scene_is_decoded_once_for_all_images_before_it(files: dict[str, bytes]) -> None:
    context = RecordingContext(files)
    tasks = [Task(n, spec(light=light)) for n, light in enumerate(("left", "right", "top", "hard left"))]
    results = list(Packshot().generate(tasks, context))
    assert all(result.error is None for result in results) and context.loads == 2
    assert not np.array_equal(results[0].pixels, results[1].pixels)


def test_equal_specs_are_equal_before_a_scene_whatever_was_made_in_between(files: dict[str, bytes]) -> None:
    engine, context = Packshot(), RecordingContext(files | {"blue": png(np.full((64, 64, 3), (0, 0, 200), np.uint8))})
    specs = [spec(), spec(key="blue"), spec(scene_blur=1), spec(baseline=0.7), spec(size=160), spec()]
    pixels = [
        result.pixels
        for result in engine.generate([Task(n, scene_spec) for n, scene_spec in enumerate(specs)], context)
    ]
    assert np.array_equal(pixels[0], pixels[-1])
    assert all(not np.array_equal(pixels[0], other) for other in pixels[1:-1])
    [alone] = Packshot().generate([Task(1, spec())], context)
    assert np.array_equal(alone.pixels, pixels[0])


def test_the_image_counts_not_the_name_of_the_scene(files: dict[str, bytes]) -> None:
    first, second = Packshot().generate(
        [Task(1, spec("cloth")), Task(2, spec("another name"))], RecordingContext(files)
    )
    assert np.array_equal(first.pixels, second.pixels)


def test_images_of_every_kind_make_a_scene(files: dict[str, bytes]) -> None:
    grey, clear = np.full((40, 60), 90, np.uint8), np.zeros((40, 60, 4), np.uint8)
    context = RecordingContext(
        files | {"grey": png(grey), "clear": png(clear), "one": png(np.full((1, 1, 3), 200, np.uint8))}
    )
    tasks = [Task(n, spec(key=key, shadow="none")) for n, key in enumerate(("grey", "clear", "one"))]
    corners = [result.pixels[:9, :9] for result in Packshot().generate(tasks, context)]
    assert [round(float(corner.mean())) for corner in corners] == [90, 255, 200]


def test_a_mistake_in_a_scene_is_reported_and_fails_its_own_image_only(files: dict[str, bytes]) -> None:
    engine = Packshot()
    results = list(engine.generate([Task(1, spec(key="nothing")), Task(2, spec())], RecordingContext(files)))
    assert results[0].error.kind == ErrorKind.INPUT and "'cloth' is no image" in results[0].error.message
    assert results[1].error is None
    without = Spec("", 128, 128, 0, parameters={"scene": "marble"}, images={"cutout": ImageRef("sha", "mug")})
    assert engine.validate(without) == ["There is no image of the scene 'marble'; approve one, or leave the scene out."]
    for name in ("", "none", " None "):
        plain = Spec("", 128, 128, 0, parameters={"scene": name}, images={"cutout": ImageRef("sha", "mug")})
        assert engine.validate(plain) == []
    assert "0 to 1" in engine.validate(spec(scene_blur=3))[0]
    assert "scene" in engine.capabilities().optional_images and "scene" in engine.capabilities().obeys
