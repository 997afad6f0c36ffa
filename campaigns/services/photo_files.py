"""A photo's file becomes rows: checked, stored once by content, and the product cut out of it.

What takes time (`take`) is called outside transactions; `write` and `publish` inside the caller's.
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
    """One file that could not be taken, and why."""

    file: str
    message: str


@dataclass(frozen=True)
class Cut:
    """A cut-out as stored."""

    key: str
    sha256: str
    method: str
    confidence: float
    box: list[int]
    note: str = ""


@dataclass(frozen=True)
class Taken:
    """A file that passed, as stored. cut: None if no product stood out."""

    stored: stored_files.Stored
    width: int
    height: int
    notes: tuple[str, ...]
    cut: Cut | None


def take(photo: reading.Admitted, known: Cut | None = None, *, is_patient: bool = False) -> Taken:
    """Store an admitted photo and its cut-out; `known` spares cutting out a file of which there is one already."""
    stored = stored_files.put(photo.data, suffix=photo.suffix)
    notes = list(photo.notes)
    cut = known
    if cut is None:
        try:
            made = reading.cut_out(photo.data, is_patient=is_patient)
        except cutout.NoProduct as error:
            notes.append(str(error))
        else:
            png = stored_files.put(made.png, suffix="png")
            cut = Cut(png.key, png.sha256, made.method, made.confidence, list(made.box), made.note)
    if cut is not None and cut.note:
        notes.append(cut.note)
    return Taken(stored, photo.width, photo.height, tuple(notes), cut)


def known_cut(brand: Brand, photo: reading.Admitted) -> Cut | None:
    """The cut-out that this brand already has of the same file."""
    row = selectors.cutout_of_same_file(brand=brand, sha256=sha256_of(photo))
    return Cut(row.storage_key, row.sha256, row.method, row.confidence, row.box, row.note) if row else None


def sha256_of(photo: reading.Admitted) -> str:
    return hashlib.sha256(photo.data).hexdigest()


@dataclass(frozen=True)
class Written:
    """cutouts: how many were made. replaced: sha256 of photos and accepted cut-outs that no longer count."""

    cutouts: int
    replaced: tuple[str, ...]


def write(taken: Sequence[tuple[ReferencePhoto, Taken]]) -> Written:
    """The rows of photos (locked by the caller) and their cut-outs.

    A photo that had another file before keeps it as a removed photo beside it: runs that were planned with the earlier
    file still find it, and a person can bring it back.
    """
    replaced = [row for row, one in taken if row.storage_key and row.sha256 != one.stored.sha256]
    accepted = Cutout.objects.filter(photo__in=replaced, is_accepted=True).values_list("sha256", flat=True)
    gone = (*(row.sha256 for row in replaced), *accepted)
    _keep_earlier(replaced)
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
            is_accepted=one.cut.confidence >= cutout.SURE_ENOUGH,
            confidence=one.cut.confidence,
            sha256=one.cut.sha256,
            storage_key=one.cut.key,
            box=one.cut.box,
            note=one.cut.note,
            algorithm=cutout.ALGORITHM,
        )
        for row, one in taken
        if one.cut
    ]
    Cutout.objects.bulk_create(made)
    return Written(len(made), gone)


def refuse(refused: Sequence[tuple[ReferencePhoto, Refusal]]) -> None:
    """Mark photos (locked by the caller) whose file cannot be used; the reason stands in their notes."""
    for row, refusal in refused:
        row.status, row.notes = PhotoStatus.REFUSED, [refusal.message]
    ReferencePhoto.objects.bulk_update([row for row, _ in refused], ["status", "notes"])


def publish(
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
    core_events.publish(
        events.PhotosAttached(brand_id=brand.pk, object_id=brand.pk, payload=payload), by=by, label=label
    )


def name_of(file_name: str) -> str:
    """The last part of a file's name as a stranger's machine gave it, as `source` holds it."""
    return PurePosixPath(file_name.replace("\\", "/")).name[:2000] or "photo"


def next_position(subject_id: int) -> int:
    last = ReferencePhoto.objects.filter(subject_id=subject_id).aggregate(last=Max("position"))["last"]
    return int(last or 0) + 1


def _keep_earlier(replaced: Sequence[ReferencePhoto]) -> None:
    for row in replaced:
        earlier, _ = ReferencePhoto.objects.update_or_create(
            subject_id=row.subject_id,
            source=f"{row.source[:1900]} ({row.sha256[:12]})",
            defaults={
                "role": row.role,
                "position": row.position,
                "alt_text": row.alt_text,
                "status": PhotoStatus.REMOVED,
                "notes": row.notes,
                "sha256": row.sha256,
                "storage_key": row.storage_key,
                "width": row.width,
                "height": row.height,
            },
        )
        Cutout.objects.filter(photo=row).update(photo=earlier)
