"""Reference photos get their files: checked, stored once by content, and the product cut out of them.

Decoding and cutting out happen before any transaction; the rows of one batch are written in one, with one event.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any

from django.db import transaction

from campaigns import events
from campaigns.access import Action, require
from campaigns.choices import PhotoRole, PhotoStatus
from campaigns.errors import Invalid, NotFound, Problem
from campaigns.models import Brand, Cutout, ReferencePhoto, Subject, User
from campaigns.photos import cutout, intake
from campaigns.selectors import photos as selectors
from campaigns.selectors.photos import Wanted
from campaigns.services import files

BATCH = 100
"""Photos written in one transaction, with one event."""
WORKERS = min(4, os.cpu_count() or 1)
SURE_ENOUGH = 0.3
"""Confidence from which a cut-out is accepted without a person; below, one has to look first."""
DOUBTFUL = 0.6
MAX_ZIP_FILES = 10_000
MAX_ZIP_BYTES = 8 * 1024**3
MAX_ZIP_RATIO = 200
"""Pictures are compressed already: an archive that unpacks to far more than its size is a bomb."""


@dataclass(frozen=True)
class Refusal:
    """One file that could not be taken, and why."""

    file: str
    message: str


@dataclass
class Report:
    """What became of a batch. ready, refused: photos; unmatched: files that no product names; missing: photos that
    still wait for their file."""

    ready: int = 0
    refused: int = 0
    cutouts: int = 0
    missing: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _File:
    """One file on offer: its name as given, and how to read it."""

    name: str
    read: Any  # () -> bytes


@dataclass(frozen=True)
class _Taken:
    """A file that passed, as stored. cut: None if no product stood out."""

    stored: files.Stored
    width: int
    height: int
    notes: tuple[str, ...]
    cut: _Cut | None


@dataclass(frozen=True)
class _Cut:
    key: str
    sha256: str
    method: str
    confidence: float
    box: list[int]


def attach_folder(*, brand: Brand, folder: Path, by: User) -> Report:
    """Give every waiting photo of the brand its file from `folder` and below, by the name that the feed gave.

    Files that cannot be used mark their photos refused, with the reason in their notes; a better file may follow.
    Raises NotAllowed, and Invalid if there is no such folder.
    """
    require(by, Action.IMPORT_FEED, brand)
    if not folder.is_dir():
        raise Invalid(f"There is no folder {folder}.")
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    offered = (_File(path.relative_to(folder).as_posix(), path.read_bytes) for path in found)
    return _attach_many(brand, offered, by)


def attach_zip(*, brand: Brand, file: IO[bytes], by: User) -> Report:
    """As `attach_folder`, from a ZIP archive. Raises Invalid for what is no archive, encrypted, or a bomb."""
    require(by, Action.IMPORT_FEED, brand)
    try:
        with zipfile.ZipFile(file) as archive:
            return _attach_many(brand, _members(archive), by)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise Invalid(f"This is no ZIP archive that can be read ({error}); pack the photos again.") from error


def attach(
    *,
    data: bytes,
    file_name: str,
    by: User,
    photo_id: int | None = None,
    subject_id: int | None = None,
    role: str = PhotoRole.FRONT,
) -> ReferencePhoto:
    """Give one photo its file: that of `photo_id` (also a better one), or a new photo of `subject_id` in this role.

    Raises NotFound, NotAllowed, and Invalid with the reason when the file cannot be used; nothing is written then.
    """
    subject = _subject(photo_id, subject_id, by)
    require(by, Action.IMPORT_FEED, subject.brand)
    if role not in PhotoRole.values:
        raise Invalid(f"There is no photo role {role!r}; known are {', '.join(PhotoRole.values)}.")
    try:
        photo = intake.admit(data)
    except intake.Refused as error:
        raise Invalid(str(error), [Problem("file", str(error), file_name[:300])]) from error
    taken = _store(subject.brand, photo)
    with transaction.atomic():
        if photo_id is None:
            row = _photo_of(subject, file_name, role)
        else:
            row = ReferencePhoto.objects.select_for_update().get(pk=photo_id)
        _write([(row, taken)])
        _publish(subject.brand, [row], [], by)
    return row


@transaction.atomic
def accept_cutout(*, cutout_id: int, by: User) -> Cutout:
    """Use this cut-out for its photo from now on. Raises NotFound, NotAllowed."""
    found = Cutout.objects.visible_to(by).select_related("photo__subject__brand").filter(pk=cutout_id).first()
    if found is None:
        raise NotFound(f"There is no cut-out {cutout_id}.")
    brand = found.photo.subject.brand
    require(by, Action.EDIT_CAMPAIGN, brand)
    ReferencePhoto.objects.select_for_update().get(pk=found.photo_id)
    if not Cutout.objects.filter(pk=found.pk, is_accepted=True).exists():
        Cutout.objects.filter(photo_id=found.photo_id, is_accepted=True).update(is_accepted=False)
        Cutout.objects.filter(pk=found.pk).update(is_accepted=True)
        events.publish(
            events.CutoutAccepted(brand_id=brand.pk, object_id=found.photo_id, payload={"cutout": found.pk}), by=by
        )
    found.refresh_from_db()
    return found


# -- many files ----------------------------------------------------------------------------------------------------


def _attach_many(brand: Brand, offered: Iterable[_File], by: User) -> Report:
    waiting = selectors.wanted(brand=brand, user=by)
    by_path: dict[str, list[Wanted]] = defaultdict(list)
    by_name: dict[str, list[Wanted]] = defaultdict(list)
    for one in waiting:
        by_path[one.path].append(one)
        by_name[one.file_name].append(one)
    report = Report()
    matched: set[int] = set()
    pairs = []
    for file in offered:
        name = file.name.casefold()
        wanted = by_path.get(name) or by_name.get(name.rsplit("/", 1)[-1]) or []
        fresh = [one for one in wanted if one.photo_id not in matched]
        matched.update(one.photo_id for one in fresh)
        if fresh:
            pairs.append((file, fresh))
        elif not wanted:
            report.unmatched.append(file.name)
    remaining = iter(pairs)
    while batch := list(islice(remaining, BATCH)):
        _attach_batch(brand, batch, by, report)
    report.missing = len(waiting) - len(matched)
    return report


def _attach_batch(brand: Brand, batch: Sequence[tuple[_File, list[Wanted]]], by: User, report: Report) -> None:
    """Read, check, store and cut out without a transaction; then write the batch in one."""
    outcomes = list(_taken(brand, [file for file, _ in batch]))
    wanted = {one.photo_id: outcome for (_, ones), outcome in zip(batch, outcomes, strict=True) for one in ones}
    with transaction.atomic():
        # Somebody else may have attached a file meanwhile: only what still waits is written.
        rows = ReferencePhoto.objects.select_for_update(of=("self",)).filter(
            pk__in=wanted, status__in=[PhotoStatus.PENDING, PhotoStatus.REFUSED]
        )
        ready: list[tuple[ReferencePhoto, _Taken]] = []
        refused: list[tuple[ReferencePhoto, Refusal]] = []
        for row in rows.order_by("pk"):
            outcome = wanted[row.pk]
            if isinstance(outcome, Refusal):
                refused.append((row, outcome))
            else:
                ready.append((row, outcome))
        for row, refusal in refused:
            row.status, row.notes = PhotoStatus.REFUSED, [refusal.message]
        ReferencePhoto.objects.bulk_update([row for row, _ in refused], ["status", "notes"])
        report.cutouts += _write(ready)
        if ready or refused:
            _publish(brand, [row for row, _ in ready], [refusal for _, refusal in refused], by)
    report.ready += len(ready)
    report.refused += len(refused)
    report.refusals += [outcome for outcome in outcomes if isinstance(outcome, Refusal)]


def _taken(brand: Brand, offered: Sequence[_File]) -> Iterator[_Taken | Refusal]:
    """What became of each file, in order. A few at a time on threads: at most WORKERS photos are in memory."""
    jobs: dict[str, Future[_Taken]] = {}  # equal files are cut out once
    with ThreadPoolExecutor(WORKERS) as pool:
        for start in range(0, len(offered), WORKERS):
            group = offered[start : start + WORKERS]
            photos = list(pool.map(_admitted, group))
            for photo in photos:
                if isinstance(photo, intake.Photo) and _sha256(photo) not in jobs:
                    jobs[_sha256(photo)] = pool.submit(_stored, photo, _known_cut(brand, photo))
            yield from (photo if isinstance(photo, Refusal) else jobs[_sha256(photo)].result() for photo in photos)


def _admitted(file: _File) -> intake.Photo | Refusal:
    try:
        return intake.admit(file.read())
    except (intake.Refused, OSError, zipfile.BadZipFile, RuntimeError) as error:
        return Refusal(file.name, str(error) or "The file could not be read.")


def _members(archive: zipfile.ZipFile) -> Iterator[_File]:
    """The archive's files that may be photos, after a look at the whole directory. Names are only compared, never
    used as paths."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    total = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if len(entries) > MAX_ZIP_FILES:
        raise Invalid(f"The archive holds {len(entries)} files; at most {MAX_ZIP_FILES} at once.")
    if total > MAX_ZIP_BYTES or total > MAX_ZIP_RATIO * max(packed, 4096):
        raise Invalid(f"The archive unpacks to {total / 2**20:.0f} MB, far more than photos do; pack the photos only.")
    for entry in entries:
        if entry.flag_bits & 1:
            raise Invalid(f"{entry.filename} is encrypted; send the archive without a password.")
    for entry in entries:
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if "__MACOSX" not in name.parts and not name.name.startswith("."):
            yield _File(name.as_posix(), lambda entry=entry: _read_member(archive, entry))


def _read_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """At most one byte more than is accepted, whatever the directory claims."""
    with archive.open(entry) as member:
        return member.read(intake.MAX_BYTES + 1)


# -- storing -------------------------------------------------------------------------------------------------------


def _store(brand: Brand, photo: intake.Photo) -> _Taken:
    return _stored(photo, _known_cut(brand, photo))


def _stored(photo: intake.Photo, known: _Cut | None) -> _Taken:
    stored = files.put(photo.data, suffix=photo.suffix)
    notes = list(photo.notes)
    cut = known
    if cut is None:
        try:
            made = cutout.cut_out(photo.pixels)
        except cutout.NoProduct as error:
            notes.append(str(error))
        else:
            png = files.put(cutout.to_png(made.rgba), suffix="png")
            cut = _Cut(png.key, png.sha256, made.method, made.confidence, list(made.box))
    if cut is not None and cut.confidence < DOUBTFUL:
        notes.append(
            f"The cut-out is uncertain ({cut.confidence:.0%}): product and background are much alike. Look at it."
        )
    return _Taken(stored, photo.width, photo.height, tuple(notes), cut)


def _known_cut(brand: Brand, photo: intake.Photo) -> _Cut | None:
    """The cut-out that this brand already has of the same file."""
    row = selectors.cutout_of_same_file(brand=brand, sha256=_sha256(photo))
    return _Cut(row.storage_key, row.sha256, row.method, row.confidence, row.box) if row else None


def _sha256(photo: Any) -> str:
    return hashlib.sha256(photo.data).hexdigest()


def _write(taken: Sequence[tuple[ReferencePhoto, _Taken]]) -> int:
    """The rows of photos (locked by the caller) and their cut-outs; returns how many cut-outs."""
    for row, one in taken:
        row.status, row.notes = PhotoStatus.READY, list(one.notes)
        row.sha256, row.storage_key = one.stored.sha256, one.stored.key
        row.width, row.height = one.width, one.height
    ReferencePhoto.objects.bulk_update(
        [row for row, _ in taken], ["status", "notes", "sha256", "storage_key", "width", "height"]
    )
    Cutout.objects.filter(photo__in=[row for row, _ in taken], is_accepted=True).update(is_accepted=False)
    made = [
        Cutout(
            photo=row,
            method=one.cut.method,
            is_accepted=one.cut.confidence >= SURE_ENOUGH,
            confidence=one.cut.confidence,
            sha256=one.cut.sha256,
            storage_key=one.cut.key,
            box=one.cut.box,
        )
        for row, one in taken
        if one.cut
    ]
    Cutout.objects.bulk_create(made)
    return len(made)


def _publish(brand: Brand, ready: Sequence[ReferencePhoto], refusals: Sequence[Refusal], by: User) -> None:
    payload = {
        "ready": len(ready),
        "refused": [asdict(refusal) for refusal in refusals],
        "photos": [{"photo": row.pk, "subject": row.subject_id, "sha256": row.sha256} for row in ready],
    }
    events.publish(events.PhotosAttached(brand_id=brand.pk, object_id=brand.pk, payload=payload), by=by)


def _subject(photo_id: int | None, subject_id: int | None, by: User) -> Subject:
    if (photo_id is None) == (subject_id is None):
        raise Invalid("Name either the photo that gets a file, or the product that gets a photo.")
    if photo_id is not None:
        found: Subject = selectors.get(photo_id=photo_id, user=by).subject
        return found
    subject: Subject | None = Subject.objects.visible_to(by).select_related("brand").filter(pk=subject_id).first()
    if subject is None:
        raise NotFound(f"There is no product {subject_id}.", subject=subject_id)
    return subject


def _photo_of(subject: Subject, file_name: str, role: str) -> ReferencePhoto:
    """The subject's photo of this file name, made last in order if there is none; locked."""
    Subject.objects.select_for_update().get(pk=subject.pk)
    name = PurePosixPath(file_name.replace("\\", "/")).name[:2000] or "photo"
    position = subject.photos.count() + 1
    row, _ = ReferencePhoto.objects.select_for_update().get_or_create(
        subject=subject, source=name, defaults={"role": role, "position": position}
    )
    return row
