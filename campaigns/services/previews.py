"""Small WebP copies of stored images, made at the first request and then kept in storage."""

from __future__ import annotations

from django.core.cache import cache
from django.utils.translation import gettext as _

from campaigns.photos import intake, reading
from core import stored_files
from core.errors import Invalid

EDGES = (96, 192, 384, 768)


def get_small_copy(key: str, edge: int) -> str:
    """Return the storage key of a copy whose long edge is the smallest of EDGES that is at least `edge` pixels.

    If the original is no larger, its own key is returned. Pixels keep their aspect ratio and alpha and become sRGB;
    metadata is dropped.
    """
    edge = next((size for size in EDGES if size >= edge), EDGES[-1])
    cache_key = f"preview:srgb:{key}:{edge}"  # keys without "srgb:" hold copies whose colour profile was ignored
    if (stored_key := cache.get(cache_key)) and stored_files.exists(stored_key):  # the sweeper may have taken it
        return str(stored_key)
    try:
        copy = reading.small_copy(stored_files.read(key), edge)
    except intake.Refused as error:
        raise Invalid(_("The stored file %(key)s is not a readable image.") % {"key": key}) from error
    made = stored_files.put(copy, suffix="webp", durable=False).key if copy else key
    cache.set(cache_key, made, timeout=None)
    return made
