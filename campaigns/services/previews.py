"""Small WebP copies of stored pictures, made when first asked for and kept beside the others."""

from __future__ import annotations

from django.core.cache import cache

from campaigns.photos import intake, reading
from core import stored_files
from core.errors import Invalid

EDGES = (96, 192, 384, 768)


def small(key: str, edge: int) -> str:
    """Storage key of a copy whose long edge is the smallest of EDGES that is at least `edge` pixels.

    The original's own key comes back where it is no larger. Pixels keep their aspect and alpha and become
    sRGB; metadata is dropped.
    """
    edge = next((known for known in EDGES if known >= edge), EDGES[-1])
    remembered = f"preview:srgb:{key}:{edge}"  # under "preview:" alone are copies whose colour profile was ignored
    if (found := cache.get(remembered)) and stored_files.exists(found):  # the sweeper may have taken it
        return str(found)
    made = _make(key, edge)
    cache.set(remembered, made, timeout=None)
    return made


def _make(key: str, edge: int) -> str:
    try:
        copy = reading.small_copy(stored_files.read(key), edge)
    except intake.Refused as error:
        raise Invalid(f"The stored file {key} is not a readable picture.") from error
    return stored_files.put(copy, suffix="webp", durable=False).key if copy else key
