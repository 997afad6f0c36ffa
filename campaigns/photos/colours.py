"""Colours as people see them: OKLab, the difference of two colours, names of colours, and palettes. Pure functions.

OKLab is by Björn Ottosson (bottosson.github.io/posts/oklab). ΔE is its Euclidean distance times 100, as in CSS Color 4:
a ΔE of about 2 is just noticeable side by side; from about 5 on, people see two colours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

JUST_NOTICEABLE: Final = 2.0
DISTINCT_COLOURS: Final = 5.0
MIN_COLOURS: Final = 5
MAX_COLOURS: Final = 8
_WORKING_EDGE: Final = 160  # long edge on which colours are counted
_CLUSTERS: Final = 16
_ROUNDS: Final = 12
_MERGE_DISTANCE: Final = 0.06  # distance below which two clusters are one colour
_SAME_COLOUR_DISTANCE: Final = 0.02  # distance below which they are merged even if the image has few colours
#: Lightness counts less: light and shade of one colour are not two colours.
_LAB_WEIGHTS: Final = np.array([0.6, 1.0, 1.0])
_ACCENT_WEIGHT: Final = 12.0  # extra weight of a fully coloured pixel over a grey one, so that small accents are found
_NOISE_SHARE: Final = 0.004  # share of the weight below which a cluster is noise
_MIN_ALPHA: Final = 128
MIN_BACKDROP_CONTRAST: Final = 6.0  # ΔE between product and backdrop below which the product hardly shows
HEX: Final = re.compile(r"#[0-9a-f]{6}")
_TYPED_HEX: Final = re.compile(r"#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")

#: Words that a shop, a designer and a printer all understand, each with one typical colour.
NAMES: Final = {
    "White": "#ffffff", "Off-white": "#f7f5ef", "Ivory": "#f4eedd", "Cream": "#f0e4c8", "Linen": "#e8dcc8",
    "Beige": "#dcc9a8", "Sand": "#d3bd94", "Tan": "#c19a6b", "Camel": "#b0834f", "Caramel": "#a5672f",
    "Brown": "#7a4b2a", "Chocolate": "#4a2c1d", "Clay": "#b97a56", "Terracotta": "#b8603c", "Rust": "#9c4221",
    "Brick": "#8c3b2e", "Red": "#d0312d", "Scarlet": "#e8402a", "Crimson": "#a5152f", "Burgundy": "#6b1a2c",
    "Coral": "#f2735a", "Salmon": "#f2a48f", "Peach": "#f8ccad", "Apricot": "#f0b078", "Orange": "#ee7f1a",
    "Amber": "#e9a21f", "Ochre": "#c8963e", "Mustard": "#c9a227", "Yellow": "#f4d03f", "Lemon": "#f6ea70",
    "Dark olive": "#565a40", "Lime": "#a8c93a", "Olive": "#7d7a3a", "Khaki": "#a59d75", "Moss": "#6b7a4b",
    "Sage": "#a9b494", "Green": "#3d8b40", "Forest": "#24492e", "Emerald": "#1f8a5f", "Mint": "#b5e0c6",
    "Celadon": "#a8c6b1",
    "Teal": "#1f7a7a", "Petrol": "#14505c", "Turquoise": "#3fb8b0", "Aqua": "#a6dcdf", "Sky": "#a9cfe8",
    "Powder blue": "#c9d9e6", "Denim": "#4f6f94", "Blue": "#2f66c4", "Cobalt": "#1f3f9a", "Navy": "#1c2a4a",
    "Ink": "#25304a", "Slate": "#5f6b76", "Indigo": "#3d3a8c", "Lavender": "#c4bde0", "Lilac": "#c7a4cf",
    "Violet": "#7c4fa8", "Purple": "#5f2c82", "Plum": "#6a3556", "Aubergine": "#3b2035", "Mauve": "#a98a9d",
    "Pink": "#f2a7bd", "Rose": "#d66a83", "Blush": "#ecd0c8", "Magenta": "#c2247e", "Pale grey": "#e6e6e4",
    "Light grey": "#c9c9c7", "Grey": "#8f8f8e", "Taupe": "#8b7d72", "Stone": "#bdb5a8", "Dark grey": "#555555",
    "Charcoal": "#333436", "Black": "#111111",
}  # fmt: skip

_TO_LMS = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
_TO_LAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip
_LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722])
_NAMING_WEIGHTS: Final = np.array([0.8, 2.0, 2.0])
_FROM_LMS, _FROM_LAB = np.linalg.inv(_TO_LMS), np.linalg.inv(_TO_LAB)


def normalise_hex(text: str) -> str:
    """Return "B5651D", "#b5651d" or "#B51" as "#rrggbb" in lower case. Raises ValueError with advice."""
    stripped = text.strip()
    if not _TYPED_HEX.fullmatch(stripped):
        raise ValueError("Write a colour as # and six hexadecimal digits, such as #b5651d.")
    digits = stripped.lstrip("#").lower()
    return "#" + (digits if len(digits) == 6 else "".join(digit * 2 for digit in digits))


def to_oklab(rgb: NDArray[np.uint8]) -> Floats:
    """Return sRGB (… × 3, uint8) as OKLab: L 0–1, a and b about −0.4 to 0.4."""
    return np.asarray(np.cbrt(_linear(rgb) @ _TO_LMS.T) @ _TO_LAB.T)


def _linear(rgb: NDArray[np.uint8]) -> Floats:
    share = rgb.astype(np.float64) / 255
    return np.asarray(np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4))


def to_srgb(lab: Floats) -> NDArray[np.uint8]:
    """Return OKLab (… × 3) as sRGB, uint8; colours outside of sRGB are clipped."""
    linear = np.clip((lab @ _FROM_LAB.T) ** 3 @ _FROM_LMS.T, 0, 1)
    share = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(share * 255), dtype=np.uint8)


def lab_of(colour: str) -> Floats:
    """Return "#rrggbb" as OKLab (3)."""
    return to_oklab(_rgb_of(colour))


def _rgb_of(colour: str) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(colour.lstrip("#")), np.uint8)


def hex_of(lab: Floats) -> str:
    """Return OKLab (3) as "#rrggbb"."""
    return "#" + bytes(to_srgb(lab)).hex()


def colour_difference(first: str, second: str) -> float:
    """Return ΔE between two "#rrggbb" colours."""
    return float(100 * np.linalg.norm(lab_of(first) - lab_of(second)))


def contrast_ratio(first: str, second: str) -> float:
    """Return the WCAG 2 contrast ratio of two "#rrggbb" colours, 1 to 21."""
    darker, lighter = sorted(float(_linear(_rgb_of(each)) @ _LUMINANCE) for each in (first, second))
    return (lighter + 0.05) / (darker + 0.05)


def readable_ink(colour: str) -> str:
    """Return black or white, whichever is easier to read on the colour."""
    return max(("#000000", "#ffffff"), key=lambda ink: contrast_ratio(ink, colour))


def names_of(colours: list[str]) -> list[str]:
    """Return a unique name for each "#rrggbb": the nearest common one, with a lightness or a number if needed."""
    taken: list[str] = []
    for colour in colours:
        lab = lab_of(colour)
        name = _nearest(lab)
        if name in taken:
            name = f"{'Light' if lab[0] >= lab_of(NAMES[name])[0] else 'Dark'} {name[0].lower()}{name[1:]}"
        unique, place = name, 2
        while unique in taken:
            unique, place = f"{name} {place}", place + 1
        taken.append(unique)
    return taken


def _nearest(lab: Floats) -> str:
    """Return the name with the nearest colour; hue and chroma count more than lightness, as in speech."""
    return _ORDER[int(np.argmin(np.linalg.norm((_LABS - lab) * _NAMING_WEIGHTS, axis=1)))]


_ORDER: Final = list(NAMES)
_LABS: Final = np.stack([lab_of(colour) for colour in NAMES.values()])


def extract_palette(pixels: NDArray[np.uint8]) -> list[dict[str, str]]:
    """Return {"name", "hex"} of the main colours of height × width × 3|4 sRGB pixels, uint8, the largest first.

    Uses k-means in OKLab, initialised by median cut, so that the same image always gives the same colours; similar
    clusters are merged. Fewer than MIN_COLOURS are returned only if the image has no more, and none if all is clear.
    """
    lab = _opaque_pixels(pixels)
    if not len(lab):
        return []
    weights = 1 + _ACCENT_WEIGHT * np.hypot(lab[:, 1], lab[:, 2])
    labels, centres = _settle_clusters(lab, weights, _median_cut(lab, weights))
    kept = _merge_clusters(lab, weights, labels, centres)
    hexes = [hex_of(centre) for centre in kept]
    return [{"name": name, "hex": colour} for name, colour in zip(names_of(hexes), hexes, strict=True)]


def similar_colour_remarks(listed: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a sentence about each pair of {"name", "hex"} that people would take for one colour."""
    remarks = []
    for index, first in enumerate(listed):
        for second in listed[index + 1 :]:
            distance = colour_difference(first["hex"], second["hex"])
            if distance < DISTINCT_COLOURS:
                seen = "cannot be told apart" if distance < JUST_NOTICEABLE else "are hard to tell apart"
                remarks.append(
                    f"{first['name']} and {second['name']} {seen} (ΔE {distance:.1f}; two colours from about 5)."
                )
    return remarks


def low_contrast_remarks(products: Sequence[Mapping[str, str]], backdrops: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a sentence for each product colour that hardly shows on some backdrops; lists of {"name", "hex"}."""
    remarks = []
    for product in products:
        near = [
            backdrop["name"]
            for backdrop in backdrops
            if colour_difference(product["hex"], backdrop["hex"]) < MIN_BACKDROP_CONTRAST
        ]
        if near:
            grounds = " and ".join(filter(None, [", ".join(near[:-1]), near[-1]]))
            remarks.append(f"A product in {product['name']} hardly shows on {grounds}: only its shadow and edges will.")
    return remarks


def _opaque_pixels(pixels: NDArray[np.uint8]) -> Floats:
    """Return the opaque pixels of a small copy as OKLab, n × 3."""
    height, width = pixels.shape[:2]
    scale = _WORKING_EDGE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    flat = pixels.reshape(-1, pixels.shape[2])
    if flat.shape[1] == 4:
        flat = flat[flat[:, 3] >= _MIN_ALPHA]
    return to_oklab(flat[:, :3])


def _median_cut(lab: Floats, weights: Floats) -> Floats:
    """Return centres by median cut: the box with the largest weight × extent is split until there are enough."""
    boxes = [np.arange(len(lab))]
    while len(boxes) < _CLUSTERS:
        extents = [float(np.ptp(lab[box], axis=0).max() * weights[box].sum()) if len(box) > 1 else 0.0 for box in boxes]
        widest = int(np.argmax(extents))
        if extents[widest] <= 0:
            break
        box = boxes.pop(widest)
        axis = int(np.argmax(np.ptp(lab[box], axis=0)))
        middle = (lab[box, axis].min() + lab[box, axis].max()) / 2
        low = lab[box, axis] <= middle
        boxes += [box[low], box[~low]]
    return np.stack([np.average(lab[box], axis=0, weights=weights[box]) for box in boxes])


def _settle_clusters(lab: Floats, weights: Floats, centres: Floats) -> tuple[NDArray[np.intp], Floats]:
    for _ in range(_ROUNDS):
        labels = np.asarray(((lab[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1))
        moved = centres.copy()
        for index in np.unique(labels):
            members = labels == index
            moved[index] = np.average(lab[members], axis=0, weights=weights[members])
        if np.allclose(moved, centres, atol=1e-4):
            break
        centres = moved
    return labels, centres


def _merge_clusters(lab: Floats, weights: Floats, labels: NDArray[np.intp], centres: Floats) -> list[Floats]:
    """Return the centres, largest area first: similar clusters joined, noise dropped."""
    parts = [(centres[i], float(weights[labels == i].sum()), float((labels == i).mean())) for i in range(len(centres))]
    parts = [part for part in parts if part[1] > 0]
    while len(parts) > 1:
        gaps = [
            (float(np.linalg.norm((parts[i][0] - parts[j][0]) * _LAB_WEIGHTS)), i, j)
            for i in range(len(parts))
            for j in range(i)
        ]
        gap, i, j = min(gaps)
        enough = _SAME_COLOUR_DISTANCE if len(parts) <= MIN_COLOURS else _MERGE_DISTANCE
        if gap >= enough and len(parts) <= MAX_COLOURS:
            break
        later, earlier = parts.pop(i), parts.pop(j)  # i > j
        weight = later[1] + earlier[1]
        centre = (later[0] * later[1] + earlier[0] * earlier[1]) / weight
        parts.append((centre, weight, later[2] + earlier[2]))
    whole = float(weights.sum())
    large = [part for part in parts if part[1] / whole >= _NOISE_SHARE]
    return [centre for centre, _, _ in sorted(large or parts, key=lambda part: -part[2])]
