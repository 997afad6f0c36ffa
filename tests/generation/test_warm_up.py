"""Test how a worker handles the models of its endpoints.

They are loaded before the first batch and unloaded when idle, and the next batch starts while the pixels of the last
one are still being transferred.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.choices import Lane
from generation.choices import JobState
from generation.engines import base
from generation.engines.base import Context, Result, Task
from generation.models import Endpoint, Job
from generation.workers.context import Engines
from generation.workers.lane import LaneWorker
from tests.support import queued_runs
from tests.support.engines import ReadyEngine


@pytest.fixture
def warm(db: None, tiny_model: Callable[[str], Path]) -> Endpoint:
    pytest.importorskip("torch")
    config = {"model": str(tiny_model("sd")), "device": "cpu", "warm_up": True, "tier": "exact", "shapes": [[64, 64]]}
    return queued_runs.create_endpoint(engine="diffusers", lane=Lane.GPU, batch_size=2, **config)


def test_endpoints_that_ask_for_it_are_loaded_before_the_first_batch(warm: Endpoint):
    cold = queued_runs.create_endpoint(engine="diffusers", lane=Lane.GPU, model=warm.config["model"])
    elsewhere = queued_runs.create_endpoint(engine="diffusers", lane=Lane.CPU, model=warm.config["model"], warm_up=True)
    engines = Engines()
    engines.warm_up([Lane.GPU])
    assert engines.get(warm).health().facts["is_loaded"]
    assert not any(engines.get(other).health().facts["is_loaded"] for other in (cold, elsewhere))


def test_an_endpoint_that_cannot_be_warmed_up_does_not_keep_the_worker_from_starting(warm: Endpoint):
    queued_runs.create_endpoint(engine="diffusers", lane=Lane.GPU, model="/models/gone", warm_up=True)
    queued_runs.create_endpoint(engine="diffusers", lane=Lane.GPU, model="/models/gone", warm_up=True, tier="best")
    queued_runs.create_endpoint(lane=Lane.GPU, warm_up=True)  # an engine with nothing to warm up
    engines = Engines()
    engines.warm_up([Lane.GPU])
    assert engines.get(warm).health().facts["is_loaded"]


def test_a_batch_is_filled_up_to_the_size_of_its_endpoint(warm: Endpoint):
    engine: Any = Engines().get(warm)
    assert engine.config.batch_size == 2
    assert base.build("diffusers", warm.config).model_identity() == engine.model_identity()


def test_a_model_that_nobody_asked_for_in_time_is_unloaded_and_loaded_again_when_it_is_wanted(
    warm: Endpoint, monkeypatch: pytest.MonkeyPatch
):
    warm.config["idle_unload_minutes"] = 10
    engines, now = Engines(), [1000.0]
    monkeypatch.setattr("generation.workers.context.time.monotonic", lambda: now[0])
    engine: Any = engines.get(warm)
    engine.warm_up()
    now[0] += 599
    engines.unload_idle()
    assert engine.health().facts["is_loaded"]
    engines.get(warm)
    now[0] += 599
    engines.unload_idle()
    assert engine.health().facts["is_loaded"]
    now[0] += 2
    engines.unload_idle()
    assert not engine.health().facts["is_loaded"]
    engine.warm_up()
    assert engines.get(warm) is engine and engine.health().facts["is_loaded"]


def test_other_settings_mean_another_engine_and_the_old_one_leaves_the_memory(warm: Endpoint):
    engines = Engines()
    before: Any = engines.get(warm)
    before.warm_up()
    warm.config = {**warm.config, "tier": "fast"}
    after = engines.get(warm)
    assert after is not before and not before.health().facts["is_loaded"]


class LateEngine(ReadyEngine):
    """Yields its images before their pixels are there.

    The pixels of a batch arrive when the next batch has begun, those of the last batch at once.
    """

    name = "late"
    log: list[str] = []
    begun: list[threading.Event] = []
    batches = 3

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        LateEngine.log, LateEngine.begun = [], [threading.Event() for _ in range(LateEngine.batches + 1)]
        self._number = 0
        LateEngine.begun[LateEngine.batches].set()

    def generate(self, batch: Sequence[Task], context: Context) -> Iterator[Result]:
        number, self._number = self._number, self._number + 1
        LateEngine.log.append(f"begun {number}")
        LateEngine.begun[number].set()
        for result in super().generate(batch, context):
            yield replace(result, pixels=None, load_pixels=lambda made=result.pixels: self._arrive(number, made))

    def _arrive(self, number: int, pixels: Any) -> Any:
        if not LateEngine.begun[number + 1].wait(60):
            raise RuntimeError("the next batch was not begun")
        LateEngine.log.append(f"arrived {number}")
        return pixels


base.ENGINES.register("late", base.EnginePlugin("late", LateEngine))


@pytest.mark.django_db(transaction=True)
def test_the_lane_begins_the_next_batch_before_the_pixels_of_the_last_have_arrived(clean_redis: Any):
    run = queued_runs.create_run(
        queued_runs.create_campaign(), queued_runs.create_endpoint(engine="late", batch_size=8, lane=Lane.GPU), 24
    )
    worker = LaneWorker("late", [Lane.GPU])
    worker.start()
    try:
        worker.drain(Lane.GPU)
    finally:
        worker.stop()
    assert Job.objects.filter(run=run, status=JobState.SUCCEEDED).count() == 24
    for number in range(2):
        assert LateEngine.log.index(f"begun {number + 1}") < LateEngine.log.index(f"arrived {number}")
