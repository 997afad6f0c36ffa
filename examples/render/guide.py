"""`python -m examples.render.guide`: make the images of Kilnmoor's guide again from its photos with our engine.

They are kept as files, because the demo should not wait for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from campaigns.photos import cutout, intake
from generation.engines.packshot import engine as packshot

EXAMPLES = Path(__file__).resolve().parent.parent
FOLDER = EXAMPLES / "brand" / "guide"
SIDE = 720
GLAZE = "#b9603c"

#: File -> (photo, the engine's settings). The last two break the guide on purpose.
SCENES: dict[str, tuple[str, dict[str, Any]]] = {
    "do-air.jpg": ("teapot-moss.jpg", {"backdrop": "#e0d0b4", "light": "left", "fill": 0.8, "baseline": 0.88}),
    "do-light.jpg": ("vase-ochre.jpg", {"backdrop": "#f4f2ec", "light": "left", "fill": 0.8, "baseline": 0.88}),
    "dont-crowded.jpg": (
        "teapot-moss.jpg",
        {"backdrop": "#e0d0b4", "light": "left", "fill": 1.0, "baseline": 0.99, "offset_x": 0.16},
    ),
    "dont-mirror.jpg": (
        "vase-ochre.jpg",
        {"backdrop": "#3a3b3d", "light": "hard right", "shadow": "strong", "reflection": "mirror", "fill": 0.62},
    ),
}


def scene(photo: str, parameters: dict[str, Any]) -> Image.Image:
    """Return one image, SIDE × SIDE."""
    cut = cutout.cut_out(intake.admit((EXAMPLES / "photos" / photo).read_bytes()).pixels)
    setting, problems = packshot.Packshot().parse(parameters)
    if problems:
        raise ValueError(" ".join(problems))
    left, top, right, bottom = cutout.box_of(np.ascontiguousarray(cut.rgba[..., 3]))
    pixels, _box = packshot.compose(cut.rgba[top:bottom, left:right], setting, SIDE, SIDE)
    return Image.fromarray(pixels)


def mark(size: int) -> Image.Image:
    """Draw the kiln: an arch with a door, four times as large and then scaled down smoothly."""
    wide = size * 4
    image = Image.new("RGBA", (wide, wide))
    draw = ImageDraw.Draw(image)
    unit = wide / 24
    draw.pieslice((2 * unit, 2 * unit, 22 * unit, 22 * unit), 180, 360, fill=GLAZE)
    draw.rectangle((2 * unit, 11.9 * unit, 22 * unit, 22 * unit), fill=GLAZE)
    draw.pieslice((8 * unit, 11 * unit, 16 * unit, 19 * unit), 180, 360, fill=(0, 0, 0, 0))
    draw.rectangle((8 * unit, 14.9 * unit, 16 * unit, 22.1 * unit), fill=(0, 0, 0, 0))
    return image.resize((size, size), Image.Resampling.LANCZOS)


def wordmark(height: int) -> Image.Image:
    """Draw the kiln with the name beside it, on a transparent background."""
    font = ImageFont.load_default(size=height * 0.62)
    left, _, right, bottom = font.getbbox("kilnmoor")
    image = Image.new("RGBA", (round(height * 1.35 + right - left + height * 0.1), height))
    image.alpha_composite(mark(height))
    place = (height * 1.3 - left, height * 0.94 - bottom)
    ImageDraw.Draw(image).text(place, "kilnmoor", font=font, fill=GLAZE)
    return image


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, (photo, parameters) in SCENES.items():
        scene(photo, parameters).save(FOLDER / name, quality=88, subsampling=0)
    wordmark(200).save(FOLDER / "logo-wordmark.png", optimize=True)
    mark(320).save(FOLDER / "logo-mark.png", optimize=True)


if __name__ == "__main__":
    main()
