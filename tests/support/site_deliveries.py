"""Deliveries to a site on a real socket, for tests: images with real bytes, approved, delivered, interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Protocol

import pytest
from django.utils import timezone

from campaigns.models import Subject
from core import crash_points, stored_files
from generation.models import Rendition
from review.models import Delivery, Destination, ReviewTask
from review.services import consequences, decisions, deliveries, destinations, packages
from review.services.delivery_sessions import open_session
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.marked_images import without_marks
from tests.support.wordpress_server import draw


class StoredFile(Protocol):
    content: bytes


class Site(Protocol):
    """A server of tests/support that stores files, and whose next requests can be broken (see troubled_server.py)."""

    url: str
    countdown: tuple[int, str] | None

    @property
    def secret(self) -> str: ...

    @property
    def media(self) -> Mapping[int, StoredFile]: ...


class Killed(BaseException):
    """The end of a process in the middle of its work."""


def create_destination(site: Site, brand: Any, lead: Any, kind: str, **config: Any) -> Destination:
    return destinations.create(
        brand=brand,
        by=lead,
        slug=kind,
        name=kind.title(),
        kind=kind,
        config={"url": site.url, "allow_private": True, **config},
        secret=site.secret,
    )


def create_task(brand: Any, *contents: bytes, key: str = "", kind: str = "product", **attributes: str) -> ReviewTask:
    """Return the open task of an asset with one candidate for each content, which is the file of its only spec."""
    task = create_image_in_review(brand, candidates=len(contents))
    renditions = Rendition.objects.filter(version__asset=task.asset).order_by("version__candidate")
    for rendition, content in zip(renditions, contents, strict=True):
        replace_file(rendition, content)
    subject = Subject.objects.filter(pk=task.asset.subject_id)
    subject.update(kind=kind, attributes=attributes, **({"key": key} if key else {}))
    return ReviewTask.objects.select_related("asset__subject").get(pk=task.pk)


def replace_file(rendition: Rendition, content: bytes, width: int = 64, height: int = 48) -> None:
    stored = stored_files.put(content, suffix="jpg")
    Rendition.objects.filter(pk=rendition.pk).update(
        sha256=stored.sha256, storage_key=stored.key, bytes=stored.bytes, width=width, height=height
    )


def approve(task: ReviewTask, by: Any, candidate: int = 1) -> None:
    version = task.asset.versions.get(candidate=candidate)
    decisions.approve(**decision_arguments(task, version), by=by)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))


def approve_another(task: ReviewTask, candidate: int, reviewer: Any, lead: Any) -> None:
    """Take the approval back and approve another candidate before a worker has noticed, so that it replaces the one."""
    reopened = decisions.reopen(asset_id=task.asset_id, by=lead)
    approve(ReviewTask.objects.select_related("asset").get(pk=reopened.pk), reviewer, candidate)


def revoke(task: ReviewTask, lead: Any, *, restores: bool = False) -> None:
    decisions.revoke(asset_id=task.asset_id, by=lead, note="licence ended")
    Delivery.objects.filter(asset=task.asset_id).update(is_restoring=restores)


def make_due() -> None:
    Delivery.objects.filter(due_at__isnull=False).update(due_at=timezone.now())


def finish(tries: int = 5) -> None:
    """Attempt what is due until all is done."""
    for _ in range(tries):
        make_due()
        if not deliveries.attempt_due():
            break
    unfinished = Delivery.objects.filter(due_at__isnull=False) | Delivery.objects.exclude(error="")
    assert not unfinished.exists(), list(unfinished.values_list("observed", "error"))


class CountingSite(Site, Protocol):
    def count(self, content: bytes) -> int:
        """Return how many stored files have these bytes."""


def start_phase(
    site: CountingSite, phase: str, brand: Any, reviewer: Any, lead: Any
) -> Callable[[int], Callable[[], None]]:
    """Return a `start` for the two functions below. phase: "push", "replacement" or "recall"."""
    others, expected = len(site.media), {"push": (1, 0), "replacement": (0, 1), "recall": (0, 0)}[phase]

    def start(number: int) -> Callable[[], None]:
        contents = (textured(2 * number), textured(2 * number + 1))
        task = create_task(brand, *contents, key=f"M-{number}")
        approve(task, reviewer)
        if phase != "push":
            finish()
        if phase == "replacement":
            approve_another(task, 2, reviewer, lead)
        elif phase == "recall":
            revoke(task, lead)

        def check() -> None:
            assert (site.count(contents[0]), site.count(contents[1])) == expected
            assert len(site.media) == others + sum(expected) * number

        return check

    return start


def break_each_request(site: Site, start: Callable[[int], Callable[[], None]]) -> int:
    """Deliver with each request broken once, in each way; return how many deliveries were made.

    start: prepares a delivery with this number, which is then due; returns the check of what the site has at the end.
    """
    number = 0
    for how in ("cut", "lost", "late answer"):
        for count in range(1, 100):
            number += 1
            check = start(number)
            site.countdown = (count, how)
            deliveries.attempt_due()
            was_broken = site.countdown is None
            site.countdown = None
            finish()
            check()
            if not was_broken:
                break
    return number


def kill_at_each_point(monkeypatch: pytest.MonkeyPatch, start: Callable[[int], Callable[[], None]]) -> int:
    """Deliver with the process ended at each crash point once; return how many deliveries were made."""
    for number in range(1, 100):
        check = start(number)
        points = _count_down(number)
        with monkeypatch.context() as patch:
            patch.setattr(crash_points, "point", lambda name, points=points: next(points))
            try:
                deliveries.attempt_due()
            except Killed:
                was_killed = True
            else:
                was_killed = False
        finish()
        check()
        if not was_killed:
            return number
    raise AssertionError("it has no end")


def _count_down(count: int) -> Iterator[None]:
    for _ in range(count - 1):
        yield
    raise Killed


def our_media(site: Site, *contents: bytes) -> list[int]:
    return [number for number, media in site.media.items() if without_marks(media.content) in contents]


def textured(seed: int) -> bytes:
    return draw(64, 48, seed)


def delivery() -> Delivery:
    """Return the only delivery, with its destination."""
    return Delivery.objects.select_related("destination").get()


def plan() -> list[str]:
    """Return what the only delivery would change, as sentences of its destination's plug-in."""
    given = delivery()
    plugin = destinations.build_plugin(given.destination)
    return plugin.plan(packages.build_package(given), open_session(given))
