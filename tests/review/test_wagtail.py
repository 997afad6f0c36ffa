"""Test the destination "wagtail" against a real Wagtail 8: its image library, and the images of its pages."""

from __future__ import annotations

import re
from typing import Any

import pytest

from core import stored_files
from generation.models import MarkedFile, Rendition
from review.choices import ObservedState
from review.delivery import base
from review.models import Delivery, Destination, ReviewTask
from review.services import deliveries, destinations, packages
from review.services.delivery_sessions import open_session
from tests.support import site_deliveries as support
from tests.support.marked_images import read_marked, without_marks
from tests.support.site_deliveries import approve, finish, revoke, textured
from tests.support.troubled_proxy import Trouble, TroubledProxy
from tests.support.wagtail_deliveries import UPLOADS, create_article, create_destination, delivery, slug_of
from tests.support.wagtail_server import WagtailServer, new_slug

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def destination(wagtail: WagtailServer, proxy: TroubledProxy, brand: Any, lead: Any) -> Destination:
    return create_destination(wagtail, proxy, brand, lead)


@pytest.fixture
def article(brand: Any) -> ReviewTask:
    return create_article(brand)


def plan() -> list[str]:
    given = delivery()
    return destinations.build_plugin(given.destination).plan(packages.build_package(given), open_session(given))


def last_message() -> str:
    return str(delivery().attempt_rows.order_by("-number").values_list("message", flat=True)[0])


def try_again() -> None:
    Delivery.objects.all().make_due()
    finish()


# -- images and pages -------------------------------------------------------------------------------------------------


def test_an_articles_image_is_shown_by_its_page(
    wagtail: WagtailServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    theirs = wagtail.add_image(textured(9))
    page = wagtail.add_page(slug_of(article), image=theirs)
    approve(article, reviewer)
    sentences = plan()
    assert re.search(rf"-{article.asset_id}-\w{{8}}\.jpg to the media library\.$", sentences[0])
    assert sentences[1].endswith(f"(pages/{page}), in place of image {theirs}.")
    finish()
    [ours] = wagtail.find(textured(1))
    image, sent = wagtail.images()[ours], packages.build_package(delivery()).files[0]
    assert wagtail.featured(page) == ours
    assert image["meta"]["download_url"] in wagtail.read_page(page)
    assert image["meta"]["download_url"].endswith(f"-{article.asset_id}-{sent.sha256[:8]}.jpg")
    assert image["title"] == sent.name.removesuffix(".jpg")
    assert image["description"] == article.asset.subject.name
    assert image["collection"]["id"] == wagtail.collection
    assert [report["outcome"] for report in delivery().verification] == ["same"]


@pytest.mark.parametrize(
    ("how", "attributes"),
    [
        ("slug", {"slug": "{slug}"}),
        ("url", {"url": "https://www.example.com/{slug}/"}),
        ("id", {"page_id": "{page}"}),
    ],
)
def test_a_page_is_found_by_slug_url_or_id(
    wagtail: WagtailServer,
    proxy: TroubledProxy,
    brand: Any,
    lead: Any,
    reviewer: Any,
    how: str,
    attributes: dict[str, str],
) -> None:
    create_destination(wagtail, proxy, brand, lead, find_by=how, page_type="journal.Article")
    slug = new_slug()
    page = wagtail.add_page(slug)
    values = {name: value.format(page=page, slug=slug) for name, value in attributes.items()}
    approve(support.create_task(brand, textured(1), key="about", kind="article", **values), reviewer)
    finish()
    assert [wagtail.featured(page)] == wagtail.find(textured(1))


def test_an_image_of_a_product_is_only_added_to_the_library_and_recalled_from_it(
    wagtail: WagtailServer, destination: Destination, brand: Any, reviewer: Any, lead: Any
) -> None:
    task = support.create_task(brand, textured(1), key=new_slug())
    page = wagtail.add_page(slug_of(task))
    approve(task, reviewer)
    finish()
    [image] = wagtail.images().values()
    assert without_marks(wagtail.read_file(image)) == textured(1)
    assert wagtail.featured(page) == 0
    revoke(task, lead)
    finish()
    assert wagtail.images() == {}
    assert wagtail.read_file(image) is None
    assert delivery().observed == ObservedState.ABSENT


def test_a_second_delivery_of_the_same_files_changes_nothing(
    wagtail: WagtailServer, proxy: TroubledProxy, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    page = wagtail.add_page(slug_of(article))
    approve(article, reviewer)
    finish()
    before, sent = wagtail.images(), len(proxy.requests)
    Delivery.objects.update(observed=ObservedState.FAILED)
    try_again()
    assert {method for method, _path in proxy.requests[sent:]} == {"GET"}
    assert wagtail.images() == before
    assert wagtail.featured(page) in before


def test_another_alternative_text_is_sent_without_another_upload(
    wagtail: WagtailServer, proxy: TroubledProxy, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    wagtail.add_page(slug_of(article))
    approve(article, reviewer)
    finish()
    for text in ("Two mugs", "Drei Krüge"):
        Delivery.objects.update(alt_text=text, observed=ObservedState.FAILED)
        try_again()
        assert [image["description"] for image in wagtail.images().values()] == [text]
    assert proxy.requests.count(UPLOADS) == 1


def test_a_page_that_is_missing_or_ambiguous_stops_before_anything_is_uploaded(
    wagtail: WagtailServer, proxy: TroubledProxy, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    approve(article, reviewer)
    deliveries.attempt_due()
    assert f"may edit with the slug {slug_of(article)}. Create it there" in delivery().error
    assert delivery().due_at is None
    wagtail.add_page(slug_of(article), parent=wagtail.add_page(slug_of(article)))
    Delivery.objects.all().make_due()
    deliveries.attempt_due()
    assert f"2 entries have the slug {slug_of(article)}" in delivery().error
    assert UPLOADS not in proxy.requests


def test_the_draft_of_a_page_that_is_not_public_gets_the_image(
    wagtail: WagtailServer, destination: Destination, article: ReviewTask, reviewer: Any
) -> None:
    page = wagtail.add_page(slug_of(article), is_published=False)
    approve(article, reviewer)
    finish()
    assert [wagtail.featured(page, "draft")] == wagtail.find(textured(1))
    assert "is not public: the image waits in its draft" in last_message()
    assert wagtail.read_page(page).count("<h1>Not Found</h1>") == 1


def test_an_editors_unpublished_changes_are_never_published_by_a_delivery(
    wagtail: WagtailServer,
    proxy: TroubledProxy,
    destination: Destination,
    article: ReviewTask,
    reviewer: Any,
    lead: Any,
) -> None:
    theirs = wagtail.add_image(textured(9))
    page = wagtail.add_page(slug_of(article), image=theirs)
    wagtail.change_page(page, body="<p>Half a sentence</p>")
    approve(article, reviewer)
    deliveries.attempt_due()
    assert "has changes that nobody has published" in delivery().error
    assert UPLOADS not in proxy.requests
    wagtail.call("POST", f"pages/{page}/actions/publish/")
    try_again()
    assert [wagtail.featured(page)] == wagtail.find(textured(1))
    wagtail.change_page(page, body="<p>Another half</p>")
    revoke(article, lead, restores=True)
    finish()
    assert "is back in the draft of the page" in last_message()
    assert (wagtail.featured(page), wagtail.featured(page, "draft")) == (0, theirs)
    assert "Another half" not in wagtail.read_page(page)
    assert wagtail.find(textured(1)) == []


def test_a_destination_that_does_not_publish_leaves_that_to_editors(
    wagtail: WagtailServer, proxy: TroubledProxy, brand: Any, lead: Any, article: ReviewTask, reviewer: Any
) -> None:
    create_destination(wagtail, proxy, brand, lead, user="contributor", publishes=False)
    page = wagtail.add_page(slug_of(article))
    approve(article, reviewer)
    finish()
    assert "waits in the draft" in last_message()
    assert (wagtail.featured(page), [wagtail.featured(page, "draft")]) == (0, wagtail.find(textured(1)))


# -- recall and restore -----------------------------------------------------------------------------------------------


def test_a_restore_leaves_an_image_that_somebody_chose_since(
    wagtail: WagtailServer, destination: Destination, article: ReviewTask, reviewer: Any, lead: Any
) -> None:
    page = wagtail.add_page(slug_of(article), image=wagtail.add_image(textured(8)))
    approve(article, reviewer)
    finish()
    chosen = wagtail.add_image(textured(9))
    wagtail.call("PATCH", f"pages/{page}/", json={"featured_image_id": chosen, "meta": {"action": "publish"}})
    revoke(article, lead, restores=True)
    finish()
    assert wagtail.featured(page) == chosen
    assert "somebody has chosen another" in last_message()
    assert wagtail.find(textured(1)) == []


def test_what_was_deleted_at_the_site_is_no_obstacle_to_a_recall(
    wagtail: WagtailServer, destination: Destination, article: ReviewTask, reviewer: Any, lead: Any
) -> None:
    page = wagtail.add_page(slug_of(article))
    approve(article, reviewer)
    finish()
    wagtail.clear()
    wagtail.call("DELETE", f"pages/{page}/")
    revoke(article, lead)
    finish()
    assert delivery().observed == ObservedState.ABSENT


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words", "is_final"),
    [(413, "takes no files of this size", True), (429, "answered 429", False), (403, "Settings → Groups", True)],
)
def test_a_refused_upload_says_why_and_counts_as_not_made(
    wagtail: WagtailServer,
    proxy: TroubledProxy,
    destination: Destination,
    article: ReviewTask,
    reviewer: Any,
    status: int,
    words: str,
    is_final: bool,
) -> None:
    wagtail.add_page(slug_of(article))
    proxy.troubles = [Trouble(*UPLOADS, "answer", status)]
    approve(article, reviewer)
    deliveries.attempt_due()
    assert words in delivery().error
    assert (delivery().observed, delivery().due_at is None) == (ObservedState.FAILED, is_final)
    try_again()
    assert len(wagtail.find(textured(1))) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no image at all", "file: Upload a valid image."),
        (
            textured(1) + bytes(11 * 1024 * 1024),
            "file: This file is too big (11.0\xa0MB).",
        ),
    ],
)
def test_a_file_that_wagtail_refuses_is_named_with_its_reason(
    wagtail: WagtailServer, destination: Destination, brand: Any, reviewer: Any, content: bytes, words: str
) -> None:
    task = support.create_task(brand, textured(1), key=new_slug())
    approve(task, reviewer)
    read_marked(Rendition.objects.get(version__asset=task.asset))
    stored = stored_files.put(content, suffix="jpg")
    MarkedFile.objects.update(sha256=stored.sha256, storage_key=stored.key, bytes=stored.bytes)
    deliveries.attempt_due()
    assert words in delivery().error
    assert (delivery().due_at, wagtail.images()) == (None, {})


def test_a_user_who_may_not_publish_is_told_so_and_nothing_of_it_stays(
    wagtail: WagtailServer, proxy: TroubledProxy, brand: Any, lead: Any, article: ReviewTask, reviewer: Any
) -> None:
    create_destination(wagtail, proxy, brand, lead, user="contributor")
    page = wagtail.add_page(slug_of(article))
    approve(article, reviewer)
    deliveries.attempt_due()
    assert "You do not have permission to publish this page. Give a group" in delivery().error
    assert (wagtail.featured(page), wagtail.featured(page, "draft")) == (0, 0)
    revoke(article, lead)
    finish()
    assert wagtail.images() == {}


def test_a_collection_that_the_user_may_not_use_is_named(
    wagtail: WagtailServer, proxy: TroubledProxy, brand: Any, lead: Any, reviewer: Any
) -> None:
    create_destination(wagtail, proxy, brand, lead, collection=1)
    approve(support.create_task(brand, textured(1), key=new_slug()), reviewer)
    deliveries.attempt_due()
    assert f"may add images to collection {wagtail.collection} only, not to 1" in delivery().error
    assert wagtail.images() == {}


@pytest.mark.parametrize(
    ("user", "config", "words"),
    [
        ("publisher", {}, []),
        ("publisher", {"page_type": "journal.Article"}, []),
        ("contributor", {}, ["may not publish pages"]),
        ("contributor", {"publishes": False}, []),
        ("reader", {}, ["may not add images", "may not delete images", "may edit no page"]),
        ("reader", {"featured_field": ""}, ["may not add images", "may not delete images"]),
        ("publisher", {"page_type": "blog.Nothing"}, ["has no page type blog.Nothing"]),
        ("publisher", {"page_type": "journal.Article", "featured_field": "hero"}, ['APIField("hero", writable=True)']),
        ("admin", {}, ["several collections: enter the number of one"]),
        ("admin", {"collection": 99}, ["There is no collection 99"]),
    ],
)
def test_the_connection_test_says_what_is_missing(
    wagtail: WagtailServer, proxy: TroubledProxy, user: str, config: dict[str, Any], words: list[str]
) -> None:
    plugin = build_plugin(proxy, wagtail.tokens[user], **config)
    problems = plugin.test_connection(NO_SESSION)
    assert len(problems) == len(words), problems
    assert all(expected in problem for expected, problem in zip(words, problems, strict=True))
    assert wagtail.images() == {}


def test_a_wrong_token_and_a_wrong_address_are_told_apart(wagtail: WagtailServer, proxy: TroubledProxy) -> None:
    [sentence] = build_plugin(proxy, "wagtail_wrong").test_connection(NO_SESSION)
    assert "does not know this token" in sentence and "Settings → API tokens" in sentence
    [sentence] = build_plugin(proxy, wagtail.tokens["publisher"], url=proxy.url).test_connection(NO_SESSION)
    assert "There is no Wagtail API v3 at" in sentence


NO_SESSION: Any = None


def build_plugin(proxy: TroubledProxy, token: str, **config: Any) -> Any:
    given = {"url": f"{proxy.url}/api/v3", "allow_private": True, "featured_field": "featured_image"} | config
    return base.build("wagtail", given, token)


def test_settings_that_cannot_be_meant_are_refused() -> None:
    plugin = base.build("wagtail", {"url": "https://x.example", "featured_field": "a b", "page_type": "Blog"}, "a b")
    assert [problem.partition(":")[0] for problem in plugin.validate()] == ["secret", "featured_field", "page_type"]
