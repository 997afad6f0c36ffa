"""Test the destination "sanity" over a real socket: assets that are shared by their bytes, marks, texts, references."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.errors import Invalid
from generation.models import MarkedFile, Rendition
from review.choices import ObservedState
from review.models import Delivery, Destination, ReviewTask
from review.services import deliveries, destinations
from tests.support import site_deliveries as support
from tests.support.marked_images import read_marked, without_marks
from tests.support.sanity_server import PROJECT, SanityServer, serving
from tests.support.site_deliveries import approve, delivery, finish, plan, revoke, textured
from tests.support.troubled_server import Trouble

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[[int], Callable[[], None]]
UPLOAD = ("POST", "v2025-02-19/assets/images/production")
MUTATION = ("POST", "v2025-02-19/data/mutate/production")
QUERY = ("GET", "v2025-02-19/data/query/production")


@pytest.fixture
def lake(settings: Any) -> Iterator[SanityServer]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    with serving() as running:
        yield running


@pytest.fixture
def destination(lake: SanityServer, brand: Any, lead: Any) -> Destination:
    return support.create_destination(lake, brand, lead, "sanity", project=PROJECT)


@pytest.fixture
def task(brand: Any) -> ReviewTask:
    return support.create_task(brand, textured(1), key="MUG-1")


def retry() -> None:
    Delivery.objects.all().make_due()
    finish()


def test_an_image_becomes_an_asset_with_title_alternative_text_and_the_mark_of_its_delivery(
    lake: SanityServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    Delivery.objects.update(alt_text="A blue mug, in use & full")
    [sentence] = plan()
    assert sentence.startswith("Upload ") and sentence.endswith(" (64 × 48 px) to production.")
    finish()
    [asset] = lake.assets
    assert without_marks(asset.content) == textured(1) and asset.name in sentence
    assert asset.document["title"] == task.asset.subject.name
    assert asset.document["altText"] == "A blue mug, in use & full"
    assert asset.document["source"] == {"name": "Proofline", "id": asset.name}
    assert asset.document["proofline"] == [asset.name]
    [entry] = delivery().files
    assert (entry["id"], entry["url"]) == (asset.id, asset.document["url"])
    assert [report["outcome"] for report in delivery().verification] == ["same"]
    assert delivery().attempt_rows.get().message == ""


@pytest.mark.parametrize("restores", [False, True])
def test_a_recall_deletes_ours_and_leaves_theirs(
    lake: SanityServer, destination: Destination, task: ReviewTask, reviewer: Any, lead: Any, restores: bool
) -> None:
    theirs = lake.add_asset("theirs.jpg", textured(9))
    approve(task, reviewer)
    finish()
    [entry] = delivery().files
    plugin = destinations.build_plugin(destination)
    assert without_marks(plugin.read_delivered(entry) or b"") == textured(1)
    revoke(task, lead, restores=restores)
    finish()
    assert delivery().observed == ObservedState.ABSENT
    assert [asset.id for asset in lake.assets] == [theirs["_id"]] and plugin.read_delivered(entry) is None


def rendition_of(task: ReviewTask) -> Rendition:
    return Rendition.objects.get(version__asset=task.asset_id)


def test_an_image_that_others_had_uploaded_keeps_its_texts_and_survives_the_recall(
    lake: SanityServer, destination: Destination, task: ReviewTask, reviewer: Any, lead: Any
) -> None:
    theirs = lake.add_asset("theirs.jpg", read_marked(rendition_of(task)), altText="Theirs")
    approve(task, reviewer)
    finish()
    assert lake.requests.count(UPLOAD) == 0 and lake.count(textured(1)) == 1
    assert theirs["altText"] == "Theirs" and len(theirs["proofline"]) == 1
    assert "others have in the dataset, too" in delivery().attempt_rows.get().message
    revoke(task, lead)
    finish()
    assert delivery().observed == ObservedState.ABSENT
    [asset] = lake.assets
    assert asset.document["altText"] == "Theirs" and asset.document["proofline"] == []


def test_two_deliveries_of_the_same_bytes_share_an_asset_until_both_are_recalled(
    lake: SanityServer, destination: Destination, task: ReviewTask, brand: Any, reviewer: Any, lead: Any
) -> None:
    other = support.create_task(brand, textured(1), key="MUG-2")
    for each in (task, other):
        read_marked(rendition_of(each))
    first = MarkedFile.objects.values("sha256", "storage_key", "bytes").first() or {}
    MarkedFile.objects.update(**first)
    for each in (task, other):
        approve(each, reviewer)
    finish()
    [asset] = lake.assets
    assert len(asset.document["proofline"]) == 2
    revoke(task, lead)
    finish()
    assert lake.count(textured(1)) == 1
    states = dict(Delivery.objects.values_list("asset", "observed"))
    assert states == {task.asset_id: ObservedState.ABSENT, other.asset_id: ObservedState.PRESENT}
    revoke(other, lead)
    finish()
    assert lake.assets == []


@pytest.mark.parametrize("article", ["article-1", "drafts.article-1"])
def test_an_image_in_a_document_is_not_deleted_and_the_recall_says_where_it_is(
    lake: SanityServer, destination: Destination, task: ReviewTask, reviewer: Any, lead: Any, article: str
) -> None:
    approve(task, reviewer)
    finish()
    lake.add_article(lake.assets[0].id, article)
    revoke(task, lead)
    deliveries.attempt_due()
    assert f"is used by {article}, so it was not deleted. Take it out there" in delivery().error
    assert delivery().due_at is None and lake.count(textured(1)) == 1
    del lake.documents[article]
    retry()
    assert lake.assets == [] and delivery().observed == ObservedState.ABSENT


def test_a_reference_that_comes_between_is_not_broken(
    lake: SanityServer, destination: Destination, task: ReviewTask, reviewer: Any, lead: Any
) -> None:
    approve(task, reviewer)
    finish()
    lake.add_article(lake.assets[0].id)
    lake.sees_references = False
    revoke(task, lead)
    deliveries.attempt_due()
    assert "Others change" in delivery().error and lake.count(textured(1)) == 1


def test_a_new_version_replaces_the_earlier_one_unless_a_document_uses_it(
    lake: SanityServer, destination: Destination, brand: Any, reviewer: Any, lead: Any
) -> None:
    task = support.create_task(brand, textured(1), textured(2), textured(3))
    approve(task, reviewer)
    finish()
    support.approve_another(task, 2, reviewer, lead)
    finish()
    assert [lake.count(textured(number)) for number in (1, 2)] == [0, 1]
    lake.add_article(lake.assets[0].id)
    support.approve_another(task, 3, reviewer, lead)
    finish()
    assert [lake.count(textured(number)) for number in (2, 3)] == [1, 1]
    assert "is used by article-1" in delivery().attempt_rows.order_by("number").last().message  # type: ignore[union-attr]
    del lake.documents["article-1"]
    revoke(task, lead)
    finish()
    assert lake.assets == []


def test_another_alternative_text_is_sent_without_another_upload(
    lake: SanityServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    finish()
    for text in ("Two mugs", "Three mugs", "Two mugs"):
        Delivery.objects.update(alt_text=text, observed=ObservedState.FAILED)
        retry()
        assert [asset.document["altText"] for asset in lake.assets] == [text]
    assert lake.requests.count(UPLOAD) == 1


def test_an_asset_that_somebody_deleted_is_uploaded_again(
    lake: SanityServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    finish()
    lake.documents.clear()
    retry()
    [asset] = lake.assets
    assert asset.document["proofline"] == [asset.name] and asset.document["title"]


# -- interruptions ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["push", "replacement", "recall"])
def start(request: Any, lake: SanityServer, destination: Destination, brand: Any, reviewer: Any, lead: Any) -> Start:
    lake.add_asset("theirs.jpg", b"theirs")
    return support.start_phase(lake, request.param, brand, reviewer, lead)


def test_a_break_of_any_request_leaves_each_image_once(lake: SanityServer, start: Start) -> None:
    assert support.break_each_request(lake, start) >= 6
    assert all(len(asset.document.get("proofline", [])) <= 1 for asset in lake.assets)


def test_a_process_that_ends_at_any_point_leaves_each_image_once(start: Start, monkeypatch: Any) -> None:
    assert support.kill_at_each_point(monkeypatch, start) >= 1


def test_an_upload_whose_answer_was_lost_is_found_by_its_name_and_not_sent_again(
    lake: SanityServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    lake.troubles = [Trouble(*UPLOAD, "lost")]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert delivery().observed == ObservedState.UNCERTAIN
    finish()
    assert lake.requests.count(UPLOAD) == 1 and lake.count(textured(1)) == 1
    assert lake.assets[0].document["altText"] == task.asset.subject.name


def test_an_upload_that_was_never_recorded_is_recalled_all_the_same(
    lake: SanityServer, destination: Destination, task: ReviewTask, reviewer: Any, lead: Any
) -> None:
    lake.troubles = [Trouble(*UPLOAD, "lost")]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert len(lake.assets) == 1
    revoke(task, lead)
    finish()
    assert lake.assets == []


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "words", "is_final"),
    [
        (Trouble(*UPLOAD, "answer", 413), "takes no images of this size", True),
        (Trouble(*UPLOAD, "late answer", 504), "answered 504", False),
        (Trouble(*UPLOAD, "answer", 429, {"Retry-After": "7"}), "answered 429", False),
        (Trouble(*UPLOAD, "late answer", 200, body="{}"), "did not say which document", False),
        (Trouble(*UPLOAD, "late answer", 200, body="<html>"), "something else than JSON", False),
        (Trouble(*MUTATION, "answer", 403, body='{"error": {"description": "no right"}}'), "no right. Create a", True),
        (Trouble(*MUTATION, "late answer", 500), "answered 500", False),
        (Trouble(*QUERY, "cut"), "", False),
    ],
)
def test_an_error_answer_is_told_in_words_and_a_retry_delivers_once(
    lake: SanityServer,
    destination: Destination,
    task: ReviewTask,
    reviewer: Any,
    trouble: Trouble,
    words: str,
    is_final: bool,
) -> None:
    lake.troubles = [trouble]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert delivery().error and words in delivery().error and "?filename=" not in delivery().error
    assert (delivery().due_at is None) == is_final
    retry()
    assert lake.count(textured(1)) == len(lake.assets) == 1
    assert lake.assets[0].document["proofline"] == [lake.assets[0].name]


def test_the_connection_test_says_what_is_wrong_and_changes_nothing(
    lake: SanityServer, destination: Destination, lead: Any
) -> None:
    session: Any = None
    assert destinations.build_plugin(destination).test_connection(session) == []
    assert lake.documents == {}
    lake.rights = {"read"}
    [sentence] = destinations.build_plugin(destination).test_connection(session)
    assert 'permission "create" required. Create a token with the permission Editor' in sentence
    lake.secret = "another"
    [sentence] = destinations.build_plugin(destination).test_connection(session)
    assert "Session not found" in sentence and "Create a token" in sentence
    lake.secret = "skE4token0fAnEditor"
    changed = destinations.change(
        destination_id=destination.pk, by=lead, config=destination.config | {"dataset": "staging"}
    )
    [sentence] = destinations.build_plugin(changed).test_connection(session)
    assert "answered 404" in sentence and "Are the project and the dataset “staging” right?" in sentence


@pytest.mark.parametrize(
    ("config", "secret", "words"),
    [
        ({"project": "a/b"}, "token", "expected the ID of a project"),
        ({"project": "abc", "dataset": "Main"}, "token", "expected the name of a dataset"),
        ({"project": "abc"}, "to ken", "expected an API token"),
        ({"project": "abc", "url": "http://127.0.0.1"}, "token", "url:"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(
    brand: Any, lead: Any, config: dict[str, Any], secret: str, words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        destinations.create(brand=brand, by=lead, slug="s", name="S", kind="sanity", config=config, secret=secret)


def test_the_official_address_has_the_project() -> None:
    plugin: Any = destinations.build_plugin(Destination(kind="sanity", config={"project": "abc12def"}))
    assert plugin.api.base_url == "https://abc12def.api.sanity.io"
