"""Drawing one batch: what the pipeline of each pass is given, and what is carried from pass to pass.

A plain job has one pass. A recipe (recipes.py) has more: each later one starts from the picture that the one before it
made. A picture's generator goes on from pass to pass, so that it is the same alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np

from generation.engines.base import Context, Pixels, Spec, Task
from generation.engines.diffusers import adapters, controlnets, embeddings, recipes, references
from generation.engines.diffusers.embeddings import Cache
from generation.engines.diffusers.equipment import Equipment
from generation.engines.diffusers.pipelines import Loaded
from generation.engines.diffusers.recipes import Pass
from generation.engines.diffusers.sources import Source


@dataclass(frozen=True)
class Batch:
    """Tasks that are drawn together. drawn: with how many a batch is filled up by repeating the last one; what is made
    of the repeats is nobody's. settings: those that all of them share (parameters.settings, as the tier draws them)."""

    tasks: Sequence[Task]
    sources: Sequence[Source]
    settings: Mapping[str, Any]
    drawn: int

    @property
    def ids(self) -> list[int]:
        return [task.id for task in self.tasks]

    @property
    def spec(self) -> Spec:
        """One of them, for what they have in common: size and kind."""
        return self.tasks[0].spec

    def filled(self, of_each: Sequence[Any]) -> list[Any]:
        return [*of_each, *[of_each[-1]] * (self.drawn - len(self.tasks))]


def draw(
    loaded: Loaded, batch: Batch, equipment: Equipment, cache: Cache, context: Context
) -> tuple[Pixels | Future[Pixels], dict[str, Any]]:
    """(what the model makes, batch × height × width × 3, at once or decoded beside what comes next; the facts that
    making it again needs). Raises EngineError of kind INPUT where the equipment does not fit the model."""
    import torch

    passes = recipes.passes(batch.spec, batch.settings, loaded.family)
    adapters.set_loras(loaded, equipment, batch.settings.get("loras", {}))
    generators = [torch.Generator("cpu").manual_seed(task.spec.seed) for task in batch.filled(batch.tasks)]
    watch = _Watch(batch.ids, sum(one.worked for one in passes), context)
    images: Any = None
    for one in passes:
        model = loaded.refiner_of(equipment.refiner) if one.is_refiner else loaded
        is_last = one is passes[-1]
        arguments = _arguments(model, one, batch, equipment, cache, images)
        pipe = _pipe(model, one, batch, equipment)
        pipe.scheduler = model.fresh_scheduler("" if one.is_refiner else str(batch.settings["scheduler"]))
        arguments |= {
            "generator": generators,
            "output_type": "latent" if is_last and loaded.decodes_apart else "pt",
            "callback_on_step_end": watch.of(one.worked),
            "callback_on_step_end_tensor_inputs": [],
        }
        with loaded.accelerated.at_work(one.width, one.height), references.one_each(pipe, arguments):
            images = pipe(**arguments).images
            if is_last:
                pixels = loaded.pixels(pipe, images, one.width, one.height)
    return pixels, _facts(loaded, batch, type(pipe.scheduler).__name__)


def _pipe(model: Loaded, one: Pass, batch: Batch, equipment: Equipment) -> Any:
    control = batch.settings.get("control") if one.is_first else None
    return controlnets.pipe(model, one.kind, control, equipment) if control else model.fitting(one.kind)


def _arguments(
    model: Loaded, one: Pass, batch: Batch, equipment: Equipment, cache: Cache, images: Any
) -> dict[str, Any]:
    """All that one pass of a pipeline is given, except what every call has. images: of the pass before."""
    settings = batch.settings
    specs = [task.spec for task in batch.filled(batch.tasks)]
    key = ("refiner",) if one.is_refiner else tuple(settings.get("loras", {}).items())
    pipe = _pipe(model, one, batch, equipment)
    found: dict[str, Any] = {
        **embeddings.arguments(model, specs, cache, key),
        "num_inference_steps": one.steps,
        "guidance_scale": float(settings["guidance"]),
    }
    if one.kind != "text":
        found |= _start(batch, one, pipe, images)
    if not one.is_refiner:
        pictures = batch.filled([source.reference for source in batch.sources])
        found |= references.arguments(model, equipment, pictures, settings)
    if one.is_first and settings.get("control"):
        maps = batch.filled([source.control for source in batch.sources])
        found |= controlnets.arguments(pipe, one, maps, settings)
    takes = signature(pipe.__call__).parameters
    return found | {name: value for name, value in (("width", one.width), ("height", one.height)) if name in takes}


def _start(batch: Batch, one: Pass, pipe: Any, images: Any) -> dict[str, Any]:
    """Return what a pass starts from: float tensors, batch × channels × height × width, 0–1."""
    import torch

    found: dict[str, Any] = {"strength": one.strength}
    if images is not None:
        return found | {"image": _resized(images.float().clamp(0, 1), one)}
    canvases = [source.canvas for source in batch.filled(batch.sources) if source.canvas is not None]
    start = torch.from_numpy(np.stack([canvas.init for canvas in canvases])).permute(0, 3, 1, 2).float() / 255
    if one.kind == "inpaint":
        marked = np.stack([canvas.marked(pipe.vae_scale_factor) for canvas in canvases])[:, None]
        found["mask_image"] = torch.from_numpy(marked)
    return found | {"image": start}


def _resized(images: Any, one: Pass) -> Any:
    import torch

    if images.shape[-2:] == (one.height, one.width):
        return images
    size = (one.height, one.width)
    larger = torch.nn.functional.interpolate(images, size=size, mode="bicubic", antialias=True)
    return larger.clamp(0, 1)


def _facts(loaded: Loaded, batch: Batch, scheduler: str) -> dict[str, Any]:
    import torch

    unread = ["negative"] if not loaded.family.obeys_negative and any(one.spec.negative for one in batch.tasks) else []
    return {
        "device": loaded.device,
        "dtype": loaded.dtype,
        "batch": len(batch.tasks),
        "padded_batch": batch.drawn,
        "family": loaded.family.name,
        "scheduler": scheduler,
        "torch": torch.__version__,
        **loaded.accelerated.facts,
        **batch.settings,
        **({"unread": unread} if unread else {}),
    }


class _Watch:
    """Says after every step how far a batch is, over all its passes, and stops when nobody wants any of its images.
    Reads nothing off the GPU."""

    def __init__(self, ids: Sequence[int], steps: int, context: Context) -> None:
        self.ids, self.steps, self.context = ids, steps, context
        self.done = 0

    def of(self, worked: int) -> Any:
        """The callback of the next pass, which works so many steps."""
        before, self.done = self.done, self.done + worked

        def after_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            self.context.progress(self.ids, before + step + 1, self.steps)
            if self.context.cancelled().issuperset(self.ids):
                pipe._interrupt = True
            return tensors

        return after_step
