"""Test the Cog part of the `replicate` engine: a server that is starting, failed or crashed, and cancelling."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from generation.engines.base import EngineError, ErrorKind, Task
from generation.engines.replicate.cog import Cog, prediction_id_of
from tests.generation.test_cog_engine import engine
from tests.support.cog_server import Cog as Server
from tests.support.engine_context import MemoryContext
from tests.support.racing import race_without_errors
from tests.support.remote_server import CUT_BEFORE, Fault, plain, serving
from tests.support.replicate_server import PredictionOutcome
from tests.support.replicate_submissions import spec, submit, submit_refused


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as service:
        yield service


class Cancelled(MemoryContext):
    """A context whose task 1 is cancelled once `is_set`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_set = threading.Event()

    def cancelled(self) -> frozenset[int]:
        return frozenset({1}) if self.is_set.is_set() else frozenset()


# -- a crashed worker --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "Worker crashed",
        "Prediction failed: Worker crashed",
        "Prediction failed for an unknown reason. It might have run out of memory? (exitcode -9)",
        "Prediction failed for an unknown reason. (exit code 1)",
        "the worker process died unexpectedly",
        "Worker exited with signal SIGSEGV",
    ],
)
def test_a_worker_that_crashes_is_the_servers_fault_and_not_the_prompts(server: Server, words: str) -> None:
    server.fates["a mug on oak"] = PredictionOutcome(error=words)
    error = submit_refused(engine(server))
    assert error.kind == ErrorKind.TRANSIENT
    assert "server crashed" in error.message and words in error.message


@pytest.mark.parametrize("prompt", ["a mug", "a jug", "a bowl", "a plate", "a DIE-cast spoon"])
def test_after_a_crash_every_submission_waits_for_the_server_and_none_is_blamed(server: Server, prompt: str) -> None:
    cog = engine(server)
    assert submit_refused(cog, spec("DIE")).kind == ErrorKind.TRANSIENT
    error = submit_refused(cog, spec(prompt))
    assert (error.kind, error.is_unsent) == (ErrorKind.TRANSIENT, True)
    assert "not healthy" in error.message and "started again" in error.message
    assert "healthcheck channel closed" in error.message
    server.status, server.crashes_at = "", "nothing"  # the server was restarted
    assert submit(cog, spec(prompt)).result.pixels is not None


@pytest.mark.parametrize("status", ["", "READY", "BUSY"])
def test_a_busy_server_is_asked_to_wait_for(server: Server, status: str) -> None:
    server.status, server.slots = status, 0
    error = submit_refused(engine(server))
    assert (error.kind, error.retry_after_seconds, error.is_unsent) == (ErrorKind.RATE, 2.0, False)


def test_a_busy_server_without_a_health_check_is_only_busy(server: Server) -> None:
    server.slots = 0
    server.fail_next("GET /health-check", Fault(response=plain({"detail": "Not Found"}, 404)))
    assert submit_refused(engine(server)).kind == ErrorKind.RATE
    server.fail_next("GET /health-check", CUT_BEFORE)
    assert submit_refused(engine(server)).kind == ErrorKind.RATE


# -- servers that do not work ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "logs", "kind", "words"),
    [
        ("STARTING", "", ErrorKind.TRANSIENT, "still loading its model"),
        (
            "SETUP_FAILED",
            "loading\nRuntimeError: CUDA driver version is insufficient",
            ErrorKind.ENDPOINT,
            "its setup failed; its operator has to mend it and start it again. RuntimeError: CUDA driver version",
        ),
        ("SETUP_FAILED", "FileNotFoundError: /src/weights", ErrorKind.ENDPOINT, "FileNotFoundError: /src/weights"),
        ("SETUP_FAILED", "", ErrorKind.ENDPOINT, "its setup failed"),
        ("DEFUNCT", "", ErrorKind.TRANSIENT, "has to be started again"),
        ("UNHEALTHY", "", ErrorKind.TRANSIENT, "not healthy"),
    ],
)
def test_a_submission_and_the_health_check_explain_why_a_server_does_not_work(
    server: Server, status: str, logs: str, kind: ErrorKind, words: str
) -> None:
    server.status, server.setup_logs = status, logs
    error, health = submit_refused(engine(server)), engine(server).health()
    assert error.kind == kind and error.is_unsent == (kind == ErrorKind.TRANSIENT)
    assert not health.is_ok
    for text in (error.message, health.message):
        assert "cannot work" in text and words in text


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"openapi": "3.0.2", "paths": {}},
        {"components": {"schemas": {}}},
        {"components": {"schemas": {"Input": {"type": "object", "properties": {}}}}},
        {"components": {"schemas": {"Input": "none"}}},
    ],
    ids=["503", "empty", "paths only", "no input", "no properties", "no object"],
)
def test_a_server_without_a_schema_works_and_says_what_was_not_compared(server: Server, schema: Any) -> None:
    server.schema = schema
    health = engine(server).health()
    assert health.is_ok
    assert "is ready" in health.message and "no schema of its model's inputs" in health.message
    assert submit(engine(server), spec()).result.pixels is not None


# -- cancelling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after_seconds", [0.0, 0.1, 0.3, 0.6, 1.1])
def test_cancelling_a_submission_that_is_worked_on_stops_it_at_the_server(server: Server, after_seconds: float) -> None:
    server.seconds = 120.0
    marker, context, began = str(uuid.uuid4()), Cancelled(), time.monotonic()
    threading.Timer(after_seconds, context.is_set.set).start()
    with pytest.raises(EngineError) as caught:
        engine(server).submit(Task(1, spec()), marker, context)
    assert caught.value.kind == ErrorKind.CANCELLED
    assert server.cancelled == [prediction_id_of(marker)]
    assert server.running == {} and time.monotonic() - began < 60


def test_cancelling_one_submission_leaves_the_others_alone(server: Server) -> None:
    server.seconds, server.slots = 1.5, 3
    cog, context = engine(server), Cancelled()
    context.is_set.set()

    def make(number: int) -> str:
        try:
            cog.submit(Task(number, spec(seed=number)), str(uuid.uuid4()), context)
            return "made"
        except EngineError as error:
            return error.kind

    kinds = race_without_errors(*(partial(make, number) for number in (1, 2, 3)))
    assert kinds == [ErrorKind.CANCELLED, "made", "made"]


def test_a_cancellation_that_got_lost_is_sent_again(server: Server) -> None:
    server.seconds, context = 20.0, Cancelled()
    server.fail_next("POST /predictions/{id}/cancel", CUT_BEFORE, Fault(response=plain({}, 500)))
    context.is_set.set()
    with pytest.raises(EngineError) as caught:
        engine(server).submit(Task(1, spec()), str(uuid.uuid4()), context)
    assert caught.value.kind == ErrorKind.CANCELLED
    assert server.counts["POST /predictions/{id}/cancel"] == 3


def test_another_thread_cancels_a_running_submission_by_its_id(server: Server) -> None:
    server.seconds, marker = 20.0, str(uuid.uuid4())
    cog: Cog = engine(server)
    errors: list[EngineError] = []

    def make() -> None:
        with pytest.raises(EngineError) as caught:
            cog.submit(Task(1, spec()), marker, MemoryContext())
        errors.append(caught.value)

    thread = threading.Thread(target=make)
    thread.start()
    while not server.runs:
        time.sleep(0.01)
    cog.cancel(prediction_id_of(marker))
    thread.join()
    assert errors[0].kind == ErrorKind.CANCELLED
