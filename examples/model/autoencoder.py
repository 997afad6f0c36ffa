"""Train the autoencoder: images to a few numbers and back, with sharp edges and nearly normally distributed numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from examples.model import networks
from examples.model.images import Pixels
from examples.model.progress import Average, Checkpoint, ProgressPrinter, rate_at, set_rate

CROP = 64
BATCH = 16
RATE = 2e-3
LATENT_NOISE = 0.08
"""Noise in training, so that small errors of the diffusion model stay small in the image."""


def train(pixels: Pixels, folder: Path, *, steps: int, device: str) -> Any:
    """Return the trained autoencoder (its average). An interrupted training is continued."""
    torch.manual_seed(1)
    net = networks.autoencoder().to(device, memory_format=torch.channels_last)
    average = Average(net, 0.998)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    kept = Checkpoint(folder / "autoencoder.pt", net=net, average=average.module, optimizer=optimizer)
    first = kept.load()
    tell = ProgressPrinter("autoencoder", steps, first)
    for step in range(first, steps):
        set_rate(optimizer, rate_at(step / steps, highest=RATE))
        real = _crops(pixels, np.random.default_rng([1, step])).to(device, memory_format=torch.channels_last)
        latents = net.encode(real).latents
        noisy = latents + LATENT_NOISE * torch.randn_like(latents)
        loss, error = _loss(net.decode(noisy).sample, real, latents)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        average.update(net, step)
        # Values are in -1 … 1, so the peak is 2.
        tell(step + 1, loss=float(loss.detach()), decibels=float(10 * torch.log10(4 / error)))
        kept.save(step + 1, is_last=step + 1 == steps)
    return average.module.eval()


def _crops(pixels: Pixels, chance: np.random.Generator) -> Tensor:
    """Return BATCH × 3 × CROP × CROP in -1 … 1; half of the crops are mirrored, most show the place of the product."""
    size = pixels.shape[1]
    crops = []
    for _ in range(BATCH):
        image = pixels[chance.integers(len(pixels))]
        middle = chance.random() < 0.6
        span = (size // 8, size - CROP - size // 8) if middle and size >= 2 * CROP else (0, size - CROP)
        y, x = chance.integers(span[0], span[1] + 1, 2)
        crop = image[y : y + CROP, x : x + CROP]
        crops.append(crop[:, ::-1] if chance.random() < 0.5 else crop)
    return as_tensor(np.stack(crops))


def as_tensor(pixels: Pixels) -> Tensor:
    """Convert count × h × w × 3 in 0 … 255 to count × 3 × h × w in -1 … 1."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _loss(made: Tensor, real: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Return (loss, mean squared error)."""
    apart = made - real
    error = apart.square().mean()
    edges = apart.diff(dim=2).abs().mean() + apart.diff(dim=3).abs().mean()
    flat = latents.permute(1, 0, 2, 3).flatten(1)
    mean = flat.mean(1)
    spread = (flat - mean[:, None]) @ (flat - mean[:, None]).T / flat.shape[1]
    unlike = mean.square().sum() + (spread - torch.eye(len(spread), device=spread.device)).square().sum()
    return apart.abs().mean() + 0.5 * edges + 0.5 * error + 0.002 * unlike, error.detach()


@torch.no_grad()
def latents_of(net: Any, pixels: Pixels, device: str) -> Tensor:
    """Return the latents of all images and of all mirror images: 2 × count × 4 × size/8 × size/8, half precision."""
    latents = []
    for at in range(0, len(pixels), 64):
        part = as_tensor(pixels[at : at + 64]).to(device)
        both = torch.stack([net.encode(part).latents, net.encode(part.flip(3)).latents])
        latents.append(both.half().cpu())
    return torch.cat(latents, 1)
