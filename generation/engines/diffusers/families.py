"""The model families, one row each: classes, sizes, schedulers, text encoders and guidance.

Families: Stable Diffusion 1.5, SDXL, Stable Diffusion 3 and 3.5, FLUX.1 [dev] and [schnell], as diffusers 0.42 has them
(https://huggingface.co/docs/diffusers/api/pipelines/overview). Nothing here loads torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from generation.engines.base import EngineError, ErrorKind
from generation.engines.diffusers.weight_files import tensor_names

UNET_SCHEDULERS: Final = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
}
FLOW_SCHEDULERS: Final = {"euler": "FlowMatchEulerDiscreteScheduler"}
"""Flow matching: FLUX gives its own noise levels to the scheduler, and a start image is mixed in by them."""
PIPELINES: Final = {"text": "Pipeline", "image": "Img2ImgPipeline", "inpaint": "InpaintPipeline"}
"""The ends of the names of pipeline classes, by kind of job."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of models.

    prefix: the beginning of the names of its pipeline classes in diffusers. controlled: the kinds of job with such a
    class for ControlNets; controlnet: the ControlNet's class. single_file: parts of tensor names that only its single
    files have, as first published and as diffusers spells them. guidance, steps: the defaults. encoded: the positions
    of the embedding and the pooled embedding in the result of the pipeline's `encode_prompt`, -1 for none; encoders:
    their number. reads: the encoder family of campaigns.prompts.tokens; tokenizer: its folder. tokens: the limit of the
    encoder that reads most, 0 if the class takes no limit.
    """

    name: str
    title: str
    prefix: str
    controlled: tuple[str, ...] = tuple(PIPELINES)
    controlnet: str
    single_file: tuple[str, ...]
    guidance: float = 7.0
    steps: int = 30
    encoded: tuple[int, int] = (0, -1)
    encoders: int = 1
    schedulers: Mapping[str, str]
    size_multiple: int = 8
    obeys_negative: bool = True
    obeys_guidance: bool = True
    has_adapter: bool = True
    reads: str = "clip"
    tokenizer: str = "tokenizer"
    tokens: int = 0

    @property
    def is_flow(self) -> bool:
        return self.schedulers is FLOW_SCHEDULERS

    def pipeline_class_of(self, kind: str, *, controlled: bool = False) -> str:
        """Return the pipeline class of a kind of job ("text", "image", "inpaint"); "" if the family has none."""
        if controlled and kind not in self.controlled:
            return ""
        return f"{self.prefix}{'ControlNet' if controlled else ''}{PIPELINES[kind]}"


_SD = Family(
    name="sd", title="Stable Diffusion 1.5", prefix="StableDiffusion", controlnet="ControlNetModel",
    single_file=("cond_stage_model.transformer.",), schedulers=UNET_SCHEDULERS,
)  # fmt: skip
_SDXL = Family(
    name="sdxl", title="SDXL", prefix="StableDiffusionXL", controlnet="ControlNetModel",
    single_file=("conditioner.embedders.1.",), schedulers=UNET_SCHEDULERS, encoded=(0, 2), encoders=2,
)  # fmt: skip
_SD3 = Family(
    name="sd3", title="Stable Diffusion 3.5", prefix="StableDiffusion3", controlled=("text",),
    controlnet="SD3ControlNetModel",
    single_file=("joint_blocks.0.context_block.", "transformer_blocks.0.attn.norm_added_q."), guidance=4.5, steps=28,
    encoded=(0, 2), encoders=3, schedulers=FLOW_SCHEDULERS, size_multiple=16, has_adapter=False, reads="t5-256",
    tokenizer="tokenizer_3", tokens=256,
)  # fmt: skip
_FLUX = Family(
    name="flux", title="FLUX.1 [dev]", prefix="Flux", controlnet="FluxControlNetModel",
    single_file=("double_blocks.0.", "single_transformer_blocks.0."), guidance=3.5, steps=28, encoded=(0, 1),
    encoders=2, schedulers=FLOW_SCHEDULERS, size_multiple=16, obeys_negative=False, has_adapter=False, reads="t5",
    tokenizer="tokenizer_2", tokens=512,
)  # fmt: skip
#: Distilled to a few steps and to a fixed guidance.
_SCHNELL = replace(
    _FLUX, name="flux-schnell", title="FLUX.1 [schnell]", single_file=(), guidance=0.0, steps=4, obeys_guidance=False,
    reads="t5-256", tokens=256,
)  # fmt: skip

FAMILIES: Final[Mapping[str, Family]] = {family.name: family for family in (_SD, _SDXL, _SD3, _FLUX, _SCHNELL)}
BY_CLASS: Final[Mapping[str, Family]] = {
    family.pipeline_class_of("text"): family for family in (_SD, _SDXL, _SD3, _FLUX)
}
#: In the order in which a single file is checked: some FLUX tensors have the names of other families'.
BY_TENSOR: Final = (_FLUX, _SD3, _SDXL, _SD)
GUIDANCE_TENSORS: Final = ("guidance_in.", "time_text_embed.guidance_embedder.")
"""Tensors that only FLUX models with adjustable guidance have."""


def family_of(path: Path) -> Family:
    """Read the family from model_index.json or a single file's tensor names. Raises EngineError of kind ENDPOINT."""
    if path.is_dir():
        try:
            class_name = json.loads((path / "model_index.json").read_text())["_class_name"]
        except FileNotFoundError as error:
            message = f"{path} is not a diffusers folder: it has no model_index.json."
            raise EngineError(ErrorKind.ENDPOINT, message) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"{path} is not a diffusers folder: its model_index.json names no pipeline."
            raise EngineError(ErrorKind.ENDPOINT, message, log=str(error)) from error
        if class_name not in BY_CLASS:
            supported = ", ".join(BY_CLASS)
            raise EngineError(ErrorKind.ENDPOINT, f"{path.name} is a {class_name}; this engine runs {supported}.")
        if class_name != _FLUX.pipeline_class_of("text"):
            return BY_CLASS[class_name]
        try:  # [dev] takes a guidance value, [schnell] does not
            transformer = json.loads((path / "transformer" / "config.json").read_text())
        except (OSError, ValueError) as error:
            raise EngineError(ErrorKind.ENDPOINT, f"{path} is not a diffusers folder: {error}") from error
        return _FLUX if transformer.get("guidance_embeds") else _SCHNELL
    names = tensor_names(path)
    for family in BY_TENSOR:
        if any(mark in name for mark in family.single_file for name in names):
            is_guided = any(mark in name for mark in GUIDANCE_TENSORS for name in names)
            return _SCHNELL if family is _FLUX and not is_guided else family
    supported = ", ".join(family.title for family in FAMILIES.values())
    raise EngineError(ErrorKind.ENDPOINT, f"{path.name} holds the weights of none of these: {supported}.")
