"""Test the destination "contentful" over a real socket: uploads, processing, versions, publishing, the rate limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from core.errors import Invalid
from review.choices import ObservedState
from review.delivery.contentful import destination as plug_in
from review.models import Delivery, Destination, ReviewTask
from review.services import deliveries, destinations
from tests.support import site_deliveries as support
from tests.support.contentful_server import SPACE, ContentfulServer, serving
from tests.support.marked_images import without_marks
from tests.support.site_deliveries import approve, delivery, finish, plan, revoke, textured
from tests.support.troubled_server import Trouble

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[[int], Callable[[], None]]
UPLOADED = ("POST", "uploads")
SAVED = ("PUT", "assets/ID")
PROCESSED = ("PUT", "assets/ID/files/en-US/process")
PUBLISHED = ("PUT", "assets/ID/published")


@pytest.fixture
def space(settings: Any, clean_redis: Any) -> Iterator[ContentfulServer]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    with serving() as running:
        yield running


def create(space: ContentfulServer, brand: Any, lead: Any, **config: Any) -> Destination:
    config = {"space": SPACE, "upload_url": space.url, "per_second": 100, **config}
    return support.create_destination(space, brand, lead, "contentful", **config)


@pytest.fixture
def destination(space: ContentfulServer, brand: Any, lead: Any) -> Destination:
    return create(space, brand, lead)


@pytest.fixture
def task(brand: Any) -> ReviewTask:
    return support.create_task(brand, textured(1), key="MUG-1")


def retry() -> None:
    Delivery.objects.all().make_due()
    finish()


def test_an_image_becomes_a_processed_and_published_asset(
    space: ContentfulServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    space.looks = 2
    approve(task, reviewer)
    Delivery.objects.update(alt_text="A blue mug, in use & full")
    [sentence] = plan()
    assert sentence.startswith("Create and publish an asset with ") and sentence.endswith(" px) in master.")
    finish()
    [asset] = space.assets.values()
    assert without_marks(asset.content) == textured(1) and asset.published_version == asset.version - 1
    assert asset.id.startswith(f"proofline-{task.asset_id}-") and asset.name in sentence
    assert (asset.text("title"), asset.text("description")) == (task.asset.subject.name, "A blue mug, in use & full")
    [entry] = delivery().files
    assert (entry["id"], entry["url"]) == (asset.id, f"{space.url}/files/{asset.id}/{asset.name}")
    assert [report["outcome"] for report in delivery().verification] == ["same"]
    assert delivery().attempt_rows.get().message == ""


def test_locale_and_publishing_are_settings(
    space: ContentfulServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask
) -> None:
    create(space, brand, lead, locale="de-DE", publishes=False)
    approve(task, reviewer)
    finish()
    [asset] = space.assets.values()
    assert asset.published_version == 0 and set(asset.fields["file"]) == {"de-DE"}
    assert [report["outcome"] for report in delivery().verification] == ["same"]


@pytest.mark.parametrize("restores", [False, True])
def test_a_recall_deletes_ours_and_leaves_theirs(
    space: ContentfulServer, destination: Destination, task: ReviewTask, reviewer: Any, lead: Any, restores: bool
) -> None:
    theirs = space.add_asset("theirs.jpg", b"theirs")
    approve(task, reviewer)
    finish()
    [entry] = delivery().files
    space.entries["entry-1"] = [entry["id"]]
    plugin = destinations.build_plugin(destination)
    assert without_marks(plugin.read_delivered(entry) or b"") == textured(1)
    revoke(task, lead, restores=restores)
    finish()
    assert delivery().observed == ObservedState.ABSENT
    assert list(space.assets) == [theirs.id] and plugin.read_delivered(entry) is None
    message = delivery().attempt_rows.order_by("number").last().message  # type: ignore[union-attr]
    assert "These entries linked to them, and have a missing asset now: entry-1." in message


def test_a_new_version_replaces_the_earlier_one_unless_an_entry_links_to_it(
    space: ContentfulServer, destination: Destination, brand: Any, reviewer: Any, lead: Any
) -> None:
    task = support.create_task(brand, textured(1), textured(2), textured(3))
    approve(task, reviewer)
    finish()
    support.approve_another(task, 2, reviewer, lead)
    finish()
    assert [space.count(textured(number)) for number in (1, 2)] == [0, 1]
    space.entries["entry-1"] = list(space.assets)
    support.approve_another(task, 3, reviewer, lead)
    finish()
    assert [space.count(textured(number)) for number in (2, 3)] == [1, 1]
    assert "linked from entry-1" in delivery().attempt_rows.order_by("number").last().message  # type: ignore[union-attr]
    revoke(task, lead)
    finish()
    assert space.assets == {}


def test_another_alternative_text_is_published_and_what_editors_wrote_stays(
    space: ContentfulServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    finish()
    [asset] = space.assets.values()
    asset.fields["description"]["de-DE"] = "Ein Becher"
    asset.metadata = {"tags": ["spring"]}
    asset.change()
    for text in ("Two mugs", "Three mugs", "Two mugs"):
        Delivery.objects.update(alt_text=text, observed=ObservedState.FAILED)
        retry()
        assert asset.fields["description"] == {"en-US": text, "de-DE": "Ein Becher"}
        assert asset.metadata == {"tags": ["spring"]} and asset.published_version == asset.version - 1
    assert space.requests.count(UPLOADED) == 1


def test_an_asset_that_somebody_deleted_is_created_again(
    space: ContentfulServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    finish()
    space.assets.clear()
    retry()
    assert space.count(textured(1)) == 1


# -- processing -------------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_processed_in_time_is_asked_for_again(
    space: ContentfulServer, destination: Destination, task: ReviewTask, reviewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plug_in, "PROCESSING_SECONDS", 0.3)
    space.is_stuck = True
    approve(task, reviewer)
    deliveries.attempt_due()
    assert "has not processed" in delivery().error and delivery().due_at is not None
    assert space.requests.count(PROCESSED) == 1
    space.is_stuck = False
    finish()
    assert space.requests.count(UPLOADED) == 1 and space.count(textured(1)) == len(space.assets) == 1


def test_an_upload_that_contentful_has_forgotten_is_sent_again(
    space: ContentfulServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    space.troubles = [Trouble(*PROCESSED, "answer", 503)]
    approve(task, reviewer)
    deliveries.attempt_due()
    [asset] = space.assets.values()
    asset.updated_at -= timedelta(days=2)
    space.uploads = {name: (content, at - timedelta(days=2)) for name, (content, at) in space.uploads.items()}
    finish()
    assert space.requests.count(UPLOADED) == 2
    assert [(each.id, without_marks(each.content)) for each in space.assets.values()] == [(asset.id, textured(1))]


def test_the_rate_limit_is_kept_by_all_deliveries_together(
    space: ContentfulServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask
) -> None:
    space.per_second = 12
    create(space, brand, lead, per_second=8)
    approve(task, reviewer)
    approve(support.create_task(brand, textured(2), key="MUG-2"), reviewer)
    finish()
    assert len(space.requests) > space.per_second and space.limited == 0
    assert len(space.assets) == 2


def test_a_rate_limit_that_others_use_up_says_when_to_come_back(
    space: ContentfulServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    headers = {"X-Contentful-RateLimit-Reset": "33"}
    space.troubles = [Trouble(*SAVED, "answer", 429, headers, '{"message": "You have exceeded the rate limit."}')]
    approve(task, reviewer)
    started = delivery().due_at
    deliveries.attempt_due()
    waiting = delivery()
    assert "exceeded the rate limit" in waiting.error and waiting.due_at and started
    assert waiting.due_at - started > timedelta(seconds=30)
    finish()
    assert space.count(textured(1)) == 1


# -- interruptions ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["push", "replacement", "recall"])
def start(
    request: Any, space: ContentfulServer, destination: Destination, brand: Any, reviewer: Any, lead: Any
) -> Start:
    space.add_asset("theirs.jpg", b"theirs")
    return support.start_phase(space, request.param, brand, reviewer, lead)


@pytest.mark.slow
def test_a_break_of_any_request_leaves_each_image_once(space: ContentfulServer, start: Start) -> None:
    assert support.break_each_request(space, start) >= 6
    assert all(asset.published_version for asset in space.assets.values())


def test_a_process_that_ends_at_any_point_leaves_each_image_once(start: Start, monkeypatch: Any) -> None:
    assert support.kill_at_each_point(monkeypatch, start) >= 1


def test_an_asset_whose_answer_was_lost_is_found_by_its_id_and_not_created_again(
    space: ContentfulServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    space.troubles = [Trouble(*SAVED, "lost")]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert delivery().observed == ObservedState.UNCERTAIN
    finish()
    assert space.requests.count(UPLOADED) == 1 and space.count(textured(1)) == len(space.assets) == 1


def test_an_asset_that_was_never_recorded_is_recalled_all_the_same(
    space: ContentfulServer, destination: Destination, task: ReviewTask, reviewer: Any, lead: Any
) -> None:
    space.troubles = [Trouble(*SAVED, "lost")]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert len(space.assets) == 1
    revoke(task, lead)
    finish()
    assert space.assets == {}


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "words", "is_final"),
    [
        (Trouble(*UPLOADED, "answer", 413, body='{"message": "Too large"}'), "answered 413: Too large", True),
        (Trouble(*UPLOADED, "answer", 200, body="<html>"), "something else than a resource", False),
        (Trouble(*UPLOADED, "lost"), "", False),
        (Trouble(*SAVED, "late answer", 504), "answered 504", False),
        (Trouble(*PROCESSED, "late answer", 500), "answered 500", False),
        (Trouble(*PUBLISHED, "lost"), "", False),
        (
            Trouble(
                *PUBLISHED, "answer", 422,
                body='{"message": "Bad", "details": {"errors": [{"name": "size", "path": ["fields", "file"]}]}}',
            ),
            "Bad. size: fields.file.",
            True,
        ),
    ],
)  # fmt: skip
def test_an_error_answer_is_told_in_words_and_a_retry_delivers_once(
    space: ContentfulServer,
    destination: Destination,
    task: ReviewTask,
    reviewer: Any,
    trouble: Trouble,
    words: str,
    is_final: bool,
) -> None:
    space.troubles = [trouble]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert delivery().error and words in delivery().error
    assert (delivery().due_at is None) == is_final
    retry()
    assert space.count(textured(1)) == len(space.assets) == 1


def test_a_token_that_may_not_publish_is_told(
    space: ContentfulServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    space.may_publish = False
    approve(task, reviewer)
    deliveries.attempt_due()
    assert "Forbidden. Create a personal access token" in delivery().error and delivery().due_at is None


def test_an_environment_that_is_gone_is_no_recalled_image(
    space: ContentfulServer, destination: Destination, task: ReviewTask, reviewer: Any, lead: Any
) -> None:
    approve(task, reviewer)
    finish()
    destinations.change(destination_id=destination.pk, by=lead, config=destination.config | {"environment": "staging"})
    revoke(task, lead)
    deliveries.attempt_due()
    assert "Are space and environment right" in delivery().error and len(space.assets) == 1


def test_the_connection_test_says_what_is_wrong(space: ContentfulServer, destination: Destination, lead: Any) -> None:
    session: Any = None
    assert destinations.build_plugin(destination).test_connection(session) == []
    changed = destinations.change(destination_id=destination.pk, by=lead, config=destination.config | {"locale": "fr"})
    [sentence] = destinations.build_plugin(changed).test_connection(session)
    assert sentence == "There is no locale fr; there are en-US, de-DE."
    space.secret = "another"
    [sentence] = destinations.build_plugin(destination).test_connection(session)
    assert "is invalid" in sentence and "Create a personal access token" in sentence


@pytest.mark.parametrize(
    ("config", "secret", "words"),
    [
        ({"space": "a/b"}, "token", "expected the ID of a space"),
        ({"space": "abc", "environment": "a b"}, "token", "expected the ID of an environment"),
        ({"space": "abc", "locale": "en_US!"}, "token", "expected a locale"),
        ({"space": "abc"}, "to ken", "expected an access token"),
        ({"space": "abc", "url": "http://127.0.0.1"}, "token", "url:"),
        ({"space": "abc", "upload_url": "ftp://example.com"}, "token", "upload_url:"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(
    brand: Any, lead: Any, config: dict[str, Any], secret: str, words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        destinations.create(brand=brand, by=lead, slug="c", name="C", kind="contentful", config=config, secret=secret)


def test_the_official_addresses_are_the_defaults() -> None:
    plugin: Any = destinations.build_plugin(Destination(kind="contentful", config={"space": "abc"}))
    assert plugin.api.base_url == "https://api.contentful.com/spaces/abc/environments/master"
    assert plugin.api.upload_address == "https://upload.contentful.com/spaces/abc/environments/master/uploads"
