"""LoRAs and the IP-Adapter of a loaded pipeline: loaded when a batch first needs them, disabled when it does not.

Product: the adapters of diffusers 0.42 on PEFT 0.21 (https://huggingface.co/docs/diffusers/using-diffusers/loading_adapters).
All pipelines of a model share the networks, and so the adapters too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from generation.engines.base import EngineError, ErrorKind
from generation.engines.diffusers.equipment import Equipment, Lora
from generation.engines.diffusers.weight_files import problem_of_lora

if TYPE_CHECKING:
    from generation.engines.diffusers.pipelines import LoadedPipeline


def set_loras(loaded: LoadedPipeline, equipment: Equipment, weights: Mapping[str, float]) -> None:
    """Activate these LoRAs and no others. Raises EngineError that names one that cannot be used."""
    for name in weights:
        if name not in loaded.loras:
            _load_lora(loaded, name, equipment.loras[name])
    if not loaded.loras or weights == loaded.weights:
        return
    if weights:
        loaded.text.enable_lora()
        loaded.text.set_adapters([loaded.loras[name] for name in weights], list(weights.values()))
    else:
        loaded.text.disable_lora()
    loaded.weights = dict(weights)


def _load_lora(loaded: LoadedPipeline, name: str, lora: Lora) -> None:
    """Load a LoRA under a numbered name, since PEFT allows no dots in names. Raises EngineError: ENDPOINT for a file
    that is missing or no LoRA file, INPUT for a LoRA of another model."""
    if problem := problem_of_lora(lora.path):
        raise EngineError(ErrorKind.ENDPOINT, f"The LoRA {name!r} cannot be used: {problem}")
    pipe, adapter = loaded.text, f"lora_{len(loaded.loras)}"
    folder, file = (lora.path, None) if lora.path.is_dir() else (lora.path.parent, lora.path.name)
    try:
        pipe.load_lora_weights(str(folder), weight_name=file, adapter_name=adapter, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        if _has_adapter(pipe, adapter):  # it fitted in part
            pipe.delete_adapters(adapter)
        raise _misfit_error(name, loaded, str(error)) from error
    if not _has_adapter(pipe, adapter):
        raise _misfit_error(name, loaded, "none of its tensors belongs to a layer of the model")
    loaded.loras[name] = adapter
    loaded.weights = None


def _has_adapter(pipe: Any, adapter: str) -> bool:
    return any(adapter in names for names in pipe.get_list_adapters().values())


def _misfit_error(name: str, loaded: LoadedPipeline, log: str) -> EngineError:
    text = f"The LoRA {name!r} does not fit this model, which is {loaded.family.title}; take one made for it."
    return EngineError(ErrorKind.INPUT, text, log=log[:2000])
