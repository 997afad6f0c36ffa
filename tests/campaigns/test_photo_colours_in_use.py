"""Tests of photos with a colour profile in use: cut-outs, thumbnails, and the files for engines and services."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from campaigns.models import Cutout
from campaigns.services import images, photos
from core import stored_files
from generation.engines.base import ImageRef
from generation.workers.context import INPUT_CACHE_BYTES, InputCache
from tests.support import factories, icc
from tests.support.engine_context import MemoryContext
from tests.support.icc import Profile
from tests.support.remote_server import serving
from tests.support.replicate_server import Replicate
from tests.support.replicate_submissions import engine, find, spec, submit

PROFILES = {
    "linear": Profile("sRGB", icc.gamma(1.0), icc.SRGB),
    "Adobe RGB": Profile("Adobe RGB (1998)", icc.gamma(2.19921875), icc.ADOBE_RGB),
    "Display P3": Profile("Display P3", icc.srgb_to_linear, icc.DISPLAY_P3, version=4),
}
CASES = [(shape, name) for shape in ("RGB", "palette", "grey") for name in PROFILES]
GLAZE, WALL = (70, 130, 90), (240, 240, 240)


def photo_of(shape: str, profile: Profile) -> bytes:
    """Return a photo of a round product of one colour on a plain wall."""
    image = Image.new("RGB", (400, 300), WALL)
    ImageDraw.Draw(image).ellipse((100, 50, 300, 250), fill=GLAZE)
    if shape == "palette":
        image = image.quantize(4)
    if shape == "grey":
        image = image.convert("L")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", icc_profile=profile.icc())
    return buffer.getvalue()


def glaze_of(shape: str, profile: Profile) -> np.ndarray:
    colour = [Image.new("RGB", (1, 1), GLAZE).convert("L").getpixel((0, 0))] * 3 if shape == "grey" else GLAZE
    return profile.in_srgb(np.array(colour) / 255)


def middle_of(data: bytes) -> np.ndarray:
    """Return the pixel in the middle, as read by a program that ignores profiles."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return pixels[pixels.shape[0] // 2, pixels.shape[1] // 2].astype(int)


@pytest.mark.django_db
@pytest.mark.parametrize(("shape", "name"), CASES)
def test_cut_outs_and_small_copies_have_the_colours_of_the_profile(
    shape: str, name: str, brand: Any, lead: Any
) -> None:
    profile = PROFILES[name]
    subject = factories.SubjectFactory(brand=brand)
    data = photo_of(shape, profile)
    photo = photos.attach(subject_id=subject.pk, data=data, file_name="pot.png", by=lead)
    cut = Cutout.objects.get(photo=photo)
    expected = glaze_of(shape, profile)
    assert np.abs(middle_of(stored_files.read(cut.storage_key)) - expected).max() <= 2
    assert (
        np.abs(middle_of(stored_files.read(images.get_small_copy(photo.storage_key, 96))) - expected).max() <= 6
    )  # lossy WebP
    assert stored_files.read(photo.storage_key) == data


@pytest.mark.django_db
@pytest.mark.parametrize(("shape", "name"), CASES)
def test_engines_get_every_stored_image_in_srgb(shape: str, name: str) -> None:
    profile = PROFILES[name]
    stored = stored_files.put(photo_of(shape, profile), suffix="png")
    cache = InputCache(INPUT_CACHE_BYTES)
    for _ in range(2):
        assert np.abs(middle_of(cache.read(stored.key)) - glaze_of(shape, profile)).max() <= 2


@pytest.fixture
def server() -> Iterator[Replicate]:
    with serving(Replicate()) as service:
        yield service


@pytest.mark.parametrize("size", [24, 400])
def test_a_submission_with_a_converted_image_is_found_again_after_a_restart(server: Replicate, size: int) -> None:
    original = photo_of("RGB", PROFILES["linear"])
    noise = np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    job_spec = spec(images={"init": ImageRef(hashlib.sha256(original).hexdigest(), "photo")})
    submitted = submit(engine(server), job_spec, context=MemoryContext(photo=buffer.getvalue()))
    assert find(engine(server), job_spec) == submitted.remote_id
    other = spec(images={"init": ImageRef("1" * 64, "photo")})
    assert find(engine(server), other) is None
