"""Stream approved images as one archive, a ZIP or a BagIt bag, with manifests as CSV, XLSX and JSON.

Nothing of it is kept on disk but the manifests, and memory is the same for any number of images.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from core import access, stored_files
from core.access import Action
from core.errors import Invalid, NotFound, StorageFailed
from core.events import publish
from core.models import Brand, User
from core.services import notices
from generation.models import Asset
from review.choices import ArchiveLayout
from review.events import ArchiveStarted
from review.selectors import archive_contents
from review.services import archive_files
from review.services.archive_files import ArchiveFile, Paths
from review.services.archive_layouts import LAYOUTS, ZipLayout
from review.services.archive_manifests import Manifests
from review.services.web_slots import SlottedChunks


@dataclass(frozen=True)
class Archive:
    """An archive to send: the name of its file, and its bytes. Closing `chunks` removes its temporary files."""

    file_name: str
    chunks: SlottedChunks


def start(
    *,
    user: User,
    brand: Brand,
    assets: QuerySet[Asset],
    specs: Collection[str] = (),
    layout: str = ArchiveLayout.ZIP,
    stem: str = "",
) -> Archive:
    """Return the archive of the approved ones among these assets of the brand; it begins when `chunks` is read.

    specs: slugs of output specs, empty for all. stem: the beginning of its name, else the brand's slug. There is one
    folder per campaign. A file that cannot be added, because it is missing or no name can be made for it, has a row in
    the manifests that says so. If the bytes of a stored file are not those that were approved, `chunks` raises
    StorageFailed, the archive has no end, and the person gets a notice. Permissions are checked before the first chunk.
    Raises NotAllowed, Invalid, and Busy if too many archives are being sent.
    """
    access.require(user, Action.PULL, brand)
    chosen = archive_contents.approved(assets.filter(brand=brand))
    images = _count(chosen, specs)
    now = timezone.now()
    name = f"{stem or brand.slug}-approved-{brand.local_date(now):%Y-%m-%d}".lower()
    heading = {"brand": brand.slug, "created_at": now.isoformat(), "created_by": user.display_name}
    facts = {
        "Source-Organization": brand.name,
        "Contact-Name": user.display_name,
        "External-Description": f"{images} approved images of {brand.name}",
        "Bagging-Date": f"{brand.local_date(now):%Y-%m-%d}",
        "Bag-Software-Agent": "Proofline",
    }
    streamed = _stream(chosen, specs, LAYOUTS[layout](name, facts), heading)
    chunks = SlottedChunks(_notify_if_stopped(streamed, name, brand, user))
    payload = {"name": name, "layout": str(layout), "specs": sorted(specs), "images": images}
    with transaction.atomic():
        publish(ArchiveStarted.of(brand, **payload), by=user)
    return Archive(f"{name}.zip", chunks)


def _count(assets: QuerySet[Asset], specs: Collection[str]) -> int:
    """Return the number of the images. Raises Invalid if there is none, or none has a file of these output specs."""
    images = assets.count()
    if not images:
        raise Invalid(_("None of these images is approved, so there is nothing to download."))
    if specs and not archive_contents.has_files(assets, specs):
        message = _("None of these images has an approved file of %(specs)s, so there is nothing to download.")
        raise Invalid(message % {"specs": ", ".join(specs)})
    return images


def _notify_if_stopped(
    chunks: Generator[bytes, None, None], name: str, brand: Brand, user: User
) -> Generator[bytes, None, None]:
    """Yield the chunks. If a stored file stops them, notify the person: the web server ends the response silently."""
    with closing(chunks):
        try:
            yield from chunks
        except StorageFailed as error:
            sentence = _("Your download “%(name)s” was stopped and cannot be used. %(cause)s")
            sentence %= {"name": name, "cause": error.message}
            href = reverse("download", args=[brand.slug])
            notices.notify(brand=brand, users=[user], kind="review.archive.stopped", sentence=sentence, href=href)
            raise


def _stream(
    assets: QuerySet[Asset], specs: Collection[str], layout: ZipLayout, heading: Mapping[str, Any]
) -> Generator[bytes, None, None]:
    with (
        TemporaryDirectory(prefix="proofline-archive-") as folder,
        Manifests(Path(folder), heading) as manifests,
        closing(Paths()) as paths,
        layout,
    ):
        yield from layout.begin()
        for file in archive_files.iter_files(assets, specs):
            yield from _add(file, paths, layout, manifests)
        for path in manifests.finish():
            with path.open("rb") as content:
                yield from layout.add(path.name, path.stat().st_size, content)
        yield from layout.finish()


def _add(file: ArchiveFile, paths: Paths, layout: ZipLayout, manifests: Manifests) -> Iterator[bytes]:
    """Yield the file, if there is one, and write its row."""
    if not file.storage_key:
        manifests.add(file.row)
        return
    try:
        content = stored_files.open(file.storage_key)
    except NotFound as error:
        manifests.add({**file.row, "problem": error.message})
        return
    path = paths.claim(file.path, file.row["asset"])
    with content:
        yield from layout.add(path, file.row["bytes"], content, file.row["sha256"])
    manifests.add({**file.row, "file": path})
