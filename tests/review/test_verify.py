"""Test that an image file found anywhere leads back to its lineage, for those who may see it, and for nobody else."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core import stored_files
from core.errors import Invalid
from core.models import Brand, User
from generation.finishing import found_files
from generation.models import AssetVersion, Master
from review.selectors import found_images as finder
from review.selectors.found_images import How
from tests.support import damaged_images, factories, found_images, found_masters

pytestmark = pytest.mark.django_db

NUMBERS = [0, 1, 4, 8, 9, 10, 11, 16, 18]
"""Packshots, the four candidates of one round, a pattern and a drawn photo."""


@pytest.fixture
def versions(brand: Brand) -> dict[int, int]:
    return found_masters.create_versions(brand, NUMBERS)


def found_ids(match: finder.Match | None) -> list[int]:
    return [found.version.pk for found in match.found] if match else []


@pytest.mark.parametrize("name", found_images.CHANGES)
def test_changed_copies_are_found(versions: dict[int, int], viewer: User, name: str) -> None:
    change, _aim = found_images.CHANGES[name]
    for number in NUMBERS:
        data = change(found_images.make(number), np.random.default_rng(number))
        match = finder.find_lineage(data, user=viewer)
        assert versions[number] in found_ids(match), f"image {number}"
        assert match is not None and match.how == How.LOOKS
        assert match.is_part == (name == "cropped by 10 %")


def test_candidates_of_one_round_are_told_apart(versions: dict[int, int], viewer: User) -> None:
    for number in (8, 9, 10, 11):
        data = found_images.lower_quality(found_images.make(number), np.random.default_rng(1))
        assert found_ids(finder.find_lineage(data, user=viewer)) == [versions[number]]


def test_equal_masters_are_answered_with_all_their_versions(brand: Brand, viewer: User) -> None:
    first = found_masters.create_versions(brand, [8])[8]
    master = AssetVersion.objects.get(pk=first).master
    second = factories.AssetVersionFactory(asset__cell__run__campaign__brand=brand, master=master)
    match = finder.find_lineage(found_images.encode(found_images.make(8)), user=viewer)
    assert set(found_ids(match)) == {first, second.pk}


def test_images_of_strangers_are_not_found(versions: dict[int, int], viewer: User) -> None:
    for number in range(24):
        data = found_images.encode(found_images.make(number, is_foreign=True))
        assert finder.find_lineage(data, user=viewer) is None, f"image {number}"


@pytest.mark.parametrize(("number", "stranger"), [(79, 2898), (39, 3978), (858, 8859)])
def test_same_shape_in_other_colours_is_another_image(brand: Brand, viewer: User, number: int, stranger: int) -> None:
    """These are the only images of strangers that were found once, among 10,000."""
    found_masters.create_versions(brand, [number])
    data = found_images.encode(found_images.make(stranger, is_foreign=True), quality=85)
    assert finder.find_lineage(data, user=viewer) is None


def test_images_that_cannot_be_told_apart_are_all_named(brand: Brand, viewer: User) -> None:
    versions = found_masters.create_versions(brand, [242, 942])
    data = found_images.strip_metadata(found_images.make(942), np.random.default_rng(1))
    assert set(found_ids(finder.find_lineage(data, user=viewer))) == set(versions.values())


def test_plain_area_is_not_found(brand: Brand, viewer: User) -> None:
    found_masters.create_versions(brand, [0])
    grey = stored_files.put(found_images.encode(np.full((256, 256, 3), 128, np.uint8)), suffix="jpg")
    Master.objects.update(thumbnails={"256": grey.key}, pdq="", colours=bytes([128] * 48))
    assert finder.find_lineage(found_images.encode(np.full((300, 300, 3), 128, np.uint8)), user=viewer) is None


def test_delivered_file_and_master_are_found_by_their_bytes(brand: Brand, viewer: User) -> None:
    data = found_images.encode(found_images.make(18))
    digest = stored_files.put(data, suffix="jpg").sha256
    rendition = factories.RenditionFactory(version__asset__brand=brand, sha256=digest)
    match = finder.find_lineage(data, user=viewer)
    assert match is not None and (match.how, found_ids(match)) == (How.BYTES, [rendition.version_id])
    version = factories.AssetVersionFactory(
        asset__cell__run__campaign__brand=brand, master__sha256=finder.hashlib.sha256(data + b"\0").hexdigest()
    )
    assert found_ids(finder.find_lineage(data + b"\0", user=viewer)) == [version.pk]


def test_images_of_other_brands_are_as_unknown(versions: dict[int, int], person: Any, other_brand: Brand) -> None:
    stranger = person("lead", brand=other_brand)
    data = found_images.encode(found_images.make(8))
    digest = finder.hashlib.sha256(data).hexdigest()
    factories.RenditionFactory(version_id=versions[8], sha256=digest)
    unknown = found_images.encode(found_images.make(8, is_foreign=True))
    answer, other = finder.examine(data, user=stranger), finder.examine(unknown, user=stranger)
    assert answer.match is other.match is None
    assert answer.marks == other.marks


def test_missing_thumbnail_hides_no_other_image(versions: dict[int, int], viewer: User) -> None:
    Master.objects.filter(versions=versions[9]).update(thumbnails={"256": "sha256/00/00/missing.jpg"})
    data = found_images.lower_quality(found_images.make(8), np.random.default_rng(1))
    assert found_ids(finder.find_lineage(data, user=viewer)) == [versions[8]]


def test_turned_and_transparent_files_are_seen_as_viewers_show_them(versions: dict[int, int], viewer: User) -> None:
    image = Image.fromarray(found_images.make(8))
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.rotate(90, expand=True).save(turned, "JPEG", exif=exif, quality=90)
    assert found_ids(finder.find_lineage(turned.getvalue(), user=viewer)) == [versions[8]]
    layered = io.BytesIO()
    image.convert("RGBA").save(layered, "WEBP", quality=90)
    assert found_ids(finder.find_lineage(layered.getvalue(), user=viewer)) == [versions[8]]


def test_nothing_of_the_file_is_stored(versions: dict[int, int], viewer: User, media: Any) -> None:
    before = sorted(path for path in media.rglob("*") if path.is_file())
    finder.find_lineage(found_images.encode(found_images.make(8)), user=viewer)
    finder.find_lineage(found_images.encode(found_images.make(8, is_foreign=True)), user=viewer)
    assert sorted(path for path in media.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(40), "no JPEG, PNG, WebP or AVIF"),
        (b"%PDF-1.7", "no JPEG, PNG, WebP or AVIF"),
        (found_images.encode(np.zeros((64, 64, 3), np.uint8))[:200], "damaged"),
    ],
)
def test_other_files_are_refused_with_a_reason(brand: Brand, viewer: User, data: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        finder.find_lineage(data, user=viewer)


def test_a_few_damaged_files_are_all_answered(versions: dict[int, int], viewer: User) -> None:
    report = damaged_images.send(viewer, 20)
    assert report.get("refused", 0) + report.get("not found", 0) + report.get("found", 0) == 20


@pytest.mark.slow
def test_damaged_files_neither_crash_nor_hang(versions: dict[int, int], viewer: User) -> None:
    """benchmarks/verify.py sends 2,000."""
    report = damaged_images.send(viewer, 100)
    assert report.get("refused", 0) + report.get("not found", 0) + report.get("found", 0) == 100
    assert report["refused"] > 30
    assert report["children_mb"] < 900
    assert report["longest_cpu_ms"] < 2000


@pytest.mark.parametrize("task", ["read_for_ever", "unpack_endlessly"])
def test_file_whose_reader_never_ends_is_refused_at_the_deadline(
    versions: dict[int, int], viewer: User, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    data = found_images.encode(found_images.make(8))
    assert found_ids(finder.find_lineage(data, user=viewer)) == [versions[8]]  # a child is ready from now on
    with monkeypatch.context() as patch:
        patch.setattr(found_files, "SECONDS", 1.5)
        patch.setattr(found_files, "_TASK", f"tests.support.hostile_tasks:{task}")
        started = time.monotonic()
        with pytest.raises(Invalid, match=r"takes too much memory or time to examine"):
            finder.find_lineage(data, user=viewer)
        assert time.monotonic() - started < 15  # the limits of the child without the deadline allow 20
    assert found_ids(finder.find_lineage(data, user=viewer)) == [versions[8]]
