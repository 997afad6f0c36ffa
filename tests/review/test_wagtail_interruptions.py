"""Test deliveries to a real Wagtail whose connection breaks: each image is there once in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from review.choices import ObservedState
from review.models import Delivery, Destination, ReviewTask
from review.services import deliveries
from tests.support import site_deliveries as support
from tests.support.site_deliveries import approve, finish, revoke, textured
from tests.support.troubled_proxy import Trouble, TroubledProxy
from tests.support.wagtail_deliveries import UPLOADS, create_article, create_destination, delivery, slug_of
from tests.support.wagtail_server import WagtailServer, new_slug

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

Start = Callable[[int], Callable[[], None]]


@pytest.fixture
def destination(wagtail: WagtailServer, proxy: TroubledProxy, brand: Any, lead: Any) -> Destination:
    return create_destination(wagtail, proxy, brand, lead)


@pytest.fixture
def article(brand: Any) -> ReviewTask:
    return create_article(brand)


@pytest.mark.parametrize("how", ["cut", "lost", "late answer"])
def test_an_upload_whose_answer_was_lost_is_looked_up_and_not_sent_again(
    wagtail: WagtailServer,
    proxy: TroubledProxy,
    destination: Destination,
    article: ReviewTask,
    reviewer: Any,
    how: str,
) -> None:
    page = wagtail.add_page(slug_of(article))
    proxy.troubles = [Trouble(*UPLOADS, how)]
    approve(article, reviewer)
    deliveries.attempt_due()
    assert delivery().observed == ObservedState.UNCERTAIN
    for seed in range(20, 42 if how == "lost" else 20):  # more than one page of answers
        wagtail.add_image(textured(seed))
    finish()
    assert proxy.requests.count(UPLOADS) == (2 if how == "cut" else 1)
    assert [wagtail.featured(page)] == wagtail.find(textured(1))


def test_an_upload_that_was_never_recorded_is_recalled_all_the_same(
    wagtail: WagtailServer,
    proxy: TroubledProxy,
    destination: Destination,
    article: ReviewTask,
    reviewer: Any,
    lead: Any,
) -> None:
    wagtail.add_page(slug_of(article))
    proxy.troubles = [Trouble(*UPLOADS, "lost")]
    approve(article, reviewer)
    deliveries.attempt_due()
    theirs = wagtail.add_image(textured(1))  # the same bytes, which somebody else uploaded
    assert len(wagtail.images()) == 2
    revoke(article, lead)
    finish()
    assert list(wagtail.images()) == [theirs]


@pytest.fixture(params=["replacement", "recall", "restore"])
def start(
    request: Any, wagtail: WagtailServer, destination: Destination, brand: Any, reviewer: Any, lead: Any
) -> Start:
    def start(number: int) -> Callable[[], None]:
        contents = textured(2 * number), textured(2 * number + 1)
        theirs, slug = wagtail.add_image(textured(10_000 + number)), new_slug()
        page = wagtail.add_page(slug, image=theirs)
        task = support.create_task(brand, *contents, key=slug, kind="article")
        approve(task, reviewer)
        finish()
        address = Delivery.objects.get(asset=task.asset_id).files[0]["url"]
        if request.param == "replacement":
            support.approve_another(task, 2, reviewer, lead)
        else:
            revoke(task, lead, restores=request.param == "restore")

        def check() -> None:
            now = Delivery.objects.get(asset=task.asset_id)
            assert wagtail.find(contents[0]) == []
            assert theirs in wagtail.images()
            if request.param == "replacement":
                assert now.before == {"entry": f"pages/{page}", "featured": theirs}
            expected = wagtail.find(contents[1]) if request.param == "replacement" else []
            assert len(expected) == (request.param == "replacement")
            shown = expected or ([theirs] if request.param == "restore" else [0])
            assert [wagtail.featured(page), wagtail.featured(page, "draft")] == shown * 2
            assert now.files == [] or now.files[0]["url"] != address
            wagtail.clear()

        return check

    return start


@pytest.mark.parametrize("how", ["cut", "lost"])
def test_a_break_of_any_change_leaves_each_image_once(proxy: TroubledProxy, start: Start, how: str) -> None:
    for number, count in enumerate(range(1, 20), start=1):
        check = start(number)
        proxy.countdown_of_changes = (count, how)
        deliveries.attempt_due()
        was_broken = proxy.countdown_of_changes is None
        proxy.countdown_of_changes = None
        finish()
        check()
        if not was_broken:
            break
    assert number > 2


def test_a_process_that_ends_at_any_point_leaves_each_image_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    assert support.kill_at_each_point(monkeypatch, start) >= 1
