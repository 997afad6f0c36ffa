"""Insert an sRGB profile and an XMP packet into AVIF files that Proofline encoded; the coded pixels stay as they are.

An AVIF file is a list of boxes (ISO/IEC 14496-12, 23008-12). "meta" lists the items of the file, such as the colours
and the alpha of its image, with their properties and their places in the file, which move when "meta" grows.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

_Box = tuple[bytes, bytes]  # kind, content

_TOP: Final = [b"ftyp", b"meta", b"mdat"]
_META: Final = {b"hdlr", b"pitm", b"iloc", b"iinf", b"iref", b"iprp"}
_FULL: Final = bytes(4)
"""Version 0 and no flags, as all boxes have that are read here."""
_XMP_ITEM: Final = b"mime" + b"XMP\0" + b"application/rdf+xml\0"
_EXTENT: Final = struct.Struct(">HHHII")
"""An item in "iloc": its ID, a file (0: this one), one extent, its offset from the start of the file, its length."""


def insert(data: bytes, xmp: bytes, profile: bytes) -> bytes:
    """Return the file with the profile as a property and the packet as an item of its image.

    Raises ValueError for every file that is not built as Pillow's encoder builds one without metadata.
    """
    try:
        return _insert(data, xmp, profile)
    except (struct.error, IndexError):
        raise ValueError("The file is not an AVIF, or it is cut off.") from None


def _insert(data: bytes, xmp: bytes, profile: bytes) -> bytes:
    if data[4:12] != b"ftypavif":
        raise ValueError("The file is not an AVIF.")
    (_, file_type), (_, meta), (_, pixels) = _expect(_boxes(data), _TOP)
    parts = dict(_boxes(_without_version(meta)))
    if not _META - {b"iref"} <= parts.keys() <= _META:
        raise ValueError("The AVIF has metadata of its own, or is no single image.")
    places = _places(parts[b"iloc"])
    (primary,) = struct.unpack(">H", _without_version(parts[b"pitm"]))
    packet = max(item for item, _, _ in places) + 1
    parts[b"iinf"] = _with_item(parts[b"iinf"], packet)
    parts[b"iref"] = parts.get(b"iref", _FULL) + _box(b"cdsc", struct.pack(">HHH", packet, 1, primary))
    parts[b"iprp"] = _with_profile(parts[b"iprp"], primary, profile)
    # The length of "meta" does not depend on the places, so one pass with any places says how far all content moves.
    grown = len(_meta(parts, [*places, (packet, 0, 0)])) - len(_box(b"meta", meta))
    moved = [(item, offset + grown, length) for item, offset, length in places]
    moved.append((packet, len(data) + grown + 8, len(xmp)))
    return _box(b"ftyp", file_type) + _meta(parts, moved) + _box(b"mdat", pixels) + _box(b"mdat", xmp)


def _boxes(content: bytes) -> list[_Box]:
    """Return the boxes of which the content consists. Boxes with 64-bit lengths, or up to the end, are refused."""
    boxes, at = [], 0
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if length < 8 or at + length > len(content):
            raise ValueError("The AVIF has a box with an unknown or wrong length.")
        boxes.append((kind, content[at + 8 : at + length]))
        at += length
    return boxes


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def _expect(boxes: Sequence[_Box], kinds: Sequence[bytes]) -> Sequence[_Box]:
    if [kind for kind, _ in boxes] != kinds:
        raise ValueError(f"The AVIF has other boxes than {b', '.join(kinds).decode()}.")
    return boxes


def _without_version(content: bytes) -> bytes:
    if content[:4] != _FULL:
        raise ValueError("The AVIF has a box of an unknown version.")
    return content[4:]


def _meta(parts: dict[bytes, bytes], places: Sequence[tuple[int, int, int]]) -> bytes:
    """Return the box; "iref", which a file without alpha does not have, comes before the properties."""
    items = b"".join(_EXTENT.pack(item, 0, 1, offset, length) for item, offset, length in places)
    contents = {**parts, b"iloc": _FULL + struct.pack(">HH", 0x4400, len(places)) + items}
    order = [b"hdlr", b"pitm", b"iloc", b"iinf", b"iref", b"iprp"]
    return _box(b"meta", _FULL + b"".join(_box(kind, contents[kind]) for kind in order))


def _places(content: bytes) -> list[tuple[int, int, int]]:
    """Return the ID, offset and length of each item. Offsets and lengths have four bytes, each item has one extent."""
    sizes, count = struct.unpack_from(">HH", _without_version(content))
    items = list(_EXTENT.iter_unpack(content[8:])) if len(content) == 8 + count * _EXTENT.size else []
    if sizes != 0x4400 or not items or any((file, extents) != (0, 1) for _, file, extents, _, _ in items):
        raise ValueError("The AVIF stores its items in an unknown way.")
    return [(item, offset, length) for item, _, _, offset, length in items]


def _with_item(content: bytes, item: int) -> bytes:
    """Return the list of items with an item for an XMP packet."""
    (count,) = struct.unpack_from(">H", _without_version(content))
    entries = _expect(_boxes(content[6:]), [b"infe"] * count)
    if any(entry[8:12] != b"av01" for _, entry in entries):
        raise ValueError("The AVIF has metadata already.")
    entry = b"\x02\0\0\0" + struct.pack(">HH", item, 0) + _XMP_ITEM
    return _FULL + struct.pack(">H", count + 1) + content[6:] + _box(b"infe", entry)


def _with_profile(content: bytes, primary: int, profile: bytes) -> bytes:
    """Return the properties with a profile for the primary item. Each has a one-byte number, counted from 1."""
    (_, properties), (_, associations) = _expect(_boxes(content), [b"ipco", b"ipma"])
    boxes = _boxes(properties)
    if any(kind == b"colr" and value[:4] != b"nclx" for kind, value in boxes) or len(boxes) > 0x7E:
        raise ValueError("The AVIF has a colour profile already.")
    (count,) = struct.unpack_from(">I", _without_version(associations))
    entries, at = b"", 8
    for _number in range(count):
        item, owned = struct.unpack_from(">HB", associations, at)
        numbers = associations[at + 3 : at + 3 + owned]
        at += 3 + owned
        if item == primary:  # first, because what describes an image comes before what turns it
            numbers = bytes([len(boxes) + 1]) + numbers
        entries += struct.pack(">HB", item, len(numbers)) + numbers
    if at != len(associations):
        raise ValueError("The AVIF has properties that belong to no item.")
    properties += _box(b"colr", b"prof" + profile)
    return _box(b"ipco", properties) + _box(b"ipma", associations[:8] + entries)
