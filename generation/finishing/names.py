"""Names of files that people see: a pattern with fields, filled with parts that are safe in every file system and shop."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

SUFFIXES = {"png": "png", "jpeg": "jpg", "webp": "webp"}
#: Longest name without suffix, in bytes of UTF-8: file systems take 255 together with suffix and sidecar.
MAX_BYTES = 200

_FIELD = re.compile(r"\{([^{}]*)\}")
_UNSAFE = re.compile(r"[^\w.+-]+")
_SEPARATORS = re.compile(r"[_-]{2,}")


def file_name(pattern: str, values: Mapping[str, object], *, image_format: str) -> str:
    """`{brand}_{sku}` and values to "clay-house_MUG-001.jpg".

    Each field may have a default, `{variation:studio}`. A field without a value and its separator fall away. ValueError
    for a field that `values` does not know, or when nothing is left.
    """
    unknown: list[str] = []

    def fill(match: re.Match[str]) -> str:
        name, _, default = match.group(1).partition(":")
        if name not in values:
            unknown.append(name)
            return ""
        return part(str(values[name] or default))

    stem = _FIELD.sub(fill, pattern)
    if unknown:
        raise ValueError(f"The name pattern {pattern!r} asks for {', '.join(unknown)}; known are {', '.join(values)}.")
    stem = _UNSAFE.sub("-", stem)
    stem = _SEPARATORS.sub(lambda run: "_" if "_" in run.group() else "-", stem).strip("._- ")
    while len(stem.encode()) > MAX_BYTES:
        stem = stem[:-1]
    if not stem:
        raise ValueError(f"The name pattern {pattern!r} gives an empty name here.")
    return f"{stem}.{SUFFIXES[image_format]}"


def part(text: str) -> str:
    """One value as a part of a file name: letters, digits, dot, plus and hyphen; "Café crème" gives "Café-crème"."""
    normal = unicodedata.normalize("NFC", text).strip()
    return _UNSAFE.sub("-", normal).strip("-.")


def variation(axis_values: Mapping[str, object]) -> str:
    """The axis values in their order, joined: {"backdrop": "clay", "light": "left"} gives "clay-left"."""
    return "-".join(part(str(value)) for value in axis_values.values() if str(value).strip())
