"""The diffusers engine on tiny, randomly initialised pipelines, saved as real folders."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from generation.engines import base
from generation.engines.base import EngineError, ErrorKind, ImageRef
from tests.tiny_models import SIZE, Desk, furthest, pixels, task

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")


@pytest.fixture
def sd_folder(tiny_model: Callable[[str], Path]) -> Path:
    return tiny_model("sd")


@pytest.fixture
def sdxl_folder(tiny_model: Callable[[str], Path]) -> Path:
    return tiny_model("sdxl")


@pytest.fixture
def small_folder(tiny_model: Callable[[str], Path]) -> Path:
    return tiny_model("small")


@pytest.fixture(params=["sd", "sdxl"])
def engine(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]):
    folder = tiny_model(request.param)
    return base.build("diffusers", {"model": str(folder), "device": "cpu", "dtype": "float32"})


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
    from generation.engines.weights import family_of

    assert family_of(sd_folder) == "sd"
    assert family_of(sdxl_folder) == "sdxl"
    (tmp_path / "model_index.json").write_text('{"_class_name": "AudioPipeline"}')
    with pytest.raises(EngineError, match="AudioPipeline"):
        family_of(tmp_path)


def test_a_single_file_is_told_apart_by_its_tensor_names(tmp_path):
    from safetensors.torch import save_file

    from generation.engines.weights import family_of

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
