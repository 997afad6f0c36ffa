"""Reads XML with one element per item: Google Merchant's RSS and Atom, and other catalogues.

Expat reads it in pieces. A document type is refused before it takes effect, so that there are no entities, no XML bombs
and no external addresses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import IO, Any
from xml.parsers import expat

from campaigns.feeds import items
from campaigns.feeds.base import Header, Issue, Record, file_refusal
from campaigns.feeds.items import Item

MAX_ITEM = 1 << 22
MAX_DEPTH = 40
MAX_NAME = 200  # characters of an element's name; every path is built from such names
_CHUNK = 1 << 16
_LOOK_BYTES = 1 << 20  # bytes that are read to find the repeated element
_NAMED = ("rss/channel/item", "feed/entry", "RDF/item")


def read(stream: IO[bytes], *, limit: int | None = None) -> tuple[dict[str, Any], Header, Iterator[Record | Issue]]:
    """Return what was detected, the header, and the records. `limit`: how many items to look at for headings."""
    path = _item_path(stream)

    place = f"{path.rpartition('/')[2]}[{{row}}].{{heading}}"
    header, records = items.table(lambda: _Items(path).read(stream), place=place, what="XML file", limit=limit)
    return {"format": "xml", "items": path}, header, records


class _Parser:
    """An Expat parser that tracks the current path and refuses document types."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self.expat = expat.ParserCreate()
        self.expat.buffer_text = True
        self.expat.StartDoctypeDeclHandler = self._refuse
        self.expat.EntityDeclHandler = self._refuse
        self.expat.StartElementHandler = self._start
        self.expat.EndElementHandler = self._end

    def _refuse(self, *_: Any) -> None:
        cell = f"line {self.expat.CurrentLineNumber}"
        raise file_refusal(
            f"{cell}: the XML declares a document type (DTD), which can hide entities that grow without end or fetch "
            "other files; expected XML without <!DOCTYPE …>. Remove it or export without it.",
            row=self.expat.CurrentLineNumber, value="<!DOCTYPE", cell=cell,
        )  # fmt: skip

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self.path) >= MAX_DEPTH:
            message = f"The XML has elements more than {MAX_DEPTH} deep; expected a list of products."
            raise file_refusal(message, row=self.expat.CurrentLineNumber)
        if len(name) > MAX_NAME:
            message = f"The XML has an element whose name is longer than {MAX_NAME} characters; expected less."
            raise file_refusal(message, row=self.expat.CurrentLineNumber, value=name[:60])
        self.path.append(name.rpartition(":")[2])

    def _end(self, name: str) -> None:
        self.path.pop()

    def feed(self, data: bytes, *, is_last: bool) -> None:
        try:
            self.expat.Parse(data, is_last)
        except expat.ExpatError as error:
            cell = f"line {error.lineno}, column {error.offset + 1}"
            reason = expat.ErrorString(error.code) or "not well-formed"
            raise file_refusal(
                f"{cell}: the XML is broken here ({reason}), and nothing after it can be read; expected well-formed "
                "XML. Export it again.",
                cause="xml_broken", row=error.lineno, cell=cell,
            ) from None  # fmt: skip


class _PathCounter(_Parser):
    """Counts the paths, and collects those that contain elements or attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.holders: set[str] = set()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.holders.add("/".join(self.path))
        super()._start(name, attributes)
        path = "/".join(self.path)
        self.counts[path] += 1
        if attributes:
            self.holders.add(path)


def _item_path(stream: IO[bytes]) -> str:
    """Return the path of the element for one item: a well-known one, or else the outermost repeated one."""
    look = _PathCounter()
    stream.seek(0)
    read_bytes = 0
    while (piece := stream.read(_CHUNK)) and read_bytes < _LOOK_BYTES:
        look.feed(piece, is_last=False)
        read_bytes += len(piece)
    if not piece:
        look.feed(b"", is_last=True)
    item_path = next((path for path in _NAMED if look.counts[path]), None)
    if item_path:
        return item_path
    inner = [path for path in look.counts if "/" in path and path in look.holders]
    several = [path for path in inner if look.counts[path] > 1]
    candidates = several or [path for path in inner if path.count("/") == 1]
    if not candidates:
        root = next(iter(look.counts), "")
        raise file_refusal(
            f"There is no list of products in this XML (its outermost element is <{root[:40]}>); expected one element "
            "per product, such as <item> in a Google Merchant feed.",
        )
    return min(candidates, key=lambda path: path.count("/"))


class _Items(_Parser):
    """Collects the texts within each element at one path."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._wanted = path.split("/")
        self._depth = len(self._wanted)
        self._number = self._size = self._count = 0
        self._item: items.Texts | None = None
        self._plain: items.Texts = {}
        self._texts: list[list[str]] = []
        self._done: list[Item] = []
        self.expat.CharacterDataHandler = self._text

    def read(self, stream: IO[bytes]) -> Iterator[Item | Issue]:
        stream.seek(0)
        place = 0
        while True:
            # Other code (a peek, the digest of the whole file) reads the same stream in between.
            stream.seek(place)
            piece = stream.read(_CHUNK)
            place += len(piece)
            self.feed(piece, is_last=not piece)
            yield from self._done
            self._done.clear()
            if not piece:
                return

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        super()._start(name, attributes)
        if self._item is None:
            if len(self.path) != self._depth or self.path != self._wanted:
                return
            self._item, self._plain, self._size, self._count = {}, {}, 0, 0
            self._number += 1
        self._count += 1 + len(attributes)
        if self._count > items.MAX_VALUES:
            raise file_refusal(
                f"Item {self._number} has more than {items.MAX_VALUES:,} elements and attributes; expected one product "
                f"per <{self._wanted[-1]}>.",
                row=self._number,
            )
        heading = ".".join(self.path[self._depth :])
        for attribute, text in attributes.items():
            if not attribute.startswith(("xmlns", "xml:")):
                self._put(f"{heading}.{attribute.rpartition(':')[2]}".lstrip("."), text, is_prefixed=True)
        self._texts.append([])

    def _text(self, data: str) -> None:
        if self._texts:
            self._size += len(data)
            if self._size > MAX_ITEM:
                expected = f"expected one product per <{self._wanted[-1]}>."
                message = f"Item {self._number} has more than {MAX_ITEM:,} characters; {expected}"
                raise file_refusal(message, cause="cell_too_large", row=self._number)
            self._texts[-1].append(data)

    def _end(self, name: str) -> None:
        if self._item is not None:
            text = "".join(self._texts.pop()).strip()
            heading = ".".join(self.path[self._depth :])
            if heading and text:
                self._put(heading, text, is_prefixed=":" in name)
            if not heading:
                # <title> beside <g:title>: the one of the product feed's own namespace counts.
                self._done.append((self._number, items.join_texts(self._plain | self._item) or {"": ""}))
                self._item = None
        super()._end(name)

    def _put(self, heading: str, text: str, *, is_prefixed: bool) -> None:
        assert self._item is not None
        items.add_text(self._item if is_prefixed else self._plain, heading, text)
