"""Measure how good the model is: small classifiers, trained only on renders, name what generated images show."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from examples.model.autoencoder import as_tensor
from examples.model.captions import COLOURS, KINDS, LIGHTS, NOTHING, SCENES, VIEWS, ImageDescription, caption, shots
from examples.model.images import Images, Pixels
from examples.model.progress import ProgressPrinter, rate_at, set_rate

SEEN_AT = 64
"""Edge in pixels of the classifiers' input."""
STEPS = 1500
BATCH = 64
VALUES = {
    "kind": (*KINDS, NOTHING), "colour": (*COLOURS, NOTHING), "scene": tuple(SCENES), "light": LIGHTS,
    "view": tuple(VIEWS),
}  # fmt: skip


@dataclass(frozen=True)
class Sampling:
    """The settings with which images are generated."""

    steps: int = 12
    guidance: float = 3.0
    batch: int = 16


class ImageClassifier(nn.Module):
    """A classifier from 3 × 64 × 64 to a guess for each property in VALUES."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 192)
        self.blocks = nn.ModuleList()
        for before, after in pairwise(widths):
            self.blocks.append(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, 2, 1),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                    nn.Conv2d(after, after, 3, 1, 1),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                )
            )
        self.heads = nn.ModuleDict({name: nn.Linear(2 * widths[-1], len(values)) for name, values in VALUES.items()})

    def forward(self, seen: Tensor) -> dict[str, Tensor]:
        for block in self.blocks:
            seen = block(seen)
        pooled = torch.cat([seen.mean((2, 3)), seen.amax((2, 3))], 1)
        return {name: head(pooled) for name, head in self.heads.items()}


def train(folder: Path, images: Sequence[Images], *, device: str) -> ImageClassifier:
    """Train a classifier on these renders: unchanged, mirrored, a little blurred or noisy."""
    torch.manual_seed(4)
    judge = ImageClassifier().to(device)
    path = folder / "judge.pt"
    if path.exists():
        judge.load_state_dict(torch.load(path, map_location=device, weights_only=True))
        return judge.eval()
    seen = torch.cat([_shrink(rendered.pixels) for rendered in images])
    shown = [shot for rendered in images for shot in rendered.shots]
    truths = [_labels(shown), _labels([shot.mirrored for shot in shown])]
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=1e-2)
    chance, tell = np.random.default_rng(4), ProgressPrinter("judge", STEPS)
    for step in range(STEPS):
        set_rate(optimizer, rate_at(step / STEPS, highest=2e-3))
        places = torch.from_numpy(chance.integers(len(seen), size=BATCH))
        is_mirrored = bool(chance.random() < 0.5)
        part = seen[places].to(device)
        guesses = judge(_degrade(part.flip(3) if is_mirrored else part, chance))
        loss = torch.zeros((), device=device)
        for name, guess in guesses.items():
            loss = loss + functional.cross_entropy(
                guess, truths[is_mirrored][name][places].to(device), label_smoothing=0.05
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        tell(step + 1, loss=float(loss.detach()))
    torch.save(judge.state_dict(), path)
    return judge.eval()


def _shrink(pixels: Pixels) -> Tensor:
    parts = [
        functional.interpolate(as_tensor(pixels[at : at + 256]), (SEEN_AT, SEEN_AT), mode="area")
        for at in range(0, len(pixels), 256)
    ]
    return torch.cat(parts)


def _degrade(part: Tensor, chance: np.random.Generator) -> Tensor:
    """Return the images as soft or noisy as generated images may be; this does not change what they show."""
    if chance.random() < 0.5:
        side = int(chance.integers(SEEN_AT // 2, SEEN_AT))
        part = functional.interpolate(
            functional.interpolate(part, (side, side), mode="area"), (SEEN_AT, SEEN_AT), mode="bilinear"
        )
    return part + float(chance.uniform(0, 0.06)) * torch.randn_like(part)


def _labels(shown: Sequence[ImageDescription]) -> dict[str, Tensor]:
    return {
        name: torch.tensor([values.index(getattr(shot, name)) for shot in shown]) for name, values in VALUES.items()
    }


@torch.no_grad()
def accuracy(
    judge: ImageClassifier, pixels: Pixels, shown: Sequence[ImageDescription], device: str
) -> dict[str, float]:
    """Return the share of images with each property named correctly, and with kind, colour and scene all correct."""
    truths, seen = _labels(shown), _shrink(pixels)
    right: dict[str, list[Tensor]] = {name: [] for name in VALUES}
    for at in range(0, len(seen), 256):
        for name, guess in judge(seen[at : at + 256].to(device)).items():
            right[name].append(guess.argmax(1).cpu() == truths[name][at : at + 256])
    whole = {name: torch.cat(parts) for name, parts in right.items()}
    shares = {name: round(float(parts.float().mean()), 4) for name, parts in whole.items()}
    return shares | {"all three": round(float((whole["kind"] & whole["colour"] & whole["scene"]).float().mean()), 4)}


def generate(pipe: Any, texts: Sequence[str], *, size: int, how: Sampling, seed: int) -> Pixels:
    """Generate count × size × size × 3 pixels; each image has its own seed, from `seed` upwards."""
    batches = []
    for at in range(0, len(texts), how.batch):
        part = list(texts[at : at + how.batch])
        chances = [torch.Generator("cpu").manual_seed(seed + at + place) for place in range(len(part))]
        with torch.inference_mode():
            images = pipe(
                part, width=size, height=size, num_inference_steps=how.steps, guidance_scale=how.guidance,
                generator=chances, output_type="np",
            ).images  # fmt: skip
        batches.append((np.clip(images, 0, 1) * 255).round().astype(np.uint8))
    return np.concatenate(batches)


def table(
    pipe: Any, judge: ImageClassifier, *, size: int, count: int, how: Sampling, device: str
) -> dict[str, dict[str, float]]:
    """Return the accuracy on generated images of trained pairs, of pairs that were held out, and of empty scenes.

    All these captions name light and view.
    """
    figures = {}
    for at, (name, pairs, empty) in enumerate(
        (("trained", "trained", 0.0), ("held out", "held out", 0.0), ("empty", "trained", 1.0))
    ):
        shown = list(shots(count if pairs == "held out" else count // 4, seed=100 + at, empty=empty, pairs=pairs))
        began = time.perf_counter()
        chance = np.random.default_rng(at)
        texts = [caption(shot, chance, is_whole=True) for shot in shown]
        made = generate(pipe, texts, size=size, how=how, seed=1000 * (at + 1))
        seconds = (time.perf_counter() - began) / len(shown)
        figures[name] = accuracy(judge, made, shown, device) | {"count": len(shown), "seconds each": round(seconds, 3)}
    return figures


def sheet(images: Sequence[Pixels], columns: int) -> Image.Image:
    """Return images of one size side by side."""
    rows = [np.hstack(list(images[at : at + columns])) for at in range(0, len(images), columns)]
    return Image.fromarray(np.vstack(rows))
