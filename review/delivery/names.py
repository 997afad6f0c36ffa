"""Names of delivered files, in characters that every service takes."""

from __future__ import annotations

import re
import unicodedata


def remote_name(asset_id: int, name: str, sha256: str, *, mark: str = "", longest: int = 100) -> str:
    """Return a file's name at a destination, which no other asset and no other bytes have, however long the name is.

    "Müller Vase.JPG" of asset 7 becomes "muller-vase-7-0a1b2c3d.jpg". mark: see `ending`.
    """
    return _join(name, "-" + ending(asset_id, sha256, mark=mark), longest)


def ending(asset_id: int, sha256: str, *, mark: str = "") -> str:
    """Return how the name of these bytes ends, before its extension. mark: letters before the number of the asset."""
    return f"{mark}{asset_id}-{sha256[:8]}"


def ascii_name(name: str, sha256: str, *, longest: int = 100) -> str:
    """Return a file name of [a-z0-9._-] that is unique for these bytes.

    "Müller Vase.JPG" becomes "muller-vase-0a1b2c3d.jpg". The first eight digits of the sha256 keep names apart that are
    equal after shortening.
    """
    return _join(name, f"-{sha256[:8]}", longest)


def ascii_words(text: str) -> str:
    """Return a text in the characters [a-z0-9_-]; empty if it has no letter or digit of the Latin alphabet."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-_")


def plain_keyword(text: str) -> str:
    """Return a text as one keyword of a list with commas."""
    return re.sub(r'[,"\s]+', " ", text).strip()


def _join(name: str, end: str, longest: int) -> str:
    """Return the name in plain characters with this end before its extension, in `longest` characters."""
    stem, dot, extension = name.replace("/", "-").rpartition(".")
    if not dot:
        stem, extension = extension, ""
    plain, extension = ascii_words(stem) or "image", re.sub(r"[^a-z0-9]+", "", extension.lower())
    end += f".{extension}" if extension else ""
    return plain[: longest - len(end)].rstrip("-_") + end
