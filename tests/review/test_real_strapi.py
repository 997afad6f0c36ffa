"""Deliver to a real Strapi, recall and restore. deploy/strapi-trial.sh starts one and runs this."""

from __future__ import annotations

import hashlib
import json
import os
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from core import crash_points
from review.choices import ObservedState
from review.delivery import base
from review.delivery.base import DeliveryError
from review.delivery.strapi.site import StrapiSite
from review.models import Delivery, Destination
from review.services import deliveries, destinations
from tests.support import site_deliveries as support
from tests.support.site_deliveries import approve, finish, revoke
from tests.support.wordpress_server import draw

ADDRESS = os.environ.get("PROOFLINE_TRIAL_STRAPI", "")
CONFIG = {"url": ADDRESS, "allow_private": True, "entries": "articles"}
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not ADDRESS, reason="needs a Strapi: deploy/strapi-trial.sh starts one"),
]


@pytest.fixture
def site(settings: Any) -> Iterator[StrapiSite]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    set_optimization(is_on=False)
    yield StrapiSite(ADDRESS, os.environ["PROOFLINE_TRIAL_STRAPI_TOKEN"], allow_private=True)
    set_optimization(is_on=True)


@pytest.fixture
def destination(site: StrapiSite, brand: Any, lead: Any) -> Destination:
    secret = os.environ["PROOFLINE_TRIAL_STRAPI_TOKEN"]
    return destinations.create(
        brand=brand, by=lead, slug="strapi", name="Strapi", kind="strapi", config=CONFIG, secret=secret
    )


def set_optimization(*, is_on: bool) -> None:
    """Change the setting of the media library, which only an administrator may do."""
    data = {"sizeOptimization": is_on, "responsiveDimensions": True, "autoOrientation": False}
    headers = {
        "Authorization": f"Bearer {os.environ['PROOFLINE_TRIAL_STRAPI_ADMIN']}",
        "Content-Type": "application/json",
    }
    request = urllib.request.Request(f"{ADDRESS}/upload/settings", json.dumps(data).encode(), headers, method="PUT")
    urllib.request.urlopen(request, timeout=30).close()


def add_xmp(content: bytes) -> bytes:
    """Return a JPEG file with a segment of metadata of 30 kB."""
    segment = b"http://ns.adobe.com/xap/1.0/\0" + b" " * 30_000
    return content[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + content[2:]


def add_article(site: StrapiSite, slug: str, *, status: str = "published") -> tuple[str, int]:
    """Create an article with a cover; return its route and the file."""
    theirs = site.upload(f"theirs-{slug}.jpg", "image/jpeg", draw(640, 480, seed=99), {"caption": "Theirs"})
    data = {"slug": slug, "title": slug, "cover": theirs.id}
    made = site.call("POST", "api/articles", query={"status": status}, data={"data": data})
    return f"articles/{made['data']['documentId']}", theirs.id


def cover(site: StrapiSite, route: str, status: str = "published") -> int:
    """Return the file that an article shows, 0 without one."""
    shown = site.call("GET", f"api/{route}", query={"populate": "cover", "status": status})["data"]["cover"]
    return int(shown["id"]) if shown else 0


def ours(site: StrapiSite) -> list[dict[str, Any]]:
    [entry] = Delivery.objects.get().files
    query = {"filters[name][$contains]": entry["sha256"][:8]}
    found: list[dict[str, Any]] = site.call("GET", "api/upload/files", query=query)
    return found


@pytest.mark.parametrize(("is_on", "outcome"), [(False, "same"), (True, "alike")])
def test_an_image_arrives_is_recalled_and_the_earlier_one_is_back(
    site: StrapiSite, destination: Destination, brand: Any, reviewer: Any, lead: Any, is_on: bool, outcome: str
) -> None:
    set_optimization(is_on=is_on)
    slug = f"trial-{is_on}-{time.time_ns()}".lower()
    content = add_xmp(draw(1600, 1200, seed=time.time_ns()))
    route, theirs = add_article(site, slug)
    task = support.create_task(brand, content, key=slug, kind="article")
    support.replace_file(task.asset.versions.get().renditions.get(), content, 1600, 1200)
    approve(task, reviewer)
    began = time.perf_counter()
    finish()
    delivery = Delivery.objects.get()
    message = delivery.attempt_rows.get().message
    print(
        f"\n{len(content) / 1e3:.0f} kB: delivered in {time.perf_counter() - began:.2f} s, {outcome} {message}", end=""
    )
    [media] = ours(site)
    assert cover(site, route) == cover(site, route, "draft") == media["id"] == int(delivery.files[0]["id"])
    assert media["alternativeText"] == task.asset.subject.name
    assert [report["outcome"] for report in delivery.verification] == [outcome]
    assert ("switch off “Size optimization”" in message) == is_on
    address = delivery.files[0]["url"]
    served = site.read(address)
    assert served is not None and (hashlib.sha256(served).hexdigest() == delivery.files[0]["sha256"]) != is_on
    assert (b"ns.adobe.com" in served) != is_on
    revoke(task, lead, restores=True)
    began = time.perf_counter()
    finish()
    print(f", restored in {time.perf_counter() - began:.2f} s")
    assert site.read(address) is None and site.media(media["id"]) is None
    assert cover(site, route) == cover(site, route, "draft") == theirs


def test_an_upload_that_was_not_recorded_is_found_again(
    site: StrapiSite, destination: Destination, brand: Any, reviewer: Any, lead: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = f"trial-lost-{time.time_ns()}"
    route, _theirs = add_article(site, slug)
    task = support.create_task(brand, draw(800, 600, seed=time.time_ns()), key=slug, kind="article")
    approve(task, reviewer)

    def end_when_sent(name: str) -> None:
        if name == "delivery.sent":
            raise support.Killed

    with monkeypatch.context() as patch:
        patch.setattr(crash_points, "point", end_when_sent)
        with pytest.raises(support.Killed):
            deliveries.attempt_due()
    finish()
    [media] = ours(site)
    assert cover(site, route) == media["id"] and media["alternativeText"] == task.asset.subject.name
    revoke(task, lead)
    finish()
    assert cover(site, route) == 0
    assert Delivery.objects.get().observed == ObservedState.ABSENT


def test_a_replacement_leaves_one_image_in_the_draft_of_an_article_that_is_not_published(
    site: StrapiSite, destination: Destination, brand: Any, reviewer: Any, lead: Any
) -> None:
    slug, seed = f"trial-two-{time.time_ns()}", time.time_ns()
    route, _theirs = add_article(site, slug, status="draft")
    task = support.create_task(brand, draw(800, 600, seed), draw(800, 600, seed + 1), key=slug, kind="article")
    approve(task, reviewer)
    finish()
    first = int(Delivery.objects.get().files[0]["id"])
    support.approve_another(task, 2, reviewer, lead)
    finish()
    [media] = ours(site)
    assert site.media(first) is None and cover(site, route, "draft") == media["id"]
    assert site.get(f"api/{route}") is None, "it is still not published"


def test_changes_of_an_editor_are_not_published(
    site: StrapiSite, destination: Destination, brand: Any, reviewer: Any
) -> None:
    slug = f"trial-edited-{time.time_ns()}"
    route, theirs = add_article(site, slug)
    site.call("PUT", f"api/{route}", query={"status": "draft"}, data={"data": {"title": "Not ready"}})
    approve(support.create_task(brand, draw(800, 600, seed=4), key=slug, kind="article"), reviewer)
    deliveries.attempt_due()
    assert "“Not ready” has changes that nobody has published" in Delivery.objects.get().error
    assert cover(site, route) == theirs


def test_answers_are_recognised(site: StrapiSite) -> None:
    made = site.upload("wrong.jpg", "image/jpeg", draw(40, 30), {"alternativeText": "One", "caption": ""})
    site.set_texts(made.id, {"alternativeText": "", "caption": "Two"})
    row = site.call("GET", f"api/upload/files/{made.id}")
    assert (row["name"], row["alternativeText"], row["caption"]) == ("wrong.jpg", "", "Two")
    site.delete_media(made.id)
    site.delete_media(made.id)
    assert site.media(made.id) is None
    with pytest.raises(DeliveryError, match="Create an API token"):
        StrapiSite(ADDRESS, "wrong", allow_private=True).media(made.id)
    with pytest.raises(DeliveryError, match="Invalid key nothing"):
        site.call("GET", "api/articles", query={"populate": "nothing"})


def test_the_connection_test_knows_permissions_and_names(site: StrapiSite) -> None:
    session: Any = None
    expected: list[tuple[str, dict[str, str], list[str]]] = [
        ("TOKEN", {}, []),
        ("TOKEN", {"entries": "news"}, ["no content type with the plural API ID news"]),
        ("TOKEN", {"featured_field": "picture"}, ["no media field picture"]),
        ("TOKEN", {"url": f"{ADDRESS}/api"}, ["enter its address without /api"]),
        ("READER", {}, ["“upload” of", "“destroy” of", "“findOne” of articles", "“update” of articles"]),
    ]
    for secret, changes, words in expected:
        plugin = base.build("strapi", {**CONFIG, **changes}, os.environ[f"PROOFLINE_TRIAL_STRAPI_{secret}"])
        sentences = plugin.test_connection(session)
        print(secret, changes, sentences)
        assert len(sentences) == len(words)
        assert all(each in sentence for each, sentence in zip(words, sentences, strict=True))
