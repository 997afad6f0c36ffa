"""Test visible labels by their pixels: where they are, what they leave alone, and whether they can be read."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from campaigns import visible_labels
from campaigns.visible_labels import CORNERS, Label, measure
from generation.engines.base import Pixels
from generation.finishing.base import Target
from generation.finishing.develop import develop
from generation.finishing.labels import draw_label
from tests.support.found_images import make

LABEL = Label("AI-generated", "bottom-right", 6)
SIZE = (640, 400)
GROUNDS = {
    "black": np.zeros((400, 640, 3), np.uint8),
    "white": np.full((400, 640, 3), 255, np.uint8),
    "grey": np.full((400, 640, 3), 118, np.uint8),
    "photo": make(9, size=640)[:400],
    "texture": np.random.default_rng(1).integers(0, 256, (400, 640, 3), dtype=np.uint8),
}


def box_of(label: Label, width: int, height: int) -> tuple[slice, slice]:
    """Return rows and columns of the label."""
    measures = measure(label, width, height)
    rows = slice(measures.margin, measures.margin + measures.height)
    columns = slice(measures.margin, measures.margin + measures.width)
    if label.corner.startswith("bottom"):
        rows = slice(height - rows.stop, height - rows.start)
    if label.corner.endswith("right"):
        columns = slice(width - columns.stop, width - columns.start)
    return rows, columns


def luminance(pixels: Pixels) -> NDArray[np.float64]:
    """Return the relative luminance of WCAG 2 for each pixel."""
    shares = pixels[..., :3] / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ np.array([0.2126, 0.7152, 0.0722]))


def contrast(shown: Pixels, label: Label) -> float:
    """Return the contrast between the darkest tenth of the letters' pixels and the brightest tenth of the plate's.

    The pixels of letters and plate are known from the label on black, where all bright pixels are letters.
    """
    height, width = shown.shape[:2]
    rows, columns = box_of(label, width, height)
    drawn = draw_label(np.zeros((height, width, 3), np.uint8), label)[rows, columns]
    radius = drawn.shape[0] // 3
    inner = np.zeros(drawn.shape[:2], bool)
    inner[1:-1, radius:-radius] = True
    levels = luminance(shown[rows, columns])
    letters = np.percentile(levels[drawn[..., 0] > 250], 10)
    plate = np.percentile(levels[inner & (drawn[..., 0] < 16)], 90)
    return float((letters + 0.05) / (plate + 0.05))


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("ground", GROUNDS)
def test_only_the_corner_changes(ground: str, corner: str) -> None:
    label, pixels = replace(LABEL, corner=corner), GROUNDS[ground]
    before = pixels.copy()
    labelled = draw_label(pixels, label)
    assert np.array_equal(pixels, before), "the argument may be shared"
    rows, columns = box_of(label, *SIZE)
    elsewhere = np.ones(pixels.shape[:2], bool)
    elsewhere[rows, columns] = False
    assert np.array_equal(labelled[elsewhere], pixels[elsewhere])
    assert (labelled[rows, columns] != pixels[rows, columns]).any(axis=2).mean() > (0.1 if ground == "black" else 0.95)


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("percent", [4, 15])
def test_the_letters_stand_out_on_any_ground(ground: str, percent: int) -> None:
    label = replace(LABEL, percent=percent)
    assert contrast(draw_label(GROUNDS[ground], label), label) >= 8


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("ground", ["white", "photo", "texture"])
def test_the_letters_of_a_file_can_be_read(ground: str, image_format: str) -> None:
    target = Target("shop", *SIZE, image_format, label=LABEL)
    [(_target, file)] = develop(GROUNDS[ground], {}, [target]).renditions
    with Image.open(io.BytesIO(file.data)) as image:
        assert contrast(np.asarray(image.convert("RGB")), LABEL) >= 4.5


@pytest.mark.parametrize("page", [0, 255])
def test_the_label_of_a_transparent_image_can_be_read_on_any_page(page: int) -> None:
    clear = np.zeros((400, 640, 4), np.uint8)
    labelled = draw_label(clear, LABEL)
    rows, columns = box_of(LABEL, *SIZE)
    assert labelled[0, 0, 3] == 0 and labelled[rows, columns][12, 12, 3] > 190
    share = labelled[..., 3:] / 255
    shown = np.rint(labelled[..., :3] * share + page * (1 - share)).astype(np.uint8)
    assert contrast(shown, LABEL) >= 8
    rest = labelled.copy()
    rest[rows, columns] = 0
    assert not rest.any()


def test_a_spec_without_a_label_gives_the_same_bytes_as_before_and_one_with_it_always_the_same() -> None:
    plain, labelled = Target("a", *SIZE, "jpeg"), Target("b", *SIZE, "jpeg", label=LABEL)
    image = make(13, size=640)
    first, second = (develop(image, {}, [labelled, plain]) for _ in range(2))
    files = {target.slug: file for target, file in first.renditions}
    assert [file.sha256 for _, file in second.renditions] == [file.sha256 for _, file in first.renditions]
    [(_target, alone)] = develop(image, {}, [plain]).renditions
    assert files["a"].sha256 == alone.sha256 != files["b"].sha256
    assert first.master.sha256 == second.master.sha256, "the master has no label"


def test_a_label_that_does_not_fit_is_no_half_label() -> None:
    with pytest.raises(ValueError, match=r"does not fit into 600 × 600 px"):
        draw_label(np.zeros((600, 600, 3), np.uint8), Label("W" * 40, percent=15))


@pytest.mark.parametrize(("text", "missing"), [
    ("AI-generated", ""), ("Made with AI (100 %)", ""), ("KI-generiert", ""), ("Généré par l’IA", "é"), ("ИИ AI", "И"),
    ("人工智能", "人工智能"), ("🤖 AI", "🤖"), ("AI\tgenerated", "\t"), ("AI\u00a0made", "\u00a0"),
])  # fmt: skip
def test_letters_that_the_font_lacks_are_named(text: str, missing: str) -> None:
    assert visible_labels.find_missing_letters(text) == missing
