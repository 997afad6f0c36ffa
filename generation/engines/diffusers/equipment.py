"""Equipment of an endpoint beside its model: LoRAs, ControlNets, an IP-Adapter, a refiner. Read from its config."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from generation.engines.diffusers.weight_files import problem_of_lora, problem_of_model
from generation.engines.diffusers.weights import digest

COMPUTED: Final = "canny"
CONTROLS: Final = (COMPUTED, "depth", "pose")
"""Maps that a ControlNet is drawn by. Edges are found here; depth and pose come as finished maps."""


@dataclass(frozen=True)
class Lora:
    """weight: with which it is laid onto the model where a spec says nothing of it; 0 leaves it off."""

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
        """True with a ControlNet whose maps are not found here."""
        return bool(self.controlnets.keys() - {COMPUTED})

    def paths(self) -> dict[str, Path]:
        """Every file or folder, by what a person calls it."""
        found = {f"LoRA {name!r}": lora.path for name, lora in self.loras.items()}
        found |= {f"ControlNet {name!r}": path for name, path in self.controlnets.items()}
        if self.adapter is not None:
            found["IP-Adapter"] = self.adapter.folder / self.adapter.file
            found["image encoder of the IP-Adapter"] = self.adapter.encoder
        return found | ({"refiner": self.refiner} if self.refiner is not None else {})

    def missing(self) -> list[str]:
        """Sentences about files that are not where the config says, or are not what they should be."""
        return [problem for name, path in self.paths().items() if (problem := self._problem(name, path))]

    def _problem(self, name: str, path: Path) -> str:
        if not path.exists():
            return f"The {name} is not there: {path}."
        problem = problem_of_lora(path) if name.startswith("LoRA ") else problem_of_model(path)
        return f"The {name} cannot be used: {problem}" if problem else ""

    def digest(self) -> str:
        """Hex; "" without equipment. Another LoRA under the same name, or another default, is another model."""
        if not self.paths():
            return ""
        defaults = sorted((name, lora.weight) for name, lora in self.loras.items())
        files = [(name, digest(path) if path.exists() else "") for name, path in sorted(self.paths().items())]
        return hashlib.sha256(repr((defaults, files)).encode()).hexdigest()[:12]


def read(config: Mapping[str, Any]) -> Equipment:
    """From an endpoint's config. ValueError says in a sentence what in it cannot be."""
    controlnets = {str(kind): Path(str(path)) for kind, path in dict(config.get("controlnets") or {}).items()}
    if unknown := sorted(set(controlnets) - set(CONTROLS)):
        raise ValueError(f'"controlnets" names {", ".join(unknown)}; known are {", ".join(CONTROLS)}.')
    refiner = config.get("refiner")
    return Equipment(
        loras={str(name): _lora(str(name), given) for name, given in dict(config.get("loras") or {}).items()},
        controlnets=controlnets,
        adapter=_adapter(config.get("ip_adapter")),
        refiner=Path(str(refiner)) if refiner else None,
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


def _adapter(given: Any) -> Adapter | None:
    if not given:
        return None
    if not isinstance(given, Mapping) or not {"folder", "file", "encoder"} <= set(given):
        raise ValueError(f'"ip_adapter" needs {{"folder": …, "file": …, "encoder": …}}; it has {given!r}.')
    return Adapter(Path(str(given["folder"])), str(given["file"]), Path(str(given["encoder"])))
