"""The equipment of an endpoint besides its model, from its config: LoRAs, ControlNets, an IP-Adapter, a refiner."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from generation.engines.diffusers.config import Config
from generation.engines.diffusers.weight_files import digest, problem_of_lora, problem_of_model

COMPUTED: Final = "canny"
CONTROLS: Final = (COMPUTED, "depth", "pose")
"""Kinds of ControlNet maps. Edges are computed here; depth and pose come as finished maps."""


@dataclass(frozen=True)
class Lora:
    """A LoRA of an endpoint. weight: the default if a spec does not name it; 0 leaves it off."""

    path: Path
    weight: float = 0.0


@dataclass(frozen=True)
class Adapter:
    """An IP-Adapter: `file` within `folder`, and the folder of the image encoder that it was trained with."""

    folder: Path
    file: str
    encoder: Path


@dataclass(frozen=True)
class Equipment:
    loras: Mapping[str, Lora] = field(default_factory=dict)
    controlnets: Mapping[str, Path] = field(default_factory=dict)
    adapter: Adapter | None = None
    refiner: Path | None = None

    @property
    def takes_maps(self) -> bool:
        return bool(self.controlnets.keys() - {COMPUTED})

    def paths(self) -> dict[str, Path]:
        """Return every file or folder, by a name for people."""
        paths = {f"LoRA {name!r}": lora.path for name, lora in self.loras.items()}
        paths |= {f"ControlNet {name!r}": path for name, path in self.controlnets.items()}
        if self.adapter is not None:
            paths["IP-Adapter"] = self.adapter.folder / self.adapter.file
            paths["image encoder of the IP-Adapter"] = self.adapter.encoder
        return paths | ({"refiner": self.refiner} if self.refiner is not None else {})

    def missing(self) -> list[str]:
        """Return sentences about files that are missing or not what they should be."""
        sentences = []
        for name, path in self.paths().items():
            find_problem = problem_of_lora if name.startswith("LoRA ") else problem_of_model
            if not path.exists():
                sentences.append(f"The {name} is not there: {path}.")
            elif problem := find_problem(path):
                sentences.append(f"The {name} cannot be used: {problem}")
        return sentences

    def digest(self) -> str:
        """Return a hex digest; "" without equipment. Another LoRA file or default weight makes another model."""
        if not self.paths():
            return ""
        defaults = sorted((name, lora.weight) for name, lora in self.loras.items())
        files = [(name, digest(path) if path.exists() else "") for name, path in sorted(self.paths().items())]
        return hashlib.sha256(repr((defaults, files)).encode()).hexdigest()[:12]


def read(config: Config) -> Equipment:
    """Read the equipment in an endpoint's config. Raises ValueError with a sentence if it is invalid."""
    controlnets = {kind: Path(str(path)) for kind, path in config.controlnets.items()}
    if unknown := sorted(set(controlnets) - set(CONTROLS)):
        raise ValueError(f'"controlnets" names {", ".join(unknown)}; known are {", ".join(CONTROLS)}.')
    return Equipment(
        loras={name: _lora(name, given) for name, given in config.loras.items()},
        controlnets=controlnets,
        adapter=_adapter(config.ip_adapter),
        refiner=Path(config.refiner) if config.refiner else None,
    )


def _lora(name: str, given: Any) -> Lora:
    plain = {"path": given} if isinstance(given, str) else given
    if not isinstance(plain, Mapping) or not plain.get("path") or not set(plain) <= {"path", "weight"}:
        raise ValueError(f'The LoRA {name!r} needs {{"path": …, "weight": …}}; it has {given!r}.')
    if set(name) & set(":+,"):
        raise ValueError(f"The LoRA {name!r} has a name with one of : + , in it, which join LoRAs in a prompt.")
    try:
        return Lora(Path(str(plain["path"])), float(plain.get("weight") or 0))
    except (TypeError, ValueError) as error:
        raise ValueError(f"The LoRA {name!r} has the weight {plain['weight']!r}; it is a number.") from error


def _adapter(given: Mapping[str, Any] | None) -> Adapter | None:
    if not given:
        return None
    if not {"folder", "file", "encoder"} <= set(given):
        raise ValueError(f'"ip_adapter" needs {{"folder": …, "file": …, "encoder": …}}; it has {given!r}.')
    return Adapter(Path(str(given["folder"])), str(given["file"]), Path(str(given["encoder"])))
