"""Quality tiers: how a loaded diffusers pipeline is accelerated, and the effect on pixels.

| tier  | promise                                                                                                     |
|-------|-------------------------------------------------------------------------------------------------------------|
| final | the default: the pipeline as diffusers ships it, without acceleration                                       |
| exact | the same card, shape and padded batch size give the same pixels, whatever an image was batched with         |
| fast  | the same image to the eye: kernels are chosen by measured time and may differ after a restart               |
| draft | another, cheaper image: a few-step LoRA, or steps are skipped where the model's output hardly changes       |

Products: torch.compile of torch 2.13 (https://docs.pytorch.org/docs/stable/torch.compiler.html), regional compilation,
caching and attention of diffusers 0.42 (https://huggingface.co/docs/diffusers/optimization/fp16), float8 of torchao
(https://docs.pytorch.org/ao). Importing this module loads none of them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import structlog

from generation.engines.base import EngineError, ErrorKind
from generation.engines.diffusers.config import Config, Draft
from generation.engines.diffusers.weight_files import digest

log = structlog.get_logger(__name__)

MAX_COMPILED_SHAPES = 32
"""Kernels are compiled for fixed shapes. After this many (size, batch) of one module, torch runs it uncompiled."""
FLOAT8_CAPABILITY = (8, 9)
"""The first CUDA compute capability that multiplies in float8."""


def compile_scope(config: Config, device: str) -> str:
    """Return "off", "regional" or "full" for this device. A CPU compiles only if configured."""
    return config.compile or ("regional" if config.tier != "final" and device.startswith("cuda") else "off")


def effective_settings(config: Config, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec's settings in this tier; a few-step LoRA sets steps, guidance and scheduler."""
    draft = config.draft_options
    if config.tier != "draft" or not draft.lora:
        return dict(settings)
    return {**settings, "steps": draft.steps, "guidance": draft.guidance, "scheduler": draft.scheduler}


def draft_digest(config: Config) -> str:
    """Return a hex digest of the draft settings, since another LoRA is another model; "" in other tiers."""
    if config.tier != "draft":
        return ""
    draft = config.draft_options
    content = digest(Path(draft.lora)) if draft.lora and Path(draft.lora).exists() else ""
    return sha256(repr((draft, content)).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class AcceleratedPipeline:
    """A prepared pipeline, and what was done to it: `facts` go into every attempt."""

    config: Config
    device: str
    card: str
    applied: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        facts = {"tier": self.config.tier, "card": self.card, "accelerated_by": list(self.applied)}
        return {**facts, "left_out": list(self.left_out)} if self.left_out else facts

    @property
    def is_padding(self) -> bool:
        """True if every batch is filled up to the endpoint's batch size. Another size has other kernels, which round
        differently (exact) and would have to be compiled first."""
        return self.config.tier == "exact" or compile_scope(self.config, self.device) != "off"

    def without_compiler(self, pipe: Any, error: Exception) -> AcceleratedPipeline:
        """Return the state without compilation, for when kernels could not be compiled: no compiler, or it failed."""
        for module in (*denoiser_of(pipe).modules(), pipe.vae.decoder):
            module._compiled_call_impl = None
        reason = f"no compile: {str(error).strip().partition(chr(10))[0][:200]}"
        log.warning("acceleration.not_compiled", error=str(error)[:2000])
        return replace(
            self,
            config=self.config.model_copy(update={"compile": "off"}),
            applied=tuple(name for name in self.applied if not name.startswith("compile:")),
            left_out=(*self.left_out, reason),
        )

    @contextmanager
    def configure_torch(self, width: int, height: int) -> Iterator[None]:
        """Set torch's switches for this endpoint while it draws. Sizes that are not among its shapes run uncompiled."""
        with self.configure_process(width, height), self.configure_thread():
            yield

    def configure_process(self, width: int, height: int) -> AbstractContextManager[None]:
        """Set the switches of the whole process. The context may be left on another thread than it was entered on."""
        skips_compiled = bool(self.config.shapes) and (width, height) not in self.config.shapes
        key = (self.config.tier, self.device, skips_compiled)
        return _switches.hold(key, partial(self._apply_switches, skips_compiled))

    @contextmanager
    def configure_thread(self) -> Iterator[None]:
        """Set the switches that each thread has for itself."""
        import torch

        with torch.inference_mode():
            if compile_scope(self.config, self.device) == "off":
                yield
                return
            import torch._dynamo

            with torch._dynamo.config.patch(recompile_limit=MAX_COMPILED_SHAPES):
                yield

    def _apply_switches(self, skips_compiled: bool, stack: ExitStack) -> None:
        import torch

        tier = self.config.tier
        if tier != "final":
            exact = tier == "exact"
            flags = {"enabled": True, "benchmark": not exact, "deterministic": exact, "allow_tf32": not exact}
            stack.enter_context(torch.backends.cudnn.flags(**flags))
        if tier in ("fast", "draft"):
            stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("high")  # tensor cores (TF32) for the remaining 32-bit multiplications
            if self.device.startswith("cuda"):
                from torch.nn.attention import SDPBackend, sdpa_kernel

                # cuDNN's attention is the fastest on Hopper that needs no download.
                names = ("CUDNN_ATTENTION", "FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH")
                stack.enter_context(sdpa_kernel([getattr(SDPBackend, name) for name in names], set_priority=True))
        if skips_compiled:
            stack.enter_context(torch.compiler.set_stance("force_eager"))


class _TorchSwitches:
    """A lock for torch's switches, which belong to the process while endpoints need different ones. Users of the same
    switches may work at the same time; others wait. The previous values are restored."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._key: Hashable = None
        self._users = 0
        self._stack = ExitStack()

    @contextmanager
    def hold(self, key: Hashable, switch: Callable[[ExitStack], None]) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._users or self._key == key)
            if not self._users:
                switch(self._stack)
                self._key = key
            self._users += 1
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                if not self._users:
                    self._stack.close()
                self._changed.notify_all()


_switches = _TorchSwitches()


def prepare(pipe: Any, config: Config, device: str) -> AcceleratedPipeline:
    """Accelerate a loaded text-to-image pipeline in place, by its tier. The other pipelines share its parts. Raises
    EngineError of kind INPUT if the tier is not possible with this model."""
    denoiser = denoiser_of(pipe)
    applied: list[str] = []
    left_out: list[str] = []
    if config.tier == "draft":
        applied.append(_apply_draft(pipe, denoiser, config.draft_options))
    if config.tier != "final":
        applied += _set_memory_layout(pipe, denoiser, device)
    if config.fuse_qkv and config.tier in ("fast", "draft"):
        denoiser.fuse_qkv_projections()
        applied.append("fused_qkv")
    if config.fp8:
        reason = _quantise(denoiser, config.tier, device)
        (left_out if reason else applied).append(reason or "fp8")
    scope = compile_scope(config, device)
    if scope != "off":
        applied.append(_compile(pipe, denoiser, config, scope))
    return AcceleratedPipeline(config, device, device_name(device), tuple(applied), tuple(left_out))


def is_compiler_error(error: Exception) -> bool:
    """Return whether compiling kernels failed, not drawing with them."""
    errors = sys.modules.get("torch._dynamo.exc")
    return errors is not None and isinstance(error, errors.BackendCompilerFailed)


def denoiser_of(pipe: Any) -> Any:
    """Return the network that a pipeline runs at every step: a transformer or a U-Net."""
    return getattr(pipe, "transformer", None) or pipe.unet


def device_name(device: str) -> str:
    """Return the GPU's name, or the processor's instruction set, which decides the kernels on a CPU."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"CPU {torch.backends.cpu.get_cpu_capability()}" if device == "cpu" else device


def _set_memory_layout(pipe: Any, denoiser: Any, device: str) -> list[str]:
    """Use channels last, the order for convolutions on tensor cores, and an autoencoder that decodes in 16 bits."""
    import torch

    done = []
    if hasattr(pipe, "unet"):
        denoiser.to(memory_format=torch.channels_last)
        done.append("channels_last")
    pipe.vae.to(memory_format=torch.channels_last)
    if device.startswith("cuda") and pipe.vae.dtype == torch.float16:
        pipe.vae.to(torch.bfloat16)  # float16 overflows in SDXL's decoder, so that diffusers would decode in 32 bits
        done.append("bfloat16_vae")
    return done


def _apply_draft(pipe: Any, denoiser: Any, draft: Draft) -> str:
    if draft.lora:
        try:
            pipe.load_lora_weights(draft.lora, adapter_name="draft", local_files_only=True)
            pipe.fuse_lora(lora_scale=draft.weight, adapter_names=["draft"])
            pipe.unload_lora_weights()
        except (OSError, ValueError, KeyError) as error:
            text = f"The draft LoRA {draft.lora} could not be laid onto this model: {error}"
            raise EngineError(ErrorKind.INPUT, text[:500]) from error
        return f"lora:{draft.lora.rsplit('/', 1)[-1]}"
    if not hasattr(denoiser, "enable_cache"):
        raise EngineError(
            ErrorKind.INPUT,
            f'The tier "draft" needs a few-step LoRA for a {type(denoiser).__name__}, which cannot skip steps: '
            'give the endpoint {"draft": {"lora": "path", "steps": 4}}.',
        )
    from diffusers import FirstBlockCacheConfig

    denoiser.enable_cache(FirstBlockCacheConfig(threshold=draft.threshold))
    return f"first_block_cache:{draft.threshold:g}"


def _quantise(denoiser: Any, tier: str, device: str) -> str:
    """Switch to float8 multiplication. Return "", or the reason why not: then bfloat16 remains in use."""
    import torch

    if tier not in ("fast", "draft"):
        return f"no fp8: not in the tier {tier}"
    if not device.startswith("cuda") or torch.cuda.get_device_capability(device) < FLOAT8_CAPABILITY:
        return "no fp8: this card has none"
    if find_spec("torchao") is None:
        return "no fp8: torchao is not installed"
    torchao = import_module("torchao.quantization")
    by_row = torchao.Float8DynamicActivationFloat8WeightConfig(granularity=torchao.PerRow())
    torchao.quantize_(denoiser, by_row, filter_fn=_is_worth_float8)
    return ""


def _is_worth_float8(module: Any, name: str) -> bool:
    """Return whether to quantise: large matrices, in multiples of 16 for the kernels; no time and size embeddings."""
    import torch

    if not isinstance(module, torch.nn.Linear) or "embed" in name:
        return False
    sides = (module.in_features, module.out_features)
    return min(sides) >= 512 and all(side % 16 == 0 for side in sides)


def _compile(pipe: Any, denoiser: Any, config: Config, scope: str) -> str:
    """Compile the denoiser or its repeated blocks, and the decoder. Compilation happens at the first call."""
    import torch._inductor

    by_tier = "max-autotune-no-cudagraphs" if scope == "full" and config.tier != "exact" else "default"
    mode = config.compile_mode or by_tier
    options = dict(torch._inductor.list_mode_options(mode))
    if config.tier == "exact":
        options["deterministic"] = True
    # For U-Nets diffusers lists only attention, but a quarter of SDXL's work is convolutions, which can be one kernel
    # with their normalisation and activation.
    repeated = {*(getattr(denoiser, "_repeated_blocks", None) or ()), "ResnetBlock2D"}
    regions = [module for module in denoiser.modules() if type(module).__name__ in repeated]
    for region in regions if scope == "regional" and regions else [denoiser]:
        # A step cache decides by the first block's output, which a full graph cannot contain.
        fullgraph = region is not denoiser and config.tier != "draft"
        region.compile(fullgraph=fullgraph, dynamic=False, options=options)
    # Decoding runs beside the next batch on a thread of its own, where recorded CUDA graphs cannot be replayed.
    still = {key: value for key, value in options.items() if key != "triton.cudagraphs"}
    pipe.vae.decoder.compile(dynamic=False, options=still)
    return f"compile:{scope}:{mode}"
