"""Deliveries that are interrupted everywhere: cases with random kills, pauses and faults, and workers that are killed.

A case is an image that is approved, often replaced by another, and in the end recalled or restored. Each step of it is
interrupted; then it is finished without interruption, and what the destination has is compared with what it should
have.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from random import Random
from typing import Any

import pytest
from django.utils import timezone

from campaigns.models import Subject
from generation.models import Asset, Rendition
from review.choices import ObservedState, StepState
from review.models import Delivery, DeliveryStep, Destination, ReviewTask
from review.services import consequences, decisions, deliveries, delivery_requests, destinations
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.interruptions import Attempt
from tests.support.kill_scenes import Scene, Shown
from tests.support.marked_images import read_marked
from tests.support.site_deliveries import replace_file
from tests.support.wordpress_server import draw

TIMEOUT_SECONDS = 1.0
"""Of a request to a destination."""
FIRST_GUESS = 40
"""The assumed number of boundaries of a step, until one has been made without interruption."""
MAX_TRIES = 15


@dataclass
class Tally:
    """The counts that `make kill` prints of a kind. points: kills and pauses in process; kills: SIGKILLs of workers."""

    kind: str
    kills: int = 0
    hits: int = 0
    points: int = 0
    pauses: int = 0
    cases: int = 0
    seconds: float = 0.0
    duplicates: int = 0
    lost: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    boundaries: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"{self.kind}: {self.kills} SIGKILLs ({self.hits} in the middle of a delivery), {self.points} kill points "
            f"({self.pauses} of them pauses), {self.faults.total()} faults, {self.cases} cases, "
            f"duplicates {self.duplicates}, lost {self.lost}, {self.seconds:.0f} s"
        )


@dataclass
class Case:
    """One product and its image. contents: of each candidate, its files. wanted: the candidate that should be there."""

    key: str
    task: ReviewTask
    contents: list[list[bytes]]
    before: Shown
    alt: str
    approved: int = 0
    wanted: int | None = None
    is_restored: bool = False

    def rows(self) -> Any:
        return Delivery.objects.filter(asset_id=self.task.asset_id)


class Deliveries:
    """One destination, with people who approve and recall. chance: of all random choices."""

    def __init__(self, scene: Scene, brand: Any, lead: Any, reviewer: Any, chance: Random, tally: Tally) -> None:
        self.scene, self.brand, self.lead, self.reviewer = scene, brand, lead, reviewer
        self.chance, self.tally = chance, tally
        self.most: Counter[str] = Counter()
        self.trail: list[str] = []
        self._numbers = count(1)
        config, secret = scene.settings()
        self.destination: Destination = destinations.create(
            brand=brand, by=lead, slug=scene.kind, name=scene.kind, kind=scene.kind, config=config, secret=secret
        )
        for proxy in scene.proxies:
            proxy.slow_seconds = TIMEOUT_SECONDS * 1.3

    # -- what people do ------------------------------------------------------------------------------------------------

    def create_case(self, *, files: int = 1, candidates: int = 2, beside: Case | None = None) -> Case:
        """Create a product at the destination, and an image of it in review with files of different bytes.

        beside: a case whose product this one is an image of, too.
        """
        self.trail.clear()
        number = next(self._numbers)
        key = beside.key if beside else f"KILL-{number:05d}X"
        if not beside:
            self.scene.add_product(key)
        campaign = factories.CampaignFactory(brand=self.brand)
        specs = [
            factories.OutputSpecFactory(campaign=campaign, slug=f"spec{each}-{number}", name_pattern=_pattern(each))
            for each in range(files)
        ]
        task = create_image_in_review(self.brand, candidates=candidates, campaign=campaign, specs=specs)
        seeds = count(number * 16)
        renditions = Rendition.objects.filter(version__asset=task.asset).order_by("version__candidate", "output_spec")
        for rendition in renditions:
            replace_file(rendition, draw(64, 48, next(seeds)))
        if beside:
            Asset.objects.filter(pk=task.asset_id).update(subject=beside.task.asset.subject)
        else:
            subject = Subject.objects.filter(pk=task.asset.subject_id)
            attributes = self.scene.attributes(key)
            subject.update(kind=self.scene.subject_kind, key=key, name=f"Image of {key}", attributes=attributes)
        task = ReviewTask.objects.select_related("asset__subject").get(pk=task.pk)
        delivered = [read_marked(rendition) for rendition in renditions.all()]
        contents = [delivered[start : start + files] for start in range(0, len(delivered), files)]
        return Case(key, task, contents, self.scene.shown(key), f"Image of {key}")

    def approve(self, case: Case, candidate: int) -> None:
        """Approve one candidate, from 1, in place of what was approved before."""
        task = case.task
        if case.approved:
            reopened = decisions.reopen(asset_id=task.asset_id, by=self.lead)
            task = ReviewTask.objects.select_related("asset").get(pk=reopened.pk)
        version = task.asset.versions.get(candidate=candidate)
        decisions.approve(**decision_arguments(task, version), by=self.reviewer)
        consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
        case.approved = case.wanted = candidate
        self.trail.append(f"approve {candidate}")

    def ask(self, case: Case, step: str) -> None:
        """Ask for a "push" of what was recalled, a "recall" or a "restore", by hand."""
        ask = {"push": delivery_requests.send_again, "recall": delivery_requests.recall}
        changed = ask.get(step, delivery_requests.restore)(brand=self.brand, chosen=case.rows(), by=self.lead)
        assert changed == 1, f"{case.key}: nothing to {step}"
        self.trail.append(step)
        case.wanted = case.approved if step == "push" else None
        case.is_restored = step == "restore"

    # -- interruptions -------------------------------------------------------------------------------------------------

    def interrupt(self, phase: str) -> None:
        """Attempt what is due up to three times, each time with a kill, a pause or faults at random."""
        for _ in range(self.chance.choice((1, 2, 2, 3))):
            make_due()
            counts = [proxy.count for proxy in self.scene.proxies]
            if self.chance.random() < 0.3:
                self._spoil_requests(phase)
            number = self.chance.randint(1, self.most[phase] or FIRST_GUESS)
            if self.chance.random() < 0.15:
                self.pause_at(number)
            else:
                attempt = self.kill_at(number)
                if not attempt.was_stopped:
                    self.most[phase] = max(self.most[phase], len(attempt.passed))
                    for proxy, count_ in zip(self.scene.proxies, counts, strict=True):
                        name = f"{phase} {proxy.url}"
                        self.most[name] = max(self.most[name], proxy.count - count_)

    def kill_at(self, number: int) -> Attempt:
        """Attempt what is due, and kill the attempt at its boundary with this number."""
        attempt = Attempt(number).start_and_wait()
        if attempt.was_stopped:
            self.tally.points += 1
            self.tally.boundaries[attempt.passed[-1]] += 1
        self.trail.append(f"kill {number}: {attempt.passed[-1:]}" if attempt.was_stopped else "an attempt")
        return attempt

    def pause_at(self, number: int) -> Attempt:
        """Stop an attempt at a boundary until another attempt has taken its delivery over; then let it go on."""
        attempt = Attempt(number, pauses=True).start_and_wait()
        if not attempt.was_stopped:
            return attempt
        self.tally.points += 1
        self.tally.pauses += 1
        self.tally.boundaries[attempt.passed[-1]] += 1
        self.trail.append(f"pause {number}: {attempt.passed[attempt.stop_at - 1 :]}")
        make_due()
        other = Attempt()
        other.start()
        other.wait(5.0)
        attempt.resume()
        other.resume()
        return attempt

    def _spoil_requests(self, phase: str) -> None:
        own = self.scene.own_faults()
        if own and self.chance.random() < 0.4:
            name = self.chance.choice(sorted(own))
            own[name]()
            self.tally.faults[name] += 1
            self.trail.append(name)
            return
        for proxy in self.scene.proxies if self.scene.faults else ():
            fault = self.chance.choice(self.scene.faults)
            number = self.chance.randint(1, self.most[f"{phase} {proxy.url}"] or 1)
            proxy.spoil(number, fault)
            self.trail.append(f"{fault} at request {number}")

    # -- the end of a case ---------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """End all faults, and attempt what is due until nothing is; a person retries what was given up."""
        self.trail.append("settle")
        self.scene.heal()
        for proxy in self.scene.proxies:
            self.tally.faults.update(proxy.met)
            proxy.met.clear()
        for _ in range(MAX_TRIES):
            for delivery in Delivery.objects.filter(due_at=None).exclude(error=""):
                delivery_requests.retry(delivery_id=delivery.pk, by=self.lead)
            make_due()
            if not deliveries.attempt_due():
                break
            time.sleep(0.1)  # all tries together last longer than a shop's search needs to find a new file
        unfinished = Delivery.objects.filter(due_at__isnull=False) | Delivery.objects.exclude(error="")
        assert not unfinished.exists(), list(unfinished.values_list("observed", "error"))

    def check(self, *cases: Case) -> None:
        """Assert that the destination has what it should have of these products, and nothing else."""
        stored = self.scene.stored()
        for case in cases:
            self._check_shown(case, stored)

    def check_together(self, *cases: Case) -> None:
        """Assert that the destination has what it should have of one product with several images."""
        stored, ours = self.scene.stored(), [entry for case in cases for entry in self._list_wanted(case)]
        for case in cases:
            self._count(case, stored)
        shown = self.scene.shown(cases[0].key)
        assert self.scene.are_shown(shown, cases[0].before, ours), f"{shown} after {cases[0].before} and {ours}"

    def _check_shown(self, case: Case, stored: Counter[str]) -> None:
        scene, ours = self.scene, self._list_wanted(case)
        self._count(case, stored)
        expected, shown = self._expect(case, ours), scene.shown(case.key)
        assert shown in expected, f"{case.key}: {shown} instead of {expected}"
        problems = scene.problems(case.key, [mark for mark, _alt in ours])
        assert problems == [], f"{case.key}: {problems}"
        delivery = case.rows().get()
        reached = ObservedState.PRESENT if ours else ObservedState.ABSENT
        assert delivery.observed == reached, f"{case.key}: {delivery.observed}"
        outcomes = {entry["outcome"] for entry in delivery.verification}
        assert outcomes <= {"same", "unknown"}, f"{case.key}: {delivery.verification}"
        unfinished = DeliveryStep.objects.filter(delivery=delivery, state=StepState.SENT)
        assert not unfinished.exists(), f"{case.key}: open steps {list(unfinished.values_list('key', flat=True))}"

    def _count(self, case: Case, stored: Counter[str]) -> None:
        """Assert that each approved file is stored once, and no other one."""
        scene, ours = self.scene, self._list_wanted(case)
        if stored:
            ids = {scene.identify(content) for each in case.contents for content in each}
            wanted = Counter(mark for mark, _alt in ours)
            have = Counter({mark: stored[mark] for mark in ids})
            self.tally.duplicates += (have - wanted).total()
            self.tally.lost += (wanted - have).total()
            assert have - wanted == Counter(), f"{case.key}: there is more than was approved: {have - wanted}"
            assert wanted - have == Counter(), f"{case.key}: images are lost: {wanted - have}"

    def describe(self) -> str:
        """Return what was done to the last case, and what is recorded of it, for the message of a failure."""
        delivery = Delivery.objects.latest("pk")
        steps = [f"{step.key} {step.state} {step.result}" for step in delivery.steps.order_by("pk")]
        attempts = [f"{each.number}: {each.message or each.is_success}" for each in delivery.attempt_rows.all()]
        return "\n  ".join([*self.trail, "journal", *steps, "attempts", *attempts, str(delivery.files)])

    def _list_wanted(self, case: Case) -> Shown:
        if case.wanted is None:
            return []
        return [(self.scene.identify(content), case.alt) for content in case.contents[case.wanted - 1]]

    def _expect(self, case: Case, ours: Shown) -> Sequence[Shown]:
        if ours:
            return [self.scene.expect_delivered(case.before, ours)]
        return [case.before] if case.is_restored else self.scene.expect_recalled(case.before)


def _pattern(number: int) -> str:
    return f"{{brand}}_{{sku}}_{{campaign}}_{number}"


def make_due() -> None:
    """Make every delivery that waits due, also those whose worker is dead or stopped.

    It waits for the locks of a worker that has just died.
    """
    Delivery.objects.filter(due_at__isnull=False).update(due_at=timezone.now())


def shorten_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests time out early, and let no plug-in wait for minutes."""
    monkeypatch.setattr("review.delivery.http.TIMEOUT_SECONDS", TIMEOUT_SECONDS)
    monkeypatch.setattr("review.delivery.shopify.files.SEARCH_LAG_SECONDS", 0.5)
    monkeypatch.setattr("review.delivery.bynder.destination.Assets.settle_seconds", 0.5)
    monkeypatch.setattr("review.delivery.bynder.destination.PROCESSING_SECONDS", 0.5)
    monkeypatch.setattr("review.delivery.bynder.destination.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("review.delivery.hot_folder.places.ARRIVAL_SECONDS", 0.0)
    monkeypatch.setattr("review.delivery.hot_folder.ssh.STEP_SECONDS", TIMEOUT_SECONDS)
    monkeypatch.setattr("review.services.delivery_sessions.MAX_LOCK_SECONDS", 0.5)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
