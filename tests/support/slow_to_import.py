"""A module whose import takes longer than the time limit of a task, as on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from core.parsing import Message

time.sleep(1.5)


def task(arguments: dict[str, Any], parts: list[bytes]) -> Iterator[Message]:
    yield Message("done")
