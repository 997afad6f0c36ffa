"""Items of nested data (JSON, XML) as a flat table: one heading per name that any item has, one row of text per item.

Objects within an item become dotted headings, lists become lines of one cell, and each object of a list `variants`
becomes a row of its own that names its item in a column `parent_sku`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from campaigns.feeds import cells, shop_items, vocabulary
from campaigns.feeds.base import FeedRefused, Header, Issue, Number, Record, normalised, refused

Item = tuple[int, dict[str, str]]
Texts = dict[str, list[str]]
"""Heading -> the texts of its cell. They are joined at the end: appending to a string each time takes square time."""
Items = Callable[[], Iterator["Item | Issue"]]
"""Begins at the first item each time it is called; gives (number from 1, heading -> text) and what is wrong."""

MAX_HEADINGS = 1000
MAX_DEPTH = 12
MAX_VALUES = 20_000
"""Values within one item, empty lists and objects among them: a product has some hundreds."""
VARIANTS = ("variants", "children")
PARENT = "parent_sku"
_SEPARATOR = "\n"


class TooMuch(ValueError):
    """An item is nested deeper, or holds more values, than is accepted; the message says which."""


def table(items: Items, *, place: str, what: str, limit: int | None = None) -> tuple[Header, Iterator[Record | Issue]]:
    """The header and the records of all items. `place` names a cell (base.Header.place), `what` the format.

    `limit`: how many items to look at for headings, all without it. Raises FeedRefused when there is none.
    """
    seen: dict[str, str] = {}
    for item in islice(items(), limit):
        if isinstance(item, Issue):
            continue
        for heading in item[1]:
            if heading not in seen:
                seen[heading] = normalised(heading)
        if len(seen) > MAX_HEADINGS:
            raise refused("unreadable", f"The {what} has more than {MAX_HEADINGS:,} names in its items; expected less.")
    if not seen:
        raise _nothing(items, what)
    spelled: dict[str, int] = {}
    for name in seen.values():
        spelled.setdefault(name, len(spelled))
    columns = {heading: spelled[name] for heading, name in seen.items()}
    headings = [next(heading for heading, name in seen.items() if name == wanted) for wanted in spelled]
    header = cells.headings((0, headings))
    return Header(0, header.cells, header.names, place), _records(items, columns, len(headings))


def _records(items: Items, columns: Mapping[str, int], width: int) -> Iterator[Record | Issue]:
    for item in items():
        if isinstance(item, Issue):
            yield item
            continue
        row = [""] * width
        for heading, text in item[1].items():
            # Names that only a look at the whole file would show are beyond what a peek reads.
            if (index := columns.get(heading)) is not None:
                row[index] = text
        yield item[0], row


def _nothing(items: Items, what: str) -> FeedRefused:
    """Say what is wrong with the first items, or that there are none."""
    wrong = [item for item in islice(items(), 100) if isinstance(item, Issue)]
    if wrong:
        return FeedRefused(*wrong)
    return refused("no_rows", f"There are no items in this {what}; expected one per product.")


def expanded(number: int, value: Mapping[str, Any]) -> Iterator[Item]:
    """One item, and one more for each of its variants."""
    value = shop_items.with_key(value, VARIANTS)
    name = next((name for name in VARIANTS if _is_list_of_objects(value.get(name))), "")
    own = flat({key: part for key, part in value.items() if key != name})
    yield number, own
    if name:
        by_name = {normalised(heading): text for heading, text in own.items()}
        parent = next((by_name[key] for key in vocabulary.KEY if by_name.get(key)), "")
        for variant in value[name]:
            yield number, flat(variant) | {PARENT: parent}


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def flat(value: Mapping[str, Any]) -> dict[str, str]:
    """Heading -> text of one object. Raises TooMuch for one that is nested too deep or holds too many values."""
    found: Texts = {}
    _Walk().put_object(found, "", value, 0)
    return joined(found)


class _Walk:
    """Puts the values of one object under their headings, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def put_object(self, found: Texts, prefix: str, value: Mapping[str, Any], depth: int) -> None:
        for key, part in value.items():
            self.put(found, f"{prefix}{key}", part, depth)

    def put(self, found: Texts, heading: str, value: Any, depth: int) -> None:
        self.count += 1
        if depth > MAX_DEPTH:
            raise TooMuch(f"objects within objects more than {MAX_DEPTH} deep; expected fewer levels")
        if self.count > MAX_VALUES:
            raise TooMuch(f"more than {MAX_VALUES:,} values in one item; expected those of one product")
        if isinstance(value, dict):
            self.put_object(found, f"{heading}.", value, depth + 1)
        elif isinstance(value, list):
            for part in value:
                inner: Texts = {}
                self.put(inner, heading, part, depth + 1)
                for name, text in joined(inner).items():
                    add(found, name, text)
        else:
            found[heading] = [_text(value)]


def add(found: Texts, heading: str, text: str) -> None:
    """Put a text under its heading, below those that are there already."""
    texts = found.setdefault(heading, [])
    if texts == [""]:
        texts.clear()
    texts.append(text)


def joined(found: Texts) -> dict[str, str]:
    """Heading -> the text of the cell: one line per text."""
    return {heading: texts[0] if len(texts) == 1 else _SEPARATOR.join(texts) for heading, texts in found.items()}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else Number(value)
