"""Test, on tiny models, scenes that a model makes around a kept product, and images extended to their frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from campaigns.photos import cutout
from generation.engines import base
from generation.engines.base import ErrorKind, ImageRef
from generation.engines.diffusers.sources import parse_product as parse
from generation.engines.diffusers.sources import place_product
from generation.engines.packshot import studio
from tests.support.product_assertions import assert_product_unchanged
from tests.support.scenes import scene
from tests.support.tiny_models import RecordingContext, encode_png, largest_difference, photograph, pixels, task

pytest.importorskip("torch")
pytest.importorskip("diffusers")

FRAME = {"width": 256, "height": 192}


def product(kind: str = "vase") -> np.ndarray:
    made = scene(kind, shade=0, noise=0, quality=100)
    rgba = np.dstack([made.pixels, (made.alpha * 255 + 0.5).astype(np.uint8)])
    rows, columns = np.flatnonzero(made.alpha.max(axis=1) > 0.05), np.flatnonzero(made.alpha.max(axis=0) > 0.05)
    return np.ascontiguousarray(rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


@pytest.fixture(params=["sd", "flux"])
def engine(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]):
    return base.build("diffusers", {"model": str(tiny_model(request.param)), "device": "cpu", "dtype": "float32"})


@pytest.fixture
def sd(tiny_model: Callable[[str], Path]):
    return base.build("diffusers", {"model": str(tiny_model("sd")), "device": "cpu", "dtype": "float32"})


def keep_product_task(number: int, key: str = "vase", **parameters):
    settings = {"steps": 3, "guidance": 5.0, "keep_product": True, **parameters}
    return task(number, images={"cutout": ImageRef(key, key)}, parameters=settings, **FRAME)


def test_inside_the_eroded_mask_every_pixel_is_the_scaled_photo_and_the_scene_is_the_models(engine):
    rgba = {name: product(name) for name in ("vase", "mug")}
    context = RecordingContext({name: cutout.to_png(image) for name, image in rgba.items()})
    batch = [keep_product_task(0), keep_product_task(1, "mug")]
    results = {result.task_id: result for result in engine.generate(batch, context)}
    for number, name in enumerate(("vase", "mug")):
        made = results[number]
        assert made.error is None and made.pixels.shape == (192, 256, 3)
        assert_product_unchanged(made.pixels, rgba[name], made.facts["subject_box"], least=1500)
        assert made.pixels[:20].std() > 10  # not the grey that it started from
    alone = pixels(engine, [batch[1]], context)[1]
    assert largest_difference(alone, results[1].pixels) <= 2


def test_the_shadow_lies_on_the_scene_and_the_edge_is_mixed_into_it():
    rgba = product()
    scene_made = np.full((192, 256, 3), 200, np.uint8)
    with_shadow = place_product(rgba, parse({"shadow": "contact"})[0], 256, 192)
    without = place_product(rgba, parse({"shadow": "none"})[0], 256, 192)
    dark, plain = with_shadow.with_repainted(scene_made), without.with_repainted(scene_made)
    stands = studio.place_product(rgba, parse({})[0], 256, 192, has_scene=True)
    below = np.s_[stands.bottom : stands.bottom + 4, int(stands.centre) - 5 : int(stands.centre) + 5]
    assert np.all(plain[below] == 200) and dark[below].mean() < 185
    assert np.all(dark[:10] == 200)
    assert_product_unchanged(dark, rgba, with_shadow.subject_box, least=1500)
    alpha = np.zeros((192, 256), np.uint8)
    alpha[stands.top : stands.bottom, stands.left : stands.right] = stands.alpha
    soft = (alpha > 40) & (alpha < 215)
    black, white = (without.with_repainted(np.full((192, 256, 3), level, np.uint8)).astype(int) for level in (0, 255))
    shown = (white - black)[soft].mean(axis=1)
    assert np.abs(shown - (255 - alpha[soft].astype(int))).max() <= 2
    assert np.all(scene_made == 200)


def test_the_model_sees_the_product_and_is_given_all_that_is_around_it():
    rgba = product()
    canvas = place_product(rgba, parse({"fill": 0.7, "baseline": 0.85})[0], 256, 192)
    left, top, right, bottom = canvas.subject_box
    assert bottom - top == pytest.approx(0.7, abs=0.01) and bottom <= 0.86
    marked = canvas.cell_mask(8)
    middle = int((top + bottom) / 2 * 192), int((left + right) / 2 * 256)
    assert marked[middle] == 0 and marked[4, 4] == 1 and 0.4 < marked.mean() < 1
    assert np.array_equal(np.unique(canvas.init[:8]), [216])


def test_what_keeping_a_product_needs_is_reported(sd):
    def problems(**changes):
        return " ".join(sd.validate(task(0, **FRAME, **changes).spec))

    assert "needs the product's accepted cut-out" in problems(parameters={"keep_product": True})
    both = {"cutout": ImageRef("c", "c"), "init": ImageRef("i", "i")}
    assert "leave out the init" in problems(parameters={"keep_product": "yes"}, images=both)
    assert "exclude each other" in problems(parameters={"keep_product": True, "extend": True}, images=both)
    assert "fill is" in problems(parameters={"keep_product": True, "fill": 4}, images={"cutout": both["cutout"]})
    assert sd.validate(keep_product_task(0, fill=0.6, shadow="soft").spec) == []
    assert sd.validate(task(0, parameters={"keep_product": "no"}).spec) == []
    keys = {
        sd.batch_key(kept_task.spec)
        for kept_task in (
            keep_product_task(0),
            keep_product_task(1, "mug"),
            keep_product_task(0, fill=0.5),
            task(0, **FRAME),
        )
    }
    assert len(keys) == 3
    results = list(
        sd.generate(
            [keep_product_task(0, "junk"), keep_product_task(1)],
            RecordingContext({"junk": b"no", "vase": cutout.to_png(product())}),
        )
    )
    kinds = {result.task_id: result.error and result.error.kind for result in results}
    assert kinds == {0: ErrorKind.INPUT, 1: None}


# -- an image extended to its frame ------------------------------------------------------------------------------------


def extend_task(number: int, key: str = "photo", **parameters):
    settings = {"steps": 3, "guidance": 5.0, **parameters}
    return task(number, images={"init": ImageRef(key, key)}, parameters=settings, width=128, height=64)


def test_an_image_is_continued_around_and_its_own_pixels_stay(engine):
    photo = photograph(width=64, height=64)
    context = RecordingContext({"photo": encode_png(photo), "other": encode_png(photograph(1, width=64, height=64))})
    made = pixels(engine, [extend_task(0, extend=True), extend_task(1, "other", extend=True)], context)
    assert np.array_equal(made[0][:, 32:96], photo)
    assert made[0][:, :24].std() > 5 and largest_difference(made[0][:, :24], made[1][:, :24]) > 5
    edge = np.repeat(photo[:, :1], 24, axis=1)
    assert np.abs(made[0][:, :24].astype(int) - edge).mean() > 8
    assert largest_difference(pixels(engine, [extend_task(0, extend=True)], context)[0], made[0]) <= 2


def test_the_margins_are_pixels_or_shares_of_the_frame(sd):
    photo = photograph(width=96, height=48)
    context = RecordingContext({"photo": encode_png(photo)})
    made = pixels(sd, [extend_task(0, outpaint={"left": 0.25, "bottom": 16})], context)[0]
    assert np.array_equal(made[:48, 32:], photo)
    small = cv2.resize(photo, (48, 24), interpolation=cv2.INTER_AREA)
    made = pixels(sd, [extend_task(0, outpaint={"left": 80, "top": 40})], context)[0]
    assert np.abs(made[40:, 80:].astype(int) - small).mean() < 12


def test_an_image_that_fills_its_frame_already_is_given_back(sd):
    photo = photograph(width=128, height=64)
    made = pixels(sd, [extend_task(0, extend=True)], RecordingContext({"photo": encode_png(photo)}))[0]
    assert np.array_equal(made, photo)


def test_margins_that_cannot_be_are_explained(sd):
    def problems(outpaint):
        return " ".join(sd.validate(extend_task(0, outpaint=outpaint).spec))

    assert "{'up': 3}" in problems({"up": 3}) and "left is 'wide'" in problems({"left": "wide"})
    assert "less than a tenth of 128" in problems({"left": 0.5, "right": 0.45})
    assert "left is 'inf'" in problems({"left": "inf"}) and "left is 'nan'" in problems({"left": "nan"})
    assert "adds nothing" in problems({"left": 0})
    assert problems({"left": 0.5}) == ""
    assert any("needs a start image" in problem for problem in sd.validate(task(0, parameters={"extend": True}).spec))
