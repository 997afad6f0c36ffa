"""The networks, all of them standard classes of diffusers and transformers, and the folder that stores them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from examples.model.captions import caption_words

SHRINKS = 8
"""Pixels per latent along each side of an image."""
TOKENS = 32
BEGIN, END, UNKNOWN = "<s>", "</s>", "[UNK]"
WIDTH = 32
TEXT_WIDTH = 96
COLOUR_GAIN = 3.0
BLOCKS = (48, 96, 160)


def autoencoder() -> AutoencoderTiny:
    """Return the autoencoder, 3 × size × size in -1 … 1 to 4 × size/8 × size/8 and back; 0.4 million weights."""
    made = AutoencoderTiny(
        encoder_block_out_channels=(WIDTH,) * 4,
        decoder_block_out_channels=(WIDTH,) * 4,
        num_encoder_blocks=(0, 0, 1, 3),
        num_decoder_blocks=(4, 2, 1, 0),
        force_upcast=False,
    )
    _start_as_blur(made)
    return made


@torch.no_grad()
def _start_as_blur(made: AutoencoderTiny) -> None:
    """Let the first three channels carry red, green and blue, so that the untrained autoencoder only blurs.

    From a random start it would learn shapes in a minute, but colours in an hour.
    """
    for half in (made.encoder, made.decoder):
        convolutions = [layer for layer in half.layers if isinstance(layer, nn.Conv2d)]
        for layer in convolutions:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            for channel in range(3):
                layer.weight[channel] = 0
                if layer.stride == (2, 2):
                    layer.weight[channel, channel] = 1 / 9
                else:
                    layer.weight[channel, channel, 1, 1] = 1
        # Values between 0 and 1 in an image become latents around 0.
        outer = convolutions[-1] if half is made.encoder else convolutions[0]
        outer.weight[:3] *= COLOUR_GAIN if half is made.encoder else 1 / COLOUR_GAIN
        outer.bias[:3] = -COLOUR_GAIN / 2 if half is made.encoder else 0.5
    for module in made.modules():
        if type(module).__name__ == "AutoencoderTinyBlock":
            inner = [part for part in module.conv if isinstance(part, nn.Conv2d)]
            for part in inner:
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
                nn.init.zeros_(part.bias)
            inner[-1].weight *= 0.2
            inner[-1].weight[:3] = 0


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per word; words that no caption has are [UNK]."""
    special = [BEGIN, END, UNKNOWN]
    vocabulary = {word: at for at, word in enumerate([*special, *caption_words()])}
    whole = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    whole.normalizer = normalizers.Lowercase()
    whole.pre_tokenizer = pre_tokenizers.Whitespace()
    whole.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}", special_tokens=[(BEGIN, 0), (END, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=whole, bos_token=BEGIN, eos_token=END, pad_token=END, unk_token=UNKNOWN,
        model_max_length=TOKENS,
    )  # fmt: skip


def text_encoder() -> CLIPTextModel:
    """Return the text encoder, from a caption's tokens to TOKENS × TEXT_WIDTH."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(caption_words()) + 3,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def unet(size: int) -> UNet2DConditionModel:
    """Return the U-Net, from noisy latents, time and words to the velocity. It reads words at the coarsest level and,
    pooled, at all levels."""
    return UNet2DConditionModel(
        sample_size=size // SHRINKS,
        block_out_channels=BLOCKS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=8,
        norm_num_groups=8,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=8,
    )


def scheduler() -> DDIMScheduler:
    """Return a scheduler for velocities whose last step is pure noise, so that backdrops get their true brightness."""
    return DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction",
        rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True,
        steps_offset=1,
    )  # fmt: skip


def tokens(reader: PreTrainedTokenizerFast, texts: list[str]) -> Tensor:
    """Return the tokens of texts, count × TOKENS, as the pipeline makes them."""
    made = reader(texts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
    ids: Tensor = made["input_ids"]
    return ids


def pipeline(
    vae: AutoencoderTiny, text: CLIPTextModel, reader: PreTrainedTokenizerFast, net: UNet2DConditionModel
) -> StableDiffusionPipeline:
    """Return the networks as one standard pipeline without a progress bar."""
    made = StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=reader, unet=net, scheduler=scheduler(), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made


def save(pipe: StableDiffusionPipeline, folder: Path, facts: dict[str, Any]) -> int:
    """Save the pipeline as a diffusers folder with facts about the training; return its size in bytes.

    The weights are saved in half precision, which also changes the pipeline itself. The text encoder's configuration
    asks for 32 bits: transformers would load it in the precision of the file, and diffusers loads the rest in 32 bits.
    """
    pipe.to(torch.float16).save_pretrained(folder)
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "dtype": "float32"}, indent=2) + "\n")
    (folder / "training.json").write_text(json.dumps(facts, indent=1) + "\n")
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
