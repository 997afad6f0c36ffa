"""Draw one batch: the arguments of the pipeline in each pass, and the images that go from pass to pass.

A plain job has one pass. A recipe (recipes.py) has more: each later pass starts from the image of the one before. An
image keeps its random generator from pass to pass, so that it is the same alone and in a batch.
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
from generation.engines.diffusers.embedding_cache import EmbeddingCache
from generation.engines.diffusers.equipment import Equipment
from generation.engines.diffusers.pipelines import LoadedPipeline
from generation.engines.diffusers.recipes import Pass
from generation.engines.diffusers.sources import Source


@dataclass(frozen=True)
class Batch:
    """Tasks that are drawn together. padded_size: the size to which the batch is filled up by repeating the last task;
    images of the repeats are dropped. settings: those that all tasks share (parameters.settings, adjusted by the tier).
    """

    tasks: Sequence[Task]
    sources: Sequence[Source]
    settings: Mapping[str, Any]
    padded_size: int

    @property
    def ids(self) -> list[int]:
        return [task.id for task in self.tasks]

    @property
    def spec(self) -> Spec:
        """The first spec, for what all have in common: size and kind."""
        return self.tasks[0].spec

    def pad(self, of_each: Sequence[Any]) -> list[Any]:
        return [*of_each, *[of_each[-1]] * (self.padded_size - len(self.tasks))]


def draw(
    loaded: LoadedPipeline, batch: Batch, equipment: Equipment, cache: EmbeddingCache, context: Context
) -> tuple[Pixels | Future[Pixels], dict[str, Any]]:
    """Return (pixels, facts). pixels: batch × height × width × 3, or a future if they are decoded in the background.
    facts: needed to make them again. Raises EngineError of kind INPUT if the equipment does not fit the model."""
    import torch

    passes = recipes.passes(batch.spec, batch.settings, loaded.family)
    adapters.set_loras(loaded, equipment, batch.settings.get("loras", {}))
    generators = [torch.Generator("cpu").manual_seed(task.spec.seed) for task in batch.pad(batch.tasks)]
    watch = _ProgressReporter(batch.ids, sum(pass_.worked for pass_ in passes), context)
    images: Any = None
    for pass_ in passes:
        model = loaded.refiner_of(equipment.refiner) if pass_.is_refiner else loaded
        is_last = pass_ is passes[-1]
        arguments = _arguments(model, pass_, batch, equipment, cache, images)
        pipe = _pipe(model, pass_, batch, equipment)
        pipe.scheduler = model.new_scheduler("" if pass_.is_refiner else str(batch.settings["scheduler"]))
        arguments |= {
            "generator": generators,
            "output_type": "latent" if is_last and loaded.decodes_latents else "pt",
            "callback_on_step_end": watch.callback(pass_.worked),
            "callback_on_step_end_tensor_inputs": [],
        }
        with (
            loaded.accelerated.configure_torch(pass_.width, pass_.height),
            references.own_reference_per_image(pipe, arguments),
        ):
            images = pipe(**arguments).images
            if is_last:
                pixels = loaded.decode_pixels(pipe, images, pass_.width, pass_.height)
    return pixels, _facts(loaded, batch, type(pipe.scheduler).__name__)


def _pipe(model: LoadedPipeline, pass_: Pass, batch: Batch, equipment: Equipment) -> Any:
    control = batch.settings.get("control") if pass_.is_first else None
    return controlnets.pipe(model, pass_.kind, control, equipment) if control else model.pipeline_for(pass_.kind)


def _arguments(
    model: LoadedPipeline, pass_: Pass, batch: Batch, equipment: Equipment, cache: EmbeddingCache, images: Any
) -> dict[str, Any]:
    """Return the arguments of one pass, without those of every call. images: of the pass before."""
    settings = batch.settings
    specs = [task.spec for task in batch.pad(batch.tasks)]
    key = ("refiner",) if pass_.is_refiner else tuple(settings.get("loras", {}).items())
    pipe = _pipe(model, pass_, batch, equipment)
    arguments: dict[str, Any] = {
        **embeddings.arguments(model, specs, cache, key),
        "num_inference_steps": pass_.steps,
        "guidance_scale": float(settings["guidance"]),
    }
    if pass_.kind != "text":
        arguments |= _start_arguments(batch, pass_, pipe, images)
    if not pass_.is_refiner:
        reference_images = batch.pad([source.reference for source in batch.sources])
        arguments |= references.arguments(model, equipment, reference_images, settings)
    if pass_.is_first and settings.get("control"):
        maps = batch.pad([source.control for source in batch.sources])
        arguments |= controlnets.arguments(pipe, pass_, maps, settings)
    takes = signature(pipe.__call__).parameters
    return arguments | {name: getattr(pass_, name) for name in ("width", "height") if name in takes}


def _start_arguments(batch: Batch, pass_: Pass, pipe: Any, images: Any) -> dict[str, Any]:
    """Return the arguments for the start of a pass: float tensors, batch × channels × height × width, 0–1."""
    import torch

    arguments: dict[str, Any] = {"strength": pass_.strength}
    if images is not None:
        start = images.float().clamp(0, 1)
        size = (pass_.height, pass_.width)
        if start.shape[-2:] != size:
            start = torch.nn.functional.interpolate(start, size=size, mode="bicubic", antialias=True).clamp(0, 1)
        return arguments | {"image": start}
    canvases = [source.canvas for source in batch.pad(batch.sources) if source.canvas is not None]
    start = torch.from_numpy(np.stack([canvas.init for canvas in canvases])).permute(0, 3, 1, 2).float() / 255
    if pass_.kind == "inpaint":
        marked = np.stack([canvas.cell_mask(pipe.vae_scale_factor) for canvas in canvases])[:, None]
        arguments["mask_image"] = torch.from_numpy(marked)
    return arguments | {"image": start}


def _facts(loaded: LoadedPipeline, batch: Batch, scheduler: str) -> dict[str, Any]:
    import torch

    is_unread = not loaded.family.obeys_negative and any(task.spec.negative for task in batch.tasks)
    return {
        "device": loaded.device,
        "dtype": loaded.dtype,
        "batch": len(batch.tasks),
        "padded_batch": batch.padded_size,
        "family": loaded.family.name,
        "scheduler": scheduler,
        "torch": torch.__version__,
        **loaded.accelerated.facts,
        **batch.settings,
        **({"unread": ["negative"]} if is_unread else {}),
    }


class _ProgressReporter:
    """Report a batch's progress after every step, over all passes, and stop it when all its tasks are cancelled.

    It reads nothing from the GPU.
    """

    def __init__(self, ids: Sequence[int], steps: int, context: Context) -> None:
        self.ids, self.steps, self.context = ids, steps, context
        self.done = 0

    def callback(self, worked: int) -> Any:
        """Return the callback of the next pass, which works so many steps."""
        before, self.done = self.done, self.done + worked

        def after_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            self.context.progress(self.ids, before + step + 1, self.steps)
            if self.context.cancelled().issuperset(self.ids):
                pipe._interrupt = True
            return tensors

        return after_step
