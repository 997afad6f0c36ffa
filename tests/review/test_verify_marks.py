"""Tests that a marked file leads back to its image: as it is, saved again, changed, and when its marks were copied."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from core import stored_files
from core.models import Brand, User
from generation.finishing import encode
from generation.models import AssetVersion, MarkedFile, Rendition
from review.selectors import found_images as finder
from review.selectors.found_images import How
from review.services import signing
from review.services.marked_files import get_marked_file
from tests.support import factories, found_images, found_masters

pytestmark = pytest.mark.django_db


@pytest.fixture
def marked(brand: Brand) -> MarkedFile:
    """A marked file of an image that the search by looks would find, too."""
    version = AssetVersion.objects.get(pk=found_masters.create_versions(brand, [8])[8])
    file = encode.encode(found_images.make(8), "jpeg")
    stored = stored_files.put(file.data, suffix="jpg")
    rendition: Rendition = factories.RenditionFactory(
        version=version, sha256=stored.sha256, storage_key=stored.key, bytes=stored.bytes, width=512, height=512
    )
    return get_marked_file(rendition)


def examine(data: bytes, user: User) -> finder.Examination:
    return finder.examine(data, user=user, anchors=signing.get_identity().anchors)


def words(examined: finder.Examination) -> dict[str, tuple[str, str]]:
    return {mark.name: (mark.state, mark.message) for mark in examined.marks}


def test_a_delivered_file_is_found_by_its_bytes(marked: MarkedFile, viewer: User) -> None:
    examined = examine(stored_files.read(marked.storage_key), viewer)
    assert examined.match is not None and examined.match.how == How.BYTES
    assert examined.match.found[0].version.pk == marked.rendition.version_id
    state, message = words(examined)["Content Credentials"]
    assert state == "present" and message.startswith("Signed by Proofline self-made certificate")
    assert "unchanged since" in message
    assert words(examined)["XMP"][0] == "present"


def test_a_copy_that_kept_its_xmp_is_found_by_it(marked: MarkedFile, viewer: User) -> None:
    with Image.open(io.BytesIO(stored_files.read(marked.storage_key))) as image:
        part = image.crop((40, 40, 472, 472))
        copy = io.BytesIO()
        part.save(copy, "JPEG", quality=85, xmp=image.info["xmp"])
    examined = examine(copy.getvalue(), viewer)
    assert examined.match is not None and examined.match.how == How.MARKS
    assert examined.match.found[0].version.pk == marked.rendition.version_id
    assert words(examined)["Content Credentials"][0] == "absent"


def test_a_change_after_signing_is_named(marked: MarkedFile, viewer: User) -> None:
    data = bytearray(stored_files.read(marked.storage_key))
    data[-40] ^= 0x01
    state, message = words(examine(bytes(data), viewer))["Content Credentials"]
    assert state == "invalid" and message.startswith("The file was changed after ")


def test_marks_copied_to_another_image_prove_nothing(marked: MarkedFile, viewer: User) -> None:
    with Image.open(io.BytesIO(stored_files.read(marked.storage_key))) as image:
        other = io.BytesIO()
        Image.fromarray(found_images.make(1)).save(other, "JPEG", xmp=image.info["xmp"])
    assert examine(other.getvalue(), viewer).match is None


def test_marks_of_another_brand_reveal_nothing(marked: MarkedFile) -> None:
    stranger = factories.MembershipFactory(brand=factories.BrandFactory(), role="viewer").user
    assert examine(stored_files.read(marked.storage_key), stranger).match is None
