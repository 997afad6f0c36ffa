"""Photos from a folder or a ZIP archive, each matched to a product by its file name."""

from __future__ import annotations

import os
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import structlog
from django.db import transaction
from django.utils.translation import gettext as _

from campaigns.choices import PhotoStatus
from campaigns.models import ReferencePhoto, Subject
from campaigns.photos import intake, names, reading
from campaigns.selectors import photos as selectors
from campaigns.services import photos
from campaigns.services.photos import Refusal, StoredPhoto
from core.access import Action, require
from core.errors import Busy, Invalid
from core.models import Brand, User

log = structlog.get_logger(__name__)

BATCH_SIZE = 100  # photos written in one transaction, with one event
WAITING = (PhotoStatus.PENDING, PhotoStatus.REFUSED)
WORKERS = min(4, os.cpu_count() or 1)
MAX_ZIP_FILES = 10_000
MAX_ZIP_BYTES = 8 * 1024**3
MAX_ZIP_RATIO = 200  # images are compressed already: what unpacks to far more is a zip bomb


@dataclass
class AttachReport:
    """The counts of a batch."""

    ready: int = 0  # photos
    refused: int = 0  # photos
    cutouts: int = 0
    missing: int = 0  # photos that still wait for their file
    refusals: list[Refusal] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)  # they belong to no product
    by_sku: int = 0  # ready photos matched by the SKU in the file name
    unchanged: int = 0  # they were here already
    ambiguous: list[Refusal] = field(default_factory=list)  # they fit several products
    remarks: list[Refusal] = field(default_factory=list)  # they were used differently from what their name says


class _File(NamedTuple):
    """A file of the folder or archive: its name, and a function that reads it."""

    name: str
    read: Callable[[], bytes]


_Target = list[int] | ReferencePhoto
"""The ids of photos that wait for a file of this name, or the unsaved photo of a subject that was matched by SKU."""


def attach_folder(*, brand: Brand, folder: Path, by: User) -> AttachReport:
    """Attach the files in `folder` and below to the brand's photos.

    A file is matched by the name that the feed gave, else by the SKU in its own name or its folder's. If a file cannot
    be used, its photo becomes refused, with the reason in its notes; a better file may follow.
    Raises NotAllowed, and Invalid if there is no such folder.
    """
    require(by, Action.IMPORT_FEED, brand)
    if not folder.is_dir():
        raise Invalid(_("There is no folder %(name)s.") % {"name": folder})
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    offered = (_File(path.relative_to(folder).as_posix(), path.read_bytes) for path in paths)
    return _attach_many(brand, offered, by)


def attach_zip(*, brand: Brand, file: IO[bytes], by: User) -> AttachReport:
    """Attach the files of a ZIP archive as `attach_folder` does. Raises Invalid for no ZIP, encryption, a zip bomb."""
    require(by, Action.IMPORT_FEED, brand)
    try:
        with zipfile.ZipFile(file) as archive:
            return _attach_many(brand, _iter_members(archive), by)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        message = _("This is no ZIP archive that can be read (%(error)s); pack the photos again.")
        raise Invalid(message % {"error": error}) from error


def _attach_many(brand: Brand, offered: Iterable[_File], by: User) -> AttachReport:
    """Match files by the names that the feed gave, the rest by the SKU in their own name or their folder's."""
    waiting = selectors.list_photos_without_file(brand=brand, user=by)
    by_path: dict[str, list[int]] = defaultdict(list)
    by_name: dict[str, list[int]] = defaultdict(list)
    for photo_id, path in waiting:
        by_path[path].append(photo_id)
        by_name[path.rsplit("/", 1)[-1]].append(photo_id)
    report = AttachReport()
    matched: set[int] = set()
    pairs: list[tuple[_File, _Target]] = []
    left = []
    for file in offered:
        name = file.name.casefold()
        matches = by_path.get(name) or by_name.get(name.rsplit("/", 1)[-1]) or []
        fresh = [photo_id for photo_id in matches if photo_id not in matched]
        matched.update(fresh)
        if fresh:
            pairs.append((file, fresh))
        elif not matches:
            left.append(file)
    pairs += _match_by_sku(brand, left, report)
    for start in range(0, len(pairs), BATCH_SIZE):
        _attach_batch(brand, pairs[start : start + BATCH_SIZE], by, report)
    report.missing = len(waiting) - len(matched)
    return report


def _match_by_sku(brand: Brand, offered: Sequence[_File], report: AttachReport) -> list[tuple[_File, ReferencePhoto]]:
    """Match files by the SKU in their name; files with no SKU, or with several, go into the report."""
    images = [file for file in offered if names.is_image(file.name)]
    report.unmatched += [file.name for file in offered if not names.is_image(file.name)]
    by_sku = selectors.subjects_by_sku(brand, {key for file in images for key in names.candidates(file.name)})
    pairs = []
    given: set[tuple[int, str]] = set()
    for file in images:
        reading = names.read_file_name(file.name, lambda key: by_sku.get(key, frozenset()))
        if reading.subject is None:
            if any(key in by_sku for key in names.candidates(file.name)):
                report.ambiguous.append(Refusal(file.name, reading.remark))
            else:
                report.unmatched.append(file.name)
            continue
        if reading.remark:
            report.remarks.append(Refusal(file.name, reading.remark))
        source = photos.file_name_of(file.name)
        skus = tuple(key for key, ids in by_sku.items() if reading.subject in ids)
        # The SKU is in the folder's name (many products have a "front.jpg"), or two folders have the same file name.
        if not source.casefold().startswith(skus) or (reading.subject, source) in given:
            source = file.name[-2000:]
        given.add((reading.subject, source))
        photo = ReferencePhoto(subject_id=reading.subject, source=source, role=reading.role, position=reading.number)
        pairs.append((file, photo))
    return sorted(pairs, key=lambda pair: (pair[1].subject_id, pair[1].position, pair[1].source))


def _attach_batch(brand: Brand, batch: Sequence[tuple[_File, _Target]], by: User, report: AttachReport) -> None:
    """Read, check, store and cut out without a transaction, then write the batch in one transaction."""
    outcomes = list(_store_files(brand, [file for file, target in batch]))
    awaited: dict[int, StoredPhoto | Refusal] = {}
    named: list[tuple[ReferencePhoto, StoredPhoto]] = []
    for (_file, target), outcome in zip(batch, outcomes, strict=True):
        if isinstance(target, ReferencePhoto):
            named += [(target, outcome)] if isinstance(outcome, StoredPhoto) else []
        else:
            awaited |= dict.fromkeys(target, outcome)
    with transaction.atomic():
        # Others may have attached a file meanwhile.
        rows = ReferencePhoto.objects.select_for_update(of=("self",)).filter(pk__in=awaited, status__in=WAITING)
        waiting = [(row, awaited[row.pk]) for row in rows.order_by("pk")]
        ready = [(row, outcome) for row, outcome in waiting if isinstance(outcome, StoredPhoto)]
        refused = [(row, outcome) for row, outcome in waiting if isinstance(outcome, Refusal)]
        ready += _get_or_create_photos(named, report)
        report.cutouts += photos.write_photos(brand, ready, refused, by=by)
    report.ready += len(ready)
    report.refused += len(refused)
    report.by_sku += sum(1 for row, file in ready if row.pk not in awaited)
    report.refusals += [outcome for outcome in outcomes if isinstance(outcome, Refusal)]


def _get_or_create_photos(
    named: Sequence[tuple[ReferencePhoto, StoredPhoto]], report: AttachReport
) -> list[tuple[ReferencePhoto, StoredPhoto]]:
    """Get or create the photos of files matched by SKU; a file that its subject has already is only counted."""
    ids = sorted({target.subject_id for target, taken in named})
    list(Subject.objects.select_for_update().filter(pk__in=ids).order_by("pk"))
    there: dict[int, list[ReferencePhoto]] = defaultdict(list)
    for row in ReferencePhoto.objects.filter(subject_id__in=ids).order_by("subject_id", "position", "id"):
        there[row.subject_id].append(row)
    pairs = []
    for target, taken in named:
        rows = there[target.subject_id]
        photo = next((row for row in rows if row.source == target.source), None)
        is_removed = photo is not None and photo.status == PhotoStatus.REMOVED
        if is_removed or any(row.sha256 == taken.stored.sha256 for row in rows):
            report.unchanged += 1
            continue
        if photo is None:
            photo = target
            photo.position = max((row.position for row in rows), default=0) + 1
            photo.save()
            rows.append(photo)
        pairs.append((photo, taken))
    return pairs


def _store_files(brand: Brand, offered: Sequence[_File]) -> Iterator[StoredPhoto | Refusal]:
    """Yield the result of each file, in order. They are read on threads: at most WORKERS files are in memory."""
    jobs: dict[str, Future[StoredPhoto]] = {}  # equal files are cut out once
    with ThreadPoolExecutor(WORKERS) as pool:
        for start in range(0, len(offered), WORKERS):
            admitted = list(pool.map(_admit_file, offered[start : start + WORKERS]))
            for photo in admitted:
                if isinstance(photo, reading.AdmittedPhoto) and (digest := photos.sha256_of(photo)) not in jobs:
                    known_cut = photos.find_existing_cutout(brand, photo)
                    jobs[digest] = pool.submit(photos.store_photo, photo, known_cut, is_patient=True)
            for photo in admitted:
                yield photo if isinstance(photo, Refusal) else jobs[photos.sha256_of(photo)].result()


def _admit_file(file: _File) -> reading.AdmittedPhoto | Refusal:
    try:
        return reading.admit(file.read(), is_patient=True)
    except (intake.Refused, Busy, OSError, zipfile.BadZipFile, RuntimeError) as error:
        return Refusal(file.name, str(error) or "The file could not be read.")
    except Exception:  # a decoder failed: one bad file must not stop the others of the archive
        log.exception("photo.failed")
        return Refusal(file.name, "The image is damaged and cannot be read; export it again.")


def _iter_members(archive: zipfile.ZipFile) -> Iterator[_File]:
    """Yield the archive's files that may be photos, after a check of all; names are compared, never used as paths."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    total = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if len(entries) > MAX_ZIP_FILES:
        message = _("The archive holds %(count)d files; at most %(most)d at once.")
        raise Invalid(message % {"count": len(entries), "most": MAX_ZIP_FILES})
    if total > MAX_ZIP_BYTES or total > MAX_ZIP_RATIO * max(packed, 4096):
        message = _("The archive unpacks to %(size).0f MB, far more than photos do; pack the photos only.")
        raise Invalid(message % {"size": total / 2**20})
    if encrypted := next((entry for entry in entries if entry.flag_bits & 1), None):
        message = _("%(file)s is encrypted; send the archive without a password.")
        raise Invalid(message % {"file": encrypted.filename})
    for entry in entries:
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if "__MACOSX" not in name.parts and not name.name.startswith("."):
            yield _File(name.as_posix(), partial(_read_member, archive, entry))


def _read_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read at most one byte more than is accepted, whatever size the directory claims."""
    with archive.open(entry) as member:
        return member.read(intake.MAX_BYTES + 1)
