"""The models in this process's memory. If a new model does not fit, the least recently used models of the same device
are unloaded until it does.
"""

from __future__ import annotations

import json
import struct
import sys
from math import prod
from pathlib import Path
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from generation.engines.base import EngineError, ErrorKind, Unloadable
from generation.engines.diffusers.weight_files import read_header

GIBIBYTE: Final = 1024**3
GPU_RESERVE_BYTES: Final = 8 * GIBIBYTE
"""The memory for drawing on a GPU besides the weights: decoding four images of 1024 × 1024 at once, where the output of
one layer is 0.5 GiB per image and four such outputs are alive."""


class Model(Unloadable, Protocol):
    def pending_bytes(self) -> int:
        """Return the bytes of weights that will be loaded when a batch first needs them."""


class LoadedModels:
    """The models in memory, the least recently used first. For use by the drawing thread only."""

    def __init__(self) -> None:
        self._models: WeakKeyDictionary[Model, tuple[str, int]] = WeakKeyDictionary()  # device, bytes of weights

    def make_room(
        self,
        owner: Model,
        *,
        name: str,
        device: str,
        weights_bytes: int,
        reserve_bytes: int | None,
        limit_bytes: int | None = None,
    ) -> None:
        """Make room on `device` for a model that is about to be loaded, and register it.

        weights_bytes: all that it will ever load. reserve_bytes: its working memory, None for the default. limit_bytes:
        what all models of this process may take there together, None for all free memory. Raises EngineError of kind
        MEMORY, with the figures, if it would not fit even alone.
        """
        if reserve_bytes is None:
            reserve_bytes = GPU_RESERVE_BYTES if device.startswith("cuda") else 0
        while (free := self._free(device, limit_bytes)) is not None and free < weights_bytes + reserve_bytes:
            if not (others := [model for model in self._on_device(device) if model is not owner]):
                raise EngineError(
                    ErrorKind.MEMORY,
                    f"{name} needs {_gib(weights_bytes)} for its weights and {_gib(reserve_bytes)} to draw in; "
                    f"{_gib(free)} are free on {device}. Free some, or take a smaller model or another endpoint.",
                )
            others[0].unload()
        self._models[owner] = (device, weights_bytes)

    def mark_used(self, owner: Model) -> None:
        if owner in self._models:
            self._models[owner] = self._models.pop(owner)

    def forget(self, owner: Model) -> None:
        self._models.pop(owner, None)

    def _on_device(self, device: str) -> dict[Model, int]:
        """Return the bytes of each model on a device, the least recently used first."""
        return {model: size for model, (where, size) in self._models.items() if where == device}

    def _free(self, device: str, limit_bytes: int | None) -> int | None:
        there, measured = self._on_device(device), free_bytes(device)
        if measured is not None:
            measured -= sum(model.pending_bytes() for model in there)
        if not limit_bytes:
            return measured
        left = limit_bytes - sum(there.values())
        return left if measured is None else min(left, measured)


loaded_models = LoadedModels()
"""The models of this process."""


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


def weights_bytes(path: Path, dtype: str, *, besides: str = "") -> int:
    """Return the bytes of a diffusers folder or safetensors file once loaded as `dtype`; 0 if unknown.

    A folder counts the parts in its model_index.json except `besides`, or is one network; only plain variants count.
    """
    element_bytes = 4 if dtype == "float32" else 2
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
        header = read_header(file)
    except (OSError, ValueError, struct.error):
        return 0
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _gib(size: int) -> str:
    return f"{max(0, size) / GIBIBYTE:.1f} GiB"
