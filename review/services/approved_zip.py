"""Stream approved files as one ZIP: file names by pattern, manifest.csv last. Nothing is kept on disk."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from itertools import chain, count
from typing import Any

from django.utils.translation import gettext as _

from core import access
from core.access import Action
from core.errors import Invalid
from core.models import Brand, User
from generation.choices import AssetState
from generation.models import Asset
from review.delivery.base import DeliveryError, DeliveryFile
from review.delivery.sidecars import MANIFEST_COLUMNS, lineage_columns, manifest
from review.selectors.lineage import summary
from review.services import packages

MAX_ASSETS = 20_000
BATCH_SIZE = 1_000  # assets whose rows are in memory at a time
COLUMNS = (*MANIFEST_COLUMNS, "folder", "note")


class _Pipe(io.BytesIO):
    """A file that zipfile cannot seek in. It keeps what was written until it is sent."""

    def tell(self) -> int:
        raise OSError("What was sent is gone.")

    def take(self) -> bytes:
        taken = self.getvalue()
        self.seek(0)
        self.truncate()
        return taken


def stream(*, user: User, brand: Brand, asset_ids: Iterable[int]) -> Iterator[bytes]:
    """Yield the ZIP of the approved ones among these assets, in chunks. Memory holds one file at a time.

    There is one folder per campaign. A file that cannot be added (it is missing, or no name can be made for it) gets a
    line with a note in the manifest. Permissions are checked before the first chunk. Raises NotAllowed, Invalid.
    """
    access.require(user, Action.PULL, brand)
    ids = list(
        Asset.objects.visible_to(user)
        .filter(brand=brand, pk__in=list(asset_ids), state=AssetState.APPROVED)
        .order_by("subject__key", "pk")
        .values_list("pk", flat=True)[: MAX_ASSETS + 1]
    )
    if not ids:
        raise Invalid(_("None of these images is approved, so there is nothing to download."))
    if len(ids) > MAX_ASSETS:
        raise Invalid(_("At most %(count)s images fit into one ZIP; choose fewer.") % {"count": f"{MAX_ASSETS:,}"})
    return _stream(ids)


def _stream(asset_ids: list[int]) -> Iterator[bytes]:
    pipe = _Pipe()
    rows: list[dict[str, Any]] = []
    taken: set[str] = set()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for asset_id, approved, file, note in _files(asset_ids):
            row = _manifest_row(approved, file, note, asset_id)
            if file is not None and not note:
                row["name"] = _free_name(row["folder"], file.name, asset_id, taken)
                archive.writestr(_zip_entry(f"{row['folder']}/{row['name']}"), file.read())
            rows.append(row)
            if chunk := pipe.take():
                yield chunk
        archive.writestr(_zip_entry("manifest.csv"), manifest(rows, COLUMNS))
    yield pipe.take()


def _files(asset_ids: list[int]) -> Iterator[tuple[int, packages.ApprovedAsset | None, DeliveryFile | None, str]]:
    """Yield the files of the assets in their order. The queries of a thousand assets are as many as those of one."""
    for start in range(0, len(asset_ids), BATCH_SIZE):
        batch = asset_ids[start : start + BATCH_SIZE]
        versions = dict(Asset.objects.filter(pk__in=batch).values_list("pk", "current_version_id"))
        loaded = packages.load_approved_assets(pk for pk in versions.values() if pk is not None)
        for asset_id in batch:
            approved = loaded.get(versions[asset_id], DeliveryError("It has no version."))
            if isinstance(approved, DeliveryError):
                yield asset_id, None, None, approved.message
                continue
            if not approved.files:
                yield asset_id, approved, None, "The approved version has no renditions."
            for file in approved.files:
                yield asset_id, approved, file, ""


def _zip_entry(path: str) -> zipfile.ZipInfo:
    """Return an uncompressed entry with a fixed date, so equal files are equal; zipstream-ng would date it today."""
    info = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
    info.external_attr = 0o644 << 16
    return info


def _free_name(folder: str, name: str, asset_id: int, taken: set[str]) -> str:
    """Return a free name: the asset's id is added where two files would get the same name."""
    stem, _dot, suffix = name.rpartition(".")
    numbered = (f"{stem}_{asset_id}-{number}.{suffix}" for number in count(2))
    names = chain([name, f"{stem}_{asset_id}.{suffix}"], numbered)
    free = next(name for name in names if f"{folder}/{name}".lower() not in taken)
    taken.add(f"{folder}/{free}".lower())
    return free


def _manifest_row(
    approved: packages.ApprovedAsset | None, file: DeliveryFile | None, note: str, asset_id: int
) -> dict[str, Any]:
    row: dict[str, Any] = {"asset": asset_id, "note": note}
    if approved is not None:
        row |= {"folder": approved.asset.campaign.slug, "sku": approved.asset.subject.key}
        row |= lineage_columns(summary(approved.version, approved.approval))
    if file is not None:
        names = ("spec", "name", "media_type", "width", "height", "bytes", "sha256")
        row |= {name: getattr(file, name) for name in names}
    return row
