"""Hot folders: files named by pattern, a sidecar JSON with the lineage for each, and a manifest of each asset.

Kinds: "folder" and "s3". The manifest is <campaign>/manifest/<asset id>.csv, so that a delivery costs the same however
many came before. Files are written first and the manifest last: a program that watches the folder of manifests never
reads half a delivery. Removing uses the opposite order. A name that another asset uses is refused, never overwritten.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import field_validator

from core.csv_files import escape_formula
from core.plugin_config import Config, Source, setting
from review.delivery.base import DeliveryError, DeliveryFile, Destination, Package, Reach, Receipt, Session
from review.delivery.places import BucketStorage, DirectoryStorage, Storage, safe_path

MANIFEST_COLUMNS = (
    "asset", "sku", "spec", "name", "media_type", "width", "height", "bytes", "sha256", "prompt", "model",
    "seed", "approved_by", "approved_at", "disclaimer",
)  # fmt: skip


class HotFolder(Destination):
    """The base of hot folders in all kinds of storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def validate(self) -> list[str]:
        return self.storage.validate()

    def push(self, package: Package, session: Session) -> Receipt:
        safe = [(file, safe_path(package.campaign, *file.name.split("/"))) for file in package.files]
        if not safe:
            raise DeliveryError("There is no file to deliver: the approved version has no renditions.", is_final=True)
        if len({path for _, path in safe}) < len(safe):
            raise DeliveryError("Two output specs give the same file name; add {width} or the spec.", is_final=True)
        for file, path in safe:
            self._ensure_not_owned_by_another(path, package, file)
        for file, path in safe:
            content = file.read()
            if hashlib.sha256(content).hexdigest() != file.sha256:
                message = f"{file.name} is not the file that was approved: its sha256 differs."
                raise DeliveryError(message, is_final=True)
            self.storage.write(path, content)
            self.storage.write(_sidecar(path), _lineage_json(package, file))
        names = {file.name for file in package.files}
        rows = [{**_facts(package, file), **lineage_columns(package.lineage)} for file in package.files]
        self.storage.write(_manifest_path(package), manifest(rows, MANIFEST_COLUMNS))
        self._delete(package, [name for name in package.previous_names if name not in names])
        paths = {file.name: path for file, path in safe}
        return Receipt(files=[{**file, "path": paths[file["name"]]} for file in package.delivered_files])

    def recall(self, package: Package, session: Session) -> Receipt:
        names = {*package.previous_names, *(file.name for file in package.files)}
        self.storage.delete(_manifest_path(package))
        self._delete(package, sorted(names))
        return Receipt(message=f"{len(names)} files removed")

    def plan(self, package: Package, session: Session) -> list[str]:
        """Return each file that would be written or replaced, and each that would be deleted."""
        sentences = []
        for file in package.files:
            path = safe_path(package.campaign, *file.name.split("/"))
            self._ensure_not_owned_by_another(path, package, file)
            verb = "Write" if self.storage.read(_sidecar(path)) is None else "Replace"
            sentences.append(f"{verb} {path} ({file.bytes:,} bytes), and its sidecar JSON.")
        names = {file.name for file in package.files}
        return sentences + [f"Delete {name}." for name in package.previous_names if name not in names]

    def read_delivered(self, file: Mapping[str, str]) -> bytes | None:
        return self.storage.read(file["path"]) if "path" in file else None

    def _delete(self, package: Package, names: list[str]) -> None:
        """Delete the named files if they are this asset's. A name that another asset uses now is left alone."""
        for name in names:
            path = safe_path(package.campaign, *name.split("/"))
            if self._owner(path) in {None, package.asset_id}:
                self.storage.delete(path)
                self.storage.delete(_sidecar(path))

    def _owner(self, path: str) -> int | None:
        """Return the id of the asset in the sidecar of `path`, or None."""
        try:
            return int(json.loads(self.storage.read(_sidecar(path)) or "{}")["asset"])
        except (ValueError, KeyError, TypeError):
            return None

    def _ensure_not_owned_by_another(self, path: str, package: Package, file: DeliveryFile) -> None:
        owner = self._owner(path)
        if owner is not None and owner != package.asset_id:
            raise DeliveryError(
                f"{file.name} is there already and belongs to asset {owner}; two assets share a name. "
                "Add {sku} or {variation} to the name pattern of the output spec.",
                is_final=True,
            )


def _sidecar(path: str) -> str:
    return f"{path}.json"


def _facts(package: Package, file: DeliveryFile) -> dict[str, Any]:
    names = ("spec", "name", "sha256", "media_type", "width", "height", "bytes")
    return {**package.asset_fields, **{name: getattr(file, name) for name in names}}


def _lineage_json(package: Package, file: DeliveryFile) -> bytes:
    content = {**_facts(package, file), "lineage": package.lineage}
    return json.dumps(content, indent=2, ensure_ascii=False, default=str).encode()


def _manifest_path(package: Package) -> str:
    return safe_path(package.campaign, "manifest", f"{package.asset_id}.csv")


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


class FolderConfig(Config):
    path: str = setting("Folder", "An absolute path on the server.", default="", example="/srv/handover")
    within: Path | None = setting("The folder that it must be in, links resolved", source=Source.PROGRAM)


class Folder(HotFolder):
    """A directory of this server."""

    kind = "folder"
    label = "Folder on the server"
    config = FolderConfig
    reach = Reach.FOLDER

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        given = FolderConfig.read(config)
        super().__init__(DirectoryStorage(Path(given.path), given.within))


class BucketConfig(Config):
    bucket: str = setting("Bucket", needed="Give the name of a bucket.", example="shop-images")
    prefix: str = setting("Folder in the bucket", default="", example="acme/autumn")
    endpoint_url: str = setting("Address of the service", "Empty: Amazon’s.", default="")
    region: str = setting("Region", default="", example="eu-central-1")

    @field_validator("bucket")
    @classmethod
    def _ensure_bucket(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
            raise ValueError(f"{name!r} is not a bucket name.")
        return name


class Bucket(HotFolder):
    """A bucket of an S3-compatible service."""

    kind = "s3"
    label = "S3 bucket"
    config = BucketConfig
    reach = Reach.BUCKET
    receiver_settings = ("bucket", "prefix", "endpoint_url")
    credentials_hint = "The access key’s id, a colon, and the secret access key."

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        given = BucketConfig.read(config)
        storage = BucketStorage(given.bucket, given.prefix, given.endpoint_url, given.region, secret)
        super().__init__(storage)
