"""Tests of feed sources: fetched on a schedule over real sockets, pushed by API, shown on their page."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import django_rq
import pytest
from django.urls import reverse
from django.utils import timezone

from campaigns.choices import ImportStatus, SourceKind
from campaigns.models import FeedImport, FeedSource, Subject
from campaigns.selectors import imports as selectors
from campaigns.services import imports, pushes, sources
from core.errors import Conflict, Invalid, NotAllowed, NotFound
from core.models import Event, Notice
from tests.support.awkward_server import AwkwardServer, Talk, serving
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.django_db(transaction=True)

FEED = b"SKU,Title,Colour\nMUG-1,Mug sage,sage\nMUG-2,Mug clay,clay\n"


@pytest.fixture(autouse=True)
def own_network(settings: Any) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"private_sources": ["127.0.0.2/32"]}


@pytest.fixture
def shop() -> Iterator[AwkwardServer]:
    with serving("127.0.0.2") as server:
        yield server


@pytest.fixture
def source(brand: Any, manager: Any, shop: AwkwardServer) -> FeedSource:
    shop.pages["/feed.csv"] = lambda talk: talk.answer(FEED, content_type="text/csv")
    return sources.create(brand=brand, by=manager, name="Shop feed", kind="url", url=shop.url("/feed.csv?key=secret"))


def fetch_all() -> int:
    count = 0
    while sources.fetch_next():
        count += 1
    return count


def make_due(source: FeedSource) -> None:
    FeedSource.objects.filter(pk=source.pk).update(due_at=timezone.now())


def fetch_again(source: FeedSource) -> FeedSource:
    make_due(source)
    assert fetch_all() == 1
    source.refresh_from_db()
    return source


def test_a_new_source_is_fetched_at_once_and_then_on_its_schedule(brand: Any, source: FeedSource) -> None:
    assert fetch_all() == 1
    source.refresh_from_db()
    assert set(Subject.objects.filter(brand=brand).values_list("key", flat=True)) == {"MUG-1", "MUG-2"}
    done = FeedImport.objects.get(source=source)
    assert (done.status, done.file_name, done.created) == (ImportStatus.APPLIED, "feed.csv", 2)
    assert (source.failures, source.error, source.is_leased) == (0, "", False)
    assert source.due_at is not None
    assert timedelta(hours=23) < source.due_at - timezone.now() <= timedelta(hours=24)
    assert not sources.fetch_next()


def test_a_source_that_becomes_due_wakes_the_io_lane(clean_redis: Any, source: FeedSource, manager: Any) -> None:
    assert django_rq.get_queue("io").count == 1
    clean_redis.flushdb()
    sources.fetch_now(source_id=source.pk, by=manager)
    assert django_rq.get_queue("io").count == 1


def test_the_address_and_its_key_stay_out_of_the_trail(source: FeedSource) -> None:
    event = Event.objects.get(type="campaigns.feed_source.saved")
    assert event.payload["host"] == "127.0.0.2"
    assert "secret" not in json.dumps(event.payload)


def test_a_feed_that_was_not_modified_is_not_sent_and_not_read_again(source: FeedSource, shop: AwkwardServer) -> None:
    def page(talk: Talk) -> None:
        if talk.headers.get("if-none-match") == '"v1"':
            return talk.send(b"HTTP/1.1 304 Not Modified\r\n\r\n")
        return talk.answer(FEED, etag='"v1"')

    shop.pages["/feed.csv"] = page
    fetch_all()
    fetch_again(source)
    assert (len(shop.talks), FeedImport.objects.count(), source.etag) == (2, 1, '"v1"')


def test_the_same_content_is_not_read_again_whatever_the_server_says(source: FeedSource, shop: AwkwardServer) -> None:
    fetch_all()
    fetch_again(source)
    assert (len(shop.talks), FeedImport.objects.count()) == (2, 1)


def test_what_somebody_undid_does_not_come_back_with_the_same_file(source: FeedSource, manager: Any) -> None:
    fetch_all()
    imports.undo(import_id=FeedImport.objects.get().pk, by=manager)
    fetch_again(source)
    assert FeedImport.objects.get().status == ImportStatus.UNDONE


def test_a_changed_feed_changes_the_products(source: FeedSource, shop: AwkwardServer) -> None:
    fetch_all()
    shop.pages["/feed.csv"] = lambda talk: talk.answer(FEED.replace(b"clay\n", b"rust\n"))
    fetch_again(source)
    assert Subject.objects.get(key="MUG-2").attributes["colour"] == "rust"
    assert [feed_import.updated for feed_import in FeedImport.objects.order_by("pk")] == [0, 1]


def test_failures_are_counted_reported_at_the_third_and_retried_less_and_less_often(
    source: FeedSource, shop: AwkwardServer, lead: Any
) -> None:
    shop.pages["/feed.csv"] = lambda talk: talk.answer(b"", "503 Busy")
    waits = []
    for count in range(1, 5):
        fetch_again(source)
        assert (source.failures, "answered 503" in source.error) == (count, True)
        assert source.due_at is not None
        waits.append((source.due_at - timezone.now()).total_seconds())
        event_count = Event.objects.filter(type="campaigns.feed_source.failing").count()
        assert event_count == (0 if count < 3 else 1)
    assert waits == sorted(waits) and waits[0] < 310 and waits[-1] > 2000
    assert Notice.objects.filter(user=lead, kind="feed_source_failing").count() == 1
    shop.pages["/feed.csv"] = lambda talk: talk.answer(FEED)
    fetch_again(source)
    assert (source.failures, source.error) == (0, "")


def test_a_file_with_mistakes_is_refused_reported_at_once_and_not_requested_every_five_minutes(
    source: FeedSource, shop: AwkwardServer
) -> None:
    shop.pages["/feed.csv"] = lambda talk: talk.answer(FEED + b",No key,red\n", etag='"bad"')
    fetch_again(source)
    assert source.error == "The file has 1 mistake, so nothing of it was taken over."
    assert Subject.objects.count() == 0
    assert Event.objects.filter(type="campaigns.feed_source.failing").count() == 1
    assert source.due_at is not None and source.due_at > timezone.now() + timedelta(hours=23)
    fetch_again(source)
    assert source.error and FeedImport.objects.count() == 1, "the same wrong file is still wrong, and not read again"
    shop.pages["/feed.csv"] = lambda talk: talk.answer(FEED)
    fetch_again(source)
    assert (source.error, source.failures, Subject.objects.count()) == ("", 0, 2)


def test_a_sign_in_page_instead_of_a_feed_is_reported_in_words(source: FeedSource, shop: AwkwardServer) -> None:
    shop.pages["/feed.csv"] = lambda talk: talk.answer(b"<!doctype html><p>Sign in", content_type="text/csv")
    fetch_again(source)
    assert "is a web page" in source.error


def test_a_person_who_lost_the_right_no_longer_imports_by_a_source(source: FeedSource, manager: Any) -> None:
    manager.memberships.all().delete()
    fetch_again(source)
    assert "You may not import feed" in source.error
    assert Subject.objects.count() == 0


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/feed.csv", "http://169.254.169.254/", "file:///etc/passwd", "https://a:b@example.com/", ""],
)
def test_addresses_that_are_never_fetched_are_refused_where_they_are_typed(brand: Any, manager: Any, url: str) -> None:
    with pytest.raises(Invalid) as refused:
        sources.create(brand=brand, by=manager, name="Inside", kind="url", url=url)
    assert [problem.pointer for problem in refused.value.problems] == ["url"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [({"name": " "}, "name"), ({"every_minutes": 1}, "every_minutes"), ({"kind": "upload"}, "kind"),
     ({"subject_kind": "cat"}, "subject_kind"), ({"name": "Shop feed"}, "name")],
)  # fmt: skip
def test_odd_sources_are_refused(source: FeedSource, manager: Any, fields: dict[str, Any], pointer: str) -> None:
    good: dict[str, Any] = {"name": "Other", "kind": "url", "url": "https://shop.example.com/feed.csv"}
    with pytest.raises(Invalid) as refused:
        sources.create(brand=source.brand, by=manager, **(good | fields))
    assert pointer in [problem.pointer for problem in refused.value.problems]


def test_a_due_source_is_fetched_by_one_of_many(source: FeedSource) -> None:
    claimed = race_without_errors(*[sources.claim] * 6)
    assert [row for row in claimed if row is not None] == [source]


def test_a_fetch_that_is_running_when_the_address_changes_writes_nothing_down(
    source: FeedSource, manager: Any, shop: AwkwardServer
) -> None:
    shop.pages["/feed.csv"] = lambda talk: talk.answer(b"", "503 Busy")
    claimed = sources.claim()
    assert claimed is not None
    sources.change(source_id=source.pk, by=manager, url=shop.url("/new.csv"))
    sources.fetch(claimed)
    source.refresh_from_db()
    assert (source.failures, source.fetched_at, source.is_leased) == (0, None, False)
    assert sources.claim() == source, "the new address is due"


def test_the_page_shows_since_when_a_source_is_being_fetched(
    source: FeedSource, manager: Any, page_client: Any
) -> None:
    address = reverse("source_state", args=[source.brand.slug, source.slug])
    assert "about to be fetched" in page_client(manager).get(address).content.decode()
    claimed = sources.claim()
    assert claimed is not None and claimed.fetching_since is not None
    assert timedelta(0) <= timezone.now() - claimed.fetching_since < timedelta(minutes=1)
    page = page_client(manager).get(address).content.decode()
    assert "being fetched" in page and "begun now" in page and "about to be fetched" not in page


def test_a_new_address_is_fetched_at_once_and_forgets_what_the_old_one_said(
    source: FeedSource, manager: Any, shop: AwkwardServer
) -> None:
    FeedSource.objects.filter(pk=source.pk).update(etag='"old"', failures=4, error="busy")
    shop.pages["/new.csv"] = lambda talk: talk.answer(FEED)
    changed = sources.change(source_id=source.pk, by=manager, url=shop.url("/new.csv"))
    assert (changed.etag, changed.failures, changed.error) == ("", 0, "")
    fetch_all()
    assert shop.talks[-1].path == "/new.csv" and "if-none-match" not in shop.talks[-1].headers


def test_a_stopped_source_is_left_alone_until_it_is_resumed(source: FeedSource, manager: Any) -> None:
    sources.set_enabled(source_id=source.pk, by=manager, is_enabled=False)
    make_due(source)
    assert not sources.fetch_next()
    with pytest.raises(Conflict, match="stopped"):
        sources.fetch_now(source_id=source.pk, by=manager)
    sources.set_enabled(source_id=source.pk, by=manager, is_enabled=True)
    assert fetch_all() == 1


def test_columns_assigned_in_one_import_count_for_the_source(
    brand: Any, source: FeedSource, manager: Any, shop: AwkwardServer
) -> None:
    odd = b"Nummer,Was,Ton\nMUG-1,Mug sage,sage\n"
    shop.pages["/feed.csv"] = lambda talk: talk.answer(odd)
    fetch_again(source)
    assert source.error
    mapping = {"Nummer": "key", "Was": "name", "Ton": "attribute:colour"}
    mapped = imports.import_feed(
        brand=brand, file=io.BytesIO(odd), file_name="odd.csv", by=manager, mapping=mapping, dry_run=True
    )
    sources.use_mapping_of_import(source_id=source.pk, import_id=mapped.pk, by=manager)
    fetch_again(source)
    assert source.error == ""
    assert Subject.objects.get(key="MUG-1").attributes == {"colour": "sage"}


def test_sources_are_the_brands_own(source: FeedSource, viewer: Any, person: Any, other_brand: Any) -> None:
    stranger = person("lead", brand=other_brand)
    with pytest.raises(NotAllowed):
        sources.fetch_now(source_id=source.pk, by=viewer)
    with pytest.raises(NotFound):
        sources.fetch_now(source_id=source.pk, by=stranger)
    assert selectors.list_sources(source.brand, stranger) == []


# -- pushed -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pushed(brand: Any, manager: Any) -> FeedSource:
    return sources.create(brand=brand, by=manager, name="PIM", kind=SourceKind.PUSH)


def address(source: FeedSource) -> str:
    return reverse("api:source-rows", args=[source.brand.slug, source.slug])


ROWS = [{"sku": "MUG-1", "title": "Mug", "colour": "sage"}, {"sku": "MUG-2", "title": "Cup", "colour": "clay"}]


def test_pushed_rows_become_products_as_a_file_would(pushed: FeedSource, integrator: Any, api_client: Any) -> None:
    answer = api_client(integrator).post(address(pushed), ROWS, format="json")
    assert (answer.status_code, answer.data["status"], answer.data["created"]) == (201, "applied", 2)
    assert Subject.objects.get(key="MUG-2").attributes == {"colour": "clay"}
    assert FeedImport.objects.get().source == pushed
    assert Event.objects.filter(type="campaigns.feed.imported").count() == 1


def test_an_import_wakes_the_io_lane_for_its_photos(pushed: FeedSource, integrator: Any, clean_redis: Any) -> None:
    pushes.push(brand=pushed.brand, source_slug=pushed.slug, rows=ROWS, by=integrator, dry_run=True)
    assert django_rq.get_queue("io").count == 0
    pushes.push(brand=pushed.brand, source_slug=pushed.slug, rows=ROWS, by=integrator)
    assert django_rq.get_queue("io").count == 1


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/jsonl"])
def test_json_lines_are_taken_too(pushed: FeedSource, integrator: Any, api_client: Any, kind: str) -> None:
    lines = "\n".join(json.dumps(row) for row in ROWS) + "\n\n"
    answer = api_client(integrator).post(address(pushed), lines, content_type=kind)
    assert (answer.status_code, answer.data["created"]) == (201, 2)


def test_mistakes_come_back_with_row_and_column_and_nothing_is_written(
    pushed: FeedSource, integrator: Any, api_client: Any
) -> None:
    rows = [*ROWS, {"title": "No key", "colour": "red"}, {"sku": "MUG-1", "title": "Twice", "colour": "x"}]
    answer = api_client(integrator).post(address(pushed), {"rows": rows}, format="json")
    assert answer.status_code == 422
    assert answer["Content-Type"] == "application/problem+json"
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/2/sku", "/3/sku"]
    assert answer.json()["import"] == FeedImport.objects.get().pk
    assert answer.json()["error_count"] == 2
    assert Subject.objects.count() == 0


def test_the_same_key_sends_rows_once(pushed: FeedSource, integrator: Any, api_client: Any) -> None:
    client = api_client(integrator)
    first = client.post(address(pushed), ROWS, format="json", headers={"Idempotency-Key": "night-1"})
    second = client.post(address(pushed), ROWS, format="json", headers={"Idempotency-Key": "night-1"})
    assert second.status_code == first.status_code == 201
    assert second["Idempotency-Replayed"] == "true"
    assert FeedImport.objects.count() == 1
    other = client.post(address(pushed), ROWS[:1], format="json", headers={"Idempotency-Key": "night-1"})
    assert other.status_code == 422


def test_a_dry_run_only_checks(pushed: FeedSource, integrator: Any, api_client: Any) -> None:
    answer = api_client(integrator).post(address(pushed) + "?dry_run=1", ROWS, format="json")
    assert (answer.status_code, answer.data["status"], Subject.objects.count()) == (201, "checked", 0)


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        ("[]", "application/json", 422, "no rows"),
        ('{"rows": 3}', "application/json", 422, "list of rows"),
        ("[1, 2]", "application/json", 422, "no objects"),
        ("[{]", "application/json", 400, "not JSON"),
        ('{"sku": "A"}\n{oops\n', "application/x-ndjson", 422, "Line 2"),
        ("[" + ",".join(['{"sku":"A"}'] * 10_001) + "]", "application/json", 422, "10,001 rows"),
        ("[" * 100_000, "application/json", 400, "nested"),
        ("a,b\n1,2", "text/csv", 415, "text/csv"),
    ],
)
def test_odd_bodies_are_refused_in_words(
    pushed: FeedSource, integrator: Any, api_client: Any, body: str, kind: str, status: int, words: str
) -> None:
    answer = api_client(integrator).post(address(pushed), body, content_type=kind)
    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert FeedImport.objects.count() == 0


def test_rows_are_pushed_only_where_and_by_whom_they_may_be(
    source: FeedSource, pushed: FeedSource, manager: Any, reviewer: Any, person: Any, other_brand: Any, api_client: Any
) -> None:
    stranger = person("integrator", brand=other_brand)
    assert api_client(reviewer).post(address(pushed), ROWS, format="json").status_code == 403
    assert api_client(stranger).post(address(pushed), ROWS, format="json").status_code == 404
    assert api_client(manager).post(address(source), ROWS, format="json").status_code == 409
    sources.set_enabled(source_id=pushed.pk, by=manager, is_enabled=False)
    with pytest.raises(Conflict, match="stopped"):
        pushes.push(brand=pushed.brand, source_slug=pushed.slug, rows=ROWS, by=manager)


# -- pages ------------------------------------------------------------------------------------------------------------


def test_the_page_creates_sources_and_shows_their_state(
    brand: Any, manager: Any, page_client: Any, shop: AwkwardServer
) -> None:
    shop.pages["/feed.csv"] = lambda talk: talk.answer(b"", "503 Busy")
    client = page_client(manager)
    page = reverse("sources", args=[brand.slug])
    assert "No feed comes by itself yet" in client.get(page).content.decode()
    form = {
        "url-name": "Shop",
        "url-url": shop.url("/feed.csv"),
        "url-every_minutes": "60",
        "url-subject_kind": "product",
    }
    made = client.post(page, form, follow=True)
    assert "about to be fetched" in made.content.decode()
    fetch_all()
    shown = client.get(page).content.decode()
    assert "answered 503" in shown and "failing" in shown
    wrong = client.post(page, form | {"url-name": "Inside", "url-url": "http://10.0.0.1/feed.csv"})
    assert wrong.status_code == 422 and "not a public address" in wrong.content.decode()
    pushed = client.post(page, {"push-name": "PIM", "push-subject_kind": "article"}, follow=True)
    assert "/api/v1/brands/" in pushed.content.decode()
    assert FeedSource.objects.get(slug="pim").subject_kind == "article"


def test_the_page_of_one_source_changes_stops_and_fetches_it(
    source: FeedSource, manager: Any, page_client: Any
) -> None:
    client = page_client(manager)
    brand = source.brand.slug
    fetch_all()
    page = reverse("source", args=[brand, source.slug])
    assert "2 new, 0 changed" in client.get(page).content.decode()
    form = {"url-name": "Shop", "url-url": source.url, "url-every_minutes": "10080", "url-subject_kind": "product"}
    assert client.post(page, form).status_code == 302
    for verb in ("fetch", "stop", "resume"):
        assert client.post(reverse("source_act", args=[brand, source.slug, verb])).status_code == 302
    source.refresh_from_db()
    assert (source.name, source.every_minutes, source.is_enabled) == ("Shop", 10080, True)
    assert client.post(reverse("source_act", args=[brand, source.slug, "explode"])).status_code == 404
    assert "source-state" in client.get(reverse("source_state", args=[brand, source.slug])).content.decode()


def test_the_list_makes_as_many_queries_for_ten_sources_as_for_one(
    brand: Any, manager: Any, page_client: Any, django_assert_max_num_queries: Any
) -> None:
    for number in range(10):
        made = sources.create(brand=brand, by=manager, name=f"PIM {number}", kind=SourceKind.PUSH)
        pushes.push(brand=brand, source_slug=made.slug, rows=[{"sku": f"A-{number}", "title": "Mug"}], by=manager)
    with django_assert_max_num_queries(2):
        assert len([row.last.pk for row in selectors.list_sources(brand, manager) if row.last]) == 10


def test_the_form_of_a_source_shows_all_mistakes_at_once(source: FeedSource, manager: Any, page_client: Any) -> None:
    address = f"/brands/{source.brand.slug}/sources/"
    typed = {"url-name": "", "url-url": "http://127.0.0.1/feed", "url-every_minutes": "60", "url-subject_kind": "cat"}
    answer = page_client(manager).post(address, typed)
    assert answer.status_code == 422
    assert set(answer.context["url_form"].errors) == {"name", "url", "subject_kind"}
    typed |= {"url-name": source.name, "url-url": "https://shop.example.com/other?…", "url-subject_kind": "product"}
    errors = page_client(manager).post(address, typed).context["url_form"].errors
    assert "already" in errors["name"][0] and "whole address" in errors["url"][0]
    assert FeedSource.objects.count() == 1
