"""Single reference photos: attach a file, change role or position, remove and restore.

archives.py handles many at once; photo_files.py handles the file itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from campaigns import events
from campaigns.choices import PhotoRole, PhotoStatus
from campaigns.models import ReferencePhoto, Subject
from campaigns.photos import intake, reading
from campaigns.selectors import photos as selectors
from campaigns.services import photo_files
from campaigns.services.photo_files import Refusal
from core.access import Action, require
from core.choices import Lane
from core.errors import Invalid, Problem
from core.events import DomainEvent, publish, set_changed
from core.models import User
from core.selectors.rows import first_or_refuse
from core.services import leases, wake_ups


def attach(
    *,
    data: bytes,
    file_name: str,
    by: User,
    photo_id: int | None = None,
    subject_id: int | None = None,
    role: str = PhotoRole.FRONT,
) -> ReferencePhoto:
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
    taken = photo_files.store_photo(photo, photo_files.find_existing_cutout(subject.brand, photo))
    with transaction.atomic():
        if photo_id is None:
            row = _get_or_create_photo(subject, file_name, role)
        else:
            row = ReferencePhoto.objects.select_for_update().get(pk=photo_id)
        written = photo_files.write_photos([(row, taken)])
        photo_files.publish_attached(subject.brand, [row], [], replaced=written.replaced, by=by)
    return row


def attach_fetched(*, claimed: ReferencePhoto, data: bytes, label: str) -> ReferencePhoto | None:
    """Attach the file that was fetched from the address of a claimed photo; `label` names the process that fetched it.

    A file that cannot be used is no error: the photo is returned refused, with the reason in its notes. Returns None
    if the lease was lost: the photo got its file meanwhile, or was removed.
    """
    brand = claimed.subject.brand
    try:
        photo = reading.admit(data, is_patient=True)
    except intake.Refused as error:
        outcome: photo_files.StoredPhoto | Refusal = Refusal(claimed.redacted_source[:300], str(error))
    else:
        outcome = photo_files.store_photo(photo, photo_files.find_existing_cutout(brand, photo), is_patient=True)
    with transaction.atomic():
        row = leases.lock(claimed)
        if row is None:
            return None
        if isinstance(outcome, Refusal):
            photo_files.refuse_photos([(row, outcome)])
            photo_files.publish_attached(brand, [], [outcome], label=label)
        else:
            photo_files.write_photos([(row, outcome)])
            photo_files.publish_attached(brand, [row], [], label=label)
    return row


@transaction.atomic
def change(*, photo_id: int, by: User, role: str | None = None, alt_text: str | None = None) -> ReferencePhoto:
    """Change the role or alt text of a photo. Raises NotFound, NotAllowed, Invalid."""
    photo = _lock_photo(photo_id, by)
    alt_text = None if alt_text is None else alt_text.strip()
    if role is not None:
        _check_role(role)
    if len(alt_text or "") > 600:
        raise Invalid(_("The text for people who cannot see the photo has at most 600 characters."))
    given = {name: value for name, value in (("role", role), ("alt_text", alt_text)) if value is not None}
    if changes := set_changed(photo, given):
        photo.save(update_fields=list(changes))
        _publish_event(events.PhotoChanged, photo, by, changes=changes)
    return photo


@transaction.atomic
def arrange(*, subject_id: int, order: Sequence[int], by: User) -> list[int]:
    """Put a subject's photos into this order of ids; photos that are not named follow in their old order.

    Returns the ids in their new order. Raises NotFound, NotAllowed.
    """
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
    brand = selectors.get(photo_id=photo_id, user=by).subject.brand
    require(by, Action.EDIT_PHOTO, brand)
    rows = ReferencePhoto.objects.select_for_update(of=("self",)).select_related("subject")
    return rows.get(pk=photo_id)


def _publish_event(kind: type[DomainEvent], photo: ReferencePhoto, by: User, **payload: Any) -> None:
    payload["subject"] = photo.subject_id
    publish(kind(brand_id=photo.subject.brand_id, object_id=photo.pk, payload=payload), by=by)


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
    row, _is_new = ReferencePhoto.objects.select_for_update().get_or_create(
        subject=subject,
        source=photo_files.file_name_of(file_name),
        defaults={"role": role, "position": photo_files.next_position(subject.pk)},
    )
    return row
