"""The declaration of the `diffusers` engine: its settings, and what is known of it without importing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import ValidationInfo, field_validator

from core.plugin_config import Whole, setting
from generation.engines import base

CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
NO_MODEL: Final = 'The endpoint needs "model": the path of a diffusers folder or a .safetensors file.'
_MAX_BYTES: Final = 2**43


@dataclass(frozen=True)
class Draft:
    """The settings of a cheap draft. lora: a few-step LoRA's file, fused into the weights with `weight`; steps,
    guidance and scheduler are those that it was distilled for. threshold: of step caching; smaller changes of the first
    block's output are skipped (diffusers suggests 0.05 to 0.2)."""

    lora: str = ""
    weight: float = 1.0
    steps: int = 4
    guidance: float = 1.0
    scheduler: str = "euler"
    threshold: float = 0.1


class Config(base.EngineConfig):
    """One local model; acceleration.py and equipment.py say what its speed and its equipment mean. shapes: (width,
    height) that are compiled and warmed up when the worker starts; others are drawn uncompiled. If empty, every size is
    compiled at its first use."""

    model: str = base.for_operator("Model", "A diffusers folder, or one .safetensors file.", needed=NO_MODEL)
    tier: Literal["final", "exact", "fast", "draft"] = setting("Quality tier", default="final")
    max_side: Whole = base.max_side()
    loras: dict[str, Any] = base.for_operator(
        "LoRAs",
        "Those with a weight are always on.",
        default={},
        example='{"glaze": {"path": "/models/glaze.safetensors", "weight": 0.8}}',
    )
    controlnets: dict[str, Any] = base.for_operator(
        "ControlNets", "Folders, of canny, depth and pose.", default={}, example='{"canny": "/models/canny"}'
    )
    ip_adapter: dict[str, Any] | None = base.advanced_for_operator(
        "IP-Adapter", example='{"folder": "/models/ip", "file": "ip.safetensors", "encoder": "/models/encoder"}'
    )
    refiner: str = base.advanced_for_operator("Refiner", "A folder for image to image.", default="")
    completing_folder: str = base.advanced_for_operator(
        "Configuration of a single file", "A folder of the same family.", default="", name="model_config"
    )  # pydantic has a use of its own for the name "model_config"
    device: str = base.advanced("Device", default="", default_text="a GPU if there is one")
    dtype: Literal["bfloat16", "float16", "float32"] | None = base.advanced("Numbers", default_text="by the device")
    compile: Literal["off", "regional", "full"] | None = base.advanced("Compile", default_text="by the tier")
    compile_mode: CompileMode | None = base.advanced("Compile mode", default_text="default")
    shapes: list[Any] = base.advanced("Sizes that are compiled", default=[], example="[[1024, 1024]]")
    warm_up: bool = base.advanced("Draw once when a worker starts", default=False)
    fuse_qkv: bool | None = base.advanced("Fused attention", "Without LoRAs only.", default_text="no")
    fp8: bool = base.advanced("8-bit multiplication", "In fast and draft.", default=False)
    draft: dict[str, Any] = base.advanced_for_operator(
        "Options of the draft tier", default={}, example='{"threshold": 0.1}'
    )
    overlap: bool | None = base.advanced("Decode while the next batch is drawn", default_text="on a GPU")
    threads: Whole | None = base.advanced("Threads of the CPU", default_text="torch’s choice", minimum=1, maximum=1024)
    idle_unload_minutes: float | None = base.duration("Unload when idle for, min", None, "never")
    reserve_bytes: Whole | None = base.advanced(
        "Working memory, bytes", default_text="8 GiB on a GPU", minimum=0, maximum=_MAX_BYTES
    )
    memory_limit_bytes: Whole | None = base.advanced(
        "Memory of all models, bytes", default_text="what is free", minimum=0, maximum=_MAX_BYTES
    )
    safety_checker: bool = base.advanced("The model’s safety checker", default=False)

    @property
    def draft_options(self) -> Draft:
        return Draft(**self.draft)

    @field_validator("compile_mode")
    @classmethod
    def _ensure_repeatable(cls, mode: CompileMode | None, info: ValidationInfo) -> CompileMode | None:
        if info.data.get("tier") == "exact" and mode and mode.startswith("max-autotune"):
            raise ValueError('"exact" cannot go with "max-autotune", which chooses kernels by time; take "fast".')
        return mode

    @field_validator("shapes")
    @classmethod
    def _parse_shapes(cls, given: list[Any]) -> list[tuple[int, int]]:
        try:
            shapes = [(int(width), int(height)) for width, height in given]
        except (TypeError, ValueError) as error:
            raise ValueError(f'"shapes" is {given!r}; expected pairs of width and height: [[1024, 1024]].') from error
        for width, height in shapes:
            if width % 8 or height % 8 or min(width, height) < 8:
                raise ValueError(f'"shapes": {width}×{height}; width and height must be multiples of 8.')
        return shapes

    @field_validator("draft")
    @classmethod
    def _ensure_draft(cls, given: dict[str, Any]) -> dict[str, Any]:
        if set(given) - set(Draft.__dataclass_fields__):
            raise ValueError(f'"draft" takes {", ".join(Draft.__dataclass_fields__)}; got {", ".join(given)}.')
        return given


PLUGIN: Final = base.EnginePlugin(
    "diffusers",
    base.import_engine("generation.engines.diffusers.engine:Diffusers"),
    label="diffusers on our own machines",
    config=Config,
    lanes=(base.GPU, base.CPU),
    is_operator_only=True,
    uses_local_models=True,
)
