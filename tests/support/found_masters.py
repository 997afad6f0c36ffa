"""Fill a brand with masters of `found_images.make`, each the version of an asset, with real hashes and thumbnails."""

from __future__ import annotations

from core import stored_files
from core.models import Brand
from generation.finishing import encode, similarity
from generation.finishing.matching import EDGE
from generation.finishing.resample import shrink_to_fit
from generation.models import Asset, AssetVersion, Cell, Master
from tests.support import factories, found_images


def create_versions(brand: Brand, numbers: range | list[int]) -> dict[int, int]:
    """Create the masters of these numbers with one version each; return the ids of the versions by number."""
    run = factories.RunFactory(campaign__brand=brand)
    subject = factories.SubjectFactory(brand=brand)
    masters = Master.objects.bulk_create([_build_master(brand, number) for number in numbers])
    cells = Cell.objects.bulk_create(
        Cell(run=run, subject=subject, aspect="1:1", position=place, values_key=str(number), axis_values={})
        for place, number in enumerate(numbers)
    )
    assets = Asset.objects.bulk_create(
        Asset(brand=brand, campaign=run.campaign, subject=subject, cell=cell, state="in_review") for cell in cells
    )
    versions = AssetVersion.objects.bulk_create(
        AssetVersion(asset=asset, round=1, candidate=1, master=master)
        for asset, master in zip(assets, masters, strict=True)
    )
    return {number: version.pk for number, version in zip(numbers, versions, strict=True)}


def _build_master(brand: Brand, number: int) -> Master:
    pixels = found_images.make(number)
    small = shrink_to_fit(pixels, 512)
    thumbnail = encode.encode_thumbnail(shrink_to_fit(small, EDGE))
    key = stored_files.put(thumbnail.data, suffix="jpg", durable=False).key
    pdq, quality = similarity.pdq(small)
    hashes = {"pdq": pdq, "pdq_quality": quality, "colours": similarity.colours(small)}
    names = {name: factories.digest(f"found {brand.pk} {number}") for name in ("fingerprint", "sha256")}
    size = {"width": pixels.shape[1], "height": pixels.shape[0], "bytes": pixels.nbytes, "image_format": "png"}
    return Master(
        brand=brand, storage_key=f"sha256/aa/bb/{number}.png", thumbnails={str(EDGE): key}, **hashes, **names, **size
    )
