"""Small WebP copies of stored pictures, made when first asked for and kept beside the others."""

from __future__ import annotations

import io

from django.core.cache import cache
from PIL import Image

from campaigns.errors import Invalid
from campaigns.photos import colour_profiles
from campaigns.services import files

EDGES = (96, 192, 384, 768)
_QUALITY = 82


def small(key: str, edge: int) -> str:
    """Storage key of a copy whose long edge is the smallest of EDGES that is at least `edge` pixels.

    The original's own key comes back where it is no larger. Pixels keep their aspect and alpha and become
    sRGB; metadata is dropped.
    """
    edge = next((known for known in EDGES if known >= edge), EDGES[-1])
    remembered = f"preview:srgb:{key}:{edge}"  # under "preview:" alone are copies whose colour profile was ignored
    if (found := cache.get(remembered)) and files.exists(found):  # the sweeper may have taken it
        return str(found)
    made = _make(key, edge)
    cache.set(remembered, made, timeout=None)
    return made


def _make(key: str, edge: int) -> str:
    with files.open(key) as file:
        try:
            data = file.read()
            image: Image.Image = Image.open(io.BytesIO(data))
            image.draft("RGB", (edge * 2, edge * 2))  # JPEG only: decode no more than is needed
            if max(image.size) <= edge:
                return key
            image.load()
            image = colour_profiles.to_srgb(image, data).image
        except OSError as error:
            raise Invalid(f"The stored file {key} is not a readable picture.") from error
    image.thumbnail((edge, edge), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=2)
    return files.put(buffer.getvalue(), suffix="webp", durable=False).key
