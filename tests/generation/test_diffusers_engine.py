"""Test the diffusers engine on tiny, randomly initialised pipelines that are saved as real folders."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generation.engines import base
from generation.engines.base import EngineError, ErrorKind, ImageRef
from generation.engines.diffusers.families import family_of
from tests.support.tiny_models import SIZE, RecordingContext, encode_png, largest_difference, photograph, pixels, task

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


@pytest.fixture(params=["sd", "sdxl", "sd3", "flux"])
def engine(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]):
    folder = tiny_model(request.param)
    return base.build("diffusers", {"model": str(folder), "device": "cpu", "dtype": "float32"})


def test_a_batch_of_four_equals_four_singles(engine):
    batch = [task(number) for number in range(4)]
    together = pixels(engine, batch)
    for single in batch:
        alone = pixels(engine, [single])[single.id]
        assert alone.shape == (SIZE, SIZE, 3)
        assert largest_difference(alone, together[single.id]) <= 2


def test_seed_and_prompt_both_decide_the_image(engine):
    first = pixels(engine, [task(0)])[0]
    assert largest_difference(first, pixels(engine, [task(0, seed=5)])[0]) > 5
    assert largest_difference(first, pixels(engine, [task(0, prompt="quite another thing")])[0]) > 0


def test_image_to_image_starts_from_the_init_image_and_batches_alike(engine):
    def png(shade: int) -> bytes:
        stream = io.BytesIO()
        Image.new("RGB", (100, 80), (shade, 40, 200 - shade)).save(stream, "PNG")
        return stream.getvalue()

    context = RecordingContext({"one": png(30), "two": png(180)})
    batch = [
        task(n, images={"init": ImageRef(key, key)}, parameters={"steps": 4, "strength": 0.5})
        for n, key in enumerate(["one", "two"])
    ]
    together = pixels(engine, batch, context)
    assert largest_difference(together[0], together[1]) > 5
    assert largest_difference(pixels(engine, batch[1:], context)[1], together[1]) <= 2


def test_progress_is_reported_for_every_step_and_cancel_stops_between_steps(engine):
    context = RecordingContext()
    context.cancel_all_after = 2
    results = list(engine.generate([task(0), task(1)], context))
    assert [step for _, step, _ in context.steps][:2] == [1, 2]
    assert len(context.steps) < 4
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


def test_every_text_is_encoded_once_and_a_negative_one_for_all_prompts(engine, monkeypatch):
    loaded = engine._load()
    real, calls = type(loaded.text).encode_prompt, []

    def counted(self, *args, **kwargs):
        if kwargs.get("prompt") is not None:
            calls.append(kwargs["prompt"])
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(loaded.text), "encode_prompt", counted)
    pixels(engine, [task(0, prompt="one"), task(1, prompt="one"), task(2, prompt="two")])
    pixels(engine, [task(3, prompt="two"), task(4, prompt="blur", negative="one")])
    assert sorted(calls) == ["blur", "one", "two"] if engine.family.obeys_negative else ["blur", "one", "two"]


def test_a_scheduler_that_one_image_asks_for_is_not_the_next_ones(engine):
    first = pixels(engine, [task(0)])[0]
    other = next(iter(engine.family.schedulers)) if engine.family.is_flow else "euler"
    pixels(engine, [task(0, parameters={"steps": 4, "scheduler": other})])
    assert np.array_equal(first, pixels(engine, [task(0)])[0])


def test_the_family_is_read_from_the_files(tiny_model, tmp_path):
    for name in ("sd", "sdxl", "sd3", "flux", "flux-schnell"):
        assert family_of(tiny_model(name)).name == name
    (tmp_path / "model_index.json").write_text('{"_class_name": "AudioPipeline"}')
    with pytest.raises(EngineError, match="AudioPipeline"):
        family_of(tmp_path)


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (["cond_stage_model.transformer.x", "model.diffusion_model.x"], "sd"),
        (["conditioner.embedders.1.model.x"], "sdxl"),
        (["model.diffusion_model.joint_blocks.0.context_block.adaLN_modulation.1.bias"], "sd3"),
        (["transformer_blocks.0.attn.norm_added_q.weight"], "sd3"),
        (["double_blocks.0.img_mod.lin.bias", "guidance_in.in_layer.bias"], "flux"),
        (["double_blocks.0.img_mod.lin.bias"], "flux-schnell"),
        (
            [
                "transformer_blocks.0.attn.norm_added_q.weight",
                "single_transformer_blocks.0.norm.linear.bias",
                "time_text_embed.guidance_embedder.linear_1.bias",
            ],
            "flux",
        ),
    ],
)
def test_a_single_file_is_distinguished_by_its_tensor_names(names, family, tmp_path):
    from safetensors.torch import save_file

    save_file({name: torch.zeros(2) for name in names}, tmp_path / "model.safetensors")
    assert family_of(tmp_path / "model.safetensors").name == family


def test_a_file_that_is_no_model_is_refused(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "junk.safetensors").write_bytes(b"not at all a model")
    with pytest.raises(EngineError, match="not a safetensors file"):
        family_of(tmp_path / "junk.safetensors")
    save_file({"heard": torch.zeros(2)}, tmp_path / "voice.safetensors")
    with pytest.raises(EngineError, match=r"none of these: .*SDXL.*FLUX"):
        family_of(tmp_path / "voice.safetensors")


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_a_transformer_alone_is_completed_from_a_folder(name, tiny_model, tmp_path):
    """SD3.5 and FLUX are published like this: one file with the transformer, without encoders and autoencoder."""
    from shutil import copy

    folder = tiny_model(name)
    file = tmp_path / "transformer.safetensors"
    copy(folder / "transformer" / "diffusion_pytorch_model.safetensors", file)
    whole = base.build("diffusers", {"model": str(folder), "device": "cpu"})
    alone = base.build("diffusers", {"model": str(file), "model_config": str(folder), "device": "cpu"})
    assert alone.family.name == name
    assert largest_difference(pixels(alone, [task(1)])[1], pixels(whole, [task(1)])[1]) <= 1
    with pytest.raises(EngineError, match='Give the endpoint "model_config"'):
        list(base.build("diffusers", {"model": str(file), "device": "cpu"}).generate([task(0)], RecordingContext()))


def test_a_single_file_makes_the_same_image_as_its_folder(sd_folder, tmp_path):
    from safetensors.torch import save_file

    from tests.support import original_names

    folder_engine = base.build("diffusers", {"model": str(sd_folder), "device": "cpu", "dtype": "float32"})
    file = tmp_path / "tiny.safetensors"
    save_file(original_names.original_tensors(folder_engine._load().text), file)
    file_engine = base.build(
        "diffusers",
        {"model": str(file), "model_config": str(sd_folder), "device": "cpu", "dtype": "float32"},
    )
    assert largest_difference(pixels(file_engine, [task(1)])[1], pixels(folder_engine, [task(1)])[1]) <= 1


def test_a_single_file_without_its_configurations_says_what_is_missing(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    save_file({"cond_stage_model.transformer.x": torch.zeros(2)}, tmp_path / "odd.safetensors")
    engine = base.build("diffusers", {"model": str(tmp_path / "odd.safetensors"), "device": "cpu"})
    with pytest.raises(EngineError, match="could not be loaded"):
        list(engine.generate([task(0)], RecordingContext()))


def test_another_models_files_have_another_revision(sd_folder, sdxl_folder):
    identity = base.build("diffusers", {"model": str(sd_folder)}).model_identity()
    assert identity == base.build("diffusers", {"model": str(sd_folder)}).model_identity()
    assert identity[1] != base.build("diffusers", {"model": str(sdxl_folder)}).model_identity()[1]


def test_impossible_specs_are_explained(sd_folder):
    engine = base.build("diffusers", {"model": str(sd_folder)})
    problems = engine.validate(task(0, width=65, parameters={"steps": 0, "colour": "red", "scheduler": "magic"}).spec)
    assert any("multiples of 8" in problem for problem in problems)
    assert any("'colour'" in problem and "guidance" in problem for problem in problems)
    assert any("'magic'" in problem and "ddim" in problem for problem in problems)
    assert any("steps is 0" in problem for problem in problems)
    assert engine.validate(task(0).spec) == []


def test_what_a_family_does_not_read_it_does_not_claim_to_obey(tiny_model):
    def of(name: str):
        return base.build("diffusers", {"model": str(tiny_model(name)), "device": "cpu"})

    flux, schnell, sd3 = of("flux"), of("flux-schnell"), of("sd3")
    assert {"negative", "guidance"} <= sd3.capabilities().obeys
    assert "negative" not in flux.capabilities().obeys and "guidance" in flux.capabilities().obeys
    assert not {"negative", "guidance"} & schnell.capabilities().obeys
    assert {control.parameter for control in schnell.capabilities().controls} <= schnell.capabilities().obeys
    assert (flux.capabilities().size_multiple, of("sdxl").capabilities().size_multiple) == (16, 8)
    assert any("multiples of 16" in problem for problem in flux.validate(task(0, width=72).spec))
    assert any(
        "runs with euler" in problem for problem in flux.validate(task(0, parameters={"scheduler": "ddim"}).spec)
    )
    assert [of(name).text_encoder().limit for name in ("sd", "sd3", "flux", "flux-schnell")] == [77, 256, 512, 256]
    plain = pixels(flux, [task(0)])[0]
    assert np.array_equal(plain, pixels(flux, [task(0, negative="quite something else")])[0])
    assert largest_difference(plain, pixels(flux, [task(0, parameters={"steps": 4, "guidance": 1.5})])[0]) > 0
    same = [pixels(schnell, [task(0, parameters={"steps": 4, "guidance": g})])[0] for g in (1.5, 5)]
    assert np.array_equal(*same)
    keys = {schnell.batch_key(task(0, parameters={"steps": 4, "guidance": g}).spec) for g in (1.5, 5)}
    assert len(keys) == 1


def test_the_reported_steps_are_the_executed_steps(engine):
    """A start image needs only the last steps. Flow matching rounds their number up, the other schedulers down."""
    context = RecordingContext({"start": encode_png(photograph())})
    start = {"init": ImageRef("0" * 64, "start")}
    list(engine.generate([task(0, images=start, parameters={"steps": 5, "strength": 0.5})], context))
    worked = 3 if engine.family.is_flow else 2
    assert [(step, steps) for _, step, steps in context.steps] == [(n, worked) for n in range(1, worked + 1)]


def test_without_a_negative_text_sdxl_is_guided_away_from_nothing_as_its_pipeline_is(tiny_model):
    engine = base.build("diffusers", {"model": str(tiny_model("sdxl")), "device": "cpu"})
    from_engine = pixels(engine, [task(0, negative="")])[0]
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(tiny_model("sdxl"))
    pipe.set_progress_bar_config(disable=True)
    plain = pipe(
        "a mug a", width=SIZE, height=SIZE, num_inference_steps=4, guidance_scale=5.0, output_type="np",
        generator=torch.Generator("cpu").manual_seed(1000),
    ).images[0]  # fmt: skip
    assert largest_difference(from_engine, (plain * 255).round().astype(np.uint8)) <= 1


def test_all_pipelines_of_a_model_stay_in_the_bits_that_were_asked_for(tiny_model):
    for name in ("sdxl", "flux"):
        config = {"model": str(tiny_model(name)), "device": "cpu", "dtype": "bfloat16"}
        loaded = base.build("diffusers", config)._load()
        for pipe in (loaded.text, loaded.pipeline_for("image"), loaded.pipeline_for("inpaint")):
            parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
            assert parts and {part.dtype for part in parts} == {torch.bfloat16}


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


def test_a_model_with_a_small_autoencoder_makes_images_from_words_and_from_a_start_image(small_folder: Path):
    engine = base.build("diffusers", {"model": str(small_folder), "device": "cpu"})
    start = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), "teal").save(start, "PNG")
    context = RecordingContext({"start": start.getvalue()})
    from_words = pixels(engine, [task(0)])[0]
    changed = pixels(engine, [task(0, images={"init": ImageRef("0" * 64, "start")})], context)[0]
    assert from_words.shape == changed.shape == (SIZE, SIZE, 3)
    assert largest_difference(from_words, changed) > 2


def test_an_endpoint_says_how_large_its_model_can_draw(small_folder: Path):
    small = base.build("diffusers", {"model": str(small_folder), "max_side": 128}).capabilities()
    assert (small.max_width, small.max_height) == (128, 128)
    assert base.build("diffusers", {"model": str(small_folder)}).capabilities().max_width == 2048


def test_on_a_cpu_numbers_next_to_zero_count_as_zero_and_threads_are_as_many_as_asked(small_folder: Path):
    threads_before = torch.get_num_threads()
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
        torch.set_num_threads(threads_before)
