"""Tests of colours and palettes: names, distances, the colours of an image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.photos import colours

PAINTED = ["#f4f2ec", "#b9603c", "#2b3650", "#6f7f58", "#cf9a35"]
HEXES = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


def _painted(hexes: list[str], *, width: int = 150, height: int = 120) -> np.ndarray:
    """Return vertical stripes; the first is twice as wide as each of the others."""
    image = np.zeros((height, width, 3), np.uint8)
    edges = np.linspace(0, width, len(hexes) + 2).astype(int)[1:]
    edges[0] = 0
    for left, right, colour in zip(edges[:-1], edges[1:], hexes, strict=True):
        image[:, left:right] = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)
    return image


def test_the_colours_of_an_image_are_found_largest_first_each_with_a_name_of_its_own() -> None:
    swatches = colours.extract_palette(_painted(PAINTED))
    assert colours.colour_difference(swatches[0]["hex"], PAINTED[0]) < 1
    assert all(min(colours.colour_difference(colour, swatch["hex"]) for swatch in swatches) < 2 for colour in PAINTED)
    assert len({swatch["name"] for swatch in swatches}) == len(swatches) == 5


def test_the_same_image_always_gives_the_same_colours() -> None:
    noise = np.random.default_rng(3).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    first = colours.extract_palette(noise)
    assert first == colours.extract_palette(noise) and colours.MIN_COLOURS <= len(first) <= colours.MAX_COLOURS


def test_a_small_accent_is_not_lost_in_a_large_calm_image() -> None:
    image = np.full((300, 300, 3), 236, np.uint8)
    image[:, ::2] -= 8
    image[130:150, 130:150] = (208, 49, 45)  # 0.4 % of the area
    assert any(colours.colour_difference("#d0312d", swatch["hex"]) < 6 for swatch in colours.extract_palette(image))


def test_what_is_transparent_has_no_colour() -> None:
    image = np.dstack([_painted(PAINTED[:2]), np.full((120, 150), 255, np.uint8)])
    image[:, 75:, 3] = 0
    image[:, 75:, :3] = (0, 255, 0)
    assert all(colours.colour_difference("#00ff00", swatch["hex"]) > 20 for swatch in colours.extract_palette(image))
    image[..., 3] = 0
    assert colours.extract_palette(image) == []


def test_a_single_colour_is_one_swatch() -> None:
    assert [swatch["hex"] for swatch in colours.extract_palette(np.full((40, 40, 3), 120, np.uint8))] == ["#787878"]


@given(HEXES)
def test_a_colour_survives_oklab_and_back(colour: str) -> None:
    assert colours.hex_of(colours.lab_of(colour)) == colour
    assert colours.contrast_ratio(colour, colours.readable_ink(colour)) >= 4.5


def test_distances_are_those_that_eyes_see() -> None:
    assert colours.colour_difference("#b9603c", "#b9603c") == 0
    assert colours.colour_difference("#ffffff", "#000000") == pytest.approx(100, abs=0.1)
    assert (
        colours.colour_difference("#f4f2ec", "#f5f3ed")
        < colours.JUST_NOTICEABLE
        < colours.colour_difference("#f4f2ec", "#d8c7a6")
    )


@pytest.mark.parametrize(
    ("colour", "name"),
    [("#ffffff", "White"), ("#2b3650", "Ink"), ("#b9603c", "Terracotta"), ("#0a0a0a", "Black"), ("#b4bfa6", "Sage")],
)
def test_a_colour_has_the_name_that_people_use(colour: str, name: str) -> None:
    assert colours.names_of([colour]) == [name]


def test_equal_names_are_distinguished_by_lightness_and_number() -> None:
    named = colours.names_of(["#d0312d", "#d2332e", "#c92f2b", "#cb2f2a"])
    assert named[0] == "Red" and len(set(named)) == 4 and all("red" in name.lower() for name in named)


@pytest.mark.parametrize(("text", "colour"), [("B5651D", "#b5651d"), (" #b5651d ", "#b5651d"), ("#ABC", "#aabbcc")])
def test_a_colour_is_read_as_people_write_it(text: str, colour: str) -> None:
    assert colours.normalise_hex(text) == colour


@pytest.mark.parametrize("text", ["red", "#12345", "", "#1234567", "rgb(1,2,3)", "#ggg"])
def test_what_is_no_colour_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="six hexadecimal digits"):
        colours.normalise_hex(text)


def test_look_alikes_and_products_that_vanish_are_reported() -> None:
    chalk, oat, white = ({"name": n, "hex": h} for n, h in [("Chalk", "#f4f2ec"), ("Oat", "#d8c7a6"), ("W", "#ffffff")])
    milk = {"name": "Milk", "hex": "#f3f1ea"}
    alike = colours.similar_colour_remarks([chalk, oat, milk])
    assert len(alike) == 1 and alike[0].startswith("Chalk and Milk cannot be told apart")
    oat_like = {"name": "Linen", "hex": "#d6c5a5"}
    faint = colours.low_contrast_remarks([chalk, oat], [white, milk, oat_like])
    assert [remark.partition(":")[0] for remark in faint] == [
        "A product in Chalk hardly shows on W and Milk",
        "A product in Oat hardly shows on Linen",
    ]
