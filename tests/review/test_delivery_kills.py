"""Test every kind of destination with killed and stopped workers and all kinds of faults: no image twice, none lost.

`make kill` runs the whole: 50 SIGKILLs and 1,000 random kill points for each kind. The tests run three and 50.
A failure names its seed: `KIND=shopify SEED=17 make kill` runs that case alone.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from review.delivery.base import DESTINATIONS
from tests.support import delivery_kills, interruptions, kill_runs
from tests.support.delivery_kills import Deliveries, Tally
from tests.support.kill_scenes import load_scenes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

IS_WHOLE = os.environ.get("KILLS") == "whole"
SEED = os.environ.get("SEED", "")
KILLS = 50 if IS_WHOLE else 3
POINTS = int(os.environ.get("POINTS", 1_000 if IS_WHOLE else 50))
SCENES = load_scenes()
KINDS = sorted(kind for kind in SCENES if os.environ.get("KIND", "") in {"", kind})
PHASES = ("push", "replacement", "recall", "restore")
TALLIES: dict[str, Tally] = {}

Start = Callable[[int], Deliveries]


@pytest.fixture(params=KINDS)
def start(
    request: Any, tmp_path: Path, settings: Any, brand: Any, lead: Any, reviewer: Any, clean_redis: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Start]:  # fmt: skip
    """Return a function that makes a destination of the kind, with a seed for all random choices."""
    delivery_kills.shorten_waits(monkeypatch)
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    tally = TALLIES.setdefault(request.param, Tally(request.param))
    began, kind = time.monotonic(), SCENES[request.param]
    fixtures: dict[str, Any] = {name: request.getfixturevalue(name) for name in kind.fixtures}
    with ExitStack() as stack, interruptions.watching():
        scene = kind(stack, tmp_path / brand.slug, **fixtures)
        made: list[Deliveries] = []

        def make(seed: int) -> Deliveries:
            made[:] = made or [Deliveries(scene, brand, lead, reviewer, random.Random(seed), tally)]
            made[0].chance.seed(seed)
            return made[0]

        try:
            yield make
        finally:
            tally.seconds += time.monotonic() - began


@pytest.fixture(scope="module", autouse=True)
def summary(pytestconfig: pytest.Config) -> Iterator[None]:
    """Print what was counted of each kind, if `make kill` runs."""
    yield
    for tally in TALLIES.values() if IS_WHOLE else ():
        _tell(pytestconfig, str(tally))


def _tell(config: pytest.Config, line: str) -> None:
    """Print a line although pytest keeps what tests and workers print."""
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{line}", flush=True)


def test_each_kind_has_a_scene() -> None:
    missing = sorted(set(DESTINATIONS.names()) - set(SCENES))
    assert not missing, f"tests/support/kill_scenes has no scene for {', '.join(missing)}"


@pytest.mark.skipif(not IS_WHOLE or bool(SEED), reason="make kill")
@pytest.mark.parametrize("phase", PHASES)
def test_a_death_at_any_boundary_leaves_each_image_once(start: Start, phase: str) -> None:
    assert kill_runs.kill_at_each_boundary(start(0), phase) > 5


def test_random_kills_and_faults_leave_each_image_once(start: Start, pytestconfig: pytest.Config) -> None:
    seeds = [int(SEED)] if SEED else range(100_000)
    for seed in seeds:
        made = start(seed)
        if made.tally.points >= POINTS:
            break
        if IS_WHOLE and seed % 20 == 0:
            _tell(pytestconfig, f"{made.tally} …")
        try:
            kill_runs.run_random_case(made)
        except AssertionError as error:
            error.add_note(f"make kill KIND={made.scene.kind} SEED={seed}\n  {made.describe()}")
            raise


@pytest.mark.skipif(bool(SEED), reason="one case")
def test_two_workers_at_one_product_leave_both_images(start: Start) -> None:
    made = start(0)
    every = 4 if IS_WHOLE else 20
    assert sum(kill_runs.pause_beside_another(made, number) for number in range(2, 90, every))


@pytest.mark.skipif(bool(SEED), reason="one case")
def test_killed_workers_leave_each_image_once(start: Start, tmp_path: Path) -> None:
    environment = {"PROOFLINE_ALLOW_PRIVATE_WEBHOOKS": "1", "PROOFLINE_HANDOVER_FOLDERS": str(tmp_path)}
    kill_runs.kill_workers(start(0), KILLS, environment)
