"""Test repainting on tiny models: which part of an image is made anew under a mask, and which part stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from generation.engines import base
from generation.engines.base import ErrorKind, ImageRef, Task
from tests.support.tiny_models import SIZE, RecordingContext, encode_png, largest_difference, photograph, pixels, task

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")


@pytest.fixture
def sd_folder(tiny_model: Callable[[str], Path]) -> Path:
    return tiny_model("sd")


@pytest.fixture(params=["sd", "sdxl", "sd3", "flux"])
def engine(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]):
    folder = tiny_model(request.param)
    return base.build("diffusers", {"model": str(folder), "device": "cpu", "dtype": "float32"})


def square(start: int = 24, end: int = 56) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[start:end, start:end] = 255
    return mask


def repaint(number: int, init: str = "init", mask: str = "mask", **parameters) -> Task:
    images = {"init": ImageRef(init, init), "mask": ImageRef(mask, mask)}
    return task(number, images=images, parameters={"steps": 4, "guidance": 5.0, **parameters})


def test_outside_the_mask_every_pixel_stays_and_inside_it_is_made_anew(engine):
    image, mask = photograph(), square()
    context = RecordingContext({"init": encode_png(image), "mask": encode_png(mask)})
    made = pixels(engine, [repaint(0)], context)[0]
    assert largest_difference(made[mask == 0], image[mask == 0]) == 0
    inside = np.abs(made[32:48, 32:48].astype(int) - image[32:48, 32:48])
    assert inside.mean() > 10
    other = pixels(engine, [repaint(0), repaint(1)], context)[1]
    assert largest_difference(made[32:48, 32:48], other[32:48, 32:48]) > 5  # another seed and prompt


def test_a_batch_of_repaints_equals_its_singles(engine):
    context = RecordingContext(
        {"init": encode_png(photograph()), "other": encode_png(photograph(1)), "mask": encode_png(square())}
    )
    context.files["low"] = encode_png(square(40, 64))
    batch = [repaint(0), repaint(1, init="other"), repaint(2, mask="low"), repaint(3, init="other", mask="low")]
    assert len({engine.batch_key(repaint_task.spec) for repaint_task in batch}) == 1
    together = pixels(engine, batch, context)
    for single in batch:
        assert largest_difference(pixels(engine, [single], context)[single.id], together[single.id]) <= 2


def test_the_weights_are_in_memory_once(engine):
    loaded = engine._load()
    for other in (loaded.pipeline_for("image"), loaded.pipeline_for("inpaint")):
        assert other.components.keys() == loaded.text.components.keys()
        assert all(
            other.components[name] is part for name, part in loaded.text.components.items() if name != "scheduler"
        )
    assert type(loaded.pipeline_for("inpaint")).__name__.endswith("InpaintPipeline")


def test_the_seam_lies_within_the_mask_and_is_soft():
    from generation.engines.canvas import read

    files = {
        "init": encode_png(np.zeros((640, 640, 3), np.uint8)),
        "mask": encode_png(np.kron(square(), np.ones((10, 10))) > 0),
    }
    context = RecordingContext(files)
    canvas = read(repaint(0).spec.__class__(**{**vars(repaint(0).spec), "width": 640, "height": 640}), context)
    laid = canvas.with_repainted(np.full((640, 640, 3), 200, np.uint8))[400, :, 0].astype(int)
    assert laid[:240].max() == 0 and laid[560:].max() == 0 and np.all(laid[256:544] == 200)
    assert np.all(np.diff(laid[235:260]) >= 0) and np.diff(laid[235:260]).max() < 60
    assert canvas.cell_mask(8).max() == 1 and set(np.unique(canvas.cell_mask(8))) == {0.0, 1.0}


def test_every_cell_that_a_mask_touches_is_given_to_the_model():
    from generation.engines.canvas import Canvas

    line = np.zeros((64, 64), np.float32)
    line[:, 33] = 1  # a line one pixel wide between the centres of two cells
    marked = Canvas(np.zeros((64, 64, 3), np.uint8), line).cell_mask(8)
    assert np.all(marked[:, 32:40] == 1) and marked.sum() == 64 * 8


def test_a_cut_out_as_the_mask_keeps_the_product_and_remakes_what_is_around_it(engine):
    image = photograph()
    alpha = square()
    cutout = np.dstack([image, alpha])
    made = pixels(engine, [repaint(0)], RecordingContext({"init": encode_png(image), "mask": encode_png(cutout)}))[0]
    assert largest_difference(made[alpha == 255], image[alpha == 255]) == 0
    assert np.abs(made[:16, :16].astype(int) - image[:16, :16]).mean() > 10


def test_an_image_of_other_proportions_is_cropped_not_squeezed(engine):
    wide = photograph(width=2 * SIZE)
    context = RecordingContext(
        {
            "init": encode_png(wide),
            "mask": encode_png(np.zeros((SIZE, 2 * SIZE), np.uint8) + np.pad(square()[:, :32], ((0, 0), (48, 48)))),
        }
    )
    made = pixels(engine, [repaint(0)], context)[0]
    middle = wide[:, 32 : 32 + SIZE]
    kept = np.pad(square()[:, :32], ((0, 0), (48, 48)))[:, 32 : 32 + SIZE] == 0
    assert largest_difference(made[kept], middle[kept]) == 0


def test_an_image_that_cannot_be_repainted_is_reported_and_the_others_of_the_batch_are_made(engine):
    files = {
        "init": encode_png(photograph()),
        "mask": encode_png(square()),
        "black": encode_png(np.zeros((SIZE, SIZE), np.uint8)),
        "wide": encode_png(np.full((SIZE, 2 * SIZE), 255, np.uint8)),
        "junk": b"no image",
    }
    batch = [repaint(0, mask="black"), repaint(1, mask="wide"), repaint(2, init="junk"), repaint(3)]
    results = {result.task_id: result for result in engine.generate(batch, RecordingContext(files))}
    assert sorted(results) == [0, 1, 2, 3] and results[3].error is None
    messages = [results[number].error.message for number in range(3)]
    assert all(results[number].error.kind == ErrorKind.INPUT for number in range(3))
    assert "marks nothing" in messages[0] and "128 × 64" in messages[1] and "start image is no image" in messages[2]


def test_a_mask_alone_or_a_change_without_a_step_is_refused_before_anything_is_made(sd_folder):
    engine = base.build("diffusers", {"model": str(sd_folder)})
    assert engine.capabilities().optional_images == {"init", "mask", "cutout"}
    alone = task(0, images={"mask": ImageRef("m", "m")})
    assert any("no image to repaint" in problem for problem in engine.validate(alone.spec))
    faint = task(0, images={"init": ImageRef("i", "i")}, parameters={"steps": 4, "strength": 0.2})
    assert engine.validate(faint.spec) == [
        "A change of 0.2 in 4 steps leaves no step to work in; take at least 5 steps."
    ]
    assert engine.validate(repaint(0).spec) == []
    keys = {
        engine.batch_key(image_task.spec)
        for image_task in (task(0), task(0, images={"init": ImageRef("i", "i")}), repaint(0))
    }
    assert len(keys) == 3


def test_a_small_autoencoder_repaints_too(sd_folder, tmp_path):
    """Use AutoencoderTiny, whose encoder has no distribution to sample from."""
    vae = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1), latent_channels=4,
    )  # fmt: skip
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(sd_folder, vae=vae, safety_checker=None)
    pipe.save_pretrained(tmp_path / "tiny-vae", safe_serialization=True)
    engine = base.build("diffusers", {"model": str(tmp_path / "tiny-vae"), "device": "cpu", "dtype": "float32"})
    image, mask = photograph(), square()
    made = pixels(engine, [repaint(0)], RecordingContext({"init": encode_png(image), "mask": encode_png(mask)}))[0]
    assert largest_difference(made[mask == 0], image[mask == 0]) == 0 and largest_difference(made, image) > 10
