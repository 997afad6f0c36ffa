"""Items of nested data (JSON, XML) as a flat table: one heading per name that any item has, one row of text per item.

Objects within an item become dotted headings, lists become lines of one cell, and each object of a list `variants`
becomes a row of its own that names its item in a column `parent_sku`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from campaigns.feeds import cells, shop_items, vocabulary
from campaigns.feeds.base import FeedRefused, Header, Issue, NumberText, Record, file_refusal, normalise_heading

Item = tuple[int, dict[str, str]]
Texts = dict[str, list[str]]
"""Heading -> the texts of its cell. They are joined at the end, because repeated appending takes quadratic time."""
Items = Callable[[], Iterator["Item | Issue"]]
"""Starts at the first item on each call; yields (number from 1, heading -> text) and issues."""

MAX_HEADINGS = 1000
MAX_DEPTH = 12
MAX_VALUES = 20_000  # values within one item, counting empty lists and objects. A product has a few hundred.
VARIANTS = ("variants", "children")
PARENT = "parent_sku"


class ItemTooLarge(ValueError):
    """An item is nested deeper, or holds more values, than is accepted; the message says which."""


def table(items: Items, *, place: str, what: str, limit: int | None = None) -> tuple[Header, Iterator[Record | Issue]]:
    """Return the header and the records of all items.

    place: how cells are named (base.Header.place). what: the format. limit: how many items are read for headings; all
    if it is None. Raises FeedRefused when there is no item.
    """
    seen: dict[str, str] = {}
    for item in islice(items(), limit):
        if isinstance(item, Issue):
            continue
        for heading in item[1]:
            if heading not in seen:
                seen[heading] = normalise_heading(heading)
        if len(seen) > MAX_HEADINGS:
            raise file_refusal(f"The {what} has more than {MAX_HEADINGS:,} names in its items; expected less.")
    if not seen:
        wrong = [item for item in islice(items(), 100) if isinstance(item, Issue)]
        if wrong:
            raise FeedRefused(*wrong)
        raise file_refusal(f"There are no items in this {what}; expected one per product.", cause="no_rows")
    spelled: dict[str, str] = {}
    for heading, name in seen.items():
        spelled.setdefault(name, heading)
    index_of = {name: index for index, name in enumerate(spelled)}
    columns = {heading: index_of[name] for heading, name in seen.items()}
    header = cells.read_header((0, list(spelled.values())))
    return replace(header, place=place), _records(items, columns, len(spelled))


def _records(items: Items, columns: Mapping[str, int], width: int) -> Iterator[Record | Issue]:
    for item in items():
        if isinstance(item, Issue):
            yield item
            continue
        row = [""] * width
        for heading, text in item[1].items():
            # A peek reads only the first items, so later items may have unknown headings.
            if (index := columns.get(heading)) is not None:
                row[index] = text
        yield item[0], row


def expand_variants(number: int, value: Mapping[str, Any]) -> Iterator[Item]:
    """Yield the item, and one more item for each of its variants."""
    variants: list[Mapping[str, Any]] = []
    for name in VARIANTS:
        part = value.get(name)
        if isinstance(part, list) and part and all(isinstance(element, dict) for element in part):
            variants = part
            value = shop_items.with_key({key: part for key, part in value.items() if key != name}, variants)
            break
    texts = flatten(value)
    yield number, texts
    by_name = {normalise_heading(heading): text for heading, text in texts.items()} if variants else {}
    parent = next((by_name[key] for key in vocabulary.KEY if by_name.get(key)), "")
    for variant in variants:
        yield number, flatten(variant) | {PARENT: parent}


def flatten(value: Mapping[str, Any]) -> dict[str, str]:
    """Return heading -> text of one object. Raises ItemTooLarge if it is nested too deep or holds too many values."""
    texts: Texts = {}
    _Flattener().put_object(texts, "", value, 0)
    return join_texts(texts)


class _Flattener:
    """Puts the values of one object under their headings, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def put_object(self, into: Texts, prefix: str, value: Mapping[str, Any], depth: int) -> None:
        for key, part in value.items():
            self.put(into, f"{prefix}{key}", part, depth)

    def put(self, into: Texts, heading: str, value: Any, depth: int) -> None:
        self.count += 1
        if depth > MAX_DEPTH:
            raise ItemTooLarge(f"objects within objects more than {MAX_DEPTH} deep; expected fewer levels")
        if self.count > MAX_VALUES:
            raise ItemTooLarge(f"more than {MAX_VALUES:,} values in one item; expected those of one product")
        if isinstance(value, dict):
            self.put_object(into, f"{heading}.", value, depth + 1)
        elif isinstance(value, list):
            for part in value:
                inner: Texts = {}
                self.put(inner, heading, part, depth + 1)
                for name, text in join_texts(inner).items():
                    add_text(into, name, text)
        else:
            into[heading] = [_text(value)]


def add_text(into: Texts, heading: str, text: str) -> None:
    """Add a text under its heading, after the existing ones."""
    texts = into.setdefault(heading, [])
    if texts == [""]:
        texts.clear()
    texts.append(text)


def join_texts(texts: Texts) -> dict[str, str]:
    """Return heading -> text of the cell, with one line per text."""
    # Joining would make a plain text of a number.
    return {heading: lines[0] if len(lines) == 1 else "\n".join(lines) for heading, lines in texts.items()}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else NumberText(value)
