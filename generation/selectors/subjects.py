"""Subjects with their values and input images, as planning needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from campaigns.choices import PhotoRole, PhotoStatus
from campaigns.models import Cutout, ReferencePhoto, Subject
from campaigns.selectors import campaigns
from generation.choices import PHOTO_MARK
from generation.engines.base import ImageRef


@dataclass(frozen=True)
class Images:
    """A subject's input images of one photo role."""

    photo_id: int
    photo: ImageRef
    cutout: ImageRef | None


@dataclass(frozen=True)
class SubjectRow:
    """One subject as planning needs it. images: by photo role, "" for the first ready photo."""

    id: int
    key: str
    name: str
    kind: str
    attributes: Mapping[str, Any]
    images: Mapping[str, Images]

    @property
    def values(self) -> dict[str, Any]:
        return campaigns.placeholder_values(self)


def load(where: Mapping[str, Any], *, brand_id: int, is_sandbox: bool, with_images: bool) -> dict[int, SubjectRow]:
    """Return a brand's active subjects by id; in the sandbox also the hidden one of free prompts. Three queries."""
    is_usable = Q(is_active=True) | Q(studio__isnull=False) if is_sandbox else Q(is_active=True)
    subjects = Subject.objects.filter(is_usable, brand_id=brand_id, **where)
    rows = list(subjects.order_by("-kind").values_list("pk", "key", "name", "kind", "attributes"))
    rows.sort(key=lambda row: row[3] == "product")  # for equal keys in a list of keys the last one wins
    images = _images([row[0] for row in rows]) if with_images else {}
    return {row[0]: SubjectRow(*row, images=images.get(row[0], {})) for row in rows}


def _images(subject_ids: Sequence[int]) -> dict[int, dict[str, Images]]:
    """Return the images by subject id and photo role; two queries."""
    photos = list(
        ReferencePhoto.objects.filter(subject_id__in=subject_ids, status=PhotoStatus.READY)
        .order_by("subject_id", "position", "id")
        .values_list("pk", "subject_id", "role", "sha256", "storage_key")
    )
    accepted = Cutout.objects.filter(photo_id__in=[photo[0] for photo in photos], is_accepted=True)
    rows = accepted.values_list("photo_id", "sha256", "storage_key")
    cutouts = {photo_id: ImageRef(sha256, key) for photo_id, sha256, key in rows}
    by_subject: dict[int, dict[str, Images]] = {}
    for pk, subject_id, role, sha256, key in photos:
        roles = by_subject.setdefault(subject_id, {})
        images = Images(pk, ImageRef(sha256, key), cutouts.get(pk))
        for label in (role, f"{PHOTO_MARK}{pk}", ""):
            existing = roles.get(label)
            # A photo with a cut-out is preferred to an earlier one without.
            if existing is None or (existing.cutout is None and images.cutout is not None):
                roles[label] = images
    for roles in by_subject.values():
        front = roles.get(PhotoRole.FRONT)
        if front is not None and front.cutout is not None:
            roles[""] = front
    return by_subject
