"""The `diffusers` engine: a model of a known family (families.py) from a diffusers folder or a safetensors file.

Product: Hugging Face diffusers 0.42 (https://huggingface.co/docs/diffusers) on torch 2.13. Text-to-image;
image-to-image when the spec carries an "init" image; with a "mask" too, only the masked part is repainted, by the
same weights (those of text-to-image), and the rest of the image stays (canvas.py).

Importing this module loads neither torch nor diffusers, so that planning can validate, quote and name the model; the
first `generate` loads the weights and keeps them.

Each image has its own random generator, seeded on the CPU: it is the same alone and in a batch (to rounding).
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
from pathlib import Path
from typing import Any

from campaigns.prompts import tokens
from generation.engines import base
from generation.engines.base import Context, EngineError, ErrorKind, ImageRef, Pixels, Result, Spec, Task
from generation.engines.diffusers import acceleration, capabilities, drawing, equipment, original_configs, pipelines
from generation.engines.diffusers.config import Config
from generation.engines.diffusers.drawing import Batch, EmbeddingCache
from generation.engines.diffusers.equipment import Equipment
from generation.engines.diffusers.families import FAMILIES, Family, family_of
from generation.engines.diffusers.model_memory import loaded_models, weights_bytes
from generation.engines.diffusers.parameters import kind
from generation.engines.diffusers.pipelines import LoadedPipeline
from generation.engines.diffusers.sources import Source, read_source
from generation.engines.diffusers.weight_files import Signature, digest, problem_of_model, signature

WARM_UP_STEPS = 2
PIXEL_SETTINGS = ("dtype", "safety_checker", "fp8")
"""Settings of the endpoint that decide pixels, besides its files and its tier."""
CHANGED_MEANWHILE = "was changed on disk while an image was made of it. It is tried again with what is there then."


class Diffusers:
    """One local model. config: see config.py."""

    name = "diffusers"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = Config.read(config)
        self.path = Path(self.config.model)
        self.equipment = equipment.read(self.config)
        self._batch_limit = self.config.batch_size or 4
        self._loaded: LoadedPipeline | None = None
        self._embeddings = EmbeddingCache()
        self._family: Family | None = None
        self._signature: Signature = ()
        self._loaded_signature: Signature = ()
        self._identity: tuple[str, str] | None = None

    @property
    def family(self) -> Family:
        """The model's family. Raises EngineError if the files are no known model."""
        if self._family is None:
            self._family = family_of(self.path)
        return self._family

    def capabilities(self) -> base.Capabilities:
        return capabilities.capabilities(self._likely_family(), self.equipment, self.config.max_side)

    def validate(self, spec: Spec) -> list[str]:
        try:
            return capabilities.problems(spec, self.family, self.equipment)
        except EngineError as error:
            return [error.message]

    def batch_key(self, spec: Spec) -> str:
        try:
            settings = capabilities.settings(spec, self._likely_family(), self.equipment)
        except (TypeError, ValueError):  # `validate` refuses such a spec anyway
            settings = dict(spec.parameters)
        plain = json.dumps([kind(spec), spec.width, spec.height, settings], sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:16]

    def _likely_family(self) -> Family:
        """Return the family, or the first one while the files cannot be read: `health` and `validate` report that."""
        try:
            return self.family
        except EngineError:
            return FAMILIES["sd"]

    def model_identity(self) -> tuple[str, str]:
        """Return (file or folder name, digest of the model, its equipment and settings), updated when files change."""
        self._check_files()
        if self._identity is None:
            beside = self.equipment.digest() + acceleration.draft_digest(self.config) + self._settings_digest()
            self._identity = (self.path.name, f"{digest(self.path)}{'+' if beside else ''}{beside}")
        return self._identity

    def _check_files(self) -> Signature:
        """Return the state of the model's files, and drop what was read from them if it changed. This stats each file,
        so it is called for every batch and not for every spec."""
        paths = [self.path, *self.equipment.paths().values(), self.config.draft_options.lora, self._config_folder]
        seen = signature(Path(path) for path in paths if path)
        if seen != self._signature:
            self._signature, self._family, self._identity = seen, None, None
        return seen

    @property
    def _config_folder(self) -> Path | None:
        """The folder with the configurations and tokenizers that a single file lacks."""
        folder = self.config.completing_folder
        return Path(folder) if folder and not self.path.is_dir() else None

    def _settings_digest(self) -> str:
        """Return a hex digest of the other settings that decide pixels; "" if the endpoint sets none."""
        chosen = {name: value for name in PIXEL_SETTINGS if (value := getattr(self.config, name))}
        folder, completed = self._config_folder, ""
        if folder is not None:
            completed = digest(folder) if folder.exists() else ""
        elif self.path.is_file():
            completed = original_configs.revision(self._likely_family().name)
        if not chosen and not completed:
            return ""
        return hashlib.sha256(repr((sorted(chosen.items()), completed)).encode()).hexdigest()[:12]

    def quote(self, spec: Spec) -> base.Quote:
        return base.Quote.from_config(self.config, seconds=2.0)

    def health(self) -> base.Health:
        try:
            family = self.family
        except EngineError as error:
            return base.Health(False, error.message)
        if problem := problem_of_model(self.path):
            return base.Health(False, problem)
        if missing := self.equipment.missing():
            return base.Health(False, " ".join(missing))
        facts: dict[str, Any] = {"family": family.name, "is_loaded": self._loaded is not None}
        torch_module = sys.modules.get("torch")
        if torch_module is not None and torch_module.cuda.is_available():
            free, total = torch_module.cuda.mem_get_info()
            facts |= {"device": torch_module.cuda.get_device_name(), "free_bytes": free, "total_bytes": total}
        return base.Health(True, f"{self.path.name} ({family.title}) is readable.", facts)

    def text_encoder(self) -> tokens.Encoder:
        """Return the model's text encoder with the highest limit; it uses the model's tokenizer files if their kind is
        known.

        The pipelines cut off text after the limit. SDXL's two encoders share a vocabulary, so they stop at the same
        word; in SD3 and FLUX the T5 reads on where CLIP has stopped.
        """
        family = self._likely_family()
        folder = self.path if self.path.is_dir() else Path(self.config.completing_folder or self.path)
        encoder = tokens.load_encoder(folder / family.tokenizer) or tokens.estimating_encoder(family.reads)
        return replace(encoder, limit=family.tokens) if family.tokens else encoder

    def generate(self, batch: Sequence[Task], context: Context) -> Iterator[Result]:
        """Yield one Result per task. Out of memory halves the batch; one image that still does not fit fails alone."""
        import torch

        loaded = self._load()
        settings = capabilities.settings(batch[0].spec, loaded.family, self.equipment)
        todo = []
        for task in batch:
            try:
                todo.append(read_source(task, settings, context))
            except EngineError as error:
                yield Result(task.id, None, error=error)
        waiting = self._split_batch(loaded, todo)
        while waiting:
            part = waiting.pop(0)
            part = [source for source in part if source.task.id not in context.cancelled()] or part[:1]
            try:
                yield from self._generate_part(loaded, part, settings, context)
            except torch.OutOfMemoryError as error:
                pipelines.free_memory(loaded.device)
                if not (smaller := self._split_smaller(loaded, part)):
                    task = part[0].task
                    text = f"{task.spec.width}×{task.spec.height} does not fit into {loaded.device}'s memory."
                    yield Result(task.id, None, error=EngineError(ErrorKind.MEMORY, text, log=str(error)))
                waiting[:0] = smaller
            except RuntimeError as error:
                if not acceleration.is_compiler_error(error):
                    raise
                loaded.accelerated = loaded.accelerated.without_compiler(loaded.text, error)
                waiting[:0] = self._split_batch(loaded, part)
        for task_id in {source.task.id for source in todo} & context.cancelled():
            yield Result(task_id, None, error=EngineError(ErrorKind.CANCELLED, "Cancelled."))

    def _split_batch(self, loaded: LoadedPipeline, todo: Sequence[Source]) -> list[Sequence[Source]]:
        """Split tasks into batches: one, or batches of the fixed size if every batch is filled up."""
        size = self._batch_limit if loaded.accelerated.is_padding else max(1, len(todo))
        return [todo[start : start + size] for start in range(0, len(todo), size)]

    def _split_smaller(self, loaded: LoadedPipeline, part: Sequence[Source]) -> list[Sequence[Source]]:
        """Split a batch that did not fit into smaller ones; [] if it was one image. Batches that are filled up use the
        smaller size from now on, so that they stay alike."""
        if loaded.accelerated.is_padding:
            if self._batch_limit == 1:
                return []
            self._batch_limit //= 2
            return self._split_batch(loaded, part)
        middle = len(part) // 2
        return [part[:middle], part[middle:]] if middle else []

    def _generate_part(
        self, loaded: LoadedPipeline, part: Sequence[Source], settings: Mapping[str, Any], context: Context
    ) -> Iterator[Result]:
        started = time.perf_counter()
        drawn = max(self._batch_limit, len(part)) if loaded.accelerated.is_padding else len(part)
        batch = Batch(part, acceleration.effective_settings(self.config, settings), drawn)
        made, facts = drawing.draw(loaded, batch, self._embeddings, context)
        seconds = (time.perf_counter() - started) / len(part)
        cancelled = context.cancelled()
        model, revision = self.model_identity()
        if self._signature != self._loaded_signature:
            raise EngineError(ErrorKind.TRANSIENT, f"{self.path.name} or what lies beside it {CHANGED_MEANWHILE}")
        cost = self.config.cost_per_image
        for place, source in enumerate(part):
            task, own_facts = source.task, {**facts, **source.facts}
            if task.id not in cancelled:
                named = Result(task.id, None, model, revision, task.spec.seed, seconds, cost, own_facts)
                result = replace(named, load_pixels=partial(_finish_image, made, place, source))
                yield result if isinstance(made, Future) else result.wait_for_pixels()

    def unload(self) -> None:
        """Free the model's memory; the next `generate` loads it again."""
        if self._loaded is not None:
            device, decoder = self._loaded.device, self._loaded.decoder
            if decoder is not None:
                decoder.close()
            self._loaded = None
            self._embeddings.move_to_host()
            loaded_models.forget(self)
            pipelines.free_memory(device)

    def _load(self) -> LoadedPipeline:
        """Return the pipeline, loaded on first use and when its files changed. Raises EngineError: ENDPOINT if the
        files are not a model that can be loaded, MEMORY, and TRANSIENT if the files are being written."""
        seen = self._check_files()
        if seen != self._loaded_signature:
            self.unload()
            self._embeddings = EmbeddingCache()  # another text encoder encodes the same words differently
        if self._loaded is None:
            self._loaded = self._load_pipeline()
            self._loaded_signature = seen
            if self._check_files() != seen:
                self.unload()
                raise EngineError(ErrorKind.TRANSIENT, f"{self.path.name} or what lies beside it {CHANGED_MEANWHILE}")
        loaded_models.mark_used(self)
        return self._loaded

    def _load_pipeline(self) -> LoadedPipeline:
        """Make room for the model and load it. Errors of the libraries are reported as the endpoint's fault."""
        try:
            device, dtype = pipelines.device_and_dtype(self.config)
            loaded_models.make_room(
                self,
                name=self.path.name,
                device=device,
                weights_bytes=self._weights_bytes(dtype),
                reserve_bytes=self.config.reserve_bytes,
                limit_bytes=self.config.memory_limit_bytes,
            )
            return pipelines.load(self.path, self.config, self.equipment)
        except BaseException as error:
            loaded_models.forget(self)
            if not isinstance(error, Exception) or isinstance(error, EngineError) or base.memory_or_device_error(error):
                raise
            raise pipelines.load_error(self.path, error) from error

    def _weights_bytes(self, dtype: str) -> int:
        """Return the bytes of the weights of the model, of the folder that completes it, and of its equipment."""
        total = weights_bytes(self.path, dtype) + _equipment_bytes(self.equipment, dtype)
        folder = self.config.completing_folder
        if folder and pipelines.needs_config_folder(self.path, self.family):
            total += weights_bytes(Path(folder), dtype, besides="transformer")
        return total

    def pending_bytes(self) -> int:
        """Return the bytes of equipment that no batch has needed yet."""
        loaded, equipment = self._loaded, self.equipment
        if loaded is None:
            return 0
        left = replace(
            equipment,
            loras={name: lora for name, lora in equipment.loras.items() if name not in loaded.loras},
            controlnets={name: path for name, path in equipment.controlnets.items() if name not in loaded.controlnets},
            adapter=None if loaded.has_adapter else equipment.adapter,
            refiner=None if loaded.refiner is not None else equipment.refiner,
        )
        return _equipment_bytes(left, loaded.dtype)

    def warm_up(self) -> None:
        """Load the model and draw once in every shape of the endpoint, so that no job waits for kernels."""
        self._load()
        for width, height in self.config.shapes:
            spec = Spec(prompt="", width=width, height=height, seed=0, parameters={"steps": WARM_UP_STEPS})
            for result in self.generate([Task(0, spec)], WarmUpContext()):
                result.wait_for_pixels()


def _equipment_bytes(equipment: Equipment, dtype: str) -> int:
    return sum(weights_bytes(path, dtype) for path in equipment.paths().values())


def _finish_image(made: Pixels | Future[Pixels], place: int, source: Source) -> Pixels:
    """Return one image of a batch, with the kept parts of its start image."""
    pixels = (made.result() if isinstance(made, Future) else made)[place]
    return source.canvas.with_repainted(pixels) if source.canvas is not None else pixels


class WarmUpContext:
    """A Context without a job: it has no images, reports no progress and cancels nothing."""

    def load(self, ref: ImageRef) -> bytes:
        raise EngineError(ErrorKind.INPUT, f"{ref.key} was asked for while warming up, where there are no images.")

    def progress(self, task_ids: Sequence[int], step: int, steps: int) -> None: ...

    def cancelled(self) -> frozenset[int]:
        return frozenset()
