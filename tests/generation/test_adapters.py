"""Test LoRAs on tiny models: applied with weights, removed, refused by name, and part of the model identity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from generation.engines import base
from generation.engines.base import EngineError, ErrorKind
from generation.engines.diffusers.weight_files import digest
from tests.support import tiny_models
from tests.support.tiny_models import RecordingContext, largest_difference, pixels, task

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("peft")


def engine_with(model: Path, **config):
    return base.build("diffusers", {"model": str(model), "device": "cpu", "dtype": "float32", **config})


def with_loras(number: int, loras, **changes):
    return task(number, parameters={"steps": 4, "guidance": 5.0, "loras": loras}, **changes)


@pytest.fixture(params=["sd", "sdxl", "sd3", "flux"])
def model(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> Path:
    return tiny_model(request.param)


@pytest.fixture
def loras(model: Path, tmp_path: Path) -> dict[str, dict[str, object]]:
    files = {name: tiny_models.lora(model, tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate("ab")}
    return {name: {"path": str(file)} for name, file in files.items()}


def test_loras_change_the_image_by_their_weights_and_leave_no_trace(model, loras):
    engine = engine_with(model, loras=loras)
    plain = pixels(engine, [task(0)])[0]
    with_a = pixels(engine, [with_loras(0, {"a": 1.0})])[0]
    assert largest_difference(plain, with_a) > 5
    assert largest_difference(with_a, pixels(engine, [with_loras(0, {"a": 0.4})])[0]) > 2
    both = pixels(engine, [with_loras(0, {"a": 1.0, "b": 0.7})])[0]
    assert largest_difference(both, with_a) > 2
    assert np.array_equal(plain, pixels(engine, [task(0)])[0])
    assert np.array_equal(both, pixels(engine, [with_loras(0, {"b": 0.7, "a": 1.0})])[0])
    assert np.array_equal(both, pixels(engine_with(model, loras=loras), [with_loras(0, "b:0.7 + a")])[0])
    together = pixels(engine, [with_loras(n, {"a": 1.0, "b": 0.7}) for n in range(2)])
    assert largest_difference(both, together[0]) <= 2


def test_a_lora_for_another_model_is_refused_by_its_name_and_the_endpoint_works_on(tiny_model, tmp_path):
    for own, other in (("sd", "sdxl"), ("sdxl", "flux"), ("flux", "sd")):
        file = tiny_models.lora(tiny_model(other), tmp_path / f"{other}.safetensors", 0)
        engine = engine_with(tiny_model(own), loras={"brand-look": {"path": str(file)}})
        plain = pixels(engine, [task(0)])[0]
        with pytest.raises(EngineError, match="The LoRA 'brand-look' does not fit this model") as refusal:
            list(engine.generate([with_loras(0, ["brand-look"])], RecordingContext()))
        assert refusal.value.kind == ErrorKind.INPUT
        assert np.array_equal(plain, pixels(engine, [task(0)])[0])


def test_a_lora_with_a_weight_of_its_own_is_on_until_a_spec_takes_it_off(tiny_model, tmp_path):
    model = tiny_model("sd")
    file = str(tiny_models.lora(model, tmp_path / "house.safetensors", 0))
    engine = engine_with(model, loras={"house": {"path": file, "weight": 0.8}})
    always = pixels(engine, [task(0)])[0]
    assert np.array_equal(always, pixels(engine, [with_loras(0, {"house": 0.8})])[0])
    assert np.array_equal(pixels(engine, [with_loras(0, "none")])[0], pixels(engine_with(model), [task(0)])[0])
    assert engine.batch_key(task(0).spec) == engine.batch_key(with_loras(0, {"house": 0.8}).spec)
    assert engine.batch_key(task(0).spec) != engine.batch_key(with_loras(0, "none").spec)
    result = next(iter(engine.generate([task(0)], RecordingContext())))
    assert result.facts["loras"] == {"house": 0.8}


def test_loras_that_cannot_be_are_explained_before_anything_is_made(tiny_model, tmp_path):
    model = tiny_model("sd")
    gone = engine_with(model, loras={"gone": {"path": str(tmp_path / "gone.safetensors")}})
    assert any("LoRA 'gone' is not there" in problem for problem in gone.validate(task(0).spec))
    assert not gone.health().is_ok and "LoRA 'gone'" in gone.health().message
    file = str(tiny_models.lora(model, tmp_path / "house.safetensors", 0))
    engine = engine_with(model, loras={"house": file})
    assert engine.validate(with_loras(0, {"house": 0.5}).spec) == []
    assert any(
        "no LoRA 'hose'" in problem and "house" in problem for problem in engine.validate(with_loras(0, "hose").spec)
    )
    assert any("weight 'much'" in problem for problem in engine.validate(with_loras(0, {"house": "much"}).spec))
    assert any("loras is 3" in problem for problem in engine.validate(with_loras(0, 3).spec))
    assert engine.batch_key(with_loras(0, {"house": "much"}).spec)
    assert "loras" in engine.capabilities().obeys and "loras" not in engine_with(model).capabilities().obeys
    with pytest.raises(ValueError, match="'house' needs"):
        engine_with(model, loras={"house": {"file": file}})


def test_another_lora_under_the_same_name_is_another_model(tiny_model, tmp_path):
    model = tiny_model("sd")
    files = [str(tiny_models.lora(model, tmp_path / f"{seed}.safetensors", seed)) for seed in range(2)]
    bare = engine_with(model).model_identity()[1]
    first, second = (engine_with(model, loras={"look": {"path": file}}).model_identity()[1] for file in files)
    louder = engine_with(model, loras={"look": {"path": files[0], "weight": 0.5}}).model_identity()[1]
    assert len({bare, first, second, louder}) == 4 and first.startswith(bare.partition("+")[0])


def test_an_edited_model_card_is_not_another_model(tiny_model, tmp_path):
    folder = tmp_path / "model"
    copytree(tiny_model("sd"), folder)
    before = digest(folder)
    (folder / "README.md").write_text("# A model")
    (folder / "unet" / "notes.md").write_text("how it was trained")
    (folder / "LICENSE").write_text("terms")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_text("1")
    assert digest(folder) == before
    card = folder / "README.md"
    card.write_text("# A model, described better")
    assert digest(folder) == before
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text().replace('"norm_eps"', '"norm_eps_"'))
    assert digest(folder) != before
