"""Importing a product feed into a brand: checked as a whole, then applied in full or not at all."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from django.db import transaction

from campaigns import access, events, feeds
from campaigns.access import Action
from campaigns.choices import ImportStatus, SubjectKind
from campaigns.errors import Invalid
from campaigns.feeds import Feed, FeedRefused, FeedRow, Issue
from campaigns.models import Brand, FeedImport, ImportIssue, User
from campaigns.services import staging
from campaigns.services.staging import Merged, Mistake

MAX_FILE_BYTES = 1 << 30
MAX_STORED_ISSUES = 10_000
MAX_STORED_PER_CAUSE = 1000
"""So that a frequent mistake does not crowd out the others; all are counted."""
_PIECE = 1 << 20
_EMPTY = Merged(0, 0, 0, 0, 0)


@dataclass
class Report:
    """What was wrong: every mistake counted by cause, the first of each kept."""

    counts: Counter[str] = field(default_factory=Counter)
    kept: list[Issue] = field(default_factory=list)

    def add(self, issue: Issue) -> None:
        self.counts[issue.cause] += 1
        if self.counts[issue.cause] <= MAX_STORED_PER_CAUSE and len(self.kept) < MAX_STORED_ISSUES:
            self.kept.append(issue)

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass
class _Parsed:
    """What is known of a file once it was read to its end or to where it could not be read further."""

    sha256: str
    size: int
    feed: Feed | None
    report: Report


def import_feed(
    *,
    brand: Brand,
    file: IO[bytes] | Path,
    file_name: str,
    by: User,
    dry_run: bool = False,
    kind: str = SubjectKind.PRODUCT,
) -> FeedImport:
    """Import a CSV or XLSX feed. The result says what happened: applied, refused (with its issues), or only checked.

    Bad files raise nothing: they are refused, and the row and its issues say why. A dry run does everything and rolls
    it back. `kind` is that of rows which name none. Raises NotAllowed, and Invalid for an unknown kind. Not to be
    called inside a transaction: parsing may take minutes and holds none.
    """
    access.require(by, Action.IMPORT_FEED, brand)
    if kind not in SubjectKind.values:
        raise Invalid(f"There is no kind {kind!r}; known are {', '.join(SubjectKind.values)}.")
    batch = uuid.uuid4()
    try:
        with _opened(file) as stream:
            parsed = _parse(stream, batch=batch, kind=kind)
        if parsed.feed:
            _look_at_sets(parsed.feed, parsed.report, batch=batch, brand=brand)
        return _conclude(parsed, batch=batch, brand=brand, file_name=file_name, by=by, dry_run=dry_run)
    finally:
        staging.clear(batch)


@contextmanager
def _opened(file: IO[bytes] | Path) -> Iterator[IO[bytes]]:
    """A seekable stream; what cannot seek is spooled to disk first."""
    if isinstance(file, Path):
        with file.open("rb") as stream:
            yield stream
    elif file.seekable():
        yield file
    else:
        with tempfile.SpooledTemporaryFile(max_size=8 * _PIECE) as spool:
            while piece := file.read(_PIECE):
                spool.write(piece)
            yield spool


def _parse(stream: IO[bytes], *, batch: uuid.UUID, kind: str) -> _Parsed:
    digest, size = hashlib.sha256(), 0
    stream.seek(0)
    while piece := stream.read(_PIECE):
        digest.update(piece)
        size += len(piece)
    parsed = _Parsed(digest.hexdigest(), size, None, Report())
    if size > MAX_FILE_BYTES:
        message = f"The file has {size:,} bytes; expected at most {MAX_FILE_BYTES:,}. Split it."
        parsed.report.add(Issue(0, "", "", "", "unreadable", message))
        return parsed
    try:
        parsed.feed = feeds.open_feed(stream, kind=kind)
    except FeedRefused as refusal:
        _add_all(parsed.report, refusal)
        return parsed
    staging.prepare(staging.stage(batch, _rows(parsed.feed, parsed.report)))
    return parsed


def _rows(feed: Feed, report: Report) -> Iterator[FeedRow]:
    """The feed's rows; its issues go into the report, and so does what ends it early."""
    try:
        for item in feed.rows():
            if isinstance(item, Issue):
                report.add(item)
            else:
                yield item
    except FeedRefused as refusal:
        _add_all(report, refusal)


def _add_all(report: Report, refusal: FeedRefused) -> None:
    for issue in refusal.issues:
        report.add(issue)


def _look_at_sets(feed: Feed, report: Report, *, batch: uuid.UUID, brand: Brand) -> None:
    """Mistakes that no single row shows. Orphans only in an otherwise sound file: there a bad row made them."""
    columns = feed.binding.columns
    key, name, variant = columns["key"], columns["name"], columns.get("variant", columns["key"])
    made = "" if key != name else " made of the title"

    def duplicate(what: str) -> Callable[[Mistake], str]:
        return lambda mistake: (
            f"the {what} “{mistake.key[:80]}”{made} already stands in row {mistake.first_row}; expected it once."
        )

    limit = MAX_STORED_PER_CAUSE
    keys = staging.duplicates(batch, of_subjects=True, limit=limit)
    _blame(feed, report, keys, column=key, cause="duplicate_key", sentence=duplicate("key"))
    variants = staging.duplicates(batch, of_subjects=False, limit=limit)
    _blame(feed, report, variants, column=variant, cause="duplicate_variant", sentence=duplicate("variant"))
    if not report.total:
        orphans = staging.orphans(batch, brand_id=brand.pk, limit=limit)
        _blame(
            feed, report, orphans, column=name, cause="parent_unknown",
            sentence=lambda mistake: (
                f"“{mistake.key[:80]}” has no row with a name in this file and is not known in {brand.name}; "
                "expected its name here, or its import first."
            ),
        )  # fmt: skip


def _blame(
    feed: Feed, report: Report, mistakes: Iterable[Mistake], *, column: int, cause: str,
    sentence: Callable[[Mistake], str],
) -> None:  # fmt: skip
    """Report mistakes of one cause, each in its cell; what the database did not list is counted all the same."""
    total = 0
    for mistake in mistakes:
        report.add(feed.header.issue(mistake.row, column, mistake.key, cause, sentence(mistake)))
        total = mistake.total
    if total:
        report.counts[cause] = total


def _conclude(
    parsed: _Parsed, *, batch: uuid.UUID, brand: Brand, file_name: str, by: User, dry_run: bool
) -> FeedImport:
    """Merge unless something is wrong, and write down what happened. A dry run's merge is rolled back on its own."""
    spoken = parsed.feed.binding.attribute_names if parsed.feed else ()
    merged = _EMPTY
    if dry_run and not parsed.report.total:
        with transaction.atomic(durable=True):
            merged = staging.merge(batch, brand_id=brand.pk, spoken=spoken)
            transaction.set_rollback(True)
    with transaction.atomic(durable=True):
        if not dry_run and not parsed.report.total:
            merged = staging.merge(batch, brand_id=brand.pk, spoken=spoken)
        status = (
            ImportStatus.CHECKED if dry_run else ImportStatus.REFUSED if parsed.report.total else ImportStatus.APPLIED
        )
        done = _record(parsed, merged, status, brand=brand, file_name=file_name, by=by)
        if status == ImportStatus.APPLIED:
            events.publish(_happening(done, merged), by=by)
    return done


def _record(
    parsed: _Parsed, merged: Merged, status: ImportStatus, *, brand: Brand, file_name: str, by: User
) -> FeedImport:
    report = parsed.report
    done = FeedImport.objects.create(
        brand=brand,
        file_name=_storable(Path(file_name.replace("\\", "/")).name)[:300] or "feed",
        file_sha256=parsed.sha256,
        file_bytes=parsed.size,
        dialect=parsed.feed.dialect if parsed.feed else {},
        status=status,
        rows=parsed.feed.count if parsed.feed else 0,
        created=merged.created,
        updated=merged.updated,
        unchanged=merged.unchanged,
        error_count=report.total,
        issue_counts=dict(report.counts),
        requested_by=by,
    )
    ImportIssue.objects.bulk_create(
        (
            ImportIssue(
                feed_import=done,
                row=issue.row,
                column=_storable(issue.column),
                cell=issue.cell,
                value=_storable(issue.value),
                cause=issue.cause,
                message=_storable(issue.message),
            )
            for issue in report.kept
        ),
        batch_size=1000,
    )
    return done


def _storable(text: str) -> str:
    """Without what PostgreSQL cannot store: NUL and lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _happening(done: FeedImport, merged: Merged) -> events.FeedImported:
    payload: dict[str, Any] = {
        "file_name": done.file_name,
        "file_sha256": done.file_sha256,
        "rows": done.rows,
        "created": merged.created,
        "updated": merged.updated,
        "unchanged": merged.unchanged,
        "variants_changed": merged.variants_changed,
        "photos_changed": merged.photos_changed,
    }
    return events.FeedImported(brand_id=done.brand_id, object_id=done.pk, payload=payload)
