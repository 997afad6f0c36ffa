"""Schedulers that count their steps, so that no step of the loop waits for the GPU.

diffusers' schedulers find their position by comparing the time step, which is on the GPU, with a list. The CPU reads it
back, and meanwhile the GPU has nothing to do. Here the noise levels stay on the CPU, whose scalars are passed as
arguments of a kernel, and the position in the list is counted.
"""

from __future__ import annotations

from functools import cache, wraps
from typing import Any


def new_scheduler(kind: type, config: Any) -> Any:
    """Return a new counting scheduler of diffusers' class `kind` with this config. It keeps state: one per batch."""
    return _counting(kind).from_config(config)  # type: ignore[attr-defined]


@cache
def _counting(kind: Any) -> type:
    """Return a counting subclass of `kind` with the same name, because pipelines and facts record the name."""
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
