"""The diffusers engine on tiny, randomly initialised SD and SDXL pipelines built here and saved as real folders."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generation.engines import base
from generation.engines.base import EngineError, ErrorKind, ImageRef, Spec, Task

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

SIZE = 64


class Desk:
    """A Context that keeps what it is told."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = files or {}
        self.given_up: set[int] = set()
        self.steps: list[tuple[tuple[int, ...], int, int]] = []
        self.cancel_all_after = 10**9

    def load(self, ref: ImageRef) -> bytes:
        return self.files[ref.key]

    def progress(self, task_ids: Sequence[int], step: int, steps: int) -> None:
        self.steps.append((tuple(task_ids), step, steps))
        if step >= self.cancel_all_after:
            self.given_up |= set(task_ids)

    def cancelled(self) -> frozenset[int]:
        return frozenset(self.given_up)


def tokenizer(folder: Path):
    """A CLIP tokenizer over single letters, made from nothing."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    folder.mkdir(parents=True, exist_ok=True)
    import json

    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def text_config(hidden: int = 32, projection: int = 32):
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        hidden_size=hidden,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        vocab_size=64,
        projection_dim=projection,
    )


def small_vae():
    return diffusers.AutoencoderKL(
        block_out_channels=[32, 64],
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        norm_num_groups=8,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
    )


def scheduler():
    return diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


@pytest.fixture(scope="session")
def sd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPTextModel

    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        norm_num_groups=8,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-sd"
    pipe = diffusers.StableDiffusionPipeline(
        unet=unet,
        scheduler=scheduler(),
        vae=small_vae(),
        text_encoder=CLIPTextModel(text_config()),
        tokenizer=tokenizer(folder.parent / "vocabulary"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def small_folder(sd_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the autoencoder of small models, which shrinks eightfold."""
    folder = tmp_path_factory.mktemp("models") / "small"
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(sd_folder)
    pipe.register_modules(
        vae=diffusers.AutoencoderTiny(
            encoder_block_out_channels=(8,) * 4,
            decoder_block_out_channels=(8,) * 4,
            num_encoder_blocks=(0, 0, 1, 1),
            num_decoder_blocks=(1, 1, 1, 0),
        )
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(1)
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64,
        norm_num_groups=8,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1),
        projection_class_embeddings_input_dim=80,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-sdxl"
    words = tokenizer(folder.parent / "vocabulary")
    pipe = diffusers.StableDiffusionXLPipeline(
        unet=unet,
        scheduler=scheduler(),
        vae=small_vae(),
        text_encoder=CLIPTextModel(text_config()),
        text_encoder_2=CLIPTextModelWithProjection(text_config()),
        tokenizer=words,
        tokenizer_2=words,
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(params=["sd", "sdxl"])
def engine(request: pytest.FixtureRequest):
    folder = request.getfixturevalue(f"{request.param}_folder")
    return base.build("diffusers", {"model": str(folder), "device": "cpu", "dtype": "float32"})


def task(number: int, **changes) -> Task:
    values = {
        "prompt": f"a mug {'abcdefgh'[number]}",
        "negative": "blur",
        "width": SIZE,
        "height": SIZE,
        "seed": 1000 + number,
        "parameters": {"steps": 4, "guidance": 5.0},
    }
    return Task(number, Spec(**{**values, **changes}))


def pixels(engine, batch: list[Task], desk: Desk | None = None) -> dict[int, np.ndarray]:
    results = {result.task_id: result for result in engine.generate(batch, desk or Desk())}
    assert all(result.error is None for result in results.values())
    return {number: result.pixels for number, result in results.items()}


def furthest(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_a_batch_of_four_equals_four_singles(engine):
    batch = [task(number) for number in range(4)]
    together = pixels(engine, batch)
    for single in batch:
        alone = pixels(engine, [single])[single.id]
        assert alone.shape == (SIZE, SIZE, 3)
        assert furthest(alone, together[single.id]) <= 2


def test_seed_and_prompt_both_decide_the_picture(engine):
    first = pixels(engine, [task(0)])[0]
    assert furthest(first, pixels(engine, [task(0, seed=5)])[0]) > 5
    assert furthest(first, pixels(engine, [task(0, prompt="quite another thing")])[0]) > 0


def test_image_to_image_starts_from_the_init_image_and_batches_alike(engine):
    def png(shade: int) -> bytes:
        stream = io.BytesIO()
        Image.new("RGB", (100, 80), (shade, 40, 200 - shade)).save(stream, "PNG")
        return stream.getvalue()

    desk = Desk({"one": png(30), "two": png(180)})
    batch = [
        task(n, images={"init": ImageRef(key, key)}, parameters={"steps": 4, "strength": 0.5})
        for n, key in enumerate(["one", "two"])
    ]
    together = pixels(engine, batch, desk)
    assert furthest(together[0], together[1]) > 5
    assert furthest(pixels(engine, batch[1:], desk)[1], together[1]) <= 2


def test_progress_is_told_for_every_step_and_cancel_stops_between_steps(engine):
    desk = Desk()
    desk.cancel_all_after = 2
    results = list(engine.generate([task(0), task(1)], desk))
    assert [step for _, step, _ in desk.steps][:2] == [1, 2]
    assert len(desk.steps) < 4
    assert {result.error.kind for result in results} == {ErrorKind.CANCELLED}
    assert len(results) == 2


def test_out_of_memory_makes_smaller_batches_and_loses_no_image(engine, monkeypatch):
    loaded = engine._load()
    real, sizes = type(loaded.text).__call__, []

    def card_of_two(self, **arguments):
        sizes.append(len(arguments["generator"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, **arguments)

    monkeypatch.setattr(type(loaded.text), "__call__", card_of_two)
    made = pixels(engine, [task(number) for number in range(5)])
    assert sorted(made) == [0, 1, 2, 3, 4]
    assert sizes == [5, 2, 3, 1, 2]


def test_a_prompt_is_encoded_once(engine, monkeypatch):
    loaded = engine._load()
    real, calls = type(loaded.text).encode_prompt, []

    def counted(self, *args, **kwargs):
        if kwargs.get("prompt") is not None:
            calls.append(kwargs["prompt"])
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(loaded.text), "encode_prompt", counted)
    same = "the very same words"
    pixels(engine, [task(0, prompt=same), task(1, prompt=same)])
    pixels(engine, [task(2, prompt=same)])
    assert calls == [same]


def test_the_family_is_read_from_the_files(sd_folder, sdxl_folder, tmp_path):
    from generation.engines.diffusers import family_of

    assert family_of(sd_folder) == "sd"
    assert family_of(sdxl_folder) == "sdxl"
    (tmp_path / "model_index.json").write_text('{"_class_name": "AudioPipeline"}')
    with pytest.raises(EngineError, match="AudioPipeline"):
        family_of(tmp_path)


def test_a_single_file_is_told_apart_by_its_tensor_names(tmp_path):
    from safetensors.torch import save_file

    from generation.engines.diffusers import family_of

    for name, family in (("cond_stage_model.transformer.x", "sd"), ("conditioner.embedders.1.model.x", "sdxl")):
        save_file({name: torch.zeros(2)}, tmp_path / f"{family}.safetensors")
        assert family_of(tmp_path / f"{family}.safetensors") == family
    (tmp_path / "junk.safetensors").write_bytes(b"not at all a model")
    with pytest.raises(EngineError, match="not a safetensors file"):
        family_of(tmp_path / "junk.safetensors")


def test_a_single_file_makes_the_same_picture_as_its_folder(sd_folder, tmp_path):
    from safetensors.torch import save_file

    from tests import original_names

    folder_engine = base.build("diffusers", {"model": str(sd_folder), "device": "cpu", "dtype": "float32"})
    file = tmp_path / "tiny.safetensors"
    save_file(original_names.of(folder_engine._load().text), file)
    file_engine = base.build(
        "diffusers",
        {"model": str(file), "model_config": str(sd_folder), "device": "cpu", "dtype": "float32"},
    )
    assert furthest(pixels(file_engine, [task(1)])[1], pixels(folder_engine, [task(1)])[1]) <= 1


def test_a_single_file_without_its_configurations_says_what_is_missing(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    save_file({"cond_stage_model.transformer.x": torch.zeros(2)}, tmp_path / "odd.safetensors")
    engine = base.build("diffusers", {"model": str(tmp_path / "odd.safetensors"), "device": "cpu"})
    with pytest.raises(EngineError, match="could not be loaded"):
        list(engine.generate([task(0)], Desk()))


def test_another_models_files_have_another_revision(sd_folder, sdxl_folder):
    one = base.build("diffusers", {"model": str(sd_folder)}).model_identity()
    assert one == base.build("diffusers", {"model": str(sd_folder)}).model_identity()
    assert one[1] != base.build("diffusers", {"model": str(sdxl_folder)}).model_identity()[1]


def test_impossible_specs_are_explained(sd_folder):
    engine = base.build("diffusers", {"model": str(sd_folder)})
    problems = engine.validate(task(0, width=65, parameters={"steps": 0, "colour": "red", "scheduler": "magic"}).spec)
    assert any("multiples of 8" in problem for problem in problems)
    assert any("'colour'" in problem and "guidance" in problem for problem in problems)
    assert any("'magic'" in problem and "ddim" in problem for problem in problems)
    assert any("steps is 0" in problem for problem in problems)
    assert engine.validate(task(0).spec) == []


def test_planning_does_not_import_torch(sd_folder):
    import subprocess
    import sys

    code = (
        "import sys; from generation.engines import base;"
        f"e = base.build('diffusers', {{'model': {str(sd_folder)!r}}});"
        "e.model_identity(); e.capabilities(); e.health();"
        "assert 'torch' not in sys.modules and 'diffusers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- small models on a CPU ---------------------------------------------------------------------------------------------


def test_a_model_with_a_small_autoencoder_makes_pictures_from_words_and_from_a_start_image(small_folder: Path):
    engine = base.build("diffusers", {"model": str(small_folder), "device": "cpu"})
    start = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), "teal").save(start, "PNG")
    desk = Desk({"start": start.getvalue()})
    from_words = pixels(engine, [task(0)])[0]
    changed = pixels(engine, [task(0, images={"init": ImageRef("0" * 64, "start")})], desk)[0]
    assert from_words.shape == changed.shape == (SIZE, SIZE, 3)
    assert furthest(from_words, changed) > 2


def test_an_endpoint_says_how_large_its_model_can_draw(small_folder: Path):
    small = base.build("diffusers", {"model": str(small_folder), "max_side": 128}).capabilities()
    assert (small.max_width, small.max_height) == (128, 128)
    assert base.build("diffusers", {"model": str(small_folder)}).capabilities().max_width == 2048


def test_on_a_cpu_numbers_next_to_zero_count_as_zero_and_threads_are_as_many_as_asked(small_folder: Path):
    was = torch.get_num_threads()
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush subnormal numbers")
    nearly = torch.full((1,), 1e-40)
    assert float(nearly * 0.5) > 0
    try:
        pixels(base.build("diffusers", {"model": str(small_folder), "device": "cpu", "threads": 1}), [task(0)])
        assert float(nearly * 0.5) == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(was)


# -- from a picture, with a mask --------------------------------------------------------------------------------------


def encoded(picture: np.ndarray | Image.Image) -> bytes:
    stream = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(stream, "PNG")
    return stream.getvalue()


def photograph(seed: int = 0, width: int = SIZE, height: int = SIZE) -> np.ndarray:
    """Noise over a slope: nothing that a decoder could return to the level."""
    slope = np.linspace(0, 120, width, dtype=np.float32)[None, :, None]
    noise = np.random.default_rng(seed).uniform(0, 130, (height, width, 3))
    return (slope + noise).astype(np.uint8)


def square(start: int = 24, end: int = 56) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[start:end, start:end] = 255
    return mask


def repaint(number: int, init: str = "init", mask: str = "mask", **parameters) -> Task:
    images = {"init": ImageRef(init, init), "mask": ImageRef(mask, mask)}
    return task(number, images=images, parameters={"steps": 4, "guidance": 5.0, **parameters})


def test_outside_the_mask_every_pixel_stays_and_inside_it_is_made_anew(engine):
    picture, mask = photograph(), square()
    desk = Desk({"init": encoded(picture), "mask": encoded(mask)})
    made = pixels(engine, [repaint(0)], desk)[0]
    assert furthest(made[mask == 0], picture[mask == 0]) == 0
    inside = np.abs(made[32:48, 32:48].astype(int) - picture[32:48, 32:48])
    assert inside.mean() > 10
    other = pixels(engine, [repaint(0), repaint(1)], desk)[1]
    assert furthest(made[32:48, 32:48], other[32:48, 32:48]) > 5  # another seed and prompt


def test_a_batch_of_repaints_equals_its_singles(engine):
    desk = Desk({"init": encoded(photograph()), "other": encoded(photograph(1)), "mask": encoded(square())})
    desk.files["low"] = encoded(square(40, 64))
    batch = [repaint(0), repaint(1, init="other"), repaint(2, mask="low"), repaint(3, init="other", mask="low")]
    assert len({engine.batch_key(one.spec) for one in batch}) == 1
    together = pixels(engine, batch, desk)
    for single in batch:
        assert furthest(pixels(engine, [single], desk)[single.id], together[single.id]) <= 2


def test_the_weights_are_in_memory_once(engine):
    loaded = engine._load()
    for other in (loaded.image, loaded.inpaint):
        assert other.unet is loaded.text.unet and other.vae is loaded.text.vae
        assert other.text_encoder is loaded.text.text_encoder
    assert loaded.inpaint.unet.config.in_channels == 4
    assert type(loaded.inpaint).__name__.endswith("InpaintPipeline")


def test_the_seam_lies_within_the_mask_and_is_soft():
    from generation.engines.canvas import read

    files = {
        "init": encoded(np.zeros((640, 640, 3), np.uint8)),
        "mask": encoded(np.kron(square(), np.ones((10, 10))) > 0),
    }
    desk = Desk(files)
    canvas = read(repaint(0).spec.__class__(**{**vars(repaint(0).spec), "width": 640, "height": 640}), desk)
    laid = canvas.with_new(np.full((640, 640, 3), 200, np.uint8))[400, :, 0].astype(int)
    assert laid[:240].max() == 0 and laid[560:].max() == 0 and np.all(laid[256:544] == 200)
    assert np.all(np.diff(laid[235:260]) >= 0) and np.diff(laid[235:260]).max() < 60
    assert canvas.marked(8).max() == 1 and set(np.unique(canvas.marked(8))) == {0.0, 1.0}


def test_every_cell_that_a_mask_touches_is_given_to_the_model():
    from generation.engines.canvas import Canvas

    line = np.zeros((64, 64), np.float32)
    line[:, 33] = 1  # a hair between the middles of two cells
    marked = Canvas(np.zeros((64, 64, 3), np.uint8), line).marked(8)
    assert np.all(marked[:, 32:40] == 1) and marked.sum() == 64 * 8


def test_a_cut_out_as_the_mask_keeps_the_product_and_remakes_what_is_around_it(engine):
    picture = photograph()
    alpha = square()
    cutout = np.dstack([picture, alpha])
    made = pixels(engine, [repaint(0)], Desk({"init": encoded(picture), "mask": encoded(cutout)}))[0]
    assert furthest(made[alpha == 255], picture[alpha == 255]) == 0
    assert np.abs(made[:16, :16].astype(int) - picture[:16, :16]).mean() > 10


def test_a_picture_of_other_proportions_is_cropped_not_squeezed(engine):
    wide = photograph(width=2 * SIZE)
    desk = Desk(
        {
            "init": encoded(wide),
            "mask": encoded(np.zeros((SIZE, 2 * SIZE), np.uint8) + np.pad(square()[:, :32], ((0, 0), (48, 48)))),
        }
    )
    made = pixels(engine, [repaint(0)], desk)[0]
    middle = wide[:, 32 : 32 + SIZE]
    kept = np.pad(square()[:, :32], ((0, 0), (48, 48)))[:, 32 : 32 + SIZE] == 0
    assert furthest(made[kept], middle[kept]) == 0


def test_what_cannot_be_repainted_is_said_and_the_others_of_the_batch_are_made(engine):
    files = {
        "init": encoded(photograph()),
        "mask": encoded(square()),
        "black": encoded(np.zeros((SIZE, SIZE), np.uint8)),
        "wide": encoded(np.full((SIZE, 2 * SIZE), 255, np.uint8)),
        "junk": b"no picture",
    }
    batch = [repaint(0, mask="black"), repaint(1, mask="wide"), repaint(2, init="junk"), repaint(3)]
    results = {result.task_id: result for result in engine.generate(batch, Desk(files))}
    assert sorted(results) == [0, 1, 2, 3] and results[3].error is None
    said = [results[number].error.message for number in range(3)]
    assert all(results[number].error.kind == ErrorKind.INPUT for number in range(3))
    assert "marks nothing" in said[0] and "128 × 64" in said[1] and "start image is no picture" in said[2]


def test_a_mask_alone_or_a_change_without_a_step_is_refused_before_anything_is_made(sd_folder):
    engine = base.build("diffusers", {"model": str(sd_folder)})
    assert engine.capabilities().optional_images == {"init", "mask"}
    alone = task(0, images={"mask": ImageRef("m", "m")})
    assert any("no picture to repaint" in problem for problem in engine.validate(alone.spec))
    faint = task(0, images={"init": ImageRef("i", "i")}, parameters={"steps": 4, "strength": 0.2})
    assert engine.validate(faint.spec) == [
        "A change of 0.2 in 4 steps leaves no step to work in; take at least 5 steps."
    ]
    assert engine.validate(repaint(0).spec) == []
    keys = {engine.batch_key(one.spec) for one in (task(0), task(0, images={"init": ImageRef("i", "i")}), repaint(0))}
    assert len(keys) == 3


def test_a_small_autoencoder_repaints_too(sd_folder, tmp_path):
    """AutoencoderTiny, whose encoder has no distribution to draw from."""
    vae = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1), latent_channels=4,
    )  # fmt: skip
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(sd_folder, vae=vae, safety_checker=None)
    pipe.save_pretrained(tmp_path / "tiny-vae", safe_serialization=True)
    engine = base.build("diffusers", {"model": str(tmp_path / "tiny-vae"), "device": "cpu", "dtype": "float32"})
    picture, mask = photograph(), square()
    made = pixels(engine, [repaint(0)], Desk({"init": encoded(picture), "mask": encoded(mask)}))[0]
    assert furthest(made[mask == 0], picture[mask == 0]) == 0 and furthest(made, picture) > 10
