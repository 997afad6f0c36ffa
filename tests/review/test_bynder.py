"""Test the destination "bynder" over a real socket: uploads in chunks, assets that are shown late, rights, limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core.errors import Invalid
from review.choices import ObservedState
from review.delivery.base import DeliveryError
from review.delivery.bynder import api, destination
from review.models import Delivery, Destination, ReviewTask
from review.services import deliveries, destinations
from tests.support import library_deliveries
from tests.support import site_deliveries as support
from tests.support.bynder_server import BRAND, BynderServer, serving
from tests.support.library_deliveries import Start
from tests.support.marked_images import without_marks
from tests.support.site_deliveries import approve, delivery, finish, plan, revoke, textured
from tests.support.troubled_server import Trouble

pytestmark = pytest.mark.django_db(transaction=True)

SAVED = ("POST", "media/save")
SENT = ("POST", "upload/chunk")


@pytest.fixture
def portal(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[BynderServer]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    monkeypatch.setattr(api, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(destination, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(destination, "WAIT_SECONDS", 0.5)
    monkeypatch.setattr(destination.Assets, "settle_seconds", 0.0)
    with serving() as running:
        yield running


@pytest.fixture
def made(portal: BynderServer, brand: Any, lead: Any) -> Destination:
    return support.create_destination(portal, brand, lead, "bynder")


@pytest.fixture
def task(brand: Any) -> ReviewTask:
    return support.create_task(brand, textured(1), key="MUG-1")


def redeliver() -> None:
    Delivery.objects.all().make_due()
    deliveries.attempt_due()


def test_an_image_becomes_an_asset_with_name_description_and_tags(
    portal: BynderServer, made: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    Delivery.objects.update(alt_text="A blue mug, in use & full")
    [sentence] = plan()
    assert sentence.startswith("Create an asset with ")
    finish()
    [asset] = portal.assets.values()
    assert (asset.name, asset.description) == (task.asset.subject.name, "A blue mug, in use & full")
    assert without_marks(asset.content) == textured(1)
    marker, *words = asset.tags
    assert marker.startswith(f"proofline{task.asset_id}x") and words[0] == "MUG-1"
    [entry] = delivery().files
    assert (entry["id"], entry["url"]) == (asset.id, f"{portal.url}/media/?mediaId={asset.id}")
    assert [report["outcome"] for report in delivery().verification] == ["same"]


def test_a_large_file_is_sent_in_chunks(
    portal: BynderServer, made: Destination, task: ReviewTask, reviewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "CHUNK_BYTES", 500)
    approve(task, reviewer)
    finish()
    [asset] = portal.assets.values()
    assert portal.requests.count(SENT) == -(-len(asset.content) // 500) > 2
    assert portal.count(textured(1)) == 1


# -- late conversion and late assets ----------------------------------------------------------------------------------


def test_a_file_is_saved_as_soon_as_it_is_converted(
    portal: BynderServer, made: Destination, task: ReviewTask, reviewer: Any
) -> None:
    portal.conversion_seconds = 0.3
    approve(task, reviewer)
    deliveries.attempt_due()
    assert delivery().observed == ObservedState.PRESENT and portal.count(textured(1)) == 1
    assert portal.requests.count(SAVED) > 2


def test_a_file_that_is_not_converted_in_time_is_tried_again_later(
    portal: BynderServer, made: Destination, task: ReviewTask, reviewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "CONVERSION_SECONDS", 0.2)
    portal.conversion_seconds = 60
    approve(task, reviewer)
    deliveries.attempt_due()
    assert "had not converted the file" in delivery().error and portal.assets == {}
    portal.conversion_seconds = 0
    finish()
    assert portal.count(textured(1)) == 1


def test_an_asset_that_is_shown_late_is_waited_for_and_not_saved_again(
    portal: BynderServer, made: Destination, task: ReviewTask, reviewer: Any
) -> None:
    portal.processing_seconds = 1000
    approve(task, reviewer)
    deliveries.attempt_due()
    redeliver()
    assert "still processing" in delivery().error and delivery().due_at is not None
    [asset] = portal.assets.values()
    asset.shown_at = 0
    finish()
    assert portal.requests.count(SAVED) == 1 and delivery().observed == ObservedState.PRESENT


def test_an_asset_that_is_never_shown_is_told_after_a_deadline_and_not_saved_again(
    portal: BynderServer, made: Destination, task: ReviewTask, reviewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal.processing_seconds = 1000
    approve(task, reviewer)
    deliveries.attempt_due()
    monkeypatch.setattr(destination, "PROCESSING_SECONDS", 0.0)
    redeliver()
    assert "waiting room" in delivery().error and delivery().due_at is None
    redeliver()
    assert portal.requests.count(SAVED) == 1


def test_an_asset_that_is_still_processed_is_recalled_as_soon_as_it_is_shown(
    portal: BynderServer, made: Destination, task: ReviewTask, reviewer: Any, lead: Any
) -> None:
    portal.processing_seconds = 1000
    approve(task, reviewer)
    deliveries.attempt_due()
    revoke(task, lead)
    support.make_due()
    deliveries.attempt_due()
    assert "still processing" in delivery().error
    [asset] = portal.assets.values()
    asset.shown_at = 0
    finish()
    assert portal.assets == {} and delivery().observed == ObservedState.ABSENT


@pytest.mark.parametrize("is_recalled", [False, True])
def test_a_save_whose_answer_was_lost_is_looked_for_until_the_search_shows_it(
    portal: BynderServer,
    made: Destination,
    task: ReviewTask,
    reviewer: Any,
    lead: Any,
    monkeypatch: pytest.MonkeyPatch,
    is_recalled: bool,
) -> None:
    monkeypatch.setattr(destination.Assets, "settle_seconds", 300.0)
    portal.processing_seconds = 1000
    portal.troubles = [Trouble(*SAVED, "lost")]
    approve(task, reviewer)
    deliveries.attempt_due()
    if is_recalled:
        revoke(task, lead)
    support.make_due()
    deliveries.attempt_due()
    assert "not known yet whether" in delivery().error
    [asset] = portal.assets.values()
    asset.shown_at = 0
    finish()
    assert portal.requests.count(SAVED) == 1
    assert portal.count(textured(1)) == (0 if is_recalled else 1)


# -- recall and texts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restores", [False, True])
def test_a_recall_leaves_theirs_and_nothing_of_ours_is_served(
    portal: BynderServer, made: Destination, task: ReviewTask, reviewer: Any, lead: Any, restores: bool
) -> None:
    theirs = portal.add_asset()
    approve(task, reviewer)
    finish()
    [entry] = delivery().files
    plugin = destinations.build_plugin(made)
    assert without_marks(plugin.read_delivered(entry) or b"") == textured(1)
    revoke(task, lead, restores=restores)
    finish()
    assert delivery().observed == ObservedState.ABSENT
    assert list(portal.assets) == [theirs.id] and plugin.read_delivered(entry) is None


def test_an_asset_that_somebody_deleted_is_created_again(
    portal: BynderServer, made: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    finish()
    portal.assets.clear()
    Delivery.objects.all().make_due()
    finish()
    assert portal.count(textured(1)) == 1


def test_another_alternative_text_is_sent_without_another_upload(
    portal: BynderServer, made: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    finish()
    for text in ("Two mugs", "Three mugs", "Two mugs"):
        Delivery.objects.update(alt_text=text, observed=ObservedState.FAILED)
        Delivery.objects.all().make_due()
        finish()
        assert [asset.description for asset in portal.assets.values()] == [text]
    assert portal.requests.count(SAVED) == 1


# -- interruptions ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=library_deliveries.PHASES)
def start(
    request: Any,
    portal: BynderServer,
    made: Destination,
    brand: Any,
    reviewer: Any,
    lead: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Start:
    monkeypatch.setattr(destination, "PROCESSING_SECONDS", 0.1)
    portal.add_asset()
    return library_deliveries.prepare(request.param, portal, brand, reviewer, lead)


def test_a_break_of_any_request_leaves_each_image_once(portal: BynderServer, start: Start) -> None:
    assert support.break_each_request(portal, start) >= 6


def test_a_process_that_ends_at_any_point_leaves_each_image_once(start: Start, monkeypatch: Any) -> None:
    assert support.kill_at_each_point(monkeypatch, start) >= 1


# -- errors, rights and limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "words", "is_final"),
    [
        (Trouble("POST", "upload/prepare", "answer", 200, body="{}"), "without file_id", False),
        (Trouble(*SENT, "lost"), "", False),
        (Trouble("POST", "upload/finalise_api", "late answer", 504), "answered 504", False),
        (Trouble(*SAVED, "answer", 429), "answered 429", False),
        (Trouble(*SAVED, "answer", 404, body='{"message": "Import ID not found"}'), "Import ID not found", True),
        (Trouble(*SAVED, "late answer", 200, body="<html>"), "something else than JSON", False),
        (Trouble(*SAVED, "late answer", 200, body="{}"), "without the id of the asset", False),
    ],
)
def test_an_error_answer_is_told_in_words_and_a_retry_delivers_once(
    portal: BynderServer,
    made: Destination,
    task: ReviewTask,
    reviewer: Any,
    trouble: Trouble,
    words: str,
    is_final: bool,
) -> None:
    portal.troubles = [trouble]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert delivery().error and words in delivery().error
    assert (delivery().due_at is None) == is_final
    assert (delivery().observed == ObservedState.UNCERTAIN) == (trouble.route == SAVED[1] and trouble.status == 200)
    Delivery.objects.all().make_due()
    finish()
    assert portal.count(textured(1)) == len(portal.assets) == 1


def test_a_limit_of_requests_in_the_middle_of_a_delivery_ends_in_one_asset(
    portal: BynderServer, made: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    for calls in range(8):
        portal.calls = calls
        redeliver()
    portal.calls = 1000
    finish()
    assert portal.count(textured(1)) == len(portal.assets) == 1


def test_the_connection_test_says_which_right_is_missing(portal: BynderServer, made: Destination) -> None:
    session: Any = None
    plugin = destinations.build_plugin(made)
    assert plugin.test_connection(session) == []
    portal.roles -= {"MEDIAUPLOAD", "MEDIAREMOVE"}
    first, second = plugin.test_connection(session)
    assert "waiting room (MEDIAUPLOAD)" in first and "nothing could be recalled (MEDIAREMOVE)" in second
    portal.secret = "another"
    [sentence] = plugin.test_connection(session)
    assert "Invalid or expired token. Create a permanent token" in sentence


def test_the_brand_is_the_only_one_or_that_of_the_settings(
    portal: BynderServer, made: Destination, lead: Any, task: ReviewTask, reviewer: Any
) -> None:
    session: Any = None
    portal.brands.append({"id": "B2", "name": "Second", "subBrands": [{"id": "B3", "name": "Below"}]})
    [sentence] = destinations.build_plugin(made).test_connection(session)
    assert f"several brands: enter the id of one as brand_id. There are {BRAND} (Example), B2 (Second)" in sentence
    approve(task, reviewer)
    deliveries.attempt_due()
    assert "several brands" in delivery().error and portal.assets == {}
    config = made.config | {"brand_id": "B4"}
    changed = destinations.change(destination_id=made.pk, by=lead, config=config)
    [sentence] = destinations.build_plugin(changed).test_connection(session)
    assert sentence.startswith("There is no brand B4")
    destinations.change(destination_id=made.pk, by=lead, config=config | {"brand_id": "B2"})
    Delivery.objects.all().make_due()
    finish()
    assert portal.count(textured(1)) == 1


def test_an_original_that_may_not_be_downloaded_is_unknown(
    portal: BynderServer, made: Destination, task: ReviewTask, reviewer: Any
) -> None:
    portal.roles.remove("MEDIAHIGHRES")
    approve(task, reviewer)
    finish()
    assert [report["outcome"] for report in delivery().verification] == ["unknown"]
    with pytest.raises(DeliveryError, match="Access denied"):
        destinations.build_plugin(made).read_delivered(delivery().files[0])


def test_a_secret_with_spaces_is_refused(portal: BynderServer, brand: Any, lead: Any) -> None:
    config = {"url": portal.url, "allow_private": True}
    with pytest.raises(Invalid, match="expected a permanent token"):
        destinations.create(brand=brand, by=lead, slug="b", name="B", kind="bynder", config=config, secret="a b")
