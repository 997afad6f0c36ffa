"""Test which models fit in memory together: everything that an endpoint will load counts, even before it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copy
from typing import Any

import pytest

from generation.engines import base
from generation.engines.base import EngineError, ImageRef
from generation.engines.diffusers import model_memory
from tests.support import tiny_models
from tests.support.tiny_models import RecordingContext, encode_png, photograph, pixels, task

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("peft")


def engine(model: Path, **config: Any) -> Any:
    return base.build("diffusers", {"model": str(model), "device": "cpu", "dtype": "float32", **config})


class Admitted:
    """Wraps the admission of models and records the bytes that they announce."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.weights_bytes = 0
        real = model_memory.loaded_models.make_room

        def noted(owner: Any, **facts: Any) -> None:
            self.weights_bytes = facts["weights_bytes"]
            real(owner, **facts)

        monkeypatch.setattr(model_memory.loaded_models, "make_room", noted)


def held_bytes(loaded: Any) -> int:
    """Return the bytes of the networks of a pipeline, its ControlNets and its refiner."""
    networks = [*loaded.text.components.values(), *loaded.controlnets.values()]
    networks += loaded.refiner.text.components.values() if loaded.refiner is not None else []
    seen = {id(module): module for module in networks if isinstance(module, torch.nn.Module)}
    return sum(tensor.nbytes for module in seen.values() for tensor in module.state_dict().values())


def test_all_that_an_endpoint_lays_beside_its_model_is_counted_before_it_is_loaded(tiny_model, tmp_path, monkeypatch):
    model = tiny_model("sdxl")
    lora = tiny_models.lora(model, tmp_path / "look.safetensors", 0)
    full = engine(
        model,
        loras={"look": {"path": str(lora)}},
        controlnets={"canny": str(tiny_models.controlnet(model, tmp_path / "net"))},
        ip_adapter=tiny_models.ip_adapter(model, tmp_path / "adapter"),
        refiner=str(tiny_model("sdxl-refiner")),
    )
    admitted = Admitted(monkeypatch)
    alone = held_bytes(full._load())
    assert full.pending_bytes() == pytest.approx(admitted.weights_bytes - alone, rel=0.01)
    recipe = [{"do": "text"}, {"do": "refine", "strength": 0.5, "model": "refiner"}]
    parameters = {"steps": 2, "guidance": 5.0, "control": "canny", "loras": {"look": 1.0}, "recipe": recipe}
    roles = {role: ImageRef(role, role) for role in ("photo", "reference")}
    context = RecordingContext({role: encode_png(photograph(3)) for role in roles})
    pixels(full, [task(0, images=roles, parameters=parameters)], context)
    assert full.pending_bytes() == 0
    assert held_bytes(full._load()) == pytest.approx(admitted.weights_bytes, rel=0.01)
    assert admitted.weights_bytes > 2 * alone, "the equipment is more than the tolerance"


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_what_completes_a_transformer_that_is_a_file_of_its_own_is_counted(name, tiny_model, tmp_path, monkeypatch):
    folder = tiny_model(name)
    file = Path(copy(folder / "transformer" / "diffusion_pytorch_model.safetensors", tmp_path / "alone.safetensors"))
    admitted = Admitted(monkeypatch)
    loaded = engine(file, model_config=str(folder))._load()
    assert held_bytes(loaded) == pytest.approx(admitted.weights_bytes, rel=0.01)


def test_a_model_whose_refiner_is_not_loaded_yet_keeps_the_place_for_it(tiny_model: Callable[[str], Path]):
    refiner = tiny_model("sdxl-refiner")
    sd_bytes, sdxl_bytes, refiner_bytes = (
        model_memory.weights_bytes(path, "float32") for path in (tiny_model("sd"), tiny_model("sdxl"), refiner)
    )

    def both(limit: int) -> tuple[bool, bool]:
        shared: dict[str, Any] = {"memory_limit_bytes": limit, "reserve_bytes": 0}
        pair = engine(tiny_model("sd"), refiner=str(refiner), **shared), engine(tiny_model("sdxl"), **shared)
        for each in pair:
            each._load()
        stayed = (pair[0]._loaded is not None, pair[1]._loaded is not None)
        for each in pair:
            each.unload()
        return stayed

    assert both(sd_bytes + refiner_bytes + sdxl_bytes) == (True, True)
    assert both(sd_bytes + refiner_bytes + sdxl_bytes - 1) == (False, True)
    with pytest.raises(EngineError, match="for its weights"):
        both(sd_bytes + refiner_bytes - 1)


class Model:
    """A resident of a card that has room for 100 bytes."""

    def __init__(self, there: model_memory.LoadedModels, card: dict[str, int], *, now: int, later: int = 0) -> None:
        self.there, self.card, self.now, self.later = there, card, now, later
        self.is_loaded = False

    def load(self) -> None:
        self.there.make_room(self, name="m", device="cuda", weights_bytes=self.now + self.later, reserve_bytes=0)
        self.card["free"] -= self.now
        self.is_loaded = True

    def load_the_rest(self) -> None:
        self.card["free"] -= self.later
        self.now, self.later = self.now + self.later, 0

    def pending_bytes(self) -> int:
        return self.later

    def unload(self) -> None:
        self.card["free"] += self.now
        self.is_loaded = False
        self.there.forget(self)


@pytest.mark.parametrize("is_whole", [False, True])
@pytest.mark.parametrize(("needs", "both_stay"), [(40, True), (41, False)])
def test_what_a_model_will_still_load_is_not_free_and_what_it_has_loaded_counts_once(
    needs, both_stay, is_whole, monkeypatch
):
    card = {"free": 100}
    monkeypatch.setattr(model_memory, "free_bytes", lambda device: card["free"])
    there = model_memory.LoadedModels()
    first, second = Model(there, card, now=30, later=30), Model(there, card, now=needs)
    first.load()
    if is_whole:
        first.load_the_rest()
    second.load()
    assert (first.is_loaded, second.is_loaded) == (both_stay, True)
