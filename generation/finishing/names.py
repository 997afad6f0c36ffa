"""File names for people: patterns such as "{brand}_{sku}_{date}", made safe for every system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from string import Formatter

from campaigns.name_patterns import lint

EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp", "avif": "avif"}
MAX_LENGTH = 120
"""Characters of each part between slashes, so that name, extension and a sidecar's suffix fit into 255 bytes."""
MIN_VALUE = 24
"""Characters that a value keeps when a name is too long."""
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
# Matches what `_part` would change, so that most names can skip it.
_UNTIDY = re.compile(
    r"[^A-Za-z0-9._/-]|[_-]{2}|\.\.|//|^/|/$|(?:^|/)[._-]|[._-](?:/|$)|(?:^|/)(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|/|$)",
    re.IGNORECASE,
)
_LETTERS = str.maketrans({
    "ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "œ": "oe", "Œ": "OE", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D",
    "þ": "th", "Þ": "Th", "ð": "d", "Ð": "D", "×": "x",
})  # fmt: skip


def name_for(pattern: str, values: Mapping[str, object], *, image_format: str = "") -> str:
    """Return the file name that `pattern` gives for `values`, with the format's extension if one is given.

    Slashes of the pattern make folders; in values they become hyphens, like all characters that some system refuses.
    A placeholder without a value leaves no doubled separators behind. Raises ValueError with `lint`'s sentences.
    """
    return make_namer(pattern, image_format=image_format)(values)


def make_namer(
    pattern: str, *, image_format: str = "", fixed: Mapping[str, object] | None = None
) -> Callable[[Mapping[str, object]], str]:
    """Return a function like `name_for` for many names of one pattern, which takes the values that are not `fixed`."""
    problems = lint(pattern)
    if problems:
        raise ValueError(" ".join(problems))
    pieces = [(literal, field or "") for literal, field, _, _ in Formatter().parse(pattern)]
    fixed_values = {"": ""} | {field: _safe(str(value or "")) for field, value in (fixed or {}).items()}
    varying = {field for _, field in pieces} - fixed_values.keys()
    extension = EXTENSIONS.get(image_format, image_format)
    ending = f".{extension}" if extension else ""

    def name(values: Mapping[str, object]) -> str:
        safe = fixed_values | {field: _safe(str(values.get(field) or "")) for field in varying}
        text = _joined(pieces, safe)
        if len(text) > MAX_LENGTH or not text or _UNTIDY.search(text):
            if any(len(_tidy(part)) > MAX_LENGTH for part in text.split("/")):
                text = _fitting(pieces, safe)
            text = "/".join(filter(None, map(_part, text.split("/")))) or "image"
        return text + ending

    return name


def _joined(pieces: list[tuple[str, str]], values: Mapping[str, str]) -> str:
    return "".join([literal + values[field] for literal, field in pieces])


def _fitting(pieces: list[tuple[str, str]], values: Mapping[str, str]) -> str:
    """Return the name with its longest values shortened until each part fits; the other values stay as they are."""
    chosen = dict(values)
    for field in sorted({field for _, field in pieces if field}, key=lambda field: (-len(values[field]), field)):
        over = max(map(len, _joined(pieces, chosen).split("/"))) - MAX_LENGTH
        if over > 0:
            chosen[field] = _shortened(chosen[field], max(MIN_VALUE, len(chosen[field]) - over))
    return _joined(pieces, chosen)


def _shortened(text: str, length: int) -> str:
    """Return the text, or the beginning of a text that is too long with eight digits of its hash, to stay unique."""
    if len(text) <= length:
        return text
    return f"{text[: length - 9].rstrip('-_.')}-{sha256(text.encode()).hexdigest()[:8]}"


def fields_of(pattern: str) -> frozenset[str]:
    """Return the placeholders of a pattern that passes `lint`."""
    return frozenset(field for _, field, _, _ in Formatter().parse(pattern) if field is not None)


@lru_cache(maxsize=10_000)
def _safe(value: str) -> str:
    """Return `value` in ASCII letters, digits, dots, hyphens and underscores: "Ø 12/Tasse blå" -> "O-12-Tasse-bla". If
    letters of another script are lost, six digits of the value's hash keep different values different."""
    plain = _plain(value)
    safe = _UNSAFE.sub("-", plain).strip("-.")
    is_lossy = sum(map(str.isalnum, plain)) < sum(map(str.isalnum, unicodedata.normalize("NFKD", value)))
    return "-".join(filter(None, [safe, sha256(value.encode()).hexdigest()[:6]])) if is_lossy else safe


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKD", text.translate(_LETTERS)).encode("ascii", "ignore").decode()


def _part(text: str) -> str:
    """Return a safe folder or file name: no repeated separators, nothing that Windows or a shell cannot handle."""
    text = _shortened(_tidy(text), MAX_LENGTH)
    return f"_{text}" if _RESERVED.match(text) else text


def _tidy(text: str) -> str:
    text = _UNSAFE.sub("-", _plain(text))
    return re.sub(r"([_-])[_-]+", r"\1", re.sub(r"\.{2,}", ".", text)).strip("-_.")
