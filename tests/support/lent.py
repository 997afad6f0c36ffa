"""The context that tests give to an engine instead of a worker."""

from __future__ import annotations

from collections.abc import Sequence

from generation.engines.base import ImageRef


class Lent:
    """An engine context with files by key."""

    def __init__(self, **files: bytes) -> None:
        self.files = files

    def load(self, ref: ImageRef) -> bytes:
        return self.files[ref.key]

    def progress(self, task_ids: Sequence[int], step: int, steps: int) -> None:
        return

    def cancelled(self) -> frozenset[int]:
        return frozenset()
