"""Read a stored feed file again: preview its first subjects, or return it with a column of mistakes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, Any

from django.utils.translation import gettext as _

from campaigns.feeds import FeedRefused, Issue, annotating, encodings, previewing, sniffing
from campaigns.feeds.previewing import Preview
from campaigns.models import FeedImport, Subject
from campaigns.selectors import imports
from core import stored_files
from core.errors import Conflict
from core.models import User

PREVIEWED_SUBJECTS = 4
SET_CAUSES = ("duplicate_key", "duplicate_variant", "parent_unknown")


def preview_import(feed_import: FeedImport) -> Preview:
    """Preview the first subjects with the import's kind and mapping; `problem` says why there are none."""
    in_brand = Subject.objects.filter(brand_id=feed_import.brand_id)
    try:
        with stored_files.open(feed_import.storage_key) as stream:
            return previewing.preview_subjects(
                imports.open_import_feed(stream, feed_import),
                subjects=PREVIEWED_SUBJECTS,
                chosen=imports.make_fix_applier(feed_import).chosen,
                list_existing=lambda keys: in_brand.filter(key__in=keys).values_list("kind", "key"),
            )
    except FeedRefused as refusal:
        missing = [issue.column for issue in refusal.issues if issue.cause == "column_missing"]
        return Preview(problem=str(refusal), missing=missing)


def list_encodings(feed_import: FeedImport) -> list[tuple[str, str]]:
    """Return the possible encodings of a stored text file, each as (name, label with cells); none if it is certain."""
    is_older = feed_import.dialect.get("encoding") in encodings.LABELS or "encoding" in feed_import.issue_counts
    if not is_older or not stored_files.exists(feed_import.storage_key):
        return []
    with stored_files.open(feed_import.storage_key) as stream:
        sample = sniffing.sample_lines(stream)
    examples = {name: encodings.examples(sample, name) for name in encodings.LABELS}
    return [
        (name, f"{encodings.LABELS[name]}: {', '.join(cells)}")
        for name, cells in examples.items()
        if cells and not any("\ufffd" in cell for cell in cells)
    ]


def is_spreadsheet(feed_import: FeedImport) -> bool:
    return bool(feed_import.dialect.get("format") == "xlsx")


def can_annotate(feed_import: FeedImport) -> bool:
    """True if the file is stored and was read as a table, so that a column of mistakes can be added."""
    was_read = bool(feed_import.storage_key and feed_import.dialect.get("columns"))
    return was_read and stored_files.exists(feed_import.storage_key)


def as_text(user: User, feed_import: FeedImport, *, only_wrong: bool) -> Iterator[str]:
    """Yield the file as delimited text in pieces, with its own delimiter if it has one. Raises Conflict."""
    return _pieces(user, feed_import, _open(feed_import), only_wrong)


def _pieces(user: User, feed_import: FeedImport, file: IO[bytes], only_wrong: bool) -> Iterator[str]:
    with file as stream:
        feed = imports.open_import_feed(stream, feed_import)
        rows = annotating.iter_rows(feed, _issues_of_sets(user, feed_import), only_wrong=only_wrong)
        yield from annotating.as_text(feed.header, rows, delimiter=feed_import.dialect.get("delimiter") or ",")


def as_workbook(user: User, feed_import: FeedImport, *, only_wrong: bool) -> IO[bytes]:
    """Return the file as a workbook in a temporary file, positioned at its start; the caller closes it."""
    out = tempfile.TemporaryFile()  # noqa: SIM115 (the response that streams it closes it)
    try:
        with _open(feed_import) as stream:
            feed = imports.open_import_feed(stream, feed_import)
            rows = annotating.iter_rows(feed, _issues_of_sets(user, feed_import), only_wrong=only_wrong)
            sheet = str(feed_import.dialect.get("sheet") or "Products")
            annotating.as_workbook(out, feed.header, rows, sheet=sheet, same_rows=not only_wrong)
    except BaseException:
        out.close()
        raise
    out.seek(0)
    return out


def _open(feed_import: FeedImport) -> IO[bytes]:
    if not can_annotate(feed_import):
        raise Conflict(_("The file is no longer kept, or could not be read as a table."))
    return stored_files.open(feed_import.storage_key)


def _issues_of_sets(user: User, feed_import: FeedImport) -> Iterator[Issue]:
    """Yield the stored mistakes that only the whole file shows."""
    stored: Any = imports.list_issues(user, feed_import).filter(cause__in=SET_CAUSES)
    for issue in stored.iterator():
        yield Issue(issue.row, issue.cell, issue.column, issue.value, issue.cause, issue.message)
