"""Pipelines in memory: loaded from a folder or a single file, sharing one set of weights, each with a fresh scheduler.

What planning asks and the drawing itself are diffusers.py's. Importing this module loads neither torch nor diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generation.engines.base import EngineError, ErrorKind
from generation.engines.weights import family_of

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
}


@dataclass
class Loaded:
    """A pipeline in memory, with what was learnt about it."""

    text: Any
    image: Any
    inpaint: Any
    family: str
    device: str
    dtype: str

    def fitting(self, kind: str) -> Any:
        """The pipeline of a kind of job; they share their components, so that the weights are there once."""
        return {"text": self.text, "image": self.image, "inpaint": self.inpaint}[kind]

    def fresh_scheduler(self, wanted: str) -> Any:
        """A scheduler of the wanted kind, of the model's own where it is "", configured as the model's own. They keep
        state, so every batch has its own."""
        import diffusers

        current = self.text.scheduler
        kind = getattr(diffusers, SCHEDULERS[wanted]) if wanted else type(current)
        return kind.from_config(current.config)


def load(path: Path, config: Mapping[str, Any]) -> Loaded:
    """The model at `path` on the device of `config` (as of diffusers.Diffusers). Raises EngineError of kind INPUT when
    the files are not a known model."""
    family = family_of(path)
    import diffusers
    import torch

    device = str(config.get("device") or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = str(config.get("dtype") or ("bfloat16" if device.startswith("cuda") else "float32"))
    if device == "cpu":
        settle_on_cpu(int(config.get("threads") or 0))
    pipe = _read(path, family, config, getattr(torch, dtype))
    pipe.set_progress_bar_config(disable=True)
    pipe = pipe.to(device)
    if hasattr(pipe, "watermark"):
        pipe.watermark = None
    kinds = ("XLImg2Img", "XLInpaint") if family == "sdxl" else ("Img2Img", "Inpaint")
    image, inpaint = (sharing(pipe, getattr(diffusers, f"StableDiffusion{one}Pipeline")) for one in kinds)
    return Loaded(pipe, image, inpaint, family, device, dtype)


def _read(path: Path, family: str, config: Mapping[str, Any], dtype: Any) -> Any:
    """The text-to-image pipeline of a folder or a single file, on the CPU."""
    import diffusers

    text_class = diffusers.StableDiffusionXLPipeline if family == "sdxl" else diffusers.StableDiffusionPipeline
    options: dict[str, Any] = {"dtype": dtype, "local_files_only": True}
    if family == "sd" and not config.get("safety_checker"):
        options |= {"safety_checker": None, "requires_safety_checker": False}
    try:
        if path.is_dir():
            return text_class.from_pretrained(path, use_safetensors=True, **options)
        if config.get("model_config"):
            options["config"] = str(config["model_config"])
        return text_class.from_single_file(str(path), **options)
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(ErrorKind.INPUT, f"{path.name} could not be loaded: {error}"[:500]) from error


def sharing(pipe: Any, kind: Any) -> Any:
    """Another pipeline of the same components. The autoencoder is named, because from_pipe leaves out small ones
    (AutoencoderTiny) and then misses one."""
    other = kind.from_pipe(pipe, vae=pipe.vae)
    other.set_progress_bar_config(disable=True)
    if hasattr(other, "watermark"):
        other.watermark = None
    return other


def settle_on_cpu(threads: int) -> None:
    """Before anything runs in parallel, because torch's threads take the floating-point mode of whoever starts them.

    Numbers next to zero, of which small models have many, cost a CPU many times as much as others.
    """
    import torch

    torch.set_flush_denormal(True)
    if threads:
        torch.set_num_threads(threads)


def free_memory(device: str) -> None:
    import gc

    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
