"""Metadata of image files: removes a GPS position without changing the pixels, and reads marks of origin.

The functions work on the file's bytes and keep its length where possible, so that offsets elsewhere in the file (maker
notes, AVIF item locations) stay right and the compressed image stays identical.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Final

from PIL import Image, PngImagePlugin

GPS_IFD: Final = 0x8825
ORIENTATION: Final = 0x0112
_IPTC_RESOURCE: Final = 0x0404
_TIFF_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
#: Every repetition is bounded, because the text is untrusted and a lazy match over megabytes would take hours.
_XMP_GPS: Final = re.compile(
    rb"""[\w.-]{1,40}:GPS\w{1,40}\s{0,8}=\s{0,8}(?:"[^"]{0,400}"|'[^']{0,400}')"""
    rb"""|<([\w.-]{1,40}:GPS\w{1,40})(?:\s[^>]{0,400})?(?:/>|>.{0,400}?</\1\s{0,8}>)""",
    re.DOTALL,
)
_SOURCE_TYPE: Final = re.compile(rb"DigitalSourceType\b.{0,200}?digitalsourcetype/(\w{3,60})", re.DOTALL)
#: EXIF is untrusted: Pillow raises these when it is damaged.
EXIF_ERRORS: Final = (SyntaxError, ValueError, struct.error, TypeError, KeyError)
_CREDENTIALS: Final = re.compile(rb"jumb.{0,64}?c2pa", re.DOTALL)


def xmp_block(image: Image.Image) -> bytes:
    """Return the XMP packet as stored; empty if there is none."""
    block = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    return block.encode() if isinstance(block, str) else bytes(block)


def has_position(image: Image.Image) -> bool:
    """Return True if EXIF or XMP contain coordinates."""
    try:
        in_exif = bool(image.getexif().get_ifd(GPS_IFD))
    except EXIF_ERRORS:
        in_exif = False
    return in_exif or bool(_XMP_GPS.search(xmp_block(image)))


def has_turned_orientation(image: Image.Image) -> bool:
    """Return True if EXIF or XMP give an orientation from 2 to 8 (turned or mirrored). Other values mean nothing."""
    try:
        return image.getexif().get(ORIENTATION, 1) in range(2, 9)
    except EXIF_ERRORS:
        return False


def source_type(image: Image.Image) -> str:
    """Return the IPTC digital source type of the XMP, such as "trainedAlgorithmicMedia"; empty if there is none."""
    match = _SOURCE_TYPE.search(xmp_block(image))
    return match[1].decode() if match else ""


def iptc_block(image: Image.Image) -> bytes:
    """Return the IPTC record of a JPEG's Photoshop segment (credit, copyright, caption); empty if there is none."""
    resources = image.info.get("photoshop")
    block = resources.get(_IPTC_RESOURCE) if isinstance(resources, dict) else None
    return bytes(block) if isinstance(block, bytes) else b""


def credit(image: Image.Image) -> str:
    """Return the copyright notice or credit line of IPTC or EXIF; empty if there is none."""
    record = iptc_block(image)
    for dataset in (116, 110, 80):  # copyright notice, credit, by-line
        at = record.find(bytes((0x1C, 2, dataset)))
        if at >= 0 and at + 5 <= len(record):
            length = int.from_bytes(record[at + 3 : at + 5], "big")
            text = record[at + 5 : at + 5 + min(length, 200)].decode("utf-8", "replace").strip("\0 ")
            if text:
                return text
    try:
        notice = image.getexif().get(0x8298, "")
    except EXIF_ERRORS:
        return ""
    return notice.strip("\0 ")[:200] if isinstance(notice, str) else ""


def with_iptc(data: bytes, record: bytes) -> bytes:
    """Return a JPEG with the IPTC record added, after it was encoded again. Other files stay as they are."""
    resource = b"8BIM" + _IPTC_RESOURCE.to_bytes(2, "big") + b"\0\0" + len(record).to_bytes(4, "big") + record
    body = b"Photoshop 3.0\0" + resource + b"\0" * (len(record) % 2)
    if not record or not data.startswith(b"\xff\xd8") or len(body) + 2 > 0xFFFF:
        return data
    at = 2
    while data[at : at + 1] == b"\xff" and 0xE0 <= data[at + 1] <= 0xE2:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[:at] + b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body + data[at:]


def has_credentials(data: bytes) -> bool:
    """Return True if the file has a C2PA manifest (content credentials). Its signature is not checked."""
    return bool(_CREDENTIALS.search(data))


def without_position(data: bytes, image: Image.Image) -> bytes:
    """Return `data` with the GPS entries of EXIF and XMP blanked in place; other bytes stay, except PNG checksums.

    The caller must open the result and check `has_position`: compressed metadata is not changed this way.
    """
    changed = data
    tiff, packet = bytes(image.info.get("exif") or b"").removeprefix(b"Exif\x00\x00"), xmp_block(image)
    for old, new in ((tiff, _tiff_without_gps(tiff)), (packet, _blank_xmp_position(packet))):
        if old != new:
            changed = changed.replace(old, new)
    if image.format == "AVIF":  # Pillow adds the orientation to the EXIF block, so the block is not found unchanged
        changed = _without_raw_position(changed)
    # JPEG keeps long XMP in further segments that Pillow does not show.
    if b"http://ns.adobe.com/xmp/extension/" in changed:
        changed = _blank_xmp_position(changed)
    return _with_png_checksums(changed) if changed != data and image.format == "PNG" else changed


def cleaned_text(image: Image.Image) -> bytes:
    """Return the XMP packet without GPS, for a file that must be encoded again."""
    return _XMP_GPS.sub(b"", xmp_block(image))


def cleaned_exif(image: Image.Image) -> bytes:
    """Return EXIF without GPS and orientation, for a file that must be encoded again."""
    exif = image.getexif()
    for tag in (GPS_IFD, ORIENTATION):
        exif.pop(tag, None)
    return exif.tobytes() if len(exif) else b""


def first_image(data: bytes) -> bytes:
    """Return a JPEG up to its first end marker, without the images or films that phones append, and their index."""
    kept, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xD9:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xDA:
            end = _next_marker(data, end)
        if not (data[at + 1] == 0xE2 and data[at + 4 : at + 8] == b"MPF\x00"):
            kept.append(data[at:end])
        at = end
    return b"".join(kept) + b"\xff\xd9"


def _next_marker(data: bytes, at: int) -> int:
    """Find the end of the entropy-coded data from `at`: the next marker that is neither stuffing nor restart."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        if data[at + 1] != 0 and not 0xD0 <= data[at + 1] <= 0xD7 and data[at + 1] != 0xFF:
            return at
        at += 1 if data[at + 1] == 0xFF else 2
    return len(data)


def _blank_xmp_position(data: bytes) -> bytes:
    return _XMP_GPS.sub(lambda match: b" " * len(match[0]), data)


def _tiff_without_gps(tiff: bytes) -> bytes:
    """Return the TIFF structure in equal length, without the GPS entry and with zeroes as GPS values."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 14:
        return tiff
    block = bytearray(tiff)
    try:
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, directory)
        for index in range(count):
            entry = directory + 2 + 12 * index
            tag, _, _, offset = struct.unpack_from(order + "HHII", block, entry)
            if tag != GPS_IFD:
                continue
            _blank_directory(block, order, offset)
            end = directory + 2 + 12 * count + 4
            block[entry : end - 12] = block[entry + 12 : end]
            block[end - 12 : end] = bytes(12)
            struct.pack_into(order + "H", block, directory, count - 1)
            break
    except struct.error:
        return tiff
    return bytes(block) if len(block) == len(tiff) else tiff


def _without_raw_position(data: bytes) -> bytes:
    """Return `data` without GPS in its TIFF structures. Chance matches in compressed pixels have no GPS entry."""
    changed = bytearray(data)
    for header in (b"II*\x00", b"MM\x00*"):
        at = -1
        for _ in range(64):
            at = data.find(header, at + 1)
            if at < 0:
                break
            changed[at : at + 65536] = _tiff_without_gps(bytes(changed[at : at + 65536]))
    return bytes(changed)


def _blank_directory(block: bytearray, order: str, directory: int) -> None:
    (count,) = struct.unpack_from(order + "H", block, directory)
    for index in range(count):
        entry = directory + 2 + 12 * index
        _, kind, length, offset = struct.unpack_from(order + "HHII", block, entry)
        size = _TIFF_SIZES.get(kind, 1) * length
        if size > 4 and offset + size <= len(block):
            block[offset : offset + size] = bytes(size)
    end = min(directory + 2 + 12 * count + 4, len(block))
    block[directory:end] = bytes(end - directory)


def _with_png_checksums(data: bytes) -> bytes:
    """Return the PNG with correct CRCs after a change in place."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : at + 8 + length]
        parts.append(data[at : at + 4] + body + zlib.crc32(body).to_bytes(4, "big"))
        at += 12 + length
    return b"".join(parts) + data[at:]


def png_text(packet: bytes) -> PngImagePlugin.PngInfo | None:
    """Return the XMP packet in the form that Pillow needs for PNG."""
    if not packet:
        return None
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet.decode("utf-8", "replace"))
    return info
