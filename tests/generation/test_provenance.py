"""Tests of the marks of origin: they are read back by other programs, and the pixels stay as they are."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from generation.finishing import found_files
from generation.provenance import containers, credentials, marks, signers, xmp
from generation.provenance.credentials import Ingredient, Making
from generation.provenance.signers import Identity
from generation.provenance.xmp import Fields
from tests.support.engines import noise_pixels

FIELDS = Fields(
    document_id="xmp.did:5c7e0a52-54b5-5a6e-9d0e-2f6f0c1e7a11",
    source_type="compositeWithTrainedAlgorithmicMedia",
    ai_system="FLUX.1 <schnell> & friends",
    ai_version="741f7c3",
    prompt="A “sage” mug, 100 % <linen> & light 🫖",
    prompt_writer="Zoë Ångström",
    caution="demo model",
    made_at="2026-11-30T10:00:00+00:00",
    tool="Proofline",
)
EXIFTOOL_NAMES = {
    "DigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
    "AISystemUsed": FIELDS.ai_system,
    "AISystemVersionUsed": FIELDS.ai_version,
    "AIPromptInformation": FIELDS.prompt,
    "AIPromptWriterName": FIELDS.prompt_writer,
    "Instructions": "demo model",
    "DocumentID": FIELDS.document_id,
}
KINDS = [
    *("jpeg", "png", "png with alpha", "webp", "webp with alpha", "lossless webp", "lossless webp with alpha"),
    *("avif", "avif with alpha"),
]


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return signers.self_made(tmp_path_factory.mktemp("provenance"))


def encode(kind: str, size: tuple[int, int] = (121, 90)) -> tuple[bytes, str]:
    """Return a file without any metadata, and its format."""
    image_format = next(name for name in ("jpeg", "png", "webp", "avif") if name in kind)
    pixels = noise_pixels(3, *size)
    if "alpha" in kind:
        pixels = np.dstack([pixels, np.linspace(0, 255, size[0]).astype(np.uint8)[None].repeat(size[1], 0)])
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format.upper(), **({"lossless": True} if "lossless" in kind else {}))
    return buffer.getvalue(), image_format


def making(**changes: Any) -> Making:
    photo, _format = encode("jpeg")
    usual = Making(
        title="MUG-1 square",
        source_type=FIELDS.source_type,
        agent=FIELDS.ai_system,
        steps=["c2pa.resized", "c2pa.converted"],
        ingredients=[Ingredient("product photo", "jpg", lambda: photo, is_parent=True)],
        lineage={"document_id": FIELDS.document_id, "caution": "demo model"},
    )
    return replace(usual, **changes)


def open_image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_stay_and_the_marks_are_read_back(kind: str, identity: Identity) -> None:
    data, image_format = encode(kind)
    marked = marks.mark(data, image_format, FIELDS, making(), identity)
    before, after = open_image(data), open_image(marked)
    assert (after.format, after.mode, after.size) == (before.format, before.mode, before.size)
    assert np.array_equal(np.asarray(before), np.asarray(after))
    found = marks.read(marked, anchors=identity.anchors)
    assert found.fields == FIELDS
    assert (found.credentials.state, found.credentials.problems) == ("trusted", ())
    assert found.credentials.actions == ("c2pa.opened", "c2pa.edited", "c2pa.resized", "c2pa.converted")
    assert found.credentials.lineage["caution"] == "demo model"
    assert found.has_profile
    assert found.is_labelled


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_exiftool_reads_the_fields_of_every_format(kind: str, identity: Identity, tmp_path: Path) -> None:
    data, image_format = encode(kind)
    path = tmp_path / f"marked.{image_format}"
    path.write_bytes(marks.mark(data, image_format, FIELDS, making(), identity))
    names = [f"-XMP:{name}" for name in EXIFTOOL_NAMES]
    command = ["exiftool", "-json", "-warning", "-ICC_Profile:ProfileDescription", *names, str(path)]
    [report] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert {name: str(report.get(name)) for name in EXIFTOOL_NAMES} == EXIFTOOL_NAMES
    assert report["ProfileDescription"].startswith("sRGB")
    assert "Warning" not in report


def test_the_profile_is_srgb() -> None:
    embedded = ImageCms.ImageCmsProfile(io.BytesIO(containers.srgb_profile()))
    pixels = Image.fromarray(np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    converted = ImageCms.profileToProfile(pixels, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None
    assert np.abs(np.asarray(pixels).astype(int) - np.asarray(converted)).max() <= 1


def test_a_reader_without_our_root_says_valid_and_not_trusted(identity: Identity, tmp_path: Path) -> None:
    data, image_format = encode("jpeg")
    marked = marks.mark(data, image_format, FIELDS, making(), identity)
    assert marks.read(marked).credentials.state == "valid"
    other = signers.self_made(tmp_path)
    assert marks.read(marked, anchors=other.anchors).credentials.state == "valid"


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif"])
def test_saving_it_again_loses_the_marks_and_is_seen(kind: str, identity: Identity) -> None:
    data, image_format = encode(kind)
    marked = marks.mark(data, image_format, FIELDS, making(), identity)
    again = io.BytesIO()
    open_image(marked).save(again, image_format.upper())
    found = marks.read(again.getvalue(), anchors=identity.anchors)
    assert (found.credentials.state, found.document_id, found.is_labelled) == ("none", "", False)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif"])
def test_a_change_of_the_pixels_is_seen(kind: str, identity: Identity) -> None:
    data, image_format = encode(kind)
    marked = bytearray(marks.mark(data, image_format, FIELDS, making(), identity))
    place = bytes(marked).rindex(data[-40:-20])
    marked[place] ^= 0x01
    found = marks.read(bytes(marked), anchors=identity.anchors)
    assert found.credentials.state == "invalid"
    hashed = "bmffHash" if kind == "avif" else "dataHash"
    assert found.credentials.problems == (f"assertion.{hashed}.mismatch",)
    [_xmp, described] = found_files.describe_marks(found).marks
    assert described.message.startswith("The file was changed after Proofline")


def test_the_marks_of_the_product_photo_stay_in_the_manifest(identity: Identity) -> None:
    data, image_format = encode("jpeg")
    of_photo = Making("Studio photo", "digitalCapture", "Camera", lineage={"document_id": "photo"})
    photo = marks.mark(data, image_format, Fields(), of_photo, identity)
    ingredient = Ingredient("product photo", "jpg", lambda: photo, is_parent=True)
    marked = marks.mark(data, image_format, FIELDS, making(ingredients=[ingredient]), identity)
    assert b"Studio photo" in marked
    assert b"digitalCapture" in marked
    assert marks.read(marked, anchors=identity.anchors).credentials.state == "trusted"


def test_a_pure_generation_was_created(identity: Identity) -> None:
    data, image_format = encode("png")
    pure = making(source_type="trainedAlgorithmicMedia", ingredients=[], steps=[])
    found = marks.read(marks.mark(data, image_format, FIELDS, pure, identity), anchors=identity.anchors)
    assert found.credentials.actions == ("c2pa.created",)


def test_a_key_management_service_can_sign(identity: Identity) -> None:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    key = serialization.load_pem_private_key(identity.key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    asked = []

    def sign(data: bytes) -> bytes:
        asked.append(data)
        first, second = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return first.to_bytes(32) + second.to_bytes(32)

    data, image_format = encode("jpeg")
    marked = marks.mark(data, image_format, FIELDS, making(), replace(identity, key="", sign=sign))
    assert len(asked) == 1
    assert marks.read(marked, anchors=identity.anchors).credentials.state == "trusted"


def test_the_self_made_certificate_is_kept_and_says_what_it_is(tmp_path: Path) -> None:
    first, second = signers.self_made(tmp_path), signers.self_made(tmp_path)
    assert first == second
    assert first.is_self_made
    assert [path.stat().st_mode & 0o777 for path in sorted(tmp_path.iterdir())] == [0o600, 0o600]
    (tmp_path / "self-made.key").write_text("damaged")
    assert signers.self_made(tmp_path).key.startswith("-----BEGIN")


@pytest.mark.parametrize("text", ["\x00\x01 bell \x07", "\ud800 half", "￾ odd ￿", "]]> & <b>", "x" * 70_000])
def test_any_prompt_can_be_written(text: str, identity: Identity) -> None:
    data, image_format = encode("jpeg")
    found = marks.read(marks.mark(data, image_format, replace(FIELDS, prompt=text), making(), identity))
    assert found.has_xmp
    assert len(found.fields.prompt) <= xmp.MAX_TEXT


@pytest.mark.parametrize("packet", [b"", b"<x", b"\xff\xfe\x00", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
def test_a_damaged_packet_is_refused(packet: bytes) -> None:
    with pytest.raises(ValueError, match="XMP packet is damaged"):
        xmp.read(packet)


def test_fields_that_another_program_wrote_as_attributes_are_read() -> None:
    packet = (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:AISystemUsed="Other" '
        'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>'
        "</rdf:RDF>"
    )
    assert xmp.read(packet.encode()) == Fields(source_type="trainedAlgorithmicMedia", ai_system="Other")


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x04\0\0\0WEBP"])
def test_what_is_no_whole_image_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        marks.read(data)


def test_a_file_that_is_not_of_its_format_gets_no_marks() -> None:
    for image_format in ("jpeg", "png", "webp", "avif", "tiff"):
        with pytest.raises(ValueError, match=r"."):
            containers.insert(b"not an image", image_format, b"")


def test_an_image_without_marks_has_none() -> None:
    assert credentials.read(encode("png")[0], "png") == credentials.Credentials()
