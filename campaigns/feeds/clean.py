"""A fast reader for rows without anything unusual, as most rows of a large feed are: same result, a third of the time.

A row that could be wrong, or that needs more than stripping its cells, is left to the readers in cells.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from campaigns.feeds import cells, vocabulary
from campaigns.feeds.base import Cells, FeedRow

Read = Callable[[int, Cells], FeedRow | None]

# Anything that some reader refuses or changes: control characters, lone surrogates, tags, entities, and a line that
# begins as a formula, with an apostrophe or as a spreadsheet's error.
_UNUSUAL_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]|<[/!?A-Za-z]|&[#A-Za-z]|(?:^\\s*|\n[^\\S\n]*)[=+\\-@'#]"
)
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,119}")
_FILE = re.compile(r"[\w-](?:[\w -]|\.(?!\.)|/(?![./]))*(?<! )")
_ADDRESS = re.compile(r"https?://[^\s/?#|,;\"'][^\s|,;\"']*")
_SEVERAL = re.compile(r"[;|\n]")


def _is_file(source: str) -> bool:
    """Return True for a plain file name whose first folder is neither like a host nor like a scheme without colon."""
    folder, slash, _ = source.partition("/")
    is_odd = slash and ("." in folder or folder.lower() in ("http", "https"))
    return _FILE.fullmatch(source) is not None and "." in source and not is_odd


def fast_reader(
    *, kind: str, width: int, key: int, name: int, alt: int | None, attributes: Mapping[int, str],
    photos: Sequence[tuple[int, str]],
) -> Read:  # fmt: skip
    """Return a function that reads a row with a key and a name, or returns None if the slow reader must read it."""
    prices = [(index, name) for index, name in attributes.items() if name in vocabulary.PRICES]
    texts = [(index, name) for index, name in attributes.items() if name not in vocabulary.PRICES]

    def read(number: int, row: Cells) -> FeedRow | None:
        if len(row) != width:
            return None
        identity, title = row[key], row[name].strip()
        may_be_scientific = "e" in identity or "E" in identity
        if type(identity) is not str or may_be_scientific or not _KEY.fullmatch(identity):
            return None
        if not 0 < len(title) <= cells.MAX_NAME:
            return None
        whole = "\n".join(row)
        if len(whole) > cells.MAX_CELL or _UNUSUAL_CHARACTERS.search(whole):
            return None
        values = {name: value for index, name in texts if (value := row[index].strip())}
        for index, name_of_price in prices:
            if cell := row[index]:
                try:
                    values[name_of_price], currency = cells.price(cell)
                except cells.Unreadable:
                    return None
                if currency:
                    values.setdefault("currency", currency)
        images = _images(row)
        return None if images is None else FeedRow(number, identity, kind, title, "", values, {}, images)

    def _images(row: Cells) -> list[dict[str, Any]] | None:
        alts = row[alt].strip() if alt is not None else ""
        if len(alts) > cells.MAX_ALT or (len(photos) > 1 and _SEVERAL.search(alts)):
            return None
        shown: list[dict[str, Any]] = []
        for index, role in photos:
            source, place = row[index], len(shown) + 1
            if not source or any(photo["source"] == source for photo in shown):
                continue
            if len(source) > cells.MAX_SOURCE or not (_is_file(source) or _ADDRESS.fullmatch(source)):
                return None
            shown.append({
                "source": source, "role": role if place == 1 or role != "front" else "angle", "position": place,
                "alt": alts if place == 1 else "",
            })  # fmt: skip
        return shown

    return read
