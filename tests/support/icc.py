"""ICC profiles as bytes, and the colours that LittleCMS should compute, from published primaries and curves."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: XYZ of red, green and blue as rows, relative to D50, as the published profiles have them.
SRGB = np.array([[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.71410]])
ADOBE_RGB = np.array([[0.60974, 0.31111, 0.01947], [0.20528, 0.62567, 0.06087], [0.14919, 0.06322, 0.74457]])
DISPLAY_P3 = np.array([[0.51512, 0.24120, -0.00105], [0.29198, 0.69225, 0.04189], [0.15710, 0.06657, 0.78407]])
PROPHOTO = np.array([[0.79767, 0.28804, 0.0], [0.13519, 0.71188, 0.0], [0.03134, 0.00009, 0.82491]])
D50 = np.array([0.9642, 1.0, 0.8249])


def srgb_to_linear(value: Any) -> Any:
    value = np.asarray(value, dtype=np.float64)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(value: Any) -> Any:
    value = np.clip(value, 0, 1)
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)


def gamma(exponent: float) -> Callable[[Any], Any]:
    return lambda value: np.asarray(value, dtype=np.float64) ** exponent


@dataclass(frozen=True)
class Profile:
    """A matrix and curve profile, or one of greys where there are no primaries. version: 2, or 4 with a
    name in Unicode."""

    name: str
    curve: Callable[[Any], Any]
    primaries: Floats | None = None
    version: int = 2

    def icc(self) -> bytes:
        table = np.round(np.clip(self.curve(np.linspace(0, 1, 4096)), 0, 1) * 65535).astype(">u2").tobytes()
        curve = b"curv" + bytes(4) + struct.pack(">I", 4096) + table
        if self.primaries is None:
            tags = {b"wtpt": xyz(D50), b"kTRC": curve}
        else:
            tags = {b"wtpt": xyz(D50), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
            tags |= {name: xyz(row) for name, row in zip((b"rXYZ", b"gXYZ", b"bXYZ"), self.primaries, strict=True)}
        return assembled(b"GRAY" if self.primaries is None else b"RGB ", self.name, tags, self.version)

    def in_srgb(self, colour: Sequence[float]) -> Floats:
        """Return a colour of this profile (0 … 1, one number for greys) in sRGB, 0 … 255, by formula."""
        light = self.curve(np.asarray(colour, dtype=np.float64))
        linear = np.repeat(light, 3) if self.primaries is None else light @ self.primaries @ np.linalg.inv(SRGB)
        return np.asarray(linear_to_srgb(linear) * 255)


def xyz(values: Sequence[float] | Floats) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def assembled(
    space: bytes, name: str, tags: dict[bytes, bytes], version: int = 2, pcs: bytes = b"XYZ ", kind: bytes = b"mntr"
) -> bytes:
    if version == 2:
        words = name.encode("ascii") + b"\0"
        text = b"desc" + bytes(4) + struct.pack(">I", len(words)) + words + bytes(78)
    else:
        words = name.encode("utf-16-be")
        text = b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(words), 28) + words
    tags = {b"desc": text, b"cprt": text, **tags}
    at, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += struct.pack(">4sII", tag, at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sB3s4s4s4s", at + len(body), b"lcms", version, bytes(3), kind, space, pcs)
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + xyz(D50)[8:]
    return header.ljust(128, b"\0") + table + body


def cmyk() -> bytes:
    """Return a CMYK profile with two grid points per ink: each of the 16 corners has the L*a*b* of `ink_lab`."""
    head = b"mft2" + bytes(4) + bytes((4, 3, 2, 0))
    head += b"".join(struct.pack(">i", value * 65536) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    head += struct.pack(">HH", 2, 2) + struct.pack(">2H", 0, 65535) * 4
    corners = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    grid = b""
    for corner in corners:
        lightness, a, b = ink_lab(corner)
        grid += struct.pack(">3H", *(round(value * 256) for value in (lightness * 2.55, a + 128, b + 128)))
    table = head + grid + struct.pack(">2H", 0, 65535) * 3
    return assembled(b"CMYK", "sRGB IEC61966-2.1", {b"wtpt": xyz(D50), b"A2B0": table}, pcs=b"Lab ", kind=b"prtr")


def ink_lab(corner: Sequence[int]) -> tuple[float, float, float]:
    c, m, y, k = corner
    lightness = 100 * (1 - 0.4 * c) * (1 - 0.5 * m) * (1 - 0.1 * y) * (1 - k)
    return lightness, (30 * m - 25 * c) * (1 - k), (55 * y - 35 * c) * (1 - k)


def lab_in_srgb(lab: Sequence[float]) -> Floats:
    """Return CIE L*a*b* (D50) in sRGB, 0 … 255, by formula."""
    f = (lab[0] + 16) / 116 + np.array([lab[1] / 500, 0, -lab[2] / 200])
    light = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * D50
    return np.asarray(linear_to_srgb(light @ np.linalg.inv(SRGB)) * 255)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png16(values: NDArray[np.uint16], *chunks: bytes) -> bytes:
    """Return a PNG of 16 bits per channel: height × width × 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha)."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = (chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def iccp(icc: bytes) -> bytes:
    return chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc))


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """Return the PNG with chunks inserted after its header."""
    return png[:33] + b"".join(chunks) + png[33:]
