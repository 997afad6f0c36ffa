"""The parts of benchmarks/gpu.py that use the card. Each is a process, `… NAME SETTINGS FOLDER`, that prints JSON."""

from __future__ import annotations

import json
import queue
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import shapes
from benchmarks.gpu import PROMPTS, Trial
from benchmarks.shapes import Shapes
from generation.engines import base
from generation.engines.base import Result, Spec, Task
from generation.engines.diffusers import acceleration
from generation.engines.diffusers.engine import WarmUpContext


def _shapes(trial: Trial) -> Shapes:
    return Shapes(trial.family, trial.is_small, trial.steps, trial.guidance)


def build(trial: Trial, folder: Path) -> dict[str, Any]:
    """Count the operations of an image, and save the model unless an earlier run saved it."""
    flop = shapes.image_tflop(_shapes(trial), trial.size)
    model = folder / "model"
    made_of = f"{trial.family} {trial.device} {trial.dtype}"
    mark = folder / "made_of"
    started = time.perf_counter()
    if not mark.exists() or mark.read_text() != made_of:
        model.mkdir(parents=True, exist_ok=True)
        shapes.save(_shapes(trial), model, trial.device, getattr(torch, trial.dtype))
        mark.write_text(made_of)
    return {
        "title": _shapes(trial).title,
        "card": acceleration.device_name(trial.device),
        "torch": torch.__version__,
        "image_tflop": flop["image"],
        "forward_tflop": flop["forward"],
        "decode_tflop": flop["decode"],
        "sustained_tflops": shapes.SUSTAINED_TFLOPS,
        "build_seconds": time.perf_counter() - started,
    }


def plain(trial: Trial, folder: Path) -> dict[str, Any]:
    """Run part (a): diffusers as its documentation shows it."""
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(folder / "model", dtype=getattr(torch, trial.dtype))
    pipe.to(trial.device)
    pipe.set_progress_bar_config(disable=True)

    def draw(number: int, steps: int) -> Any:
        return pipe(
            prompt=PROMPTS[number % len(PROMPTS)],
            width=trial.size,
            height=trial.size,
            num_inference_steps=steps,
            guidance_scale=trial.guidance,
            generator=torch.Generator("cpu").manual_seed(number),
        ).images[0]

    draw(0, 2)  # loads the kernels
    _forget_peak(trial)
    started = time.perf_counter()
    images = [np.asarray(draw(number, trial.steps)) for number in range(trial.plain_images)]
    seconds = time.perf_counter() - started
    np.save(folder / "plain.npy", np.stack(images))
    return {"images_per_second": trial.plain_images / seconds, "peak_gib": _peak_gib(trial)}


def engine(trial: Trial, folder: Path, tier: str) -> dict[str, Any]:
    """Run part (b): our engine alone, batch after batch; as in a worker, another thread takes the pixels off it."""
    made: Any = base.build("diffusers", trial.config(folder, tier))
    started = time.perf_counter()
    made.warm_up()
    warm_seconds = time.perf_counter() - started
    _draw(made, trial, range(trial.batch))  # runs every code path once
    _forget_peak(trial)
    started = time.perf_counter()
    results = _draw(made, trial, range(trial.images))
    seconds = time.perf_counter() - started
    figures: dict[str, Any] = {
        "images_per_second": trial.images / seconds,
        "peak_gib": _peak_gib(trial),
        "warm_seconds": warm_seconds,
        "accelerated_by": list(results[0].facts["accelerated_by"]),
    }
    if tier == "exact":
        beside = _draw(made, trial, [5, 1, 0] if trial.batch > 2 else [0])
        figures["is_repeatable"] = bool(np.array_equal(beside[0].pixels, results[0].pixels))
    reference = folder / "plain.npy"
    if reference.exists():
        images = np.load(reference)
        both = [
            (image.astype(int), results[number].pixels.astype(int))
            for number, image in enumerate(images)
            if number in results and image.shape == results[number].pixels.shape
        ]
        if both:
            off = np.stack([np.abs(plain_pixels - engine_pixels) for plain_pixels, engine_pixels in both])
            figures |= {"most_off": int(off.max()), "mean_off": float(off.mean()), "contrast": float(images.std())}
    return figures


def _draw(made: Any, trial: Trial, numbers: Sequence[int]) -> dict[int, Result]:
    """Return the results by number; each number is also the seed of its image."""
    tasks = [
        Task(
            number,
            Spec(
                prompt=PROMPTS[number % len(PROMPTS)],
                width=trial.size,
                height=trial.size,
                seed=number,
                parameters={"steps": trial.steps, "guidance": trial.guidance},
            ),
        )
        for number in numbers
    ]
    waiting: queue.Queue[Result | None] = queue.Queue()
    results: dict[int, Result] = {}

    def finish() -> None:
        while (result := waiting.get()) is not None:
            results[result.task_id] = result.wait_for_pixels()

    finisher = threading.Thread(target=finish)
    finisher.start()
    for start in range(0, len(tasks), trial.batch):
        for result in made.generate(tasks[start : start + trial.batch], WarmUpContext()):
            waiting.put(result)
    waiting.put(None)
    finisher.join()
    failed = [result.error for result in results.values() if result.error] or len(results) != len(tasks)
    assert not failed, f"images are missing: {failed}"
    return results


def _forget_peak(trial: Trial) -> None:
    if trial.device != "cpu":
        torch.cuda.reset_peak_memory_stats()


def _peak_gib(trial: Trial) -> float:
    """Return the peak memory of the card, or of the process on a CPU."""
    if trial.device != "cpu":
        return torch.cuda.max_memory_allocated() / 1024**3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main() -> None:
    name, settings, folder = sys.argv[1:]
    trial, where = Trial(**json.loads(settings)), Path(folder)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "shapes": lambda: build(trial, where),
        "plain": lambda: plain(trial, where),
        "exact": lambda: engine(trial, where, "exact"),
        "fast": lambda: engine(trial, where, "fast"),
    }
    print(json.dumps(parts[name]()))


if __name__ == "__main__":
    main()
