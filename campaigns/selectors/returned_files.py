"""Reading a kept feed file again for people: the first subjects under a mapping, and their own file with mistakes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from campaigns.feeds import Feed, FeedRefused, Issue, encodings, previewing, returning, sniffing
from campaigns.feeds.previewing import Preview
from campaigns.models import FeedImport
from campaigns.selectors import imports
from core import stored_files
from core.errors import Conflict
from core.models import User

PREVIEWED = 4
SET_CAUSES = ("duplicate_key", "duplicate_variant", "parent_unknown")


def preview(found: FeedImport, *, mapping: Mapping[str, str], kind: str) -> Preview:
    """The first subjects as they would become with this mapping; `problem` says why there are none."""
    tried = FeedImport(subject_kind=kind, mapping=dict(mapping), fixes=found.fixes, encoding=found.encoding)
    try:
        with stored_files.open(found.storage_key) as stream:
            return previewing.first(_feed(stream, tried), subjects=PREVIEWED)
    except FeedRefused as refusal:
        return previewing.refused(refusal)


@dataclass(frozen=True)
class Encoding:
    """An encoding that a file may be in; `examples`: a few of its cells as they read in it."""

    name: str
    label: str
    examples: tuple[str, ...]

    @property
    def sentence(self) -> str:
        return f"{self.label}: {', '.join(self.examples)}"


def encodings_of(found: FeedImport) -> list[Encoding]:
    """Return the encodings that a kept text file may be in; none if its encoding is certain."""
    is_older = found.dialect.get("encoding") in encodings.LABELS or "encoding" in found.issue_counts
    if not is_older or not stored_files.exists(found.storage_key):
        return []
    with stored_files.open(found.storage_key) as stream:
        sample = sniffing.sample(stream)
    every = (Encoding(name, label, tuple(encodings.examples(sample, name))) for name, label in encodings.LABELS.items())
    return [one for one in every if one.examples and not any("\ufffd" in cell for cell in one.examples)]


def is_spreadsheet(found: FeedImport) -> bool:
    return bool(found.dialect.get("format") == "xlsx")


def can_return(found: FeedImport) -> bool:
    """True if the file is kept and its rows can be told apart: then it can go back with a column of mistakes."""
    return bool(found.storage_key and found.dialect.get("columns")) and stored_files.exists(found.storage_key)


def as_text(user: User, found: FeedImport, *, only_wrong: bool) -> Iterator[str]:
    """The file as delimited text, a piece at a time; its own delimiter if it has one. Raises Conflict."""
    return _pieces(user, found, _open(found), only_wrong)


def _pieces(user: User, found: FeedImport, file: IO[bytes], only_wrong: bool) -> Iterator[str]:
    delimiter = found.dialect.get("delimiter") or ","
    with file as stream:
        feed = _feed(stream, found)
        rows = returning.rows(feed, _of_sets(user, found), only_wrong=only_wrong)
        yield from returning.as_text(feed.header, rows, delimiter=delimiter)


def as_workbook(user: User, found: FeedImport, *, only_wrong: bool) -> IO[bytes]:
    """The file as a workbook in a temporary file that stands at its start; the caller closes it."""
    out = tempfile.TemporaryFile()  # noqa: SIM115 (the answer that streams it closes it)
    try:
        with _open(found) as stream:
            feed = _feed(stream, found)
            rows = returning.rows(feed, _of_sets(user, found), only_wrong=only_wrong)
            sheet = str(found.dialect.get("sheet") or "Products")
            returning.as_workbook(out, feed.header, rows, sheet=sheet, same_rows=not only_wrong)
    except BaseException:
        out.close()
        raise
    out.seek(0)
    return out


def _open(found: FeedImport) -> IO[bytes]:
    if not can_return(found):
        raise Conflict("The file is no longer kept, or could not be read as a table.")
    return stored_files.open(found.storage_key)


def _feed(stream: IO[bytes], found: FeedImport) -> Feed:
    mending = imports.mending_of(found)
    return imports.open_offered(stream, found, mending if mending.chosen else None)


def _of_sets(user: User, found: FeedImport) -> Iterator[Issue]:
    """Mistakes that show only in the whole file; they are known from the check."""
    stored: Any = imports.issues(user, found).filter(cause__in=SET_CAUSES)
    for one in stored.iterator():
        yield Issue(one.row, one.cell, one.column, one.value, one.cause, one.message)
