"""Colour spaces that an image file names without an ICC profile, and the ICC profiles that describe them.

PNG names one by its chunks cICP, sRGB, gAMA and cHRM (https://www.w3.org/TR/png-3/), AVIF by the code points of ITU-T
H.273, and a camera's JPEG by the interoperability index of DCF 2.0, which is "R03" for Adobe RGB.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: x and y of white, red, green and blue.
Primaries = tuple[float, float, float, float, float, float, float, float]

SRGB: Final = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE_RGB: Final = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
#: Code points of H.273; 2 is "unspecified".
_PRIMARIES: Final[Mapping[int, Primaries]] = {
    1: SRGB,
    2: SRGB,
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
#: Gamma by code point, 0 for the curve of sRGB. The curves of video (1, 6, 14, 15) are shown as sRGB everywhere.
_GAMMAS: Final[Mapping[int, float]] = {1: 0, 2: 0, 4: 2.2, 5: 2.8, 6: 0, 8: 1.0, 13: 0, 14: 0, 15: 0}
#: Allowed difference of a chunk's values from sRGB: writers round them, and write 1/2.2 for the curve of sRGB.
_NEAR_PRIMARY, _NEAR_GAMMA = 0.004, 0.06
_INTEROPERABILITY: Final = 0xA005
_D50: Final = np.array([0.9642, 1.0, 0.8249])
_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


class UnsupportedColourSpace(ValueError):
    """The file names a colour space that is not supported; the message is a sentence for people."""


@dataclass(frozen=True)
class Space:
    """A colour space with three primaries. gamma: of its curve, 0 for the curve of sRGB."""

    primaries: Primaries = SRGB
    gamma: float = 0.0

    @property
    def is_srgb(self) -> bool:
        is_near = all(abs(a - b) < _NEAR_PRIMARY for a, b in zip(self.primaries, SRGB, strict=True))
        return is_near and (self.gamma == 0 or abs(self.gamma - 2.2) < _NEAR_GAMMA)


def space_of_code_points(image: Image.Image, data: bytes) -> Space | None:
    """Return the space that PNG's cICP chunk or AVIF's colr box names, or None without one.

    Raises UnsupportedColourSpace.
    """
    if image.format == "PNG" and len(content := _png_chunk(data, b"cICP")) == 4:
        primaries, transfer = content[:2]
    elif image.format == "AVIF" and 0 <= (at := data.find(b"colrnclx", 0, 1 << 16)) <= len(data) - 12:
        primaries, transfer = struct.unpack_from(">HH", data, at + 8)
    else:
        return None
    if transfer in (16, 18):
        raise UnsupportedColourSpace(
            "The file is an HDR image (PQ or HLG). Its colours were taken as sRGB and look wrong; export it in sRGB."
        )
    if primaries not in _PRIMARIES or transfer not in _GAMMAS:
        raise UnsupportedColourSpace(
            f"The file names a colour space that is not known here (code {primaries}/{transfer}). Its colours were "
            "taken as sRGB; if they look wrong, export the image again in sRGB."
        )
    return Space(_PRIMARIES[primaries], _GAMMAS[transfer])


def space_of_png_chunks(image: Image.Image) -> Space | None:
    """Return the space that PNG's gAMA and cHRM chunks name.

    None if they are missing or have impossible values, or if there is an sRGB chunk.
    """
    if image.format != "PNG" or "srgb" in image.info:
        return None
    exponent, primaries = image.info.get("gamma") or 0.0, image.info.get("chromaticity") or SRGB
    gamma = 1 / exponent if 0.1 <= exponent <= 2 else 0.0
    space = Space(tuple(primaries), gamma)
    return None if space == Space() or not _is_possible(space.primaries) else space


def space_of_camera(image: Image.Image) -> Space | None:
    """Return Adobe RGB if the EXIF of a file without a profile says so, else None."""
    try:
        index: Any = image.getexif().get_ifd(_INTEROPERABILITY).get(1, "")
    except (SyntaxError, ValueError, struct.error, TypeError, KeyError, OSError):
        return None  # EXIF is untrusted
    text = index.decode("ascii", "replace") if isinstance(index, bytes) else str(index)
    return Space(ADOBE_RGB, 563 / 256) if text.strip("\0 ") == "R03" else None


def make_icc_profile(space: Space) -> bytes:
    """Return an ICC profile, version 4, of three primaries and one curve (ICC.1:2010, 8.3.3)."""
    columns = _adapt_to_d50(space.primaries)
    name = "Proofline".encode("utf-16-be")
    text = b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(name), 28) + name
    tags = {b"desc": text, b"cprt": text, b"wtpt": _xyz(_D50)}
    tags |= zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, columns.T), strict=True)
    kind, numbers = (0, [space.gamma]) if space.gamma else (3, [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045])
    curve = b"para" + bytes(4) + struct.pack(">HH", kind, 0) + b"".join(map(_fixed, numbers))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, at = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        table += struct.pack(">4sII", tag, at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">II4s4s4s", at + len(body), 0, b"\x04\x30\x00\x00", b"mntr", b"RGB ") + b"XYZ "
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _xyz(_D50)[8:]
    return header.ljust(128, b"\0") + table + body


def _png_chunk(data: bytes, name: bytes) -> bytes:
    """Return the content of the first chunk of this name before the pixels; empty without one."""
    at = 8
    while at + 12 <= len(data) and (kind := data[at + 4 : at + 8]) != b"IDAT":
        length = int.from_bytes(data[at : at + 4], "big")
        if kind == name:
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return b""


def _is_possible(primaries: Primaries) -> bool:
    """Return True if white lies inside the triangle of the primaries, as in every colour space of a screen."""
    if min(primaries[1::2]) <= 0:
        return False
    try:
        shares = np.linalg.solve(_columns(primaries), _white(primaries))
    except np.linalg.LinAlgError:
        return False
    return bool((shares > 0.01).all())


def _columns(primaries: Primaries) -> NDArray[np.float64]:
    """Return XYZ of red, green and blue as columns, each with its own y as luminance."""
    x, y = np.array(primaries[2::2]), np.array(primaries[3::2])
    return np.stack([x, y, 1 - x - y])


def _white(primaries: Primaries) -> NDArray[np.float64]:
    x, y = primaries[:2]
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _adapt_to_d50(primaries: Primaries) -> NDArray[np.float64]:
    """Return XYZ of red, green and blue as columns, adapted from their white to D50 by Bradford's matrix."""
    white = _white(primaries)
    columns = _columns(primaries)
    scaled = columns * np.linalg.solve(columns, white)
    cones = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    adapted: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ scaled
    return adapted


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(_fixed(float(value)) for value in values)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))
