"""The files of an archive of approved images, in the order of their assets, and their paths in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import count

from django.db.models import QuerySet

from generation.models import Asset
from review.delivery.base import DeliveryError, DeliveryFile
from review.delivery.names import ascii_name
from review.selectors import archive_contents
from review.services import packages
from review.services.archive_manifests import Row, asset_row, file_row
from review.services.marked_files import Marker
from review.services.packages import ApprovedAsset

CHUNK = 500
"""Assets whose rows are in memory at a time."""


@dataclass(frozen=True)
class ArchiveFile:
    """A file for the archive: its row in the manifests, its path, and where it is stored.

    Without a storage key it is the row of an image that has no file; "problem" says why.
    """

    row: Row
    path: str = ""
    storage_key: str = ""


def iter_files(assets: QuerySet[Asset], specs: Collection[str] = ()) -> Iterator[ArchiveFile]:
    """Yield the files of the approved assets, those of the output specs only if some are given.

    The queries of CHUNK assets are as many as those of one. An approval that ends meanwhile takes its image out.
    """
    last = 0
    while chunk := dict(assets.filter(pk__gt=last).order_by("pk").values_list("pk", "current_version")[:CHUNK]):
        loaded = packages.load_approved_assets(pk for pk in chunk.values() if pk is not None)
        alt_texts = archive_contents.alt_texts(chunk)
        usable = [approved for approved in loaded.values() if isinstance(approved, ApprovedAsset)]
        marker = Marker(rendition for approved in usable for rendition in approved.renditions.values())
        for asset_id, version_id in chunk.items():
            approved = loaded.get(version_id, DeliveryError("It has no version."))
            if isinstance(approved, DeliveryError):
                yield ArchiveFile({"asset": asset_id, "problem": approved.message})
            else:
                yield from _files_of(approved, alt_texts.get(asset_id, ""), specs, marker)
        last = asset_id


def _files_of(approved: ApprovedAsset, alt_text: str, specs: Collection[str], marker: Marker) -> Iterator[ArchiveFile]:
    row = asset_row(approved, alt_text or packages.default_alt_text(approved.asset))
    if not approved.files:
        yield ArchiveFile({**row, "problem": "The approved version has no renditions."})
        return
    try:
        marked = packages.with_marks(approved, marker, specs)
    except DeliveryError as error:
        yield ArchiveFile({**row, "problem": error.message})
        return
    for file in marked.files:
        path = _path(approved.asset.campaign.slug, file)
        yield ArchiveFile({**row, **file_row(file)}, path, marked.storage_keys[file.spec])


def _path(campaign: str, file: DeliveryFile) -> str:
    """Return the path of a file: its campaign's folder, and its name as destinations get it."""
    *folders, name = file.name.split("/")
    return "/".join([*(folder.lower() for folder in (campaign, *folders)), ascii_name(name, file.sha256)])


class Paths:
    """The paths that an archive has, in a temporary database on the disk: there may be millions."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE paths (path TEXT PRIMARY KEY) WITHOUT ROWID")

    def close(self) -> None:
        self._database.close()

    def claim(self, path: str, asset_id: int) -> str:
        """Return the path, with the asset's id added if another file of the archive has it."""
        stem, dot, extension = path.rpartition(".")
        others = (f"{stem}-{asset_id}{'' if number == 1 else f'-{number}'}{dot}{extension}" for number in count(1))
        while not self._add(path):
            path = next(others)
        return path

    def _add(self, path: str) -> bool:
        return self._database.execute("INSERT OR IGNORE INTO paths VALUES (?)", [path]).rowcount == 1
