"""The `diffusers` engine: Stable Diffusion 1.5 and SDXL from a local diffusers folder or a single safetensors file.

Product: Hugging Face diffusers 0.42 (https://huggingface.co/docs/diffusers) on torch 2.13. Text-to-image;
image-to-image when the spec carries an "init" image; with a "mask" beside it only what the mask marks is made anew, by
the same weights (U-Nets with the four channels of text-to-image), and the rest of that picture stays (canvas.py).

Importing this module loads neither torch nor diffusers, so that planning can validate, quote and name the model; the
first `generate` loads the weights and keeps them.

Each image has a generator of its own, seeded on the CPU: an image is the same alone and in a batch (to rounding).
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from campaigns.prompts import tokens
from generation.engines import canvas, pipelines
from generation.engines.base import (
    Capabilities,
    Context,
    Control,
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
from generation.engines.pipelines import SCHEDULERS, Loaded
from generation.engines.weights import digest, family_of

if TYPE_CHECKING:
    import torch

DEFAULTS: dict[str, Any] = {"steps": 30, "guidance": 7.0, "scheduler": "", "strength": 0.6}
EMBEDDINGS_KEPT = 256
MOST_SIDE = 2048

CONTROLS = (
    Control("prompt", "Prompt", "text"),
    Control("negative", "Avoid", "text"),
    Control("seed", "Seed", "seed"),
    Control("guidance", "Guidance", "number", default=7.0, minimum=0, maximum=20, step=0.5),
    Control("steps", "Steps", "number", default=30, minimum=1, maximum=150, step=1),
    Control("strength", "Change of the start image", "number", default=0.6, minimum=0.05, maximum=1, step=0.05),
)


class Diffusers:
    """One local model. config:

    model: path of a diffusers folder or of one .safetensors file (required).
    model_config: for a single file, a folder with the configurations and tokenizers of its family (a diffusers folder
    without weights); without it diffusers looks for them in its own cache.
    device: "cuda", "cpu", "mps"; chosen when absent. dtype: "float32", "float16", "bfloat16"; bfloat16 on CUDA else
    float32. safety_checker: true keeps the model's own. seconds_per_image, cost_per_image: for quotes.
    max_side: the longest side in pixels that the model can draw; larger outputs are enlarged from it (2048).
    threads: of the CPU; torch's own choice when absent, one where other work keeps the cores busy.
    """

    name = "diffusers"

    def __init__(self, config: Mapping[str, Any]) -> None:
        if not config.get("model"):
            raise ValueError('The endpoint needs "model": the path of a diffusers folder or a .safetensors file.')
        self.path = Path(str(config["model"]))
        self.config = dict(config)
        self.max_side = int(config.get("max_side") or MOST_SIDE)
        self._loaded: Loaded | None = None
        self._embeddings: OrderedDict[tuple[str, str], tuple[torch.Tensor | None, ...]] = OrderedDict()
        self._identity: tuple[str, str] | None = None

    # -- what planning asks ----------------------------------------------------------------------------------------

    def capabilities(self) -> Capabilities:
        return Capabilities(
            is_remote=False,
            obeys=frozenset({"prompt", "negative", "seed", *DEFAULTS}),
            controls=CONTROLS,
            optional_images=frozenset({"init", "mask"}),
            max_width=self.max_side,
            max_height=self.max_side,
            size_multiple=8,
        )

    def validate(self, spec: Spec) -> list[str]:
        problems = [
            f"Unknown parameter {name!r}; known are {', '.join(DEFAULTS)}."
            for name in sorted(set(spec.parameters) - set(DEFAULTS))
        ]
        if spec.width % 8 or spec.height % 8:
            problems.append(f"{spec.width}×{spec.height}: width and height must be multiples of 8.")
        scheduler = str(spec.parameters.get("scheduler", ""))
        if scheduler and scheduler not in SCHEDULERS:
            problems.append(f"Unknown scheduler {scheduler!r}; known are {', '.join(SCHEDULERS)}.")
        for name, low, high in (("steps", 1, 150), ("guidance", 0, 30), ("strength", 0.01, 1)):
            value = spec.parameters.get(name, DEFAULTS[name])
            if not _is_number(value) or not low <= float(value) <= high:
                problems.append(f"{name} is {value!r}; expected a number from {low} to {high}.")
        if "mask" in spec.images and "init" not in spec.images:
            problems.append("There is a mask, but no picture to repaint: give it the start image too.")
        if not problems and "init" in spec.images and _steps(spec) < 1:
            settings = _settings(spec)
            problems.append(
                f"A change of {settings['strength']:g} in {settings['steps']} steps leaves no step to work in; "
                f"take at least {ceil(1 / settings['strength'])} steps."
            )
        return problems

    def batch_key(self, spec: Spec) -> str:
        settings = _settings(spec)
        plain = json.dumps([_kind(spec), spec.width, spec.height, settings], sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:16]

    def model_identity(self) -> tuple[str, str]:
        """(file or folder name, digest)."""
        if self._identity is None:
            self._identity = (self.path.name, digest(self.path))
        return self._identity

    def quote(self, spec: Spec) -> Quote:
        return Quote(
            cost=float(self.config.get("cost_per_image", 0.0)),
            seconds=float(self.config.get("seconds_per_image", 2.0)),
        )

    def health(self) -> Health:
        try:
            family = family_of(self.path)
        except EngineError as error:
            return Health(False, error.message)
        facts: dict[str, Any] = {"family": family, "is_loaded": self._loaded is not None}
        torch_module = sys.modules.get("torch")
        if torch_module is not None and torch_module.cuda.is_available():
            free, total = torch_module.cuda.mem_get_info()
            facts |= {"device": torch_module.cuda.get_device_name(), "free_bytes": free, "total_bytes": total}
        return Health(True, f"{self.path.name} ({family}) is readable.", facts)

    def text_encoder(self) -> tokens.Encoder:
        """How the model's CLIP reads: counted with its own tokenizer files where there are any. The pipelines cut off
        what is behind the limit, and so SDXL's two encoders, which have one vocabulary, stop at the same word."""
        folder = self.path if self.path.is_dir() else Path(str(self.config.get("model_config") or self.path))
        return tokens.from_folder(folder / "tokenizer") or tokens.estimate("clip")

    # -- making images ---------------------------------------------------------------------------------------------

    def generate(self, batch: Sequence[Task], context: Context) -> Iterator[Result]:
        """Yield one Result per task. Out of memory halves the batch; one image that still does not fit fails alone."""
        import torch

        loaded = self._load()
        canvases, refusals = _canvases(batch, context)
        yield from refusals
        sound = [task for task in batch if task.id in canvases]
        waiting = [sound] if sound else []
        while waiting:
            part = waiting.pop(0)
            part = [task for task in part if task.id not in context.cancelled()] or part[:1]
            try:
                yield from self._generate_part(loaded, part, canvases, context)
            except torch.OutOfMemoryError as error:
                pipelines.free_memory(loaded.device)
                if len(part) == 1:
                    text = f"{part[0].spec.width}×{part[0].spec.height} does not fit into {loaded.device}'s memory."
                    yield Result(part[0].id, None, error=EngineError(ErrorKind.MEMORY, text, log=str(error)))
                else:
                    middle = len(part) // 2
                    waiting[:0] = [part[:middle], part[middle:]]
        done = {task.id for task in sound} & context.cancelled()
        for task_id in done:
            yield Result(task_id, None, error=EngineError(ErrorKind.CANCELLED, "Cancelled."))

    def _generate_part(
        self, loaded: Loaded, part: Sequence[Task], canvases: Mapping[int, Canvas | None], context: Context
    ) -> Iterator[Result]:
        started = time.perf_counter()
        pixels, facts = self._draw(loaded, part, canvases, context)
        seconds = (time.perf_counter() - started) / len(part)
        cancelled = context.cancelled()
        model, revision = self.model_identity()
        cost = float(self.config.get("cost_per_image", 0.0))
        for task, image in zip(part, pixels, strict=True):
            if task.id not in cancelled:
                start = canvases[task.id]
                whole = start.with_new(image) if start else image
                yield Result(task.id, whole, model, revision, task.spec.seed, seconds, cost, facts)

    def _draw(
        self, loaded: Loaded, part: Sequence[Task], canvases: Mapping[int, Canvas | None], context: Context
    ) -> tuple[Pixels, dict[str, Any]]:
        """(what the model makes of one batch, batch × height × width × 3; the facts that making it again needs)."""
        import torch

        spec = part[0].spec
        settings = _settings(spec)
        pipe = loaded.fitting(_kind(spec))
        pipe.scheduler = loaded.fresh_scheduler(str(settings["scheduler"]))
        ids = [task.id for task in part]
        arguments: dict[str, Any] = {
            **self._embed(loaded, [task.spec for task in part]),
            "num_inference_steps": int(settings["steps"]),
            "guidance_scale": float(settings["guidance"]),
            "generator": [torch.Generator("cpu").manual_seed(task.spec.seed) for task in part],
            "output_type": "pt",
            "callback_on_step_end": _watch(ids, _steps(spec), context),
            "callback_on_step_end_tensor_inputs": [],
        }
        arguments |= _start([canvases[task.id] for task in part], spec, pipe)
        with torch.inference_mode():
            images = pipe(**arguments).images
            pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        facts = {
            "device": loaded.device,
            "dtype": loaded.dtype,
            "batch": len(part),
            "family": loaded.family,
            "scheduler": type(pipe.scheduler).__name__,
            "torch": torch.__version__,
            **settings,
        }
        return pixels, facts

    def _embed(self, loaded: Loaded, specs: Sequence[Spec]) -> dict[str, Any]:
        """The pipeline's embedding arguments for these prompts, each text encoded once while it stays in the cache."""
        import torch

        rows = [self._embedding(loaded, spec.prompt, spec.negative) for spec in specs]
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        columns = zip(names, zip(*rows, strict=True), strict=False)
        return {name: torch.cat(values) for name, values in columns if values[0] is not None}

    def _embedding(self, loaded: Loaded, prompt: str, negative: str) -> tuple[torch.Tensor | None, ...]:
        import torch

        key = (prompt, negative)
        if key in self._embeddings:
            self._embeddings.move_to_end(key)
            return self._embeddings[key]
        pipe = loaded.text
        with torch.inference_mode():
            if loaded.family == "sdxl":
                positive, unwanted, pooled, unwanted_pooled = pipe.encode_prompt(
                    prompt=prompt,
                    negative_prompt=negative,
                    device=loaded.device,
                    num_images_per_prompt=1,
                    do_classifier_free_guidance=True,
                )
                row: tuple[torch.Tensor | None, ...] = (positive, unwanted, pooled, unwanted_pooled)
            else:
                positive, unwanted = pipe.encode_prompt(
                    prompt=prompt,
                    negative_prompt=negative,
                    device=loaded.device,
                    num_images_per_prompt=1,
                    do_classifier_free_guidance=True,
                )
                row = (positive, unwanted, None, None)
        self._embeddings[key] = row
        if len(self._embeddings) > EMBEDDINGS_KEPT:
            self._embeddings.popitem(last=False)
        return row

    def _load(self) -> Loaded:
        """The pipeline, loaded on first use. Raises EngineError of kind INPUT when the files are not a known model."""
        if self._loaded is not None:
            return self._loaded
        self._loaded = pipelines.load(self.path, self.config)
        return self._loaded


def _kind(spec: Spec) -> str:
    """ "text", "image" or "inpaint": by which pictures the spec carries."""
    if "init" not in spec.images:
        return "text"
    return "inpaint" if "mask" in spec.images else "image"


def _steps(spec: Spec) -> int:
    """The steps that are worked: from a start image only the last ones, the share `strength` of them."""
    settings = _settings(spec)
    if _kind(spec) == "text":
        return int(settings["steps"])
    return min(int(settings["steps"] * settings["strength"]), int(settings["steps"]))


def _settings(spec: Spec) -> dict[str, Any]:
    """The parameters that a whole batch shares, defaults filled in. What a mask marks is made wholly anew."""
    standard = {**DEFAULTS, "strength": 1.0} if _kind(spec) == "inpaint" else DEFAULTS
    settings = {**standard, **{name: spec.parameters[name] for name in DEFAULTS if name in spec.parameters}}
    settings["steps"] = int(float(settings["steps"]))
    settings["guidance"] = float(settings["guidance"])
    settings["strength"] = float(settings["strength"])
    return settings


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


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


def _start(canvases: Sequence[Canvas | None], spec: Spec, pipe: Any) -> dict[str, Any]:
    """The pipeline's arguments for what a batch starts from: float tensors, batch × channels × height × width, 0–1."""
    import torch

    kind = _kind(spec)
    if kind == "text":
        return {"width": spec.width, "height": spec.height}
    there = [one for one in canvases if one is not None]
    images = torch.from_numpy(np.stack([one.init for one in there])).permute(0, 3, 1, 2).float() / 255
    arguments = {"image": images, "strength": float(_settings(spec)["strength"])}
    if kind == "image":
        return arguments
    marked = np.stack([one.marked(pipe.vae_scale_factor) for one in there])[:, None]
    size = {"width": spec.width, "height": spec.height}
    return {**arguments, **size, "mask_image": torch.from_numpy(marked)}
