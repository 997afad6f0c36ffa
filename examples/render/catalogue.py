"""Shape, glaze and light of every catalogue photo, and the mistakes that are in the photos on purpose."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from examples.render import render

EXAMPLES = Path(__file__).resolve().parent.parent
PHOTOS = EXAMPLES / "photos"
NEIGHBOUR_PHOTOS = EXAMPLES / "neighbour" / "photos"
SIZE = 1024
QUALITY = 88

#: The position in one photo's EXIF, in the Irish Sea, so nobody's home. ((degrees, minutes, seconds), letter)
GPS_LATITUDE, GPS_LONGITUDE = ((54.0, 2.0, 24.0), "N"), ((2.0, 55.0, 48.0), "W")


@dataclass(frozen=True)
class PhotoSpec:
    """One photo. `colour` replaces the feed's hex if the feed is wrong on purpose; `settings` go to `render`."""

    kind: str
    variant: int = 0
    colour: str = ""
    size: int = SIZE
    has_gps: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


PHOTO_SPECS: dict[str, PhotoSpec] = {
    "mug-moss.jpg": PhotoSpec("mug", 0),
    "mug-ochre.jpg": PhotoSpec("mug", 1),
    "mug-ink.jpg": PhotoSpec("mug", 2, settings={"inside": "#f1efe9"}),
    "mug-blush.jpg": PhotoSpec("mug", 0, settings={"over": 0.52, "over_colour": "#f0e9df"}),
    "bowl-oat.jpg": PhotoSpec("bowl", 0),
    "bowl-celadon.jpg": PhotoSpec("bowl", 1),
    "bowl-terracotta.jpg": PhotoSpec("bowl", 2, settings={"inside": "#efe3d0"}),
    "plate-chalk.jpg": PhotoSpec(
        "plate", 1, settings={"background": "#ffffff", "vignette": 0.0, "fill": 0.8, "light": "window left"}
    ),
    "plate-cobalt.jpg": PhotoSpec("plate", 0, settings={"fill": 0.8}),
    "plate-moss.jpg": PhotoSpec("plate", 0, settings={"fill": 0.8}),
    "plate-blush.jpg": PhotoSpec("plate", 1, settings={"fill": 0.8}),
    "vase-sage.jpg": PhotoSpec("vase", 1, colour="#2f7f83", settings={"rim": 0.1}),
    "vase-ochre.jpg": PhotoSpec("vase", 2),
    "vase-plum.jpg": PhotoSpec("vase", 3),
    "vase-charcoal.jpg": PhotoSpec("vase", 0),
    "lamp-terracotta.jpg": PhotoSpec("lamp", 0),
    "lamp-fog-blue.jpg": PhotoSpec("lamp", 1),
    "lamp-celadon.jpg": PhotoSpec("lamp", 2),
    "teapot-ink.jpg": PhotoSpec("teapot", 0),
    "teapot-moss.jpg": PhotoSpec("teapot", 1),
    "teapot-oat.jpg": PhotoSpec("teapot", 0, settings={"over": 0.40, "over_colour": "#b9603c"}),
    "jar-oat.jpg": PhotoSpec("jar", 0),
    "jar-cobalt.jpg": PhotoSpec("jar", 1, size=420),
    "jar-charcoal.jpg": PhotoSpec("jar", 2),
    "bottle-celadon.jpg": PhotoSpec("bottle", 1),
    "bottle-plum.jpg": PhotoSpec("bottle", 0),
    "bottle-ochre.jpg": PhotoSpec("bottle", 0, has_gps=True, settings={"over": 0.62, "over_colour": "#efe6d4"}),
}

NEIGHBOUR_PHOTO_SPECS: dict[str, PhotoSpec] = {
    "lamp-rose.jpg": PhotoSpec("lamp", 1, settings={"light": "soft right", "background": "#efe9e2"}),
    "lamp-olive.jpg": PhotoSpec("lamp", 0, settings={"light": "soft right", "background": "#efe9e2"}),
    "lamp-slate.jpg": PhotoSpec("lamp", 2, settings={"light": "soft right", "background": "#efe9e2"}),
}

#: Feed, folder and shots of each example brand.
SETS = (
    (EXAMPLES / "brand" / "products.csv", PHOTOS, PHOTO_SPECS),
    (EXAMPLES / "neighbour" / "products.csv", NEIGHBOUR_PHOTOS, NEIGHBOUR_PHOTO_SPECS),
)


def products(feed: Path = EXAMPLES / "brand" / "products.csv") -> list[dict[str, str]]:
    """Return the feed's rows in order."""
    with feed.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def photograph(shot: PhotoSpec, colour: str, material: str) -> bytes:
    """Return the JPEG of one shot in the feed's colour and material."""
    pixels = render(
        shot.kind, shot.colour or colour, size=shot.size, variant=shot.variant, material=material, **shot.settings
    )
    out = io.BytesIO()
    Image.fromarray(_grain(pixels)).save(out, "JPEG", quality=QUALITY, optimize=True, exif=_exif(shot))
    return out.getvalue()


def _grain(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add the noise of a camera at base sensitivity, the same each time; without it smooth backdrops show bands."""
    height, width, _ = pixels.shape
    noise = np.random.default_rng(28).normal(0, 0.75, (height, width, 1)).astype(np.float32)
    return np.clip(np.round(pixels + noise), 0, 255).astype(np.uint8)


def _exif(shot: PhotoSpec) -> Image.Exif:
    exif = Image.Exif()
    if shot.has_gps:
        (latitude, north), (longitude, west) = GPS_LATITUDE, GPS_LONGITUDE
        exif[0x010F], exif[0x0110] = "Proofline examples", "Rendered camera"
        exif[0x8825] = {1: north, 2: latitude, 3: west, 4: longitude}
    return exif
