"""Draw one batch: the encoded texts, the arguments of each pass, and the images that go from pass to pass.

A plain job has one pass. A recipe (parameters.py) has more: each later pass starts from the image of the one before. An
image keeps its random generator from pass to pass, so that it is the same alone and in a batch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np

from generation.engines.base import Context, Pixels, Spec
from generation.engines.diffusers import adapters, parameters
from generation.engines.diffusers.parameters import Pass
from generation.engines.diffusers.pipelines import LoadedPipeline
from generation.engines.diffusers.sources import Source

DEVICE_BYTES = 256 * 1024 * 1024
"""On the GPU: 800 prompts of SDXL (77 × 2048 in 16 bits), 60 of FLUX.1 (512 × 4096)."""
HOST_BYTES = 1024 * 1024 * 1024
Encoded = tuple[Any, ...]
"""Tensors: the embedding, 1 × tokens × width, and the pooled embedding, 1 × width, or None."""


@dataclass(frozen=True)
class Batch:
    """Tasks that are drawn together. settings: those that all share (capabilities.settings), adjusted by the tier.
    padded_size: the size to which the batch is filled up by repeating the last task; those images are dropped."""

    sources: Sequence[Source]
    settings: Mapping[str, Any]
    padded_size: int

    @property
    def padded(self) -> list[Source]:
        return [*self.sources, *[self.sources[-1]] * (self.padded_size - len(self.sources))]


def draw(
    loaded: LoadedPipeline, batch: Batch, cache: EmbeddingCache, context: Context
) -> tuple[Pixels | Future[Pixels], dict[str, Any]]:
    """Return (pixels, facts). pixels: batch × height × width × 3, or a future if they are decoded in the background.
    facts: needed to make them again. Raises EngineError of kind INPUT if the equipment does not fit the model."""
    import torch

    # The tasks have size and kind in common.
    passes = parameters.passes(batch.sources[0].task.spec, batch.settings, loaded.family)
    adapters.set_loras(loaded, batch.settings.get("loras", {}))
    generators = [torch.Generator("cpu").manual_seed(source.task.spec.seed) for source in batch.padded]
    images: Any = None
    done, total = 0, sum(pass_.worked for pass_ in passes)
    for pass_ in passes:
        model = loaded.load_refiner() if pass_.is_refiner else loaded
        is_last = pass_ is passes[-1]
        control = str(batch.settings.get("control", "")) if pass_.is_first else ""
        if control and control not in model.controlnets:
            adapters.load_controlnet(model, control)
        pipe = model.pipeline_for(pass_.kind, control)
        arguments = _arguments(model, pipe, pass_, batch, cache, images)
        pipe.scheduler = model.new_scheduler("" if pass_.is_refiner else str(batch.settings["scheduler"]))
        arguments |= {
            "generator": generators,
            "output_type": "latent" if is_last and loaded.decodes_latents else "pt",
            "callback_on_step_end": _report_steps(batch, done, total, context),
            "callback_on_step_end_tensor_inputs": [],
        }
        done += pass_.worked
        with loaded.accelerated.configure_torch(pass_.width, pass_.height):
            images = pipe(**arguments).images
            if is_last:
                pixels = loaded.decode_pixels(pipe, images, pass_.width, pass_.height)
    return pixels, _facts(loaded, batch, type(pipe.scheduler).__name__)


def _arguments(
    model: LoadedPipeline, pipe: Any, pass_: Pass, batch: Batch, cache: EmbeddingCache, images: Any
) -> dict[str, Any]:
    """Return the arguments of one pass, without those of every call. images: of the pass before."""
    settings = batch.settings
    key = ("refiner",) if pass_.is_refiner else tuple(settings.get("loras", {}).items())
    arguments: dict[str, Any] = {
        **_text_arguments(model, [source.task.spec for source in batch.padded], cache, key),
        "num_inference_steps": pass_.steps,
        "guidance_scale": float(settings["guidance"]),
    }
    if pass_.kind != "text":
        arguments |= _start_arguments(batch, pass_, pipe, images)
    if not pass_.is_refiner:
        reference_images = [source.reference for source in batch.padded]
        arguments |= adapters.reference_arguments(model, pipe, reference_images, settings)
    if pass_.is_first and settings.get("control"):
        maps = [source.control for source in batch.padded if source.control is not None]
        arguments |= adapters.control_arguments(pipe, pass_, maps, settings)
    takes = signature(pipe.__call__).parameters
    return arguments | {name: getattr(pass_, name) for name in ("width", "height") if name in takes}


def _text_arguments(
    loaded: LoadedPipeline, specs: Sequence[Spec], cache: EmbeddingCache, key: Hashable
) -> dict[str, Any]:
    """Return a pipeline's embedding arguments for a batch. key: what else decides an embedding, such as LoRAs."""
    import torch

    def encode(text: str) -> Encoded:
        return cache.get((text, key), loaded.device, lambda: _encode(loaded, text))

    rows = {"": [encode(spec.prompt) for spec in specs]}
    if loaded.family.obeys_negative:
        # SDXL was trained with zeros for an empty negative prompt, and says so in its configuration.
        has_zeros = getattr(loaded.text.config, "force_zeros_for_empty_prompt", False)
        rows["negative_"] = [
            encode(spec.negative) if spec.negative or not has_zeros else _map(lambda tensor: tensor * 0, positive)
            for spec, positive in zip(specs, rows[""], strict=True)
        ]
    embeddings: dict[str, Any] = {}
    for prefix, encoded in rows.items():
        for name, column in zip(("prompt_embeds", "pooled_prompt_embeds"), zip(*encoded, strict=True), strict=True):
            if column[0] is not None:
                embeddings[f"{prefix}{name}"] = torch.cat(column)
    return embeddings


def _encode(loaded: LoadedPipeline, text: str) -> Encoded:
    import torch

    family = loaded.family
    options: dict[str, Any] = {f"prompt_{number}": None for number in range(2, family.encoders + 1)}
    if family.obeys_negative:
        options["do_classifier_free_guidance"] = False
    if family.tokens:
        options["max_sequence_length"] = family.tokens
    with torch.inference_mode():
        answer = loaded.text.encode_prompt(prompt=text, device=loaded.device, num_images_per_prompt=1, **options)
    return tuple(answer[place] if place >= 0 else None for place in family.encoded)


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
    canvases = [source.canvas for source in batch.padded if source.canvas is not None]
    start = torch.from_numpy(np.stack([canvas.init for canvas in canvases])).permute(0, 3, 1, 2).float() / 255
    if pass_.kind == "inpaint":
        marked = np.stack([canvas.cell_mask(pipe.vae_scale_factor) for canvas in canvases])[:, None]
        arguments["mask_image"] = torch.from_numpy(marked)
    return arguments | {"image": start}


def _facts(loaded: LoadedPipeline, batch: Batch, scheduler: str) -> dict[str, Any]:
    import torch

    is_unread = not loaded.family.obeys_negative and any(source.task.spec.negative for source in batch.sources)
    return {
        "device": loaded.device,
        "dtype": loaded.dtype,
        "batch": len(batch.sources),
        "padded_batch": batch.padded_size,
        "family": loaded.family.name,
        "scheduler": scheduler,
        "torch": torch.__version__,
        **loaded.accelerated.facts,
        **batch.settings,
        **({"unread": ["negative"]} if is_unread else {}),
    }


def _report_steps(batch: Batch, done: int, total: int, context: Context) -> Callable[..., dict[str, Any]]:
    """Return a pass's callback, which reports each step of all passes and stops when all tasks are cancelled. It reads
    nothing from the GPU. done: the steps of the passes before."""
    ids = [source.task.id for source in batch.sources]

    def after_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        context.progress(ids, done + step + 1, total)
        if context.cancelled().issuperset(ids):
            pipe._interrupt = True
        return tensors

    return after_step


class EmbeddingCache:
    """Encoded texts by key, bounded in bytes: the last used are on the GPU, older ones in main memory. For one thread.

    A campaign draws thousands of images from a few prompts and one negative prompt. Each text is cached by itself, so
    that a new prompt does not encode the negative prompt again.
    """

    def __init__(self, *, device_bytes: int = DEVICE_BYTES, host_bytes: int = HOST_BYTES) -> None:
        self.device_bytes = device_bytes
        self.host_bytes = host_bytes
        self._near: OrderedDict[Hashable, Encoded] = OrderedDict()
        self._far: OrderedDict[Hashable, Encoded] = OrderedDict()

    def get(self, key: Hashable, device: str, encode: Callable[[], Encoded]) -> Encoded:
        """Return the tensors of `key` on `device`, from `encode` if they are not cached; None stays None."""
        encoded = self._near.pop(key, None)
        if encoded is None and key in self._far:
            encoded = _map(lambda tensor: tensor.to(device), self._far.pop(key))
        self._near[key] = encode() if encoded is None else encoded
        self._evict()
        return self._near[key]

    def move_to_host(self) -> None:
        """Move everything to main memory, because the GPU is needed for something else."""
        while self._near:
            self._move_oldest()
        self._evict()

    def _evict(self) -> None:
        """Evict down to the limits. The last requested text stays on the GPU: it is about to be used."""
        while len(self._near) > 1 and _count_bytes(self._near) > self.device_bytes:
            self._move_oldest()
        while self._far and _count_bytes(self._far) > self.host_bytes:
            self._far.popitem(last=False)

    def _move_oldest(self) -> None:
        key, encoded = self._near.popitem(last=False)
        self._far[key] = _map(lambda tensor: tensor.to("cpu"), encoded)


def _map(change: Callable[[Any], Any], encoded: Encoded) -> Encoded:
    return tuple(None if tensor is None else change(tensor) for tensor in encoded)


def _count_bytes(kept: OrderedDict[Hashable, Encoded]) -> int:
    return sum(tensor.nbytes for encoded in kept.values() for tensor in encoded if tensor is not None)
