"""Check a photo's file, store it once by content, cut the product out of it, and write the rows.

`store_photo` is slow and is called outside transactions; `write_photos` and `publish_attached` are called inside the
caller's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from django.db.models import Max

from campaigns import events
from campaigns.choices import PhotoStatus
from campaigns.models import Cutout, ReferencePhoto
from campaigns.photos import cutout, reading
from campaigns.selectors import photos as selectors
from core import events as core_events
from core import stored_files
from core.models import Brand, User


@dataclass(frozen=True)
class Refusal:
    """A file that cannot be used, and why."""

    file: str
    message: str


@dataclass(frozen=True)
class StoredCutout:
    """The columns of a cut-out that come with its stored file."""

    storage_key: str
    sha256: str
    method: str
    confidence: float
    box: list[int]
    note: str = ""


@dataclass(frozen=True)
class StoredPhoto:
    """A checked and stored file. cutout: None if no product was recognised."""

    stored: stored_files.StoredFile
    width: int
    height: int
    notes: tuple[str, ...]
    cutout: StoredCutout | None


def store_photo(
    photo: reading.AdmittedPhoto, existing_cutout: StoredCutout | None = None, *, is_patient: bool = False
) -> StoredPhoto:
    """Store an admitted photo and its cut-out; skip cutting out if `existing_cutout` is given."""
    stored = stored_files.put(photo.data, suffix=photo.suffix)
    notes = list(photo.notes)
    cut = existing_cutout
    if cut is None:
        try:
            made = reading.cut_out(photo.data, is_patient=is_patient)
        except cutout.NoProduct as error:
            notes.append(str(error))
        else:
            png = stored_files.put(made.png, suffix="png")
            cut = StoredCutout(png.key, png.sha256, made.method, made.confidence, list(made.box), made.note)
    if cut is not None and cut.note:
        notes.append(cut.note)
    return StoredPhoto(stored, photo.width, photo.height, tuple(notes), cut)


def find_existing_cutout(brand: Brand, photo: reading.AdmittedPhoto) -> StoredCutout | None:
    """Return the cut-out that this brand already has of the same file."""
    row = selectors.find_cutout_of_same_file(brand=brand, sha256=sha256_of(photo))
    return StoredCutout(row.storage_key, row.sha256, row.method, row.confidence, row.box, row.note) if row else None


def sha256_of(photo: reading.AdmittedPhoto) -> str:
    return hashlib.sha256(photo.data).hexdigest()


@dataclass(frozen=True)
class WriteResult:
    """The result of `write_photos`: the number of new cut-outs, and the sha256 of replaced photos and cut-outs."""

    cutouts: int
    replaced: tuple[str, ...]


def write_photos(taken: Sequence[tuple[ReferencePhoto, StoredPhoto]]) -> WriteResult:
    """Write the files into photos (locked by the caller) and create their cut-outs.

    If a photo had another file before, that file is kept as a removed photo: runs that were planned with it still find
    it, and a person can restore it.
    """
    replaced = [row for row, file in taken if row.storage_key and row.sha256 != file.stored.sha256]
    accepted = Cutout.objects.filter(photo__in=replaced, is_accepted=True).values_list("sha256", flat=True)
    gone = (*(row.sha256 for row in replaced), *accepted)
    _keep_replaced_photos(replaced)
    for row, file in taken:
        row.status, row.notes = PhotoStatus.READY, list(file.notes)
        row.sha256, row.storage_key = file.stored.sha256, file.stored.key
        row.width, row.height = file.width, file.height
        row.succeed()
    ReferencePhoto.objects.bulk_update(
        [row for row, file in taken],
        ["status", "notes", "sha256", "storage_key", "width", "height", *ReferencePhoto.LEASE_FIELDS],
    )
    Cutout.objects.filter(photo__in=[row for row, _ in taken], is_accepted=True).update(is_accepted=False)
    made = [
        Cutout(
            photo=row,
            is_accepted=file.cutout.confidence >= cutout.AUTO_ACCEPT_CONFIDENCE,
            algorithm=cutout.ALGORITHM,
            **asdict(file.cutout),
        )
        for row, file in taken
        if file.cutout
    ]
    Cutout.objects.bulk_create(made)
    return WriteResult(len(made), gone)


def refuse_photos(refused: Sequence[tuple[ReferencePhoto, Refusal]]) -> None:
    """Mark photos (locked by the caller) as refused, with the reason in their notes."""
    for row, refusal in refused:
        row.status, row.notes = PhotoStatus.REFUSED, [refusal.message]
        row.give_up()
    ReferencePhoto.objects.bulk_update([row for row, _ in refused], ["status", "notes", *ReferencePhoto.LEASE_FIELDS])


def publish_attached(
    brand: Brand,
    ready: Sequence[ReferencePhoto],
    refusals: Sequence[Refusal],
    *,
    replaced: Sequence[str] = (),
    by: User | None = None,
    label: str = "",
) -> None:
    payload = {
        "ready": len(ready),
        "refused": [asdict(refusal) for refusal in refusals],
        "photos": [{"photo": row.pk, "subject": row.subject_id, "sha256": row.sha256} for row in ready],
        "replaced": list(replaced),
    }
    core_events.publish(events.PhotosAttached.of(brand, **payload), by=by, label=label)


def file_name_of(file_name: str) -> str:
    """Return the last part of a client's file name, as stored in `source`."""
    return PurePosixPath(file_name.replace("\\", "/")).name[:2000] or "photo"


def next_position(subject_id: int) -> int:
    last = ReferencePhoto.objects.filter(subject_id=subject_id).aggregate(last=Max("position"))["last"]
    return int(last or 0) + 1


def _keep_replaced_photos(replaced: Sequence[ReferencePhoto]) -> None:
    kept = ("role", "position", "alt_text", "notes", "sha256", "storage_key", "width", "height")
    for row in replaced:
        earlier, _ = ReferencePhoto.objects.update_or_create(
            subject_id=row.subject_id,
            source=f"{row.source[:1900]} ({row.sha256[:12]})",
            defaults={"status": PhotoStatus.REMOVED, **{name: getattr(row, name) for name in kept}},
        )
        Cutout.objects.filter(photo=row).update(photo=earlier)
