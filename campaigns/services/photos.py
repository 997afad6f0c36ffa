"""One reference photo at a time: it gets its file, another role or place, is removed and brought back.

Many at once are in archives.py; what happens to the file itself in photo_files.py.
"""

from __future__ import annotations

from django.db import transaction

from campaigns.access import Action, require
from campaigns.choices import PhotoRole, PhotoStatus
from campaigns.errors import Invalid, NotFound, Problem
from campaigns.models import ReferencePhoto, Subject, User
from campaigns.photos import intake
from campaigns.selectors import photos as selectors
from campaigns.services import photo_files
from campaigns.services.photo_files import Refusal

WAITING = (PhotoStatus.PENDING, PhotoStatus.REFUSED)


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
    _check_role(role)
    try:
        photo = intake.admit(data)
    except intake.Refused as error:
        raise Invalid(str(error), [Problem("file", str(error), file_name[:300])]) from error
    taken = photo_files.take(photo, photo_files.known_cut(subject.brand, photo))
    with transaction.atomic():
        if photo_id is None:
            row = _photo_of(subject, file_name, role)
        else:
            row = ReferencePhoto.objects.select_for_update().get(pk=photo_id)
        photo_files.write([(row, taken)])
        photo_files.publish(subject.brand, [row], [], by=by)
    return row


def attach_fetched(*, photo_id: int, data: bytes, label: str) -> ReferencePhoto:
    """Give a waiting photo the file that was fetched from its address; `label` names the process that fetched it.

    A file that cannot be used is no error: the photo comes back refused, with the reason in its notes. A photo that
    has its file meanwhile, or was removed, comes back as it is. Raises NotFound.
    """
    found = ReferencePhoto.objects.select_related("subject__brand").filter(pk=photo_id).first()
    if found is None:
        raise NotFound(f"There is no photo {photo_id}.", photo=photo_id)
    if found.status not in WAITING:
        return found
    brand = found.subject.brand
    try:
        photo = intake.admit(data)
    except intake.Refused as error:
        outcome: photo_files.Taken | Refusal = Refusal(found.source[:300], str(error))
    else:
        outcome = photo_files.take(photo, photo_files.known_cut(brand, photo))
    with transaction.atomic():
        row = ReferencePhoto.objects.select_for_update().get(pk=photo_id)
        if row.status not in WAITING:
            return row
        if isinstance(outcome, Refusal):
            photo_files.refuse([(row, outcome)])
            photo_files.publish(brand, [], [outcome], label=label)
        else:
            photo_files.write([(row, outcome)])
            photo_files.publish(brand, [row], [], label=label)
    return row


def _check_role(role: str) -> None:
    if role not in PhotoRole.values:
        raise Invalid(f"There is no photo role {role!r}; known are {', '.join(PhotoRole.values)}.")


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
    row, _ = ReferencePhoto.objects.select_for_update().get_or_create(
        subject=subject,
        source=photo_files.name_of(file_name),
        defaults={"role": role, "position": photo_files.next_position(subject.pk)},
    )
    return row
