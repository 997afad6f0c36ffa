"""Colours as people see them: OKLab, the difference of two colours, and names of colours. Pure functions.

OKLab is by Björn Ottosson (bottosson.github.io/posts/oklab). ΔE is its Euclidean distance times 100, as in CSS Color 4:
a ΔE of about 2 is just noticeable side by side; from about 5 on, people see two colours.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

JUST_NOTICEABLE: Final = 2.0
DISTINCT_COLOURS: Final = 5.0
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
