"""The data beside a delivered file: its sidecar JSON, the metadata and tags of an object, the asset's manifest."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.header import Header
from typing import Any

from core.csv_files import escape_formula
from review.delivery.base import DeliveryFile, Package

MANIFEST_COLUMNS = (
    "asset", "sku", "spec", "name", "media_type", "width", "height", "bytes", "sha256", "prompt", "model",
    "seed", "approved_by", "approved_at", "disclaimer",
)  # fmt: skip
TAGS = ("brand", "campaign", "spec", "sku", "state")
MAX_TAGS = 10  # of one object
MAX_TAG_VALUE = 256
METADATA_ROOM = {"sku": 200, "title": 400, "alt": 900}
"""The most bytes of the texts. All metadata of an object has room for 2 KB; the sidecar has the whole texts."""


@dataclass(frozen=True)
class Labels:
    """The labels that a storage keeps with a file. metadata, tags: only of object storage, in ASCII."""

    media_type: str
    sha256: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def facts(package: Package, file: DeliveryFile, name: str) -> dict[str, Any]:
    """Return what identifies a delivered file. name: its name at the destination; the original one is the title."""
    names = ("spec", "sha256", "media_type", "width", "height", "bytes")
    values = {key: getattr(file, key) for key in names}
    return {**package.asset_fields, "name": name, "title": file.name, **values}


def sidecar(package: Package, file: DeliveryFile, name: str) -> bytes:
    """Return the JSON that lies beside a file."""
    lineage = package.lineage
    approval: Mapping[str, Any] = lineage.get("approval") or {}
    content = {
        **facts(package, file, name),
        "product_name": package.title,
        "alt_text": package.alt_text,
        "caption": package.caption,
        "disclaimer": lineage.get("disclaimer", ""),
        "generated_at": lineage.get("generated_at"),
        "generation_seconds": lineage.get("generation_seconds"),
        "checks": lineage.get("checks", []),
        "approved_by": approval.get("by", ""),
        "approved_at": approval.get("at", ""),
        "review_note": approval.get("note", ""),
        "lineage": lineage,
    }
    return json.dumps(content, indent=2, ensure_ascii=False, default=str).encode()


def labels(package: Package, file: DeliveryFile, tags: Sequence[str] = ()) -> Labels:
    """Return the labels of a file. tags: names of TAGS, or "name=value"."""
    metadata = {"sha256": file.sha256, "asset": str(package.asset_id), "spec": file.spec}
    texts = {"sku": package.sku, "title": file.name, "alt": package.alt_text}
    metadata |= {name: encode_header(text, METADATA_ROOM[name]) for name, text in texts.items() if text}
    values = {**package.asset_fields, "spec": file.spec, "state": "approved"}
    chosen = {}
    for tag in tags:
        name, equals, value = tag.partition("=")
        chosen[name.strip()] = tag_value(value if equals else str(values[name.strip()]))
    return Labels(file.media_type, file.sha256, metadata, chosen)


def encode_header(text: str, longest: int) -> str:
    """Return a text for an HTTP header, in ASCII or encoded by RFC 2047; cut so that it has at most so many bytes."""
    words = " ".join(text.split())
    while len(encoded := _encode(words)) > longest:
        words = words[: min(len(words) - 1, len(words) * longest // len(encoded))].rstrip()
    return encoded


def _encode(words: str) -> str:
    is_plain = words.isascii() and words.isprintable() and "=?" not in words
    return words if is_plain else Header(words, "utf-8", maxlinelen=75).encode(linesep="")


def tag_value(text: str) -> str:
    """Return a text as the value of an S3 tag, which has letters, digits, spaces and + - = . _ : / @ only."""
    return re.sub(r"[^\w .:/=+@-]", "_", text)[:MAX_TAG_VALUE]


def manifest(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """Return a CSV file that spreadsheet programs read: with a byte order mark, and no value is a formula."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({key: escape_formula(str(value)) for key, value in row.items()} for row in rows)
    return out.getvalue().encode("utf-8-sig")


def lineage_columns(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a manifest that come from the lineage."""
    return {
        "prompt": lineage.get("prompt", {}).get("version", ""),
        "model": lineage.get("model", {}).get("name", ""),
        "seed": lineage.get("seed", ""),
        "approved_by": lineage.get("approval", {}).get("by", ""),
        "approved_at": lineage.get("approval", {}).get("at", ""),
        "disclaimer": lineage.get("disclaimer", ""),
    }
