"""Tiny, randomly initialised pipelines saved as real folders, and helpers for tests of the diffusers engine.

`build(name, folder, built)` is called through the fixture `tiny_model`, once per session and name.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from generation.engines.base import ImageRef, Spec, Task

SIZE = 64


class RecordingContext:
    """An engine context that records what it receives."""

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


def tokenizer(folder: Path) -> Any:
    """Return a CLIP tokenizer over single letters."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def text_config(hidden: int = 32, projection: int = 32) -> Any:
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


def small_vae() -> Any:
    import diffusers

    return diffusers.AutoencoderKL(
        block_out_channels=[32, 64],
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        norm_num_groups=8,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
    )


def scheduler() -> Any:
    import diffusers

    return diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def sd(folder: Path) -> None:
    import diffusers
    import torch
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


def small(folder: Path, sd_folder: Path) -> None:
    """Save the same model with the autoencoder of small models, which shrinks eightfold."""
    import diffusers

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


def sdxl(folder: Path) -> None:
    import diffusers
    import torch
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


def sdxl_refiner(folder: Path, sdxl_folder: Path) -> None:
    """Save a refiner like that of SDXL: image to image, one encoder, and an aesthetic score among its conditions."""
    import diffusers
    import torch

    base_pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(sdxl_folder)
    torch.manual_seed(7)
    config = dict(base_pipe.unet.config)
    config |= {"cross_attention_dim": 32, "projection_class_embeddings_input_dim": 32 + 5 * 8}
    pipe = diffusers.StableDiffusionXLImg2ImgPipeline(
        unet=diffusers.UNet2DConditionModel.from_config(config),
        scheduler=base_pipe.scheduler,
        vae=base_pipe.vae,
        text_encoder=None,
        text_encoder_2=base_pipe.text_encoder_2,
        tokenizer=None,
        tokenizer_2=base_pipe.tokenizer_2,
        requires_aesthetics_score=True,
    )
    pipe.save_pretrained(folder, safe_serialization=True)


def t5(folder: Path) -> tuple[Any, Any]:
    """Return (encoder, tokenizer) of a T5 over single letters."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    letters = {chr(code): code - 95 for code in range(ord("a"), ord("z") + 1)}
    whole = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, **letters, "<unk>": 28}, unk_token="<unk>"))
    whole.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    whole.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    words = PreTrainedTokenizerFast(tokenizer_object=whole, pad_token="<pad>", eos_token="</s>", model_max_length=512)
    torch.manual_seed(3)
    config = T5Config(vocab_size=32, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    return T5EncoderModel(config), words


def deep_vae(channels: int) -> Any:
    """Return the autoencoder of flow models, which shifts and scales its latents."""
    import diffusers

    return diffusers.AutoencoderKL(
        block_out_channels=[8, 8, 8, 8],
        latent_channels=channels,
        norm_num_groups=4,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        shift_factor=0.1,
        scaling_factor=1.5,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def sd3(folder: Path) -> None:
    import diffusers
    import torch
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(2)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=32,
        pos_embed_max_size=32,
        qk_norm="rms_norm",
    )
    words = tokenizer(folder.parent / "vocabulary")
    encoder, long_words = t5(folder)
    pipe = diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=deep_vae(16),
        text_encoder=CLIPTextModelWithProjection(text_config(16, 16)),
        tokenizer=words,
        text_encoder_2=CLIPTextModelWithProjection(text_config(16, 16)),
        tokenizer_2=words,
        text_encoder_3=encoder,
        tokenizer_3=long_words,
    )
    pipe.save_pretrained(folder, safe_serialization=True)


def flux(folder: Path, *, is_guided: bool = True) -> None:
    import diffusers
    import torch
    from transformers import CLIPTextModel

    torch.manual_seed(4)
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=is_guided,
        axes_dims_rope=(4, 4, 8),
    )
    encoder, long_words = t5(folder)
    pipe = diffusers.FluxPipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        vae=deep_vae(4),
        text_encoder=CLIPTextModel(text_config()),
        tokenizer=tokenizer(folder.parent / "vocabulary"),
        text_encoder_2=encoder,
        tokenizer_2=long_words,
    )
    pipe.save_pretrained(folder, safe_serialization=True)


def lora(model: Path, file: Path, seed: int, rank: int = 2) -> Path:
    """Save a LoRA over the attention of the model's denoiser as `file`; it changes the images."""
    import diffusers
    import torch
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    index = json.loads((model / "model_index.json").read_text())
    part = "unet" if "unet" in index else "transformer"
    network = getattr(diffusers, index[part][1]).from_pretrained(model / part)
    network.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.5)
    kind = getattr(diffusers, index["_class_name"])
    kind.save_lora_weights(
        file.parent, **{f"{part}_lora_layers": get_peft_model_state_dict(network)}, weight_name=file.name
    )
    return file


def controlnet(model: Path, folder: Path) -> Path:
    """Save a ControlNet for the model into `folder`; its map changes the images."""
    import diffusers
    import torch

    index = json.loads((model / "model_index.json").read_text())
    torch.manual_seed(5)
    if "unet" in index:
        unet = diffusers.UNet2DConditionModel.from_pretrained(model / "unet")
        network = diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32))
    else:
        transformer = diffusers.FluxTransformer2DModel.from_pretrained(model / "transformer")
        network = diffusers.FluxControlNetModel.from_transformer(
            transformer, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2
        )
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "controlnet_" in name:
                weight.normal_(0, 0.3)
    network.save_pretrained(folder)
    return folder


def ip_adapter(model: Path, folder: Path) -> dict[str, str]:
    """Save an IP-Adapter for a model's U-Net and its image encoder below `folder`; return the endpoint's config."""
    import diffusers
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    unet = diffusers.UNet2DConditionModel.from_pretrained(model / "unet")
    torch.manual_seed(6)
    width, tokens, seen = unet.config.cross_attention_dim, 4, 32
    tensors = {
        "image_proj.proj.weight": torch.randn(tokens * width, seen),
        "image_proj.proj.bias": torch.randn(tokens * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    crossing = [name for name in unet.attn_processors if "attn2" in name]
    for number, name in enumerate(crossing):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        for part in ("k", "v"):
            size = getattr(attention, f"to_{part}").weight.shape
            tensors[f"ip_adapter.{2 * number + 1}.to_{part}_ip.weight"] = torch.randn(size)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter.safetensors")
    config = CLIPVisionConfig(
        hidden_size=32, projection_dim=seen, num_hidden_layers=2, num_attention_heads=4, image_size=32,
        intermediate_size=37, patch_size=8,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder / "encoder")
    return {"folder": str(folder), "file": "adapter.safetensors", "encoder": str(folder / "encoder")}


def build(name: str, folder: Path, built: Callable[[str], Path]) -> None:
    """Save the model called `name` into `folder`. built: returns the folder of another model that it is made of."""
    if name == "small":
        small(folder, built("sd"))
    elif name == "sdxl-refiner":
        sdxl_refiner(folder, built("sdxl"))
    elif name == "flux-schnell":
        flux(folder, is_guided=False)
    else:
        {"sd": sd, "sdxl": sdxl, "sd3": sd3, "flux": flux}[name](folder)


def task(number: int, **changes: Any) -> Task:
    values = {
        "prompt": f"a mug {'abcdefgh'[number]}",
        "negative": "blur",
        "width": SIZE,
        "height": SIZE,
        "seed": 1000 + number,
        "parameters": {"steps": 4, "guidance": 5.0},
    }
    return Task(number, Spec(**{**values, **changes}))


def pixels(engine: Any, batch: list[Task], context: RecordingContext | None = None) -> dict[int, np.ndarray]:
    results = {result.task_id: result for result in engine.generate(batch, context or RecordingContext())}
    assert all(result.error is None for result in results.values())
    return {number: result.pixels for number, result in results.items()}


def largest_difference(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.abs(first.astype(int) - second.astype(int)).max())


def encode_png(image: np.ndarray | Image.Image) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, "PNG")
    return stream.getvalue()


def photograph(seed: int = 0, width: int = SIZE, height: int = SIZE) -> np.ndarray:
    """Return noise over a gradient, which no decoder can reproduce exactly."""
    slope = np.linspace(0, 120, width, dtype=np.float32)[None, :, None]
    noise = np.random.default_rng(seed).uniform(0, 130, (height, width, 3))
    return (slope + noise).astype(np.uint8)
