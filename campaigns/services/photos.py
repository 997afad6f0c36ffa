"""Reference photos: check, store and cut out a file, write it into photos; change, arrange, remove and restore photos.

`store_photo` is slow and is called outside transactions; `write_photos` is called inside the caller's. archives.py
attaches many files at once, photo_loading.py those at addresses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import PurePosixPath
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from campaigns import events
from campaigns.choices import CutoutMethod, PhotoRole, PhotoStatus
from campaigns.models import Cutout, ReferencePhoto, Subject
from campaigns.photos import cutout, intake, reading
from campaigns.selectors import photos as selectors
from core import stored_files
from core.access import Action, require
from core.choices import Lane
from core.errors import Invalid, Problem
from core.events import DomainEvent, publish, set_changed
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from core.services import wake_ups

_CUTOUT_COLUMNS = ("storage_key", "sha256", "method", "confidence", "box", "note")


@dataclass(frozen=True)
class Refusal:
    """A file that cannot be used, and why."""

    file: str
    message: str


@dataclass(frozen=True)
class StoredPhoto:
    """A checked and stored file. cutout: an unsaved row or that of an equal file; None if no product was recognised."""

    stored: stored_files.StoredFile
    width: int
    height: int
    notes: tuple[str, ...]
    cutout: Cutout | None


def store_photo(
    photo: reading.AdmittedPhoto, existing_cutout: Cutout | None = None, *, is_patient: bool = False
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
            cut = Cutout(
                storage_key=png.key, sha256=png.sha256, method=made.method, confidence=made.confidence,
                box=list(made.box), note=made.note,
            )  # fmt: skip
    if cut is not None and cut.note:
        notes.append(cut.note)
    return StoredPhoto(stored, photo.width, photo.height, tuple(notes), cut)


def find_existing_cutout(brand: Brand, photo: reading.AdmittedPhoto) -> Cutout | None:
    """Return a cut-out that the current algorithm made in this brand from a photo with the same content."""
    same = Cutout.objects.filter(photo__subject__brand=brand, photo__sha256=sha256_of(photo))
    return same.filter(algorithm=cutout.ALGORITHM).exclude(method=CutoutMethod.MANUAL).order_by("-id").first()


def sha256_of(photo: reading.AdmittedPhoto) -> str:
    return hashlib.sha256(photo.data).hexdigest()


def write_photos(
    brand: Brand,
    ready: Sequence[tuple[ReferencePhoto, StoredPhoto]],
    refused: Sequence[tuple[ReferencePhoto, Refusal]] = (),
    *,
    by: User | None = None,
    label: str = "",
) -> int:
    """Write files and their cut-outs into photos, mark other photos as refused, and publish both; all rows are locked.

    If a photo had another file before, that file is kept as a removed photo: runs that were planned with it still find
    it, and a person can restore it. Returns the number of new cut-outs.
    """
    if not ready and not refused:
        return 0
    replaced = [row for row, file in ready if row.storage_key and row.sha256 != file.stored.sha256]
    accepted = Cutout.objects.filter(photo__in=replaced, is_accepted=True).values_list("sha256", flat=True)
    gone = [*(row.sha256 for row in replaced), *accepted]
    _keep_replaced_photos(replaced)
    for row, file in ready:
        row.status, row.notes = PhotoStatus.READY, list(file.notes)
        row.sha256, row.storage_key = file.stored.sha256, file.stored.key
        row.width, row.height = file.width, file.height
        row.succeed()
    for row, refusal in refused:
        row.status, row.notes = PhotoStatus.REFUSED, [refusal.message]
        row.give_up()
    ReferencePhoto.objects.bulk_update(
        [row for row, _outcome in (*ready, *refused)],
        ["status", "notes", "sha256", "storage_key", "width", "height", *ReferencePhoto.LEASE_FIELDS],
    )
    Cutout.objects.filter(photo__in=[row for row, file in ready], is_accepted=True).update(is_accepted=False)
    cutouts = Cutout.objects.bulk_create(
        Cutout(
            photo=row,
            is_accepted=file.cutout.confidence >= cutout.AUTO_ACCEPT_CONFIDENCE,
            algorithm=cutout.ALGORITHM,
            **{name: getattr(file.cutout, name) for name in _CUTOUT_COLUMNS},
        )
        for row, file in ready
        if file.cutout
    )
    payload = {
        "ready": len(ready),
        "refused": [asdict(refusal) for row, refusal in refused],
        "photos": [{"photo": row.pk, "subject": row.subject_id, "sha256": row.sha256} for row, file in ready],
        "replaced": gone,
    }
    publish(events.PhotosAttached.of(brand, **payload), by=by, label=label)
    return len(cutouts)


def file_name_of(file_name: str) -> str:
    """Return the last part of a client's file name, as stored in `source`."""
    return PurePosixPath(file_name.replace("\\", "/")).name[:2000] or "photo"


def attach(
    *, data: bytes, file_name: str, by: User, photo_id: int | None = None, subject_id: int | None = None,
    role: str = PhotoRole.FRONT,
) -> ReferencePhoto:  # fmt: skip
    """Attach a file to the photo `photo_id` (or replace its file), or to a new photo of `subject_id` in this role.

    Raises NotFound, NotAllowed, and Invalid with the reason when the file cannot be used; nothing is written then.
    """
    subject = _subject(photo_id, subject_id, by)
    require(by, Action.EDIT_PHOTO, subject.brand)
    _check_role(role)
    try:
        photo = reading.admit(data)
    except intake.Refused as error:
        raise Invalid(str(error), [Problem("file", str(error), file_name[:300])]) from error
    taken = store_photo(photo, find_existing_cutout(subject.brand, photo))
    with transaction.atomic():
        if photo_id is None:
            row = _get_or_create_photo(subject, file_name, role)
        else:
            row = ReferencePhoto.objects.select_for_update().get(pk=photo_id)
        write_photos(subject.brand, [(row, taken)], by=by)
    return row


@transaction.atomic
def change(
    *,
    photo_id: int,
    by: User,
    role: str | None = None,
    alt_text: str | None = None,
    rights_end_on: str | None = None,
) -> ReferencePhoto:
    """Change the role, the alt text or the end of the rights of a photo; None leaves a value as it is.

    rights_end_on: a day such as "2027-03-31", or "" for no end. Raises NotFound, NotAllowed, Invalid.
    """
    photo = _lock_photo(photo_id, by)
    alt_text = None if alt_text is None else alt_text.strip()
    if role is not None:
        _check_role(role)
    if len(alt_text or "") > 600:
        raise Invalid(_("The text for people who cannot see the photo has at most 600 characters."))
    given = {name: value for name, value in (("role", role), ("alt_text", alt_text)) if value is not None}
    days = {} if rights_end_on is None else {"rights_end_on": _parse_day(rights_end_on)}
    if changes := set_changed(photo, given | days):
        photo.save(update_fields=list(changes))
        if "rights_end_on" in changes:
            changes["rights_end_on"] = [day and day.isoformat() for day in changes["rights_end_on"]]
        _publish_event(events.PhotoChanged, photo, by, changes=changes)
    return photo


@transaction.atomic
def arrange(*, subject_id: int, order: Sequence[int], by: User) -> list[int]:
    """Put a subject's photos into this order of ids, all others behind; return all ids. Raises NotFound, NotAllowed."""
    subject = _subject(None, subject_id, by)
    require(by, Action.EDIT_PHOTO, subject.brand)
    Subject.objects.select_for_update().get(pk=subject.pk)
    rows = list(subject.photos.order_by("position", "id"))
    place = {pk: at for at, pk in enumerate(order)}
    before = [row.pk for row in rows]
    rows.sort(key=lambda row: place.get(row.pk, len(place)))
    after = [row.pk for row in rows]
    if after != before:
        for at, row in enumerate(rows, start=1):
            row.position = at
        ReferencePhoto.objects.bulk_update(rows, ["position"])
        publish(events.PhotosArranged.of(subject, photos=after, before=before), by=by)
    return after


@transaction.atomic
def remove(*, photo_id: int, by: User) -> ReferencePhoto:
    """Take a photo out of use; its file stays, for runs that were planned with it.

    `restore` brings it back; a feed that names it again does not. Raises NotFound, NotAllowed.
    """
    photo = _lock_photo(photo_id, by)
    if photo.status != PhotoStatus.REMOVED:
        photo.status = PhotoStatus.REMOVED
        photo.give_up()
        photo.save(update_fields=["status", *photo.LEASE_FIELDS])
        _publish_event(events.PhotoRemoved, photo, by, sha256=photo.sha256)
    return photo


@transaction.atomic
def restore(*, photo_id: int, by: User) -> ReferencePhoto:
    """Restore a removed photo to its former status: ready, or waiting for its file. Raises NotFound, NotAllowed."""
    photo = _lock_photo(photo_id, by)
    if photo.status == PhotoStatus.REMOVED:
        photo.status = PhotoStatus.READY if photo.storage_key else PhotoStatus.PENDING
        if photo.status == PhotoStatus.PENDING and photo.has_address:
            photo.request()
            wake_ups.wake(Lane.IO)
        photo.save(update_fields=["status", *photo.LEASE_FIELDS])
        _publish_event(events.PhotoRestored, photo, by, sha256=photo.sha256)
    return photo


def _lock_photo(photo_id: int, by: User) -> ReferencePhoto:
    require(by, Action.EDIT_PHOTO, selectors.get(photo_id=photo_id, user=by).subject.brand)
    return ReferencePhoto.objects.select_for_update(of=("self",)).select_related("subject").get(pk=photo_id)


def _publish_event(kind: type[DomainEvent], photo: ReferencePhoto, by: User, **payload: Any) -> None:
    payload["subject"] = photo.subject_id
    publish(kind(brand_id=photo.subject.brand_id, object_id=photo.pk, payload=payload), by=by)


def _parse_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip()) if text.strip() else None
    except ValueError:
        message = _("%(text)r is not a day; write it as 2027-03-31.") % {"text": text[:40]}
        raise Invalid(message, [Problem("rights_end_on", message, text[:40])]) from None


def _check_role(role: str) -> None:
    if role not in PhotoRole.values:
        message = _("There is no photo role %(role)r; known are %(names)s.")
        raise Invalid(message % {"role": role, "names": ", ".join(PhotoRole.values)})


def _subject(photo_id: int | None, subject_id: int | None, by: User) -> Subject:
    if (photo_id is None) == (subject_id is None):
        raise Invalid(_("Name either the photo that gets a file, or the product that gets a photo."))
    if photo_id is not None:
        return selectors.get(photo_id=photo_id, user=by).subject
    rows = Subject.objects.visible_to(by).select_related("brand").filter(pk=subject_id)
    return first_or_refuse(rows, _("There is no product %(id)s.") % {"id": subject_id}, subject=subject_id)


def _get_or_create_photo(subject: Subject, file_name: str, role: str) -> ReferencePhoto:
    """Return the subject's photo with this file name, locked; create it as the last one if there is none."""
    Subject.objects.select_for_update().get(pk=subject.pk)
    last = subject.photos.aggregate(last=Max("position"))["last"]
    row, _is_new = ReferencePhoto.objects.select_for_update().get_or_create(
        subject=subject, source=file_name_of(file_name), defaults={"role": role, "position": (last or 0) + 1}
    )
    return row


def _keep_replaced_photos(replaced: Sequence[ReferencePhoto]) -> None:
    kept = ("role", "position", "alt_text", "notes", "sha256", "storage_key", "width", "height")
    for row in replaced:
        earlier, _is_new = ReferencePhoto.objects.update_or_create(
            subject_id=row.subject_id,
            source=f"{row.source[:1900]} ({row.sha256[:12]})",
            defaults={"status": PhotoStatus.REMOVED, **{name: getattr(row, name) for name in kept}},
        )
        Cutout.objects.filter(photo=row).update(photo=earlier)
