"""Test that a single file of Stable Diffusion 1.5 or SDXL works offline, with our configurations and tokenizer."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from generation.engines import base
from generation.engines.diffusers import original_configs
from tests.support import original_names
from tests.support.tiny_models import largest_difference, pixels, task

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

SENTENCES = [
    ("a diagram", [320, 22697]),
    ("a dog", [320, 1929]),
    ("a cat", [320, 2368]),
    ("a photo of a cat", [320, 1125, 539, 320, 2368]),
    ("A Photo of a CAT", [320, 1125, 539, 320, 2368]),
    ("hello world!", [3306, 1002, 256]),
]
OTHER_SENTENCES = [
    "a teal pitcher on a marble table, soft light from the left, 35mm",
    "Grüße aus Zürich – crème brûlée, 12,90 €",
    "it's the designer's favourite; we'll see (really?!)",
    "陶器の花瓶 in einem hellen Raum",
    "antidisestablishmentarianism  with   blanks\tand\nlines",
    "🏺 a vase #ceramics @home 100% handmade",
]


@pytest.fixture
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROOFLINE_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return (tmp_path / "var").resolve()


@pytest.mark.parametrize(("family", "name"), [("sd", "tokenizer"), ("sdxl", "tokenizer"), ("sdxl", "tokenizer_2")])
def test_the_tokenizer_reads_as_clip_does(family: str, name: str, var: Path) -> None:
    folder = original_configs.ensure_folder(family)
    assert folder.is_relative_to(var)
    reader = transformers.CLIPTokenizer.from_pretrained(folder, subfolder=name, local_files_only=True)
    is_padding_read = name == "tokenizer_2"  # "!" stands for padding there
    for text, ids in SENTENCES[: -1 if is_padding_read else None]:
        assert reader(text)["input_ids"] == [49406, *ids, 49407], text
    padded = reader("a dog", padding="max_length", max_length=77)["input_ids"]
    assert padded[4:] == [0 if is_padding_read else 49407] * 73
    # compare other texts with CLIP's own code, which lies beside the vocabulary
    place = Path(str(next(iter(importlib.util.find_spec("clip").submodule_search_locations)))) / "simple_tokenizer.py"
    spec = importlib.util.spec_from_file_location("clip_simple_tokenizer", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    reference = module.SimpleTokenizer()
    for text in [text for text in OTHER_SENTENCES if "!" not in text or not is_padding_read]:
        assert reader(text)["input_ids"] == [49406, *reference.encode(text), 49407], text


@pytest.mark.parametrize(
    ("family", "name", "parameters", "shapes"),
    [
        (
            "sd",
            "unet",
            859_520_964,
            {
                "conv_in.weight": (320, 4, 3, 3),
                "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight": (1280, 768),
            },
        ),
        ("sd", "vae", 83_653_863, {"decoder.conv_out.weight": (3, 128, 3, 3), "quant_conv.weight": (8, 8, 1, 1)}),
        ("sd", "text_encoder", 123_060_480, {"embeddings.token_embedding.weight": (49408, 768)}),
        (
            "sdxl",
            "unet",
            2_567_463_684,
            {
                "add_embedding.linear_1.weight": (1280, 2816),
                "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_v.weight": (1280, 2048),
            },
        ),
        ("sdxl", "vae", 83_653_863, {"encoder.conv_in.weight": (128, 3, 3, 3)}),
        ("sdxl", "text_encoder", 123_060_480, {"final_layer_norm.weight": (768,)}),
        ("sdxl", "text_encoder_2", 694_659_840, {"text_projection.weight": (1280, 1280)}),
    ],
)
def test_each_network_has_the_published_number_of_parameters(
    family: str, name: str, parameters: int, shapes: dict[str, tuple[int, ...]]
) -> None:
    config = original_configs.CONFIGS[family][f"{name}/config.json"]
    library, class_name = original_configs.CONFIGS[family]["model_index.json"][name]
    with torch.device("meta"):
        if library == "diffusers":
            network = getattr(diffusers, class_name).from_config(dict(config))
        else:
            network = getattr(transformers, class_name)(transformers.CLIPTextConfig.from_dict(dict(config)))
    assert sum(value.numel() for value in network.parameters()) == parameters
    state = {name.removeprefix("text_model."): tuple(value.shape) for name, value in network.state_dict().items()}
    assert {name: state[name] for name in shapes} == shapes


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("sd", {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "set_alpha_to_one": False}),
        ("sdxl", {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}),
    ],
)
def test_the_noise_is_that_of_the_training(family: str, expected: dict[str, Any]) -> None:
    config = original_configs.CONFIGS[family]["scheduler/scheduler_config.json"]
    made = getattr(diffusers, config["_class_name"]).from_config(dict(config))
    published = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    assert {**published, **expected}.items() <= {**made.config, "_class_name": type(made).__name__}.items()


def small(files: dict[str, Any]) -> dict[str, Any]:
    """The configurations of Stable Diffusion 1.5 with two levels and narrow layers."""
    made = json.loads(json.dumps(files))
    made["unet/config.json"] |= {
        "block_out_channels": [32, 64],
        "cross_attention_dim": 32,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "layers_per_block": 1,
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    }
    made["vae/config.json"] |= {
        "block_out_channels": [32, 64],
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
    }
    narrow = {"hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 2}
    made["text_encoder/config.json"] |= narrow
    return made


@pytest.fixture
def single_file(var: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return (one file of a small Stable Diffusion 1.5, the same as a diffusers folder)."""
    from safetensors.torch import save_file

    files = small(original_configs.CONFIGS["sd"])
    monkeypatch.setitem(original_configs.CONFIGS, "sd", files)
    written = tmp_path / "written"
    original_configs.write(written, files)
    torch.manual_seed(0)
    text_config = transformers.CLIPTextConfig.from_dict(files["text_encoder/config.json"])
    pipe = diffusers.StableDiffusionPipeline(
        unet=diffusers.UNet2DConditionModel.from_config(files["unet/config.json"]),
        vae=diffusers.AutoencoderKL.from_config(files["vae/config.json"]),
        text_encoder=transformers.CLIPTextModel(text_config),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(written / "tokenizer"),
        scheduler=diffusers.PNDMScheduler.from_config(files["scheduler/scheduler_config.json"]),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(tmp_path / "folder")
    save_file(original_names.original_tensors(pipe), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors", tmp_path / "folder"


def test_a_single_file_without_model_config_draws_offline_as_its_folder_does(single_file: tuple[Path, Path]) -> None:
    file, folder = single_file
    alone = base.build("diffusers", {"model": str(file), "device": "cpu"})
    assert alone.family.name == "sd"
    whole = base.build("diffusers", {"model": str(folder), "device": "cpu"})
    drawn = [task(1, prompt="a teal pitcher on a marble table")]
    assert largest_difference(pixels(alone, drawn)[1], pixels(whole, drawn)[1]) <= 1
    assert re.fullmatch(r"[0-9a-f]{32}\+[0-9a-f]{12}", alone.model_identity()[1])


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("scheduler/scheduler_config.json", "prediction_type", "v_prediction"),
        ("scheduler/scheduler_config.json", "beta_end", 0.02),
        ("vae/config.json", "scaling_factor", 0.2),
        ("text_encoder/config.json", "hidden_act", "gelu"),
        ("tokenizer/tokenizer_config.json", "pad_token", "!"),
    ],
)
def test_a_changed_configuration_of_ours_is_another_revision(
    name: str, setting: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    save_file({"cond_stage_model.transformer.x": torch.zeros(2)}, tmp_path / "model.safetensors")
    config = {"model": str(tmp_path / "model.safetensors"), "device": "cpu"}
    before = base.build("diffusers", config).model_identity()
    changed = json.loads(json.dumps(original_configs.CONFIGS["sd"]))
    changed[name][setting] = value
    monkeypatch.setitem(original_configs.CONFIGS, "sd", changed)
    assert base.build("diffusers", config).model_identity() != before
