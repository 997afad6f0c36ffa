"""The base of hot folders: images with a sidecar JSON each, and a manifest of each asset.

Paths: <campaign>/<name>, the sidecar <campaign>/<name>.json, and the manifest
<campaign>/manifest/<asset id>.csv, so that a delivery costs the same however many came before. Names are ASCII and
contain the asset's number and the start of the file's sha256: an image is never overwritten. Images are written first
and the manifest last, so a program that watches the manifests never reads half a delivery; removing uses the opposite
order. Everything may be repeated: images that are there already are not sent again.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from review.delivery.base import DeliveryError, DeliveryFile, Destination, Package, Receipt, Session
from review.delivery.hot_folder.cdn import Cdn
from review.delivery.hot_folder.places import Storage, safe_path
from review.delivery.hot_folder.sidecars import (
    MANIFEST_COLUMNS,
    Labels,
    facts,
    labels,
    lineage_columns,
    manifest,
    sidecar,
)
from review.delivery.names import ascii_words, remote_name

COLUMNS = (*MANIFEST_COLUMNS, "title", "alt_text")


class HotFolder(Destination):
    """The base of hot folders in all kinds of storage. tags: what each object is tagged with, where there are tags."""

    def __init__(self, storage: Storage, cdn: Cdn, tags: tuple[str, ...] = ()) -> None:
        self.storage, self.cdn, self.tags = storage, cdn, tags

    def validate(self) -> list[str]:
        return self.storage.validate() + self.cdn.validate()

    def test_connection(self, session: Session) -> list[str]:
        """Write, read and delete a small file; return what is not possible, as sentences."""
        path, content = f"proofline-test-{uuid.uuid4().hex}.txt", b"A test of Proofline; it may be deleted."
        plain = Labels("text/plain", hashlib.sha256(content).hexdigest())
        if refused := _find_problem(lambda: self.storage.create(path, content, plain)):
            return [refused]
        tagged = Labels(plain.media_type, plain.sha256, tags={tag.partition("=")[0]: "test" for tag in self.tags})
        steps: list[Callable[[], Any]] = [
            partial(self.storage.find, f"{path}.none"),
            partial(self._ensure_readable, path, content),
            partial(self.storage.label, path, tagged),
            partial(self.storage.delete, path),
            partial(self.cdn.purge, [path]),
        ]
        return self.storage.list_shortages() + list(dict.fromkeys(filter(None, map(_find_problem, steps))))

    def plan(self, package: Package, session: Session) -> list[str]:
        """Return each file that would be written, and each that would be deleted."""
        sentences = []
        for file, path in _places(package):
            if self._find(file, path) is None:
                sentences.append(f"Write {path} ({file.bytes:,} bytes), and its sidecar JSON.")
            else:
                sentences.append(f"Keep {path}, and write its sidecar JSON again.")
        return sentences + [f"Delete {path}." for path in self._earlier_paths(package)]

    def push(self, package: Package, session: Session) -> Receipt:
        places = _places(package)
        for file, path in places:
            self._ensure_file(package, file, path)
            content = sidecar(package, file, _name(package, path))
            self.storage.write(_sidecar(path), content, "application/json")
        rows = [facts(package, file, _name(package, path)) | _texts(package) for file, path in places]
        self.storage.write(_manifest_path(package), manifest(rows, COLUMNS), "text/csv; charset=utf-8")
        stale = self._delete_earlier(package)
        if package.previous:
            written = [_sidecar(path) for _file, path in places] + [_manifest_path(package)]
            self._purge([*stale, *written], "The files are delivered, and are not sent again")
        return Receipt(files=[self._entry(file, path) for file, path in places])

    def recall(self, package: Package, session: Session) -> Receipt:
        self.storage.delete(_manifest_path(package))
        paths = self._delete_earlier(package)
        self._purge([*paths, _manifest_path(package)], "The files are deleted")
        return Receipt(message=f"{len({entry['name'] for entry in package.previous})} files removed")

    def read_delivered(self, file: Mapping[str, str]) -> bytes | None:
        if url := file.get("url"):
            return self.cdn.read(url)
        return self.storage.read(file["path"]) if "path" in file else None

    # -- inside --------------------------------------------------------------------------------------------------------

    def _ensure_file(self, package: Package, file: DeliveryFile, path: str) -> None:
        """Write the image unless it is there; its labels are then set anew. Raises DeliveryError for other bytes."""
        is_known = any(entry.get("sha256") == file.sha256 for entry in package.previous)
        wanted = labels(package, file, self.tags)
        if not (is_known and self._find(file, path)):
            content = file.read()
            if hashlib.sha256(content).hexdigest() != file.sha256:
                message = f"{file.name} is not the file that was approved: its sha256 differs."
                raise DeliveryError(message, is_final=True)
            if self.storage.create(path, content, wanted):
                return
            if not self._find(file, path):
                raise DeliveryError(f"{path} was there and is gone again; somebody else changes these files.")
        self.storage.label(path, wanted)

    def _find(self, file: DeliveryFile, path: str) -> str | None:
        """Return the sha256 of the image that is there already, None without one. Raises DeliveryError for another."""
        sha256 = self.storage.find(path)
        if sha256 not in {None, file.sha256}:
            message = f"{path} is there already with other bytes, and nothing is overwritten. Move it away."
            raise DeliveryError(message, is_final=True)
        return sha256

    def _earlier_paths(self, package: Package) -> list[str]:
        """Return the paths of the asset's earlier images that its new ones do not have."""
        paths = [
            path
            for entry in package.previous
            for path in _possible_paths(package, entry)
            if self._is_ours(path, package, entry)
        ]
        new = {path for _file, path in _places(package)} if package.files else set()
        return [path for path in dict.fromkeys(paths) if path not in new]

    def _delete_earlier(self, package: Package) -> list[str]:
        """Delete the asset's earlier images and sidecars; return the paths of both, also of those that are gone."""
        deleted = []
        for path in self._earlier_paths(package):
            for each in (path, _sidecar(path)):
                self.storage.delete(each)
                deleted.append(each)
        return deleted

    def _is_ours(self, path: str, package: Package, entry: Mapping[str, str]) -> bool:
        """Return whether a path is this asset's: by its name, or, from earlier versions, by what its sidecar says."""
        last = entry["name"].rpartition("/")[2]
        if path.rpartition("/")[2] == remote_name(package.asset_id, last, entry.get("sha256", "")):
            return True
        try:
            return int(json.loads(self.storage.read(_sidecar(path)) or "{}")["asset"]) == package.asset_id
        except (ValueError, KeyError, TypeError):
            return False

    def _purge(self, paths: list[str], so_far: str) -> None:
        try:
            self.cdn.purge(paths)
        except DeliveryError as error:
            raise DeliveryError(
                f"{so_far}. {error.message}",
                status_code=error.status_code,
                retry_after_seconds=error.retry_after_seconds,
            ) from None

    def _entry(self, file: DeliveryFile, path: str) -> dict[str, str]:
        entry = {"spec": file.spec, "name": file.name, "sha256": file.sha256, "path": path}
        return {**entry, "url": url} if (url := self.cdn.url(path)) else entry

    def _ensure_readable(self, path: str, content: bytes) -> None:
        """Raise DeliveryError if a file that was written cannot be read, in the storage or where it is served."""
        if self.storage.read(path) != content:
            raise DeliveryError("A file that was written a moment ago is not there.")
        if url := self.cdn.url(path):
            try:
                served = self.cdn.read(url)
            except DeliveryError as error:
                raise DeliveryError(f"The files are not served at public_url: {error.message}") from None
            if served != content:
                raise DeliveryError(f"{url} does not serve the file that was written here: correct public_url.")


def _find_problem(step: Callable[[], Any]) -> str:
    """Return the sentence of the error with which a step ends; empty without one."""
    try:
        step()
    except DeliveryError as error:
        return error.message
    return ""


def _places(package: Package) -> list[tuple[DeliveryFile, str]]:
    """Return each file with its path. Raises DeliveryError if there is none, or two of the same name."""
    if not package.files:
        raise DeliveryError("There is no file to deliver: the approved version has no renditions.", is_final=True)
    if len({file.name for file in package.files}) < len(package.files):
        raise DeliveryError("Two output specs give the same file name; add {width} or the spec.", is_final=True)
    return [(file, _path(package, file.name, file.sha256)) for file in package.files]


def _path(package: Package, name: str, sha256: str) -> str:
    *folders, last = name.split("/")
    parts = [words for folder in folders if (words := ascii_words(folder)[:60])]
    return safe_path(package.campaign, *parts, remote_name(package.asset_id, last, sha256))


def _possible_paths(package: Package, entry: Mapping[str, str]) -> list[str]:
    """Return where a file of an earlier receipt may be: one whose attempt was cut off, or of an earlier version."""
    if path := entry.get("path"):
        return [safe_path(*path.split("/"))]
    paths = [_path(package, entry["name"], entry["sha256"])] if entry.get("sha256") else []
    try:
        return [*paths, safe_path(package.campaign, *entry["name"].split("/"))]
    except DeliveryError:
        return paths


def _name(package: Package, path: str) -> str:
    return path.removeprefix(f"{package.campaign}/")


def _texts(package: Package) -> dict[str, Any]:
    return {**lineage_columns(package.lineage), "alt_text": package.alt_text}


def _sidecar(path: str) -> str:
    return f"{path}.json"


def _manifest_path(package: Package) -> str:
    return safe_path(package.campaign, "manifest", f"{package.asset_id}.csv")
