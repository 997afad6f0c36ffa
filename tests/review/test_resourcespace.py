"""Test the destination "resourcespace" over a real socket: resources, their files, fields, states and the bin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core.errors import Invalid
from review.choices import ObservedState
from review.models import Delivery, Destination, ReviewTask
from review.services import deliveries, destinations
from tests.support import library_deliveries
from tests.support import site_deliveries as support
from tests.support.library_deliveries import Start
from tests.support.marked_images import without_marks
from tests.support.resourcespace_server import IN_BIN, ResourceSpaceServer, serving
from tests.support.site_deliveries import approve, delivery, finish, plan, revoke, textured
from tests.support.troubled_server import Trouble

pytestmark = pytest.mark.django_db(transaction=True)

CREATED = ("POST", "create_resource")
UPLOADED = ("POST", "upload_multipart")


@pytest.fixture
def dam(settings: Any) -> Iterator[ResourceSpaceServer]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    with serving() as running:
        yield running


@pytest.fixture
def destination(dam: ResourceSpaceServer, brand: Any, lead: Any) -> Destination:
    return support.create_destination(dam, brand, lead, "resourcespace")


@pytest.fixture
def task(brand: Any) -> ReviewTask:
    return support.create_task(brand, textured(1), key="MUG-1")


def test_an_image_becomes_a_resource_with_title_alternative_text_and_keywords(
    dam: ResourceSpaceServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    Delivery.objects.update(alt_text="A blue mug, in use & full")
    [sentence] = plan()
    assert sentence.startswith("Create a resource (type 1, state -2) with ")
    finish()
    [resource] = dam.media.values()
    assert (resource.type, resource.archive, without_marks(resource.content)) == (1, -2, textured(1))
    assert resource.fields[8] == task.asset.subject.name and resource.fields[18] == "A blue mug, in use & full"
    marker, sku, *_others = resource.fields[1].split(",")
    sha256 = task.asset.versions.get().renditions.get().marked_files.get().sha256
    assert marker.startswith(f"proofline{task.asset_id}x{sha256[:16]}x") and marker.isalnum() and sku == "MUG-1"
    [entry] = delivery().files
    assert (entry["id"], entry["url"]) == (str(resource.ref), f"{dam.url}/?r={resource.ref}")
    assert [report["outcome"] for report in delivery().verification] == ["same"]
    assert delivery().attempt_rows.get().message == ""


def test_state_type_and_fields_are_settings(
    dam: ResourceSpaceServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask
) -> None:
    settings = {"archive": 0, "resource_type": 2, "alt_field": 0, "keywords_field": 18}
    support.create_destination(dam, brand, lead, "resourcespace", **settings)
    approve(task, reviewer)
    finish()
    [resource] = dam.media.values()
    assert (resource.type, resource.archive, set(resource.fields)) == (2, 0, {8, 18})


# -- recall and restore -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restores", [False, True])
@pytest.mark.parametrize("purge", [False, True])
def test_a_recall_leaves_theirs_and_nothing_of_ours_is_served(
    dam: ResourceSpaceServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask, purge: bool, restores: bool
) -> None:
    dam.permissions |= {"e3"} if purge else set()
    destination = support.create_destination(dam, brand, lead, "resourcespace", purge=purge)
    theirs = dam.add_resource()
    approve(task, reviewer)
    finish()
    [entry] = delivery().files
    plugin = destinations.build_plugin(destination)
    assert without_marks(plugin.read_delivered(entry) or b"") == textured(1)
    revoke(task, lead, restores=restores)
    finish()
    assert delivery().observed == ObservedState.ABSENT
    assert list(dam.media) == [theirs] and plugin.read_delivered(entry) is None
    assert [each.archive for each in dam.resources.values()] == ([0] if purge else [0, IN_BIN])


def test_a_recall_that_may_not_delete_says_so_and_is_retried(
    dam: ResourceSpaceServer, destination: Destination, task: ReviewTask, reviewer: Any, lead: Any
) -> None:
    approve(task, reviewer)
    finish()
    dam.permissions.add("D")
    revoke(task, lead)
    deliveries.attempt_due()
    assert "did not delete resource" in delivery().error and delivery().observed == ObservedState.FAILED
    dam.permissions.remove("D")
    Delivery.objects.all().make_due()
    finish()
    assert dam.media == {}


def test_a_user_who_may_not_empty_the_bin_is_told(
    dam: ResourceSpaceServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask
) -> None:
    support.create_destination(dam, brand, lead, "resourcespace", purge=True)
    approve(task, reviewer)
    finish()
    revoke(task, lead)
    deliveries.attempt_due()
    assert "may be in ResourceSpace’s bin" in delivery().error and dam.media == {}
    dam.permissions.add("e3")
    Delivery.objects.all().make_due()
    finish()
    assert dam.resources == {}


def test_a_resource_that_somebody_deleted_is_created_again(
    dam: ResourceSpaceServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    finish()
    dam.resources.clear()
    Delivery.objects.all().make_due()
    finish()
    assert dam.count(textured(1)) == 1


def test_another_alternative_text_is_sent_without_another_upload(
    dam: ResourceSpaceServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    finish()
    for text in ("Two mugs", "Three mugs", "Two mugs"):
        Delivery.objects.update(alt_text=text, observed=ObservedState.FAILED)
        Delivery.objects.all().make_due()
        finish()
        assert [resource.fields[18] for resource in dam.media.values()] == [text]
    assert dam.requests.count(CREATED) == dam.requests.count(UPLOADED) == 1


# -- interruptions ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=library_deliveries.PHASES)
def start(
    request: Any, dam: ResourceSpaceServer, destination: Destination, brand: Any, reviewer: Any, lead: Any
) -> Start:
    dam.add_resource()
    return library_deliveries.prepare(request.param, dam, brand, reviewer, lead)


def test_a_break_of_any_request_leaves_each_image_once(dam: ResourceSpaceServer, start: Start) -> None:
    assert support.break_each_request(dam, start) >= 6


def test_a_process_that_ends_at_any_point_leaves_each_image_once(start: Start, monkeypatch: Any) -> None:
    assert support.kill_at_each_point(monkeypatch, start) >= 1


def test_a_resource_whose_answer_was_lost_is_found_by_its_marker_and_not_created_again(
    dam: ResourceSpaceServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    dam.troubles = [Trouble(*CREATED, "lost"), Trouble(*UPLOADED, "late answer", 504)]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert delivery().observed == ObservedState.UNCERTAIN
    finish()
    assert dam.requests.count(CREATED) == dam.requests.count(UPLOADED) == 1
    assert dam.count(textured(1)) == 1


def test_an_upload_that_arrived_is_no_duplicate_of_itself(
    dam: ResourceSpaceServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    dam.blocks_duplicates = True
    dam.troubles = [Trouble(*UPLOADED, "lost")]
    approve(task, reviewer)
    finish()
    assert dam.requests.count(UPLOADED) == 1


def test_a_resource_that_was_never_recorded_is_recalled_all_the_same(
    dam: ResourceSpaceServer, destination: Destination, task: ReviewTask, reviewer: Any, lead: Any
) -> None:
    dam.troubles = [Trouble(*CREATED, "lost")]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert len(dam.media) == 1
    revoke(task, lead)
    finish()
    assert dam.media == {}


def test_a_user_who_may_not_search_leads_to_no_second_resource(
    dam: ResourceSpaceServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    dam.troubles = [Trouble(*CREATED, "lost")]
    approve(task, reviewer)
    deliveries.attempt_due()
    dam.permissions.remove("s")
    support.make_due()
    deliveries.attempt_due()
    assert "may not search" in delivery().error and len(dam.resources) == 1
    dam.permissions.add("s")
    Delivery.objects.all().make_due()
    finish()
    assert dam.count(textured(1)) == len(dam.resources) == 1


def test_a_field_that_is_not_indexed_or_not_there_is_told_with_the_delivery(
    dam: ResourceSpaceServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask
) -> None:
    support.create_destination(dam, brand, lead, "resourcespace", alt_field=86, keywords_field=25)
    approve(task, reviewer)
    finish()
    message = delivery().attempt_rows.get().message
    assert "Field 86 of resource" in message
    Delivery.objects.all().make_due()
    Destination.objects.update(config=delivery().destination.config | {"alt_field": 18})
    finish()
    assert "index this field" in delivery().attempt_rows.order_by("number").last().message  # type: ignore[union-attr]


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "words", "is_final"),
    [
        (Trouble(*UPLOADED, "answer", 413), "upload_max_filesize", True),
        (Trouble(*UPLOADED, "late answer", 504), "answered 504", False),
        (Trouble(*UPLOADED, "answer", 200, body=""), "has no function upload_multipart: update it", True),
        (Trouble(*UPLOADED, "answer", 200, body='{"status": "fail", "data": {"message": "full"}}'), "file: full", True),
        (Trouble(*CREATED, "answer", 200, body="false"), "created no resource", True),
        (Trouble(*CREATED, "late answer", 200, body="<html>"), "something else than JSON", True),
        (Trouble(*CREATED, "answer", 429), "answered 429", False),
    ],
)
def test_an_error_answer_is_told_in_words_and_a_retry_delivers_once(
    dam: ResourceSpaceServer,
    destination: Destination,
    task: ReviewTask,
    reviewer: Any,
    trouble: Trouble,
    words: str,
    is_final: bool,
) -> None:
    dam.troubles = [trouble]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert words in delivery().error
    assert (delivery().due_at is None) == is_final
    Delivery.objects.all().make_due()
    finish()
    assert dam.count(textured(1)) == len(dam.resources) == 1


def test_a_file_that_is_too_large_is_refused_in_words(
    dam: ResourceSpaceServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    dam.max_bytes = 1000
    approve(task, reviewer)
    deliveries.attempt_due()
    assert "Files of more than 2M cannot be uploaded" in delivery().error and delivery().due_at is None


def test_the_connection_test_says_which_permission_is_missing(
    dam: ResourceSpaceServer, destination: Destination, lead: Any
) -> None:
    session: Any = None
    plugin = destinations.build_plugin(destination)
    assert plugin.test_connection(session) == []
    dam.permissions -= {"s", "c", "d", "e-2", "f*"}
    dam.permissions |= {"XU1", "D", "bdk1", "f1", "f8", "F8"}
    sentences = plugin.test_connection(session)
    expected = ("“s”", "“c” or “d”", "“XU1”", "“e-2”", "“D”", "“bdk1”", "“f18”", "“F8”")
    assert len(sentences) == len(expected)
    for sentence, permission in zip(sentences, expected, strict=True):
        assert sentence.startswith("The user proofline may not ") and permission in sentence
    config = destination.config | {"resource_type": 7, "purge": True}
    changed = destinations.change(destination_id=destination.pk, by=lead, config=config)
    sentences = destinations.build_plugin(changed).test_connection(session)
    assert sentences[0] == "There is no resource type 7; there are 1 Photo, 2 Document."
    assert any("“e3”" in sentence for sentence in sentences)


def test_a_wrong_key_and_a_switched_off_api_are_told(dam: ResourceSpaceServer, destination: Destination) -> None:
    session: Any = None
    plugin = destinations.build_plugin(destination)
    dam.key = "another"
    [sentence] = plugin.test_connection(session)
    assert "Invalid signature. Enter the user name, a colon and the private key" in sentence
    dam.is_on = False
    [sentence] = plugin.test_connection(session)
    assert "$enable_remote_apis = true" in sentence
    assert "sign=" not in sentence and dam.secret not in sentence


def test_an_older_resourcespace_is_told_to_be_updated(dam: ResourceSpaceServer, destination: Destination) -> None:
    session: Any = None
    dam.functions.remove("checkperm")
    assert destinations.build_plugin(destination).test_connection(session) == [
        "This ResourceSpace has no function checkperm: update it."
    ]


def test_a_secret_without_a_user_name_is_refused(dam: ResourceSpaceServer, brand: Any, lead: Any) -> None:
    config = {"url": dam.url, "allow_private": True}
    with pytest.raises(Invalid, match="expected user name and private key"):
        destinations.create(
            brand=brand, by=lead, slug="r", name="R", kind="resourcespace", config=config, secret=dam.key
        )
