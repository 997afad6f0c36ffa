"""Archives of approved images in tests: what is in them, and images to put into them."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone
from python_calamine import CalamineWorkbook

from core import stored_files
from core.models import Brand, User
from generation.models import Asset, MarkedFile, Rendition
from review.models import ReviewTask
from review.services import approved_archive, consequences, decisions
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments


def create_approved(brand: Brand, by: User, *, note: str = "", content: bytes = b"", **image: Any) -> Asset:
    """Create an approved image whose approval is in effect. content: it follows the pixels in its files."""
    task: ReviewTask = create_image_in_review(brand, **image)
    if content:
        file = stored_files.put(factories.tiny_jpeg(note) + content, suffix="jpg")
        renditions = Rendition.objects.filter(version__asset=task.asset)
        renditions.update(sha256=file.sha256, storage_key=file.key, bytes=file.bytes)
    decisions.approve(**decision_arguments(task), by=by, note=note)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    asset: Asset = task.asset
    asset.refresh_from_db()
    return asset


def stored_path(rendition: Rendition | MarkedFile) -> Path:
    with stored_files.open(rendition.storage_key) as file:
        return Path(file.name)


def download(user: User, brand: Brand, assets: Iterable[Asset] | None = None, **choice: Any) -> zipfile.ZipFile:
    """Return the archive of these images, or of all of the brand, after a test of its checksums."""
    rows = Asset.objects.filter(brand=brand)
    if assets is not None:
        rows = rows.filter(pk__in=[asset.pk for asset in assets])
    archive = approved_archive.start(user=user, brand=brand, assets=rows, **choice)
    opened = zipfile.ZipFile(io.BytesIO(b"".join(archive.chunks)))
    assert opened.testzip() is None
    return opened


def read_manifests(archive: zipfile.ZipFile, folder: str = "") -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each manifest by its format: as JSON has them, and as texts and numbers of cells."""
    text = archive.read(f"{folder}manifest.csv").decode("utf-8-sig")
    book = CalamineWorkbook.from_filelike(io.BytesIO(archive.read(f"{folder}manifest.xlsx")))
    header, *cells = book.get_sheet_by_index(0).to_python()
    return {
        "json": json.loads(archive.read(f"{folder}manifest.json"))["files"],
        "csv": list(csv.DictReader(io.StringIO(text))),
        "xlsx": [dict(zip(header, row, strict=True)) for row in cells],
    }
