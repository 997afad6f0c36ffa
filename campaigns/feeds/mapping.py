"""Column mapping for people: the possible fields, the detected fields, and the first rows of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

from campaigns.feeds import columns, opening
from campaigns.feeds.base import FeedRefused, Header, Issue, Record, choose_layout
from campaigns.feeds.columns import FIELDS, Field, is_field

__all__ = ["FIELDS", "Field", "FileHead", "header_sha256", "is_field", "read_head", "suggest_mapping"]

HEADINGS_FROM_ITEMS = 200  # number of items of JSON or XML that are read to find headings


@dataclass(frozen=True)
class FileHead:
    """The beginning of a file. suggestion: heading as written -> field.

    needs_mapping: the file cannot be imported with the detected fields and the given mapping; `problem` says why.
    """

    header: Header
    dialect: dict[str, Any]
    layout: str
    sample: list[Record]
    suggestion: dict[str, str]
    needs_mapping: bool
    problem: str


def suggest_mapping(header: Header) -> dict[str, str]:
    """Return heading as written -> detected field; empty headings are left out."""
    fields = choose_layout(header).suggest(header)
    return {heading: fields[index] for index, heading in enumerate(header.cells) if index in fields}


def header_sha256(header: Header) -> str:
    """Return a digest of the headings in their order, regardless of capitals and spaces."""
    return hashlib.sha256("\n".join(header.names).encode("utf-8", "replace")).hexdigest()


def read_head(
    stream: IO[bytes], *, kind: str = "product", rows: int = 5, mapping: Mapping[str, str] | None = None,
    encoding: str = "",
) -> FileHead:  # fmt: skip
    """Read the headings and the first `rows` rows that are not empty. Raises FeedRefused if the file is no table."""
    source = opening.detect_file(stream, kind=kind, limit=HEADINGS_FROM_ITEMS, encoding=encoding)
    problem = ""
    try:
        fields = columns.apply_chosen_mapping(source.header, source.layout.suggest(source.header), mapping or {})
        source.layout.bind(source.header, kind, fields)
    except FeedRefused as refusal:
        problem = str(refusal)
    full = (record for record in source.records if not isinstance(record, Issue) and any(map(str.strip, record[1])))
    sample = list(islice(full, rows))
    suggestion = suggest_mapping(source.header)
    return FileHead(source.header, source.dialect, source.layout.name, sample, suggestion, bool(problem), problem)
