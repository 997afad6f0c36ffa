"""Reads the addresses or file names of images that a cell holds, one or several."""

from __future__ import annotations

import json
import re
from contextlib import suppress

IMAGE_ENDS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".avif", ".tif", ".tiff", ".bmp", ".heic", ".jp2", ".svg"
)  # fmt: skip
NO_IMAGE_TEXTS = frozenset(("n/a", "na", "none", "null", "nil", "nan", "-", "–", "no_selection"))
"""Values of cells that name no image."""
_WEB = re.compile(r"https?://[^\s/?#]+(?:[/?#]|$)", re.IGNORECASE)
_BETWEEN = re.compile(r"[|\n\r]|[,;][,;\s]{0,9}(?=(?:https?:)?//|www\.)|\s(?=https?://)|[,;]\s{0,9}$", re.IGNORECASE)
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61})\.){1,8}([A-Za-z]{2,18})")
# Ends of host names that are unlikely for a folder of images. Names with three parts or `www.` are always hosts.
_END_NAMES = """
com net org info biz shop store online eu de at ch fr es it nl be pl pt ru ua cz sk hu ro bg gr hr si dk se no fi ee lv
lt ie uk us ca mx br ar cl co au nz jp cn tw hk kr in id sg my th vn tr il ae za io app dev cloud me tv cc site website
tech design art studio gallery berlin hamburg wien koeln boutique fashion garden gift kitchen market club xyz example
test
"""
_ENDS = frozenset(_END_NAMES.split())


def is_web_address(name: str) -> bool:
    """Return True for a web address; blanks may stand in its path, as the fetcher encodes them."""
    return _WEB.match(name) is not None and not any(c.isspace() and c != " " for c in name)


def add_scheme(name: str) -> str:
    """Return the address, with https if it has a host but no scheme: `//host/a.jpg`, `www.host.com/a.jpg`."""
    if name.startswith("//"):
        host = _before_path(name[2:])
        return f"https:{name}" if "." in host.strip(".") and not any(map(str.isspace, host)) else name
    host = _before_path(name)
    match = _HOST.fullmatch(host) if "/" in name else None
    if match is None or match[1].lower() in ("jpg", "jpeg", "png", "webp", "gif"):
        return name
    is_host = host.lower().startswith("www.") or host.count(".") > 1 or match[1].lower() in _ENDS
    return f"https://{name}" if is_host else name


def _before_path(text: str) -> str:
    host = re.split(r"[/?#]", text, maxsplit=1)[0]
    name, colon, port = host.partition(":")
    return name if colon and port.isascii() and port.isdigit() else host


def split_images(cell: str) -> list[str]:
    """Split a cell that names several images into trimmed parts, without those that mean "no image".

    Line breaks and | always separate. Commas, semicolons and blanks separate before an address; commas and semicolons
    also between file names that all end as images do.
    """
    text = cell.strip()
    if text.startswith("[") and text.endswith("]"):
        with suppress(ValueError, RecursionError):  # other texts in brackets stay as they are
            values = json.loads(text)
            text = "\n".join(values) if all(isinstance(value, str) for value in values) else text
    parts: list[str] = []
    for piece in _BETWEEN.split(text):
        part = piece.strip(" \t\xa0\"'")
        parts += _file_names(part) if "//" not in part else [part.rstrip(",; ")]
    return [part for part in parts if part and part.casefold() not in NO_IMAGE_TEXTS]


def _file_names(part: str) -> list[str]:
    for separator in (";", ","):
        names = [name.strip() for name in part.split(separator) if name.strip()]
        if len(names) > 1 and all(is_image(name) for name in names):
            return names
    return [part]


def is_image(name: str) -> bool:
    """Return True for an address or file name that ends as an image does, query and fragment aside."""
    return re.split(r"[?#]", name, maxsplit=1)[0].casefold().rstrip("/ ").endswith(IMAGE_ENDS)
