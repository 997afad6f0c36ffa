"""Engines for tests and benchmarks: real implementations of the Protocol whose images cost nothing.

Known to every process that has PROOFLINE_PLUGINS=tests.support.engines in its environment.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from generation.engines.base import (
    ENGINES,
    Capabilities,
    Context,
    EngineError,
    EnginePlugin,
    ErrorKind,
    Health,
    Pixels,
    Quote,
    Result,
    Spec,
    Task,
)


def noise_pixels(seed: int, width: int, height: int, *, grain: float = 3.0) -> Pixels:
    """A smooth image with grain of that standard deviation: what a photograph costs to encode, made from a seed."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(40, 215, (8, 8, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = random.normal(0, grain, (height, width, 1)).astype(np.float32)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


class ReadyEngine:
    """Returns images made per seed, or shifted copies of `config["images"]` ones made beforehand.

    config["seconds"]: time that each image takes. config["fails"]: {prompt: error kind} raised for that prompt; "crash"
    is an exception that the engine did not expect and that ends its whole batch.
    """

    name = "ready"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self._pool: list[Pixels] = []

    def capabilities(self) -> Capabilities:
        return Capabilities(is_remote=False, obeys=frozenset({"prompt", "seed"}), controls=())

    def validate(self, spec: Spec) -> list[str]:
        return []

    def batch_key(self, spec: Spec) -> str:
        return hashlib.sha256(f"{spec.width}x{spec.height}".encode()).hexdigest()[:16]

    def model_identity(self) -> tuple[str, str]:
        return ("ready", "1")

    def quote(self, spec: Spec) -> Quote:
        return Quote(cost=float(self.config.get("cost", 0)), seconds=float(self.config.get("seconds", 0.01)))

    def health(self) -> Health:
        return Health(True, "ready")

    def generate(self, batch: Sequence[Task], context: Context) -> Iterator[Result]:
        for task in batch:
            if task.id in context.cancelled():
                yield Result(task.id, None, error=EngineError(ErrorKind.CANCELLED, "Cancelled."))
                continue
            time.sleep(float(self.config.get("seconds", 0)))
            kind = self.config.get("fails", {}).get(task.spec.prompt)
            if kind == "crash":
                raise ValueError("cannot decode this input")
            if kind:
                yield Result(task.id, None, error=EngineError(ErrorKind(kind), f"The engine said {kind}."))
                continue
            yield Result(
                task.id, self._pixels(task.spec), "ready", "1", task.spec.seed, 0.0, float(self.config.get("cost", 0))
            )

    def _pixels(self, spec: Spec) -> Pixels:
        images = int(self.config.get("images", 0))
        if not images:
            return noise_pixels(spec.seed, spec.width, spec.height)
        while len(self._pool) < images:
            self._pool.append(noise_pixels(len(self._pool), spec.width, spec.height))
        # Shifted sideways by the seed: other pixels, other sha256, the same cost to encode.
        return np.roll(self._pool[spec.seed % images], spec.seed, axis=1)


ENGINES.register("ready", EnginePlugin("ready", ReadyEngine))
