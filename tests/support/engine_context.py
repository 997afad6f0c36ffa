"""The context that tests give to an engine instead of a worker."""

from __future__ import annotations

from collections.abc import Sequence

from generation.engines.base import ImageRef


class MemoryContext:
    """An engine context with files by key. `loaded`: the keys of the files that the engine loaded."""

    def __init__(self, **files: bytes) -> None:
        self.files = files
        self.loaded: list[str] = []

    def load(self, ref: ImageRef) -> bytes:
        self.loaded.append(ref.key)
        return self.files[ref.key]

    def progress(self, task_ids: Sequence[int], step: int, steps: int) -> None:
        return

    def cancelled(self) -> frozenset[int]:
        return frozenset()
