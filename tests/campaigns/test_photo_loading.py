"""Tests of photos by URL: fetched over real sockets, postponed, given up, retried."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from campaigns.choices import PhotoStatus
from campaigns.models import ReferencePhoto
from campaigns.selectors import photos as selectors
from campaigns.services import photo_loading
from core.errors import Conflict, NotAllowed
from core.io_lane import IoLane
from core.models import Event
from tests.support import factories, scenes
from tests.support.awkward_server import AwkwardServer, Talk, serving
from tests.support.processes import wait_until
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.django_db(transaction=True)

SHOP, OTHER_SHOP = "127.0.0.2", "127.0.0.3"


@pytest.fixture(autouse=True)
def own_network(settings: Any) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"private_sources": ["127.0.0.2/31"]}


@pytest.fixture
def shop() -> Iterator[AwkwardServer]:
    with serving(SHOP) as server:
        yield server


def jpeg(kind: str = "vase") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scenes.scene(kind, size=256).pixels).save(buffer, "JPEG", quality=93)
    return buffer.getvalue()


JPEG = jpeg()


def photo(talk: Talk) -> None:
    talk.answer(JPEG, content_type="image/jpeg")


def pending(brand: Any, source: str, **fields: Any) -> ReferencePhoto:
    photo = ReferencePhoto(subject=factories.SubjectFactory(brand=brand), source=source, **fields)
    photo.due_at = timezone.now() if photo.has_address else None
    photo.save()
    return photo


def load_all() -> int:
    count = 0
    while photo_loading.load_next():
        count += 1
    return count


def photos_with_status(status: str) -> int:
    return ReferencePhoto.objects.filter(status=status).count()


def now_due() -> None:
    ReferencePhoto.objects.filter(due_at__isnull=False).update(due_at=timezone.now())


def test_a_photo_by_address_is_fetched_cut_out_and_written_down(brand: Any, shop: AwkwardServer) -> None:
    shop.pages["/mug.jpg"] = photo
    row = pending(brand, shop.url("/mug.jpg?v=2"))
    by_name = pending(brand, "http-banner.jpg")
    assert load_all() == 1
    row.refresh_from_db()
    by_name.refresh_from_db()
    assert (row.status, row.width, row.cutouts.count()) == (PhotoStatus.READY, 256, 1)
    assert by_name.status == PhotoStatus.PENDING
    event = Event.objects.get(type="campaigns.photos.attached")
    assert event.actor_label == "photo loader" and event.payload["ready"] == 1
    assert shop.talks[0].headers["user-agent"].startswith("Proofline/1 (+http")


def test_a_private_address_is_refused_at_once_and_never_connected_to(brand: Any, settings: Any) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"private_sources": []}
    with serving("127.0.0.1") as inside:
        row = pending(brand, inside.url("/secret.jpg"))
        load_all()
        assert inside.connections == 0
    row.refresh_from_db()
    assert row.status == PhotoStatus.REFUSED
    assert "not a public address" in row.notes[0]
    assert Event.objects.get(type="campaigns.photos.attached").payload["refused"][0]["file"] == row.source


def test_a_failure_is_put_off_longer_and_longer_and_then_given_up(brand: Any, shop: AwkwardServer) -> None:
    shop.pages["/mug.jpg"] = lambda talk: talk.answer(b"", "500 Oops")
    row = pending(brand, shop.url("/mug.jpg"))
    waits = []
    for attempt in range(1, 5):
        load_all()
        row.refresh_from_db()
        assert (row.status, row.attempts) == (PhotoStatus.PENDING, attempt)
        assert "answered 500" in row.notes[0]
        assert row.due_at is not None
        waits.append((row.due_at - timezone.now()).total_seconds())
        assert load_all() == 0, "it is not due yet"
        now_due()
    assert waits == sorted(waits) and waits[0] > 40 and waits[-1] > 4 * 3600
    load_all()
    row.refresh_from_db()
    assert row.status == PhotoStatus.REFUSED
    assert row.notes == [f"{row.source} answered 500: it has trouble of its own. Tried 5 times."]
    assert len(shop.paths) == 5


def test_a_server_that_asks_for_patience_gets_it(brand: Any, shop: AwkwardServer) -> None:
    shop.pages["/mug.jpg"] = lambda talk: talk.answer(b"", "429 Slow down", retry_after="7200")
    row = pending(brand, shop.url("/mug.jpg"))
    load_all()
    row.refresh_from_db()
    assert row.due_at is not None and row.due_at > timezone.now() + timedelta(minutes=110)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (lambda talk: talk.answer(b"<html>Sign in</html>", content_type="image/jpeg"), "is a web page"),
        (lambda talk: talk.answer(b"", "404 Not Found"), "answered 404"),
        (lambda talk: talk.answer(JPEG[:200], content_type="image/jpeg"), ""),
    ],
)
def test_what_is_no_photo_is_refused_with_the_reason(brand: Any, shop: AwkwardServer, page: Any, reason: str) -> None:
    shop.pages["/mug.jpg"] = page
    row = pending(brand, shop.url("/mug.jpg"))
    load_all()
    row.refresh_from_db()
    assert row.status == PhotoStatus.REFUSED
    assert row.notes and reason in row.notes[0]


def test_no_host_gets_more_than_two_requests_at_once_and_a_slow_one_does_not_delay_others(
    brand: Any, shop: AwkwardServer
) -> None:
    lock, now, most = threading.Lock(), [0], [0]
    go, lane = threading.Event(), IoLane()

    def slow(talk: Talk) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        go.wait(10)
        with lock:
            now[0] -= 1
        photo(talk)

    shop.pages["/slow.jpg"] = slow
    for number in range(5):
        pending(brand, shop.url(f"/slow.jpg?{number}"))
    with serving(OTHER_SHOP) as other:
        other.pages["/quick.jpg"] = photo
        quick = [pending(brand, other.url(f"/quick.jpg?{number}")) for number in range(3)]
        lane.start()
        try:
            ready = ReferencePhoto.objects.filter(pk__in=[row.pk for row in quick], status=PhotoStatus.READY)
            wait_until(lambda: ready.count() == 3, seconds=9, what="the photos of the other host")
            go.set()
            wait_until(lambda: photos_with_status(PhotoStatus.READY) == 8, seconds=20, what="the slow host's photos")
        finally:
            go.set()
            lane.stop()
    assert most[0] == photo_loading.PER_HOST


def test_what_a_killed_process_was_fetching_is_due_again_later_and_claimed_by_one(brand: Any) -> None:
    row = pending(brand, "https://shop.example.com/mug.jpg")
    claimed = race_without_errors(*[photo_loading.claim] * 6)
    assert sorted(claimed_photo is not None for claimed_photo in claimed) == [False] * 5 + [True]
    row.refresh_from_db()
    assert row.due_at is not None and row.due_at > timezone.now()
    now_due()
    again = photo_loading.claim()
    assert again is not None and (again.attempts, again.deaths) == (2, 2)


def test_progress_is_shown_in_numbers_and_words(
    brand: Any, other_brand: Any, viewer: Any, django_assert_num_queries: Any
) -> None:
    for number in range(3):
        pending(brand, f"https://shop.example.com/{number}.jpg")
    pending(brand, "https://shop.example.com/x.jpg", attempts=1, notes=["busy"])
    pending(brand, "by-name.jpg")
    pending(other_brand, "https://shop.example.com/other.jpg")
    for status in (PhotoStatus.READY, PhotoStatus.READY, PhotoStatus.REFUSED):
        row = pending(brand, f"https://shop.example.com/{status}{ReferencePhoto.objects.count()}.jpg")
        ReferencePhoto.objects.filter(pk=row.pk).update(status=status)
    viewer.brand_ids()
    with django_assert_num_queries(1):
        progress = selectors.get_fetch_progress(brand, viewer)
    assert (progress.pending, progress.postponed, progress.fetched, progress.refused, progress.total) == (4, 1, 2, 1, 7)
    assert progress.sentence == (
        "4 photos are being fetched (1 put off after a failure), 2 are here, 1 could not be fetched."
    )
    assert progress.next_at is not None
    assert selectors.get_fetch_progress(other_brand, viewer).total == 0, "another brand's photos are not told"


def test_refused_photos_are_tried_again_when_somebody_asks(
    brand: Any, other_brand: Any, manager: Any, viewer: Any, shop: AwkwardServer
) -> None:
    shop.pages["/mug.jpg"] = lambda talk: talk.answer(b"", "404 Not Found")
    row = pending(brand, shop.url("/mug.jpg"))
    theirs = pending(other_brand, shop.url("/theirs.jpg"))
    ReferencePhoto.objects.filter(pk=theirs.pk).update(status=PhotoStatus.REFUSED)
    load_all()
    with pytest.raises(NotAllowed):
        photo_loading.retry_photos(brand=brand, by=viewer)
    shop.pages["/mug.jpg"] = photo
    assert photo_loading.retry_photos(brand=brand, by=manager) == 1
    assert Event.objects.get(type="campaigns.photos.retried").payload == {"count": 1, "photos": [row.pk]}
    load_all()
    row.refresh_from_db()
    theirs.refresh_from_db()
    assert (row.status, row.due_at, theirs.status) == (PhotoStatus.READY, None, PhotoStatus.REFUSED)
    with pytest.raises(Conflict, match="No photo"):
        photo_loading.retry_photos(brand=brand, by=manager)


def test_the_products_page_shows_their_progress_and_tries_again(
    brand: Any, manager: Any, viewer: Any, page_client: Any
) -> None:
    page = reverse("products", args=[brand.slug])
    assert "photos-fetching" not in page_client(manager).get(page).content.decode(), (
        "no photo by address, no word of it"
    )
    pending(brand, "https://shop.example.com/new.jpg")
    row = pending(brand, "https://shop.example.com/gone.jpg")
    ReferencePhoto.objects.filter(pk=row.pk).update(status=PhotoStatus.REFUSED, attempts=5, due_at=None)
    shown = page_client(manager).get(page).content.decode()
    assert "1 photo is being fetched, 1 could not be fetched." in shown and "Try again" in shown
    assert "Try again" not in page_client(viewer).get(reverse("photos_fetching", args=[brand.slug])).content.decode()
    assert page_client(viewer).post(reverse("photos_again", args=[brand.slug])).status_code == 403
    assert page_client(manager).post(reverse("photos_again", args=[brand.slug])).status_code == 302
    row.refresh_from_db()
    assert row.status == PhotoStatus.PENDING
