"""Find the lineage of an image file that was found anywhere: by its bytes, by its marks of origin, or by its looks.

Only images of brands that the user may see are found. The file is not stored.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from campaigns import visible_labels
from campaigns.models import OutputSpec
from campaigns.photos.intake import Refused
from core import stored_files
from core.errors import Invalid, NotFound
from core.models import User
from generation.finishing import found_files
from generation.finishing.found_files import FoundFile, Mark, SameImage
from generation.finishing.matching import EDGE, Corner
from generation.models import AssetVersion, MarkedFile, Master, Rendition
from generation.selectors import looks
from generation.selectors.looks import Candidate
from review.choices import ObservedState
from review.models import Decision, Delivery
from review.selectors import staleness
from review.selectors.lineage import RELATED, summary

MOST_VERSIONS: Final = 12
MOST_LABELS: Final = 200  # output specs whose labels are known, the newest
READERS: Final = 8  # threads that read thumbnails; a bucket takes tens of milliseconds for each
WHOLE: Final = 0.9
"""An image that shows less of the found one than this share is called a part of it."""


class How(StrEnum):
    """How an image was found."""

    BYTES = "bytes"
    MARKS = "marks"
    LOOKS = "looks"


@dataclass(frozen=True)
class FoundVersion:
    """A version that the file shows, with its lineage as plain JSON and where its asset is delivered now."""

    version: AssetVersion
    approval: Decision | None
    lineage: dict[str, Any]
    deliveries: Sequence[Delivery]


@dataclass(frozen=True)
class Match:
    """What was found: one version, or several that cannot be told apart. distance: bits of 256 in which the PDQ hashes
    differ. covered: the share of the image that the file shows. Both are None unless found by looks, and distance also
    if an image has no hash."""

    how: How
    found: Sequence[FoundVersion]
    distance: int | None = None
    covered: float | None = None

    @property
    def is_part(self) -> bool:
        return self.covered is not None and self.covered < WHOLE


@dataclass(frozen=True)
class Examination:
    """The answer about one file. image_format, width and height are of the file; "" and 0 if it was not opened."""

    sha256: str
    match: Match | None
    marks: Sequence[Mark]
    image_format: str = ""
    width: int = 0
    height: int = 0


def find_lineage(data: bytes, *, user: User) -> Match | None:
    """Return what the file shows, None if it is no image of a brand of the user. Raises Invalid and Busy."""
    return examine(data, user=user).match


def examine(data: bytes, *, user: User, anchors: str = "") -> Examination:
    """Return what the file shows, and its marks of origin. Raises Invalid for a file that cannot be opened, and Busy.

    anchors: PEM of the roots that are trusted. A file that has the bytes of one of ours is found even if it is larger
    than strangers' files may be.
    """
    digest = hashlib.sha256(data).hexdigest()
    versions = _find_by_bytes(digest, user)
    try:
        file = found_files.examine(data, anchors=anchors)
    except Refused as refusal:
        if not versions:
            raise Invalid(str(refusal)) from refusal
        return Examination(digest, Match(How.BYTES, _describe(versions)), ())
    match = Match(How.BYTES, _describe(versions)) if versions else _find_by_marks(file, user)
    match = match or _find_by_looks(file, user)
    return Examination(digest, match, file.marks.marks, file.image_format, file.width, file.height)


def explain(match: Match | None) -> str:
    """Return how the image was found, as a sentence for people; without a match, that it was not."""
    if match is None:
        return _("Proofline did not make this image for your brands, or it was changed too much to be recognised.")
    if match.how == How.BYTES:
        return _("The same file, byte for byte.")
    if match.how == How.MARKS:
        return _("Its marks of origin name this image.")
    if match.is_part:
        return _("A part of this image: the file shows about %(percent)d %% of it.") % {
            "percent": round(100 * (match.covered or 0))
        }
    if match.distance is None:
        return _("The same image by its looks.")
    return _("The same image by its looks: %(distance)d of 256 bits differ.") % {"distance": match.distance}


def _find_by_bytes(digest: str, user: User) -> list[AssetVersion]:
    """Return the versions of which a rendition, its marked file or the master has this sha256."""
    renditions = Rendition.objects.visible_to(user).filter(sha256=digest).values_list("version_id", flat=True)
    marked = MarkedFile.objects.visible_to(user).filter(sha256=digest).values_list("rendition__version", flat=True)
    masters = Master.objects.visible_to(user).filter(sha256=digest).values_list("pk", flat=True)
    return _versions(user, Q(pk__in=[*renditions, *marked]) | Q(master__in=list(masters)))


def _find_by_marks(file: FoundFile, user: User) -> Match | None:
    """Return the version that the file's marks name, if the file shows it: marks can be copied to another image."""
    if not file.marks.document_ids:
        return None
    rows = MarkedFile.objects.visible_to(user).filter(document_id__in=file.marks.document_ids)
    versions = _versions(user, Q(pk__in=list(rows.values_list("rendition__version", flat=True))))
    thumbnails = [(version, _read_thumbnail(str(version.master.thumbnails.get(str(EDGE), "")))) for version in versions]
    known = [(version, data) for version, data in thumbnails if data]
    same = found_files.find_same(file.small, [data for version, data in known], _labels(user)) if known else []
    if not same:
        return None
    return Match(How.MARKS, _describe([known[found.index][0] for found in same]), covered=same[0].covered)


def _find_by_looks(file: FoundFile, user: User) -> Match | None:
    candidates = looks.find_candidates(user=user, hashes=file.hashes, colours=file.colours)
    read = [(candidate, data) for candidate, data in _read_thumbnails(candidates) if data]
    if not read:
        return None
    same = found_files.find_same(file.small, [data for candidate, data in read], _labels(user))
    if not same:
        return None
    alike = [read[found.index][0] for found in indistinguishable(same)]
    versions = _versions(user, Q(master__in=[candidate.master_id for candidate in alike]))
    order = [candidate.master_id for candidate in alike]
    versions.sort(key=lambda version: order.index(version.master_id))
    return Match(How.LOOKS, _describe(versions), alike[0].distance, same[0].covered) if versions else None


def _labels(user: User) -> list[Corner]:
    """Return the corners in which files of the user's brands may have a visible label, which their masters lack."""
    specs = OutputSpec.objects.visible_to(user).exclude(label_text="")
    reaches = defaultdict[str, list[tuple[float, float]]](list)
    for spec in specs.order_by("-pk")[:MOST_LABELS]:
        if spec.label:
            reaches[spec.label.corner].append(visible_labels.reach(spec.label, spec.width, spec.height))
    return [Corner(name, *(max(shares) for shares in zip(*pairs, strict=True))) for name, pairs in reaches.items()]


def indistinguishable(same: Sequence[SameImage]) -> list[SameImage]:
    """Return the most similar image and those that are nearly as similar: it may be any of them."""
    best = same[0].worst
    return [found for found in same if found.worst <= max(1.4 * best, best + 1.0)]


def _read_thumbnails(candidates: Sequence[Candidate]) -> Iterable[tuple[Candidate, bytes]]:
    """Yield each candidate with its thumbnail, empty if that is missing."""

    def read(candidate: Candidate) -> bytes:
        return _read_thumbnail(candidate.thumbnail)

    with ThreadPoolExecutor(READERS) as readers:
        yield from zip(candidates, readers.map(read, candidates), strict=True)


def _read_thumbnail(key: str) -> bytes:
    """Return a stored thumbnail; empty if it is missing."""
    try:
        return stored_files.read(key) if key else b""
    except NotFound:
        return b""


def _versions(user: User, condition: Q) -> list[AssetVersion]:
    """Return visible versions with all that `summary` reads; current ones first, then the newest."""
    rows: QuerySet[AssetVersion] = AssetVersion.objects.visible_to(user)
    ids = list(rows.filter(condition).order_by("-pk").values_list("pk", flat=True)[:MOST_VERSIONS])
    loaded = rows.filter(pk__in=ids).select_related(*RELATED) if ids else []
    versions = list(loaded.prefetch_related("findings", "job__attempt_rows")) if ids else []  # type: ignore[attr-defined]
    return sorted(versions, key=lambda version: (version.asset.current_version_id != version.pk, -version.pk))


def _describe(versions: Sequence[AssetVersion]) -> list[FoundVersion]:
    approvals = staleness.valid_approvals([version.pk for version in versions])
    present = Delivery.objects.filter(version__in=versions, observed=ObservedState.PRESENT)
    deliveries = list(present.select_related("destination").order_by("id"))
    return [
        FoundVersion(
            version,
            approvals.get(version.pk),
            summary(version, approvals.get(version.pk)),
            [delivery for delivery in deliveries if delivery.version_id == version.pk],
        )
        for version in versions
    ]
