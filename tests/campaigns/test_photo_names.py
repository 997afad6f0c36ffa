"""Tests of photo file names: which product and role they mean, and when they are ambiguous."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from PIL import Image

from campaigns.choices import PhotoStatus
from campaigns.photos import names
from campaigns.services import archives, photos
from tests.support import factories, scenes

KNOWN = {"24-mb01": {1}, "24-mb02": {2}, "24-mb01-2": {3}, "wide mug": {4}, "twice": {5, 6}, "24": {7}}
CLEAR = {key: ids for key, ids in KNOWN.items() if key not in ("24-mb01-2", "24")}


def read_name(name: str, skus: dict[str, set[int]] = CLEAR) -> names.FileNameMeaning:
    return names.read_file_name(name, lambda key: frozenset(skus.get(key, ())))


@pytest.mark.parametrize(
    ("name", "subject", "role", "number"),
    [
        ("24-MB01.jpg", 1, "front", 1),
        ("24-mb01_2.JPG", 1, "angle", 2),
        ("24-MB01_1.png", 1, "front", 1),
        ("24-MB02-angle.png", 2, "angle", 1),
        ("shots/24-MB02 detail 3.webp", 2, "detail", 3),
        ("24-MB01 (2).jpg", 1, "angle", 2),
        ("24-MB01/front.jpg", 1, "front", 1),
        ("24-MB01/IMG_0042/back.jpg", 1, "back", 1),
        ("24-MB01/3.jpg", 1, "angle", 3),
        ("Wide Mug_inside.jpg", 4, "inner", 1),
        ("24-MB01/24-MB01-top.jpg", 1, "inner", 1),
        ("24-MB01_front_1200x1200.jpg", 1, "front", 1),
    ],
)
def test_a_name_says_product_role_and_place(name: str, subject: int, role: str, number: int) -> None:
    name_reading = read_name(name)
    assert (name_reading.subject, name_reading.role, name_reading.number, name_reading.remark) == (
        subject,
        role,
        number,
        "",
    )


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        ("24-MB01/24-MB02.jpg", "its folder means '24-MB01'"),
        ("twice_2.jpg", "Several subjects have the SKU 'TWICE'"),
        ("holiday.jpg", "No SKU of yours"),
        ("MB01.jpg", "No SKU of yours"),
    ],
)
def test_a_name_that_could_mean_two_or_none_is_reported_and_not_guessed(name: str, remark: str) -> None:
    assert read_name(name).subject is None and remark in read_name(name).remark


def test_a_sku_inside_another_is_ambiguous_unless_the_folder_says() -> None:
    assert "'24-MB01-2' or '24-MB01' or '24'" in read_name("24-MB01-2.jpg", KNOWN).remark
    name_reading = read_name("24-MB01/24-MB01-2.jpg", KNOWN)
    assert (name_reading.subject, name_reading.number, name_reading.role) == (1, 2, "angle")
    assert read_name("24-MB01-2/24-MB01-2.jpg", KNOWN).subject == 3


def test_a_word_that_is_no_role_is_reported() -> None:
    name_reading = read_name("24-MB01-lifestyle.jpg")
    assert (name_reading.subject, name_reading.role) == (1, "angle") and "“lifestyle” is no role" in name_reading.remark
    assert "several roles (front, back)" in read_name("24-MB01-front-back.jpg").remark


# -- from archive to products ----------------------------------------------------------------------------------------


def jpeg(kind: str = "vase", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scenes.scene(kind, size=128, **options).pixels).save(buffer, "JPEG", quality=93)
    return buffer.getvalue()


def archive(members: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    buffer.seek(0)
    return buffer


@pytest.fixture
def mug(brand: Any) -> Any:
    return factories.SubjectFactory(brand=brand, key="24-MB01")


def test_an_archive_finds_products_by_sku_and_by_folder(brand: Any, manager: Any, mug: Any) -> None:
    other = factories.SubjectFactory(brand=brand, key="24-MB02")
    factories.VariantFactory(subject=other, key="24-MB02-L")
    stranger = factories.SubjectFactory(key="24-MB09")
    report = archives.attach_zip(
        brand=brand,
        by=manager,
        file=archive(
            {
                "24-MB01_2.jpg": jpeg("bowl"),
                "24-MB01.jpg": jpeg(),
                "24-MB02/detail.jpg": jpeg("mug"),
                "24-MB02-L.jpg": jpeg("lamp"),
                "24-MB09.jpg": jpeg(),
                "24-MB01-lifestyle.jpg": jpeg("plate"),
                "readme.txt": b"hello",
            }
        ),
    )
    assert (report.ready, report.by_sku, report.refused, report.cutouts) == (5, 5, 0, 5)
    assert list(mug.photos.order_by("position").values_list("source", "role")) == [
        ("24-MB01.jpg", "front"),
        ("24-MB01-lifestyle.jpg", "angle"),
        ("24-MB01_2.jpg", "angle"),
    ]
    assert set(other.photos.values_list("source", "role")) == {
        ("24-MB02/detail.jpg", "detail"),
        ("24-MB02-L.jpg", "front"),
    }
    assert report.unmatched == ["readme.txt", "24-MB09.jpg"] and stranger.photos.count() == 0
    assert [remark.file for remark in report.remarks] == ["24-MB01-lifestyle.jpg"]


def test_an_ambiguous_name_is_reported_and_nothing_of_it_is_written(brand: Any, manager: Any, mug: Any) -> None:
    factories.SubjectFactory(brand=brand, key="24-MB01-2")
    report = archives.attach_zip(brand=brand, by=manager, file=archive({"24-MB01-2.jpg": jpeg()}))
    assert report.ready == 0 and "could be of" in report.ambiguous[0].message and mug.photos.count() == 0


def test_the_same_archive_again_changes_nothing_and_a_new_file_of_a_name_replaces(
    brand: Any, manager: Any, mug: Any
) -> None:
    archives.attach_zip(brand=brand, by=manager, file=archive({"24-MB01.jpg": jpeg()}))
    again = archives.attach_zip(brand=brand, by=manager, file=archive({"24-MB01.jpg": jpeg()}))
    assert (again.ready, again.unchanged, mug.photos.count()) == (0, 1, 1)
    better = archives.attach_zip(brand=brand, by=manager, file=archive({"24-MB01.jpg": jpeg("bowl")}))
    assert better.ready == 1
    assert sorted(mug.photos.values_list("status", flat=True)) == ["ready", "removed"]


def test_the_feeds_own_name_goes_before_the_sku(brand: Any, manager: Any, mug: Any) -> None:
    other = factories.ReferencePhotoFactory(
        subject__brand=brand, source="https://x.example/24-MB01.jpg", status=PhotoStatus.PENDING
    )
    report = archives.attach_zip(brand=brand, by=manager, file=archive({"24-MB01.jpg": jpeg()}))
    other.refresh_from_db()
    assert other.status == PhotoStatus.READY and mug.photos.count() == 0 and report.by_sku == 0


def test_a_removed_photo_is_not_brought_back_by_its_archive(brand: Any, manager: Any, mug: Any) -> None:
    archives.attach_zip(brand=brand, by=manager, file=archive({"24-MB01.jpg": jpeg()}))
    photos.remove(photo_id=mug.photos.get().pk, by=manager)
    archives.attach_zip(brand=brand, by=manager, file=archive({"24-MB01.jpg": jpeg("bowl")}))
    assert mug.photos.get().status == PhotoStatus.REMOVED


def test_a_file_that_names_a_sku_and_is_no_photo_is_reported(brand: Any, manager: Any, mug: Any) -> None:
    report = archives.attach_zip(brand=brand, by=manager, file=archive({"24-MB01.jpg": b"<html>"}))
    assert report.ready == 0 and report.refusals[0].file == "24-MB01.jpg" and mug.photos.count() == 0


def test_two_files_of_one_name_in_two_folders_are_two_photos(brand: Any, manager: Any, mug: Any) -> None:
    packed = archive({"spring/24-MB01.jpg": jpeg(), "autumn/24-MB01.jpg": jpeg("bowl")})
    report = archives.attach_zip(brand=brand, by=manager, file=packed)
    assert report.ready == 2 and mug.photos.count() == 2
    assert set(mug.photos.values_list("source", flat=True)) == {"24-MB01.jpg", "autumn/24-MB01.jpg"}
