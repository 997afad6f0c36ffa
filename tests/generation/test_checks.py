"""Test the automatic checks of an image, which run before a person reviews it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from core.plugin_config import Config
from generation.checks import base
from generation.checks.base import CheckResult, Sample
from generation.engines.base import Pixels


def image(width: int = 64, height: int = 48) -> Pixels:
    ramp = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 3))
    return ramp.astype(np.uint8)


def run_check(name: str, pixels: Pixels, **facts: Any) -> CheckResult:
    return base.CHECKS.get(name)().inspect(Sample(pixels, facts))


def grainy(level: float, size: int = 1024) -> Pixels:
    noise = np.random.default_rng(4).normal(level, 3, (size, size, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


def test_every_check_says_something_of_every_image() -> None:
    files = [{"slug": "shop", "width": 64, "height": 48, "scale": 1.0, "problem": ""}]
    check_results = base.run_checks(Sample(image(), {"files": files}))
    assert [check_result.check for check_result in check_results] == [check.name for check in base.CHECKS]
    assert {check_result.outcome for check_result in check_results} == {"pass"}
    assert all(
        check_result.message.endswith(".") and len(check_result.message) <= 300 for check_result in check_results
    )


def test_a_black_image_fails() -> None:
    check_result = run_check("blank", np.zeros((512, 512, 3), np.uint8))
    assert check_result.outcome == "fail"
    assert "black" in check_result.message


@pytest.mark.parametrize("level", [0.0, 128.0, 250.0])
def test_grain_alone_is_not_an_image(level: float) -> None:
    assert run_check("blank", grainy(level)).outcome == "fail"


def test_a_flat_colour_fails_and_is_named() -> None:
    check_result = run_check("blank", np.full((600, 600, 3), (181, 101, 29), np.uint8))
    assert check_result.outcome == "fail"
    assert "#b5651d" in check_result.message


def test_a_white_plate_on_white_is_an_image() -> None:
    y, x = np.mgrid[0:512, 0:512]
    plate = np.where(np.hypot(x - 256, y - 256) < 150, 246, 250)
    assert run_check("blank", np.repeat(plate[..., None], 3, axis=2).astype(np.uint8)).outcome == "pass"


def test_a_small_subject_on_a_flat_backdrop_is_an_image() -> None:
    pixels = np.full((1024, 1024, 3), 255, np.uint8)
    pixels[500:540, 500:540] = (40, 60, 90)
    assert run_check("blank", pixels).outcome == "pass"


def test_a_dark_image_with_something_in_it_passes() -> None:
    pixels = np.zeros((512, 512, 3), np.uint8)
    pixels[200:300, 200:300] = 40
    assert run_check("blank", pixels).outcome == "pass"


def test_a_wholly_transparent_image_fails() -> None:
    pixels = np.dstack([image(), np.zeros((48, 64), np.uint8)])
    assert run_check("pixels", pixels).outcome == "fail"


def test_an_image_of_another_size_than_asked_fails_and_names_both() -> None:
    assert run_check("dimensions", image(), wanted=[64, 48]).outcome == "pass"
    check_result = run_check("dimensions", image(), wanted=[64, 64])
    assert check_result.outcome == "fail"
    assert "64 × 48" in check_result.message
    assert "64 × 64" in check_result.message


SPECS = [{"slug": "thumb", "width": 200, "height": 200}, {"slug": "shop", "width": 1200, "height": 1200}]


def test_a_small_photo_is_flagged_for_the_largest_spec() -> None:
    check_result = run_check("photo_size", image(), photo=[420, 420], specs=SPECS)
    assert check_result.outcome == "flag"
    assert check_result.score == 2.86
    assert "420 × 420 px; shop wants 1200 × 1200 px" in check_result.message


@pytest.mark.parametrize("photo", [[1024, 1024], [800, 3000], None])
def test_a_large_enough_photo_or_none_passes(photo: list[int] | None) -> None:
    assert run_check("photo_size", image(), photo=photo, specs=SPECS).outcome == "pass"


@pytest.fixture
def broken() -> Iterator[str]:
    class Broken:
        name, label, config = "broken", "Broken", Config

        def inspect(self, sample: Sample) -> CheckResult:
            raise ZeroDivisionError("nothing to divide by")

    base.CHECKS.register(Broken.name, Broken)
    yield Broken.name
    base.CHECKS.remove(Broken.name)


def test_a_check_that_breaks_is_a_flag_and_loses_no_image(broken: str) -> None:
    check_result = base.run_checks(Sample(image(), {}))[-1]
    assert (check_result.check, check_result.outcome) == (broken, "flag")
    assert "ZeroDivisionError" in check_result.message


def test_two_checks_of_one_name_are_refused(broken: str) -> None:
    class SecondBroken:
        name, label, config = broken, "Broken, too", Config

        def inspect(self, sample: Sample) -> CheckResult:
            return CheckResult(broken, "pass", "Fine.")

    with pytest.raises(ValueError, match="two plug-ins called 'broken'"):
        base.CHECKS.register(broken, SecondBroken)


def test_alpha_is_seen_over_white() -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 3] = 128
    assert abs(int(Sample(pixels).rgb.mean()) - 127) <= 1
