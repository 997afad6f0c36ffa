"""Photos by the folder and by the archive, each given to the product that its name names.

Decoding and cutting out happen before any transaction; the rows of one batch are written in one, with one event.
"""

from __future__ import annotations

import os
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any

import structlog
from django.db import transaction

from campaigns.choices import PhotoStatus
from campaigns.models import ReferencePhoto, Subject
from campaigns.photos import intake, names, reading
from campaigns.selectors import photos as selectors
from campaigns.selectors.photos import Wanted
from campaigns.services import photo_files
from campaigns.services.photo_files import Refusal, Taken
from core.access import Action, require
from core.errors import Busy, Invalid
from core.models import Brand, User

log = structlog.get_logger(__name__)

BATCH = 100
"""Photos written in one transaction, with one event."""
WORKERS = min(4, os.cpu_count() or 1)
MAX_ZIP_FILES = 10_000
MAX_ZIP_BYTES = 8 * 1024**3
MAX_ZIP_RATIO = 200
"""Pictures are compressed already: an archive that unpacks to far more than its size is a bomb."""


@dataclass
class Report:
    """The outcome of a batch. ready, refused: photos, by_sku of them found by the SKU in the file's name; unchanged:
    files that were here already; unmatched: files that no product names and that name none; ambiguous: files that could
    be of several; remarks: what was taken otherwise than its name said; missing: photos that still wait for their file.
    """

    ready: int = 0
    refused: int = 0
    cutouts: int = 0
    missing: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    by_sku: int = 0
    unchanged: int = 0
    ambiguous: list[Refusal] = field(default_factory=list)
    remarks: list[Refusal] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _File:
    """One file on offer: its name as given, and how to read it."""

    name: str
    read: Any  # () -> bytes


def attach_folder(*, brand: Brand, folder: Path, by: User) -> Report:
    """Give the brand's photos their files from `folder` and below: by the name that the feed gave, else by the SKU in
    the file's name or its folder's.

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


# -- many files ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Named:
    """A photo that a file's name asks for, of a subject that has none of this source yet."""

    subject_id: int
    source: str
    role: str
    number: int


def _attach_many(brand: Brand, offered: Iterable[_File], by: User) -> Report:
    """First by the names that the feed gave; what is left by the SKU in its own name or its folder's."""
    waiting = selectors.wanted(brand=brand, user=by)
    by_path: dict[str, list[Wanted]] = defaultdict(list)
    by_name: dict[str, list[Wanted]] = defaultdict(list)
    for one in waiting:
        by_path[one.path].append(one)
        by_name[one.file_name].append(one)
    report = Report()
    matched: set[int] = set()
    pairs: list[tuple[_File, list[Wanted] | _Named]] = []
    left = []
    for file in offered:
        name = file.name.casefold()
        wanted = by_path.get(name) or by_name.get(name.rsplit("/", 1)[-1]) or []
        fresh = [one for one in wanted if one.photo_id not in matched]
        matched.update(one.photo_id for one in fresh)
        if fresh:
            pairs.append((file, fresh))
        elif not wanted:
            left.append(file)
    pairs += _by_sku(brand, left, report)
    remaining = iter(pairs)
    while batch := list(islice(remaining, BATCH)):
        _attach_batch(brand, batch, by, report)
    report.missing = len(waiting) - len(matched)
    return report


def _by_sku(brand: Brand, offered: Sequence[_File], report: Report) -> list[tuple[_File, _Named]]:
    """Files by the SKU that they name; those that name none, or two, go into the report."""
    pictures = [file for file in offered if names.is_picture(file.name)]
    report.unmatched += [file.name for file in offered if not names.is_picture(file.name)]
    known = selectors.subjects_by_sku(brand, {key for file in pictures for key in names.candidates(file.name)})
    found = []
    given: set[tuple[int, str]] = set()
    for file in pictures:
        reading = names.read(file.name, lambda key: known.get(key, frozenset()))
        if reading.subject is None:
            ambiguous = any(key in known for key in names.candidates(file.name))
            report.ambiguous += [Refusal(file.name, reading.remark)] if ambiguous else []
            report.unmatched += [] if ambiguous else [file.name]
            continue
        if reading.remark:
            report.remarks.append(Refusal(file.name, reading.remark))
        source = photo_files.name_of(file.name)
        if not source.casefold().startswith(tuple(key for key, ids in known.items() if reading.subject in ids)):
            source = file.name[-2000:]  # a folder names the SKU: "front.jpg" alone would be everybody's name
        if (reading.subject, source) in given:  # of the same name in two folders: two photos
            source = file.name[-2000:]
        given.add((reading.subject, source))
        found.append((file, _Named(reading.subject, source, reading.role, reading.number)))
    return sorted(found, key=lambda pair: (pair[1].subject_id, pair[1].number, pair[1].source))


def _attach_batch(brand: Brand, batch: Sequence[tuple[_File, list[Wanted] | _Named]], by: User, report: Report) -> None:
    """Read, check, store and cut out without a transaction; then write the batch in one."""
    outcomes = list(_taken(brand, [file for file, _ in batch]))
    awaited: dict[int, Taken | Refusal] = {}
    named: list[tuple[_Named, Taken]] = []
    for (_, target), outcome in zip(batch, outcomes, strict=True):
        if isinstance(target, _Named):
            named += [(target, outcome)] if isinstance(outcome, Taken) else []
        else:
            awaited |= {one.photo_id: outcome for one in target}
    with transaction.atomic():
        ready, refused = _awaited(awaited)
        ready += _named(named, report)
        photo_files.refuse(refused)
        written = photo_files.write(ready)
        report.cutouts += written.cutouts
        if ready or refused:
            rows, refusals = [row for row, _ in ready], [refusal for _, refusal in refused]
            photo_files.publish(brand, rows, refusals, replaced=written.replaced, by=by)
    report.ready += len(ready)
    report.refused += len(refused)
    report.by_sku += sum(1 for row, _ in ready if row.pk not in awaited)
    report.refusals += [outcome for outcome in outcomes if isinstance(outcome, Refusal)]


def _awaited(
    outcomes: Mapping[int, Taken | Refusal],
) -> tuple[list[tuple[ReferencePhoto, Taken]], list[tuple[ReferencePhoto, Refusal]]]:
    """(ready, refused) of the photos that still wait; somebody else may have attached a file meanwhile."""
    rows = ReferencePhoto.objects.select_for_update(of=("self",)).filter(
        pk__in=outcomes, status__in=[PhotoStatus.PENDING, PhotoStatus.REFUSED]
    )
    ready: list[tuple[ReferencePhoto, Taken]] = []
    refused: list[tuple[ReferencePhoto, Refusal]] = []
    for row in rows.order_by("pk"):
        outcome = outcomes[row.pk]
        if isinstance(outcome, Refusal):
            refused.append((row, outcome))
        else:
            ready.append((row, outcome))
    return ready, refused


def _named(named: Sequence[tuple[_Named, Taken]], report: Report) -> list[tuple[ReferencePhoto, Taken]]:
    """Rows for files that name a SKU, made where there is none; a file that its subject has already is counted."""
    ids = sorted({one.subject_id for one, _ in named})
    list(Subject.objects.select_for_update().filter(pk__in=ids).order_by("pk"))
    there: dict[int, list[ReferencePhoto]] = {pk: [] for pk in ids}
    for row in ReferencePhoto.objects.filter(subject_id__in=ids).order_by("subject_id", "position", "id"):
        there[row.subject_id].append(row)
    found = []
    for one, taken in named:
        rows = there[one.subject_id]
        if any(row.sha256 == taken.stored.sha256 for row in rows):
            report.unchanged += 1
            continue
        known = next((row for row in rows if row.source == one.source), None)
        if known is not None and known.status == PhotoStatus.REMOVED:
            report.unchanged += 1
            continue
        if known is None:
            place = max((row.position for row in rows), default=0) + 1
            known = ReferencePhoto.objects.create(
                subject_id=one.subject_id, source=one.source, role=one.role, position=place
            )
            rows.append(known)
        found.append((known, taken))
    return found


def _taken(brand: Brand, offered: Sequence[_File]) -> Iterator[Taken | Refusal]:
    """Yield the result of each file, in order. They are read on threads: at most WORKERS files are in memory."""
    jobs: dict[str, Future[Taken]] = {}  # equal files are cut out once
    with ThreadPoolExecutor(WORKERS) as pool:
        for start in range(0, len(offered), WORKERS):
            group = offered[start : start + WORKERS]
            photos = list(pool.map(_admitted, group))
            for photo in photos:
                if isinstance(photo, reading.Admitted) and (digest := photo_files.sha256_of(photo)) not in jobs:
                    known = photo_files.known_cut(brand, photo)
                    jobs[digest] = pool.submit(photo_files.take, photo, known, is_patient=True)
            for photo in photos:
                yield photo if isinstance(photo, Refusal) else jobs[photo_files.sha256_of(photo)].result()


def _admitted(file: _File) -> reading.Admitted | Refusal:
    try:
        return reading.admit(file.read(), is_patient=True)
    except (intake.Refused, Busy, OSError, zipfile.BadZipFile, RuntimeError) as error:
        return Refusal(file.name, str(error) or "The file could not be read.")
    except Exception:  # of a decoder: one bad file must not stop the others of the archive
        log.exception("photo.failed")
        return Refusal(file.name, "The image is damaged and cannot be read; export it again.")


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
