"""Engines by name. Those of other packages register through the entry point group `proofline.engines`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points

from generation.engines import base


def _lazy(module: str, attribute: str) -> Callable[[], base.Factory]:
    def load() -> base.Factory:
        factory: base.Factory = getattr(import_module(module), attribute)
        return factory

    return load


base.register("packshot", _lazy("generation.engines.packshot.engine", "Packshot"))
base.register("comfyui", _lazy("generation.engines.comfyui.engine", "ComfyUI"))
base.register("diffusers", _lazy("generation.engines.diffusers.engine", "Diffusers"))
base.register("openai", _lazy("generation.engines.openai.engine", "OpenAIImages"))
base.register("replicate", _lazy("generation.engines.replicate.engine", "build"))
for _point in entry_points(group="proofline.engines"):
    base.register(_point.name, _point.load)
