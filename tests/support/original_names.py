"""The tensor names of the first Stable Diffusion checkpoints, as single-file models contain them."""

from __future__ import annotations

import re
from typing import Any

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def original_tensors(pipe: Any) -> dict[str, Any]:
    """Return every tensor of an SD 1.5 pipeline under its original name."""
    depth = pipe.unet.config.layers_per_block
    tensors = {f"model.diffusion_model.{_unet(name, depth)}": value for name, value in pipe.unet.state_dict().items()}
    levels = len(pipe.vae.config.block_out_channels)
    for name, value in pipe.vae.state_dict().items():
        is_attention = ".attentions." in name and value.ndim == 2
        tensors[f"first_stage_model.{_vae(name, levels)}"] = value[:, :, None, None] if is_attention else value
    words = pipe.text_encoder.state_dict()
    prefix = "" if any(name.startswith("text_model.") for name in words) else "text_model."
    tensors |= {f"cond_stage_model.transformer.{prefix}{name}": value for name, value in words.items()}
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}


def _unet(name: str, depth: int) -> str:
    for ours, original in _OUTSIDE.items():
        if name.startswith(ours + "."):
            return name.replace(ours, original, 1)
    if match := re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", name):
        side, level, kind, place, rest = match.groups()
        number = int(level) * (depth + 1) + int(place) + (1 if side == "down" else 0)
        return f"{_side(side)}.{number}.{0 if kind == 'resnets' else 1}.{_inside(kind, rest)}"
    if match := re.match(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.(.+)", name):
        return f"input_blocks.{(int(match[1]) + 1) * (depth + 1)}.0.op.{match[2]}"
    if match := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.(.+)", name):
        place = 2 if int(match[1]) == 0 else 1  # after an attention the block has one more step
        return f"output_blocks.{int(match[1]) * (depth + 1) + depth}.{place}.{match[2]}"
    match = re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", name)
    assert match, name
    kind, place, rest = match.groups()
    return f"middle_block.{1 if kind == 'attentions' else 2 * int(place)}.{_inside(kind, rest)}"


def _side(side: str) -> str:
    return "input_blocks" if side == "down" else "output_blocks"


def _inside(kind: str, rest: str) -> str:
    if kind == "attentions":
        return rest
    part, _, last = rest.rpartition(".")
    return f"{_RESNET[part]}.{last}"


def _vae(name: str, levels: int) -> str:
    def up(match: re.Match[str]) -> str:
        return f"decoder.up.{levels - 1 - int(match[1])}."

    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"encoder\.down_blocks\.(\d+)\.", r"encoder.down.\1.", name)
    name = re.sub(r"decoder\.up_blocks\.(\d+)\.", up, name)
    name = name.replace("downsamplers.0.", "downsample.").replace("upsamplers.0.", "upsample.")
    if match := re.match(r"(encoder|decoder)\.mid_block\.attentions\.0\.(.+)\.(weight|bias)", name):
        return f"{match[1]}.mid.attn_1.{_ATTENTION[match[2]]}.{match[3]}"
    name = re.sub(r"mid_block\.resnets\.(\d+)", lambda resnet: f"mid.block_{int(resnet[1]) + 1}", name)
    return re.sub(r"\.resnets\.(\d+)", r".block.\1", name)
