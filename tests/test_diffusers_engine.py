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
