"""Test the example's diffusion model: its training set, a small training, and the committed weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from campaigns.prompts import tokens
from examples.model.captions import COLOURS, KINDS, NOTHING, SCENES, caption, caption_words, held_out_pairs, shots
from examples.render import native
from generation.engines import base
from generation.engines.base import ImageRef, Spec, Task

torch = pytest.importorskip("torch")

WEIGHTS = Path(__file__).resolve().parents[2] / "examples" / "model" / "weights"
needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="the renderer needs a C compiler")


# -- training set ------------------------------------------------------------------------------------------------------


def test_there_are_twelve_kinds_twelve_colours_and_eight_scenes() -> None:
    assert (len(KINDS), len(COLOURS), len(SCENES)) == (12, 12, 8)


def test_each_kind_and_each_colour_is_held_out_once() -> None:
    kinds, colours = zip(*held_out_pairs(), strict=True)
    assert sorted(kinds) == sorted(KINDS)
    assert sorted(colours) == sorted(COLOURS)


def test_training_never_shows_a_pair_that_is_held_out() -> None:
    trained = {(shot.kind, shot.colour) for shot in shots(4000, seed=1)}
    assert not trained & held_out_pairs()
    assert len(trained - {(NOTHING, NOTHING)}) == 144 - 12
    assert {(shot.kind, shot.colour) for shot in shots(300, seed=1, empty=0, pairs="held out")} == held_out_pairs()


def test_a_longer_set_begins_like_a_shorter_one() -> None:
    assert list(shots(500, seed=3))[:100] == list(shots(100, seed=3))


def test_every_caption_names_kind_colour_and_scene_and_is_read_whole() -> None:
    chance = np.random.default_rng(5)
    vocabulary = set(caption_words())
    for shot in shots(500, seed=6, pairs="all"):
        text = caption(shot, chance)
        assert set(text.replace(",", " , ").split()) <= vocabulary
        if shot.kind == NOTHING:
            assert "empty" in text
        else:
            assert f"{shot.colour} {shot.kind}" in text


def test_a_mirror_image_is_lit_from_the_other_side() -> None:
    shot = next(shots(1, seed=1))
    assert shot.mirrored.mirrored == shot
    assert {shot.light.split()[1], shot.mirrored.light.split()[1]} == {"left", "right"}


@needs_compiler
def test_rendering_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from examples.model import images

    monkeypatch.setattr(images, "SHARD", 4)
    progress: list[tuple[int, int]] = []
    first = images.render_images(tmp_path, count=8, size=32, seed=1, workers=1)
    (tmp_path / "0000004.npy").unlink()
    resumed = images.render_images(
        tmp_path, count=8, size=32, seed=1, workers=1, on_progress=lambda *both: progress.append(both)
    )
    assert progress == [(1, 2), (2, 2)]
    assert np.array_equal(first.pixels, resumed.pixels)
    assert first.pixels.shape == (8, 32, 32, 3)
    assert len({pixels.tobytes() for pixels in first.pixels}) == 8


@needs_compiler
def test_an_empty_scene_has_no_product_in_it() -> None:
    from examples.render import render
    from examples.render.looks import SURROUNDINGS

    around = SURROUNDINGS["marble"]
    empty = render("mug", "#b3261e", size=64, surroundings=around, is_empty=True).astype(int)
    shown = render("mug", "#b3261e", size=64, surroundings=around).astype(int)
    redness = [(image[..., 0] - image[..., 2]).max() for image in (empty, shown)]
    assert redness[0] < 20 < 80 < redness[1]


# -- small training ----------------------------------------------------------------------------------------------------


def noise_images(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


class Interrupted(Exception):
    pass


def test_a_training_that_was_interrupted_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from examples.model import autoencoder, diffusion, networks, progress

    monkeypatch.setattr(progress, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(networks, "BLOCKS", (16, 16, 16))
    monkeypatch.setattr(autoencoder, "BATCH", 2)
    monkeypatch.setattr(diffusion, "BATCH", 2)
    pixels, seen = noise_images(4), list(shots(4, seed=1))

    def train_everything(folder: Path) -> dict[str, Any]:
        folder.mkdir(exist_ok=True)
        vae = autoencoder.train(pixels, folder, steps=4, device="cpu")
        latents = autoencoder.latents_of(vae, pixels, "cpu")
        torch.manual_seed(9)
        text, net = diffusion.train(networks.text_encoder(), latents, seen, folder, size=64, samples=8, device="cpu")
        return {
            f"{at}.{name}": value
            for at, part in enumerate((vae, text, net))
            for name, value in part.state_dict().items()
        }

    whole = train_everything(tmp_path / "whole")
    saving = progress.Checkpoint.save
    saved = 0

    def stop_midway(self: Any, step: int, *, is_last: bool = False) -> None:
        nonlocal saved
        saving(self, step, is_last=is_last)
        saved += 1
        if saved in {2, 6}:
            raise Interrupted

    monkeypatch.setattr(progress.Checkpoint, "save", stop_midway)
    for _ in range(2):
        with pytest.raises(Interrupted):
            train_everything(tmp_path / "parts")
    parts = train_everything(tmp_path / "parts")
    assert all(torch.equal(parts[name], value) for name, value in whole.items())


# -- the committed weights ---------------------------------------------------------------------------------------------


class RecordingContext:
    """The engine context of a worker."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = files or {}

    def load(self, ref: ImageRef) -> bytes:
        return self.files[ref.key]

    def progress(self, task_ids: Sequence[int], step: int, steps: int) -> None: ...

    def cancelled(self) -> frozenset[int]:
        return frozenset()


@pytest.fixture(scope="module")
def engine() -> Any:
    return base.build("diffusers", {"model": str(WEIGHTS), "device": "cpu", "dtype": "float32"})


def size() -> int:
    return int(json.loads((WEIGHTS / "training.json").read_text())["size"])


def task(number: int, prompt: str, **changes: Any) -> Task:
    fields = {"seed": number, "parameters": {"steps": 12, "guidance": 3.0}, **changes}
    return Task(number, Spec(prompt=prompt, width=size(), height=size(), **fields))


def generate_images(engine: Any, tasks: list[Task], context: RecordingContext | None = None) -> dict[int, Any]:
    images = {}
    for result in engine.generate(tasks, context or RecordingContext()):
        assert result.error is None, result.error
        images[result.task_id] = result.pixels
    return images


def test_the_folder_is_small_and_says_how_it_was_made() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file()) <= 25_000_000
    assert json.loads((WEIGHTS / "training.json").read_text())["samples"] > 0
    assert "Limits" in (WEIGHTS / "README.md").read_text()


def test_the_vocabulary_of_the_model_is_that_of_the_captions() -> None:
    reader = tokens.load_encoder(WEIGHTS / "tokenizer")
    assert reader is not None and reader.is_exact
    vocabulary = json.loads((WEIGHTS / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    assert set(caption_words()) <= set(vocabulary)


def test_the_same_prompt_and_seed_make_the_same_image_alone_and_in_a_batch_of_eight(engine: Any) -> None:
    prompts = [caption(shot, np.random.default_rng(1)) for shot in shots(8, seed=21)]
    tasks = [task(number, prompt) for number, prompt in enumerate(prompts)]
    together = generate_images(engine, tasks)
    for single in (tasks[0], tasks[5]):
        apart = np.abs(generate_images(engine, [single])[single.id].astype(int) - together[single.id].astype(int))
        assert apart.max() <= 2


def test_the_colour_that_is_asked_for_is_the_colour_of_the_product(engine: Any) -> None:
    colours = ["red", "green", "blue"]
    images = generate_images(
        engine, [task(at, f"a {colour} vase on a white backdrop, front view") for at, colour in enumerate(colours)]
    )
    for at in range(3):
        middle = images[at][size() // 3 : 2 * size() // 3, 2 * size() // 5 : 3 * size() // 5].reshape(-1, 3).mean(0)
        assert int(middle.argmax()) == at, (colours[at], middle)


def test_an_empty_table_is_empty_and_wood_is_not_marble(engine: Any) -> None:
    wood, marble = generate_images(
        engine, [task(0, "an empty wooden table"), task(1, "an empty marble table")]
    ).values()
    below = [image[3 * size() // 4 :].reshape(-1, 3).mean(0) for image in (wood, marble)]
    assert below[0][0] - below[0][2] > 40
    assert abs(below[1][0] - below[1][2]) < 20


def test_another_seed_is_another_image_of_the_same(engine: Any) -> None:
    first, second = generate_images(engine, [task(1, "a red mug on wood"), task(2, "a red mug on wood")]).values()
    assert np.abs(first.astype(int) - second.astype(int)).mean() > 2


def test_image_to_image_keeps_the_place_and_takes_the_new_colour(engine: Any) -> None:
    import cv2

    first = generate_images(engine, [task(4, "a red vase on a white backdrop, front view")])[4]
    context = RecordingContext({"first": cv2.imencode(".png", first[..., ::-1])[1].tobytes()})
    settings = {"steps": 16, "guidance": 4.0, "strength": 0.75}
    changed_task = task(
        4, "a blue vase on a white backdrop, front view", parameters=settings, images={"init": ImageRef("", "first")}
    )
    changed = generate_images(engine, [changed_task], context)[4]
    middle = np.s_[size() // 2 - 8 : size() // 2 + 8, size() // 2 - 8 : size() // 2 + 8]
    assert first[middle].reshape(-1, 3).mean(0).argmax() == 0
    assert changed[middle].reshape(-1, 3).mean(0).argmax() == 2
    assert np.abs(first[:8].astype(int) - changed[:8].astype(int)).mean() < 20


@pytest.mark.parametrize(
    ("class_name", "options", "dtype"),
    [
        ("DiffusionPipeline", {}, "float32"),
        ("StableDiffusionPipeline", {}, "float32"),
        ("AutoPipelineForText2Image", {}, "float32"),
        ("StableDiffusionPipeline", {"safety_checker": None}, "float32"),
        ("DiffusionPipeline", {"dtype": "bfloat16"}, "bfloat16"),
    ],
)
def test_stock_diffusers_loads_it_without_a_word_about_precision(
    class_name: str, options: dict[str, Any], dtype: str
) -> None:
    import diffusers

    words = {name: getattr(torch, value) if name == "dtype" else value for name, value in options.items()}
    pipe = getattr(diffusers, class_name).from_pretrained(WEIGHTS, **words)
    pipe.set_progress_bar_config(disable=True)
    assert {module.dtype for module in (pipe.unet, pipe.vae, pipe.text_encoder)} == {getattr(torch, dtype)}
    image = pipe("a red mug on wood", width=size(), height=size(), num_inference_steps=1).images[0]
    assert image.size == (size(), size())


def test_a_newly_saved_model_loads_in_one_precision(tmp_path: Path) -> None:
    import diffusers

    from tests.support import untrained_model

    pipe = diffusers.DiffusionPipeline.from_pretrained(untrained_model.save_untrained_model(tmp_path / "new", 64))
    assert {module.dtype for module in (pipe.unet, pipe.vae, pipe.text_encoder)} == {torch.float32}
