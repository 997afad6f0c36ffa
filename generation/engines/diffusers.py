"""The `diffusers` engine: a model of a known family (families.py) from a diffusers folder or a safetensors file.

Product: Hugging Face diffusers 0.42 (https://huggingface.co/docs/diffusers) on torch 2.13. Text-to-image;
image-to-image when the spec carries an "init" image; with a "mask" beside it only what the mask marks is made anew, by
the same weights (those of text-to-image), and the rest of that picture stays (canvas.py).

Importing this module loads neither torch nor diffusers, so that planning can validate, quote and name the model; the
first `generate` loads the weights and keeps them.

Each image has a generator of its own, seeded on the CPU: an image is the same alone and in a batch (to rounding).
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from campaigns.prompts import tokens
from generation.engines import acceleration, adapters, canvas, embeddings, equipment, parameters, pipelines
from generation.engines.base import (
    Capabilities,
    Context,
    EngineError,
    ErrorKind,
    Health,
    Pixels,
    Quote,
    Result,
    Spec,
    Task,
)
from generation.engines.canvas import Canvas
from generation.engines.embedding_cache import EmbeddingCache
from generation.engines.families import FAMILIES, Family
from generation.engines.pipelines import Loaded
from generation.engines.weights import digest, family_of

MOST_SIDE = 2048


class Diffusers:
    """One local model. config:

    model: path of a diffusers folder or of one .safetensors file (required).
    model_config: for a single file, a folder with the configurations and tokenizers of its family (a diffusers folder
    without weights); without it diffusers looks for them in its own cache.
    device: "cuda", "cpu", "mps"; chosen when absent. dtype: "float32", "float16", "bfloat16"; bfloat16 on CUDA else
    float32. safety_checker: true keeps the model's own. seconds_per_image, cost_per_image: for quotes.
    max_side: the longest side in pixels that the model can draw; larger outputs are enlarged from it (2048).
    threads: of the CPU; torch's own choice when absent, one where other work keeps the cores busy.
    loras: {"name": {"path": …, "weight": …}}; those with a weight are on unless a spec says otherwise (equipment.py).
    """

    name = "diffusers"

    def __init__(self, config: Mapping[str, Any]) -> None:
        if not config.get("model"):
            raise ValueError('The endpoint needs "model": the path of a diffusers folder or a .safetensors file.')
        self.path = Path(str(config["model"]))
        self.config = dict(config)
        self.max_side = int(config.get("max_side") or MOST_SIDE)
        self.acceleration = acceleration.read(config)
        self.equipment = equipment.read(config)
        self._fits = self.acceleration.batch_size
        self._loaded: Loaded | None = None
        self._embeddings: embeddings.Cache = EmbeddingCache()
        self._family: Family | None = None
        self._identity: tuple[str, str] | None = None

    # -- what planning asks ----------------------------------------------------------------------------------------

    @property
    def family(self) -> Family:
        """Raises EngineError where the files are no known model."""
        if self._family is None:
            self._family = family_of(self.path)
        return self._family

    def capabilities(self) -> Capabilities:
        family = self._likely_family()
        return Capabilities(
            is_remote=False,
            obeys=parameters.obeyed(family, self.equipment),
            controls=parameters.controls(family, self.equipment),
            optional_images=frozenset({"init", "mask"}),
            max_width=self.max_side,
            max_height=self.max_side,
            size_multiple=family.size_multiple,
        )

    def validate(self, spec: Spec) -> list[str]:
        try:
            return parameters.problems(spec, self.family, self.equipment)
        except EngineError as error:
            return [error.message]

    def batch_key(self, spec: Spec) -> str:
        try:
            settings = parameters.settings(spec, self._likely_family(), self.equipment)
        except (TypeError, ValueError):  # what `validate` refuses is planned with nothing else
            settings = dict(spec.parameters)
        plain = json.dumps([parameters.kind(spec), spec.width, spec.height, settings], sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:16]

    def _likely_family(self) -> Family:
        """The family, and while the files cannot be read the first one: `health` says so, and `validate` refuses."""
        try:
            return self.family
        except EngineError:
            return FAMILIES["sd"]

    def model_identity(self) -> tuple[str, str]:
        """(file or folder name, digest of it and of what is laid beside it)."""
        if self._identity is None:
            beside = self.equipment.digest()
            self._identity = (self.path.name, f"{digest(self.path)}{'+' if beside else ''}{beside}")
        return self._identity

    def quote(self, spec: Spec) -> Quote:
        return Quote(
            cost=float(self.config.get("cost_per_image", 0.0)),
            seconds=float(self.config.get("seconds_per_image", 2.0)),
        )

    def health(self) -> Health:
        try:
            family = self.family
        except EngineError as error:
            return Health(False, error.message)
        facts: dict[str, Any] = {"family": family.name, "is_loaded": self._loaded is not None}
        torch_module = sys.modules.get("torch")
        if torch_module is not None and torch_module.cuda.is_available():
            free, total = torch_module.cuda.mem_get_info()
            facts |= {"device": torch_module.cuda.get_device_name(), "free_bytes": free, "total_bytes": total}
        return Health(True, f"{self.path.name} ({family.title}) is readable.", facts)

    def text_encoder(self) -> tokens.Encoder:
        """How the model's longest reader reads: counted with its own tokenizer files where they are of a known kind.
        The pipelines cut off what is behind the limit, and so SDXL's two encoders, which have one vocabulary, stop at
        the same word; of SD3 and FLUX the T5 reads on where CLIP has stopped."""
        family = self._likely_family()
        folder = self.path if self.path.is_dir() else Path(str(self.config.get("model_config") or self.path))
        found = tokens.from_folder(folder / family.tokenizer) or tokens.estimate(family.reads)
        return replace(found, limit=family.tokens) if family.tokens else found

    # -- making images ---------------------------------------------------------------------------------------------

    def generate(self, batch: Sequence[Task], context: Context) -> Iterator[Result]:
        """Yield one Result per task. Out of memory halves the batch; one image that still does not fit fails alone."""
        import torch

        loaded = self._load()
        canvases, refusals = _canvases(batch, context)
        yield from refusals
        sound = [task for task in batch if task.id in canvases]
        waiting = self._parts(loaded, sound)
        while waiting:
            part = waiting.pop(0)
            part = [task for task in part if task.id not in context.cancelled()] or part[:1]
            try:
                yield from self._generate_part(loaded, part, canvases, context)
            except torch.OutOfMemoryError as error:
                pipelines.free_memory(loaded.device)
                smaller = self._smaller(loaded, part)
                if not smaller:
                    text = f"{part[0].spec.width}×{part[0].spec.height} does not fit into {loaded.device}'s memory."
                    yield Result(part[0].id, None, error=EngineError(ErrorKind.MEMORY, text, log=str(error)))
                waiting[:0] = smaller
        done = {task.id for task in sound} & context.cancelled()
        for task_id in done:
            yield Result(task_id, None, error=EngineError(ErrorKind.CANCELLED, "Cancelled."))

    def _parts(self, loaded: Loaded, tasks: Sequence[Task]) -> list[Sequence[Task]]:
        """The tasks in batches: one, or where every batch is filled up to a size, as many as that needs."""
        size = self._fits if loaded.accelerated.is_padding else max(1, len(tasks))
        return [tasks[start : start + size] for start in range(0, len(tasks), size)]

    def _smaller(self, loaded: Loaded, part: Sequence[Task]) -> list[Sequence[Task]]:
        """A batch that did not fit, in smaller ones; none if it was one image. Batches that are filled up are filled up
        to less from now on, so that they stay alike."""
        if loaded.accelerated.is_padding:
            if self._fits == 1:
                return []
            self._fits //= 2
            return self._parts(loaded, part)
        middle = len(part) // 2
        return [part[:middle], part[middle:]] if middle else []

    def _generate_part(
        self, loaded: Loaded, part: Sequence[Task], canvases: Mapping[int, Canvas | None], context: Context
    ) -> Iterator[Result]:
        started = time.perf_counter()
        batch, facts = self._draw(loaded, part, canvases, context)
        seconds = (time.perf_counter() - started) / len(part)
        cancelled = context.cancelled()
        model, revision = self.model_identity()
        cost = float(self.config.get("cost_per_image", 0.0))
        for place, task in enumerate(part):
            if task.id not in cancelled:
                arriving = partial(_finished, batch, place, canvases[task.id])
                result = Result(task.id, None, model, revision, task.spec.seed, seconds, cost, facts, arriving=arriving)
                yield result if isinstance(batch, Future) else result.arrived()

    def _draw(
        self, loaded: Loaded, part: Sequence[Task], canvases: Mapping[int, Canvas | None], context: Context
    ) -> tuple[Pixels | Future[Pixels], dict[str, Any]]:
        """(what the model makes of one batch, batch × height × width × 3, at once or decoded beside what comes next;
        the facts that making it again needs). A batch that is filled up repeats its last image; what it makes of the
        repeats is nobody's."""
        import torch

        spec, family = part[0].spec, loaded.family
        kind = parameters.kind(spec)
        settings = self.acceleration.effective(parameters.settings(spec, family, self.equipment))
        loras = settings.get("loras", {})
        adapters.set_loras(loaded, self.equipment, loras)
        pipe = loaded.fitting(kind)
        pipe.scheduler = loaded.fresh_scheduler(str(settings["scheduler"]))
        ids = [task.id for task in part]
        filled = [*part, *[part[-1]] * (self._fits - len(part))] if loaded.accelerated.is_padding else part
        arguments: dict[str, Any] = {
            **embeddings.arguments(loaded, [task.spec for task in filled], self._embeddings, tuple(loras.items())),
            "num_inference_steps": int(settings["steps"]),
            "guidance_scale": float(settings["guidance"]),
            "generator": [torch.Generator("cpu").manual_seed(task.spec.seed) for task in filled],
            "output_type": "latent" if loaded.decodes_apart else "pt",
            "callback_on_step_end": _watch(ids, parameters.worked_steps(kind, settings, family), context),
            "callback_on_step_end_tensor_inputs": [],
        }
        arguments |= _start([canvases[task.id] for task in filled], spec, kind, settings, pipe)
        with loaded.accelerated.at_work(spec.width, spec.height):
            made = pipe(**arguments).images
            pixels = loaded.pixels(pipe, made, spec.width, spec.height)
        facts = {
            "device": loaded.device,
            "dtype": loaded.dtype,
            "batch": len(part),
            "padded_batch": len(filled),
            "family": family.name,
            "scheduler": type(pipe.scheduler).__name__,
            "torch": torch.__version__,
            **loaded.accelerated.facts,
            **settings,
        }
        return pixels, facts

    def unload(self) -> None:
        """Give the model's memory back; the next `generate` loads it again."""
        if self._loaded is not None:
            loaded, self._loaded = self._loaded, None
            loaded.close()
            device = loaded.device
            del loaded
            pipelines.free_memory(device)

    def _load(self) -> Loaded:
        """The pipeline, loaded on first use. Raises EngineError of kind INPUT when the files are not a known model."""
        if self._loaded is not None:
            return self._loaded
        self._loaded = pipelines.load(self.path, self.config)
        return self._loaded


def _finished(batch: Pixels | Future[Pixels], place: int, start: Canvas | None) -> Pixels:
    """One picture of a batch, laid into what it started from."""
    image: Pixels = (batch.result() if isinstance(batch, Future) else batch)[place]
    return start.with_new(image) if start else image


def _watch(ids: Sequence[int], steps: int, context: Context) -> Any:
    """A step callback: says how far it is and stops when nobody wants any of the images. Reads nothing off the GPU."""

    def after_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        context.progress(ids, step + 1, steps)
        if context.cancelled().issuperset(ids):
            pipe._interrupt = True
        return tensors

    return after_step


def _canvases(part: Sequence[Task], context: Context) -> tuple[dict[int, Canvas | None], list[Result]]:
    """(what each task starts from, by its id; a refusal of each whose pictures cannot be used)."""
    found: dict[int, Canvas | None] = {}
    refused = []
    for task in part:
        try:
            found[task.id] = canvas.read(task.spec, context)
        except EngineError as error:
            refused.append(Result(task.id, None, error=error))
    return found, refused


def _start(
    canvases: Sequence[Canvas | None], spec: Spec, kind: str, settings: Mapping[str, Any], pipe: Any
) -> dict[str, Any]:
    """The pipeline's arguments for what a batch starts from: float tensors, batch × channels × height × width, 0–1."""
    import torch

    size = {"width": spec.width, "height": spec.height}
    if kind == "text":
        return size
    there = [one for one in canvases if one is not None]
    images = torch.from_numpy(np.stack([one.init for one in there])).permute(0, 3, 1, 2).float() / 255
    found = {"image": images, "strength": float(settings["strength"])}
    if kind == "inpaint":
        marked = np.stack([one.marked(pipe.vae_scale_factor) for one in there])[:, None]
        found["mask_image"] = torch.from_numpy(marked)
    takes = signature(pipe.__call__).parameters
    return {**found, **{name: value for name, value in size.items() if name in takes}}
