"""Test the destination "strapi" over a real socket: the media library, and images of entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.errors import Invalid
from review.choices import ObservedState
from review.delivery import base
from review.models import Delivery, Destination, ReviewTask
from review.services import deliveries, destinations
from tests.support import site_deliveries as support
from tests.support.site_deliveries import approve, delivery, draw, finish, our_media, plan, revoke, textured
from tests.support.strapi_server import StrapiServer, serving
from tests.support.troubled_server import Trouble

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[[int], Callable[[], None]]
UPLOADS = ("POST", "api/upload")


@pytest.fixture
def strapi(settings: Any) -> Iterator[StrapiServer]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    with serving() as running:
        yield running


@pytest.fixture
def destination(strapi: StrapiServer, brand: Any, lead: Any) -> Destination:
    return support.create_destination(strapi, brand, lead, "strapi", entries="articles")


@pytest.fixture
def article(brand: Any) -> ReviewTask:
    return support.create_task(brand, textured(1), key="spring-mugs", kind="article")


def add_xmp(content: bytes) -> bytes:
    """Return a JPEG file with a segment of metadata of 30 kB."""
    segment = b"http://ns.adobe.com/xap/1.0/\0" + b" " * 30_000
    return content[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + content[2:]


def message() -> str:
    """Return the words of the newest attempt."""
    return str(delivery().attempt_rows.order_by("-number").values_list("message", flat=True)[0])


# -- articles ---------------------------------------------------------------------------------------------------------


def test_an_articles_image_becomes_the_cover_of_its_entry(
    strapi: StrapiServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    theirs = strapi.add_media()
    entry = strapi.add_entry("spring-mugs", cover=theirs)
    approve(article, reviewer)
    Delivery.objects.update(alt_text="A blue mug, in use & full")
    assert f"featured image of “Spring-Mugs” (articles/{entry}), in place of image {theirs}" in plan()[1]
    finish()
    [ours] = our_media(strapi, textured(1))
    assert strapi.cover(entry, "draft") == strapi.cover(entry) == ours
    media, marked = strapi.media[ours], article.asset.versions.get().renditions.get().marked_files.get()
    assert media.name.endswith(f"-{article.asset_id}-{marked.sha256[:8]}.jpg")
    assert media.alt_text == "A blue mug, in use & full"
    [row] = delivery().files
    assert (row["id"], row["url"]) == (str(ours), f"{strapi.url}{media.path}")
    assert [report["outcome"] for report in delivery().verification] == ["same"]
    assert message() == "" and strapi.requests.count(UPLOADS) == 1, "the texts are sent with the file"


@pytest.mark.parametrize("column", ["document_id", "id"])
def test_an_entry_is_found_by_its_document_id(
    strapi: StrapiServer, brand: Any, lead: Any, reviewer: Any, column: str
) -> None:
    support.create_destination(strapi, brand, lead, "strapi", entries="articles", find_by="id")
    entry = strapi.add_entry("about")
    approve(support.create_task(brand, textured(1), key="a-1", kind="article", **{column: entry}), reviewer)
    finish()
    assert [strapi.cover(entry)] == our_media(strapi, textured(1))


def test_a_missing_entry_stops_before_anything_is_uploaded(
    strapi: StrapiServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    approve(article, reviewer)
    deliveries.attempt_due()
    assert "no entry of articles with the slug spring-mugs" in delivery().error and delivery().due_at is None
    assert UPLOADS not in strapi.requests


def test_an_entry_that_is_not_published_stays_so(
    strapi: StrapiServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    entry = strapi.add_entry("spring-mugs", is_published=False)
    approve(article, reviewer)
    finish()
    assert "is not published: the image waits in its draft" in message()
    assert ([strapi.cover(entry, "draft")], strapi.cover(entry)) == (our_media(strapi, textured(1)), None)


def test_changes_of_an_editor_are_not_published_by_a_delivery(
    strapi: StrapiServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    entry = strapi.add_entry("spring-mugs")
    draft = strapi.entries[entry]["draft"]
    assert draft is not None
    draft["title"] = "Not ready yet"
    approve(article, reviewer)
    deliveries.attempt_due()
    assert "has changes that nobody has published" in delivery().error and delivery().due_at is None
    assert UPLOADS not in strapi.requests
    strapi.publish(entry)
    Delivery.objects.all().make_due()
    finish()
    assert [strapi.cover(entry)] == our_media(strapi, textured(1))


def test_editors_can_publish_each_image_themselves(
    strapi: StrapiServer, brand: Any, lead: Any, reviewer: Any, article: ReviewTask
) -> None:
    support.create_destination(strapi, brand, lead, "strapi", entries="articles", publishes=False)
    entry = strapi.add_entry("spring-mugs", cover=strapi.add_media())
    live = strapi.cover(entry)
    approve(article, reviewer)
    finish()
    assert "until an editor publishes it" in message()
    assert strapi.cover(entry) == live and [strapi.cover(entry, "draft")] == our_media(strapi, textured(1))


def test_a_field_of_several_files_is_refused(
    strapi: StrapiServer, brand: Any, lead: Any, reviewer: Any, article: ReviewTask
) -> None:
    support.create_destination(strapi, brand, lead, "strapi", entries="articles", featured_field="gallery")
    strapi.add_entry("spring-mugs")
    approve(article, reviewer)
    deliveries.attempt_due()
    assert "gallery takes several files: choose a field that takes one" in delivery().error
    assert UPLOADS not in strapi.requests


def test_an_image_of_a_product_is_only_added_to_the_media_library(
    strapi: StrapiServer, brand: Any, reviewer: Any, lead: Any
) -> None:
    support.create_destination(strapi, brand, lead, "strapi")
    task = support.create_task(brand, textured(1), key="mug-1")
    theirs = strapi.add_media()
    approve(task, reviewer)
    finish()
    assert len(our_media(strapi, textured(1))) == 1
    revoke(task, lead)
    finish()
    assert list(strapi.media) == [theirs]
    assert not [route for _method, route in strapi.requests if "articles" in route]


# -- interruptions ----------------------------------------------------------------------------------------------------


def push_of_an_article(strapi: StrapiServer, brand: Any, reviewer: Any) -> Start:
    def start(number: int) -> Callable[[], None]:
        slug, content = f"post-{number}", textured(number)
        entry = strapi.add_entry(slug, cover=strapi.add_media())
        approve(support.create_task(brand, content, key=slug, kind="article"), reviewer)

        def check() -> None:
            [ours] = our_media(strapi, content)
            assert strapi.cover(entry) == ours and strapi.media[ours].alt_text

        return check

    return start


def replacement(strapi: StrapiServer, brand: Any, reviewer: Any, lead: Any) -> Start:
    def start(number: int) -> Callable[[], None]:
        slug, contents = f"post-{number}", (textured(2 * number), textured(2 * number + 1))
        entry = strapi.add_entry(slug, cover=strapi.add_media())
        task = support.create_task(brand, *contents, key=slug, kind="article")
        approve(task, reviewer)
        finish()
        support.approve_another(task, 2, reviewer, lead)

        def check() -> None:
            assert our_media(strapi, contents[0]) == []
            assert [strapi.cover(entry)] == our_media(strapi, contents[1])

        return check

    return start


def removal(strapi: StrapiServer, brand: Any, reviewer: Any, lead: Any, *, restores: bool) -> Start:
    def start(number: int) -> Callable[[], None]:
        slug, content = f"post-{number}", textured(number)
        theirs = strapi.add_media()
        entry = strapi.add_entry(slug, cover=theirs)
        task = support.create_task(brand, content, key=slug, kind="article")
        approve(task, reviewer)
        finish()
        address = Delivery.objects.get(asset=task.asset_id).files[0]["url"]
        revoke(task, lead, restores=restores)

        def check() -> None:
            assert our_media(strapi, content) == [] and theirs in strapi.media
            assert strapi.cover(entry) == (theirs if restores else 0)
            assert strapi.serve(address.removeprefix(strapi.url)) is None
            assert Delivery.objects.get(asset=task.asset_id).observed == ObservedState.ABSENT

        return check

    return start


@pytest.fixture(params=["push", "replacement", "recall", "restore"])
def start(request: Any, strapi: StrapiServer, destination: Destination, brand: Any, reviewer: Any, lead: Any) -> Start:
    match request.param:
        case "push":
            return push_of_an_article(strapi, brand, reviewer)
        case "replacement":
            return replacement(strapi, brand, reviewer, lead)
        case _:
            return removal(strapi, brand, reviewer, lead, restores=request.param == "restore")


def test_a_break_of_any_request_leaves_each_image_once(strapi: StrapiServer, start: Start) -> None:
    assert support.break_each_request(strapi, start) > 9


def test_a_process_that_ends_at_any_point_leaves_each_image_once(start: Start, monkeypatch: Any) -> None:
    assert support.kill_at_each_point(monkeypatch, start) >= 1


@pytest.mark.parametrize("optimizes", [False, True])
def test_an_upload_whose_answer_was_lost_is_found_by_its_name_and_not_sent_again(
    strapi: StrapiServer, destination: Destination, article: ReviewTask, reviewer: Any, optimizes: bool
) -> None:
    strapi.optimizes = optimizes
    strapi.add_entry("spring-mugs")
    strapi.troubles = [Trouble(*UPLOADS, "lost")]
    approve(article, reviewer)
    deliveries.attempt_due()
    assert delivery().observed == ObservedState.UNCERTAIN
    finish()
    assert len(strapi.media) == 1 and strapi.requests.count(UPLOADS) == 2, "the file, and its texts"


def test_an_upload_that_was_never_recorded_is_recalled_all_the_same(
    strapi: StrapiServer, destination: Destination, article: ReviewTask, reviewer: Any, lead: Any
) -> None:
    strapi.add_entry("spring-mugs")
    strapi.troubles = [Trouble(*UPLOADS, "lost")]
    approve(article, reviewer)
    deliveries.attempt_due()
    assert len(strapi.media) == 1
    revoke(article, lead)
    finish()
    assert strapi.media == {}


def test_a_late_upload_that_made_a_second_file_is_cleaned_up(
    strapi: StrapiServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    """The first upload is still under way when it is looked up, and arrives just before the second one."""
    strapi.add_entry("spring-mugs")
    approve(article, reviewer)
    strapi.troubles = [Trouble(*UPLOADS, "lost")]
    deliveries.attempt_due()
    [(number, media)] = strapi.media.items()
    strapi.media.clear()
    take = strapi._take

    def arrive_then_take(*request: Any) -> Any:
        strapi.media.setdefault(number, media)
        strapi._take = take  # type: ignore[method-assign]
        return take(*request)

    strapi._take = arrive_then_take  # type: ignore[method-assign]
    finish()
    assert list(strapi.media) == [number], "the oldest stays: another worker may have recorded it"


def test_only_the_very_name_counts_as_ours(
    strapi: StrapiServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    strapi.add_entry("spring-mugs")
    approve(article, reviewer)
    sha256 = article.asset.versions.get().renditions.get().sha256
    ending = f"-{article.asset_id}-{sha256[:8]}"
    others = [
        strapi.add_media(f"x-{name}") for name in (f"1{ending[1:]}.jpg", f"mug{ending}.old.jpg", f"{ending}-1.jpg")
    ]
    strapi.troubles = [Trouble(*UPLOADS, "cut")]
    finish()
    assert [number for number in strapi.media if number in others] == others
    assert len(our_media(strapi, textured(1))) == 1


# -- files and texts --------------------------------------------------------------------------------------------------


def test_a_file_that_strapi_wrote_anew_is_alike_and_the_delivery_says_what_to_switch_off(
    strapi: StrapiServer, destination: Destination, article: ReviewTask, reviewer: Any, lead: Any
) -> None:
    strapi.optimizes = True
    strapi.add_entry("spring-mugs")
    content = add_xmp(draw(800, 600, seed=3))
    support.replace_file(article.asset.versions.get().renditions.get(), content, 800, 600)
    approve(article, reviewer)
    finish()
    [media] = strapi.media.values()
    plugin = destinations.build_plugin(destination)
    assert plugin.read_delivered(delivery().files[0]) == media.content != content
    assert [report["outcome"] for report in delivery().verification] == ["alike"]
    assert "switch off “Size optimization” (Settings → Media Library)" in message()
    revoke(article, lead)
    finish()
    assert strapi.media == {}


def test_another_alternative_text_is_sent_without_another_file(
    strapi: StrapiServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    strapi.add_entry("spring-mugs")
    approve(article, reviewer)
    finish()
    for text in ("Two mugs", "Three mugs", "Two mugs"):
        Delivery.objects.update(alt_text=text, observed=ObservedState.FAILED)
        Delivery.objects.all().make_due()
        finish()
        assert [media.alt_text for media in strapi.media.values()] == [text]


def test_a_restore_leaves_an_image_that_somebody_chose_since(
    strapi: StrapiServer, destination: Destination, article: ReviewTask, reviewer: Any, lead: Any
) -> None:
    entry = strapi.add_entry("spring-mugs", cover=strapi.add_media())
    approve(article, reviewer)
    finish()
    chosen = strapi.add_media("chosen.jpg")
    for version in strapi.entries[entry].values():
        assert version is not None
        version["cover"] = chosen
    revoke(article, lead, restores=True)
    finish()
    assert strapi.cover(entry) == chosen and our_media(strapi, textured(1)) == []


def test_a_file_that_somebody_deleted_is_uploaded_again(
    strapi: StrapiServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    entry = strapi.add_entry("spring-mugs")
    approve(article, reviewer)
    finish()
    [number] = our_media(strapi, textured(1))
    strapi._remove(strapi.media[number])
    Delivery.objects.all().make_due()
    finish()
    [ours] = our_media(strapi, textured(1))
    assert ours != number and strapi.cover(entry) == ours


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "words", "is_final"),
    [
        (Trouble(*UPLOADS, "answer", 413), "raise sizeLimit", True),
        (Trouble(*UPLOADS, "answer", 403), "Give the API token this permission", True),
        (Trouble(*UPLOADS, "answer", 401), "Create an API token in Strapi", True),
        (Trouble(*UPLOADS, "answer", 429, {"Retry-After": "90"}), "answered 429", False),
        (Trouble(*UPLOADS, "late answer", 504), "answered 504", False),
        (Trouble(*UPLOADS, "late answer", 200, body="<html>"), "is it the address of Strapi?", False),
    ],
)
def test_an_error_answer_is_told_in_words_and_a_retry_delivers_once(
    strapi: StrapiServer,
    destination: Destination,
    article: ReviewTask,
    reviewer: Any,
    trouble: Trouble,
    words: str,
    is_final: bool,
) -> None:
    strapi.add_entry("spring-mugs")
    strapi.troubles = [trouble]
    approve(article, reviewer)
    deliveries.attempt_due()
    assert words in delivery().error
    assert (delivery().due_at is None) == is_final
    Delivery.objects.all().make_due()
    finish()
    assert len(our_media(strapi, textured(1))) == len(strapi.media) == 1


def test_a_file_that_is_too_large_is_refused_in_words(
    strapi: StrapiServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    strapi.add_entry("spring-mugs")
    strapi.max_bytes = 1000
    approve(article, reviewer)
    deliveries.attempt_due()
    assert "FileTooBig. Strapi takes no files of this size" in delivery().error and delivery().due_at is None


def test_the_connection_test_says_which_permission_is_missing(
    strapi: StrapiServer, destination: Destination, lead: Any
) -> None:
    session: Any = None
    plugin = destinations.build_plugin(destination)
    assert plugin.test_connection(session) == []
    strapi.rights = {"find", "articles.find"}
    sentences = plugin.test_connection(session)
    missing = ["“findOne” of Upload", "“upload” of Upload", "“destroy” of Upload"]
    missing += ["“findOne” of articles", "“update” of articles"]
    for sentence, right in zip(sentences, missing, strict=True):
        assert sentence.startswith(f"The API token lacks the permission {right}. Give the API token")
    strapi.secret = "0" * 256
    [sentence] = plugin.test_connection(session)
    assert "Missing or invalid credentials" in sentence and "Create an API token" in sentence


def test_the_connection_test_knows_wrong_names(strapi: StrapiServer, destination: Destination) -> None:
    session: Any = None
    for changes, words in (
        ({"entries": "news"}, "no content type with the plural API ID news"),
        ({"featured_field": "picture"}, "The entries of articles have no media field picture"),
        ({"url": f"{strapi.url}/api"}, "enter its address without /api"),
    ):
        plugin = base.build("strapi", destination.config | changes, strapi.secret)
        [sentence] = plugin.test_connection(session)
        assert words in sentence


def test_wrong_settings_are_refused(strapi: StrapiServer, brand: Any, lead: Any) -> None:
    for config, words in (
        ({"entries": "api/articles"}, "expected a plural API ID"),
        ({"featured_field": "cover.0"}, "expected the name of a field"),
    ):
        with pytest.raises(Invalid, match=words):
            support.create_destination(strapi, brand, lead, "strapi", **config)
    strapi.secret = "two words"
    with pytest.raises(Invalid, match="expected an API token"):
        support.create_destination(strapi, brand, lead, "strapi")
