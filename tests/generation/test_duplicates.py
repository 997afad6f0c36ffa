"""Test near-duplicates: the same image of another product is found, similar images in other colours are not."""

from __future__ import annotations

import threading
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pdqhash
import pytest
from django.db import connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from core.models import Brand
from generation.checks.base import Sample
from generation.engines.base import Pixels
from generation.finishing import similarity
from generation.finishing.decode import decode
from generation.finishing.develop import develop
from generation.models import AssetVersion
from generation.services.images import duplicates
from tests.support import factories
from tests.support.engines import noise_pixels

pytestmark = pytest.mark.django_db
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "photos"


def mug(red: int, green: int, blue: int, *, size: int = 512, handle: int = 1, grain: float = 0.0) -> Pixels:
    """Draw a mug of one colour with soft shading on white; `handle` is the side of its handle (1 or -1)."""
    y, x = np.mgrid[0:size, 0:size] / size
    light = (1.15 - 0.6 * np.abs(x - 0.42))[..., None]
    body = (np.abs(x - 0.5) < 0.22) & (y > 0.25) & (y < 0.82)
    ring = np.hypot((x - 0.5 - handle * 0.24) / 0.8, y - 0.5)
    image = np.full((size, size, 3), 250.0)
    shown = (body | ((ring > 0.1) & (ring < 0.16)))[..., None]
    image = np.where(shown, np.array([red, green, blue]) * light, image)
    image = cv2.GaussianBlur(image, (0, 0), 1.0) + np.random.default_rng(1).normal(0, grain, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def hashes(pixels: Pixels) -> dict[str, Any]:
    return develop(pixels, {}, []).hashes


def store_image(brand: Brand, pixels: Pixels, **asset: Any) -> AssetVersion:
    return store_hashes(brand, hashes(pixels), **asset)


def store_hashes(brand: Brand, values: dict[str, Any], **asset: Any) -> AssetVersion:
    master = factories.MasterFactory(brand=brand, **values)
    subject = asset.pop("subject", None) or factories.SubjectFactory(brand=brand)
    cell = factories.CellFactory(run__campaign__brand=brand, subject=subject)
    return factories.AssetVersionFactory(asset=factories.AssetFactory(cell=cell, **asset), master=master)


def nearest(brand: Brand, pixels: Pixels, subject_id: int = 0) -> duplicates.Duplicate | None:
    return duplicates.find_nearest(brand_id=brand.pk, subject_id=subject_id, hashes=hashes(pixels))


BLUE, RED = mug(40, 70, 170), mug(170, 50, 40)


def test_images_of_mugs_have_structure_enough_for_a_hash() -> None:
    assert similarity.pdq(BLUE)[1] >= similarity.MIN_QUALITY


def test_hashes_equal_those_of_the_reference_implementation() -> None:
    photos = [decode(path.read_bytes()) for path in sorted(EXAMPLES.glob("*.jpg"))]
    assert len(photos) >= 20
    for number, photo in enumerate(photos):
        height, width = 512 - 7 * number, 512 - 11 * number
        for small in (Sample(photo).small, cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)):
            bits, quality = pdqhash.compute(np.ascontiguousarray(small))
            assert similarity.pdq(small) == (np.packbits(bits).tobytes().hex(), quality)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 512), (5, 5), (64, 63), (512, 5), (333, 512)])
def test_images_of_any_size_have_the_quality_of_the_reference_implementation(height: int, width: int) -> None:
    pixels = noise_pixels(7, width, height)
    assert similarity.pdq(pixels)[1] == pdqhash.compute(pixels)[1]


def test_the_same_photo_of_another_product_is_found_and_named(brand: Brand) -> None:
    version = store_image(brand, BLUE, subject=factories.SubjectFactory(brand=brand, key="MUG-7", name="Mug seven"))
    duplicate = nearest(brand, BLUE)
    assert duplicate is not None
    assert (duplicate.version_id, duplicate.sku, duplicate.distance) == (version.pk, "MUG-7", 0)
    assert duplicate.check_result.outcome == "flag"
    assert "MUG-7 Mug seven" in duplicate.check_result.message


def test_the_same_photo_squeezed_and_scaled_is_still_found(brand: Brand) -> None:
    version = store_image(brand, BLUE)
    small = cv2.resize(mug(40, 70, 170, grain=2.0), (400, 400), interpolation=cv2.INTER_AREA)
    _, squeezed = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 70])
    decoded = np.asarray(cv2.imdecode(squeezed, cv2.IMREAD_COLOR), dtype=np.uint8)
    duplicate = nearest(brand, decoded)
    assert duplicate is not None
    assert duplicate.version_id == version.pk


def test_the_same_mug_in_another_colour_is_no_duplicate(brand: Brand) -> None:
    store_image(brand, RED)
    blue, red = hashes(BLUE)["pdq"], hashes(RED)["pdq"]
    assert (int(blue, 16) ^ int(red, 16)).bit_count() <= duplicates.MAX_BITS, "PDQ alone would call them duplicates"
    assert nearest(brand, BLUE) is None


def test_no_two_photos_of_the_example_catalogue_are_duplicates(brand: Brand) -> None:
    photos = {path.name: hashes(decode(path.read_bytes())) for path in sorted(EXAMPLES.glob("*.jpg"))}
    assert len(photos) >= 20
    near = 0
    for (_, first), (_, second) in combinations(photos.items(), 2):
        near += (int(first["pdq"], 16) ^ int(second["pdq"], 16)).bit_count() <= duplicates.MAX_BITS
    assert near, "the catalogue has look-alikes, or this test shows nothing"
    for values in photos.values():
        assert duplicates.find_nearest(brand_id=brand.pk, subject_id=0, hashes=values) is None
        store_hashes(brand, values)


def test_another_shape_in_the_same_colour_is_no_duplicate(brand: Brand) -> None:
    store_image(brand, mug(40, 70, 170, handle=-1))
    assert nearest(brand, BLUE) is None


def test_images_of_the_subject_itself_are_no_finding(brand: Brand) -> None:
    version = store_image(brand, BLUE)
    assert nearest(brand, BLUE, subject_id=version.asset.subject_id) is None


def test_another_brands_images_are_never_seen(brand: Brand, other_brand: Brand) -> None:
    store_image(other_brand, BLUE)
    assert nearest(brand, BLUE) is None


def test_sandbox_images_are_no_duplicates(brand: Brand) -> None:
    store_image(brand, BLUE, is_sandbox=True)
    assert nearest(brand, BLUE) is None


def test_the_nearest_of_several_is_named(brand: Brand) -> None:
    store_image(brand, mug(42, 72, 172, grain=3.0))
    exact = store_image(brand, BLUE)
    duplicate = nearest(brand, BLUE)
    assert duplicate is not None
    assert duplicate.version_id == exact.pk


def test_an_image_without_structure_has_no_duplicates(brand: Brand) -> None:
    flat = np.full((512, 512, 3), 200, np.uint8)
    store_image(brand, flat)
    assert hashes(flat)["pdq"] == ""
    assert nearest(brand, flat) is None


@pytest.mark.parametrize(("bits", "is_duplicate"), [(31, True), (32, False)])
def test_the_limit_is_exact_in_bits(brand: Brand, bits: int, is_duplicate: bool) -> None:
    version = store_image(brand, BLUE)
    query_hashes = hashes(BLUE)
    query_hashes["pdq"] = f"{int(version.master.pdq, 16) ^ ((1 << bits) - 1) << 100:064x}"
    duplicate = duplicates.find_nearest(brand_id=brand.pk, subject_id=0, hashes=query_hashes)
    assert (duplicate is not None) is is_duplicate
    if duplicate is not None:
        assert duplicate.distance == bits


@pytest.mark.parametrize("place", [0, 15, 32, 47])
@pytest.mark.parametrize(
    ("levels", "is_duplicate"), [(duplicates.MAX_LEVELS, True), (duplicates.MAX_LEVELS + 1, False)]
)
def test_the_limit_is_exact_in_every_cell(brand: Brand, place: int, levels: int, is_duplicate: bool) -> None:
    store_image(brand, BLUE)
    query_hashes = hashes(BLUE)
    grid = bytearray(query_hashes["colours"])
    grid[place] -= levels
    query_hashes["colours"] = bytes(grid)
    assert (duplicates.find_nearest(brand_id=brand.pk, subject_id=0, hashes=query_hashes) is not None) is is_duplicate


@given(
    grid=st.binary(min_size=48, max_size=48),
    levels=st.lists(st.integers(-duplicates.MAX_LEVELS, duplicates.MAX_LEVELS), min_size=48, max_size=48),
)
def test_any_two_that_could_be_duplicates_have_a_lock_in_common(grid: bytes, levels: list[int]) -> None:
    other = bytes(min(255, max(0, value + level)) for value, level in zip(grid, levels, strict=True))
    assert set(duplicates.lock_names(1, grid)) & set(duplicates.lock_names(1, other))
    assert not set(duplicates.lock_names(1, grid)) & set(duplicates.lock_names(2, other))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("other", "is_held_up"), [(BLUE, True), (RED, False)], ids=["the same", "another colour"])
def test_of_two_finished_at_once_only_one_that_could_be_the_duplicate_is_held_up(
    brand: Brand, other: Pixels, is_held_up: bool
) -> None:
    done = threading.Event()

    def finish_other() -> None:
        with transaction.atomic():
            nearest(brand, other)
        done.set()
        connection.close()

    with transaction.atomic():
        assert nearest(brand, BLUE) is None
        thread = threading.Thread(target=finish_other)
        thread.start()
        assert done.wait(2.0 if is_held_up else 60) is not is_held_up
    thread.join(60)
    assert done.is_set()
