"""Tests of time stamps in Content Credentials, by an authority that speaks RFC 3161 over a real socket."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from c2pa import C2paError, Reader
from django.utils import timezone
from PIL import Image

from generation.finishing import found_files
from generation.models import MarkedFile
from generation.provenance import credentials, marks, signers
from generation.provenance.credentials import Making, NoTimeStamp
from review.models import Delivery, ReviewTask
from review.services import consequences, decisions, deliveries, destinations, signing
from tests.support import time_stamp_server
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.time_stamp_server import TimeStampServer, answer, say_nothing, trickle

MAKING = Making("MUG-1 square", "trainedAlgorithmicMedia", "packshot", lineage={"document_id": "xmp.did:1"})


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[TimeStampServer]:
    with time_stamp_server.serving(tmp_path / "authority") as running:
        yield running


@pytest.fixture
def identity(tmp_path: Path, authority: TimeStampServer) -> signers.Identity:
    return replace(signers.self_made(tmp_path / "provenance"), time_stamp_url=authority.url)


def image() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (120, 90), "seagreen").save(buffer, "JPEG")
    return buffer.getvalue()


def read_report(data: bytes, anchors: str) -> tuple[dict[str, Any], set[str]]:
    """Return (signature info, codes of success) as c2pa-python reads them."""
    context = credentials._context(anchors)
    with Reader("image/jpeg", io.BytesIO(data), context=context) as reader:
        report = json.loads(reader.json())
    info = report["manifests"][report["active_manifest"]]["signature_info"]
    return info, {entry["code"] for entry in report["validation_results"]["activeManifest"]["success"]}


# -- one file ----------------------------------------------------------------------------------------------------------


def test_a_signature_has_a_time_stamp_that_readers_validate(
    identity: signers.Identity, authority: TimeStampServer
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    signed = credentials.sign(image(), "jpeg", MAKING, identity)
    info, codes = read_report(signed, identity.anchors)
    assert before <= datetime.fromisoformat(info["time"]) <= datetime.now(UTC) + timedelta(seconds=2)
    assert "timeStamp.validated" in codes and "timeStamp.trusted" not in codes
    assert "timeStamp.trusted" in read_report(signed, identity.anchors + authority.root)[1]
    found = credentials.read(signed, "jpeg", anchors=identity.anchors)
    assert (found.state, found.stamped_at) == ("trusted", info["time"])
    assert len(authority.requests) == 1


def test_a_key_that_is_elsewhere_signs_with_a_time_stamp(identity: signers.Identity) -> None:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    key: Any = serialization.load_pem_private_key(identity.key.encode(), None)

    def sign(data: bytes) -> bytes:
        r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    signed = credentials.sign(image(), "jpeg", MAKING, replace(identity, key="", sign=sign))
    assert "timeStamp.validated" in read_report(signed, identity.anchors)[1]


@pytest.mark.parametrize("is_stamped", [True, False])
def test_a_time_stamp_keeps_a_signature_valid_after_the_certificate_has_ended(
    is_stamped: bool, authority: TimeStampServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signers, "_DAYS", 4 / 86400)
    own = signers.self_made(tmp_path / "ends soon")
    own = replace(own, time_stamp_url=authority.url if is_stamped else "")
    signed = credentials.sign(image(), "jpeg", MAKING, own)
    trusted = own.anchors + authority.root
    assert credentials.read(signed, "jpeg", anchors=trusted).state == "trusted"
    time.sleep(5)
    found = credentials.read(signed, "jpeg", anchors=trusted)
    assert found.state == ("trusted" if is_stamped else "invalid")
    assert ("signingCredential.expired" in found.problems) is not is_stamped
    [_xmp, shown] = found_files.describe_marks(marks.read(signed, anchors=trusted)).marks
    assert shown.message.startswith("Signed by " if is_stamped else "The certificate of Proofline self-made")


def nothing_there(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.close()


FAULTS: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "500": partial(answer, body=b"no", status=500),
    "garbage": partial(answer, body=b"garbage"),
    "empty": partial(answer, body=b""),
    "rejection": partial(answer, body=bytes.fromhex("30053003020102")),
    "cut": nothing_there,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_authority_that_gives_no_time_stamp_is_named(
    fault: str, identity: signers.Identity, authority: TimeStampServer
) -> None:
    authority.spoil = FAULTS[fault]
    with pytest.raises(NoTimeStamp, match=f"The time stamp authority {authority.url} gave no valid time stamp: "):
        credentials.sign(image(), "jpeg", MAKING, identity)


def test_an_authority_that_is_not_there_is_named(identity: signers.Identity) -> None:
    gone = replace(identity, time_stamp_url="http://user:password@127.0.0.1:9/tsa?key=secret")
    with pytest.raises(NoTimeStamp, match="gave no valid time stamp") as failed:
        credentials.sign(image(), "jpeg", MAKING, gone)
    assert "password" not in str(failed.value) and "secret" not in str(failed.value)


def test_an_old_time_stamp_is_not_taken(identity: signers.Identity, authority: TimeStampServer) -> None:
    """An authority, or somebody on the way to it, cannot make a signature look older than it is."""
    credentials.sign(image(), "jpeg", MAKING, identity)
    old = authority.reply(authority.requests[0])
    authority.spoil = partial(answer, body=old)
    with pytest.raises(NoTimeStamp, match="nonce"):
        credentials.sign(image(), "jpeg", MAKING, identity)


@pytest.mark.parametrize("spoil", [say_nothing, trickle])
def test_a_slow_authority_is_not_waited_for(
    spoil: Any, identity: signers.Identity, authority: TimeStampServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "TIME_STAMP_SECONDS", 0.5)
    authority.spoil = spoil
    began = time.monotonic()
    with pytest.raises(NoTimeStamp, match=r"gave no time stamp within 0\.5 s"):
        credentials.sign(image(), "jpeg", MAKING, identity)
    assert time.monotonic() - began < 3


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [say_nothing, trickle])
def test_the_thread_that_waits_for_a_slow_authority_ends(
    spoil: Any, identity: signers.Identity, authority: TimeStampServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library gives a request up after 30 s, also if a byte comes now and then."""
    monkeypatch.setattr(credentials, "TIME_STAMP_SECONDS", 45.0)
    authority.spoil = spoil
    began = time.monotonic()
    with pytest.raises(NoTimeStamp, match="gave no valid time stamp"):
        credentials.sign(image(), "jpeg", MAKING, identity)
    assert 25 < time.monotonic() - began < 40
    assert not [thread for thread in threading.enumerate() if thread.name == "time-stamp"]


def test_what_else_is_wrong_is_not_blamed_on_the_authority(
    identity: signers.Identity, authority: TimeStampServer
) -> None:
    with pytest.raises(C2paError):
        credentials.sign(b"no image", "jpeg", MAKING, identity)
    authority.spoil = FAULTS["500"]
    with pytest.raises(C2paError):
        credentials.sign(b"no image", "jpeg", MAKING, identity)


# -- a delivery --------------------------------------------------------------------------------------------------------


@pytest.fixture
def delivering(brand: Any, lead: Any, reviewer: Any, settings: Any, tmp_path: Path, authority: Any) -> Path:
    """Approve an image for a folder, with the authority in the settings; return the folder."""
    settings.PROVENANCE = settings.PROVENANCE | {"time_stamp_url": authority.url}
    settings.PROOFLINE = settings.PROOFLINE | {"handover_folders": [str(tmp_path)]}
    top = tmp_path / brand.slug
    destinations.create(brand=brand, by=lead, slug="out", name="Out", kind="folder", config={"path": str(top)})
    task: ReviewTask = create_image_in_review(brand)
    decisions.approve(**decision_arguments(task), by=reviewer)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    return top


@pytest.mark.django_db(transaction=True)
def test_a_delivered_file_has_a_time_stamp_and_is_stamped_once(delivering: Path, authority: TimeStampServer) -> None:
    deliveries.attempt_due()
    [path] = delivering.rglob("*.jpg")
    assert "timeStamp.validated" in read_report(path.read_bytes(), signing.get_anchors())[1]
    Delivery.objects.update(due_at=timezone.now())
    deliveries.attempt_due()
    assert len(authority.requests) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fault", ["500", "garbage", "slow"])
def test_a_delivery_without_a_time_stamp_waits_and_is_tried_again(
    fault: str, delivering: Path, authority: TimeStampServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "TIME_STAMP_SECONDS", 0.5)
    authority.spoil = say_nothing if fault == "slow" else FAULTS[fault]
    before = list_stored(settings)
    deliveries.attempt_due()
    delivery = Delivery.objects.get()
    assert f"cannot be signed: The time stamp authority {authority.url} gave no" in delivery.error
    assert delivery.due_at is not None and delivery.due_at > timezone.now()
    assert not list(delivering.rglob("*.jpg")) and not MarkedFile.objects.exists() and list_stored(settings) == before
    authority.spoil = None
    monkeypatch.setattr(credentials, "TIME_STAMP_SECONDS", 10.0)
    Delivery.objects.update(due_at=timezone.now())
    deliveries.attempt_due()
    [path] = delivering.rglob("*.jpg")
    assert Delivery.objects.get().error == ""
    assert "timeStamp.validated" in read_report(path.read_bytes(), signing.get_anchors())[1]


def list_stored(settings: Any) -> set[Path]:
    return {path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()}


def test_an_address_of_another_protocol_is_refused(settings: Any) -> None:
    settings.PROVENANCE = settings.PROVENANCE | {"time_stamp_url": "ftp://tsa.example.com"}
    with pytest.raises(ValueError, match="PROOFLINE_C2PA_TIME_STAMP_URL is no address"):
        signing.get_identity()
