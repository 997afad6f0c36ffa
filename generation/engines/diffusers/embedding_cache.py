"""Encoded texts, kept within bounds in bytes: the latest used on the card, older ones in main memory.

A campaign draws thousands of pictures from a few prompts and one negative text. Each text is kept by itself, so that a
new prompt does not have the negative one encoded again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    Encoded = tuple[torch.Tensor | None, ...]

DEVICE_BYTES = 256 * 1024 * 1024
"""On the card: 800 prompts of SDXL (77 × 2048 in 16 bits), 60 of FLUX.1 (512 × 4096)."""
HOST_BYTES = 1024 * 1024 * 1024


class EmbeddingCache:
    """Encoded texts by key. For one thread."""

    def __init__(self, *, device_bytes: int = DEVICE_BYTES, host_bytes: int = HOST_BYTES) -> None:
        self.device_bytes = device_bytes
        self.host_bytes = host_bytes
        self._near: OrderedDict[Hashable, Encoded] = OrderedDict()
        self._far: OrderedDict[Hashable, Encoded] = OrderedDict()

    def get(self, key: Hashable, device: str, encode: Callable[[], Encoded]) -> Encoded:
        """The tensors of `key` on `device`, from `encode` where they are not kept; None stays None."""
        found = self._near.pop(key, None)
        if found is None and key in self._far:
            found = tuple(None if one is None else one.to(device) for one in self._far.pop(key))
        if found is None:
            found = encode()
        self._near[key] = found
        self._bound()
        return found

    def leave_card(self) -> None:
        """Keep everything in main memory: the card is wanted for something else."""
        while self._near:
            self._move_oldest()
        self._bound()

    def sizes(self) -> tuple[int, int]:
        """(bytes on the card, bytes in main memory)."""
        return _bytes(self._near), _bytes(self._far)

    def _bound(self) -> None:
        """The text that was asked for last stays on the card, whatever its size: it is about to be used."""
        while len(self._near) > 1 and _bytes(self._near) > self.device_bytes:
            self._move_oldest()
        while self._far and _bytes(self._far) > self.host_bytes:
            self._far.popitem(last=False)

    def _move_oldest(self) -> None:
        key, encoded = self._near.popitem(last=False)
        self._far[key] = tuple(None if one is None else one.to("cpu") for one in encoded)


def _bytes(kept: OrderedDict[Hashable, Encoded]) -> int:
    return sum(one.nbytes for encoded in kept.values() for one in encoded if one is not None)
