"""Import a product feed into a brand: upload, check, fix, apply in full or not at all, undo.

services/feed_reading.py reads a file; services/mappings.py remembers its column mapping.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Unpack

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns import events
from campaigns.choices import ImportStatus, SubjectKind
from campaigns.feeds import FeedRefused
from campaigns.models import FeedImport, ImportChange
from campaigns.services import feed_reading, mappings, undoing
from campaigns.services.feed_reading import ensure_file_kept, is_file_kept, read_head
from campaigns.services.mappings import FeedOptions
from core import access, clock, stored_files
from core.access import Action
from core.choices import Lane
from core.errors import Busy, Conflict, Invalid, NotFound
from core.events import publish
from core.io_lane import io_work
from core.models import Brand, RetryPolicy, User, is_free
from core.selectors.rows import first_or_refuse
from core.services import leases, wake_ups

MAX_FILE_BYTES = 1 << 30
MAX_IMMEDIATE_BYTES = 5_000_000  # larger files are read by a worker: people and proxies do not wait so long
MAX_IMMEDIATE_UNDO = 20_000  # subjects; undoing more takes longer than people wait for a page
POLICY = RetryPolicy(waits_seconds=(5, 60), lease=timedelta(seconds=settings.PROOFLINE["lease_seconds"]))
HEAD_START = timedelta(seconds=10)  # until a worker reads a file that the request which brings it has not begun to read
BUSY_WAIT = timedelta(seconds=10)  # before a file is read again that could not be opened, because too many others were
KEPT_FOR = timedelta(days=30)
_OPEN = (ImportStatus.CHECKED, ImportStatus.REFUSED)
_FAILED_REPEATEDLY = (
    f"Reading the file failed {POLICY.max_deaths} times, so it is set aside: it stopped the worker that read it, or "
    "was not read to its end. Save it again, as CSV in UTF-8, and import that."
)


def import_feed(
    *, brand: Brand, file: IO[bytes] | Path, file_name: str, by: User, dry_run: bool = False,
    **options: Unpack[FeedOptions],
) -> FeedImport:  # fmt: skip
    """Import a feed now. The status of the result is applied, refused (with its issues), or checked.

    A bad file raises nothing: it is refused, and the row and its issues say why. A dry run does everything and rolls
    it back. The mapping defaults to that of the source or to the one saved for these headings, the encoding to that of
    the source's last file. Not to be called inside a transaction: parsing may take minutes. Raises NotAllowed, and
    Invalid for an unknown kind, field or fix.
    """
    offered = _store_file(brand, file, file_name, by, **options)
    offered.is_to_apply, offered.status = not dry_run, ImportStatus.WAITING
    # The row is saved and leased first: if reading ends this process, the attempt has counted.
    offered.lease(POLICY)
    offered.save()
    _read(offered)
    return _get(offered.pk)


def upload(
    *, brand: Brand, file: IO[bytes] | Path, file_name: str, by: User, is_to_apply: bool = False,
    **options: Unpack[FeedOptions],
) -> FeedImport:  # fmt: skip
    """Store a file and check (or apply) it: a small one at once, a large one by a worker.

    Raises NotAllowed, and Invalid as import_feed does, and for a file that is too large.
    """
    offered = _store_file(brand, file, file_name, by, **options)
    if not offered.storage_key:
        raise Invalid(_too_large(offered))
    offered.is_to_apply, offered.status = is_to_apply, ImportStatus.WAITING
    offered.request(after=HEAD_START)
    offered.save()
    return _read_if_small(offered.pk)


def check_again(*, import_id: int, by: User, **options: Unpack[FeedOptions]) -> FeedImport:
    """Check a file again with other options; those that are not given stay as they are.

    Raises NotAllowed, Invalid, and Conflict when it is being read, was applied, or is no longer kept.
    """
    feed_import = _load(import_id, by)
    changes = mappings.clean_options(options)
    if changes.get("mapping", feed_import.mapping) != feed_import.mapping:
        changes["source"] = None
    _mark_waiting(feed_import, among=_OPEN, is_to_apply=False, **changes)
    return _read_if_small(import_id)


def add_fix(*, import_id: int, by: User, cause: str, fix: str) -> FeedImport:
    """Add a fix for the columns with mistakes of this cause, or move it to the end; raises as check_again does."""
    feed_import = _load(import_id, by)
    kept = [applied for applied in feed_import.fixes if (applied["cause"], applied["fix"]) != (cause, fix)]
    before = [column for applied in feed_import.fixes if applied not in kept for column in applied["columns"]]
    columns = feed_import.issues.filter(cause=cause).order_by("column").values_list("column", flat=True).distinct()
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
    if count := feed_import.error_count:
        message = ngettext(
            "%(count)s mistake is in the way; fix it first.",
            "%(count)s mistakes are in the way; fix them first.",
            count,
        )
        raise Conflict(message % {"count": f"{count:,}"})
    _mark_waiting(feed_import, among=(ImportStatus.CHECKED,), is_to_apply=True, requested_by=by)
    return _read_if_small(import_id)


def undo(*, import_id: int, by: User) -> FeedImport:
    """Undo an applied import: a small one at once, a large one by a worker.

    What it created is deleted, or retired if it is in use; what it changed is restored unless it was changed again.
    Raises NotAllowed, and Conflict when it is not applied or somebody else was faster.
    """
    feed_import = _load(import_id, by)
    if ImportChange.objects.filter(feed_import=feed_import)[: MAX_IMMEDIATE_UNDO + 1].count() <= MAX_IMMEDIATE_UNDO:
        _undo_now(import_id, by, status=ImportStatus.APPLIED)
    else:
        applied = FeedImport.objects.filter(pk=import_id, status=ImportStatus.APPLIED)
        if not leases.request(applied, status=ImportStatus.WAITING, undone_by=by, reading_since=None):
            raise _conflict(import_id, is_undoing=True)
        wake_ups.wake(Lane.IO)
    return _load(import_id, by)


@transaction.atomic
def _undo_now(import_id: int, by: User, **expected: Any) -> None:
    """Undo an import whose fields are as `expected`. Raises Conflict if they are not."""
    feed_import = FeedImport.objects.select_for_update().filter(pk=import_id, **expected).first()
    if feed_import is None:
        raise _conflict(import_id, is_undoing=True)
    counts = undoing.undo(import_id)
    feed_import.status, feed_import.undone_at, feed_import.undone_by = ImportStatus.UNDONE, clock.now(), by
    feed_import.undone_counts = counts
    feed_import.succeed()
    feed_import.save()
    payload = {"import": import_id, "file_name": feed_import.file_name, **counts}
    publish(events.FeedUndone.of(feed_import, **payload), by=by)


def process_waiting(import_id: int | None = None) -> bool:
    """Read (or undo) this waiting import, or the one that has been due longest; return False if it is not due."""
    rows = FeedImport.objects.all() if import_id is None else FeedImport.objects.filter(pk=import_id)
    claimed = leases.claim(rows, POLICY)
    if claimed is not None:
        _read(claimed)
    return claimed is not None


io_work()(process_waiting)


def _read(claimed: FeedImport) -> None:
    """Read (or undo) an import. If its process is killed, the next one begins anew: nothing of it was written."""
    claimed.reading_since = timezone.now()
    claimed.save(update_fields=["reading_since"])
    with leases.renewing(claimed, POLICY):
        try:
            if claimed.deaths > POLICY.max_deaths:
                _set_aside(claimed)
            elif claimed.undone_by is not None:
                _undo_now(claimed.pk, claimed.undone_by, lease_token=claimed.lease_token)
            elif claimed.file_bytes > MAX_FILE_BYTES:
                feed_reading.refuse(claimed, _too_large(claimed))
            elif not is_file_kept(claimed):
                feed_reading.refuse(claimed, "The file is no longer kept. Drop it again.")
            else:
                with stored_files.open(claimed.storage_key) as stream:
                    feed_reading.read_feed(stream, claimed)
        except Exception as error:
            if not _retry_later(claimed, error):
                _set_aside(claimed)
            raise


@transaction.atomic
def _retry_later(claimed: FeedImport, error: Exception) -> bool:
    """Schedule another attempt, if the lease was not lost; return False if there were enough of them."""
    row = leases.lock(claimed)
    if row is None:
        return True
    if isinstance(error, Busy):
        row.postpone(BUSY_WAIT)  # the file did not cause it
    elif not row.retry(POLICY):
        return False
    row.save(update_fields=row.LEASE_FIELDS)
    return True


def _set_aside(claimed: FeedImport) -> None:
    """Refuse an import that cannot be read; leave one applied that cannot be undone."""
    if claimed.undone_by is None:
        feed_reading.refuse(claimed, _FAILED_REPEATEDLY)
        return
    with transaction.atomic():
        if (row := leases.lock(claimed)) is not None:
            row.status, row.undone_by = ImportStatus.APPLIED, None
            row.succeed()
            row.save()


def release_old_files() -> int:
    """Release the files of imports older than KEPT_FOR, for the sweeper to delete; return how many."""
    over = FeedImport.objects.exclude(storage_key="").exclude(status=ImportStatus.WAITING)
    return over.filter(created_at__lt=clock.now() - KEPT_FOR).update(storage_key="")


def _read_if_small(import_id: int) -> FeedImport:
    offered = FeedImport.objects.select_related("brand").get(pk=import_id)
    rows = FeedImport.objects.filter(pk=import_id)
    if offered.file_bytes <= MAX_IMMEDIATE_BYTES or _is_unreadable(offered):
        for claimed in leases.claim_together(rows, POLICY, limit=1):
            _read(claimed)
    else:
        rows.filter(is_free()).update(due_at=timezone.now())
        wake_ups.wake(Lane.IO)
    return _get(import_id)


def _store_file(
    brand: Brand, file: IO[bytes] | Path, file_name: str, by: User, **options: Unpack[FeedOptions]
) -> FeedImport:
    """Store the file and return an unsaved import; it has no storage key if the file is too large."""
    access.require(by, Action.IMPORT_FEED, brand)
    offered = FeedImport(
        brand=brand,
        file_name=feed_reading.storable(Path(file_name.replace("\\", "/")).name)[:300] or "feed",
        requested_by=by,
        **mappings.clean_options(options),
    )
    if offered.source is not None and not offered.encoding:
        last = FeedImport.objects.filter(source=offered.source).order_by("-id").values_list("encoding", flat=True)
        offered.encoding = last.first() or ""
    try:
        stored = _store_stream(file)
    except stored_files.TooLarge:
        offered.file_bytes = MAX_FILE_BYTES + 1
        return offered
    offered.storage_key, offered.file_sha256, offered.file_bytes = stored.key, stored.sha256, stored.bytes
    if options.get("mapping") is None:
        _use_saved_mapping(offered)
    return offered


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


def _too_large(offered: FeedImport) -> str:
    message = _("The file has %(count)s bytes or more; expected at most %(most)s. Split it.")
    return message % {"count": f"{offered.file_bytes:,}", "most": f"{MAX_FILE_BYTES:,}"}


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
    return isinstance(head, FeedRefused) or bool(head.problem)


def _get(import_id: int) -> FeedImport:
    """Return the import with brand, source and user. Raises NotFound."""
    rows = FeedImport.objects.select_related("brand", "source", "requested_by")
    return first_or_refuse(rows.filter(pk=import_id), _("There is no import %(id)s.") % {"id": import_id})


def _load(import_id: int, by: User) -> FeedImport:
    feed_import = _get(import_id)
    access.require(by, Action.IMPORT_FEED, feed_import.brand)
    return feed_import


def _mark_waiting(feed_import: FeedImport, *, among: Sequence[str], **changes: Any) -> None:
    """Compare-and-set to waiting, if the status is in `among` and fixes and mapping are unchanged."""
    ensure_file_kept(feed_import)
    seen = FeedImport.objects.filter(
        pk=feed_import.pk, status__in=among, fixes=feed_import.fixes, mapping=feed_import.mapping
    )
    changes |= {"status": ImportStatus.WAITING, "rows": 0, "bytes_read": 0, "reading_since": None}
    if not leases.request(seen, after=HEAD_START, **changes):
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
