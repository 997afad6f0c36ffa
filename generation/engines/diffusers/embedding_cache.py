"""A cache of encoded texts, bounded in bytes: the last used are on the GPU, older ones in main memory.

A campaign draws thousands of images from a few prompts and one negative prompt. Each text is cached by itself, so that
a new prompt does not encode the negative prompt again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    Encoded = tuple[torch.Tensor | None, ...]

DEVICE_BYTES = 256 * 1024 * 1024
"""On the GPU: 800 prompts of SDXL (77 × 2048 in 16 bits), 60 of FLUX.1 (512 × 4096)."""
HOST_BYTES = 1024 * 1024 * 1024


class EmbeddingCache:
    """Encoded texts by key. For one thread."""

    def __init__(self, *, device_bytes: int = DEVICE_BYTES, host_bytes: int = HOST_BYTES) -> None:
        self.device_bytes = device_bytes
        self.host_bytes = host_bytes
        self._near: OrderedDict[Hashable, Encoded] = OrderedDict()
        self._far: OrderedDict[Hashable, Encoded] = OrderedDict()

    def get(self, key: Hashable, device: str, encode: Callable[[], Encoded]) -> Encoded:
        """Return the tensors of `key` on `device`, from `encode` if they are not cached; None stays None."""
        encoded = self._near.pop(key, None)
        if encoded is None and key in self._far:
            encoded = tuple(None if tensor is None else tensor.to(device) for tensor in self._far.pop(key))
        if encoded is None:
            encoded = encode()
        self._near[key] = encoded
        self._evict()
        return encoded

    def move_to_host(self) -> None:
        """Move everything to main memory, because the GPU is needed for something else."""
        while self._near:
            self._move_oldest()
        self._evict()

    def sizes(self) -> tuple[int, int]:
        """Return (bytes on the GPU, bytes in main memory)."""
        return _bytes(self._near), _bytes(self._far)

    def _evict(self) -> None:
        """Evict down to the limits. The last requested text stays on the GPU: it is about to be used."""
        while len(self._near) > 1 and _bytes(self._near) > self.device_bytes:
            self._move_oldest()
        while self._far and _bytes(self._far) > self.host_bytes:
            self._far.popitem(last=False)

    def _move_oldest(self) -> None:
        key, encoded = self._near.popitem(last=False)
        self._far[key] = tuple(None if tensor is None else tensor.to("cpu") for tensor in encoded)


def _bytes(kept: OrderedDict[Hashable, Encoded]) -> int:
    return sum(tensor.nbytes for encoded in kept.values() for tensor in encoded if tensor is not None)
