"""The weights of the example's little model before its training."""

from __future__ import annotations

from pathlib import Path


def save_untrained_model(folder: Path, size: int) -> Path:
    """Save a whole model for images of `size` px that show nothing; it is the same every time."""
    import torch

    from examples.model import networks

    torch.manual_seed(0)
    parts = networks.autoencoder(), networks.text_encoder(), networks.tokenizer(), networks.unet(size)
    networks.save(networks.pipeline(*parts), folder, {})
    return folder
