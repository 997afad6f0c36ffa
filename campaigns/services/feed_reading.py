"""Read one feed file: stage it, fix it, check all rows together, merge or roll back, and store the result.

services/imports.py decides who may upload, fix, apply and undo imports.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import IO

from django.db import transaction
from django.utils.translation import gettext as _

from campaigns import events, feeds
from campaigns.choices import ImportStatus
from campaigns.feeds import Feed, FeedRefused, FeedRow, FileHead, Issue
from campaigns.feeds.fixes import FixApplier
from campaigns.models import FeedImport, ImportIssue
from campaigns.selectors import imports as import_rows
from campaigns.services import merging, staging
from campaigns.services.staging import Mistake
from core import fetching, stored_files
from core.choices import Lane
from core.errors import Conflict
from core.events import publish
from core.services import leases, wake_ups

MAX_STORED_ISSUES = 10_000
MAX_STORED_PER_CAUSE = 1000  # so that a frequent mistake leaves room for the others; all are counted
PROGRESS_SECONDS = 0.5


@dataclass
class ParsedFile:
    """A file that was read to its end, or as far as it is readable."""

    fix_applier: FixApplier
    feed: Feed | None = None
    counts: Counter[str] = field(default_factory=Counter)  # of all mistakes, by cause
    kept: list[Issue] = field(default_factory=list)  # the first of each cause

    def add(self, *issues: Issue) -> None:
        for issue in issues:
            self.counts[issue.cause] += 1
            if self.counts[issue.cause] <= MAX_STORED_PER_CAUSE and len(self.kept) < MAX_STORED_ISSUES:
                self.kept.append(issue)


def read_feed(stream: IO[bytes], offered: FeedImport) -> FeedImport:
    """Read the file of a leased import, and check or apply it. Not in a transaction: parsing may take minutes."""
    batch = uuid.uuid4()
    try:
        parsed = _parse(stream, offered, batch=batch)
        if parsed.feed:
            left_out = staging.apply_fixes(batch, parsed.fix_applier.chosen, brand_id=offered.brand_id)
            for index, count in left_out.items():
                parsed.fix_applier.changed[index] += count
            _check_sets(parsed, parsed.feed, batch=batch, offered=offered)
        return conclude_reading(parsed, offered, batch=batch)
    finally:
        staging.clear(batch)


def is_file_kept(feed_import: FeedImport) -> bool:
    """True if the file itself is still stored."""
    return bool(feed_import.storage_key) and stored_files.exists(feed_import.storage_key)


def ensure_file_kept(feed_import: FeedImport) -> None:
    if not is_file_kept(feed_import):
        raise Conflict(_("The file is no longer kept. Drop it again."))


def read_head(
    offered: FeedImport, *, rows: int = 5, mapping: Mapping[str, str] | None = None
) -> FileHead | FeedRefused:
    """Return the first rows of a file with its mapping (or another), or why it is no table. Conflict if not stored."""
    ensure_file_kept(offered)
    chosen, kind = offered.mapping if mapping is None else mapping, offered.subject_kind
    with stored_files.open(offered.storage_key) as stream:
        try:
            return feeds.read_head(stream, kind=kind, rows=rows, mapping=chosen, encoding=offered.encoding)
        except FeedRefused as refusal:
            return refusal


def refuse(offered: FeedImport, message: str) -> FeedImport:
    """Store that the file cannot be read at all, and why."""
    parsed = ParsedFile(FixApplier([], lambda header: {}))
    parsed.add(Issue(0, "", "", "", "unreadable", message))
    return conclude_reading(parsed, offered, batch=uuid.uuid4())


def _parse(stream: IO[bytes], offered: FeedImport, *, batch: uuid.UUID) -> ParsedFile:
    parsed = ParsedFile(import_rows.make_fix_applier(offered))
    try:
        parsed.feed = import_rows.open_import_feed(stream, offered, parsed.fix_applier)
    except FeedRefused as refusal:
        parsed.add(*refusal.issues)
        return parsed
    staging.stage(batch, _record_progress(_rows(parsed, parsed.feed), stream, parsed.feed, offered))
    return parsed


def _rows(parsed: ParsedFile, feed: Feed) -> Iterator[FeedRow]:
    """Yield the feed's rows; add its issues, and an error that ends it early, to the parsed file."""
    try:
        for item in feed.rows():
            if isinstance(item, Issue):
                parsed.add(item)
            else:
                yield item
    except FeedRefused as refusal:
        parsed.add(*refusal.issues)


def _record_progress(rows: Iterator[FeedRow], stream: IO[bytes], feed: Feed, offered: FeedImport) -> Iterator[FeedRow]:
    """Yield the rows, and store the progress in the import's row for the people who wait."""
    updated_at = time.monotonic()
    for row in rows:
        if time.monotonic() - updated_at > PROGRESS_SECONDS:
            leased = FeedImport.objects.filter(pk=offered.pk, lease_token=offered.lease_token)
            leased.update(rows=feed.count, bytes_read=min(stream.tell(), offered.file_bytes))
            updated_at = time.monotonic()
        yield row


def _check_sets(parsed: ParsedFile, feed: Feed, *, batch: uuid.UUID, offered: FeedImport) -> None:
    """Report mistakes that no single row shows. Orphans only if the file has no others: bad rows cause orphans."""
    columns = feed.binding.columns
    key, name, variant = columns["key"], columns["name"], columns.get("variant", columns["key"])
    made = "" if key != name else " made of the title"
    for what, column, cause in (("key", key, "duplicate_key"), ("variant", variant, "duplicate_variant")):
        sentences = [
            (row, f"the {what} “{row.key[:80]}”{made} already stands in row {row.first_row}; expected it once.")
            for row in staging.duplicates(batch, of_subjects=what == "key", limit=MAX_STORED_PER_CAUSE)
        ]
        _add_mistakes(parsed, feed, sentences, column=column, cause=cause)
    if not parsed.counts:
        unknown = f"has no row with a name in this file and is not known in {offered.brand.name}"
        sentences = [
            (row, f"“{row.key[:80]}” {unknown}; expected its name here, or its import first.")
            for row in staging.orphans(batch, brand_id=offered.brand_id, limit=MAX_STORED_PER_CAUSE)
        ]
        _add_mistakes(parsed, feed, sentences, column=name, cause="parent_unknown")


def _add_mistakes(
    parsed: ParsedFile, feed: Feed, sentences: Sequence[tuple[Mistake, str]], *, column: int, cause: str
) -> None:
    """Add mistakes of one cause, each at its cell; mistakes beyond the query's limit are only counted."""
    for mistake, sentence in sentences:
        parsed.add(feed.header.issue(mistake.row, column, mistake.key, cause, sentence))
    if sentences:
        parsed.counts[cause] = sentences[0][0].total


def conclude_reading(parsed: ParsedFile, offered: FeedImport, *, batch: uuid.UUID) -> FeedImport:
    """Merge if there are no mistakes, and store the result. The merge of a check is rolled back."""
    spoken = parsed.feed.binding.attribute_names if parsed.feed else ()
    groups = parsed.feed is not None and parsed.feed.binding.groups
    merge = partial(merging.merge, batch, brand_id=offered.brand_id, spoken=spoken, groups=groups)
    merged: dict[str, int] = {}
    if not parsed.counts and not offered.is_to_apply:
        with transaction.atomic(durable=True):
            merged = merge()
            transaction.set_rollback(True)
    with transaction.atomic(durable=True):
        if leases.lock(offered) is None:
            raise Conflict(_("Somebody else has concluded this import meanwhile."))
        if not parsed.counts and offered.is_to_apply:
            merged = merge(import_id=offered.pk)
        _record(parsed, merged, offered)
        _publish_conclusion(offered, merged)
    return offered


def _publish_conclusion(offered: FeedImport, merged: Mapping[str, int]) -> None:
    """Publish that a feed was applied or refused. A check publishes nothing."""
    payload = {
        "import": offered.pk, "file_name": offered.file_name, "file_sha256": offered.file_sha256,
        "rows": offered.rows,
    }  # fmt: skip
    if offered.status == ImportStatus.APPLIED:
        publish(events.FeedImported.of(offered, **payload, **merged), by=offered.requested_by)
        wake_ups.wake(Lane.IO)  # there may be photos to fetch
    elif offered.status == ImportStatus.REFUSED:
        payload |= {"errors": offered.error_count, "causes": offered.issue_counts}
        publish(events.FeedRefused.of(offered, **payload), by=offered.requested_by)


def _record(parsed: ParsedFile, merged: Mapping[str, int], offered: FeedImport) -> None:
    concluded = ImportStatus.REFUSED if parsed.counts else ImportStatus.APPLIED
    offered.status = concluded if offered.is_to_apply else ImportStatus.CHECKED
    offered.dialect = parsed.feed.dialect if parsed.feed else {}
    offered.rows = parsed.feed.count if parsed.feed else 0
    offered.bytes_read = offered.file_bytes
    offered.succeed()
    for name in ("created", "updated", "unchanged"):
        setattr(offered, name, merged.get(name, 0))
    offered.error_count = parsed.counts.total()
    offered.issue_counts = dict(parsed.counts)
    offered.fixes = [
        {"cause": fix.cause, "fix": fix.fix, "columns": list(fix.columns), "changed": changed}
        for fix, changed in zip(parsed.fix_applier.chosen, parsed.fix_applier.changed, strict=True)
    ]
    offered.save()
    offered.issues.all().delete()
    issues = (
        ImportIssue(
            feed_import=offered, row=issue.row, column=storable(issue.column), cell=issue.cell, cause=issue.cause,
            value=fetching.redact_settings(storable(issue.value)),
            message=fetching.redact_text(storable(issue.message)),
        )
        for issue in parsed.kept
    )  # fmt: skip
    ImportIssue.objects.bulk_create(issues, batch_size=1000)


def storable(text: str) -> str:
    """Replace what PostgreSQL cannot store: NUL and lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
