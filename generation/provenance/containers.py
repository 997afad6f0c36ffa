"""Insert an sRGB profile and an XMP packet into JPEG, PNG, WebP and AVIF files. The compressed pixels stay as they are.

Pillow writes both only when it encodes the image again, which would lose quality and change an approved file.
"""

from __future__ import annotations

import struct
import zlib
from functools import cache
from typing import Final

from PIL import ImageCms

from generation.provenance import avif

_XMP_OF_JPEG: Final = b"http://ns.adobe.com/xap/1.0/\0"
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_MAX_SEGMENT: Final = 0xFFFF - 2
_ICC_FLAG, _ALPHA_FLAG, _XMP_FLAG = 0x20, 0x10, 0x04


@cache
def srgb_profile() -> bytes:
    """Return an sRGB profile. Its date is zero, so that the same image gives the same file."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes(12)
    return bytes(profile)


def insert(data: bytes, image_format: str, xmp: bytes) -> bytes:
    """Return the file with the profile and the packet. image_format: "jpeg", "png", "webp" or "avif", as encoded by
    Proofline.

    Raises ValueError for another format, and for a file that is not of the format or that has a profile or XMP already.
    """
    inserters = {
        "jpeg": _insert_into_jpeg,
        "png": _insert_into_png,
        "webp": _insert_into_webp,
        "avif": _insert_into_avif,
    }
    if image_format not in inserters:
        raise ValueError(f"Files of the format {image_format} get no marks; known are {', '.join(inserters)}.")
    return inserters[image_format](data, xmp)


def _insert_into_jpeg(data: bytes, xmp: bytes) -> bytes:
    if data[:3] != b"\xff\xd8\xff":
        raise ValueError("The file is not a JPEG.")
    place = 2
    while data[place : place + 2] == b"\xff\xe0":  # JFIF comes first
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    segments = (b"\xe1", _XMP_OF_JPEG + xmp), (b"\xe2", b"ICC_PROFILE\0\x01\x01" + srgb_profile())
    return data[:place] + b"".join(_segment(marker, content) for marker, content in segments) + data[place:]


def _segment(marker: bytes, content: bytes) -> bytes:
    if len(content) > _MAX_SEGMENT:
        raise ValueError(f"The XMP packet has {len(content):,} bytes; a JPEG holds at most {_MAX_SEGMENT:,}.")
    return b"\xff" + marker + struct.pack(">H", len(content) + 2) + content


def _insert_into_png(data: bytes, xmp: bytes) -> bytes:
    if not data.startswith(_PNG_SIGNATURE) or data[12:16] != b"IHDR":
        raise ValueError("The file is not a PNG.")
    end_of_header = 8 + 12 + int.from_bytes(data[8:12])
    profile = _chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(srgb_profile()))
    text = _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    return data[:end_of_header] + profile + text + data[end_of_header:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _insert_into_webp(data: bytes, xmp: bytes) -> bytes:
    """See https://developers.google.com/speed/webp/docs/riff_container: VP8X, ICCP, the image, XMP."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise ValueError("The file is not a WebP.")
    chunks = data[12 : 8 + int.from_bytes(data[4:8], "little")]
    if chunks[:4] == b"VP8X":
        header, chunks = bytearray(chunks[8:18]), chunks[18:]
    else:
        header = _extended_header(chunks)
    header[0] |= _ICC_FLAG | _XMP_FLAG
    parts = _riff(b"VP8X", bytes(header)), _riff(b"ICCP", srgb_profile()), chunks, _riff(b"XMP ", xmp)
    return _riff(b"RIFF", b"WEBP" + b"".join(parts))


def _insert_into_avif(data: bytes, xmp: bytes) -> bytes:
    return avif.insert(data, xmp, srgb_profile())


def _extended_header(chunks: bytes) -> bytearray:
    """Return the content of a VP8X chunk for a file that has only its image: flags, and the size less one."""
    kind, content = chunks[:4], chunks[8:]
    flags = 0
    if kind == b"VP8L" and content[:1] == b"\x2f":  # lossless
        bits = int.from_bytes(content[1:5], "little")
        width, height, flags = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, _ALPHA_FLAG if bits >> 28 & 1 else 0
    elif kind == b"VP8 " and content[3:6] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(content[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    else:
        raise ValueError("The file is not a WebP with one image.")
    return bytearray(struct.pack("<I", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


def _riff(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
