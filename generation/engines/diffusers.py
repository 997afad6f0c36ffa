"""The `diffusers` engine: Stable Diffusion 1.5 and SDXL from a local diffusers folder or a single safetensors file.

Product: Hugging Face diffusers 0.42 (https://huggingface.co/docs/diffusers) on torch 2.13. Text-to-image, and
image-to-image when the spec carries an "init" image. Importing this module loads neither torch nor diffusers, so that
planning can validate, quote and name the model; the first `generate` loads the weights and keeps them.

Each image has a generator of its own, seeded on the CPU: an image is the same alone and in a batch (to rounding).
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from campaigns.prompts import tokens
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

if TYPE_CHECKING:
    import torch

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
}
FAMILIES = {"StableDiffusionPipeline": "sd", "StableDiffusionXLPipeline": "sdxl"}
DEFAULTS: dict[str, Any] = {"steps": 30, "guidance": 7.0, "scheduler": "", "strength": 0.6}
EMBEDDINGS_KEPT = 256
SAMPLE_BYTES = 1 << 20

CONTROLS = (
    Control("prompt", "Prompt", "text"),
    Control("negative", "Avoid", "text"),
    Control("seed", "Seed", "seed"),
    Control("guidance", "Guidance", "number", default=7.0, minimum=0, maximum=20, step=0.5),
    Control("steps", "Steps", "number", default=30, minimum=1, maximum=150, step=1),
    Control("strength", "Change of the start image", "number", default=0.6, minimum=0.05, maximum=1, step=0.05),
)


@dataclass
class Loaded:
    """A pipeline in memory, with what was learnt about it."""

    text: Any
    image: Any
    family: str
    device: str
    dtype: str


class Diffusers:
    """One local model. config:

    model: path of a diffusers folder or of one .safetensors file (required).
    model_config: for a single file, a folder with the configurations and tokenizers of its family (a diffusers folder
    without weights); without it diffusers looks for them in its own cache.
    device: "cuda", "cpu", "mps"; chosen when absent. dtype: "float32", "float16", "bfloat16"; bfloat16 on CUDA else
    float32. safety_checker: true keeps the model's own. seconds_per_image, cost_per_image: for quotes.
    """

    name = "diffusers"

    def __init__(self, config: Mapping[str, Any]) -> None:
        if not config.get("model"):
            raise ValueError('The endpoint needs "model": the path of a diffusers folder or a .safetensors file.')
        self.path = Path(str(config["model"]))
        self.config = dict(config)
        self._loaded: Loaded | None = None
        self._embeddings: OrderedDict[tuple[str, str], tuple[torch.Tensor | None, ...]] = OrderedDict()
        self._identity: tuple[str, str] | None = None

    # -- what planning asks ----------------------------------------------------------------------------------------

    def capabilities(self) -> Capabilities:
        return Capabilities(
            is_remote=False,
            obeys=frozenset({"prompt", "negative", "seed", *DEFAULTS}),
            controls=CONTROLS,
            optional_images=frozenset({"init"}),
            max_width=2048,
            max_height=2048,
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
        return problems

    def batch_key(self, spec: Spec) -> str:
        settings = _settings(spec)
        kind = "image" if "init" in spec.images else "text"
        plain = json.dumps([kind, spec.width, spec.height, settings], sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:16]

    def model_identity(self) -> tuple[str, str]:
        """(file or folder name, digest). The digest covers every weight file's name, size, header and samples of its
        content: enough to tell models apart without reading gigabytes while a person waits for a plan."""
        if self._identity is None:
            self._identity = (self.path.name, _digest(self.path))
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
        waiting = [list(batch)]
        while waiting:
            part = waiting.pop(0)
            part = [task for task in part if task.id not in context.cancelled()] or part[:1]
            try:
                yield from self._generate_part(loaded, part, context)
            except torch.OutOfMemoryError as error:
                _free_memory(loaded.device)
                if len(part) == 1:
                    text = f"{part[0].spec.width}×{part[0].spec.height} does not fit into {loaded.device}'s memory."
                    yield Result(part[0].id, None, error=EngineError(ErrorKind.MEMORY, text, log=str(error)))
                else:
                    middle = len(part) // 2
                    waiting[:0] = [part[:middle], part[middle:]]
        done = {task.id for task in batch} & context.cancelled()
        for task_id in done:
            yield Result(task_id, None, error=EngineError(ErrorKind.CANCELLED, "Cancelled."))

    def _generate_part(self, loaded: Loaded, part: Sequence[Task], context: Context) -> Iterator[Result]:
        import torch

        started = time.perf_counter()
        spec = part[0].spec
        settings = _settings(spec)
        pipe = loaded.image if "init" in spec.images else loaded.text
        pipe.scheduler = _scheduler(loaded.text.scheduler, str(settings["scheduler"]))
        ids = [task.id for task in part]
        arguments: dict[str, Any] = {
            **self._embed(loaded, [task.spec for task in part]),
            "num_inference_steps": int(settings["steps"]),
            "guidance_scale": float(settings["guidance"]),
            "generator": [torch.Generator("cpu").manual_seed(task.spec.seed) for task in part],
            "output_type": "pt",
            "callback_on_step_end": _watch(ids, int(settings["steps"]), context),
            "callback_on_step_end_tensor_inputs": [],
        }
        if "init" in spec.images:
            arguments["image"] = _start_images(part, context)
            arguments["strength"] = float(settings["strength"])
        else:
            arguments |= {"width": spec.width, "height": spec.height}
        with torch.inference_mode():
            images = pipe(**arguments).images
            pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        seconds = (time.perf_counter() - started) / len(part)
        cancelled = context.cancelled()
        model, revision = self.model_identity()
        facts = {
            "device": loaded.device,
            "dtype": loaded.dtype,
            "batch": len(part),
            "family": loaded.family,
            "scheduler": type(pipe.scheduler).__name__,
            "torch": torch.__version__,
            **settings,
        }
        for task, image in zip(part, pixels, strict=True):
            if task.id not in cancelled:
                cost = float(self.config.get("cost_per_image", 0.0))
                yield Result(task.id, image, model, revision, task.spec.seed, seconds, cost, facts)

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
        family = family_of(self.path)
        import diffusers
        import torch

        device = str(self.config.get("device") or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = str(self.config.get("dtype") or ("bfloat16" if device.startswith("cuda") else "float32"))
        text_class = diffusers.StableDiffusionXLPipeline if family == "sdxl" else diffusers.StableDiffusionPipeline
        image_class = (
            diffusers.StableDiffusionXLImg2ImgPipeline if family == "sdxl" else diffusers.StableDiffusionImg2ImgPipeline
        )
        options: dict[str, Any] = {"dtype": getattr(torch, dtype), "local_files_only": True}
        if family == "sd" and not self.config.get("safety_checker"):
            options |= {"safety_checker": None, "requires_safety_checker": False}
        try:
            if self.path.is_dir():
                pipe = text_class.from_pretrained(self.path, use_safetensors=True, **options)
            else:
                if self.config.get("model_config"):
                    options["config"] = str(self.config["model_config"])
                pipe = text_class.from_single_file(str(self.path), **options)
        except (OSError, ValueError, KeyError) as error:
            raise EngineError(ErrorKind.INPUT, f"{self.path.name} could not be loaded: {error}"[:500]) from error
        pipe.set_progress_bar_config(disable=True)
        pipe = pipe.to(device)
        if family == "sdxl" and hasattr(pipe, "watermark"):
            pipe.watermark = None
        image_pipe = image_class.from_pipe(pipe)
        image_pipe.set_progress_bar_config(disable=True)
        self._loaded = Loaded(pipe, image_pipe, family, device, dtype)
        return self._loaded


def family_of(path: Path) -> str:
    """ "sd" or "sdxl", read from model_index.json or from the tensor names of a single file. Raises EngineError."""
    if path.is_dir():
        try:
            class_name = json.loads((path / "model_index.json").read_text())["_class_name"]
        except (OSError, ValueError, KeyError) as error:
            raise EngineError(ErrorKind.INPUT, f"{path} is not a diffusers folder: {error}") from error
        if class_name not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise EngineError(ErrorKind.INPUT, f"{path.name} is a {class_name}; this engine runs {known}.")
        return FAMILIES[class_name]
    names = _tensor_names(path)
    if any(name.startswith("conditioner.embedders.1.") for name in names):
        return "sdxl"
    if any(name.startswith("cond_stage_model.transformer.") for name in names):
        return "sd"
    raise EngineError(ErrorKind.INPUT, f"{path.name} holds neither Stable Diffusion 1.5 nor SDXL weights.")


def _tensor_names(path: Path) -> set[str]:
    try:
        return set(json.loads(_safetensors_header(path)))
    except (OSError, ValueError, struct.error) as error:
        raise EngineError(ErrorKind.INPUT, f"{path} is not a safetensors file: {error}") from error


def _safetensors_header(path: Path) -> bytes:
    """The JSON header: its length stands in the first eight bytes, little endian."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > 100_000_000:
            raise ValueError("its header is over 100 MB")
        return file.read(length)


def _digest(path: Path) -> str:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        whole.update(f"{file.relative_to(path) if file != path else file.name}\0{size}\0".encode())
        with file.open("rb") as stream:
            for part in range(8):
                stream.seek(size * part // 8)
                whole.update(stream.read(SAMPLE_BYTES))
    return whole.hexdigest()[:32]


def _settings(spec: Spec) -> dict[str, Any]:
    """The parameters that a whole batch shares, defaults filled in."""
    settings = {**DEFAULTS, **{name: spec.parameters[name] for name in DEFAULTS if name in spec.parameters}}
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


def _scheduler(current: Any, wanted: str) -> Any:
    """A fresh scheduler (they keep state) of the wanted kind, configured as the model's own."""
    import diffusers

    kind = getattr(diffusers, SCHEDULERS[wanted]) if wanted else type(current)
    return kind.from_config(current.config)


def _watch(ids: Sequence[int], steps: int, context: Context) -> Any:
    """A step callback: says how far it is and stops when nobody wants any of the images. Reads nothing off the GPU."""

    def after_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        context.progress(ids, step + 1, steps)
        if context.cancelled().issuperset(ids):
            pipe._interrupt = True
        return tensors

    return after_step


def _start_images(part: Sequence[Task], context: Context) -> Any:
    """The init images as one float tensor, batch × 3 × height × width, 0–1."""
    import torch
    from PIL import Image

    rows: list[Pixels] = []
    for task in part:
        with Image.open(io.BytesIO(context.load(task.spec.images["init"]))) as image:
            size = (task.spec.width, task.spec.height)
            rows.append(np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS), dtype=np.uint8))
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 255


def _free_memory(device: str) -> None:
    import gc

    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
