"""Write the configurations and the tokenizer that a single file of Stable Diffusion 1.5 or SDXL lacks.

A single file holds tensors only. diffusers would look for the rest on a server of its own. The architectures are
published: Rombach et al. 2022 (https://arxiv.org/abs/2112.10752), Podell et al. 2023 (https://arxiv.org/abs/2307.01952),
the OpenAI CLIP ViT-L/14 and OpenCLIP ViT-bigG/14 text encoders; values that are not named here are the defaults of
diffusers and transformers. CLIP's vocabulary is in a wheel (requirements/engines.txt); only that data file is read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from config import env

WHEELS: Final = ("clip", "open_clip")
"""Packages that ship the vocabulary: openai-clip, and open-clip-torch, which needs torchvision.

Neither ships the two files that tokenizers reads, so they are built here."""
VOCABULARY: Final = "bpe_simple_vocab_16e6.txt.gz"
VOCABULARY_SHA256: Final = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
MERGES: Final = 49152 - 256 - 2
START, END = "<|startoftext|>", "<|endoftext|>"
START_ID, END_ID = 49406, 49407

_UNET: Final[Mapping[str, Any]] = {
    "_class_name": "UNet2DConditionModel", "act_fn": "silu", "center_input_sample": False, "downsample_padding": 1,
    "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2, "mid_block_scale_factor": 1,
    "norm_eps": 1e-05, "norm_num_groups": 32, "out_channels": 4,
}  # fmt: skip
_VAE: Final[Mapping[str, Any]] = {
    "_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4, "in_channels": 3, "latent_channels": 4, "layers_per_block": 2,
    "norm_num_groups": 32, "out_channels": 3, "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
_NOISE: Final[Mapping[str, Any]] = {
    "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
    "prediction_type": "epsilon", "steps_offset": 1,
}  # fmt: skip
_CLIP_L: Final[Mapping[str, Any]] = {
    "architectures": ["CLIPTextModel"], "bos_token_id": START_ID, "dtype": "float32", "eos_token_id": END_ID,
    "hidden_act": "quick_gelu", "hidden_size": 768, "intermediate_size": 3072, "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77, "model_type": "clip_text_model", "num_attention_heads": 12,
    "num_hidden_layers": 12, "pad_token_id": 1, "projection_dim": 768, "vocab_size": 49408,
}  # fmt: skip
_TOKENIZER: Final[Mapping[str, Any]] = {
    "add_prefix_space": False, "bos_token": START, "do_lower_case": True, "eos_token": END, "errors": "replace",
    "model_max_length": 77, "pad_token": END, "tokenizer_class": "CLIPTokenizer", "unk_token": END,
}  # fmt: skip
_SD: Final[Mapping[str, Any]] = {
    "model_index.json": {
        "_class_name": "StableDiffusionPipeline", "feature_extractor": [None, None], "image_encoder": [None, None],
        "requires_safety_checker": False, "safety_checker": [None, None], "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
    },
    "scheduler/scheduler_config.json": {
        **_NOISE, "_class_name": "PNDMScheduler", "clip_sample": False, "set_alpha_to_one": False,
        "skip_prk_steps": True,
    },
    "text_encoder/config.json": _CLIP_L,
    "tokenizer/tokenizer_config.json": _TOKENIZER,
    "unet/config.json": {
        **_UNET, "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768,
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"], "sample_size": 64,
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    },
    "vae/config.json": {**_VAE, "sample_size": 512, "scaling_factor": 0.18215},
}  # fmt: skip
_SDXL: Final[Mapping[str, Any]] = {
    "model_index.json": {
        "_class_name": "StableDiffusionXLPipeline", "feature_extractor": [None, None],
        "force_zeros_for_empty_prompt": True, "image_encoder": [None, None],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
    },
    "scheduler/scheduler_config.json": {
        **_NOISE, "_class_name": "EulerDiscreteScheduler", "interpolation_type": "linear",
        "timestep_spacing": "leading", "use_karras_sigmas": False,
    },
    "text_encoder/config.json": _CLIP_L,
    "text_encoder_2/config.json": {
        **_CLIP_L, "architectures": ["CLIPTextModelWithProjection"], "hidden_act": "gelu", "hidden_size": 1280,
        "intermediate_size": 5120, "num_attention_heads": 20, "num_hidden_layers": 32, "projection_dim": 1280,
    },
    "tokenizer/tokenizer_config.json": _TOKENIZER,
    # As SDXL was published. An exclamation mark in a prompt is read as padding there, as in every SDXL of diffusers.
    "tokenizer_2/tokenizer_config.json": {**_TOKENIZER, "pad_token": "!"},
    "unet/config.json": {
        **_UNET, "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "projection_class_embeddings_input_dim": 2816, "sample_size": 128, "transformer_layers_per_block": [1, 2, 10],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "use_linear_projection": True,
    },
    "vae/config.json": {**_VAE, "force_upcast": True, "sample_size": 1024, "scaling_factor": 0.13025},
}  # fmt: skip
CONFIGS: Final[dict[str, Mapping[str, Any]]] = {"sd": _SD, "sdxl": _SDXL}
"""The content of each file, by family."""


def revision(family: str) -> str:
    """Return a digest of all files written for a family; "" for a family whose single files need a folder."""
    if family not in CONFIGS:
        return ""
    content = json.dumps([CONFIGS[family], VOCABULARY_SHA256], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def ensure_folder(family: str) -> Path:
    """Return the folder with what a single file of this family lacks, written on first use below var/. Raises KeyError
    for a family that needs a folder of its own, OSError and ValueError where it cannot be written."""
    place = env.var_dir() / "models" / f"{family}-{revision(family)}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        prefix = f"{place.name}."
        with tempfile.TemporaryDirectory(prefix=prefix, dir=place.parent, ignore_cleanup_errors=True) as made:
            try:
                write(Path(made), CONFIGS[family])
                Path(made).rename(place)
            except OSError:
                if not place.exists():  # unless another process was quicker
                    raise
    return place


def write(folder: Path, files: Mapping[str, Any]) -> None:
    """Write these configurations, and the vocabulary next to each tokenizer's configuration."""
    vocabulary, merges = vocabulary_files()
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        if file.name == "tokenizer_config.json":
            (file.parent / "vocab.json").write_text(vocabulary, encoding="utf-8")
            (file.parent / "merges.txt").write_text(merges, encoding="utf-8")


def vocabulary_files() -> tuple[str, str]:
    """Return (vocab.json, merges.txt) of CLIP, built as its `simple_tokenizer.py` builds them. Raises ValueError."""
    lines = gzip.decompress(_vocabulary()).decode("utf-8").split("\n")[1 : MERGES + 1]
    # A printable letter for each of the 256 bytes, in the vocabulary's order: printable bytes come first.
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = [chr(code) for code in [*printable, *range(256, 2 * 256 - len(printable))]]
    pieces = ["".join(line.split()) for line in lines]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *pieces, START, END]
    vocabulary = json.dumps({word: number for number, word in enumerate(words)}, ensure_ascii=False)
    return vocabulary, "\n".join(["#version: 0.2", *lines, ""])


def _vocabulary() -> bytes:
    """Return the vocabulary file of its wheel; the package itself is not imported."""
    packages = [package for name in WHEELS if (package := find_spec(name))]
    for folder in (folder for package in packages for folder in package.submodule_search_locations or ()):
        file = Path(folder) / VOCABULARY
        if file.is_file():
            content = file.read_bytes()
            if hashlib.sha256(content).hexdigest() == VOCABULARY_SHA256:
                return content
    raise ValueError(
        "CLIP's vocabulary is not installed. Install requirements/engines.txt, or give the endpoint "
        '"model_config": a diffusers folder with the configurations and tokenizers of this model.'
    )
