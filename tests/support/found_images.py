"""Images as Proofline makes them, and what happens to them in the world: crops, screenshots, low qualities.

The products are the example photos, cut out and composed by the packshot engine on backdrops and before drawn scenes;
others are drawn. Equal numbers give equal images.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from campaigns.photos import cutout, intake
from generation.engines.base import Pixels
from generation.engines.packshot import engine, scenes
from generation.engines.packshot.studio import Setting
from tests.support.scenes import scene as photo

PHOTOS = sorted((Path(__file__).resolve().parents[2] / "examples" / "photos").glob("*.jpg"))
FOREIGN = 7
"""The last photos are of products that only images of strangers show."""
ROUND = 4
"""Candidates of one round: one product before one scene, each a little different."""
SIDE = 512

Change = Callable[[Pixels, np.random.Generator], bytes]


@cache
def product(number: int) -> Pixels:
    """Return a cut-out of an example photo, cropped to the product, height × width × 4."""
    pixels = intake.decode(PHOTOS[number % len(PHOTOS)].read_bytes())
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return engine.decode_cutout(cutout.to_png(cutout.cut_out(np.ascontiguousarray(small[..., :3])).rgba))


def draw_place(random: np.random.Generator, size: int = SIDE) -> Pixels:
    """Return an empty place: a wall and a table with grain, and blurred things behind."""
    wall, table = (random.integers(60, 240, 3).astype(np.float32) for _ in range(2))
    grain = cv2.resize(random.normal(0, 1, (40, 6)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    cloud = cv2.resize(random.normal(0, 1, (5, 5)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    edge = int(size * random.uniform(0.55, 0.75))
    place = np.empty((size, size, 3), np.float32)
    place[:edge] = wall + cloud[:edge, :, None] * 14
    place[edge:] = table + grain[edge:, :, None] * 12
    for _ in range(int(random.integers(2, 7))):
        centre = (int(random.integers(0, size)), int(random.integers(0, edge)))
        radius = int(random.integers(size // 20, size // 5))
        cv2.circle(place, centre, radius, [int(level) for level in random.integers(40, 250, 3)], -1)
    return np.clip(cv2.GaussianBlur(place, (0, 0), 2), 0, 255).astype(np.uint8)


def draw_pattern(random: np.random.Generator, size: int = SIDE) -> Pixels:
    """Return an image that is structured everywhere, as of a generative model: soft shapes at several scales."""
    pixels = np.full((size, size, 3), random.integers(50, 200, 3), np.float32)
    for cells, strength in ((4, 50), (11, 25), (34, 10)):
        layer = random.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        pixels += cv2.resize(layer, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def make(number: int, *, is_foreign: bool = False, size: int = SIDE) -> Pixels:
    """Return image `number`: a packshot, products before scenes (ROUND candidates of each), a photo or a pattern.

    Images of strangers have other products, other places and other patterns.
    """
    round_number, candidate = divmod(number, ROUND)
    random = np.random.default_rng((round_number, int(is_foreign)))
    kind = round_number % 5
    own = len(PHOTOS) - FOREIGN
    cut = product(own + round_number % FOREIGN if is_foreign else round_number % own)
    each = np.random.default_rng((number, int(is_foreign), 7))
    if kind in (0, 1):  # packshots: four products or backdrops that have only their kind in common
        return _packshot(product(own + number % FOREIGN if is_foreign else number % own), each, size)
    if kind in (2, 3):
        setting = Setting(fill=float(random.uniform(0.45, 0.75)), offset_x=float(random.uniform(-0.15, 0.15)))
        place = draw_place(random)
        return _candidate(cut, setting, place, each, size)
    if candidate < 2:
        return draw_pattern(each, size)
    colour = tuple(int(level) for level in each.integers(40, 220, 3))
    name = ("mug", "vase", "bottle", "bowl", "lamp", "plate")[int(each.integers(0, 6))]
    wall = tuple(int(level) for level in each.integers(150, 250, 3))
    return photo(name, size=size, colour=colour, wall=wall, gradient=float(each.uniform(0.02, 0.3))).pixels


def _packshot(cut: Pixels, random: np.random.Generator, size: int) -> Pixels:
    backdrops = list(engine.COLOURS.values())
    colour = engine.parse_hex(backdrops[int(random.integers(0, len(backdrops)))])
    setting = Setting(
        backdrop=colour,
        surface=("seamless", "table", "flat")[int(random.integers(0, 3))],
        light=("left", "right", "top", "hard left")[int(random.integers(0, 4))],
        fill=float(random.uniform(0.45, 0.85)),
        offset_x=float(random.uniform(-0.12, 0.12)),
    )
    return engine.compose(cut, setting, size, size)[0]


def _candidate(cut: Pixels, setting: Setting, place: Pixels, random: np.random.Generator, size: int) -> Pixels:
    """Return one candidate: the same place from slightly elsewhere, the product a little larger or smaller."""
    shift = np.float32([[1, 0, random.uniform(-12, 12)], [0, 1, random.uniform(-6, 6)]])
    moved = cv2.warpAffine(place, shift, place.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    fill = setting.fill * float(random.uniform(0.93, 1.07))
    setting = Setting(fill=fill, offset_x=setting.offset_x + float(random.uniform(-0.03, 0.03)))
    blurred = scenes.blur_scene(moved, width=size, height=size, blur=setting.scene_blur, foot=setting.baseline)
    return engine.compose(cut, setting, size, size, scene=blurred)[0]


def encode(pixels: Pixels, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def strip_metadata(pixels: Pixels, random: np.random.Generator) -> bytes:
    """Return the delivered file written again without metadata: the same pixels, other bytes."""
    return encode(np.asarray(Image.open(io.BytesIO(encode(pixels, quality=90)))), "PNG", compress_level=1)


def halve(pixels: Pixels, random: np.random.Generator) -> bytes:
    height, width = pixels.shape[:2]
    return encode(cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA), quality=90)


def lower_quality(pixels: Pixels, random: np.random.Generator) -> bytes:
    return encode(pixels, quality=70)


def crop(pixels: Pixels, random: np.random.Generator) -> bytes:
    """Return a part with 90 % of the width and of the height, anywhere in the image."""
    height, width = pixels.shape[:2]
    kept_height, kept_width = round(height * 0.9), round(width * 0.9)
    top, left = int(random.integers(0, height - kept_height + 1)), int(random.integers(0, width - kept_width + 1))
    return encode(np.ascontiguousarray(pixels[top : top + kept_height, left : left + kept_width]), quality=85)


def take_screenshot(pixels: Pixels, random: np.random.Generator) -> bytes:
    """Return a screenshot of a page: another size, other colours and gamma, some pixels of the page, a JPEG."""
    scale = random.uniform(0.55, 1.35)
    height, width = (max(16, round(length * scale)) for length in pixels.shape[:2])
    scaled = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
    shifted = scaled ** random.uniform(0.9, 1.1) * random.uniform(0.97, 1.03, 3) + random.uniform(-0.01, 0.01, 3)
    border = [int(length) for length in random.integers(0, 9, 4)]
    page = [int(level) for level in (random.integers(0, 256, 3) if random.random() < 0.5 else (255, 255, 255))]
    shown = np.clip(shifted * 255, 0, 255).astype(np.uint8)
    framed = cv2.copyMakeBorder(shown, *border, cv2.BORDER_CONSTANT, value=page)
    return encode(framed, quality=int(random.integers(70, 90)))


CHANGES: dict[str, tuple[Change, float]] = {
    "metadata stripped": (strip_metadata, 0.95),
    "resized to 50 %": (halve, 0.95),
    "JPEG quality 70": (lower_quality, 0.95),
    "cropped by 10 %": (crop, 0.8),
    "screenshot": (take_screenshot, 0.8),
}
"""What happens to images, and the share of them that must be found."""
