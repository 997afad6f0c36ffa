"""Progress output of a training, and checkpoints from which it can continue."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

SAVE_SECONDS = 120.0
PRINT_SECONDS = 15.0


class Average:
    """An exponential moving average of a module's parameters, which is the final result. Buffers are not averaged."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = deepcopy(module).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), share)


class Checkpoint:
    """State that survives an interruption: the named objects, saved every SAVE_SECONDS and at the end."""

    def __init__(self, path: Path, **things: Any) -> None:
        self.path, self.things = path, things
        self._saved = time.monotonic()

    def load(self) -> int:
        """Load the state and return the next step; 0 without a saved state."""
        if not self.path.exists():
            return 0
        kept = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, thing in self.things.items():
            thing.load_state_dict(kept[name])
        torch.set_rng_state(kept["chance"])
        return int(kept["step"])

    def save(self, step: int, *, is_last: bool = False) -> None:
        if not is_last and time.monotonic() - self._saved < SAVE_SECONDS:
            return
        self._saved = time.monotonic()
        states: dict[str, Any] = {name: thing.state_dict() for name, thing in self.things.items()}
        unfinished = self.path.with_suffix(".part")
        torch.save({**states, "step": step, "chance": torch.get_rng_state()}, unfinished)
        os.replace(unfinished, self.path)


class ProgressPrinter:
    """Prints a line every PRINT_SECONDS: step, speed, remaining time, and running means of the figures."""

    def __init__(self, what: str, steps: int, done: int = 0) -> None:
        self.what, self.steps = what, steps
        self._begun, self._first = time.monotonic(), done
        self._printed_at = self._begun
        self._means: dict[str, float] = {}

    def __call__(self, step: int, **figures: float) -> None:
        for name, value in figures.items():
            self._means[name] = 0.98 * self._means.get(name, value) + 0.02 * value
        now = time.monotonic()
        if now - self._printed_at < PRINT_SECONDS and step < self.steps:
            return
        self._printed_at = now
        rate = (step - self._first) / max(now - self._begun, 1e-6)
        left = (self.steps - step) / rate if rate else math.inf
        shown = "  ".join(f"{name} {value:.4f}" for name, value in self._means.items())
        print(
            f"{self.what}: {step:,} of {self.steps:,}, {rate:.2f} a second, {left / 60:.0f} min left  {shown}",
            flush=True,
        )


def rate_at(share: float, *, highest: float, warm: float = 0.02) -> float:
    """Return the learning rate after `share` (0 … 1) of a training: it rises linearly and falls along a cosine."""
    if share < warm:
        return highest * share / warm
    return highest * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (share - warm) / (1 - warm))))


def set_rate(optimizer: torch.optim.Optimizer, rate: float, shares: Mapping[int, float] | None = None) -> None:
    """Set the learning rate of every group; shares: factor of a group's rate, by its index."""
    for at, group in enumerate(optimizer.param_groups):
        group["lr"] = rate * (shares or {}).get(at, 1.0)
