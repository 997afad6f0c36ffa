"""Reads JSON (an array of objects, alone or anywhere within an object) and JSON lines, one item at a time.

Broken JSON is reported by line and column. In JSON lines, each broken line is one mistake; in JSON, nothing after the
mistake can be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO, Any

from campaigns.feeds import csv_file, items, sniffing
from campaigns.feeds.base import FeedRefused, Header, Issue, NumberText, Record, file_refusal
from campaigns.feeds.items import Item

MAX_ITEM = 1 << 20  # characters of one item. Anything longer is not a product and must not fill the memory.
MAX_VALUES = 100_000  # of one item with its variants; counted before decoding, as values take more memory than text
_CHUNK = 1 << 16
_END_MARGIN = 12  # an error within this many characters of the end of the buffer may only mean that more must be read
_SPACES = " \t\r\n"
_TEXT = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_TOO_MANY = f"one value that holds more than {MAX_VALUES:,} others"
_KINDS = {list: "a list", NumberText: "a number", bool: "true or false", type(None): "null"}
_DECODER = json.JSONDecoder(parse_float=NumberText, parse_int=NumberText, parse_constant=str)
_EXPECTED = 'expected an array of objects, such as [{"sku": "007", "name": "Mug"}], or {"products": […]}'


def read(
    stream: IO[bytes], *, is_lines: bool, limit: int | None = None, encoding: str = ""
) -> tuple[dict[str, Any], Header, Iterator[Record | Issue]]:
    """Return what was detected, the header, and the records. `limit`: how many items to look at for headings."""
    how = sniffing.detect_encoding(stream, encoding)
    converter = items.ShopItemConverter()

    def begin() -> Iterator[Item | Issue]:
        if is_lines:
            return _lines(stream, how, converter)
        return _ArrayReader(stream, how, of_texts=of_texts).items(converter)

    path: str | None = ""
    of_texts = False
    if is_lines:
        place, what = "line {row}, {heading}", "JSON-lines file"
    else:
        path = _ArrayReader(stream, how).find()
        if path is None:
            of_texts = True
            path = _ArrayReader(stream, how, of_texts=True).find()
        if path is None:
            raise file_refusal(f"There is no list of items in this JSON; {_EXPECTED}.")
        place = path.replace("{", "{{").replace("}", "}}")[-60:] + "[{item}].{heading}"
        what = "JSON file"
    header, records = items.table(begin, place=place, what=what, limit=limit)
    return {"format": "jsonl" if is_lines else "json", "items": path, **how.dialect}, header, records


def _item(number: int, value: Any, cell: str, converter: items.ShopItemConverter) -> Iterator[Item | Issue]:
    if type(value) is str and value.strip():
        value = {"title": value}
    if not isinstance(value, dict):
        message = f"{cell}: this is {_KINDS.get(type(value), 'a text')}; expected an object with named values."
        yield Issue(number, cell, "", str(value)[:60], "item_unusable", message)
        return
    try:
        yield from items.expand_variants(number, converter.convert(value))
    except items.ItemTooLarge as error:
        yield Issue(number, cell, "", "", "item_unusable", f"{cell}: {error}.")


def _lines(stream: IO[bytes], how: sniffing.TextEncoding, converter: items.ShopItemConverter) -> Iterator[Item | Issue]:
    for number, line in enumerate(csv_file.lines(stream, how, MAX_ITEM), start=1):
        if not line.strip():
            continue
        try:
            if _has_too_many_values(line):
                raise json.JSONDecodeError(_TOO_MANY, line, 0)
            value = _DECODER.decode(line.strip())
        except (json.JSONDecodeError, RecursionError) as error:
            cell = f"line {number}, column {getattr(error, 'colno', 1)}"
            reason = getattr(error, "msg", "nested too deep").lower()
            message = f"{cell}: the JSON is broken here ({reason}); expected one JSON object per line."
            yield Issue(number, cell, "", line.strip()[:60], "json_broken", message)
        else:
            yield from _item(number, value, f"line {number}", converter)


def _has_too_many_values(text: str) -> bool:
    """Return True if a piece of JSON holds more values than an item may, by its commas outside of strings."""
    return text.count(",") > MAX_VALUES and _TEXT.sub("", text).count(",") > MAX_VALUES


class _ArrayReader:
    """Searches a text for the first array of objects, then decodes one element after the other."""

    def __init__(self, stream: IO[bytes], how: sniffing.TextEncoding, *, of_texts: bool = False) -> None:
        self._elements = ("{", '"') if of_texts else ("{",)
        self._text = csv_file.open_text(stream, how)
        self._buffer, self._at = "", 0
        self._line, self._column = 1, 1

    def find(self) -> str | None:
        """Return the path of the array, such as `products` or `data.items`, and stop at its first element."""
        return self._descend("", 0)

    def items(self, converter: items.ShopItemConverter) -> Iterator[Item | Issue]:
        path = self.find() or ""
        number = 0
        while self._peek() != "]":
            number += 1
            yield from _item(number, self._value(), f"{path[-60:]}[{number - 1}]", converter)
            self._drop_read_text()
            if self._peek() == ",":
                self._at += 1
                if self._peek() != "]":
                    continue
            if self._peek() != "]":
                raise self._broken("expecting ',' or ']'")

    def _descend(self, path: str, depth: int) -> str | None:
        opening = self._peek()
        if opening == "[":
            self._at += 1
            return path if self._peek() in '{"' or depth == 0 else None
        if opening != "{" or depth > items.MAX_DEPTH:
            self._value()
            return None
        self._at += 1
        while self._peek() != "}":
            key = self._value()
            if not isinstance(key, str) or self._peek() != ":":
                raise self._broken("expecting ':' after a name")
            self._at += 1
            inner = f"{path}.{key}" if path else key
            if self._peek() == "{" or (self._peek() == "[" and self._holds_objects()):
                inner_path = self._descend(inner, depth + 1)
                if inner_path is not None:
                    return inner_path
            else:
                self._value()
            self._drop_read_text()
            if self._peek() == ",":
                self._at += 1
            elif self._peek() != "}":
                raise self._broken("expecting ',' or '}'")
        self._at += 1
        return None

    def _holds_objects(self) -> bool:
        start = self._at
        self._at += 1
        answer = self._peek() in self._elements
        self._at = start
        return answer and self._peek() == "["

    def _peek(self) -> str:
        """Return the next character that is not a space, and stop at it. Raises FeedRefused at the end of the text."""
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in _SPACES:
                self._at += 1
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._read_chunk():
                raise self._broken("the file ends here, before its end; it is cut off")

    def _read_chunk(self, size: int = _CHUNK) -> bool:
        try:
            piece = self._text.read(size)
        except UnicodeDecodeError as error:
            raise self._broken(error.reason) from None
        self._buffer += piece
        return bool(piece)

    def _drop_read_text(self) -> None:
        """Drop the text that was read and count its lines; only if it is long, because the rest is copied."""
        if self._at < _CHUNK:
            return
        dropped = self._buffer[: self._at]
        if newlines := dropped.count("\n"):
            self._line += newlines
            self._column = len(dropped) - dropped.rfind("\n")
        else:
            self._column += len(dropped)
        self._buffer, self._at = self._buffer[self._at :], 0

    def _value(self) -> Any:
        self._peek()
        # Read four times as much each time, because the value is decoded from its beginning each time.
        size = _CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated") or error.pos + _END_MARGIN >= len(self._buffer)
                if is_cut and self._read_rest_of_value(size):
                    if _has_too_many_values(self._buffer[self._at :]):
                        raise self._broken(_TOO_MANY) from None
                    size *= 4
                    continue
                if is_cut and len(self._buffer) - self._at >= MAX_ITEM:
                    raise self._broken(f"one value of more than {MAX_ITEM:,} characters") from None
                self._at = max(error.pos, self._at)
                raise self._broken(error.msg) from None
            except RecursionError:
                raise self._broken("nested too deep") from None
            # A number at the end of the buffer may continue.
            if end == len(self._buffer) and self._read_rest_of_value(size):
                size *= 4
                continue
            self._at = end
            return value

    def _read_rest_of_value(self, size: int) -> bool:
        """Read more of a value that may be cut off; False at the end of the text, or if it is too long for an item."""
        return len(self._buffer) - self._at < MAX_ITEM and self._read_chunk(size)

    def _broken(self, reason: str) -> FeedRefused:
        before = self._buffer[: self._at]
        line = self._line + before.count("\n")
        column = self._at - before.rfind("\n") if "\n" in before else self._column + self._at
        cell = f"line {line}, column {column}"
        message = (
            f"{cell}: the JSON is broken here ({reason[:1].lower()}{reason[1:]}), and nothing after it can be read; "
            "expected valid JSON. Export it again."
        )
        value = self._buffer[self._at : self._at + 60]
        return file_refusal(message, cause="json_broken", row=line, value=value, cell=cell)
