"""Measure how well products are cut out, on the project's own renders with known alpha before six backgrounds.

28 products are rendered once in their glaze and once in white. The light and shadow on the floor are taken from the
render and laid on each background, so edges, shadows and light are real. Then come camera grain and JPEG. It reports
per background and method: intersection over union of the soft masks (mean and least), distance of the outlines in
pixels (mean and 95th percentile), confidence, milliseconds, and how many of the bad ones (IoU below BAD) ask people to
check them.

    make bench NAME=cutouts         SIZE=… changes the edge; the renders are kept in var/benchmarks
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SIZE = int(os.environ.get("SIZE", "768"))
RENDER_FOLDER = Path(os.environ.get("PROOFLINE_VAR", ROOT / "var")) / "benchmarks" / "cutouts"
QUALITY = 88
MIN_OVERLAP = 0.95
BACKDROP = "#ecebe8"
WHITE = "#f3f1ec"

from campaigns.photos import cutout  # noqa: E402
from examples.render import render  # noqa: E402
from examples.render.catalogue import PHOTO_SPECS, products  # noqa: E402
from examples.render.looks import linear  # noqa: E402

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Product:
    """A render, separated into product and floor. colour: the product's own light; floor: the light on the floor as
    shares of the backdrop's reflectance, both linear h × w × 3; alpha: h × w in 0 … 1."""

    name: str
    colour: Floats
    floor: Floats
    alpha: Floats


@dataclass(frozen=True)
class Outcome:
    background: str
    method: str
    overlap: float
    distances: Floats
    confidence: float
    milliseconds: float


# -- images ------------------------------------------------------------------------------------------------------


def render_product(name: str, row: dict[str, str], colour: str) -> Bytes:
    """Return the render as SIZE × SIZE × 4; it is read from the disk the second time."""
    shot = PHOTO_SPECS[row["photo"]]
    path = RENDER_FOLDER / f"{name}-{colour.strip('#')}-{SIZE}.png"
    if not path.exists():
        settings = {key: value for key, value in shot.settings.items() if key not in ("background", "vignette")}
        if colour == WHITE:
            settings |= {"inside": "", "over": 0.0}
        pixels = render(
            shot.kind,
            colour,
            size=SIZE,
            variant=shot.variant,
            material=row["material"] if colour != WHITE else "porcelain",
            background=BACKDROP,
            vignette=0.0,
            with_alpha=True,
            **settings,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels, "RGBA").save(path)
    return np.asarray(Image.open(path))


def separate(name: str, rgba: Bytes) -> Product:
    alpha = rgba[..., 3].astype(np.float32) / 255
    light = to_linear(rgba[..., :3])
    floor_mask = (alpha == 0).astype(np.float32)
    floor = light.copy()
    # Behind the product's edge the floor continues as beside it.
    for sigma in (1.5, 4.0, 16.0, 64.0):
        weight = cv2.GaussianBlur(floor_mask, (0, 0), sigma)
        near = cv2.GaussianBlur(light * floor_mask[..., None], (0, 0), sigma) / np.maximum(weight, 1e-6)[..., None]
        use = (floor_mask == 0) & (weight > 1e-3)
        floor[use] = near[use]
        floor_mask = np.maximum(floor_mask, use.astype(np.float32))
        light = np.where(use[..., None], near, light)
    share = np.maximum(alpha, 0.08)[..., None]
    whole = to_linear(rgba[..., :3])
    colour = np.clip((whole - (1 - share) * floor) / share, 0, 1)
    return Product(name, colour.astype(np.float32), (floor / np.asarray(linear(BACKDROP))).astype(np.float32), alpha)


def to_linear(rgb: Bytes) -> Floats:
    """Return sRGB bytes as linear light. The renderer's soft shoulder is kept, because it belongs to the camera."""
    values = rgb.astype(np.float32) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)


def photograph(product: Product, backdrop: Floats, seed: int) -> Bytes:
    """Return the product before a backdrop (linear reflectance, 3 or h × w × 3) as sRGB bytes with grain and JPEG."""
    alpha = product.alpha[..., None]
    light = alpha * product.colour + (1 - alpha) * product.floor * backdrop
    shown = np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-6) ** (1 / 2.4) - 0.055)
    noise = np.random.default_rng(seed).normal(0, 0.75, (*product.alpha.shape, 1))
    pixels = np.clip(np.round(shown * 255 + noise), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))


def flat_backdrop(colour: str) -> Floats:
    return np.asarray(linear(colour), dtype=np.float32)


def gradient() -> Floats:
    """Return a grey gradient from light at the top left to darker at the bottom right."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    fall = 1.0 - 0.45 * y - 0.15 * x
    return (fall[..., None] * np.asarray(linear("#e4e4e6"))).astype(np.float32)


def wood() -> Floats:
    """Return a table of oak planks: grain along the boards, knots, and dark joints between them."""
    y, x = (np.mgrid[0:SIZE, 0:SIZE] / SIZE).astype(np.float32)
    chance = np.random.default_rng(3)
    rough = cv2.resize(chance.normal(0, 1, (96, 6)).astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(chance.normal(0, 1, (SIZE, 12)).astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    plank = np.floor(y * 6)
    shade = np.asarray([0.78, 1.0, 0.86, 1.1, 0.82, 0.95], dtype=np.float32)[np.clip(plank, 0, 5).astype(int)]
    rings = 0.5 + 0.5 * np.sin(55 * (y + 0.03 * np.sin(5 * x + plank) + 0.012 * rough))
    for row, column in ((0.2, 0.7), (0.75, 0.2), (0.55, 0.9)):
        rings = rings * (1 - 0.6 * np.exp(-(((x - column) / 0.03) ** 2) - ((y - row) / 0.018) ** 2))
    joint = np.clip(np.abs(y * 6 - np.round(y * 6)) / 0.02, 0.25, 1)
    value = shade * (0.72 + 0.28 * rings + 0.06 * fine) * joint
    return (value[..., None] * np.asarray(linear("#b98f62"))).astype(np.float32)


BACKGROUNDS = ("plain white", "plain grey", "plain coloured", "gradient", "white on white", "wood")
PLAIN_BACKGROUNDS = BACKGROUNDS[:4]


def make_photos(at: int, row: dict[str, str]) -> list[tuple[str, Bytes, Floats]]:
    """Return (background, photo, true alpha) of a product of the feed, for every background."""
    name = row["sku"]
    own = separate(name, render_product(name, row, PHOTO_SPECS[row["photo"]].colour or row["hex"]))
    pale = separate(name, render_product(name, row, WHITE))
    backdrops = (
        flat_backdrop("#ffffff"),
        flat_backdrop(BACKDROP),
        flat_backdrop("#a9bcae"),
        gradient(),
        flat_backdrop("#ffffff"),
        wood(),
    )
    shown = []
    for place, (background, backdrop) in enumerate(zip(BACKGROUNDS, backdrops, strict=True)):
        product = pale if background == "white on white" else own
        shown.append((background, photograph(product, backdrop, 100 * at + place), product.alpha))
    return shown


# -- measuring -----------------------------------------------------------------------------------------------------


def measure(background: str, pixels: Bytes, truth: Floats) -> Outcome:
    began = time.process_time()
    try:
        cut = cutout.cut_out(pixels)
    except cutout.NoProduct:
        passed = 1000 * (time.process_time() - began)
        nothing = np.full(1, float(SIZE), dtype=np.float32)
        return Outcome(background, "none", 0.0, nothing, 0.0, passed)
    passed = 1000 * (time.process_time() - began)
    alpha = cut.rgba[..., 3].astype(np.float32) / 255
    overlap = float(np.minimum(alpha, truth).sum() / np.maximum(alpha, truth).sum())
    return Outcome(background, cut.method, overlap, outline_distances(alpha, truth), cut.confidence, passed)


def outline_distances(measured_alpha: Floats, truth: Floats) -> Floats:
    """Return the distances in pixels between the two outlines (alpha one half), in both directions."""
    first, second = (edge(values > 0.5) for values in (measured_alpha, truth))
    if not first.any() or not second.any():
        return np.full(1, float(max(measured_alpha.shape)), dtype=np.float32)
    to_second = cv2.distanceTransform((~second).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    to_first = cv2.distanceTransform((~first).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.concatenate([to_second[first], to_first[second]]).astype(np.float32)


def edge(mask: Any) -> Any:
    solid = mask.astype(np.uint8)
    return (solid - cv2.erode(solid, np.ones((3, 3), np.uint8))) > 0


def summarise(background: str, method: str, outcomes: list[Outcome]) -> dict[str, Any]:
    overlaps = [outcome.overlap for outcome in outcomes]
    distances = np.concatenate([outcome.distances for outcome in outcomes])
    bad = [outcome for outcome in outcomes if outcome.overlap < MIN_OVERLAP]
    return {
        "background": background,
        "method": method,
        "photos": len(outcomes),
        "iou_mean": round(float(np.mean(overlaps)), 4),
        "iou_least": round(min(overlaps), 4),
        "boundary_mean_px": round(float(distances.mean()), 2),
        "boundary_p95_px": round(float(np.percentile(distances, 95)), 2),
        "confidence_mean": round(float(np.mean([outcome.confidence for outcome in outcomes])), 3),
        "bad": len(bad),
        "bad_asked_about": sum(outcome.confidence < cutout.LOW_CONFIDENCE for outcome in bad),
        "asked_about": sum(outcome.confidence < cutout.LOW_CONFIDENCE for outcome in outcomes),
        "milliseconds": round(float(np.median([outcome.milliseconds for outcome in outcomes])), 1),
    }


def main() -> None:
    outcomes = []
    show = os.environ.get("SHOW", "")
    for at, row in enumerate(products()):
        for background, pixels, truth in make_photos(at, row):
            outcome = measure(background, pixels, truth)
            outcomes.append(outcome)
            if outcome.overlap < MIN_OVERLAP:
                print(f"  {row['sku']:12} {background:16} IoU {outcome.overlap:.3f}, sure {outcome.confidence:.0%}")
            if show:
                Path(show).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(Path(show) / f"{row['sku']}-{background.replace(' ', '-')}.png")
    table = [
        summarise(background, method, matching)
        for background in BACKGROUNDS
        for method in ("alpha", "plain", "scene", "none")
        if (
            matching := [
                measurement
                for measurement in outcomes
                if (measurement.background, measurement.method) == (background, method)
            ]
        )
    ]
    print(f"{'background':16}{'method':8}{'photos':>7}{'IoU mean':>10}{'least':>8}{'edge px':>9}{'p95':>7}", end="")
    print(f"{'sure':>7}{'bad':>5}{'asked':>7}{'ms':>7}")
    for figures in table:
        asked_share = f"{figures['bad_asked_about']}/{figures['bad']}"
        print(
            f"{figures['background']:16}{figures['method']:8}{figures['photos']:>7}{figures['iou_mean']:>10.4f}", end=""
        )
        print(
            f"{figures['iou_least']:>8.4f}{figures['boundary_mean_px']:>9.2f}{figures['boundary_p95_px']:>7.2f}", end=""
        )
        print(f"{figures['confidence_mean']:>7.2f}{asked_share:>12}{figures['milliseconds']:>7.0f}")
    plain = [measurement.overlap for measurement in outcomes if measurement.background in PLAIN_BACKGROUNDS]
    print(
        json.dumps(
            {
                "benchmark": "cutouts",
                "edge_px": SIZE,
                "photos": len(outcomes),
                "plain_iou_mean": round(float(np.mean(plain)), 4),
                "plain_iou_least": round(min(plain), 4),
                "table": table,
            }
        )
    )


if __name__ == "__main__":
    main()
