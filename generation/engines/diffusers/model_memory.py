"""The models in this process's memory. If a new model does not fit, the least recently used models of the same device
are unloaded until it does.
"""

from __future__ import annotations

import json
import struct
import sys
import weakref
from collections import OrderedDict
from math import prod
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from generation.engines.base import EngineError, ErrorKind, Unloadable
from generation.engines.diffusers.weights import safetensors_header

GIBIBYTE: Final = 1024**3
WORKING_BYTES: Final = {"cuda": 8 * GIBIBYTE}
"""The default of "reserve_bytes", the memory for drawing besides the weights: decoding four images of 1024 × 1024 at
once, where the output of one layer is 0.5 GiB per image and four such outputs are alive."""


@runtime_checkable
class GrowingModel(Unloadable, Protocol):
    """A model that does not load everything at once."""

    def pending_bytes(self) -> int:
        """Return the bytes of weights that will be loaded when a batch first needs them."""


class LoadedModels:
    """The models in memory, the least recently used first. For use by the drawing thread only."""

    def __init__(self) -> None:
        self._models: OrderedDict[int, tuple[weakref.ref[Unloadable], str, int]] = OrderedDict()

    def make_room(
        self, owner: Unloadable, *, name: str, device: str, weights_bytes: int, reserve_bytes: int, limit_bytes: int = 0
    ) -> None:
        """Make room on `device` for a model that is about to be loaded, and register it.

        weights_bytes: all that it will ever load. limit_bytes: what all models of this process may take there together,
        0 for all free memory. Raises EngineError of kind MEMORY, with the figures, if it would not fit even alone.
        """
        while (free := self._free(device, limit_bytes)) is not None and free < weights_bytes + reserve_bytes:
            victim = self._oldest(device, owner)
            if victim is None:
                raise EngineError(
                    ErrorKind.MEMORY,
                    f"{name} needs {_gib(weights_bytes)} for its weights and {_gib(reserve_bytes)} to draw in; "
                    f"{_gib(free)} are free on {device}. Free some, or take a smaller model or another endpoint.",
                )
            victim.unload()
        self._models[id(owner)] = (weakref.ref(owner), device, weights_bytes)

    def mark_used(self, owner: Unloadable) -> None:
        if id(owner) in self._models:
            self._models.move_to_end(id(owner))

    def forget(self, owner: Unloadable) -> None:
        self._models.pop(id(owner), None)

    def _oldest(self, device: str, besides: Unloadable) -> Unloadable | None:
        for key, (reference, where, _) in list(self._models.items()):
            model = reference()
            if model is None:
                del self._models[key]
            elif where == device and model is not besides:
                return model
        return None

    def _free(self, device: str, limit_bytes: int) -> int | None:
        on_device = [(reference(), size) for reference, where, size in self._models.values() if where == device]
        there = [(model, size) for model, size in on_device if model is not None]
        measured = free_bytes(device)
        if measured is not None:
            measured -= sum(model.pending_bytes() for model, _ in there if isinstance(model, GrowingModel))
        if not limit_bytes:
            return measured
        left = limit_bytes - sum(size for _, size in there)
        return left if measured is None else min(left, measured)


loaded_models = LoadedModels()
"""The models of this process."""


def reserve_bytes(device: str, configured: int | None) -> int:
    """Return the working memory of an endpoint; `configured` is its setting, or None."""
    return WORKING_BYTES.get(device.split(":")[0], 0) if configured is None else configured


def free_bytes(device: str) -> int | None:
    """Return the bytes that could be allocated on a device now; None if unknown."""
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        kept: int = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + kept
    if device != "cpu" or not sys.platform.startswith("linux"):
        return None
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def weights_bytes(path: Path, element_bytes: int, *, besides: str = "") -> int:
    """Return the bytes of a diffusers folder or safetensors file once loaded with `element_bytes` per number; 0 if
    unknown.

    A folder counts the parts in its model_index.json except `besides`, or is one network; only plain variants count.
    """
    if path.is_file():
        return _elements(path) * element_bytes
    try:
        parts = [part for part in json.loads((path / "model_index.json").read_text()) if part != besides]
    except (OSError, ValueError):
        parts = ["."]  # one network, as a ControlNet is
    files = [file for part in parts if (path / part).is_dir() for file in (path / part).glob("*.safetensors")]
    plain = [file for file in files if not {".fp16", ".bf16", ".non_ema"} & set(file.suffixes)]
    return sum(_elements(file) for file in plain) * element_bytes


def _elements(file: Path) -> int:
    """Return how many numbers a safetensors file holds, from its header."""
    try:
        header = json.loads(safetensors_header(file))
    except (OSError, ValueError, struct.error):
        return 0
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _gib(size: int) -> str:
    return f"{max(0, size) / GIBIBYTE:.1f} GiB"
