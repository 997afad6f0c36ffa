"""Placeholders of HTTP templates: `{file.name}` in a text, found, checked, and filled in as their place needs it.

A double brace stands for a brace. Each place has its own way to write a value, so that no value can leave its place.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote

from review.delivery.base import DeliveryError, DeliveryFile, Package

FILE: Final = "file"
"""The bytes of the file themselves: a whole part of a form, or the whole body."""
SECRETS: Final = ("secret", "secret.basic")
OF_ASSET: Final = ("asset", "sku", "brand", "campaign", "title", "alt_text", "caption")
OF_UPLOAD: Final = ("file.name", "file.sha256")
OF_FILE: Final = (
    "file.base64", "file.bytes", "file.height", "file.md5", "file.media_type", "file.spec", "file.url", "file.width",
    "event_id",
)  # fmt: skip
OF_ANSWER: Final = ("id", "url")
SUBJECT: Final = "subject."

_PIECES = re.compile(r"(\{\{|\}\}|\{[^{}]*\}|[{}])")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_IN_HEADER = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in '"\\%')


@dataclass(frozen=True)
class Text:
    """A text with placeholders."""

    source: str

    @cached_property
    def pieces(self) -> list[tuple[bool, str]]:
        """Return (whether it is a placeholder, its name or the words) in order. Raises ValueError for a lone brace."""
        pieces = []
        for piece in _PIECES.split(self.source):
            if piece in ("{{", "}}"):
                pieces.append((False, piece[0]))
            elif piece in ("{", "}"):
                raise ValueError(f"There is a lone “{piece}”. Write it twice if it is no placeholder.")
            elif piece.startswith("{"):
                pieces.append((True, piece[1:-1].strip()))
            elif piece:
                pieces.append((False, piece))
        return pieces

    @property
    def names(self) -> list[str]:
        return [name for is_placeholder, name in self.pieces if is_placeholder]

    @property
    def is_file(self) -> bool:
        """Return whether the text is the file itself."""
        return self.pieces == [(True, FILE)]

    def check(self, allowed: tuple[str, ...]) -> None:
        """Raise ValueError for a placeholder that cannot stand here."""
        for name in self.names:
            if name == FILE:
                raise ValueError("{file} stands alone, as “raw” or as the value of one field under “multipart”.")
            if name not in allowed and not (name.startswith(SUBJECT) and len(name) > len(SUBJECT)):
                near = get_close_matches(name, allowed, n=1)
                hint = (
                    f"Did you mean {{{near[0]}}}?" if near else f"Here are {_listed(allowed)}, and {{subject.column}}."
                )
                raise ValueError(f"There is no placeholder {{{name}}} here. {hint}")

    def fill(self, values: Mapping[str, Any], write: Callable[[str], str] = str) -> str:
        """Return the text with the values, each written by `write`; a missing value is empty."""
        return "".join(write(_plain(values.get(name))) if is_one else name for is_one, name in self.pieces)

    def fill_json(self, values: Mapping[str, Any]) -> Any:
        """Return the text for JSON: a number stays a number if its placeholder is the whole text."""
        if len(self.pieces) == 1 and self.pieces[0][0]:
            value = values.get(self.pieces[0][1])
            return value if isinstance(value, int | float) else _plain(value)
        return self.fill(values)

    def fill_path(self, values: Mapping[str, Any], where: str) -> str:
        """Return the text as an address. Raises DeliveryError if a value is empty or would lead elsewhere."""
        for name in self.names:
            if not _plain(values.get(name)):
                message = f"{where}: {{{name}}} has no value for {values.get('sku') or 'this file'}."
                raise DeliveryError(message, is_final=True)
        address = self.fill(values, lambda value: quote(value, safe=""))
        if any(segment in (".", "..") for segment in address.split("/")):
            raise DeliveryError(f"{where}: a value is “.” or “..”, which would lead elsewhere.", is_final=True)
        return address

    def fill_header(self, values: Mapping[str, Any]) -> str:
        """Return the text as a header: without line breaks, quotes and all but ASCII are percent-encoded.

        The secret is written as it is; it is checked when it is entered.
        """
        plain = {name: _plain(values.get(name)) for name in self.names}
        encoded = {
            name: value if name in SECRETS else quote(_CONTROLS.sub(" ", value), safe=_IN_HEADER)
            for name, value in plain.items()
        }
        return self.fill(encoded)


def values_of_secret(secret: str) -> dict[str, str]:
    """Return the placeholders of a secret; secret.basic: the value of a Basic login for "user:password"."""
    return {"secret": secret, "secret.basic": base64.b64encode(secret.encode()).decode()} if secret else {}


def values_of_asset(package: Package) -> dict[str, Any]:
    """Return the placeholders of the asset and of its product or article."""
    subject = {f"{SUBJECT}{name}": value for name, value in package.subject.items()}
    return subject | {
        "asset": package.asset_id, "sku": package.sku, "brand": package.brand, "campaign": package.campaign,
        "title": package.title, "alt_text": package.alt_text, "caption": package.caption,
        "event_id": package.event_id,
    }  # fmt: skip


def values_of_file(file: DeliveryFile) -> dict[str, Any]:
    """Return the placeholders of a file whose bytes need not be read."""
    return {
        "file.bytes": file.bytes, "file.height": file.height, "file.media_type": file.media_type,
        "file.spec": file.spec, "file.url": file.url, "file.width": file.width,
    }  # fmt: skip


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names))
