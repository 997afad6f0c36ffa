"""Tests of hot folders behind a cache: verified where files are served, purged after replacement and recall."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from core.models import Brand, Event, User
from review.delivery import base
from review.delivery.base import DeliveryError
from review.models import Delivery, Destination
from review.services import consequences, decisions, deliveries, delivery_requests, destinations
from review.services.delivery_sessions import POLICY
from tests.support import s3_server, sftp_server
from tests.support.cdn_server import TOKEN, CdnServer
from tests.support.hot_folders import (
    NO_SESSION,
    Place,
    create_bucket,
    create_folder,
    create_sftp,
    file,
    package,
    path_of,
)
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.remote_server import CUT_AFTER, CUT_BEFORE, Fault, plain, serving

MUG = path_of(file())
BEARER = "Authorization: Bearer {secret}"
TEMPLATES = {
    "query": {"purge_url": "/purge?url={url}", "purge_header": BEARER},
    "body": {"purge_url": "/purge", "purge_header": BEARER, "purge_body": '{"files": ["{url}"]}'},
    "method": {"purge_url": "/{path}", "purge_method": "PURGE"},
}


@pytest.fixture
def cdn() -> Iterator[CdnServer]:
    with serving(CdnServer()) as server:
        yield server


@pytest.fixture(scope="module")
def s3() -> Iterator[s3_server.S3Server]:
    with s3_server.serving_s3() as server:
        yield server


def settings_for(cdn: CdnServer, template: str = "query", **config: Any) -> dict[str, Any]:
    chosen = {**TEMPLATES[template], **config}
    chosen["purge_url"] = cdn.url + chosen["purge_url"]
    return {"public_url": f"{cdn.url}/", "allow_private": True, **chosen}


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: Any) -> Iterator[sftp_server.SftpServer]:
    with sftp_server.serving(tmp_path_factory.mktemp("sftp")) as server:
        yield server


@pytest.fixture(params=["folder", "s3", "sftp"])
def place(request: Any, cdn: CdnServer, tmp_path: Path) -> Place:
    if request.param == "folder":
        made = create_folder(tmp_path / "shop", TOKEN, **settings_for(cdn))
    elif request.param == "s3":
        made = create_bucket(request.getfixturevalue("s3"), TOKEN, **settings_for(cdn))
    else:  # a password may have spaces, and the secret of the purge none
        beginning, _space, secret = TOKEN.rpartition(" ")
        header = BEARER.replace("{secret}", f"{beginning} {{secret}}")
        made = create_sftp(request.getfixturevalue("sftp"), secret, **settings_for(cdn, purge_header=header))
    cdn.list_files = made.list_files
    return made


def push(place: Place, *files: Any, **rest: Any) -> list[dict[str, str]]:
    return [dict(entry) for entry in place.destination.push(package(*files, **rest), NO_SESSION).files]


def test_what_is_served_is_read_at_its_public_address(place: Place, cdn: CdnServer) -> None:
    [entry] = push(place, file())
    assert entry["url"] == f"{cdn.url}/{MUG}"
    assert place.destination.read_delivered(entry) == b"\xff\xd8 image" and cdn.counts["file"] == 1
    assert cdn.purged == [], "nothing was replaced"


def test_replaced_and_removed_files_are_purged(place: Place, cdn: CdnServer) -> None:
    receipt = push(place, file())
    place.destination.read_delivered(receipt[0])
    new = file("new.jpg", b"new")
    replaced = push(place, new, previous=receipt)
    assert place.destination.read_delivered(receipt[0]) is None
    gone = [MUG, f"{MUG}.json", f"{path_of(new)}.json", "autumn/manifest/1.csv"]
    assert cdn.purged == gone
    place.destination.read_delivered(replaced[0])
    place.destination.recall(package(previous=replaced), NO_SESSION)
    assert cdn.purged[len(gone) :] == [path_of(new), f"{path_of(new)}.json", "autumn/manifest/1.csv"]
    assert place.destination.read_delivered(replaced[0]) is None


@pytest.mark.parametrize("template", TEMPLATES)
def test_purges_of_usual_forms_are_described_by_the_template(cdn: CdnServer, tmp_path: Path, template: str) -> None:
    place = create_folder(tmp_path, TOKEN, **settings_for(cdn, template))
    cdn.list_files = place.list_files
    receipt = push(place, file())
    assert place.destination.read_delivered(receipt[0])
    place.destination.recall(package(previous=receipt), NO_SESSION)
    assert MUG in cdn.purged and place.destination.read_delivered(receipt[0]) is None


@pytest.mark.parametrize("fault", [CUT_BEFORE, CUT_AFTER, Fault(response=plain({"message": "Busy"}, 503)), None])
def test_a_purge_that_fails_is_retried_and_the_file_is_not_sent_again(
    place: Place, cdn: CdnServer, fault: Fault | None
) -> None:
    receipt, new = push(place, file()), file("new.jpg", b"new")
    cdn.fail_next("purge", fault or Fault(response=plain({"message": f"Unknown token {TOKEN}"}, 403)))
    with pytest.raises(
        DeliveryError, match=r"delivered, and are not sent again\. The cache could not be told"
    ) as failed:
        push(place, new, previous=receipt)
    assert not failed.value.is_final and TOKEN not in failed.value.message
    if fault is None:
        assert re.search("answered 403: Unknown token (purge token of the )?…", failed.value.message)
    writes = place.server.requests["s3:PutObject"] if place.server else 0
    unread = new.__class__(**{**vars(new), "read": lambda: pytest.fail("the image was read again")})
    push(place, unread, previous=[*receipt, {"name": new.name, "sha256": new.sha256}])
    assert MUG in cdn.purged and sorted(place.list_files())[1:] == [path_of(new), f"{path_of(new)}.json"]
    if place.server:
        assert place.server.requests["s3:PutObject"] == writes + 2, "the sidecar and the manifest only"


def test_a_connection_test_finds_a_wrong_public_address_and_a_wrong_purge(
    place: Place, cdn: CdnServer, tmp_path: Path
) -> None:
    assert place.destination.test_connection(NO_SESSION) == []
    cdn.list_files = dict
    [sentence] = place.destination.test_connection(NO_SESSION)
    assert "does not serve the file that was written here: correct public_url" in sentence
    wrong = create_folder(tmp_path / "wrong", "wrong", **settings_for(cdn))
    cdn.list_files = wrong.list_files
    [sentence] = wrong.destination.test_connection(NO_SESSION)
    assert "could not be told to forget" in sentence and "answered 403" in sentence
    assert wrong.list_files() == {}


@pytest.mark.parametrize(
    ("config", "secret", "sentence"),
    [
        ({"public_url": "", "purge_url": "/purge?url={url}"}, "", "public_url: needed"),
        ({"purge_header": BEARER}, "", "secret: expected the secret"),
        ({"public_url": "ftp://example.com"}, "", "public_url: "),
    ],
)
def test_a_template_that_cannot_work_is_refused(
    cdn: CdnServer, tmp_path: Path, config: dict[str, str], secret: str, sentence: str
) -> None:
    given = settings_for(cdn, "query", **{"purge_header": "", **config})
    [problem] = create_folder(tmp_path, secret, **given).destination.validate()
    assert problem.startswith(sentence)


def test_a_header_that_is_none_is_refused() -> None:
    problems = dict(base.DESTINATIONS.get("folder").config.problems({"purge_header": "Bearer x\r\nHost: y"}))
    assert "a colon and a value" in problems["purge_header"]


# -- through the service -----------------------------------------------------------------------------------------------


@pytest.fixture
def shop(brand: Brand, lead: User, tmp_path: Path, cdn: CdnServer, settings: Any) -> Destination:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True, "handover_folders": [str(tmp_path)]}
    top = tmp_path / brand.slug
    cdn.list_files = create_folder(top).list_files
    return destinations.create(
        brand=brand, by=lead, slug="shop", name="Shop", kind="folder",
        config=settings_for(cdn, path=str(top)), secret=TOKEN,
    )  # fmt: skip


def deliver(brand: Brand, reviewer: User) -> Delivery:
    decisions.approve(**decision_arguments(create_image_in_review(brand)), by=reviewer)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    return attempt()


def attempt() -> Delivery:
    Delivery.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
    assert deliveries.attempt_due(limit=1) == 1
    return Delivery.objects.get()


@pytest.mark.django_db(transaction=True)
def test_a_cache_that_serves_a_deleted_file_is_purged_again_until_it_does_not(
    brand: Brand, shop: Destination, reviewer: User, lead: User, cdn: CdnServer
) -> None:
    delivery = deliver(brand, reviewer)
    [entry] = delivery.files
    assert delivery.observed == "present" and [each["outcome"] for each in delivery.verification] == ["same"]
    delivery_requests.recall(brand=brand, chosen=Delivery.objects.all(), by=lead)
    cdn.is_deaf = True
    delivery = attempt()
    assert delivery.observed == "failed" and delivery.due_at is not None
    assert delivery.error == (
        f"It was removed, but is still served: {entry['url']}. A cache may keep it; it is removed and checked again."
    )
    cdn.is_deaf = False
    delivery = attempt()
    assert (delivery.observed, delivery.files, delivery.error) == ("absent", [], "")
    assert cdn.list_files() == {} and cdn.kept == {}


@pytest.mark.django_db(transaction=True)
def test_a_cache_that_never_forgets_is_given_up_in_words_after_the_retry_table(
    brand: Brand, shop: Destination, reviewer: User, lead: User, cdn: CdnServer
) -> None:
    deliver(brand, reviewer)
    delivery_requests.recall(brand=brand, chosen=Delivery.objects.all(), by=lead)
    cdn.is_deaf = True
    purges = len(cdn.purged)
    delivery = [attempt() for _ in range(len(POLICY.waits_seconds) + 1)][-1]
    assert (delivery.observed, delivery.due_at) == ("failed", None)
    assert "is still served" in delivery.error
    assert len(cdn.purged) - purges == 3 * (len(POLICY.waits_seconds) + 1)
    failed = Event.objects.get(type="review.delivery.failed")
    assert "is still served" in failed.payload["message"]
    assert deliveries.attempt_due() == 0
    assert hashlib.sha256(next(iter(cdn.kept.values()))).hexdigest() == delivery.files[0]["sha256"]
