"""Test the destination "http" over a real socket: the YAML of the documentation, and other APIs, bodies and logins."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from campaigns.models import Subject
from core.errors import Invalid
from review.choices import ObservedState
from review.models import Delivery, Destination, ReviewTask
from review.services import deliveries, destinations
from review.services.delivery_sessions import open_session
from tests.support import site_deliveries as support
from tests.support.cms_server import CmsServer, serving
from tests.support.marked_images import without_marks
from tests.support.site_deliveries import approve, delivery, finish, our_media, plan, revoke, textured
from tests.support.troubled_server import Trouble

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[[int], Callable[[], None]]
PAGE = Path(__file__).parents[2] / "docs" / "http-templates.md"
STRAPI = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
DRIVE = """
headers: {Authorization: "Basic {secret.basic}"}
upload:
  method: PUT
  url: "/drive/{file.name}"
  raw: "{file}"
delete:
  method: DELETE
  url: "/drive/{file.name}"
read:
  method: GET
  url: "/drive/{file.name}"
"""
ITEMS = """
headers: {Authorization: "Bearer {secret}"}
upload:
  method: POST
  url: /items
  json: {name: "{file.name}", data: "{file.base64}", title: "{title}", alt: "{alt_text}", width: "{file.width}", n: [1]}
  answer: {id: /item/key, address: "/uploads/{id}_{file.name}"}
find:
  method: GET
  url: /items
  query: {name: "{file.name}"}
  answer: {items: /items, match: {/name: "{file.name}"}, id: /key}
update:
  method: PATCH
  url: "/items/{id}"
  json: {title: "{title}", alt: "{alt_text}"}
delete:
  method: DELETE
  url: "/items/{id}"
"""
UPLOAD_ONLY = ITEMS[: ITEMS.index("find:")]
TEMPLATES = {"strapi": STRAPI, "drive": DRIVE, "items": ITEMS}


@pytest.fixture
def cms(settings: Any) -> Iterator[CmsServer]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    with serving() as running:
        yield running


def connect(cms: CmsServer, brand: Any, lead: Any, template: str = STRAPI) -> Destination:
    return support.create_destination(cms, brand, lead, "http", template=template)


@pytest.fixture
def destination(cms: CmsServer, brand: Any, lead: Any) -> Destination:
    return connect(cms, brand, lead)


@pytest.fixture
def task(brand: Any) -> ReviewTask:
    return support.create_task(brand, textured(1), key="MUG-1", handle="blue-mug")


# -- push, recall, restore --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("restores", [False, True])
def test_an_image_is_served_and_after_a_recall_only_theirs_is(
    cms: CmsServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask, name: str, restores: bool
) -> None:
    connect(cms, brand, lead, TEMPLATES[name])
    theirs = cms.add_media()
    approve(task, reviewer)
    finish()
    assert cms.count(textured(1)) == 1
    [report] = delivery().verification
    assert report["outcome"] == "same"
    [entry] = delivery().files
    media = cms.media[our_media(cms, textured(1))[0]]
    assert entry["stored_name"] == media.name and f"-{task.asset_id}-" in media.name
    assert entry["url"] == ("" if name == "drive" else f"{cms.url}{media.path}")
    revoke(task, lead, restores=restores)
    finish()
    assert list(cms.media) == [theirs] and cms.serve(media.path) is None
    assert delivery().observed == ObservedState.ABSENT


def test_title_alternative_text_and_type_arrive_as_the_template_says(
    cms: CmsServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask
) -> None:
    connect(cms, brand, lead, ITEMS)
    approve(task, reviewer)
    Delivery.objects.update(alt_text='A "blue" mug\nin use')
    finish()
    [media] = cms.media.values()
    assert (media.title, media.alt_text) == (task.asset.subject.name, 'A "blue" mug\nin use')
    sent = json.loads(cms.bodies[0])
    assert sent["width"] == 64 and sent["n"] == [1], "a number that is a whole text stays a number"
    assert without_marks(base64.b64decode(sent["data"])) == textured(1)


def test_a_changed_alternative_text_is_sent_without_another_upload(
    cms: CmsServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask
) -> None:
    connect(cms, brand, lead, ITEMS)
    approve(task, reviewer)
    finish()
    for text in ("Two mugs", "Three mugs", "Two mugs"):
        Delivery.objects.update(alt_text=text, observed=ObservedState.FAILED)
        Delivery.objects.all().make_due()
        finish()
        assert [media.alt_text for media in cms.media.values()] == [text]
    assert cms.requests.count(("POST", "items")) == 1


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_file_that_was_deleted_at_the_service_is_uploaded_again(
    template: str, cms: CmsServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask
) -> None:
    connect(cms, brand, lead, template)
    approve(task, reviewer)
    finish()
    cms.media.clear()
    Delivery.objects.all().make_due()
    finish()
    assert cms.count(textured(1)) == 1


# -- interruptions ----------------------------------------------------------------------------------------------------


def push_of_a_product(cms: CmsServer, brand: Any, reviewer: Any) -> Start:
    def start(number: int) -> Callable[[], None]:
        task = support.create_task(brand, textured(number), key=f"M-{number}")
        approve(task, reviewer)

        def check() -> None:
            assert cms.count(textured(number)) == 1
            [report] = Delivery.objects.get(asset=task.asset_id).verification
            assert report["outcome"] in {"same", "unknown"}, "unknown: the look at what is served was broken"

        return check

    return start


def replacement(cms: CmsServer, brand: Any, reviewer: Any, lead: Any) -> Start:
    def start(number: int) -> Callable[[], None]:
        contents = (textured(2 * number), textured(2 * number + 1))
        task = support.create_task(brand, *contents, key=f"M-{number}")
        approve(task, reviewer)
        finish()
        support.approve_another(task, 2, reviewer, lead)

        def check() -> None:
            assert (cms.count(contents[0]), cms.count(contents[1])) == (0, 1)

        return check

    return start


def removal(cms: CmsServer, brand: Any, reviewer: Any, lead: Any) -> Start:
    def start(number: int) -> Callable[[], None]:
        task = support.create_task(brand, textured(number), key=f"M-{number}")
        approve(task, reviewer)
        finish()
        revoke(task, lead)

        def check() -> None:
            assert cms.count(textured(number)) == 0
            assert Delivery.objects.get(asset=task.asset_id).observed == ObservedState.ABSENT

        return check

    return start


@pytest.fixture(params=["push", "replacement", "recall"])
def start(request: Any, cms: CmsServer, brand: Any, reviewer: Any, lead: Any) -> Start:
    match request.param:
        case "push":
            return push_of_a_product(cms, brand, reviewer)
        case "replacement":
            return replacement(cms, brand, reviewer, lead)
    return removal(cms, brand, reviewer, lead)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_break_of_any_request_leaves_each_image_once(
    cms: CmsServer, brand: Any, lead: Any, start: Start, name: str
) -> None:
    connect(cms, brand, lead, TEMPLATES[name])
    theirs = cms.add_media()
    assert support.break_each_request(cms, start) >= 6
    assert theirs in cms.media


def test_a_process_that_ends_at_any_point_leaves_each_image_once(
    destination: Destination, start: Start, monkeypatch: Any
) -> None:
    assert support.kill_at_each_point(monkeypatch, start) >= 1


def test_an_upload_whose_answer_was_lost_is_found_and_not_sent_again(
    cms: CmsServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    cms.troubles = [Trouble("POST", "api/upload", "lost")]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert delivery().observed == ObservedState.UNCERTAIN
    finish()
    assert cms.requests.count(("POST", "api/upload")) == 1
    assert cms.count(textured(1)) == 1


def test_an_upload_that_was_never_recorded_is_recalled_all_the_same(
    cms: CmsServer, destination: Destination, task: ReviewTask, reviewer: Any, lead: Any
) -> None:
    cms.troubles = [Trouble("POST", "api/upload", "late answer", 504)]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert cms.count(textured(1)) == 1
    revoke(task, lead)
    finish()
    assert cms.media == {}


def test_a_filter_that_the_service_ignores_never_takes_a_strangers_file_for_ours(
    cms: CmsServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask
) -> None:
    connect(cms, brand, lead, STRAPI.replace("filters[name][$eq]", "name"))
    theirs = cms.add_media()
    cms.troubles = [Trouble("POST", "api/upload", "cut")]
    approve(task, reviewer)
    finish()
    assert cms.count(textured(1)) == 1
    revoke(task, lead)
    finish()
    assert list(cms.media) == [theirs]


def test_a_request_that_arrives_after_its_repetition_is_cleaned_up(
    cms: CmsServer, destination: Destination, task: ReviewTask, reviewer: Any
) -> None:
    approve(task, reviewer)
    cms.troubles = [Trouble("POST", "api/upload", "lost")]
    deliveries.attempt_due()
    late = dict(cms.media)
    cms.media.clear()
    upload = cms._upload

    def arrive_late(*given: Any) -> Any:
        cms.media.update(late)
        return upload(*given)

    cms._upload = arrive_late  # type: ignore[method-assign, assignment]
    finish()
    assert cms.requests.count(("POST", "api/upload")) == 2
    assert cms.count(textured(1)) == 1


# -- what a template cannot do ----------------------------------------------------------------------------------------


def test_without_find_and_delete_the_plan_says_what_cannot_be_known(
    cms: CmsServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask
) -> None:
    connect(cms, brand, lead, UPLOAD_ONLY)
    approve(task, reviewer)
    send, inexact, stays = plan()
    assert re.fullmatch(rf"Send \S+-{task.asset_id}-\w+\.jpg \(64 × 48 px\) with POST {cms.url}/items\.", send)
    assert "the file may be there twice" in inexact and "could not be recalled" in stays
    finish()
    revoke(task, lead)
    deliveries.attempt_due()
    assert "Add it, or delete there by hand" in delivery().error
    assert delivery().due_at is None and cms.count(textured(1)) == 1


def test_without_find_a_recall_says_that_it_cannot_know_of_an_uncertain_upload(
    cms: CmsServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask
) -> None:
    connect(cms, brand, lead, UPLOAD_ONLY + 'delete: {method: DELETE, url: "/items/{id}"}')
    cms.troubles = [Trouble("POST", "items", "lost")]
    approve(task, reviewer)
    deliveries.attempt_due()
    revoke(task, lead)
    deliveries.attempt_due()
    assert "It is unknown whether" in delivery().error and delivery().observed == ObservedState.FAILED
    changed = {"url": cms.url, "allow_private": True, "template": ITEMS}
    destinations.change(destination_id=delivery().destination_id, by=lead, config=changed, secret=cms.secret)
    Delivery.objects.all().make_due()
    finish()
    assert cms.media == {}


# -- hostile values ---------------------------------------------------------------------------------------------------


def test_values_of_a_feed_stay_in_their_places(cms: CmsServer, brand: Any, lead: Any, reviewer: Any) -> None:
    template = ITEMS.replace(
        "url: /items\n", 'url: /items\n  query: {q: "{subject.handle}"}\n  headers: {X-T: "{title}"}\n', 1
    )
    connect(cms, brand, lead, template)
    task = support.create_task(brand, textured(1), key="M/..", handle="a&admin=1#x")
    title = 'x"\r\nX-Admin: 1'
    Subject.objects.filter(pk=task.asset.subject_id).update(name=title)
    approve(task, reviewer)
    finish()
    assert cms.targets[0] == "/items?q=a%26admin%3D1%23x"
    assert cms.headers[0]["x-t"] == "x%22 X-Admin: 1" and "X-Admin" not in cms.headers[0]
    [media] = cms.media.values()
    assert media.title == title


@pytest.mark.parametrize(("handle", "words"), [("", "has no value for M-1"), ("..", "which would lead elsewhere")])
def test_a_value_that_would_lead_elsewhere_stops_before_anything_is_sent(
    cms: CmsServer, brand: Any, lead: Any, reviewer: Any, handle: str, words: str
) -> None:
    connect(cms, brand, lead, DRIVE.replace('url: "/drive/{file.name}"', 'url: "/drive/{subject.handle}"', 1))
    approve(support.create_task(brand, textured(1), key="M-1", handle=handle), reviewer)
    deliveries.attempt_due()
    assert words in delivery().error and delivery().due_at is None
    assert cms.requests == []


# -- errors and secrets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "words", "is_final"),
    [
        (Trouble("POST", "api/upload", "answer", 413, body='{"error": {"message": "FileTooBig"}}'), "FileTooBig", True),
        (Trouble("POST", "api/upload", "answer", 429), "answered 429", False),
        (Trouble("POST", "api/upload", "answer", 202, body="{}"), "expected 200 or 201", False),
        (Trouble("POST", "api/upload", "late answer", 201, body="[]"), "has nothing at /0/id", True),
        (Trouble("POST", "api/upload", "late answer", 200, body="<html>"), "has nothing at /0/id", True),
        (Trouble("POST", "api/upload", "late answer", 504), "answered 504", False),
    ],
)
def test_an_error_answer_is_told_in_words_and_a_retry_delivers_once(
    cms: CmsServer,
    destination: Destination,
    task: ReviewTask,
    reviewer: Any,
    trouble: Trouble,
    words: str,
    is_final: bool,
) -> None:
    cms.troubles = [trouble]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert words in delivery().error
    assert (delivery().due_at is None) == is_final
    Delivery.objects.all().make_due()
    finish()
    assert cms.count(textured(1)) == 1


def test_the_secret_is_in_no_error_although_the_service_repeats_it(
    cms: CmsServer, brand: Any, lead: Any, reviewer: Any, task: ReviewTask
) -> None:
    template = DRIVE.replace("/drive/{file.name}", "/hook/{secret}/{file.name}").replace("headers:", "#")
    template = 'headers: {Authorization: "Bearer {secret}x"}\n' + template
    connect(cms, brand, lead, template)
    approve(task, reviewer)
    deliveries.attempt_due()
    plugin = destinations.build_plugin(delivery().destination)
    words = [delivery().error, *plan(), *plugin.test_connection(open_session(delivery()))]
    assert "invalid credentials" in words[0] and f"{cms.url}/hook/…/" in words[1]
    for word in ("s3cret", "tok", base64.b64encode(cms.secret.encode()).decode()):
        assert word not in " ".join(words)
    assert cms.secret not in str(list(delivery().steps.values()))


def test_the_connection_test_says_what_the_service_says(
    cms: CmsServer, destination: Destination, brand: Any, lead: Any
) -> None:
    plugin = destinations.build_plugin(destination)
    session: Any = None
    assert plugin.test_connection(session) == []
    cms.rights -= {"find"}
    [sentence] = plugin.test_connection(session)
    assert "answered 403: Forbidden" in sentence


def test_whoever_changes_the_template_enters_the_secret_again(
    cms: CmsServer, destination: Destination, lead: Any
) -> None:
    config = destination.config | {"template": STRAPI.replace("/api/upload", "https://evil.example/api/upload", 1)}
    with pytest.raises(Invalid, match="Enter the keys again: template changed"):
        destinations.change(destination_id=destination.pk, by=lead, config=config)


def test_the_form_saves_another_name_without_the_secret_and_names_mistakes_in_their_order(
    cms: CmsServer, destination: Destination, lead: Any, page_client: Any
) -> None:
    client = page_client(lead)
    address = reverse("destination", args=[destination.brand.slug, destination.pk])
    given = {
        "name": "Our CMS",
        "setting_url": cms.url,
        "setting_allow_private": "true",
        "setting_template": STRAPI.replace("\n", "\r\n"),  # as browsers send it
    }
    assert client.post(address, given).status_code == 302
    stored = Destination.objects.get()
    assert (stored.name, stored.config, stored.secret) == ("Our CMS", destination.config, cms.secret)
    wrong = STRAPI.replace("find:", "fnd:").replace("method: DELETE", "method: DEL")
    page = client.post(address, given | {"setting_template": wrong, "secret": cms.secret})
    assert page.status_code == 422
    assert "“fnd” (line 16): It is not known. Did you mean “find”? “delete → method” (line 27)" in page.content.decode()


def test_an_address_of_the_private_network_is_not_asked(brand: Any, lead: Any) -> None:
    template = STRAPI.replace("url: /api/upload\n", "url: http://169.254.169.254/latest\n")
    for url, words in (("https://10.0.0.1", "not a public address"), ("https://cms.example.com", "begins with http:")):
        with pytest.raises(Invalid, match=words):
            destinations.create(
                brand=brand,
                by=lead,
                slug="h",
                name="H",
                kind="http",
                secret="t",
                config={"url": url, "template": template},
            )
