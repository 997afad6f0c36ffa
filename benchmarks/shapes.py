"""Build models of true or small shapes with random weights, save them as diffusers folders, and count operations.

The speed of a kernel does not depend on the weights' values, so nothing has to be downloaded. Two things differ from
the real model: the vocabulary of the text encoders (64 words, so that a tokenizer can be made from nothing), and T5,
which has one layer of the true width; its output is cached per text, so it does not matter in a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.support import tiny_models

SUSTAINED_TFLOPS = 800.0
"""TFLOP/s that an H100 sustains in bfloat16; the reference for shares."""


@dataclass(frozen=True)
class Shapes:
    """A family at a scale. branches: forward passes per step (2 with classifier-free guidance)."""

    family: str
    is_small: bool
    steps: int
    guidance: float

    @property
    def branches(self) -> int:
        return 2 if self.family == "sdxl" and self.guidance > 1 else 1

    @property
    def title(self) -> str:
        return f"{'small shapes like ' if self.is_small else ''}{'SDXL' if self.family == 'sdxl' else 'FLUX.1 [dev]'}"


def denoiser(shapes: Shapes) -> Any:
    import diffusers

    if shapes.family == "flux":
        small = {"num_layers": 2, "num_single_layers": 4, "num_attention_heads": 4, "joint_attention_dim": 64}
        size = {**small, "pooled_projection_dim": 64} if shapes.is_small else {}
        return diffusers.FluxTransformer2DModel(guidance_embeds=True, **size)
    wide = (64, 128, 256) if shapes.is_small else (320, 640, 1280)
    return diffusers.UNet2DConditionModel(
        sample_size=128,
        block_out_channels=wide,
        transformer_layers_per_block=[1, 1, 2] if shapes.is_small else [1, 2, 10],
        attention_head_dim=[channels // 64 for channels in wide],
        cross_attention_dim=128 if shapes.is_small else 2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=6 * 256 + (64 if shapes.is_small else 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )


def autoencoder(shapes: Shapes) -> Any:
    import diffusers

    wide = [32, 32, 64, 64] if shapes.is_small else [128, 256, 512, 512]
    flux = {"latent_channels": 16, "shift_factor": 0.1159, "scaling_factor": 0.3611, "use_quant_conv": False}
    sdxl = {"latent_channels": 4, "scaling_factor": 0.13025, "force_upcast": True}
    return diffusers.AutoencoderKL(
        block_out_channels=wide,
        layers_per_block=2,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        **(flux | {"use_post_quant_conv": False} if shapes.family == "flux" else sdxl),
    )


def clip(hidden: int, layers: int, heads: int, *, projects: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        vocab_size=64,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=hidden,
    )
    return (CLIPTextModelWithProjection if projects else CLIPTextModel)(config)


def scheduler(shapes: Shapes) -> Any:
    """Build the scheduler on the CPU in any case, because it makes noise levels with numpy."""
    import diffusers

    with torch.device("cpu"):
        if shapes.family == "flux":
            return diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
        return diffusers.EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        )


def save(shapes: Shapes, folder: Path, device: str, dtype: torch.dtype) -> None:
    """Build the pipeline on `device` and save it; half a minute and 7 GB for SDXL, 25 GB for FLUX.1."""
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            pipe = _flux(shapes, folder) if shapes.family == "flux" else _sdxl(shapes, folder)
            _spread(pipe.vae, device, dtype)
    finally:
        torch.set_default_dtype(torch.float32)
    pipe.save_pretrained(folder, safe_serialization=True)


def _sdxl(shapes: Shapes, folder: Path) -> Any:
    import diffusers

    words = tiny_models.tokenizer(folder.parent / "vocabulary")
    small = shapes.is_small
    return diffusers.StableDiffusionXLPipeline(
        unet=denoiser(shapes),
        vae=autoencoder(shapes),
        text_encoder=clip(64, 2, 4, projects=False) if small else clip(768, 12, 12, projects=False),
        text_encoder_2=clip(64, 2, 4, projects=True) if small else clip(1280, 32, 20, projects=True),
        tokenizer=words,
        tokenizer_2=words,
        scheduler=scheduler(shapes),
    )


def _flux(shapes: Shapes, folder: Path) -> Any:
    import diffusers
    from transformers import T5Config, T5EncoderModel

    small = shapes.is_small
    width = 64 if small else 4096
    _, long_words = tiny_models.t5(folder)
    return diffusers.FluxPipeline(
        transformer=denoiser(shapes),
        vae=autoencoder(shapes),
        text_encoder=clip(64, 2, 4, projects=False) if small else clip(768, 12, 12, projects=False),
        tokenizer=tiny_models.tokenizer(folder.parent / "vocabulary"),
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=32, d_model=width, d_kv=64, d_ff=2 * width, num_layers=1, num_heads=width // 64)
        ),
        tokenizer_2=long_words,
        scheduler=scheduler(shapes),
    )


@torch.no_grad()
def _spread(vae: Any, device: str, dtype: torch.dtype) -> None:
    """Give the decoder's images the contrast of real images: untrained, it would paint everything grey, so that two
    runs could not differ."""
    latents = torch.randn(1, vae.config.latent_channels, 16, 16, device=device, dtype=dtype)
    spread = vae.decode(latents, return_dict=False)[0].float().std()
    vae.decoder.conv_out.weight.mul_((0.4 / spread).to(dtype))


def image_tflop(shapes: Shapes, size: int) -> dict[str, float]:
    """Return the TFLOP (a multiplication and an addition are two) of one forward pass, one decoding and one whole image
    of size × size, counted by torch's FlopCounterMode on tensors without memory."""
    with torch.device("meta"):
        net, vae = denoiser(shapes), autoencoder(shapes)
        side = size // 8
        forward = _count(lambda: _forward(shapes, net, side))
        decode = _count(lambda: vae.decode(torch.empty(1, vae.config.latent_channels, side, side)))
    return {
        "forward": forward,
        "decode": decode,
        "image": shapes.steps * shapes.branches * forward + decode,
    }


def _count(work: Callable[[], object]) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e12


def _forward(shapes: Shapes, net: Any, side: int) -> Any:
    if shapes.family == "flux":
        tokens = side * side // 4
        return net(
            hidden_states=torch.empty(1, tokens, 64),
            encoder_hidden_states=torch.empty(1, 512, net.config.joint_attention_dim),
            pooled_projections=torch.empty(1, net.config.pooled_projection_dim),
            timestep=torch.empty(1),
            img_ids=torch.empty(tokens, 3),
            txt_ids=torch.empty(512, 3),
            guidance=torch.empty(1),
        )
    pooled = net.config.projection_class_embeddings_input_dim - 6 * 256
    return net(
        torch.empty(1, 4, side, side),
        torch.empty(1),
        encoder_hidden_states=torch.empty(1, 77, net.config.cross_attention_dim),
        added_cond_kwargs={"text_embeds": torch.empty(1, pooled), "time_ids": torch.empty(1, 6)},
    )
