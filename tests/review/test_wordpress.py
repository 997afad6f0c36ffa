"""Test the destination "wordpress" over a real socket: the media library, and featured images of posts and pages."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.errors import Invalid
from review.choices import ObservedState
from review.models import Delivery, Destination, ReviewTask
from review.services import deliveries, destinations, packages
from tests.support import site_deliveries as support
from tests.support.marked_images import without_marks
from tests.support.site_deliveries import approve, delivery, finish, make_due, our_media, plan, revoke, textured
from tests.support.wordpress_server import Trouble, WordPressServer, draw, serving

pytestmark = pytest.mark.django_db(transaction=True)

UPLOADS = ("POST", "wp/v2/media")


@pytest.fixture
def site(settings: Any) -> Iterator[WordPressServer]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    with serving() as running:
        yield running


@pytest.fixture
def destination(site: WordPressServer, brand: Any, lead: Any) -> Destination:
    return support.create_destination(site, brand, lead, "wordpress")


@pytest.fixture
def article(brand: Any) -> ReviewTask:
    return support.create_task(brand, textured(1), key="spring-mugs", kind="article")


# -- articles ---------------------------------------------------------------------------------------------------------


def test_an_articles_image_becomes_the_featured_image_of_its_post(
    site: WordPressServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    post = site.add_entry("posts", "spring-mugs", featured=site.add_media())
    approve(article, reviewer)
    sentences = plan()
    assert re.search(rf"-{article.asset_id}-\w{{8}}\.jpg to the media library\.$", sentences[0])
    assert "in place of image" in sentences[1]
    finish()
    [ours] = our_media(site, textured(1))
    assert site.entries["posts"][post]["featured_media"] == ours
    media, marked = site.media[ours], article.asset.versions.get().renditions.get().marked_files.get()
    assert media.name.endswith(f"-{article.asset_id}-{marked.sha256[:8]}.jpg")
    assert media.name.isascii() and media.name == media.name.lower()
    assert media.title == packages.build_package(delivery()).files[0].name.removesuffix(".jpg")
    assert media.alt_text == article.asset.subject.name
    assert site.checked_hashes == 1
    [entry] = delivery().files
    assert (entry["id"], entry["url"]) == (str(ours), f"{site.url}/wp-content/uploads/2026/11/{media.name}")
    assert [report["outcome"] for report in delivery().verification] == ["same"]


@pytest.mark.parametrize(
    ("how", "attributes"),
    [
        ("slug", {"slug": "about-us"}),
        ("url", {"url": "https://www.example.com/company/about-us/"}),
        ("url", {"link": "https://example.com/?page_id={page}"}),
        ("id", {"post_id": "{page}"}),
    ],
)
def test_an_entry_is_found_by_slug_url_or_id(
    site: WordPressServer, brand: Any, lead: Any, reviewer: Any, how: str, attributes: dict[str, str]
) -> None:
    support.create_destination(site, brand, lead, "wordpress", find_by=how)
    page = site.add_entry("pages", "about-us", path="/company/about-us/", status="draft")
    values = {name: value.format(page=page) for name, value in attributes.items()}
    approve(support.create_task(brand, textured(1), key="about", kind="article", **values), reviewer)
    finish()
    assert [site.entries["pages"][page]["featured_media"]] == our_media(site, textured(1))


def test_an_entry_that_is_missing_or_ambiguous_stops_before_anything_is_uploaded(
    site: WordPressServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    approve(article, reviewer)
    deliveries.attempt_due()
    assert "no entry of posts or pages with the slug spring-mugs" in delivery().error
    assert delivery().due_at is None
    site.add_entry("posts", "spring-mugs")
    site.add_entry("pages", "spring-mugs")
    Delivery.objects.all().make_due()
    deliveries.attempt_due()
    assert "2 entries have the slug spring-mugs" in delivery().error
    assert UPLOADS not in site.requests


def test_an_image_of_a_product_is_only_added_to_the_media_library(
    site: WordPressServer, destination: Destination, brand: Any, reviewer: Any, lead: Any
) -> None:
    site.add_entry("posts", "mug-1")
    task = support.create_task(brand, textured(1), key="mug-1")
    approve(task, reviewer)
    finish()
    assert len(our_media(site, textured(1))) == 1
    assert {entry["featured_media"] for entry in site.entries["posts"].values()} == {0}
    revoke(task, lead)
    finish()
    assert site.media == {}


# -- interruptions ----------------------------------------------------------------------------------------------------

Start = Callable[[int], Callable[[], None]]


def push_of_an_article(site: WordPressServer, brand: Any, reviewer: Any) -> Start:
    def start(number: int) -> Callable[[], None]:
        slug, content = f"post-{number}", textured(number)
        post = site.add_entry("posts", slug, featured=site.add_media())
        task = support.create_task(brand, content, key=slug, kind="article")
        approve(task, reviewer)

        def check() -> None:
            [ours] = our_media(site, content)
            assert site.entries["posts"][post]["featured_media"] == ours
            assert site.media[ours].has_sizes and site.media[ours].alt_text
            outcomes = [report["outcome"] for report in Delivery.objects.get(asset=task.asset_id).verification]
            assert outcomes == ["same"]

        return check

    return start


def replacement(site: WordPressServer, brand: Any, reviewer: Any, lead: Any) -> Start:
    def start(number: int) -> Callable[[], None]:
        slug, contents = f"post-{number}", (textured(2 * number), textured(2 * number + 1))
        theirs = site.add_media()
        post = site.add_entry("posts", slug, featured=theirs)
        task = support.create_task(brand, *contents, key=slug, kind="article")
        approve(task, reviewer)
        finish()
        support.approve_another(task, 2, reviewer, lead)

        def check() -> None:
            assert our_media(site, contents[0]) == []
            assert [site.entries["posts"][post]["featured_media"]] == our_media(site, contents[1])
            before = Delivery.objects.get(asset=task.asset_id).before
            assert before == {"entry": f"posts/{post}", "featured": theirs}

        return check

    return start


def removal(site: WordPressServer, brand: Any, reviewer: Any, lead: Any, *, restores: bool) -> Start:
    def start(number: int) -> Callable[[], None]:
        slug, content = f"post-{number}", textured(number)
        theirs = site.add_media()
        post = site.add_entry("posts", slug, featured=theirs)
        task = support.create_task(brand, content, key=slug, kind="article")
        approve(task, reviewer)
        finish()
        address = Delivery.objects.get(asset=task.asset_id).files[0]["url"]
        revoke(task, lead, restores=restores)

        def check() -> None:
            assert our_media(site, content) == []
            assert theirs in site.media
            assert site.entries["posts"][post]["featured_media"] == (theirs if restores else 0)
            assert site.serve_file(address.removeprefix(site.url)) is None
            assert Delivery.objects.get(asset=task.asset_id).observed == ObservedState.ABSENT

        return check

    return start


@pytest.fixture(params=["push", "replacement", "recall", "restore"])
def start(request: Any, site: WordPressServer, destination: Destination, brand: Any, reviewer: Any, lead: Any) -> Start:
    match request.param:
        case "push":
            return push_of_an_article(site, brand, reviewer)
        case "replacement":
            return replacement(site, brand, reviewer, lead)
        case _:
            return removal(site, brand, reviewer, lead, restores=request.param == "restore")


def test_a_break_of_any_request_leaves_each_image_once(site: WordPressServer, start: Start) -> None:
    assert support.break_each_request(site, start) > 9


def test_a_process_that_ends_at_any_point_leaves_each_image_once(start: Start, monkeypatch: Any) -> None:
    assert support.kill_at_each_point(monkeypatch, start) >= 1


def test_an_upload_whose_answer_was_lost_is_found_by_its_name_and_not_sent_again(
    site: WordPressServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    site.add_entry("posts", "spring-mugs")
    site.troubles = [Trouble(*UPLOADS, "lost")]
    approve(article, reviewer)
    deliveries.attempt_due()
    assert delivery().observed == ObservedState.UNCERTAIN
    [ours] = our_media(site, textured(1))
    site.media[ours].content = textured(9)  # an image optimiser of the site wrote it anew
    finish()
    assert site.requests.count(UPLOADS) == 1
    assert list(site.media) == [ours]


def test_an_upload_that_was_never_recorded_is_recalled_all_the_same(
    site: WordPressServer, destination: Destination, article: ReviewTask, reviewer: Any, lead: Any
) -> None:
    site.add_entry("posts", "spring-mugs")
    site.troubles = [Trouble(*UPLOADS, "lost")]
    approve(article, reviewer)
    deliveries.attempt_due()
    assert len(site.media) == 1
    revoke(article, lead)
    finish()
    assert site.media == {}


def test_a_late_upload_that_made_a_second_file_is_cleaned_up(
    site: WordPressServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    """The first upload is still under way when it is looked up, and arrives just before the second one."""
    site.add_entry("posts", "spring-mugs")
    approve(article, reviewer)
    site.troubles = [Trouble(*UPLOADS, "lost")]
    deliveries.attempt_due()
    [(number, media)] = site.media.items()
    site.media.clear()
    search = site._search

    def search_then_arrive(query: dict[str, str]) -> Any:
        media_found = search(query)
        site.media[number] = media
        return media_found

    site._search = search_then_arrive  # type: ignore[method-assign]
    finish()
    assert site.requests.count(UPLOADS) == 2
    [ours] = site.media.values()
    assert ours.id == number
    assert ours.name.endswith(".jpg") and f"-{article.asset_id}-" in ours.name, (
        "the oldest stays: another worker may have recorded it"
    )


def test_sizes_that_an_interrupted_upload_left_out_are_made(
    site: WordPressServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    site.add_entry("posts", "spring-mugs")
    site.troubles = [Trouble(*UPLOADS, "no sizes")]
    approve(article, reviewer)
    finish()
    assert [media.has_sizes for media in site.media.values()] == [True]
    assert site.requests.count(UPLOADS) == 1


# -- recall and restore -----------------------------------------------------------------------------------------------


def test_a_restore_leaves_an_image_that_somebody_chose_since(
    site: WordPressServer, destination: Destination, article: ReviewTask, reviewer: Any, lead: Any
) -> None:
    post = site.add_entry("posts", "spring-mugs", featured=site.add_media())
    approve(article, reviewer)
    finish()
    chosen = site.entries["posts"][post]["featured_media"] = site.add_media("chosen.jpg")
    revoke(article, lead, restores=True)
    finish()
    assert site.entries["posts"][post]["featured_media"] == chosen
    assert our_media(site, textured(1)) == []


def test_a_file_that_was_deleted_at_the_site_is_no_obstacle(
    site: WordPressServer, destination: Destination, article: ReviewTask, reviewer: Any, lead: Any
) -> None:
    site.add_entry("posts", "spring-mugs")
    approve(article, reviewer)
    finish()
    site.media.clear()
    revoke(article, lead)
    finish()
    assert delivery().observed == ObservedState.ABSENT


def test_a_site_that_is_down_does_not_count_as_a_deleted_file(
    site: WordPressServer, destination: Destination, article: ReviewTask, reviewer: Any, lead: Any
) -> None:
    site.add_entry("posts", "spring-mugs")
    approve(article, reviewer)
    finish()
    revoke(article, lead)
    site.has_pretty_links = False
    make_due()
    deliveries.attempt_due()
    assert delivery().observed == ObservedState.FAILED
    site.has_pretty_links = True
    Delivery.objects.all().make_due()
    finish()
    assert site.media == {}


# -- files and texts --------------------------------------------------------------------------------------------------


def test_a_large_image_is_served_as_a_smaller_copy_and_the_plan_says_so(
    site: WordPressServer, destination: Destination, article: ReviewTask, reviewer: Any, lead: Any
) -> None:
    site.add_entry("posts", "spring-mugs")
    content = draw(3000, 2000, seed=5)
    support.replace_file(article.asset.versions.get().renditions.get(), content, 3000, 2000)
    approve(article, reviewer)
    assert any("2560 px" in sentence and "“-scaled”" in sentence for sentence in plan())
    finish()
    [entry] = delivery().files
    assert entry["url"].endswith("-scaled.jpg")
    original = site.serve_file(entry["original_url"].removeprefix(site.url))
    assert without_marks(original or b"") == content
    assert [(report["outcome"], report["marks"]) for report in delivery().verification] == [("alike", "lost")]
    site.troubles = [Trouble("DELETE", "wp/v2/media/.*", "lost")]
    revoke(article, lead)
    finish()
    assert site.media == {}


def test_another_alternative_text_is_sent_without_another_upload(
    site: WordPressServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    site.add_entry("posts", "spring-mugs")
    approve(article, reviewer)
    finish()
    for text in ("Two mugs", "Three mugs", "Two mugs"):
        Delivery.objects.update(alt_text=text, observed=ObservedState.FAILED)
        Delivery.objects.all().make_due()
        finish()
        assert [media.alt_text for media in site.media.values()] == [text]
    assert site.requests.count(UPLOADS) == 1


# -- errors -----------------------------------------------------------------------------------------------------------


def refusal(status: int, code: str, message: str = "Sorry.") -> Trouble:
    return Trouble(*UPLOADS, "answer", status, body=json.dumps({"code": code, "message": message}))


@pytest.mark.parametrize(
    ("trouble", "words", "is_final"),
    [
        (Trouble(*UPLOADS, "answer", 413), "takes no files of this size", True),
        (refusal(400, "rest_upload_no_data", "No data supplied."), "takes no files of this size", True),
        (refusal(500, "rest_upload_sideload_error", "this file type is not allowed"), "this file type", True),
        (refusal(403, "rest_cannot_create"), "such as Editor", True),
        (refusal(401, "incorrect_password"), "application password", True),
        (refusal(412, "rest_upload_hash_mismatch"), "arrived damaged", False),
        (Trouble(*UPLOADS, "answer", 429, {"Retry-After": "90"}), "answered 429", False),
    ],
)
def test_a_refused_upload_says_why_and_counts_as_not_made(
    site: WordPressServer,
    destination: Destination,
    article: ReviewTask,
    reviewer: Any,
    trouble: Trouble,
    words: str,
    is_final: bool,
) -> None:
    site.add_entry("posts", "spring-mugs")
    site.troubles = [trouble]
    approve(article, reviewer)
    deliveries.attempt_due()
    assert words in delivery().error
    assert (delivery().observed, delivery().due_at is None) == (ObservedState.FAILED, is_final)
    Delivery.objects.all().make_due()
    finish()
    assert len(our_media(site, textured(1))) == 1


def test_the_hash_is_sent_in_the_form_that_wordpress_compares(
    site: WordPressServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    site.add_entry("posts", "spring-mugs")
    approve(article, reviewer)
    finish()
    assert site.checked_hashes == 1
    assert hashlib.sha256(next(iter(site.media.values())).content).hexdigest() == delivery().files[0]["sha256"]


def test_the_connection_test_says_which_right_is_missing(site: WordPressServer, destination: Destination) -> None:
    plugin = destinations.build_plugin(destination)
    session: Any = None
    assert plugin.test_connection(session) == []
    site.rights -= {"upload_files", "delete_posts", "edit_others_pages"}
    assert plugin.test_connection(session) == [
        "The user editor may not upload files: give it the role Editor.",
        "The user editor may not delete files, so nothing could be recalled: give it the role Editor.",
        "The user editor may not edit all pages: give it the role Editor.",
    ]
    site.password = "changed"
    [sentence] = plugin.test_connection(session)
    assert "invalid application password" in sentence and "Users → Profile" in sentence
    site.has_pretty_links = False
    [sentence] = plugin.test_connection(session)
    assert "switch “Plain permalinks” on" in sentence


def test_a_site_with_plain_permalinks_is_asked_by_rest_route(
    site: WordPressServer, brand: Any, lead: Any, reviewer: Any, article: ReviewTask
) -> None:
    site.has_pretty_links = False
    support.create_destination(site, brand, lead, "wordpress", plain_links=True)
    post = site.add_entry("posts", "spring-mugs")
    approve(article, reviewer)
    finish()
    assert [site.entries["posts"][post]["featured_media"]] == our_media(site, textured(1))


def test_a_secret_without_a_user_name_is_refused(site: WordPressServer, brand: Any, lead: Any) -> None:
    with pytest.raises(Invalid, match="expected user name and application password"):
        destinations.create(
            brand=brand,
            by=lead,
            slug="w",
            name="W",
            kind="wordpress",
            config={"url": site.url, "allow_private": True},
            secret="abcd efgh",
        )
