"""Weights of the example's little model for tests: its own, or those that it has before its training."""

from __future__ import annotations

from pathlib import Path

from examples import sketches


def untrained(folder: Path, size: int) -> Path:
    """A whole model for pictures of `size` pixels, whose pictures show nothing; the same every time."""
    import torch

    from examples.model import networks

    torch.manual_seed(0)
    parts = networks.autoencoder(), networks.text_encoder(), networks.tokenizer(), networks.unet(size)
    networks.save(networks.pipeline(*parts), folder, {})
    return folder


def at_hand(folder: Path) -> Path:
    """The committed weights where there are any, untrained ones written to `folder` otherwise."""
    return sketches.WEIGHTS if sketches.has_weights(sketches.WEIGHTS) else untrained(folder, 64)
