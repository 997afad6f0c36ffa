"""Tests of cut-outs against images whose alpha is exactly known."""

from __future__ import annotations

import contextlib
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from campaigns.photos import cutout
from examples.loading import EXAMPLES
from tests.support.scenes import Scene, scene

KINDS = ("mug", "vase", "bottle", "bowl", "lamp", "plate")
WHITE = {"colour": (248, 247, 245), "wall": (250, 250, 250)}


def overlap(alpha: np.ndarray, truth: np.ndarray) -> float:
    """Return the intersection over union of two soft masks in 0 … 1."""
    return float(np.minimum(alpha, truth).sum() / np.maximum(alpha, truth).sum())


def cut_and_score(made: Scene) -> tuple[float, cutout.CutOut, np.ndarray]:
    cut = cutout.cut_out(made.pixels)
    alpha = cut.rgba[..., 3] / 255
    return overlap(alpha, made.alpha), cut, alpha


@pytest.mark.parametrize("kind", KINDS)
def test_a_product_on_a_plain_background_is_cut_out_without_its_shadow(kind: str) -> None:
    score, cut, _ = cut_and_score(scene(kind))
    assert score >= 0.99
    assert cut.method == "plain" and cut.confidence > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_a_dark_product_on_a_steep_gradient_with_noise_is_cut_out(kind: str) -> None:
    score, _, _ = cut_and_score(scene(kind, colour=(45, 45, 50), wall=(200, 205, 210), gradient=0.35, noise=2.0))
    assert score >= 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_a_pale_product_on_a_coloured_wall_is_cut_out(kind: str) -> None:
    score, _, _ = cut_and_score(scene(kind, colour=(240, 240, 235), wall=(190, 120, 90), gradient=0.2))
    assert score >= 0.975


@pytest.mark.parametrize("kind", KINDS)
def test_a_product_almost_of_its_backgrounds_colour_is_cut_out(kind: str) -> None:
    score, _, _ = cut_and_score(scene(kind, colour=(150, 175, 150), wall=(176, 190, 176)))
    assert score >= 0.975


@pytest.mark.parametrize("kind", KINDS)
def test_a_white_product_on_white_is_cut_out_by_its_faint_outline(kind: str) -> None:
    score, _, _ = cut_and_score(scene(kind, **WHITE))
    assert score >= (0.96 if kind == "bowl" else 0.97)


def test_white_on_white_is_less_sure_of_itself_than_colour_on_white() -> None:
    faint, clear = cut_and_score(scene("plate", **WHITE))[1], cut_and_score(scene("plate"))[1]
    assert faint.confidence < 0.7 < 0.95 < clear.confidence


@pytest.mark.parametrize("options", [{}, WHITE, {"colour": (45, 45, 50)}, {"colour": (150, 175, 150)}])
def test_the_hole_of_a_thin_handle_is_transparent_and_the_handle_is_there(options: dict[str, object]) -> None:
    made = scene("mug", **options)
    _, _, alpha = cut_and_score(made)
    assert made.hole.sum() > 1000
    assert alpha[made.hole].mean() < 0.01
    handle = (made.alpha > 0.99) & (np.arange(512)[None, :] > 375)
    assert handle.sum() > 500 and alpha[handle].mean() > 0.94


def test_a_thin_stem_is_kept_whole() -> None:
    made = scene("lamp")
    _, _, alpha = cut_and_score(made)
    stem = alpha[300:400, 240:272].sum(axis=1)
    assert np.all(np.abs(stem - made.alpha[300:400, 240:272].sum(axis=1)) < 1.5)


def test_pixels_inside_stay_as_photographed() -> None:
    made = scene("vase")
    cut = cutout.cut_out(made.pixels)
    inside = cv2.erode((made.alpha >= 1).astype(np.uint8), np.ones((11, 11), np.uint8)) > 0
    assert np.array_equal(cut.rgba[inside][:, :3], made.pixels[inside])
    assert np.all(cut.rgba[inside][:, 3] == 255)


def test_the_background_is_taken_out_of_the_edge() -> None:
    """A red product that was cut out of a white wall has no bright rim on black."""
    made = scene("vase", colour=(120, 20, 20), wall=(250, 250, 250), noise=0, quality=100)
    rgba = cutout.cut_out(made.pixels).rgba.astype(float)
    over_black = rgba[..., :3] * rgba[..., 3:] / 255
    edge = (made.alpha > 0.02) & (made.alpha < 0.98)
    # Only the white wall has much green and blue: the product has at most 20 of 255.
    assert np.percentile(over_black[edge][:, 1], 95) < 30
    assert made.pixels[edge][:, 1].max() > 200


def test_a_photo_with_alpha_stays_as_it_is() -> None:
    glass = np.zeros((200, 160, 4), np.uint8)
    glass[40:180, 50:110] = (200, 220, 230, 90)
    glass[40:180, 50:54] = glass[40:180, 106:110] = (230, 240, 245, 200)
    cut = cutout.cut_out(glass)
    assert cut.method == "alpha" and cut.confidence == 1.0 and cut.box == (50, 40, 110, 180)
    assert np.array_equal(cut.rgba, glass)


def test_an_opaque_alpha_channel_is_ignored_and_the_background_is_removed() -> None:
    made = scene("vase")
    opaque = np.dstack([made.pixels, np.full(made.alpha.shape, 255, np.uint8)])
    cut = cutout.cut_out(opaque)
    assert cut.method == "plain" and overlap(cut.rgba[..., 3] / 255, made.alpha) > 0.99


def test_the_box_holds_the_product_and_no_shadow() -> None:
    made = scene("bottle")
    left, top, right, bottom = cutout.cut_out(made.pixels).box
    rows, columns = np.flatnonzero(made.alpha.max(axis=1) > 0.5), np.flatnonzero(made.alpha.max(axis=0) > 0.5)
    assert abs(left - columns[0]) <= 2 and abs(right - columns[-1] - 1) <= 2
    assert abs(top - rows[0]) <= 2 and abs(bottom - rows[-1] - 1) <= 3


def test_large_photos_are_cut_out_at_their_own_size() -> None:
    made = scene("mug", size=1800)
    score, cut, alpha = cut_and_score(made)
    assert cut.rgba.shape == (1800, 1800, 4)
    assert score >= 0.99 and alpha[made.hole].mean() < 0.01


def test_the_same_photo_gives_the_same_cut_out() -> None:
    pixels = scene("mug").pixels
    assert cutout.to_png(cutout.cut_out(pixels).rgba) == cutout.to_png(cutout.cut_out(pixels).rgba)


def test_an_image_without_a_product_is_refused() -> None:
    with pytest.raises(cutout.NoProduct):
        cutout.cut_out(np.full((300, 300, 3), 240, np.uint8))
    with pytest.raises(cutout.NoProduct):
        cutout.cut_out(np.zeros((300, 300, 4), np.uint8))


def before_a_wall(made: Scene, wall: np.ndarray) -> np.ndarray:
    alpha = made.alpha[..., None]
    return np.clip(made.pixels * alpha + wall * (1 - alpha), 0, 255).astype(np.uint8)


def planks(size: int = 512) -> np.ndarray:
    """Return boards with grain and dark joints, h × w × 3."""
    y, x = np.mgrid[0:size, 0:size] / size
    grain = 1 + 0.18 * np.sin(60 * (y + 0.02 * np.sin(6 * x))) - 0.5 * (np.abs(y * 6 - np.round(y * 6)) < 0.02)
    return grain[..., None] * np.array([178.0, 138.0, 96.0])


@pytest.mark.parametrize(
    ("kind", "colour"), [("vase", (60, 90, 120)), ("mug", (235, 235, 230)), ("bottle", (40, 70, 50))]
)
def test_a_product_on_a_wooden_table_is_found_and_a_person_is_asked(kind: str, colour: tuple[int, int, int]) -> None:
    made = scene(kind, colour=colour)
    cut = cutout.cut_out(before_a_wall(made, planks()))
    assert cut.method == "scene" and overlap(cut.rgba[..., 3] / 255, made.alpha) > 0.95
    assert 0 < cut.confidence < cutout.LOW_CONFIDENCE


def test_a_busy_background_is_tried_and_not_trusted() -> None:
    made = scene("vase")
    noise = np.random.default_rng(5).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    wall = cv2.resize(noise, (512, 512), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    with contextlib.suppress(cutout.NoProduct):
        assert cutout.cut_out(before_a_wall(made, wall)).confidence < cutout.LOW_CONFIDENCE


def test_a_softbox_mirrored_in_the_glaze_is_no_hole() -> None:
    """A flat, outlined highlight as white as the wall in the middle of a dark vase belongs to the product."""
    made = scene("vase", colour=(60, 60, 70), wall=(245, 245, 245))
    shining = made.pixels.copy()
    cv2.rectangle(shining, (235, 200), (275, 290), (245, 245, 245), -1)
    alpha = cutout.cut_out(shining).rgba[..., 3]
    assert alpha[210:280, 240:270].min() == 255


@pytest.mark.parametrize("brightness", [200, 225])
def test_a_softbox_mirrored_beside_the_middle_is_no_hole_either(brightness: int) -> None:
    """A hole has pixels as bright as the wall; this flat, outlined highlight is a little darker."""
    made = scene("vase", colour=(60, 60, 70), wall=(245, 245, 245))
    shining = made.pixels.copy()
    cv2.rectangle(shining, (180, 230), (215, 320), (brightness,) * 3, -1)
    alpha = cutout.cut_out(shining).rgba[..., 3]
    assert alpha[240:310, 185:210].min() == 255


def test_a_cut_out_survives_its_png() -> None:
    cut = cutout.cut_out(scene("bowl").pixels)
    read = np.asarray(Image.open(io.BytesIO(cutout.to_png(cut.rgba))))
    assert np.array_equal(read, cut.rgba)


@pytest.mark.parametrize(
    ("name", "holes"),
    [("mug-moss", 1), ("mug-blush", 1), ("teapot-moss", 1), ("teapot-ink", 1), ("plate-chalk", 0), ("bowl-oat", 0)],
)
def test_the_examples_are_cut_out_whole_with_their_handles_holes(name: str, holes: int) -> None:
    pixels = np.asarray(Image.open(EXAMPLES / "photos" / f"{name}.jpg").convert("RGB"))
    cut = cutout.cut_out(pixels)
    solid = (cut.rgba[..., 3] > 127).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(solid)
    assert count == 2, "one piece"
    count, _, stats, _ = cv2.connectedComponentsWithStats(1 - solid, connectivity=4)
    assert (stats[1:, cv2.CC_STAT_AREA] > 300).sum() - 1 == holes
    left, top, right, bottom = cut.box
    assert left > 60 and top > 100 and right < 964 and bottom < 960
