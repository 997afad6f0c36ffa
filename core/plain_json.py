"""The strings within plain JSON, at any depth, without the names of members."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def strings(value: Any) -> Iterator[str]:
    """Yield every string in the value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings(inner)


def with_strings(value: Any, change: Callable[[str], Any]) -> Any:
    """Return a copy of the value with `change` applied to each string."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: with_strings(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [with_strings(inner, change) for inner in value]
    return value
