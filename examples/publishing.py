"""The demo's second act: a reviewer approves some images, and they are delivered to a folder and to a Wagtail site.

The site is `examples/wagtail_site`; it takes part if the package wagtail is installed, which `make wagtail` does.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings
from rich.progress import Progress

from config import supervisor
from core.errors import DomainError
from core.models import User
from examples import running
from examples.loading import PASSWORD, Example
from generation.models import Run
from review import pins
from review.choices import DecisionKind, DesiredState, ObservedState, TaskState
from review.models import Decision, Delivery, Destination, ReviewTask
from review.services import decisions, destinations

APPROVALS = 6
SLUG = "magazine"
NAME = "The Kilnmoor magazine"
HOST = "127.0.0.1"
FIRST_PORT = 8100
PATIENCE_SECONDS = 120
#: Products whose images have a mistake that only a person sees; they are left to the person who tries the demo.
LEFT_OUT = ("KM-VAS-01", "KM-BWL-04")


@dataclass(frozen=True)
class DeliveryCounts:
    """The approved images of the run that one destination shall have, and how many of them it has."""

    destination: str = ""
    approved: int = 0
    arrived: int = 0

    @property
    def is_complete(self) -> bool:
        return self.arrived == self.approved


@dataclass(frozen=True)
class Magazine:
    """The Wagtail site of this demo. folder: its database, files, and site.json."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def program(self) -> supervisor.Program:
        arguments = ["--folder", str(self.folder), "--port", str(self.port)]
        return supervisor.Program(SLUG, [sys.executable, "-m", "examples.wagtail_site", *arguments])

    @property
    def is_ready(self) -> bool:
        return supervisor.wait_until_reachable(HOST, self.port, seconds=0.2)

    def save_destination(self, example: Example) -> Destination:
        """Create the destination, or write the site's present address into it."""
        facts = json.loads((self.folder / "site.json").read_text())
        config: dict[str, Any] = {
            "url": f"{self.url}/api/v3",
            "collection": facts["collection"],
            "featured_field": "featured_image",
            "allow_private": True,
        }
        lead, token = _person(example, "lead"), facts["tokens"]["publisher"]
        existing = Destination.objects.filter(brand=example.brand, slug=SLUG).first()
        if existing is None:
            return destinations.create(
                brand=example.brand,
                by=lead,
                slug=SLUG,
                name=NAME,
                kind="wagtail",
                config=config,
                secret=token,
                rules=(),
            )
        if existing.config.get("url") == config["url"]:
            return existing
        changed = dict(existing.config) | {"url": config["url"]}
        return destinations.change(destination_id=existing.pk, by=lead, config=changed, secret=token)


def find_magazine(folder: Path) -> Magazine | None:
    """Return the site if wagtail is installed. This demo's processes may then send to addresses of this machine."""
    invalidate_caches()
    if find_spec("wagtail") is None:
        return None
    os.environ["PROOFLINE_ALLOW_PRIVATE_WEBHOOKS"] = "1"
    settings.PROOFLINE["allow_private_webhooks"] = True
    return Magazine(folder, supervisor.find_free_port(HOST, FIRST_PORT))


class SecondAct:
    """One run of the act, in steps beside the rest of the demo. magazine: None without wagtail."""

    def __init__(self, example: Example, run: Run, magazine: Magazine | None) -> None:
        self.example, self.run, self.magazine = example, run, magazine
        self.destination: Destination | None = None

    def steps(self, bar: Progress) -> Iterator[bool]:
        """Wait for the site and for the run, approve, and wait until the images have arrived."""
        if self.magazine is not None:
            yield from self._wait_for_site(self.magazine, bar)
        self.destination = self.destination or self._find_folder()
        while not running.has_ended(self.run):
            yield True
        if self.destination is None:
            return
        self._approve_some(self.destination)
        task = bar.add_task(f"approved and delivered to {self.destination.name}", total=None, rate="")
        while True:
            waiting = self._count_undecided()  # before the others: an approval that takes effect meanwhile counts twice
            counts = self.count()
            bar.update(task, completed=counts.arrived, total=counts.approved + waiting)
            if counts.arrived == counts.approved + waiting:
                return
            yield True

    def count(self) -> DeliveryCounts:
        if self.destination is None:
            return DeliveryCounts()
        wanted = Delivery.objects.filter(
            destination=self.destination, asset__cell__run=self.run, desired=DesiredState.PRESENT
        )
        arrived = wanted.filter(observed=ObservedState.PRESENT).count()
        return DeliveryCounts(self.destination.slug, wanted.count(), arrived)

    def describe(self, site: str, folder: str) -> list[str]:
        """Return two lines that say where to look. site: the address of the pages. folder: of approved files."""
        base, lead = f"{site}/brands/{self.example.brand.slug}", self.example.login_of("lead")
        if self.destination is None or self.magazine is None or self.destination.slug != SLUG:
            where = f"are in {folder}; `make wagtail`, then `make demo`, adds a Wagtail site."
        else:
            admin = f"{self.magazine.url}/admin/images/ (log in as admin, {PASSWORD})"
            where = f"are in [bold]{NAME}[/], a Wagtail site: {self.magazine.url}/ and {admin}."
        desk = f"As [bold]{lead}[/] open {base}/deliveries/: recall an image from there, and look again."
        return [f"{self.count().arrived} approved images {where}", desk]

    def _wait_for_site(self, magazine: Magazine, bar: Progress) -> Iterator[bool]:
        task = bar.add_task("the magazine, a Wagtail site, starts", total=None, rate="")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not magazine.is_ready and time.monotonic() < deadline:
            yield True
        bar.remove_task(task)
        if magazine.is_ready:
            self.destination = magazine.save_destination(self.example)

    def _find_folder(self) -> Destination | None:
        places = Destination.objects.filter(brand=self.example.brand, kind="folder", is_enabled=True)
        return places.order_by("pk").first()

    def _approve_some(self, destination: Destination) -> None:
        """Have the reviewer approve images until the destination gets APPROVALS."""
        reviewer = _person(self.example, "reviewer")
        there = Delivery.objects.filter(destination=destination, asset__cell__run=self.run).count()
        missing = APPROVALS - there - self._count_undecided()
        for task in self._open_tasks()[: max(0, missing)]:
            version = task.asset.versions.select_related("master").order_by("-round", "candidate")[0]
            seen = pins.current_state(version, task).token
            with contextlib.suppress(DomainError):  # somebody else has just decided, or has changed the checklist
                decisions.approve(
                    task_id=task.pk, version_id=version.pk, by=reviewer, seen=seen, answers={"colour": "yes"}
                )

    def _count_undecided(self) -> int:
        """Return how many approvals of the run can still be undone; their deliveries come after that."""
        waiting = Decision.objects.filter(
            task__asset__cell__run=self.run, kind=DecisionKind.APPROVED, consequences_at=None
        )
        return waiting.values("task__asset").distinct().count()

    def _open_tasks(self) -> list[ReviewTask]:
        """Return open tasks that nobody has claimed, one for each product, by product."""
        tasks = ReviewTask.objects.filter(asset__cell__run=self.run, state=TaskState.OPEN, claimed_by=None)
        tasks = tasks.exclude(asset__subject__key__in=LEFT_OUT).select_related("asset__subject")
        first = {task.asset.subject_id: task for task in tasks.order_by("-asset__subject__key", "-pk")}
        return sorted(first.values(), key=lambda task: task.asset.subject.key)


def _person(example: Example, role: str) -> User:
    return User.objects.get(username=example.login_of(role))
