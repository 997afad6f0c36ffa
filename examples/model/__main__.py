"""`python -m examples.model train | evaluate | sheet`: makes the demo's model again, and says how good it is.

Training goes on where it was interrupted; what it needs and leaves lies below var/model until `train` ends by writing
examples/model/weights. A GPU is used where there is one.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from config.env import var_dir
from examples.model import autoencoder, classifier, diffusion, networks
from examples.model.captions import caption, shots
from examples.model.images import Images, render_images

WEIGHTS = Path(__file__).resolve().parent / "weights"
SEEDS = {"training": 1, "judge": 11, "test": 12}


def main() -> None:
    options = _options()
    torch.set_flush_denormal(True)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    {"train": train, "evaluate": evaluate, "sheet": sheet}[options.command](options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.model", description=__doc__)
    parser.add_argument("command", choices=("train", "evaluate", "sheet"))
    parser.add_argument("--folder", type=Path, default=var_dir() / "model", help="what training keeps between runs")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="the diffusers folder")
    parser.add_argument("--size", type=int, default=128, help="pixels a side; a multiple of 32")
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--autoencoder-steps", type=int, default=3000)
    parser.add_argument("--samples", type=int, default=300_000, help="images that the U-Net sees")
    parser.add_argument("--count", type=int, default=600, help="evaluate: images of pairs that training never saw")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


def _images(options: argparse.Namespace, use: str, count: int, pairs: str = "trained") -> Images:
    def print_progress(done: int, every: int) -> None:
        print(f"{use} images: {done} of {every} files", flush=True)

    return render_images(
        options.folder / f"{use}-{options.size}",
        count=count,
        size=options.size,
        seed=SEEDS[use],
        pairs=pairs,
        on_progress=print_progress,
    )


def train(options: argparse.Namespace) -> None:
    """Render the images, train autoencoder, text encoder and U-Net, and save the folder."""
    seen = _images(options, "training", options.images)
    vae = autoencoder.train(seen.pixels, options.folder, steps=options.autoencoder_steps, device=options.device)
    latents = autoencoder.latents_of(vae, seen.pixels, options.device)
    text = diffusion.train_text_encoder(options.folder, device=options.device)
    workers = 1
    if options.device == "cpu":
        workers = torch.get_num_threads()
        torch.set_num_threads(1)
    text, unet = diffusion.train(
        text,
        latents,
        seen.shots,
        options.folder,
        size=options.size,
        samples=options.samples,
        device=options.device,
        workers=workers,
    )
    pipe = networks.pipeline(vae.cpu(), text.cpu(), networks.tokenizer(), unet.cpu())
    facts = {
        "trained": date.today().isoformat(), "size": options.size, "images": options.images,
        "autoencoder_steps": options.autoencoder_steps, "samples": options.samples, "device": options.device,
        "torch": torch.__version__,
    }  # fmt: skip
    size = networks.save(pipe, options.weights, facts)
    print(f"{options.weights}: {size / 1e6:.1f} MB")


def _pipeline(options: argparse.Namespace) -> Any:
    pipe = StableDiffusionPipeline.from_pretrained(options.weights, dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(options.device)


def evaluate(options: argparse.Namespace) -> None:
    """Print the classifier's accuracy on renders that it never saw, and on generated images."""
    held_out = _images(options, "judge", 1500, "held out")
    judge = classifier.train(
        options.folder, [_images(options, "training", options.images), held_out], device=options.device
    )
    unseen = _images(options, "test", 500, "held out")
    how = classifier.Sampling(options.steps, options.guidance)
    figures_by_set = {"renders": classifier.accuracy(judge, unseen.pixels, unseen.shots, options.device)}
    figures_by_set |= classifier.table(
        _pipeline(options), judge, size=options.size, count=options.count, how=how, device=options.device
    )
    for name, figures in figures_by_set.items():
        print(f"{name:10}", "  ".join(f"{what} {figure}" for what, figure in figures.items()))
    print(json.dumps(figures_by_set))


def sheet(options: argparse.Namespace) -> None:
    """Save 48 generated images with their captions below var/model."""
    chance = np.random.default_rng(7)
    shown = list(shots(48, seed=8, empty=0.17, pairs="all"))
    texts = [caption(shot, chance, is_whole=True) for shot in shown]
    how = classifier.Sampling(options.steps, options.guidance)
    made = classifier.generate(_pipeline(options), texts, size=options.size, how=how, seed=48)
    path = options.folder / "sheet.png"
    classifier.sheet(list(made), 8).save(path)
    path.with_suffix(".txt").write_text("\n".join(f"{at + 1}. {text}" for at, text in enumerate(texts)) + "\n")
    print(path)


if __name__ == "__main__":
    main()
