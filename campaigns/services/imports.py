"""Import a product feed into a brand: upload, check, fix, apply in full or not at all, undo.

services/feed_reading.py reads a file; services/mappings.py remembers its column mapping.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns import events
from campaigns.choices import ImportStatus, SubjectKind
from campaigns.feeds import FeedRefused
from campaigns.models import FeedImport, FeedSource, ImportChange
from campaigns.services import feed_reading, mappings, undoing
from campaigns.services.feed_reading import ensure_file_kept, is_file_kept, read_head
from core import access, clock, stored_files
from core.access import Action
from core.errors import Busy, Conflict, Invalid, NotFound
from core.events import publish
from core.models import Brand, User
from core.selectors.rows import first_or_refuse

MAX_FILE_BYTES = 1 << 30
MAX_IMMEDIATE_BYTES = 5_000_000
"""Larger files are read by a worker in the background, because people and proxies do not wait so long for a page."""
MAX_IMMEDIATE_UNDO = 20_000
"""Subjects; undoing more takes longer than people wait for a page."""
MAX_ATTEMPTS = 3
KEPT_FOR = timedelta(days=30)
_OPEN = (ImportStatus.CHECKED, ImportStatus.REFUSED)
_FAILED_REPEATEDLY = (
    f"Reading the file failed {MAX_ATTEMPTS} times, so it is set aside: it stopped the worker that read it, or was not "
    "read to its end. Save it again, as CSV in UTF-8, and import that."
)


def import_feed(
    *,
    brand: Brand,
    file: IO[bytes] | Path,
    file_name: str,
    by: User,
    dry_run: bool = False,
    kind: str = SubjectKind.PRODUCT,
    mapping: Mapping[str, str] | None = None,
    fixes: Sequence[Mapping[str, Any]] = (),
    source: FeedSource | None = None,
    encoding: str = "",
) -> FeedImport:
    """Import a feed now. The status of the result is applied, refused (with its issues), or checked.

    A bad file raises nothing: it is refused, and the row and its issues say why. A dry run does everything and rolls
    it back. `kind` applies to rows that name none. `mapping` (heading -> field) defaults to that of `source`, or to the
    one saved for these headings. `fixes` are {"cause", "fix", "columns"?}. Raises NotAllowed, and Invalid for an
    unknown kind, field or fix. Not to be called inside a transaction: parsing may take minutes.
    """
    offered = _store_file(
        brand=brand, file=file, file_name=file_name, by=by, kind=kind, mapping=mapping, source=source, fixes=fixes,
        encoding=encoding,
    )  # fmt: skip
    offered.is_to_apply = not dry_run
    if not offered.storage_key:
        return feed_reading.refuse(offered, _too_large(offered.file_bytes))
    if dry_run:
        with stored_files.open(offered.storage_key) as stream:
            return feed_reading.read_feed(stream, offered)
    with ExitStack() as held:
        # The row is saved and locked first: if reading ends this process, the next one counts the attempt.
        with transaction.atomic(durable=True):
            offered.status = ImportStatus.WAITING
            offered.save()
            held.enter_context(_lock_import(offered.pk))
        _read_waiting(offered.pk)
    return FeedImport.objects.select_related("brand", "requested_by", "source").get(pk=offered.pk)


def upload(
    *,
    brand: Brand,
    file: IO[bytes] | Path,
    file_name: str,
    by: User,
    kind: str = SubjectKind.PRODUCT,
    mapping: Mapping[str, str] | None = None,
    fixes: Sequence[Mapping[str, Any]] = (),
    source: FeedSource | None = None,
    is_to_apply: bool = False,
    encoding: str = "",
) -> FeedImport:
    """Store a file and check (or apply) it: a small one at once, a large one by a worker.

    Raises NotAllowed, and Invalid as import_feed does, and for a file that is too large.
    """
    offered = _store_file(
        brand=brand, file=file, file_name=file_name, by=by, kind=kind, mapping=mapping, source=source, fixes=fixes,
        encoding=encoding,
    )  # fmt: skip
    if not offered.storage_key:
        raise Invalid(_too_large(offered.file_bytes))
    offered.is_to_apply, offered.status = is_to_apply, ImportStatus.WAITING
    offered.save()
    return _read_if_small(offered.pk)


def check_again(
    *,
    import_id: int,
    by: User,
    mapping: Mapping[str, str] | None = None,
    kind: str | None = None,
    fixes: Sequence[Mapping[str, Any]] | None = None,
    encoding: str | None = None,
) -> FeedImport:
    """Check a file again with another mapping, kind, encoding or other fixes (None: unchanged).

    Raises NotAllowed, Invalid, and Conflict when it is being read, was applied, or is no longer kept.
    """
    feed_import = _load(import_id, by)
    mappings.ensure_kind(kind or feed_import.subject_kind)
    changes: dict[str, Any] = {"is_to_apply": False}
    if mapping is not None:
        changes["mapping"] = mappings.ensure_fields(mapping)
        changes["source"] = None if changes["mapping"] != feed_import.mapping else feed_import.source
    if kind is not None:
        changes["subject_kind"] = kind
    if fixes is not None:
        changes["fixes"] = mappings.ensure_fixes(fixes)
    if encoding is not None:
        changes["encoding"] = mappings.ensure_encoding(encoding)
    _mark_waiting(feed_import, among=_OPEN, **changes)
    return _read_if_small(import_id)


def add_fix(*, import_id: int, by: User, cause: str, fix: str, columns: Iterable[str] = ()) -> FeedImport:
    """Add a fix for all mistakes of one cause, and check again. Raises as check_again does.

    If the fix is there already, it moves to the end and also covers these columns.
    """
    feed_import = _load(import_id, by)
    kept = [applied for applied in feed_import.fixes if (applied["cause"], applied["fix"]) != (cause, fix)]
    before = [column for applied in feed_import.fixes if applied not in kept for column in applied["columns"]]
    named = list(dict.fromkeys([*before, *columns]))
    return check_again(import_id=import_id, by=by, fixes=[*kept, {"cause": cause, "fix": fix, "columns": named}])


def take_back_fix(*, import_id: int, by: User, cause: str, fix: str) -> FeedImport:
    """Remove one of the fixes, and check again. Raises as check_again does, and NotFound for one not applied."""
    feed_import = _load(import_id, by)
    kept = [applied for applied in feed_import.fixes if (applied["cause"], applied["fix"]) != (cause, fix)]
    if len(kept) == len(feed_import.fixes):
        message = _("The fix %(fix)r for %(cause)r is not applied to this import.")
        raise NotFound(message % {"fix": fix[:60], "cause": cause[:60]})
    return check_again(import_id=import_id, by=by, fixes=kept)


def apply(*, import_id: int, by: User) -> FeedImport:
    """Apply a checked file in full: a small one at once, a large one by a worker.

    The file is read again with the current data, so it may still be refused. Raises NotAllowed, and Conflict for
    anything but a checked file without mistakes that is still stored.
    """
    feed_import = _load(import_id, by)
    if feed_import.error_count:
        message = _("%(count)s mistakes are in the way; fix them first.")
        raise Conflict(message % {"count": f"{feed_import.error_count:,}"})
    _mark_waiting(feed_import, among=(ImportStatus.CHECKED,), is_to_apply=True, requested_by=by)
    return _read_if_small(import_id)


def undo(*, import_id: int, by: User) -> FeedImport:
    """Undo an applied import: a small one at once, a large one by a worker.

    What it created is deleted, or retired if it is in use; what it changed is restored unless it was changed again.
    Raises NotAllowed, and Conflict when it is not applied or somebody else was faster.
    """
    feed_import = _load(import_id, by)
    if ImportChange.objects.filter(feed_import=feed_import)[: MAX_IMMEDIATE_UNDO + 1].count() <= MAX_IMMEDIATE_UNDO:
        _undo_now(feed_import, by, among=ImportStatus.APPLIED)
    else:
        applied = FeedImport.objects.filter(pk=import_id, status=ImportStatus.APPLIED)
        if not applied.update(status=ImportStatus.WAITING, undone_by=by, attempts=0, reading_since=None):
            raise _conflict(import_id, is_undoing=True)
    return _load(import_id, by)


@transaction.atomic
def _undo_now(feed_import: FeedImport, by: User, *, among: ImportStatus) -> None:
    rows = FeedImport.objects.filter(pk=feed_import.pk)
    undone = {"status": ImportStatus.UNDONE, "undone_at": clock.now(), "undone_by": by, "attempts": 0}
    if not rows.filter(status=among).update(**undone):
        raise _conflict(feed_import.pk, is_undoing=True)
    counts = asdict(undoing.undo(feed_import.pk))
    rows.update(undone_counts=counts)
    payload = {"import": feed_import.pk, "file_name": feed_import.file_name, **counts}
    publish(events.FeedUndone.of(feed_import, **payload), by=by)


def waiting_ids() -> list[int]:
    """Return the ids of waiting imports, the oldest first."""
    return list(FeedImport.objects.filter(status=ImportStatus.WAITING).order_by("id").values_list("id", flat=True)[:50])


def process_waiting(import_id: int) -> bool:
    """Read (or undo) a waiting import unless another process is doing so; return True if it was done.

    The lock ends with its process, so the next worker restarts the import of a killed one from the beginning: nothing
    of it was written. An import that killed several workers is set aside: it is refused with the reason.
    """
    with _lock_import(import_id) as is_mine:
        return is_mine and _read_waiting(import_id)


def _read_waiting(import_id: int) -> bool:
    """Read (or undo) an import that the caller has locked; return False if it no longer waits."""
    waiting = FeedImport.objects.filter(pk=import_id, status=ImportStatus.WAITING)
    if not waiting.update(attempts=F("attempts") + 1, reading_since=timezone.now()):
        return False
    offered = FeedImport.objects.select_related("brand", "requested_by", "source", "undone_by").get(pk=import_id)
    has_failed = offered.attempts > MAX_ATTEMPTS
    if offered.undone_by is not None and has_failed:
        waiting.update(status=ImportStatus.APPLIED, undone_by=None, attempts=0)
    elif offered.undone_by is not None:
        _undo_now(offered, offered.undone_by, among=ImportStatus.WAITING)
    elif has_failed:
        feed_reading.refuse(offered, _FAILED_REPEATEDLY)
    elif not is_file_kept(offered):
        feed_reading.refuse(offered, "The file is no longer kept. Drop it again.")
    else:
        try:
            with stored_files.open(offered.storage_key) as stream:
                feed_reading.read_feed(stream, offered)
        except Busy:
            waiting.update(attempts=F("attempts") - 1)  # do not count this attempt: the file did not cause it
            raise
    return True


def release_old_files() -> int:
    """Release the files of imports older than KEPT_FOR, for the sweeper to delete; return how many."""
    over = FeedImport.objects.exclude(storage_key="").exclude(status=ImportStatus.WAITING)
    return over.filter(created_at__lt=clock.now() - KEPT_FOR).update(storage_key="")


@contextmanager
def _lock_import(import_id: int) -> Iterator[bool]:
    """Lock the import for reading; yield True if the lock was free, False at once if not."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended('import', %s))", [import_id])
        is_mine: bool = cursor.fetchone()[0]
    try:
        yield is_mine
    finally:
        if is_mine:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended('import', %s))", [import_id])


def _read_if_small(import_id: int) -> FeedImport:
    offered = FeedImport.objects.select_related("brand").get(pk=import_id)
    if offered.file_bytes <= MAX_IMMEDIATE_BYTES or _is_unreadable(offered):
        process_waiting(import_id)
    return FeedImport.objects.select_related("brand", "requested_by", "source").get(pk=import_id)


def _store_file(
    *,
    brand: Brand,
    file: IO[bytes] | Path,
    file_name: str,
    by: User,
    kind: str,
    mapping: Mapping[str, str] | None,
    source: FeedSource | None,
    fixes: Sequence[Mapping[str, Any]],
    encoding: str,
) -> FeedImport:
    """Store the file and return an unsaved import; it has no storage key if the file is too large."""
    access.require(by, Action.IMPORT_FEED, brand)
    mappings.ensure_kind(kind)
    offered = FeedImport(
        brand=brand,
        file_name=feed_reading.storable(Path(file_name.replace("\\", "/")).name)[:300] or "feed",
        subject_kind=kind,
        fixes=mappings.ensure_fixes(fixes),
        mapping=mappings.ensure_fields(mapping or {}),
        source=source,
        encoding=mappings.ensure_encoding(encoding) or _last_encoding(source),
        requested_by=by,
    )
    try:
        stored = _store_stream(file)
    except stored_files.TooLarge:
        offered.file_bytes = MAX_FILE_BYTES + 1
        return offered
    offered.storage_key, offered.file_sha256, offered.file_bytes = stored.key, stored.sha256, stored.bytes
    if mapping is None:
        _use_saved_mapping(offered)
    return offered


def _last_encoding(source: FeedSource | None) -> str:
    """Return the encoding that people chose for the last file of this source, or ""."""
    if source is None:
        return ""
    return FeedImport.objects.filter(source=source).order_by("-id").values_list("encoding", flat=True).first() or ""


def _store_stream(file: IO[bytes] | Path) -> stored_files.StoredFile:
    """Store the file in pieces; raise TooLarge without reading it if its size is known to be too large."""
    if isinstance(file, Path):
        with file.open("rb") as stream:
            return _store_stream(stream)
    if file.seekable():
        file.seek(0, os.SEEK_END)
        if file.tell() > MAX_FILE_BYTES:
            raise stored_files.TooLarge
        file.seek(0)
    return stored_files.put_stream(file, suffix="feed", max_bytes=MAX_FILE_BYTES)


def _too_large(size: int) -> str:
    message = _("The file has %(count)s bytes or more; expected at most %(most)s. Split it.")
    return message % {"count": f"{size:,}", "most": f"{MAX_FILE_BYTES:,}"}


def _use_saved_mapping(offered: FeedImport) -> None:
    """Set the mapping that is saved for its source or for its headings."""
    source = offered.source
    if source is None and mappings.saved_mappings(offered.brand).exists():
        head = read_head(offered, rows=0)
        source = None if isinstance(head, FeedRefused) else mappings.find_saved_mapping(offered.brand, head.header)
    if source is None:
        return
    offered.source, offered.mapping = source, source.mapping
    if offered.subject_kind == SubjectKind.PRODUCT:
        offered.subject_kind = source.subject_kind


def _is_unreadable(offered: FeedImport) -> bool:
    """True if the first rows show already that the file cannot be read; then nobody has to wait for it."""
    try:
        head = read_head(offered, rows=1)
    except Conflict:
        return True
    return isinstance(head, FeedRefused) or head.needs_mapping


def _load(import_id: int, by: User) -> FeedImport:
    rows = FeedImport.objects.select_related("brand", "source", "requested_by")
    feed_import = first_or_refuse(rows.filter(pk=import_id), _("There is no import %(id)s.") % {"id": import_id})
    access.require(by, Action.IMPORT_FEED, feed_import.brand)
    return feed_import


def _mark_waiting(feed_import: FeedImport, *, among: Sequence[str], **changes: Any) -> None:
    """Compare-and-set to waiting, if the status is in `among` and fixes and mapping are unchanged."""
    ensure_file_kept(feed_import)
    seen = FeedImport.objects.filter(
        pk=feed_import.pk, status__in=among, fixes=feed_import.fixes, mapping=feed_import.mapping
    )
    if not seen.update(status=ImportStatus.WAITING, attempts=0, rows=0, bytes_read=0, reading_since=None, **changes):
        raise _conflict(feed_import.pk, is_undoing=False)


def _conflict(import_id: int, *, is_undoing: bool) -> Conflict:
    """Return the refusal to change or undo the import in its present state."""
    now = FeedImport.objects.select_related("undone_by").get(pk=import_id)
    undoer = now.undone_by.display_name if now.undone_by else _("somebody")
    reasons = {
        ImportStatus.WAITING: _("it is being read or taken back just now"),
        ImportStatus.APPLIED: _("it was applied"),
        ImportStatus.UNDONE: _("%(name)s has undone it") % {"name": undoer},
        ImportStatus.CHECKED: _("it was only checked") if is_undoing else _("somebody else has just changed it"),
        ImportStatus.REFUSED: _("it was refused, and nothing was written"),
    }
    sentence = _("This import cannot be undone: %(reason)s.")
    if not is_undoing:
        sentence = _("This import cannot be changed: %(reason)s.")
    return Conflict(sentence % {"reason": reasons[ImportStatus(now.status)]})
