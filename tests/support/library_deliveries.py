"""Deliveries of products to a service that only keeps files, to be broken or killed (see site_deliveries.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from review.choices import ObservedState
from review.models import Delivery
from tests.support import site_deliveries as support
from tests.support.site_deliveries import Site, approve, finish, revoke, textured

PHASES = ("push", "replacement", "recall")
Start = Callable[[int], Callable[[], None]]


def prepare(phase: str, site: Site, brand: Any, reviewer: Any, lead: Any) -> Start:
    """Return what prepares a delivery with a number and returns the check of what the service has at the end.

    Files that the service has now must stay.
    """
    theirs = len(site.media)
    match phase:
        case "push":
            return _prepare_push(site, theirs, brand, reviewer)
        case "replacement":
            return _prepare_replacement(site, theirs, brand, reviewer, lead)
    return _prepare_recall(site, theirs, brand, reviewer, lead)


def _prepare_push(site: Site, theirs: int, brand: Any, reviewer: Any) -> Start:
    def start(number: int) -> Callable[[], None]:
        approve(support.create_task(brand, textured(number), key=f"M-{number}"), reviewer)

        def check() -> None:
            assert len(support.our_media(site, textured(number))) == 1
            assert len(site.media) == theirs + number, "and no file without bytes"

        return check

    return start


def _prepare_replacement(site: Site, theirs: int, brand: Any, reviewer: Any, lead: Any) -> Start:
    def start(number: int) -> Callable[[], None]:
        contents = (textured(2 * number), textured(2 * number + 1))
        task = support.create_task(brand, *contents, key=f"M-{number}")
        approve(task, reviewer)
        finish()
        support.approve_another(task, 2, reviewer, lead)

        def check() -> None:
            assert [len(support.our_media(site, content)) for content in contents] == [0, 1]
            assert len(site.media) == theirs + number

        return check

    return start


def _prepare_recall(site: Site, theirs: int, brand: Any, reviewer: Any, lead: Any) -> Start:
    def start(number: int) -> Callable[[], None]:
        task = support.create_task(brand, textured(number), key=f"M-{number}")
        approve(task, reviewer)
        finish()
        revoke(task, lead)

        def check() -> None:
            assert len(support.our_media(site, textured(number))) == 0 and len(site.media) == theirs
            assert Delivery.objects.get(asset=task.asset_id).observed == ObservedState.ABSENT

        return check

    return start
