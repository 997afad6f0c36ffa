"""Deliver to a real WordPress, recall and restore. deploy/wordpress-trial.sh starts one and runs this."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any

import pytest

from core import crash_points
from review.choices import ObservedState
from review.delivery import base
from review.delivery.base import DeliveryError
from review.delivery.wordpress.site import Site
from review.models import Delivery, Destination
from review.services import deliveries, destinations
from tests.support import site_deliveries as support
from tests.support.site_deliveries import approve, finish, revoke
from tests.support.wordpress_server import draw

ADDRESS = os.environ.get("PROOFLINE_TRIAL_WORDPRESS", "")
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not ADDRESS, reason="needs a WordPress: deploy/wordpress-trial.sh starts one"),
]


@pytest.fixture
def site(settings: Any) -> Site:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    return Site(ADDRESS, os.environ["PROOFLINE_TRIAL_EDITOR"], allow_private=True)


@pytest.fixture
def destination(site: Site, brand: Any, lead: Any) -> Destination:
    return destinations.create(
        brand=brand,
        by=lead,
        slug="wordpress",
        name="WordPress",
        kind="wordpress",
        config={"url": ADDRESS, "allow_private": True},
        secret=os.environ["PROOFLINE_TRIAL_EDITOR"],
    )


def add_post(site: Site, slug: str) -> tuple[str, int]:
    """Create a published post with a featured image; return its route and the image."""
    theirs = site.upload(f"theirs-{slug}.jpg", "image/jpeg", draw(640, 480, seed=99), {"title": "Theirs"})
    data = {"slug": slug, "title": slug, "status": "publish", "featured_media": theirs.id}
    return f"wp/v2/posts/{site.call('POST', 'wp/v2/posts', data=data)['id']}", theirs.id


def ours(site: Site) -> list[dict[str, Any]]:
    [entry] = Delivery.objects.get().files
    query = {"search": entry["sha256"][:8], "context": "edit"}
    media: list[dict[str, Any]] = site.call("GET", "wp/v2/media", query=query)
    return media


@pytest.mark.parametrize(("width", "outcome"), [(2000, "same"), (3000, "alike")])
def test_an_image_arrives_is_recalled_and_the_earlier_one_is_back(
    site: Site, destination: Destination, brand: Any, reviewer: Any, lead: Any, width: int, outcome: str
) -> None:
    slug, content = f"trial-{width}-{time.time_ns()}", draw(width, width * 2 // 3, seed=width)
    route, theirs = add_post(site, slug)
    task = support.create_task(brand, content, key=slug, kind="article")
    support.replace_file(task.asset.versions.get().renditions.get(), content, width, width * 2 // 3)
    approve(task, reviewer)
    began = time.perf_counter()
    finish()
    print(f"\n{width} px, {len(content) / 1e3:.0f} kB: delivered in {time.perf_counter() - began:.2f} s", end="")
    [media] = ours(site)
    delivery = Delivery.objects.get()
    assert site.call("GET", route)["featured_media"] == media["id"] == int(delivery.files[0]["id"])
    assert media["alt_text"] == task.asset.subject.name
    assert media["title"]["raw"] == delivery.files[0]["name"].rpartition(".")[0]
    assert [report["outcome"] for report in delivery.verification] == [outcome]
    original = site.read(delivery.files[0].get("original_url") or delivery.files[0]["url"])
    assert original is not None and hashlib.sha256(original).hexdigest() == delivery.files[0]["sha256"]
    address = delivery.files[0]["url"]
    search = delivery.files[0]["sha256"][:8]
    revoke(task, lead, restores=True)
    began = time.perf_counter()
    finish()
    print(f", restored in {time.perf_counter() - began:.2f} s")
    assert site.read(address) is None
    assert site.call("GET", "wp/v2/media", query={"search": search}) == []
    assert site.call("GET", route)["featured_media"] == theirs


def test_an_upload_that_was_not_recorded_is_found_again(
    site: Site, destination: Destination, brand: Any, reviewer: Any, lead: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = f"trial-lost-{time.time_ns()}"
    route, _theirs = add_post(site, slug)
    task = support.create_task(brand, draw(3000, 2000, seed=7), key=slug, kind="article")
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
    assert site.call("GET", route)["featured_media"] == media["id"]
    revoke(task, lead)
    finish()
    assert site.call("GET", route)["featured_media"] == 0
    assert Delivery.objects.get().observed == ObservedState.ABSENT


def test_a_replacement_leaves_one_image(
    site: Site, destination: Destination, brand: Any, reviewer: Any, lead: Any
) -> None:
    slug = f"trial-two-{time.time_ns()}"
    route, _theirs = add_post(site, slug)
    task = support.create_task(brand, draw(800, 600, seed=8), draw(800, 600, seed=9), key=slug, kind="article")
    approve(task, reviewer)
    finish()
    first = int(Delivery.objects.get().files[0]["id"])
    support.approve_another(task, 2, reviewer, lead)
    finish()
    [media] = ours(site)
    assert site.media(first) is None
    assert site.call("GET", route)["featured_media"] == media["id"]


def test_refusals_are_recognised(site: Site) -> None:
    headers = {
        "content-type": "image/jpeg",
        "content-disposition": 'attachment; filename="wrong.jpg"',
        "content-md5": "0" * 32,
    }
    with pytest.raises(DeliveryError, match="arrived damaged") as damaged:
        site.call("POST", "wp/v2/media", body=draw(40, 30), headers=headers)
    assert not damaged.value.is_final and not damaged.value.is_uncertain
    with pytest.raises(DeliveryError, match="not allowed to upload this file type") as kind:
        site.upload("wrong.jpg", "image/jpeg", b"MZ no image", {})
    assert kind.value.is_final and not kind.value.is_uncertain
    with pytest.raises(DeliveryError, match="Users → Profile"):
        Site(ADDRESS, "editor:wrong wrong", allow_private=True).call("GET", "wp/v2/users/me")
    assert site.media(999_999) is None
    site.delete_media(999_999)


def test_the_connection_test_knows_roles(site: Site) -> None:
    session: Any = None
    for role, secret in (("editor", "PROOFLINE_TRIAL_EDITOR"), ("author", "PROOFLINE_TRIAL_AUTHOR")):
        config = {"url": ADDRESS, "allow_private": True}
        plugin = base.build("wordpress", config, os.environ[secret])
        sentences = plugin.test_connection(session)
        print(role, sentences)
        assert bool(sentences) == (role == "author")
    plain = Site(ADDRESS, os.environ["PROOFLINE_TRIAL_EDITOR"], allow_private=True, has_plain_links=True)
    assert plain.read_rights()[0]["upload_files"]
