"""Tests that secrets in URLs (logins, queries) are never shown: pages, API responses, logs, events, mails."""

from __future__ import annotations

import io
import itertools
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from campaigns.models import FeedSource, ImportIssue, ReferencePhoto
from campaigns.services import imports, photo_loading, sources
from config import logs
from core import errors, fetching
from core.events import BrandCreated, publish
from core.fetching import redact_address, redact_settings, redact_text, restore_redacted_addresses
from core.models import Event, Notice, StoredResponse, User
from core.services import notices
from generation.engines.base import EngineError, ErrorKind
from generation.models import Endpoint
from generation.services.endpoints import editing
from review.delivery.base import DeliveryError
from review.models import Delivery, DeliveryAttempt, Destination
from review.services import consequences, decisions, deliveries, destinations
from tests.support import factories
from tests.support.awkward_server import AwkwardServer, serving
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.mail_server import Mailbox, mail_server, use
from tests.support.receiver import Answer, new_secret, receiving

KEY = "hush5f1c9a7be2"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (f"https://shop.example/feed.csv?key={KEY}", "https://shop.example/feed.csv?…"),
        (f"https://shop.example/feed.csv#key={KEY}", "https://shop.example/feed.csv?…"),
        (f"https://shop.example/feed.csv;key={KEY}", "https://shop.example/feed.csv?…"),
        (f"https://user:{KEY}@shop.example/feed.csv", "https://shop.example/feed.csv"),
        (f"https://{KEY}@shop.example:8443/", "https://shop.example:8443/"),
        (f"https://user:{KEY}/x@shop.example/", "https://…"),
        (f"https://user:{KEY}?x@shop.example/", "https://…"),
        (f"https://user:a@{KEY}@shop.example/x", "https://shop.example/x"),
        (f"https://shop.example/feed?mail=a@b.example&key={KEY}", "https://shop.example/feed?…"),
        (f"HTTPS://shop.example/feed?a={KEY} {KEY}", "HTTPS://shop.example/feed?…"),
        (f"https://shop.example?{KEY}", "https://shop.example?…"),
        (f"https://[2001:db8::1]:8443/a?{KEY}", "https://[2001:db8::1]:8443/a?…"),
        (f"s3://id:{KEY}@bucket/prefix", "s3://bucket/prefix"),
        (f"https:\\/\\/shop.example\\/feed?key={KEY}", "https:\\/\\/shop.example\\/feed?…"),
        (f"shop.example/feed.csv?key={KEY}", "shop.example/feed.csv?…"),
        (f"//user:{KEY}@shop.example/feed.csv", "shop.example/feed.csv"),
        ("https://shop.example/@user/feed", "https://shop.example/@user/feed"),
        ("mug #1 (50% off?).jpg", "mug #1 (50% off?).jpg"),
        ("https://shop.example/feed.csv?…", "https://shop.example/feed.csv?…"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_login_and_query(address: str, expected: str) -> None:
    assert redact_address(address) == expected
    assert KEY not in redact_address(redact_address(address))


@pytest.mark.parametrize(
    "sentence",
    [
        "https://a.example/feed?key={key} answered 404.",
        "'https://a.example/feed?key={key}' is no address.",
        "see https://a.example/?k={key}, http://u:{key}@b.example/ and ftp://{key}@c.example",
        '{{"url": "https://a.example/?key={key}", "next": "https://b.example/?key={key}"}}',
        "(https://a.example/?key={key})",
        "first line\nhttps://a.example/?key={key}\nlast line",
        "<https://a.example/?key={key}>",
        "“https://a.example/?key={key}”",
    ],
)
def test_every_refusal_and_error_hides_what_addresses_carry(sentence: str) -> None:
    text = sentence.format(key=KEY)
    hidden = redact_text(text)
    assert KEY not in hidden and "a.example/" in hidden
    assert redact_text(hidden) == hidden
    problem = errors.Problem("url", text, text)
    texts = [
        fetching.Refused(text).message,
        DeliveryError(text).message,
        EngineError(ErrorKind.INPUT, text, log=text).message,
        EngineError(ErrorKind.INPUT, text, log=text).log,
        str(errors.Invalid(text, [problem], url=text)),
        str(errors.Conflict(text, where=[{"url": text}]).extra),
        problem.message,
        problem.value,
    ]
    assert not [visible_text for visible_text in texts if KEY in visible_text]


@pytest.mark.parametrize("piece", ["a", "://", "a://", "https://a?", "@", ":", "a:b@", "\\", "?", "http", "://@;"])
def test_hiding_takes_time_in_proportion_to_the_text(piece: str) -> None:
    text = piece * (2_000_000 // len(piece))
    start = time.monotonic()
    redact_text(text)
    redact_address(text)
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    "kept", [f"https://a.example/f?key={KEY}", f"https://a.example/f?a=1&b={KEY} x", "https://a.example/f"]
)
def test_an_address_that_was_left_as_it_was_shown_stays(kept: str) -> None:
    assert restore_redacted_addresses(redact_address(kept), kept) == kept
    assert restore_redacted_addresses(f" {redact_address(kept)} ".strip(), kept) == kept
    assert restore_redacted_addresses({"url": redact_address(kept), "n": 1}, {"url": kept}) == {"url": kept, "n": 1}
    assert restore_redacted_addresses({"servers": redact_settings([kept, "x"])}, {"servers": [kept, "x"]}) == {
        "servers": [kept, "x"]
    }
    assert restore_redacted_addresses("https://b.example/?new=1", kept) == "https://b.example/?new=1"


@pytest.mark.parametrize("given", ["https://b.example/f?…", "https://a.example/other?…", "https://a.example:8443/f?…"])
def test_a_kept_query_is_not_sent_to_another_address(given: str) -> None:
    with pytest.raises(ValueError, match="whole address"):
        restore_redacted_addresses(given, f"https://a.example/f?key={KEY}")


# -- everything together ----------------------------------------------------------------------------------------------


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Return the stream with every log line, as the processes write it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter())
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def box(settings: Any) -> Iterator[Mailbox]:
    with mail_server() as made:
        use(settings, made)
        yield made


@pytest.fixture
def shop(settings: Any) -> Iterator[AwkwardServer]:
    open_ = {"private_sources": ["127.0.0.2/32"], "allow_private_webhooks": True}
    settings.PROOFLINE = settings.PROOFLINE | open_
    with serving("127.0.0.2") as server:
        yield server


def fetch_three_times(source: FeedSource) -> None:
    for _ in range(3):
        FeedSource.objects.filter(pk=source.pk).update(due_at=timezone.now())
        assert sources.fetch_next()


def a_failing_feed(brand: Any, manager: Any, shop: AwkwardServer) -> FeedSource:
    shop.pages["/feed.csv"] = lambda talk: talk.answer(b"", "302 Found", location=f"/gone?token={KEY}-redirect")
    shop.pages["/gone"] = lambda talk: talk.answer(b"", "404 Not Found")
    url = shop.url(f"/feed.csv?key={KEY}-feed")
    source = sources.create(brand=brand, by=manager, name="Shop feed", kind="url", url=url)
    fetch_three_times(source)
    return source


def photos_that_cannot_be_fetched(brand: Any, manager: Any, shop: AwkwardServer) -> None:
    shop.pages["/mug.jpg"] = lambda talk: talk.answer(b"<html>", content_type="text/html")
    host = shop.url("").removeprefix("http://").rstrip("/")
    feed = f"SKU,Title,Image URL,Price\nM-1,Mug,http://{host}/mug.jpg?sig={KEY}-photo,1\n"
    imports.import_feed(brand=brand, file=io.BytesIO(feed.encode()), file_name="feed.csv", by=manager)
    subject = ReferencePhoto.objects.get().subject
    for source in (f"http://user:{KEY}-login@{host}/mug.jpg", f"http://{host}/mug.jpg?sig={KEY} {KEY}-blank"):
        ReferencePhoto.objects.create(subject=subject, source=source, due_at=timezone.now())
    while photo_loading.load_next():
        pass
    bad = (
        "SKU,Title,Image URL,Price\n"
        f"M-4,Mug,http://{host}/mug.jpg?sig={KEY} {KEY}-blank,1\n"
        f"M-5,Vase,http://user:{KEY}-login@{host}/mug.jpg,http://x.example/?p={KEY}-price\n"
    )
    imports.import_feed(brand=brand, file=io.BytesIO(bad.encode()), file_name="bad.csv", by=manager)


def a_webhook_that_moved(brand: Any, lead: Any, reviewer: Any, url: str) -> None:
    config = {"url": f"{url}?token={KEY}-hook", "allow_private": True}
    destinations.create(
        brand=brand, by=lead, slug="hook", name="Hook", kind="webhook", config=config, secret=new_secret()
    )
    decisions.approve(**decision_arguments(create_image_in_review(brand)), by=reviewer)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    for _ in range(2):
        Delivery.objects.update(due_at=timezone.now())
        deliveries.attempt_due()


def endpoints_with_queries(operator: User) -> None:
    editing.create(
        brand=None, by=operator, slug="openai", name="OpenAI-like", engine="openai", lane="cloud", secret="sk-1234567",
        config={"model": "m", "base_url": f"https://images.example/v1?key={KEY}-base"},
    )  # fmt: skip
    Endpoint.objects.create(
        slug="old", name="Old", engine="comfyui", lane="cloud",
        config={"servers": [f"http://gpu-a:8188?token={KEY}-server", f"http://u:{KEY}-user@gpu-b:8188"]},
    )  # fmt: skip


def responses_to_invalid_input(brand: Any, operator: User, api_client: Any, page_client: Any) -> list[str]:
    """Send refused URLs to every URL field, by page and by API, and return the responses."""
    api, page = api_client(operator), page_client(operator)
    wrong = f"https://user:{KEY}-typed@shop.example/feed.csv?key={KEY}-typed"
    answers = []
    for place, address in enumerate(
        [wrong, f"htp:/{KEY}?key={KEY}", f"https://u:{KEY}/x@h.example/", f"ftp://h/?{KEY}"]
    ):
        address = address.replace(f"htp:/{KEY}", "htp://h.example")
        source = {"brand": brand.slug, "name": f"S{place}", "kind": "url", "url": address}
        hook = {"brand": brand.slug, "slug": f"h{place}", "name": "H", "kind": "webhook", "config": {"url": address}}
        bucket = hook | {"kind": "s3", "config": {"bucket": "shop", "endpoint_url": address}, "secret": "a:b"}
        for path, body in (("sources", source), ("destinations", hook), ("destinations", bucket)):
            for _ in range(2):
                headers = {"HTTP_IDEMPOTENCY_KEY": f"{path}-{place}-{body.get('kind')}"}
                answers.append(api.post(f"/api/v1/{path}/", body, format="json", **headers))
        form = {"url-name": "Shop", "url-url": address, "url-every_minutes": "60", "url-subject_kind": "product"}
        answers.append(page.post(f"/brands/{brand.slug}/sources/", form))
        endpoint = {
            "slug": f"e{place}", "name": "E", "engine": "openai", "lane": "cloud", "setting_model": "m",
            "when_uncertain": "hold", "batch_size": "1", "seconds_per_image": "4", "price_per_image": "0",
            "setting_base_url": address, "config": json.dumps({"proxy": address}),
        }  # fmt: skip
        answers.append(page.post(f"/brands/{brand.slug}/endpoints/new/", endpoint))
        new = {
            "brand": brand.pk,
            "slug": f"d{place}",
            "name": "D",
            "kind": "webhook",
            "config": json.dumps({"url": address}),
        }
        answers.append(page.post("/admin/review/destination/add/", new))
    return [answer.content.decode() for answer in answers]


def every_address(brand: Any) -> Iterator[str]:
    """Yield every URL of the site for a GET request, filled with values from the database."""
    keys = [1, *(model.objects.values_list("pk", flat=True).last() or 1 for model in (
        FeedSource, ReferencePhoto, Delivery, Destination, Endpoint, Event, Notice, DeliveryAttempt, User,
    )), *ImportIssue.objects.values_list("feed_import", flat=True).distinct()]  # fmt: skip
    subjects = [photo.subject_id for photo in ReferencePhoto.objects.all()]
    slugs = ["hook", "openai", "old", "shop-feed", brand.slug]
    keys = sorted({*keys, *subjects})

    def walk(patterns: Any, before: str, outer_converters: dict[str, Any]) -> Iterator[str]:
        for pattern in patterns:
            text = before + str(pattern.pattern).lstrip("^").rstrip("$").replace("\\Z", "")
            converters = (
                outer_converters | pattern.pattern.converters | dict.fromkeys(re.findall(r"\(\?P<(\w+)>", text))
            )
            text = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", text)  # API routers use regular expressions
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, text, converters)
            elif isinstance(pattern, URLPattern) and "(" not in text:
                yield from filled(text, converters)

    def filled(text: str, converters: Any) -> Iterator[str]:
        choices = []
        for position, name in enumerate(converters):
            kind = type(converters[name]).__name__
            if kind == "SlugConverter" and (name == "brand" or position == 0):
                choices.append([brand.slug])
            else:
                by_kind = {"SlugConverter": slugs, "StringConverter": ["image", *keys]}
                choices.append(by_kind.get(kind, keys))
        for values in itertools.islice(itertools.product(*choices), 12):
            path = text
            for value in values:
                begin = path.index("<")
                path = path[:begin] + str(value) + path[path.index(">", begin) + 1 :]
            yield "/" + path

    yield from walk(get_resolver().url_patterns, "", {})


def contents(answer: Any) -> str:
    body = b"".join(answer.streaming_content) if getattr(answer, "streaming", False) else answer.content
    return str(answer.headers) + body.decode(errors="replace")


@pytest.mark.django_db(transaction=True)
def test_no_page_answer_log_event_or_mail_holds_what_an_address_field_was_given(
    brand: Any,
    manager: Any,
    lead: Any,
    reviewer: Any,
    shop: AwkwardServer,
    box: Mailbox,
    written: io.StringIO,
    api_client: Any,
    page_client: Callable[[User], Client],
) -> None:
    operator = factories.UserFactory(is_superuser=True, is_staff=True)
    factories.MembershipFactory(brand=brand, user=operator, role="admin")
    source = a_failing_feed(brand, manager, shop)
    photos_that_cannot_be_fetched(brand, manager, shop)
    with receiving() as receiver:
        receiver.answers = [Answer(302, {"Location": f"https://new.example/?token={KEY}-moved"}), Answer(410)]
        a_webhook_that_moved(brand, lead, reviewer, receiver.url)
    endpoints_with_queries(operator)
    typed = responses_to_invalid_input(brand, operator, api_client, page_client)
    assert [answer.partition(KEY)[0][-200:] for answer in typed if KEY in answer] == []

    source.refresh_from_db()
    assert KEY in source.url and "answered 404" in source.error, "it is kept, and it was used"
    assert ReferencePhoto.objects.filter(status="refused").count() == 3
    assert ImportIssue.objects.exists() and DeliveryAttempt.objects.count() == 2
    Notice.objects.update(due_at=timezone.now())
    assert notices.mail_due()
    assert Notice.objects.exclude(mailed_at=None).count() >= 2 and box.mails

    rows = {
        model.__name__: [KEY in json.dumps(row, default=str) for row in model.objects.values()]
        for model in (Event, Notice, ImportIssue, DeliveryAttempt, Delivery, StoredResponse, LogEntry)
    }
    assert all(rows[name] for name in ("Event", "Notice", "ImportIssue", "DeliveryAttempt"))
    assert {name for name, hits in rows.items() if any(hits)} == set()
    assert not [mail for mail in box.mails if KEY in str(mail)]

    client, api = page_client(operator), api_client(operator)
    looked_at = set()
    for address in every_address(brand):
        if "logout" in address or address.endswith("/file/"):  # the uploaded feed itself
            continue
        answer = api.get(address, {"brand": brand.slug}) if address.startswith("/api/") else client.get(address)
        assert KEY not in contents(answer), address
        looked_at |= {answer.resolver_match.view_name} if answer.status_code == 200 and answer.resolver_match else set()
    names = "source sources product deliveries endpoint audit notices import_detail import_mapping api:source-list "
    names += "api:destination-detail api:audit admin:review_destination_change admin:generation_endpoint_change"
    assert set(names.split()) - looked_at == set()
    assert KEY not in written.getvalue()


@pytest.mark.django_db
def test_a_sealed_payload_keeps_its_words_and_loses_the_query(brand: Any) -> None:
    payload = {
        "message": f"https://h.example/a?key={KEY} failed",
        "list": [{"url": f"https://u:{KEY}@h.example/b"}],
        "n": 1,
    }
    with transaction.atomic():
        publish(BrandCreated.of(brand, **payload), label="test")
    kept = Event.objects.get(type="core.brand.created").payload
    assert kept == {"message": "https://h.example/a?… failed", "list": [{"url": "https://h.example/b"}], "n": 1}


@pytest.mark.django_db
def test_people_who_may_change_a_feed_source_can_do_so_without_its_key(
    brand: Any, manager: Any, page_client: Callable[[User], Client]
) -> None:
    url = f"https://shop.example/feed.csv?key={KEY}"
    source = sources.create(brand=brand, by=manager, name="Feed", kind="url", url=url)
    client, address = page_client(manager), f"/brands/{brand.slug}/sources/{source.slug}/"
    page = client.get(address).content.decode()
    assert 'value="https://shop.example/feed.csv?…"' in page and KEY not in page
    form = {"url-name": "New name", "url-every_minutes": "60", "url-subject_kind": "product"}
    for typed, kept in (
        ("https://shop.example/feed.csv?…", url),
        ("https://other.example/feed.csv?…", url),
        ("https://shop.example/feed.csv?key=other", "https://shop.example/feed.csv?key=other"),
    ):
        answer = client.post(address, {**form, "url-url": typed})
        source.refresh_from_db()
        assert source.url == kept, typed
        assert (answer.status_code == 422) == ("other.example" in typed)


@pytest.mark.django_db
def test_a_webhook_and_an_endpoint_can_be_changed_without_what_their_addresses_carry(
    brand: Any, page_client: Callable[[User], Client]
) -> None:
    operator = factories.UserFactory(is_superuser=True, is_staff=True)
    config = {"url": f"https://hooks.example/in?token={KEY}"}
    hook = destinations.create(
        brand=brand, by=operator, slug="hook", name="Hook", kind="webhook", config=config, secret=new_secret()
    )
    client, address = page_client(operator), f"/admin/review/destination/{hook.pk}/change/"
    assert KEY not in client.get(address).content.decode()
    form = {"name": "The hook", "webhook_url": "https://hooks.example/in?…", "new_secret": "", "is_enabled": "on"}
    assert client.post(address, form).status_code == 302
    hook.refresh_from_db()
    assert (hook.name, hook.config) == ("The hook", config)
    assert client.post(address, form | {"webhook_timeout_seconds": "20"}).status_code == 302
    hook.refresh_from_db()
    assert hook.config == config | {"timeout_seconds": 20}
    refused = client.post(address, form | {"webhook_timeout_seconds": "soon"})
    assert refused.context["adminform"].form.errors["webhook_timeout_seconds"] == ["Give a number from 0.1 to 86400."]
    made = editing.create(
        brand=None, by=operator, slug="openai", name="O", engine="openai", lane="cloud", secret="sk-1234567",
        config={"model": "m", "base_url": f"https://images.example/v1?key={KEY}"},
    )  # fmt: skip
    given = {"model": "m2", "base_url": "https://images.example/v1?…"}
    editing.update(endpoint_id=made.pk, by=operator, config=given)
    made.refresh_from_db()
    assert made.config == {"model": "m2", "base_url": f"https://images.example/v1?key={KEY}"}
    with pytest.raises(errors.Invalid, match="cannot be used"):
        editing.update(endpoint_id=made.pk, by=operator, config=given | {"base_url": "https://evil.example/v1?…"})
