"""Test the Cog part of the `replicate` engine against a local Cog server on a real socket."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from generation.engines.base import EngineError, ErrorKind, Task, build
from generation.engines.replicate.cog import Cog, prediction_id_of
from tests.support.cog_server import Cog as Server
from tests.support.engine_context import MemoryContext
from tests.support.engines import noise_pixels
from tests.support.remote_server import CUT_AFTER, CUT_BEFORE, Fault, Response, serving
from tests.support.replicate_server import PredictionOutcome
from tests.support.replicate_submissions import INPUTS, images_and_context, png, spec, submit, submit_refused


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as service:
        yield service


def engine(server: Server, **config: Any) -> Cog:
    made = build("replicate", {"cog": True, "base_url": server.url, "inputs": INPUTS, **config})
    assert isinstance(made, Cog)
    return made


def test_the_answer_to_the_submission_is_the_image(server):
    server.seconds = 0.1
    submitted = submit(engine(server, model="kilnmoor/mugs", version="3"), spec())
    result = submitted.result
    assert np.array_equal(result.pixels, noise_pixels(7, 64, 80))
    assert (result.task_id, result.model, result.revision, result.seed) == (1, "kilnmoor/mugs", "3", 7)
    assert result.usage["seconds"] == pytest.approx(0.1, abs=0.3)
    assert result.usage["images"] == 1


def test_the_prediction_has_the_markers_id_as_cog_advises(server):
    marker = str(uuid.uuid4())
    submitted = engine(server).submit(Task(1, spec()), marker, MemoryContext())
    assert server.runs[0][0] == submitted.remote_id == prediction_id_of(marker)
    assert len(submitted.remote_id) == 26


def test_images_go_along_however_large(server):
    large = png(2, width=400, height=400, grain=60)
    images, context = images_and_context(init=large)
    submit(engine(server), spec(images=images), context=context)
    assert len(server.runs[0][1]["image"]) > len(large)


def test_the_same_submission_twice_at_once_is_executed_once(server):
    server.seconds, server.slots = 1.0, 2
    cog, marker = engine(server), str(uuid.uuid4())
    first = threading.Thread(target=cog.submit, args=(Task(1, spec()), marker, MemoryContext()))
    first.start()
    while not server.runs:
        time.sleep(0.01)
    with pytest.raises(EngineError) as caught:
        cog.submit(Task(1, spec()), marker, MemoryContext())
    first.join()
    assert caught.value.kind == ErrorKind.UNCERTAIN
    assert len(server.runs) == 1


def test_taken_slots_mean_waiting(server):
    server.slots = 0
    error = submit_refused(engine(server))
    assert (error.kind, error.retry_after_seconds) == (ErrorKind.RATE, 2.0)
    assert server.runs == []


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("NSFW content detected", ErrorKind.MODERATION),
        ("CUDA out of memory", ErrorKind.MEMORY),
        ("the mask has another size than the image", ErrorKind.INPUT),
    ],
)
def test_a_failed_prediction_fails_with_the_kind_that_its_message_means(server, words, kind):
    server.fates["a mug on oak"] = PredictionOutcome(error=words)
    error = submit_refused(engine(server))
    assert error.kind == kind and words in error.message


def test_what_the_model_does_not_accept_is_reported_with_the_field(server):
    error = submit_refused(engine(server, inputs={**INPUTS, "fixed": {"num_outputs": 9}}))
    assert error.kind == ErrorKind.INPUT
    assert "num_outputs: Must be less than or equal to 4" in error.message


def test_a_server_that_still_loads_is_asked_again(server):
    server.status = "STARTING"
    assert submit_refused(engine(server)).kind == ErrorKind.TRANSIENT


@pytest.mark.parametrize(
    "fault", [CUT_AFTER, Fault(response=Response(200, b'{"status": "succ'), after_effect=True)], ids=["cut", "half"]
)
def test_an_answer_that_was_lost_is_gone_and_the_image_is_made_again(server, fault):
    server.fail_next("PUT /predictions/{id}", fault)
    cog = engine(server)
    assert submit_refused(cog).kind == ErrorKind.UNCERTAIN
    assert cog.find(Task(1, spec()), str(uuid.uuid4()), datetime.now(UTC), ()) is None
    assert submit(cog, spec()).result.pixels is not None


def test_a_lookup_at_a_server_that_cannot_be_reached_is_a_transient_error(server):
    server.fail_next("GET /health-check", CUT_BEFORE)
    with pytest.raises(EngineError) as caught:
        engine(server).find(Task(1, spec()), str(uuid.uuid4()), datetime.now(UTC), ())
    assert caught.value.kind == ErrorKind.TRANSIENT


def test_a_slower_answer_than_allowed_is_uncertain(server):
    server.seconds = 3
    assert submit_refused(engine(server, answer_seconds=1)).kind == ErrorKind.UNCERTAIN


def test_an_image_that_came_broken_is_asked_for_again(server):
    server.fates["a mug on oak"] = PredictionOutcome(output="data:image/png;base64,iVBORw0KGgo")
    assert submit_refused(engine(server)).kind == ErrorKind.TRANSIENT


def test_there_is_nothing_to_poll_or_cancel_afterwards(server):
    cog = engine(server)
    remote_id = submit(cog, spec()).remote_id
    assert cog.poll([remote_id])[remote_id].error.kind == ErrorKind.LOST
    cog.cancel(remote_id)


@pytest.mark.parametrize(
    ("status", "is_ok", "words"),
    [
        ("READY", True, "ready"),
        ("BUSY", True, "busy"),
        ("STARTING", False, "loading"),
        ("SETUP_FAILED", False, "setup failed"),
        ("DEFUNCT", False, "started again"),
        ("UNHEALTHY", False, "the card is hot"),
        ("WHAT", False, "WHAT"),
    ],
)
def test_health_is_what_the_server_says_of_itself(server, status, is_ok, words):
    server.status = status
    server.healthcheck_error = "the card is hot" if status == "UNHEALTHY" else ""
    health = engine(server).health()
    assert (health.is_ok, words in health.message) == (is_ok, True), health.message


def test_health_names_inputs_that_the_model_does_not_have(server):
    health = engine(server, inputs={"prompt": "prompt", "seed": "random_seed"}).health()
    assert not health.is_ok
    assert "no input random_seed" in health.message and "guidance_scale" in health.message
