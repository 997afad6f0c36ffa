"""Test quality tiers on tiny models: their effect on the pipeline, the pixels that they promise, and no waiting."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generation.engines import base
from generation.engines.base import EngineError, ErrorKind, ImageRef
from tests.support import tiny_models
from tests.support.tiny_models import SIZE, RecordingContext, encode_png, largest_difference, photograph, pixels, task

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from generation.engines.diffusers import acceleration, decoding, model_memory, pipelines  # noqa: E402
from generation.engines.diffusers.config import Config  # noqa: E402
from generation.engines.diffusers.drawing import EmbeddingCache  # noqa: E402


@pytest.fixture(params=["sd", "sdxl"])
def folder(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> Path:
    return tiny_model(request.param)


def engine(folder: Path, **config: Any) -> Any:
    return base.build("diffusers", {"model": str(folder), "device": "cpu", "dtype": "float32", **config})


def results_by_task(
    engine: Any, batch: list[base.Task], context: RecordingContext | None = None
) -> dict[int, base.Result]:
    return {
        result.task_id: result.wait_for_pixels() for result in engine.generate(batch, context or RecordingContext())
    }


# -- what an endpoint may ask for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"tier": "best"}, '"tier": It is one of final, exact, fast, draft.'),
        ({"compile": "all"}, '"compile": It is one of off, regional, full.'),
        ({"tier": "exact", "compile": "full", "compile_mode": "max-autotune"}, "chooses kernels by time"),
        ({"shapes": [[1024]]}, "expected pairs of width and height"),
        ({"shapes": [[1024, 1001]]}, "1024×1001; width and height must be multiples of 8"),
        ({"tier": "draft", "draft": {"lorra": "x"}}, '"draft" takes lora, weight'),
    ],
)
def test_impossible_settings_are_refused_in_a_sentence_when_the_engine_is_built(config: dict[str, Any], sentence: str):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        base.build("diffusers", {"model": "/models/any", **config})


def test_a_draft_of_a_model_that_cannot_skip_steps_needs_a_lora_and_says_so(folder: Path):
    with pytest.raises(EngineError, match="needs a few-step LoRA for a UNet2DConditionModel") as refusal:
        pixels(engine(folder, tier="draft"), [task(0)])
    assert refusal.value.kind == ErrorKind.INPUT


def test_a_draft_by_a_few_step_lora_is_drawn_in_the_steps_it_was_made_for(folder: Path, tmp_path: Path):
    pytest.importorskip("peft")
    few = {"lora": str(tiny_models.lora(folder, tmp_path / "few.safetensors", 5)), "steps": 2, "guidance": 1.0}
    context = RecordingContext()
    result = results_by_task(engine(folder, tier="draft", draft=few), [task(0)], context)[0]
    assert [(step, steps) for _, step, steps in context.steps] == [(1, 2), (2, 2)]
    assert (result.facts["steps"], result.facts["guidance"], result.facts["scheduler"]) == (2, 1.0, "euler")
    assert result.facts["accelerated_by"][0] == "lora:few.safetensors"
    light = results_by_task(engine(folder, tier="draft", draft={**few, "weight": 0.0}), [task(0)])[0]
    assert largest_difference(result.pixels, light.pixels) > 2


def test_a_draft_without_a_lora_skips_what_hardly_changes_where_the_model_can(tiny_model: Callable[[str], Path]):
    worked: list[float] = []

    def passes(threshold: float) -> int:
        draft = engine(tiny_model("flux"), tier="draft", draft={"threshold": threshold})
        last = draft._load().text.transformer.single_transformer_blocks[-1]
        worked.clear()
        last.attn.register_forward_hook(lambda module, given, made: worked.append(threshold))
        facts = results_by_task(draft, [task(0)])[0].facts
        assert facts["accelerated_by"][0] == f"first_block_cache:{threshold:g}"
        return len(worked)

    assert passes(1e-9) == 4 and passes(100) == 1


# -- exact -------------------------------------------------------------------------------------------------------------


def rounds_by_shape(engine: Any) -> Any:
    """Make the engine round by the batch size, as kernels of real cards do and this CPU does not."""
    unet = engine._load().text.unet
    unet.register_forward_hook(lambda module, given, made: (made[0] * (1 + 0.1 * len(made[0])), *made[1:]))
    return engine


def test_exact_makes_the_same_bits_alone_and_among_any_others_at_any_place(folder: Path):
    exact = rounds_by_shape(engine(folder, tier="exact", batch_size=4))
    alone = pixels(exact, [task(0)])[0]
    assert np.array_equal(alone, pixels(exact, [task(0)])[0])
    assert np.array_equal(alone, pixels(exact, [task(0), task(1), task(2)])[0])
    assert np.array_equal(alone, pixels(exact, [task(3), task(2), task(1), task(0)])[0])
    restarted = rounds_by_shape(engine(folder, tier="exact", batch_size=4))
    assert np.array_equal(alone, pixels(restarted, [task(5), task(0)])[0])
    final = rounds_by_shape(engine(folder))
    assert largest_difference(pixels(final, [task(0)])[0], pixels(final, [task(0), task(1)])[0]) > 2


def test_a_padded_batch_says_so_and_its_padding_belongs_to_no_job(folder: Path):
    context = RecordingContext()
    results = results_by_task(engine(folder, tier="exact", batch_size=4), [task(0), task(1), task(2)], context)
    assert sorted(results) == [0, 1, 2]
    facts = results[0].facts
    assert (facts["tier"], facts["batch"], facts["padded_batch"]) == ("exact", 3, 4)
    assert facts["card"].startswith("CPU ")
    assert {ids for ids, _, _ in context.steps} == {(0, 1, 2)}


def test_more_tasks_than_the_batch_size_are_drawn_in_batches_of_it(folder: Path):
    results = results_by_task(engine(folder, tier="exact", batch_size=2), [task(number) for number in range(5)])
    assert sorted(results) == [0, 1, 2, 3, 4]
    assert [results[number].facts["batch"] for number in range(5)] == [2, 2, 2, 2, 1]
    assert {result.facts["padded_batch"] for result in results.values()} == {2}


def test_a_padded_batch_that_does_not_fit_is_filled_up_to_less_from_then_on(folder: Path, monkeypatch):
    exact = engine(folder, tier="exact", batch_size=4)
    kind = type(exact._load().text)
    real, sizes = kind.__call__, []

    @wraps(real)
    def card_of_two(self: Any, **arguments: Any) -> Any:
        sizes.append(len(arguments["generator"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, **arguments)

    monkeypatch.setattr(kind, "__call__", card_of_two)
    results = results_by_task(exact, [task(0), task(1), task(2)])
    assert sizes == [4, 2, 2] and sorted(results) == [0, 1, 2]
    assert {result.facts["padded_batch"] for result in results.values()} == {2}
    pixels(exact, [task(3)])
    assert sizes[3:] == [2]


def test_tiers_that_promise_the_same_image_make_it(folder: Path):
    shipped = pixels(engine(folder), [task(0)])[0]
    for tier in ("exact", "fast"):
        assert largest_difference(shipped, pixels(engine(folder, tier=tier), [task(0)])[0]) <= 2
    facts = {
        tier: results_by_task(engine(folder, tier=tier), [task(0)])[0].facts for tier in ("final", "exact", "fast")
    }
    assert [facts[tier]["accelerated_by"] for tier in facts] == [[], ["channels_last"], ["channels_last"]]
    assert [facts[tier]["padded_batch"] for tier in facts] == [1, 4, 1]


def test_an_extra_that_is_not_to_be_had_is_left_out_and_the_image_says_so(folder: Path):
    facts = results_by_task(engine(folder, tier="fast", fp8=True), [task(0)])[0].facts
    assert facts["left_out"] == ["no fp8: this card has none"] and "fp8" not in facts["accelerated_by"]


# -- switches of the process -------------------------------------------------------------------------------------------


def test_torchs_switches_are_put_back_and_endpoints_that_need_others_wait(folder: Path):
    prepared = {
        tier: acceleration.prepare(engine(folder)._load().text, Config.read({"model": "m", "tier": tier}), "cpu")
        for tier in ("exact", "fast")
    }
    before = (torch.backends.cudnn.deterministic, torch.get_float32_matmul_precision())
    entered, leave, log = threading.Event(), threading.Event(), []

    def draw_fast() -> None:
        entered.wait(60)
        with prepared["fast"].configure_torch(SIZE, SIZE):
            log.append(("fast", torch.backends.cudnn.deterministic, torch.get_float32_matmul_precision()))

    thread = threading.Thread(target=draw_fast)
    thread.start()
    with prepared["exact"].configure_torch(SIZE, SIZE):
        decoding_still = prepared["exact"].configure_process(SIZE, SIZE)
        decoding_still.__enter__()
    entered.set()
    thread.join(0.2)
    log.append(("exact", torch.backends.cudnn.deterministic, torch.get_float32_matmul_precision()))
    leave.set()
    decoding_still.__exit__(None, None, None)
    thread.join(60)
    assert log == [("exact", True, before[1]), ("fast", False, "high")]
    assert (torch.backends.cudnn.deterministic, torch.get_float32_matmul_precision()) == before


# -- nothing in the loop waits for the card ----------------------------------------------------------------------------

KINDS = ("DDIMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler",
         "UniPCMultistepScheduler")  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_scheduler_that_counts_makes_the_image_of_one_that_asks_the_card(folder: Path, name: str):
    loaded = engine(folder)._load()
    kind = getattr(diffusers, name)
    start = torch.from_numpy(photograph()).permute(2, 0, 1)[None].float() / 255
    for job, more in (("text", {"width": SIZE, "height": SIZE}), ("image", {"image": start, "strength": 0.5})):
        pipe, made = loaded.pipeline_for(job), []
        for scheduler in (
            kind.from_config(loaded.text.scheduler.config),
            pipelines.counting_scheduler(kind).from_config(pipe.scheduler.config),
        ):
            pipe.scheduler = scheduler
            made.append(
                pipe(prompt="a mug", num_inference_steps=6, generator=torch.manual_seed(3), output_type="pt", **more)
            )
        assert type(pipe.scheduler).__name__ == name
        assert torch.equal(made[0].images, made[1].images)


@pytest.mark.parametrize("name", KINDS[:-1])
def test_the_loop_reads_no_value_off_the_device(tiny_model: Callable[[str], Path], name: str):
    """Tensors on the meta device have no values, so reading one is an error. On a card the read would wait for it."""
    loaded = engine(tiny_model("sdxl"))._load()
    pipe = loaded.text
    embeddings = {
        "prompt_embeds": torch.zeros(2, 77, 64, device="meta"),
        "negative_prompt_embeds": torch.zeros(2, 77, 64, device="meta"),
        "pooled_prompt_embeds": torch.zeros(2, 32, device="meta"),
        "negative_pooled_prompt_embeds": torch.zeros(2, 32, device="meta"),
    }
    pipe.to("meta")
    arguments = {
        "width": SIZE,
        "height": SIZE,
        "num_inference_steps": 3,
        "generator": [torch.Generator("cpu").manual_seed(number) for number in range(2)],
        "output_type": "latent",
        **embeddings,
    }
    pipe.scheduler = pipelines.counting_scheduler(getattr(diffusers, name)).from_config(pipe.scheduler.config)
    latents = pipe(**arguments).images
    assert latents.device.type == "meta" and latents.shape == (2, 4, SIZE // 2, SIZE // 2)


def test_the_loop_of_flux_reads_no_value_off_the_device_either(tiny_model: Callable[[str], Path]):
    loaded = engine(tiny_model("flux"))._load()
    pipe = loaded.text.to("meta")
    pipe.scheduler = loaded.new_scheduler("")
    latents = pipe(
        prompt_embeds=torch.zeros(1, 77, 32, device="meta"),
        pooled_prompt_embeds=torch.zeros(1, 32, device="meta"),
        width=SIZE,
        height=SIZE,
        num_inference_steps=3,
        generator=torch.Generator("cpu"),
        output_type="latent",
    ).images
    assert latents.device.type == "meta"


# -- decoding beside the next batch ------------------------------------------------------------------------------------


def test_latents_become_the_pixels_that_the_pipeline_makes_of_them(folder: Path, tiny_model: Callable[[str], Path]):
    for model in (folder, tiny_model("small")):
        pipe = engine(model)._load().text
        arguments = {"prompt": "a mug", "width": SIZE, "height": SIZE, "num_inference_steps": 3}
        with torch.inference_mode():
            own = decoding.as_bytes(pipe(**arguments, generator=torch.manual_seed(4), output_type="pt").images)
            latents = pipe(**arguments, generator=torch.manual_seed(4), output_type="latent").images
            assert torch.equal(decoding.decode(pipe, latents, SIZE, SIZE), own)


class SlowDecoder(torch.nn.Module):
    """A decoder that waits for `may_begin` and logs when it ends."""

    def __init__(self, real: Any, log: list[str]) -> None:
        super().__init__()
        self.real, self.log, self.may_begin = real, log, threading.Event()

    def forward(self, *args: Any, **named: Any) -> Any:
        assert self.may_begin.wait(60), "nothing else went on meanwhile"
        made = self.real(*args, **named)
        self.log.append("decoded")
        return made


def test_the_next_batch_is_denoised_while_the_last_is_decoded_and_the_pixels_are_the_same(folder: Path):
    beside, apart = engine(folder, tier="exact", overlap=True), engine(folder, tier="exact")
    log: list[str] = []
    vae = beside._load().text.vae
    vae.decoder = slow = SlowDecoder(vae.decoder, log)

    class Watching(RecordingContext):
        def progress(self, task_ids, step, steps):
            log.append(f"step {step} of {task_ids[0]}")
            if task_ids[0] == 1:
                slow.may_begin.set()

    context = Watching()
    first = next(iter(beside.generate([task(0)], context)))
    assert first.pixels is None and log == [f"step {step} of 0" for step in range(1, 5)]
    second = next(iter(beside.generate([task(1)], context)))
    made = [first.wait_for_pixels().pixels, second.wait_for_pixels().pixels]
    assert log.index("step 1 of 1") < log.index("decoded")
    assert np.array_equal(made[0], pixels(apart, [task(0)])[0])
    assert np.array_equal(made[1], pixels(apart, [task(1)])[1])
    beside.unload()


def test_an_image_that_does_not_fit_while_it_is_decoded_fails_in_a_sentence(folder: Path):
    fast = engine(folder, tier="fast", overlap=True)

    def full(*args: Any, **named: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    fast._load().text.vae.decoder.forward = full
    (result,) = fast.generate([task(0)], RecordingContext())
    with pytest.raises(EngineError, match="give the endpoint a smaller batch") as refusal:
        result.wait_for_pixels()
    assert refusal.value.kind == ErrorKind.MEMORY
    with acceleration._switches.hold("another", lambda stack: None):
        pass  # the failed decoding has released the switches


def test_repainting_beside_the_next_batch_keeps_what_the_mask_leaves(folder: Path):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[24:56, 24:56] = 255
    context = RecordingContext({"init": encode_png(photograph()), "mask": encode_png(mask)})
    images = {role: ImageRef(role, role) for role in ("init", "mask")}
    (result,) = engine(folder, tier="exact", overlap=True).generate([task(0, images=images)], context)
    made = result.wait_for_pixels().pixels
    assert (
        largest_difference(made[mask == 0], photograph()[mask == 0]) == 0
        and largest_difference(made, photograph()) > 10
    )


# -- encoded texts -----------------------------------------------------------------------------------------------------


def text(bytes_: int) -> tuple[Any, None]:
    return torch.zeros(bytes_, dtype=torch.uint8), None


def test_encoded_texts_stay_within_bounds_and_the_latest_used_stay_near():
    cache, encoded_texts = EmbeddingCache(device_bytes=100, host_bytes=80), []

    def sizes() -> list[int]:
        return [sum(text[0].nbytes for text in texts.values()) for texts in (cache._near, cache._far)]

    def get(key: str) -> None:
        cache.get(key, "cpu", lambda: encoded_texts.append(key) or text(40))

    for key in "abac":
        get(key)
    assert encoded_texts == ["a", "b", "c"] and sizes() == [80, 40]
    assert list(cache._near) == ["a", "c"]
    for key in "bade":  # b comes back from main memory; at the end d and e are on the card, a and b in main memory
        get(key)
    assert encoded_texts == ["a", "b", "c", "d", "e"]
    assert sizes() == [80, 80] and list(cache._near) == ["d", "e"]
    get("c")
    assert encoded_texts[-1] == "c"  # it had been dropped
    cache.move_to_host()
    assert sizes() == [0, 80]


def test_a_text_larger_than_the_bounds_is_still_drawn_with():
    cache = EmbeddingCache(device_bytes=10, host_bytes=10)
    assert cache.get("long", "cpu", lambda: text(1000))[0].nbytes == 1000


# -- memory ------------------------------------------------------------------------------------------------------------


def test_a_draft_by_another_lora_is_another_model(folder: Path, tmp_path: Path):
    (tmp_path / "few.safetensors").write_bytes(b"one")
    config = {"tier": "draft", "draft": {"lora": str(tmp_path / "few.safetensors")}}
    revision = engine(folder, **config).model_identity()[1]
    assert revision == engine(folder, **config).model_identity()[1]
    (tmp_path / "few.safetensors").write_bytes(b"two")
    assert len({revision, engine(folder, **config).model_identity()[1], engine(folder).model_identity()[1]}) == 3


def test_the_weights_of_a_folder_are_counted_without_loading_them(folder: Path):
    loaded = engine(folder)._load()
    parts = {id(part): part for part in loaded.text.components.values() if isinstance(part, torch.nn.Module)}
    real = sum(tensor.numel() for part in parts.values() for tensor in part.state_dict().values())
    counted = model_memory.weights_bytes(folder, "bfloat16") // 2
    assert abs(counted - real) <= 1000 and model_memory.weights_bytes(folder, "float32") == 4 * counted


def test_a_model_that_does_not_fit_is_refused_with_the_figures(folder: Path):
    large = engine(folder, memory_limit_bytes=1_000_000_000, reserve_bytes=2_000_000_000)
    with pytest.raises(
        EngineError, match=r"needs 0\.0 GiB for its weights and 1\.9 GiB to draw in; 0\.9 GiB"
    ) as refusal:
        pixels(large, [task(0)])
    assert refusal.value.kind == ErrorKind.MEMORY


def test_two_models_stay_where_they_fit_and_otherwise_the_least_recently_used_one_goes(tiny_model):
    sd_bytes = model_memory.weights_bytes(tiny_model("sd"), "float32")
    sdxl_bytes = model_memory.weights_bytes(tiny_model("sdxl"), "float32")

    def both(limit: int) -> tuple[Any, Any]:
        pair = [
            engine(tiny_model(name), memory_limit_bytes=limit, reserve_bytes=0, batch_size=1) for name in ("sd", "sdxl")
        ]
        for loaded in pair:
            pixels(loaded, [task(0)])
        return pair[0], pair[1]

    first, second = both(sd_bytes + sdxl_bytes)
    assert first._loaded is not None and second._loaded is not None
    first.unload(), second.unload()
    first, second = both(sd_bytes + sdxl_bytes - 1)
    assert first._loaded is None and second._loaded is not None
    reloaded = pixels(first, [task(0)])[0]
    assert second._loaded is None and first._loaded is not None
    assert np.array_equal(reloaded, pixels(engine(tiny_model("sd")), [task(0)])[0])
    first.unload()


def test_warming_up_draws_every_shape_once_and_asks_nobody(folder: Path, monkeypatch):
    warm, sizes = engine(folder, tier="exact", batch_size=2, shapes=[[64, 64], [32, 64]]), []
    kind = type(warm._load().text)
    real = kind.__call__

    @wraps(real)
    def noted(self: Any, **arguments: Any) -> Any:
        sizes.append((arguments["width"], arguments["height"], len(arguments["generator"])))
        return real(self, **arguments)

    monkeypatch.setattr(kind, "__call__", noted)
    warm.warm_up()
    assert sizes == [(64, 64, 2), (32, 64, 2)]


# -- compiled ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_without_a_working_compiler_images_are_made_uncompiled_and_say_so(tiny_model):
    import torch._inductor.config

    compiled = engine(tiny_model("sdxl"), tier="fast", compile="regional", batch_size=2)
    broken = torch._inductor.config.patch({"cpp.cxx": ("/nowhere/g++",), "force_disable_caches": True})
    with torch.compiler.set_stance("default"), broken:
        made = results_by_task(compiled, [task(0), task(1)])
    plain = results_by_task(engine(tiny_model("sdxl"), tier="fast"), [task(0), task(1)])
    assert largest_difference(made[0].pixels, plain[0].pixels) <= 2
    assert made[0].facts["accelerated_by"] == ["channels_last"]
    assert made[0].facts["left_out"][0].startswith("no compile: ")


@pytest.mark.skipif(" " in torch.__file__, reason="torch's C++ compiler cannot link below a folder with a space")
def test_a_compiled_pipeline_makes_the_same_image_and_sizes_that_nobody_named_wait_for_no_compiler(tiny_model):
    from torch._dynamo.utils import counters

    config = {"tier": "exact", "compile": "regional", "shapes": [[SIZE, SIZE]], "batch_size": 2}
    compiled = engine(tiny_model("sdxl"), **config)
    counters.clear()
    with torch.compiler.set_stance("default"):
        compiled.warm_up()
        made = counters["stats"]["unique_graphs"]
        first = pixels(compiled, [task(0)])[0]
    assert made > 0
    assert largest_difference(first, pixels(engine(tiny_model("sdxl"), tier="exact", batch_size=2), [task(0)])[0]) <= 2
    assert np.array_equal(first, pixels(compiled, [task(1), task(0)])[0])
    pixels(compiled, [task(0, width=32, height=96)])
    assert counters["stats"]["unique_graphs"] == made
    assert results_by_task(compiled, [task(0)])[0].facts["accelerated_by"] == [
        "channels_last",
        "compile:regional:default",
    ]
