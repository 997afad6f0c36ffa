"""Pipelines in memory: loaded from a folder or a single file, sharing one set of weights, each with a fresh scheduler.

The planning interface is in engine.py, drawing in drawing.py. Importing this module loads neither torch nor diffusers.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache, wraps
from inspect import signature
from pathlib import Path
from typing import Any

from generation.engines.base import EngineError, ErrorKind, Pixels
from generation.engines.diffusers import acceleration, decoding, original_configs
from generation.engines.diffusers.acceleration import AcceleratedPipeline
from generation.engines.diffusers.config import Config
from generation.engines.diffusers.decoding import Decoder
from generation.engines.diffusers.equipment import Equipment
from generation.engines.diffusers.families import BY_CLASS, Family, family_of
from generation.engines.diffusers.weight_files import ensure_complete, tensor_names


@dataclass
class LoadedPipeline:
    """A model in memory, with its state. text: the pipeline as it was loaded, which has all networks. scheduler: the
    model's own, which no batch uses directly. loras: the loaded ones, PEFT's name by the endpoint's; weights: the LoRA
    weights of the last batch, None if unknown. controlnets: the loaded ones. pipelines: see `pipeline_for`."""

    text: Any
    family: Family
    device: str
    dtype: str
    accelerated: AcceleratedPipeline
    scheduler: Any
    decoder: Decoder | None = None
    equipment: Equipment = field(default_factory=Equipment)
    loras: dict[str, str] = field(default_factory=dict)
    weights: dict[str, float] | None = None
    controlnets: dict[str, Any] = field(default_factory=dict)
    pipelines: dict[tuple[str, str], Any] = field(default_factory=dict)
    has_adapter: bool = False
    refiner: LoadedPipeline | None = None

    @property
    def decodes_latents(self) -> bool:
        """Return True if we decode the latents instead of the pipeline: the tier is not "final" (the pipeline as
        shipped) and no safety checker has to see the pixels."""
        return self.accelerated.config.tier != "final" and getattr(self.text, "safety_checker", None) is None

    def decode_pixels(self, pipe: Any, made: Any, width: int, height: int) -> Pixels | Future[Pixels]:
        """Convert latents or float images of `pipe` to bytes: batch × height × width × 3. Call it within
        `configure_torch`."""
        if not self.decodes_latents:
            return decoding.as_bytes(made).cpu().numpy()
        if self.decoder is None:
            return decoding.decode(pipe, made, width, height).cpu().numpy()

        def work() -> Any:
            with self.accelerated.configure_thread():
                return decoding.decode(pipe, made, width, height)

        return self.decoder.submit(work, self.accelerated.configure_process(width, height))

    def pipeline_for(self, kind: str, control: str = "") -> Any:
        """Return the pipeline of a kind of job, with this loaded ControlNet. All share their components, so the weights
        are in memory once."""
        import diffusers

        if (kind, control) not in self.pipelines:
            pipeline_class = getattr(diffusers, self.family.pipeline_class_of(kind, controlled=bool(control)))
            more = {"controlnet": self.controlnets[control]} if control else {}
            is_loaded = type(self.text) is pipeline_class
            pipe = self.text if is_loaded else build_from_components(self.text, pipeline_class, **more)
            self.pipelines[kind, control] = pipe
        return self.pipelines[kind, control]

    def load_refiner(self) -> LoadedPipeline:
        """Return the refiner of this model, loaded on first use onto the same device."""
        if self.refiner is None:
            assert self.equipment.refiner is not None
            self.refiner = _load_refiner(self.equipment.refiner, self)
        return self.refiner

    def new_scheduler(self, name: str) -> Any:
        """Return a new scheduler `name` ("" for the model's own kind), configured like the model's own. Schedulers keep
        state, so every batch has its own."""
        import diffusers

        kind = getattr(diffusers, self.family.schedulers[name]) if name else self.scheduler.__class__
        return counting_scheduler(kind).from_config(self.scheduler.config)


@cache
def counting_scheduler(kind: Any) -> Any:
    """Return a subclass of a diffusers scheduler that counts its steps, so that no step of the loop waits for the GPU.

    diffusers' schedulers find their position by comparing the time step, which is on the GPU, with a list. The CPU
    reads it back, and meanwhile the GPU has nothing to do. Here the noise levels stay on the CPU, whose scalars are
    passed as arguments of a kernel, and the position is counted. The name is the same, because pipelines and facts
    record it.
    """
    reads_its_place = not hasattr(kind, "set_begin_index")  # DDIM and similar ones look up the values of a time step

    class Counting(kind):  # type: ignore[misc]
        timesteps: Any

        @wraps(kind.set_timesteps)
        def set_timesteps(self, *args: Any, **named: Any) -> None:
            arguments = dict(zip(("num_inference_steps", "device"), args, strict=False)) | named
            device = arguments.pop("device", None)
            super().set_timesteps(device="cpu", **arguments)
            self.on_host = self.timesteps.tolist()
            self.timesteps = self.timesteps.to(device)
            self.set_begin_index(0)

        def set_begin_index(self, begin_index: int = 0) -> None:
            """Start at this position of the list. Pipelines call it if they skip the first steps."""
            self.place = begin_index
            if not reads_its_place:
                super().set_begin_index(begin_index)

        @wraps(kind.step)
        def step(self, model_output: Any, timestep: Any, *args: Any, **named: Any) -> Any:
            if reads_its_place:
                timestep = self.on_host[self.place]
            self.place += 1
            return super().step(model_output, timestep, *args, **named)

    Counting.__name__, Counting.__qualname__, Counting.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return Counting


def device_and_dtype(config: Config) -> tuple[str, str]:
    """Return (device, dtype) from an endpoint's config, with the defaults of this machine."""
    import torch

    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return device, config.dtype or ("bfloat16" if device.startswith("cuda") else "float32")


def load(path: Path, config: Config, equipment: Equipment) -> LoadedPipeline:
    """Load the model at `path` onto the device of `config`. Raises EngineError of kind ENDPOINT if the files are not a
    whole model of a known family."""
    family = family_of(path)
    ensure_complete(path)
    import torch

    device, dtype = device_and_dtype(config)
    if device == "cpu":
        # Before anything runs in parallel: its threads inherit the floating-point mode. Denormal numbers, of which
        # small models have many, cost a CPU many times as much as others.
        torch.set_flush_denormal(True)
        if config.threads:
            torch.set_num_threads(config.threads)
    pipe = _silence(_read(path, family, config, getattr(torch, dtype))).to(device)
    accelerated = acceleration.prepare(pipe, config, device)
    overlaps = device.startswith("cuda") if config.overlap is None else config.overlap
    decoder = Decoder(device) if overlaps else None
    return LoadedPipeline(pipe, family, device, dtype, accelerated, pipe.scheduler, decoder, equipment)


def _load_refiner(path: Path, base: LoadedPipeline) -> LoadedPipeline:
    """Load a model for image to image: SDXL's refiner, or another of a known family. Raises EngineError (INPUT)."""
    import diffusers
    import torch

    try:
        class_name = json.loads((path / "model_index.json").read_text())["_class_name"]
        families = {
            family.pipeline_class_of(kind): family for family in BY_CLASS.values() for kind in ("text", "image")
        }
        if class_name not in families:
            raise ValueError(f"it is a {class_name}")
        pipe = getattr(diffusers, class_name).from_pretrained(
            path, dtype=getattr(torch, base.dtype), local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(ErrorKind.INPUT, f"The refiner {path.name} could not be loaded: {error}"[:500]) from error
    pipe = _silence(pipe).to(base.device)
    return LoadedPipeline(pipe, families[class_name], base.device, base.dtype, base.accelerated, pipe.scheduler)


def _read(path: Path, family: Family, config: Config, dtype: Any) -> Any:
    """Load the text-to-image pipeline of a folder or a single file, on the CPU."""
    import diffusers

    text_class = getattr(diffusers, family.pipeline_class_of("text"))
    options: dict[str, Any] = {"dtype": dtype, "local_files_only": True}
    if family.name == "sd" and not config.safety_checker:
        options |= {"safety_checker": None, "requires_safety_checker": False}
    try:
        if path.is_dir():
            return text_class.from_pretrained(path, use_safetensors=True, **options)
        folder = config.completing_folder
        if needs_config_folder(path, family):
            return _load_with_config_folder(path, folder, text_class, options)
        if folder or family.name in original_configs.CONFIGS:
            options["config"] = folder or str(original_configs.ensure_folder(family.name))
        return text_class.from_single_file(str(path), **options)
    except (OSError, ValueError, KeyError) as error:
        raise load_error(path, error) from error


def load_error(path: Path, error: Exception) -> EngineError:
    """Return the error of a model that the libraries could not load: the endpoint's, with the traceback in its log."""
    log = "".join(traceback.format_exception(error))
    return EngineError(ErrorKind.ENDPOINT, f"{path.name} could not be loaded: {error}"[:500], log=log)


def needs_config_folder(path: Path, family: Family) -> bool:
    """Return whether a file holds only a transformer, so that the rest comes from the folder `model_config`."""
    return family.is_flow and path.is_file() and not any(name.startswith("text_encoder") for name in tensor_names(path))


def _load_with_config_folder(path: Path, folder: str, text_class: Any, options: Mapping[str, Any]) -> Any:
    """Load a pipeline with the transformer from a file, as SD3.5 and FLUX are published, and the rest from a folder."""
    import diffusers

    if not folder:
        text = 'it holds a transformer alone. Give the endpoint "model_config": a diffusers folder that has the rest'
        raise ValueError(f"{text} (text encoders, tokenizers, autoencoder).")
    index = json.loads((Path(folder) / "model_index.json").read_text())
    transformer_class = getattr(diffusers, index["transformer"][1])
    transformer = transformer_class.from_single_file(str(path), config=folder, subfolder="transformer", **options)
    return text_class.from_pretrained(folder, transformer=transformer, use_safetensors=True, **options)


def build_from_components(pipe: Any, kind: Any, **more: Any) -> Any:
    """Build another pipeline from the same components and `more`. from_pipe is not used, because it drops small
    autoencoders (AutoencoderTiny) and converts everything to 32 bits."""
    takes = signature(kind.__init__).parameters
    parts = {name: part for name, part in {**pipe.components, **more}.items() if name in takes}
    options = {name: pipe.config[name] for name in takes if name in pipe.config and name not in parts}
    return _silence(kind(**parts, **options))


def _silence(pipe: Any) -> Any:
    """Return the pipeline without progress bars in the log and watermarks in images."""
    pipe.set_progress_bar_config(disable=True)
    if hasattr(pipe, "watermark"):
        pipe.watermark = None
    return pipe


def free_memory(device: str) -> None:
    import gc

    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
