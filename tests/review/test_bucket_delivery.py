"""Tests of deliveries to a bucket of a real S3 server: labels, conditional writes, lost answers, errors in words."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from email.header import decode_header, make_header
from typing import Any

import pytest

from review.delivery import base
from review.delivery.base import DeliveryError
from review.services.destinations import list_prohibitions
from tests.support import factories, s3_server
from tests.support.hot_folders import NO_SESSION, Place, create_bucket, file, package, path_of

MUG = path_of(file())


@pytest.fixture(scope="module")
def running() -> Iterator[s3_server.S3Server]:
    with s3_server.serving_s3() as server:
        yield server


@pytest.fixture
def server(running: s3_server.S3Server) -> s3_server.S3Server:
    for state in (running.denied, running.faults, running.unknown, running.requests):
        state.clear()
    return running


@pytest.fixture
def place(server: s3_server.S3Server) -> Place:
    return create_bucket(server)


def push(place: Place, *files: Any, **rest: Any) -> list[dict[str, str]]:
    return [dict(entry) for entry in place.destination.push(package(*files, **rest), NO_SESSION).files]


# -- labels ------------------------------------------------------------------------------------------------------------


def test_an_object_has_type_checksum_metadata_and_tags(place: Place) -> None:
    push(place, file("Müller Vase.JPG"), alt="Eine Vase für Blumen, 花瓶 " * 30)
    head, tags = place.object(path_of(file("Müller Vase.JPG")))
    assert head["ContentType"] == "image/jpeg"
    assert head["ChecksumSHA256"] and head["Metadata"]["sha256"] == file().sha256
    metadata = head["Metadata"]
    assert (metadata["sku"], metadata["asset"], metadata["spec"]) == ("MUG-1", "1", "square")
    texts = {name: str(make_header(decode_header(metadata[name]))) for name in ("title", "alt")}
    assert texts["title"] == "Müller Vase.JPG" and texts["alt"].startswith("Eine Vase für Blumen, 花瓶 Eine Vase")
    assert all(value.isascii() for value in metadata.values())
    assert sum(len(name) + len(value) for name, value in metadata.items()) < 2048
    assert tags == {"brand": "acme", "campaign": "autumn", "spec": "square", "state": "approved"}
    assert place.object("autumn/manifest/1.csv")[0]["ContentType"] == "text/csv; charset=utf-8"


def test_a_new_file_is_sent_with_its_own_checksum_and_only_if_there_is_none(place: Place) -> None:
    """The checksum is the approved file's, not one of whatever is sent; the service compares."""
    requests: list[Any] = []
    events = place.destination.storage.client.meta.events
    events.register("before-send.s3.PutObject", lambda request, **_: requests.append(request))
    push(place, file())
    headers = {name: value.decode() for name, value in requests[0].headers.items() if isinstance(value, bytes)}
    assert b64decode(headers["x-amz-checksum-sha256"]).hex() == file().sha256
    assert [request.headers.get("if-none-match") for request in requests] == [b"*", None, None]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["none"], {}),
        (["spec", "team=web"], {"spec": "square", "team": "web"}),
        (["sku", "brand"], {"sku": "MUG-1", "brand": "acme"}),
    ],
)
def test_the_settings_choose_the_tags(server: s3_server.S3Server, tags: list[str], expected: dict[str, str]) -> None:
    place = create_bucket(server, tags=tags)
    push(place, file())
    assert place.object(MUG)[1] == expected


@pytest.mark.parametrize("tags", [["colour"], ["brand", "brand"], ["a=?"], [f"t{n}=1" for n in range(11)], ["=x"]])
def test_tags_that_are_none_are_refused(server: s3_server.S3Server, tags: list[str]) -> None:
    problems = dict(base.DESTINATIONS.get("s3").config.problems({"bucket": "abc", "tags": tags}))
    assert "tag" in problems["tags"]


def test_a_new_alt_text_changes_the_labels_and_does_not_send_the_image_again(place: Place) -> None:
    receipt = push(place, file())
    place.server.requests.clear()  # type: ignore[union-attr]
    push(place, file(), previous=receipt, alt="A green mug")
    head, tags = place.object(MUG)
    assert head["Metadata"]["alt"] == "A green mug" and tags["state"] == "approved"
    assert head["ContentType"] == "image/jpeg" and place.list_files()[MUG] == b"\xff\xd8 image"
    requests = place.server.requests  # type: ignore[union-attr]
    assert requests["s3:PutObject"] == 3, "the copy in place, the sidecar and the manifest"


# -- lost answers, overload --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", range(3))
@pytest.mark.parametrize("fault", [s3_server.CUT_AFTER, s3_server.CUT_BEFORE, s3_server.SLOW_DOWN])
def test_a_fault_that_passes_leaves_one_image(place: Place, fault: str, after: int) -> None:
    """The client itself tries again; a write whose answer was lost is recognised by its bytes."""
    assert place.server is not None
    place.server.fail_next("s3:PutObject", *[""] * after, fault)
    push(place, file())
    assert sorted(place.list_files()) == sorted([MUG, f"{MUG}.json", "autumn/manifest/1.csv"])
    assert place.object(MUG)[1]["brand"] == "acme"


@pytest.mark.parametrize("fault", [s3_server.CUT_AFTER, s3_server.SLOW_DOWN])
def test_a_fault_that_lasts_is_an_error_after_which_a_retry_finishes(place: Place, fault: str) -> None:
    assert place.server is not None
    place.server.fail_next("s3:PutObject", *[fault] * 3)
    with pytest.raises(DeliveryError) as failed:
        push(place, file())
    assert not failed.value.is_final
    words = "asked too often" if fault == s3_server.SLOW_DOWN else "cannot be reached"
    assert words in failed.value.message
    push(place, file(), previous=[{"name": file().name, "sha256": file().sha256}])
    assert sorted(place.list_files()) == sorted([MUG, f"{MUG}.json", "autumn/manifest/1.csv"])


def test_a_recall_that_was_cut_off_is_finished_by_a_retry(place: Place) -> None:
    receipt = push(place, file())
    assert place.server is not None
    place.server.fail_next("s3:DeleteObject", "", *[s3_server.CUT_AFTER] * 3)
    with pytest.raises(DeliveryError, match="cannot be reached"):
        place.destination.recall(package(previous=receipt), NO_SESSION)
    assert f"{MUG}.json" in place.list_files()
    place.destination.recall(package(previous=receipt), NO_SESSION)
    assert place.list_files() == {}


# -- services that do less than S3 -------------------------------------------------------------------------------------


def test_a_service_without_conditional_writes_is_asked_before_a_file_is_written(place: Place) -> None:
    assert place.server is not None
    place.server.unknown.add("if-none-match")
    push(place, file())
    assert place.list_files()[MUG] == b"\xff\xd8 image"
    storage = create_bucket(place.server).destination.storage
    storage.write(MUG, b"by hand", "image/jpeg")
    storage_place = Place(type(place.destination)(_settings(storage), "key:secret"), dict)
    with pytest.raises(DeliveryError, match="nothing is overwritten"):
        push(storage_place, file())
    assert storage.read(MUG) == b"by hand"


def _settings(storage: Any) -> dict[str, str]:
    return {"bucket": storage.bucket, "prefix": "brand", "endpoint_url": storage.access[0], "region": "us-east-1"}


def test_a_service_without_tags_is_said_and_used_without_them(place: Place) -> None:
    assert place.server is not None
    place.server.unknown.add("x-amz-tagging")
    with pytest.raises(DeliveryError, match="The service knows no tags: write “none” in the setting Tags") as refused:
        push(place, file())
    assert refused.value.is_final
    push(create_bucket(place.server, tags=["none"]), file())


# -- errors in words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action", ["s3:PutObject", "s3:PutObjectTagging", "s3:GetObject", "s3:ListBucket", "s3:DeleteObject"]
)
def test_a_connection_test_names_the_missing_permission(place: Place, action: str) -> None:
    assert place.server is not None
    place.server.denied.add(action)
    sentences = place.destination.test_connection(NO_SESSION)
    assert sentences and all(f"{action}" in sentence for sentence in sentences), sentences
    assert all("give it this permission" in sentence for sentence in sentences)
    assert place.destination.test_connection(NO_SESSION)


@pytest.mark.parametrize(
    ("action", "named"), [("s3:PutObject", "s3:PutObject"), ("s3:PutObjectTagging", "s3:PutObjectTagging")]
)
def test_a_push_names_the_missing_permission(place: Place, action: str, named: str) -> None:
    assert place.server is not None
    place.server.denied.add(action)
    with pytest.raises(DeliveryError, match=f"may not do {named} for {MUG}: give it this permission") as refused:
        push(place, file())
    assert refused.value.is_final and refused.value.status_code == 403


def test_a_recall_names_the_missing_permission(place: Place) -> None:
    assert place.server is not None
    receipt = push(place, file())
    place.server.denied.add("s3:DeleteObject")
    with pytest.raises(DeliveryError, match="may not do s3:DeleteObject"):
        place.destination.recall(package(previous=receipt), NO_SESSION)


def test_a_bucket_that_is_not_there_is_said(server: s3_server.S3Server) -> None:
    settings = {"bucket": "never-made", "endpoint_url": server.url, "region": "us-east-1"}
    place = Place(base.build("s3", settings, "key:secret"), dict)
    with pytest.raises(DeliveryError, match="There is no bucket never-made at this service") as missing:
        push(place, file())
    assert missing.value.is_final
    [sentence] = place.destination.test_connection(NO_SESSION)
    assert sentence.startswith("There is no bucket never-made")


def test_a_service_that_does_not_answer_is_said() -> None:
    settings = {"bucket": "shop", "endpoint_url": "http://127.0.0.1:9", "region": "us-east-1"}
    with pytest.raises(DeliveryError, match="The service of the bucket shop cannot be reached") as away:
        push(Place(base.build("s3", settings, "key:secret"), dict), file())
    assert not away.value.is_final


# -- the secret --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["key", "key: purge", ":value", "key:"])
@pytest.mark.django_db
def test_half_a_pair_of_keys_never_borrows_the_rights_of_the_server(secret: str) -> None:
    [sentence] = base.build("s3", {"bucket": "shop"}, secret).validate()
    assert sentence.startswith("secret: expected the access key’s id, a colon")
    destination = factories.DestinationFactory(kind="s3", config={"bucket": "shop"})
    destination.secret = secret
    assert list_prohibitions(destination)[0].startswith("secret: expected")
