"""Test images that are made in several passes, on tiny models."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path

import numpy as np
import pytest

from generation.engines import base
from generation.engines.base import EngineError, ErrorKind, ImageRef
from tests.support.tiny_models import SIZE, RecordingContext, encode_png, largest_difference, photograph, pixels, task

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")


def engine_with(model: Path, **config):
    return base.build("diffusers", {"model": str(model), "device": "cpu", "dtype": "float32", **config})


def recipe_task(number: int, recipe, **changes):
    return task(number, parameters={"steps": 4, "guidance": 5.0, "recipe": recipe}, **changes)


HIRES = [{"do": "text"}, {"do": "enlarge", "scale": 2, "strength": 0.5}]


@pytest.fixture(params=["sd", "sd3", "flux"])
def engine(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]):
    model = tiny_model(request.param)
    refiner = str(tiny_model("sdxl-refiner"))
    return engine_with(model, refiner=refiner)


@pytest.fixture
def pipeline_calls(engine, monkeypatch) -> list[dict]:
    """Return the arguments of each call of the engine's image-to-image pipeline."""
    kind = type(engine._load().pipeline_for("image"))
    real, calls = kind.__call__, []

    @wraps(real)
    def watched(self, **arguments):
        calls.append(arguments)
        return real(self, **arguments)

    monkeypatch.setattr(kind, "__call__", watched)
    return calls


def levels(tensor) -> np.ndarray:
    return (tensor[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def test_refining_goes_over_the_image_again(engine, pipeline_calls):
    plain = pixels(engine, [task(0)])[0]
    refined = pixels(engine, [recipe_task(0, [{"do": "refine", "strength": 0.5}])])[0]
    assert largest_difference(plain, refined) > 5
    assert (
        len(pipeline_calls) == 1
        and pipeline_calls[0]["strength"] == 0.5
        and pipeline_calls[0]["num_inference_steps"] == 4
    )
    assert largest_difference(levels(pipeline_calls[0]["image"]), plain) <= 1
    refined_twice = pixels(engine, [recipe_task(0, [{"do": "refine", "strength": 0.5}] * 2)])[0]
    assert (
        largest_difference(levels(pipeline_calls[-1]["image"]), refined) <= 1
        and largest_difference(refined_twice, refined) > 2
    )


def test_the_refiner_is_another_model_and_batches_alike(engine):
    recipe = [{"do": "refine", "strength": 0.5, "model": "refiner"}]
    batch = [recipe_task(number, recipe) for number in range(3)]
    together = pixels(engine, batch)
    for single in batch:
        assert largest_difference(pixels(engine, [single])[single.id], together[single.id]) <= 2
    own = pixels(engine, [recipe_task(0, [{"do": "refine", "strength": 0.5}])])[0]
    assert largest_difference(own, together[0]) > 2
    assert type(engine._load().refiner.pipeline_for("image")).__name__ == "StableDiffusionXLImg2ImgPipeline"


def test_a_small_image_is_enlarged_and_worked_over(engine, pipeline_calls):
    context = RecordingContext()
    made = pixels(engine, [recipe_task(0, HIRES, width=2 * SIZE, height=2 * SIZE)], context)[0]
    assert made.shape == (2 * SIZE, 2 * SIZE, 3)
    larger = levels(pipeline_calls[0]["image"])
    small = pixels(engine, [task(0)])[0]
    assert larger.shape == made.shape and largest_difference(larger, made) > 5
    assert np.abs(larger.reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3)) - small).mean() < 5
    assert [(step, steps) for _, step, steps in context.steps] == [(n, 6) for n in range(1, 7)]


def test_a_recipe_is_part_of_the_batch_and_of_the_facts(engine):
    once, twice = [{"do": "refine"}], [{"do": "text"}, {"do": "refine", "strength": 0.3, "model": ""}]
    assert engine.batch_key(recipe_task(0, once).spec) == engine.batch_key(recipe_task(1, twice).spec)
    assert engine.batch_key(recipe_task(0, once).spec) != engine.batch_key(task(0).spec)
    result = next(iter(engine.generate([recipe_task(0, [{"do": "refine", "strength": 0.5}])], RecordingContext())))
    assert result.facts["recipe"] == [{"do": "refine", "strength": 0.5, "model": ""}]


def test_what_is_outside_a_mask_stays_through_a_recipe(tiny_model):
    engine = engine_with(tiny_model("sd"))
    photo, mask = photograph(), np.pad(np.full((32, 32), 255, np.uint8), 16)
    images = {"init": ImageRef("i", "i"), "mask": ImageRef("m", "m")}
    refine_task = recipe_task(0, [{"do": "refine", "strength": 0.5}], images=images)
    made = pixels(engine, [refine_task], RecordingContext({"i": encode_png(photo), "m": encode_png(mask)}))[0]
    assert np.array_equal(made[mask == 0], photo[mask == 0]) and largest_difference(made, photo) > 10


def test_giving_up_in_the_first_pass_ends_the_batch(tiny_model):
    context = RecordingContext()
    context.cancel_all_after = 1
    results = list(
        engine_with(tiny_model("sd")).generate([recipe_task(0, [{"do": "refine", "strength": 0.9}])], context)
    )
    assert [result.error.kind for result in results] == [ErrorKind.CANCELLED]
    assert len(context.steps) <= 2


def test_recipes_that_cannot_be_are_explained(tiny_model):
    engine = engine_with(tiny_model("sd"))

    def problems(recipe, **changes):
        return " ".join(engine.validate(recipe_task(0, recipe, **changes).spec))

    assert "it is a list of steps" in problems("refine twice")
    assert "Step 2 of the recipe is {'do': 'polish'}" in problems([{"do": "text"}, {"do": "polish"}])
    assert 'Step 2 of the recipe is "text"' in problems([{"do": "refine"}, {"do": "text"}])
    assert "strength is 2" in problems([{"do": "refine", "strength": 2}])
    assert "says scale" in problems([{"do": "refine", "scale": 2}])
    assert "has none" in problems([{"do": "refine", "model": "refiner"}]) and "names the model" in problems(
        [{"do": "refine", "model": "other"}]
    )
    assert "would be under 64 pixels" in problems(HIRES)
    start = {"init": ImageRef("i", "i")}
    assert "only what is made from words" in problems(HIRES, width=128, height=128, images=start)
    assert "at most 6" in problems([{"do": "refine"}] * 7)
    assert problems(HIRES, width=128, height=128) == ""


def test_a_refiner_that_is_none_is_refused(tiny_model, tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "AudioPipeline"}')
    engine = engine_with(tiny_model("sd"), refiner=str(tmp_path))
    with pytest.raises(EngineError, match=r"refiner .* could not be loaded: it is a AudioPipeline"):
        list(engine.generate([recipe_task(0, [{"do": "refine", "model": "refiner"}])], RecordingContext()))
