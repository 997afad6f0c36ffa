"""Test ControlNets and reference images on tiny models: their effect, what they refuse and what stays unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from generation.engines import base
from generation.engines.base import EngineError, ErrorKind, ImageRef
from generation.engines.diffusers.sources import find_edges
from tests.support import tiny_models
from tests.support.tiny_models import SIZE, RecordingContext, encode_png, largest_difference, photograph, pixels, task

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")


def engine_with(model: Path, **config):
    return base.build("diffusers", {"model": str(model), "device": "cpu", "dtype": "float32", **config})


def control_task(number: int, roles: dict[str, str], **parameters):
    all_parameters = {"steps": 3, "guidance": 5.0, **parameters}
    return task(number, images={role: ImageRef(key, key) for role, key in roles.items()}, parameters=all_parameters)


def blocks(left: int, width: int) -> np.ndarray:
    image = np.full((SIZE, SIZE, 3), 40, np.uint8)
    image[16:48, left : left + width] = 220
    return image


@pytest.fixture
def context() -> RecordingContext:
    images = {"one": blocks(8, 20), "two": blocks(30, 24), "photo": photograph(3)}
    return RecordingContext({name: encode_png(image) for name, image in images.items()})


@pytest.fixture(params=["sd", "sdxl", "flux"])
def model(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> Path:
    return tiny_model(request.param)


@pytest.fixture
def engine(model: Path, tmp_path: Path):
    path = str(tiny_models.controlnet(model, tmp_path / "net"))
    return engine_with(model, controlnets={"canny": path, "depth": path})


def test_an_image_follows_the_edges_of_its_photo_and_batches_alike(engine, context):
    plain = pixels(engine, [control_task(0, {})], context)[0]
    batch = [control_task(0, {"photo": "one"}, control="canny"), control_task(0, {"photo": "two"}, control="canny")]
    batch[1] = base.Task(1, batch[1].spec)
    together = pixels(engine, batch, context)
    assert largest_difference(together[0], plain) > 5 and largest_difference(together[0], together[1]) > 5
    for single in batch:
        assert largest_difference(pixels(engine, [single], context)[single.id], together[single.id]) <= 2
    assert np.array_equal(plain, pixels(engine, [control_task(0, {})], context)[0])


def test_a_given_map_takes_the_place_of_the_edges(engine, context):
    context.files["edges"] = encode_png(find_edges(blocks(8, 20)))
    from_photo = pixels(engine, [control_task(0, {"photo": "one"}, control="canny")], context)[0]
    given = pixels(engine, [control_task(0, {"photo": "two", "control": "edges"}, control="canny")], context)[0]
    assert largest_difference(from_photo, given) <= 1
    as_depth = pixels(engine, [control_task(0, {"control": "two"}, control="depth")], context)[0]
    assert largest_difference(as_depth, from_photo) > 5


def test_strength_and_span_of_the_control_count(engine, context):
    full = pixels(engine, [control_task(0, {"photo": "one"}, control="canny")], context)[0]
    weak = pixels(engine, [control_task(0, {"photo": "one"}, control="canny", control_strength=0.2)], context)[0]
    late = pixels(engine, [control_task(0, {"photo": "one"}, control="canny", control_start=0.6)], context)[0]
    none = pixels(engine, [control_task(0, {"photo": "one"}, control="canny", control_strength=0)], context)[0]
    assert len({full.tobytes(), weak.tobytes(), late.tobytes(), none.tobytes()}) == 4
    other = pixels(engine, [control_task(0, {"photo": "two"}, control="canny", control_strength=0)], context)[0]
    assert np.array_equal(none, other)


def test_a_start_image_and_a_mask_go_with_a_map(engine, context):
    context.files["mask"] = encode_png(np.pad(np.full((32, 32), 255, np.uint8), 16))
    changed = pixels(engine, [control_task(0, {"init": "photo"}, control="canny", strength=0.7)], context)[0]
    assert (
        largest_difference(changed, pixels(engine, [control_task(0, {"init": "photo"}, strength=0.7)], context)[0]) > 2
    )
    part = pixels(engine, [control_task(0, {"init": "photo", "mask": "mask"}, control="canny")], context)[0]
    assert np.array_equal(part[:16], photograph(3)[:16]) and largest_difference(part, photograph(3)) > 10


def test_a_map_that_cannot_be_followed_is_explained(tiny_model, tmp_path, context):
    path = str(tiny_models.controlnet(tiny_model("sd"), tmp_path / "net"))
    engine = engine_with(tiny_model("sd"), controlnets={"canny": path, "depth": path})

    def problems(roles, **parameters):
        return " ".join(engine.validate(control_task(0, roles, **parameters).spec))

    assert "depth needs a finished map" in problems({"photo": "one"}, control="depth")
    assert "needs the reference photo" in problems({}, control="canny")
    assert "no ControlNet 'pose'" in problems({"control": "one"}, control="pose")
    assert "control_strength is 9" in problems({"control": "one"}, control="depth", control_strength=9)
    assert "not before control_end" in problems({"photo": "one"}, control="canny", control_start=0.5, control_end=0.5)
    assert problems({"photo": "one"}, control="none") == problems({"photo": "one"}, control="canny") == ""
    assert {"control", "photo"} <= engine.capabilities().optional_images
    assert "control" not in engine_with(tiny_model("sd")).capabilities().obeys
    sd3 = engine_with(tiny_model("sd3"), controlnets={"canny": path})
    assert any(
        "follows no map" in problem for problem in sd3.validate(control_task(0, {"init": "one"}, control="canny").spec)
    )
    with pytest.raises(ValueError, match="names scribble"):
        engine_with(tiny_model("sd"), controlnets={"scribble": path})


def test_a_controlnet_of_another_family_is_refused_by_name(tiny_model, tmp_path, context):
    for own, other in (("sdxl", "sd"), ("flux", "sd")):
        path = str(tiny_models.controlnet(tiny_model(other), tmp_path / own))
        engine = engine_with(tiny_model(own), controlnets={"canny": path})
        with pytest.raises(EngineError, match="ControlNet 'canny' does not fit this model") as refusal:
            list(engine.generate([control_task(0, {"photo": "one"}, control="canny")], context))
        assert refusal.value.kind == ErrorKind.INPUT


# -- an image to resemble ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["sd", "sdxl"])
def engine_with_reference(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path], tmp_path: Path):
    model = tiny_model(request.param)
    return engine_with(model, ip_adapter=tiny_models.ip_adapter(model, tmp_path / "adapter"))


def test_the_reference_counts_by_its_strength_and_leaves_no_trace(engine_with_reference, context):
    plain = pixels(engine_with_reference, [control_task(0, {})], context)[0]
    batch = [control_task(0, {"reference": "one"}), base.Task(1, control_task(0, {"reference": "photo"}).spec)]
    together = pixels(engine_with_reference, batch, context)
    assert largest_difference(together[0], plain) > 2 and largest_difference(together[0], together[1]) > 2
    for single in batch:
        assert largest_difference(pixels(engine_with_reference, [single], context)[single.id], together[single.id]) <= 2
    faint = pixels(engine_with_reference, [control_task(0, {"reference": "one"}, reference_strength=0.1)], context)[0]
    assert largest_difference(faint, plain) < largest_difference(together[0], plain)
    assert largest_difference(plain, pixels(engine_with_reference, [control_task(0, {})], context)[0]) <= 1
    unguided = pixels(engine_with_reference, [control_task(0, {"reference": "one"}, guidance=0)], context)[0]
    assert (
        largest_difference(unguided, pixels(engine_with_reference, [control_task(0, {}, guidance=0)], context)[0]) > 2
    )
    changed = pixels(
        engine_with_reference, [control_task(0, {"init": "two", "reference": "one"}, strength=0.7)], context
    )[0]
    assert (
        largest_difference(
            changed, pixels(engine_with_reference, [control_task(0, {"init": "two"}, strength=0.7)], context)[0]
        )
        > 2
    )


def test_a_reference_that_nobody_can_read_is_refused(tiny_model, tmp_path, context):
    engine = engine_with(tiny_model("sd"))
    assert any('no "ip_adapter"' in problem for problem in engine.validate(control_task(0, {"reference": "one"}).spec))
    flux = engine_with(tiny_model("flux"))
    assert any("takes no reference" in problem for problem in flux.validate(control_task(0, {"reference": "one"}).spec))
    other = tiny_models.ip_adapter(tiny_model("sdxl"), tmp_path / "adapter")
    wrong = engine_with(tiny_model("sd"), ip_adapter=other)
    plain = pixels(wrong, [control_task(0, {})], context)[0]
    with pytest.raises(EngineError, match=r"adapter\.safetensors does not fit this model"):
        list(wrong.generate([control_task(0, {"reference": "one"})], context))
    assert np.array_equal(plain, pixels(wrong, [control_task(0, {})], context)[0])
    with pytest.raises(ValueError, match="needs"):
        engine_with(tiny_model("sd"), ip_adapter={"folder": "x"})
