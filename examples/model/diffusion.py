"""Train the text encoder, and then the U-Net together with it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.model import networks
from examples.model.captions import (
    COLOURS,
    FINISHES,
    KINDS,
    LIGHTS,
    NOTHING,
    SCENES,
    VIEWS,
    ImageDescription,
    caption,
    shots,
)
from examples.model.progress import Average, Checkpoint, ProgressPrinter, rate_at, set_rate

TEXT_STEPS = 500
TEXT_BATCH = 64
BATCH = 32
RATE = 1.2e-3
TEXT_SHARE = 0.2
"""The text encoder is trained already, so it gets a fifth of the U-Net's learning rate."""
UNSAID = 0.1
"""Share of the captions that are dropped, for guidance."""

_VALUES = {
    "kind": (*KINDS, NOTHING), "colour": (*COLOURS, NOTHING), "scene": tuple(SCENES), "light": LIGHTS,
    "view": tuple(VIEWS), "finish": tuple(FINISHES),
}  # fmt: skip


class CaptionClassifier(nn.Module):
    """The text encoder with a head for each property that a caption names."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = networks.text_encoder()
        self.heads = nn.ModuleDict(
            {name: nn.Linear(networks.TEXT_WIDTH, len(values)) for name, values in _VALUES.items()}
        )

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        mean = self.encoder(tokens).last_hidden_state.mean(1)
        return {name: head(mean) for name, head in self.heads.items()}


def train_text_encoder(folder: Path, *, device: str) -> Any:
    """Train the text encoder to tell the properties from a caption. This takes seconds; without it the U-Net learns few
    words."""
    torch.manual_seed(2)
    net, reader = CaptionClassifier().to(device), networks.tokenizer()
    path = folder / "words.pt"
    if path.exists():
        net.load_state_dict(torch.load(path, map_location=device, weights_only=True))
        return net.encoder
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-4)
    chance = np.random.default_rng(2)
    every = list(shots(20_000, seed=2, pairs="all"))
    tell = ProgressPrinter("words", TEXT_STEPS)
    for step in range(TEXT_STEPS):
        set_rate(optimizer, rate_at(step / TEXT_STEPS, highest=2e-3))
        part = [every[at] for at in chance.integers(len(every), size=TEXT_BATCH)]
        guesses = net(networks.tokens(reader, [caption(shot, chance) for shot in part]).to(device))
        loss, right = torch.zeros((), device=device), []
        for name, guess in guesses.items():
            truth = torch.tensor([_VALUES[name].index(getattr(shot, name)) for shot in part], device=device)
            # A caption may leave out light, view and finish, so their loss cannot become zero and counts less.
            loss = loss + functional.cross_entropy(guess, truth) * (1.0 if name in {"kind", "colour", "scene"} else 0.3)
            right.append(float((guess.argmax(1) == truth).float().mean()))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        tell(step + 1, loss=float(loss.detach()), kind=right[0], colour=right[1], scene=right[2])
    torch.save(net.state_dict(), path)
    return net.encoder


class TextAndUNet(nn.Module):
    """Text encoder and U-Net, trained together."""

    def __init__(self, text: Any, size: int) -> None:
        super().__init__()
        self.text, self.unet = text, networks.unet(size)

    def forward(self, noisy: Tensor, times: Tensor, tokens: Tensor) -> Tensor:
        velocity: Tensor = self.unet(noisy, times, self.text(tokens).last_hidden_state).sample
        return velocity


class GradientComputation:
    """The computation of a batch's gradients, several parts at the same time."""

    def __init__(self, net: nn.Module, workers: int) -> None:
        self.net, self.workers = net, workers
        self.weights = [weight for weight in net.parameters() if weight.requires_grad]
        self.pool = ThreadPoolExecutor(workers, "learning")

    def __call__(self, noisy: Tensor, times: Tensor, tokens: Tensor, velocity: Tensor) -> float:
        """Set every weight's gradient; returns the loss."""
        parts = zip(*(whole.chunk(self.workers) for whole in (noisy, times, tokens, velocity)), strict=True)
        shares = list(self.pool.map(lambda part: self._share(*part, whole=len(noisy)), parts))
        for place, weight in enumerate(self.weights):
            present = [gradients[place] for _, gradients in shares if gradients[place] is not None]
            weight.grad = reduce(torch.add, present) if present else None
        return sum(loss for loss, _ in shares)

    def _share(
        self, noisy: Tensor, times: Tensor, tokens: Tensor, velocity: Tensor, *, whole: int
    ) -> tuple[float, tuple[Tensor | None, ...]]:
        # Each thread has its own flags of torch.
        torch.set_flush_denormal(True)
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        loss = functional.mse_loss(self.net(noisy, times, tokens), velocity) * (len(noisy) / whole)
        return float(loss.detach()), torch.autograd.grad(loss, self.weights, allow_unused=True)


def train(
    text: Any,
    latents: Tensor,
    seen: Sequence[ImageDescription],
    folder: Path,
    *,
    size: int,
    samples: int,
    device: str,
    workers: int = 1,
) -> tuple[Any, Any]:
    """Train and return (text encoder, U-Net), both as averages. latents: of the images `seen`, from latents_of.

    workers: parts of a batch that run at the same time. On a CPU, one per core with one torch thread each is faster
    than one with many threads, because the layers are small.
    """
    torch.manual_seed(3)
    steps = samples // BATCH
    net = TextAndUNet(text, size).to(device)
    net.unet.to(memory_format=torch.channels_last)
    average = Average(net, 0.999)
    groups = [{"params": list(net.unet.parameters())}, {"params": list(net.text.parameters())}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99), weight_decay=1e-3, fused=True)
    kept = Checkpoint(folder / "diffusion.pt", net=net, average=average.module, optimizer=optimizer)
    first = kept.load()
    tell = ProgressPrinter("diffusion", steps, first)
    reader, plan, learn = networks.tokenizer(), networks.scheduler(), GradientComputation(net, workers)
    shown = [list(seen), [shot.mirrored for shot in seen]]
    for step in range(first, steps):
        set_rate(optimizer, rate_at(step / steps, highest=RATE), {1: TEXT_SHARE})
        chance = np.random.default_rng([3, step])
        sides, places = chance.integers(2, size=BATCH), chance.integers(len(seen), size=BATCH)
        texts = [
            "" if chance.random() < UNSAID else caption(shown[side][at], chance)
            for side, at in zip(sides, places, strict=True)
        ]
        real = latents[torch.from_numpy(sides), torch.from_numpy(places)].float()
        times = torch.from_numpy(chance.integers(plan.config.num_train_timesteps, size=BATCH))
        noise = torch.randn(real.shape)
        inputs = plan.add_noise(real, noise, times), times, networks.tokens(reader, texts)
        loss = learn(*(whole.to(device) for whole in (*inputs, plan.get_velocity(real, noise, times))))
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        average.update(net, step)
        tell(step + 1, loss=loss, samples=float(BATCH * (step + 1)))
        kept.save(step + 1, is_last=step + 1 == steps)
    return average.module.text.eval(), average.module.unet.eval()
