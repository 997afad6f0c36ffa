"""Compare files that destinations have with those that were approved: the marks of origin lie between their bytes."""

from __future__ import annotations

from core import stored_files
from generation.models import Rendition
from review.services import released_files
from review.services.marked_files import Marker

_MARKS = (0xE1, 0xE2, 0xEB)
"""The markers of the segments of a JPEG in which XMP, a profile and Content Credentials are."""


def without_marks(data: bytes) -> bytes:
    """Return a JPEG without its marks of origin; anything else as it is."""
    if data[:3] != b"\xff\xd8\xff":
        return data
    kept, place = [data[:2]], 2
    while data[place] == 0xFF and data[place + 1] != 0xDA:  # before the start of the compressed pixels
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4])
        if data[place + 1] not in _MARKS:
            kept.append(data[place:end])
        place = end
    return b"".join([*kept, data[place:]])


def read_marked(rendition: Rendition) -> bytes:
    """Return the bytes that a destination with the usual settings gets for the rendition."""
    return stored_files.read(Marker([rendition]).mark(rendition.version, rendition).storage_key)


def mark_released_files() -> None:
    """Do the work of the io lane that is due: put the marks into the files of released images."""
    while released_files.mark_next():
        pass
