"""Compare what a destination serves with the files that were delivered."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from typing import Any

from PIL import Image

from campaigns.photos import intake
from generation.checks.base import Sample
from generation.finishing import similarity
from generation.finishing.decode import FORMATS, decode
from generation.provenance import marks
from review.delivery.base import DeliveryError, DeliveryFile, Destination

MAX_BITS = 31
"""Differing bits of two PDQ hashes up to which two images are surely the same."""
MAX_GROWTH = 4
"""An image with more than so many times the pixels of the file is another one: sites make images smaller."""


def compare_delivered(
    plugin: Destination, files: Iterable[DeliveryFile], delivered: Iterable[Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Return what the destination serves for each file: {"name", "url", "outcome", "distance", "message", "marks"}.

    marks: "kept", "label" (the label of AI is left, but no valid Content Credentials), "lost", or "" if unknown.
    outcome: "same" to the byte, "alike" (the same image in other bytes; distance: differing bits of 256), "different",
    "missing", or "unknown" where the destination cannot be asked.
    """
    by_name = {file.name: file for file in files}
    return [_compare(plugin, by_name.get(entry["name"]), entry) for entry in delivered]


def find_leftovers(plugin: Destination, delivered: Iterable[Mapping[str, str]]) -> list[str]:
    """Return the files that the destination still serves after they were removed, by address or name."""
    leftovers = []
    for entry in delivered:
        try:
            if plugin.read_delivered(entry) is not None:
                leftovers.append(entry.get("url") or entry["name"])
        except (NotImplementedError, DeliveryError):
            continue
    return leftovers


def describe_leftovers(leftovers: list[str]) -> str:
    served = ", ".join(leftovers)
    return f"It was removed, but is still served: {served}. A cache may keep it; it is removed and checked again."


def _compare(plugin: Destination, file: DeliveryFile | None, entry: Mapping[str, str]) -> dict[str, Any]:
    report = {"name": entry["name"], "url": entry.get("url", ""), "distance": None, "message": "", "marks": ""}
    try:
        served = plugin.read_delivered(entry)
    except NotImplementedError:
        return {**report, "outcome": "unknown"}
    except DeliveryError as error:
        return {**report, "outcome": "unknown", "message": error.message}
    if served is None:
        return {**report, "outcome": "missing"}
    if hashlib.sha256(served).hexdigest() == entry["sha256"]:
        return {**report, "outcome": "same", "marks": "kept"}
    distance = _distance(served, file) if file is not None else None
    is_alike = distance is not None and distance <= MAX_BITS
    kept = {"marks": _remaining_marks(served)} if is_alike else {}
    return {**report, "outcome": "alike" if is_alike else "different", "distance": distance, **kept}


def _remaining_marks(served: bytes) -> str:
    try:
        found = marks.read(served)
    except ValueError:
        return ""
    if found.credentials.state in {"valid", "trusted"}:
        return "kept"
    return "label" if found.fields.source_type else "lost"


def _distance(served: bytes, file: DeliveryFile) -> int | None:
    """Return in how many of 256 bits the PDQ hashes differ; None if one of the images has none."""
    sent = file.read()
    try:
        with Image.open(io.BytesIO(served), formats=FORMATS) as image:
            intake.check_cost(image, served)  # what a site serves may be anything
            if image.width * image.height > MAX_GROWTH * file.width * file.height:
                return None
        first, second = (similarity.pdq(Sample(decode(data)).small)[0] for data in (served, sent))
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        return None
    return (int(first, 16) ^ int(second, 16)).bit_count() if first and second else None
