"""Render the training images in a process per core and store them as arrays; an interrupted run is continued."""

from __future__ import annotations

import colorsys
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.model.captions import COLOURS, NOTHING, ImageDescription, shots
from examples.render import QUICK, render
from examples.render.looks import SURROUNDINGS

SHARD = 250
"""Images per file; an interruption costs at most so many."""
VARIANTS = {
    "mug": 3, "bowl": 3, "plate": 2, "vase": 4, "lamp": 3, "teapot": 2, "jar": 3, "bottle": 2, "candle": 3, "goblet": 3,
    "pitcher": 3, "planter": 3,
}  # fmt: skip
PITCHES = {"front": (-6.0, 3.0), "above": (20.0, 30.0)}
"""Degrees added to a kind's own pitch."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Images:
    """pixels: count × size × size × 3, sRGB. shots: what each shows."""

    pixels: Pixels
    shots: Sequence[ImageDescription]


def image(shot: ImageDescription, size: int) -> Pixels:
    """Render one image, size × size × 3."""
    chance = np.random.default_rng(shot.seed)
    around = replace(
        SURROUNDINGS[shot.scene],
        backdrop=_vary_colour(SURROUNDINGS[shot.scene].backdrop, chance, 0.03),
        wall=_vary_colour(SURROUNDINGS[shot.scene].wall, chance, 0.03),
        wall_at=float(chance.uniform(1.1, 1.9)),
        grain=float(chance.uniform(0, 50)),
    )
    is_empty = shot.kind == NOTHING
    kind = str(chance.choice(list(VARIANTS))) if is_empty else shot.kind
    return render(
        kind,
        _vary_colour(COLOURS.get(shot.colour, "#ffffff"), chance, 0.04),
        size=size,
        material=shot.finish,
        variant=int(chance.integers(VARIANTS[kind])),
        light=shot.light,
        surroundings=around,
        is_empty=is_empty,
        turned=(float(chance.uniform(*PITCHES[shot.view])), float(chance.uniform(-18, 18))),
        fill=float(chance.uniform(0.58, 0.74)),
        threads=1,
        effort=QUICK,
    )


def _vary_colour(colour: str, chance: np.random.Generator, by: float) -> str:
    """Return a slightly different colour that still has the same name."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    hue, light, strength = colorsys.rgb_to_hls(red, green, blue)
    moved = chance.uniform(-by, by, 3)
    mixed = colorsys.hls_to_rgb(
        (hue + 0.3 * moved[0]) % 1, min(1.0, max(0.0, light + moved[1])), min(1.0, max(0.0, strength + 2 * moved[2]))
    )
    return "#" + "".join(f"{round(255 * part):02x}" for part in mixed)


def render_images(
    folder: Path, *, count: int, size: int, seed: int, empty: float = 0.1, pairs: str = "trained", workers: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, all: None,
) -> Images:  # fmt: skip
    """Render the images that are not in the folder yet, and read all. on_progress(done, all) is called per shard."""
    folder.mkdir(parents=True, exist_ok=True)
    every = list(shots(count, seed=seed, empty=empty, pairs=pairs))
    parts = {at: every[at : at + SHARD] for at in range(0, count, SHARD)}
    missing = {at: part for at, part in parts.items() if not _file(folder, at).exists()}
    done = len(parts) - len(missing)
    on_progress(done, len(parts))
    with ProcessPoolExecutor(workers or os.cpu_count() or 1) as pool:
        running = [pool.submit(_render_shard, folder, at, part, size) for at, part in missing.items()]
        for future in as_completed(running):
            future.result()
            done += 1
            on_progress(done, len(parts))
    (folder / "shots.json").write_text(json.dumps([asdict(shot) for shot in every]))
    return Images(np.concatenate([np.load(_file(folder, at)) for at in parts]), every)


def _file(folder: Path, at: int) -> Path:
    return folder / f"{at:07}.npy"


def _render_shard(folder: Path, at: int, part: Sequence[ImageDescription], size: int) -> None:
    made = np.stack([image(shot, size) for shot in part])
    unfinished = folder / f"{at:07}.part.npy"
    np.save(unfinished, made)
    os.replace(unfinished, _file(folder, at))
