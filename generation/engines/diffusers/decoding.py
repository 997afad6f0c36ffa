"""Decode latents to pixels while the next batch runs: the autoencoder has its own thread and CUDA stream.

A batch's last step leaves a few hundred kilobytes of latents. Decoding them and copying megabytes of pixels from the
GPU does not delay the next batch: `Decoder.submit` returns at once, and the code that finishes an image waits.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

from generation.engines.base import EngineError, ErrorKind, Pixels


def decode(pipe: Any, latents: Any, width: int, height: int) -> Any:
    """Decode latents as a pipeline does after the last step, to a uint8 tensor on the GPU, batch × height × width × 3.

    latents: as `output_type="latent"` returns them; FLUX packs them into tokens.
    """
    import torch

    if hasattr(pipe, "_unpack_latents"):
        latents = pipe._unpack_latents(latents, height, width, pipe.vae_scale_factor)
    config = pipe.vae.config
    mean, spread = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and spread is not None:
        mean, spread = (torch.tensor(values).view(1, -1, 1, 1).to(latents) for values in (mean, spread))
        latents = latents * spread / config.scaling_factor + mean
    else:
        latents = latents / config.scaling_factor
    if getattr(config, "shift_factor", None):
        latents = latents + config.shift_factor
    return as_bytes(pipe.vae.decode(latents.to(pipe.vae.dtype), return_dict=False)[0] / 2 + 0.5)


def as_bytes(images: Any) -> Any:
    """Convert floats 0–1, batch × 3 × height × width, to uint8, batch × height × width × 3. Rounding is in 32 bits,
    because above 128 a bfloat16 holds whole numbers only."""
    import torch

    return (images.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class Decoder:
    """A decoder of one batch after the other on its own thread; on CUDA also on its own stream."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._thread = ThreadPoolExecutor(1, "decode")
        self._stream: Any = None

    def submit(self, work: Callable[[], Any], held: AbstractContextManager[None]) -> Future[Pixels]:
        """Run `work()`, which returns a uint8 tensor on the GPU, after all GPU work of the calling thread is done.

        held: a context that is entered at once and left when the pixels are in main memory. The future raises
        EngineError of kind MEMORY if they did not fit.
        """
        import torch

        ready = torch.cuda.Event() if self._device.startswith("cuda") else None
        if ready is not None:
            ready.record(torch.cuda.current_stream(self._device))
        held.__enter__()
        try:
            return self._thread.submit(self._run, work, ready, held)
        except BaseException:
            held.__exit__(None, None, None)
            raise

    def close(self) -> None:
        self._thread.shutdown(wait=True)

    def _run(self, work: Callable[[], Any], ready: Any, held: AbstractContextManager[None]) -> Pixels:
        import torch

        try:
            if ready is not None:
                return self._decode_on_own_stream(work, ready)
            return work().numpy()
        except torch.OutOfMemoryError as error:
            text = f"Decoding the batch did not fit into {self._device}'s memory; give the endpoint a smaller batch."
            raise EngineError(ErrorKind.MEMORY, text, log=str(error)) from error
        finally:
            held.__exit__(None, None, None)

    def _decode_on_own_stream(self, work: Callable[[], Any], ready: Any) -> Pixels:
        """Decode on the second stream into page-locked memory; only this thread waits for the copy."""
        import torch

        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(ready)
            tensor = work()
            pixels = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            pixels.copy_(tensor, non_blocking=True)
            copied = torch.cuda.Event(blocking=True)
            copied.record(self._stream)
        copied.synchronize()
        return pixels.numpy()
