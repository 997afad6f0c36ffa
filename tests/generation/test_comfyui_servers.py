"""Test the ComfyUI engine: lost answers, dead, restarted and several servers, cancelling, and progress hints."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from generation.engines.base import EngineError, ErrorKind, Pending, Result, Spec, Task
from generation.engines.comfyui.engine import ComfyUI
from generation.engines.comfyui.servers import Submission
from tests.support import comfy_workflows as workflows
from tests.support.comfy_server import ComfyServer
from tests.support.comfy_submissions import (
    closed_port,
    new_marker,
    submit,
    submit_and_fail,
    submit_and_fetch,
    task,
    wait_for_result,
)
from tests.support.engine_context import MemoryContext
from tests.support.remote_server import CUT_AFTER, CUT_BEFORE, Fault, Request, Response, plain, serving


@pytest.fixture
def server() -> Iterator[ComfyServer]:
    with serving(ComfyServer()) as running:
        yield running


# -- lost answers ---------------------------------------------------------------------------------------------------

NEW_AND_OLD = [{"has_jobs": True}, {"has_jobs": False}, {"has_jobs": False, "keeps_ids": False}]
AGO = timedelta(seconds=1)


@pytest.mark.parametrize("age", NEW_AND_OLD)
@pytest.mark.parametrize("is_done", [False, True])
def test_a_submission_whose_answer_was_lost_is_found_again(age, is_done):
    with serving(ComfyServer(**age)) as server:
        server.is_paused = True
        engine, submitted_task, own_marker = ComfyUI(workflows.config(server)), task(), new_marker()
        submit(engine)
        server.fail_next("POST /prompt", CUT_AFTER)
        with pytest.raises(EngineError) as caught:
            engine.submit(submitted_task, own_marker, MemoryContext())
        assert caught.value.kind is ErrorKind.UNCERTAIN
        if is_done:
            server.resume()
            while len(server.made) < 2:
                time.sleep(0.01)
        remote_id = ComfyUI(workflows.config(server)).find(submitted_task, own_marker, datetime.now(UTC) - AGO, ())
        assert remote_id is not None
        server.resume()
        result = engine.fetch(wait_for_result(engine, remote_id), MemoryContext())
        assert result.pixels is not None and result.seed == 7
        assert f"output/proofline/{submitted_task.id}-{own_marker[:8]}_00001_.png" in server.files


@pytest.mark.parametrize("age", NEW_AND_OLD)
def test_a_submission_whose_answer_was_lost_is_found_by_its_file_after_a_restart(age):
    with serving(ComfyServer(**age)) as server:
        engine, submitted_task, own_marker = ComfyUI(workflows.config(server)), task(), new_marker()
        server.fail_next("POST /prompt", CUT_AFTER)
        with pytest.raises(EngineError):
            engine.submit(submitted_task, own_marker, MemoryContext())
        wait_for(lambda: server.made, "the image")
        server.restart()
        remote_id = engine.find(submitted_task, own_marker, datetime.now(UTC) - AGO, ())
        assert (
            remote_id is not None
            and engine.fetch(wait_for_result(engine, remote_id), MemoryContext()).pixels is not None
        )


@pytest.mark.parametrize("age", NEW_AND_OLD)
def test_a_submission_that_never_arrived_is_not_found(age):
    with serving(ComfyServer(**age)) as server:
        engine, submitted_task, own_marker = ComfyUI(workflows.config(server)), task(), new_marker()
        submit(engine)
        server.fail_next("POST /prompt", CUT_BEFORE)
        with pytest.raises(EngineError) as caught:
            engine.submit(submitted_task, own_marker, MemoryContext())
        assert caught.value.kind is ErrorKind.UNCERTAIN
        assert engine.find(submitted_task, own_marker, datetime.now(UTC) - AGO, ()) is None


def test_an_answer_that_takes_too_long_is_uncertain_and_then_found(server):
    engine, submitted_task, own_marker = ComfyUI(workflows.config(server, timeout_seconds=0.3)), task(), new_marker()
    server.fail_next("POST /prompt", Fault(seconds=0.8, after_effect=True, response=Response(504)))
    with pytest.raises(EngineError) as caught:
        engine.submit(submitted_task, own_marker, MemoryContext())
    assert caught.value.kind is ErrorKind.UNCERTAIN
    while not server.submissions:
        time.sleep(0.01)
    engine = ComfyUI(workflows.config(server))
    assert engine.find(submitted_task, own_marker, datetime.now(UTC) - AGO, ()) is not None


def test_a_server_that_cannot_be_reached_may_have_it_until_it_has_been_away_for_long(server):
    engine = ComfyUI(workflows.config(server, closed_port(), lost_after_seconds=60))
    submitted_task, own_marker = task(), new_marker()
    with pytest.raises(EngineError) as caught:
        engine.find(submitted_task, own_marker, datetime.now(UTC), ())
    assert caught.value.kind is ErrorKind.TRANSIENT
    assert engine.find(submitted_task, own_marker, datetime.now(UTC) - timedelta(seconds=61), ()) is None


# -- progress -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_jobs", [True, False])
def test_waiting_images_know_their_place_and_unknown_ones_are_lost(has_jobs):
    with serving(ComfyServer(has_jobs=has_jobs)) as server:
        server.is_paused = True
        engine = ComfyUI(workflows.config(server))
        ids = [submit(engine).remote_id for _ in range(3)]
        stranger = f"{new_marker()}@{server.url.removeprefix('http://')}"
        states = engine.poll([*ids, stranger])
        assert [states[remote_id] for remote_id in ids] == [Pending(ahead=0), Pending(ahead=1), Pending(ahead=2)]
        lost = states[stranger]
        assert isinstance(lost, Result) and lost.error is not None and lost.error.kind is ErrorKind.LOST


def test_hundreds_of_waiting_images_are_asked_for_in_one_call(server):
    server.is_paused = True
    engine = ComfyUI(workflows.config(server))
    ids = [submit(engine).remote_id for _ in range(60)]
    before = sum(server.counts.values())
    assert len(engine.poll(ids)) == 60
    assert sum(server.counts.values()) - before == 1


@pytest.mark.parametrize("has_jobs", [True, False])
def test_a_server_that_was_restarted_in_mid_job_has_lost_it(has_jobs):
    with serving(ComfyServer(has_jobs=has_jobs, step_seconds=0.1)) as server:
        engine = ComfyUI(workflows.config(server))
        ids = [submit(engine, task(Spec("x", 64, 64, 1, parameters={"steps": 50}))).remote_id for _ in range(2)]
        assert all(isinstance(state, Pending) for state in engine.poll(ids).values())
        server.restart()
        for state in engine.poll(ids).values():
            assert isinstance(state, Result) and state.error is not None
            assert state.error.kind is ErrorKind.LOST and "restarted" in state.error.message
        assert submit_and_fetch(engine).pixels is not None


def finish_image(server: ComfyServer, engine: ComfyUI, submitted_task: Task | None = None) -> str:
    """Return the remote id of an image that the server has made and that nobody has asked about."""
    before = len(server.made)
    remote_id = submit(engine, submitted_task).remote_id
    wait_for(lambda: len(server.made) > before, "the image")
    return remote_id


def file_of(server: ComfyServer, remote_id: str) -> str:
    return next(key for key in server.files if Submission.parse(remote_id).file_stem in key)


@pytest.mark.parametrize("has_jobs", [True, False])
def test_an_image_that_was_saved_before_the_server_restarted_is_fetched_by_its_name(has_jobs):
    with serving(ComfyServer(has_jobs=has_jobs)) as server:
        engine = ComfyUI(workflows.config(server))
        remote_id = finish_image(server, engine)
        reference = submit_and_fetch(engine)
        server.restart()
        fetched = engine.fetch(wait_for_result(engine, remote_id), MemoryContext())
        assert fetched.pixels is not None and np.array_equal(fetched.pixels, reference.pixels)
        assert (fetched.seed, fetched.model, fetched.revision) == (7, reference.model, reference.revision)
        assert fetched.facts["found_on_disk"] and "seconds" not in fetched.usage
        assert len(server.submissions) == 2


def test_the_file_of_an_earlier_submission_of_the_same_job_is_not_taken_for_this_ones(server):
    engine, submitted_task = ComfyUI(workflows.config(server)), task()
    finish_image(server, engine, submitted_task)
    server.is_paused = True
    later = submit(engine, replace(submitted_task, spec=replace(submitted_task.spec, prompt="a bowl"))).remote_id
    server.restart()
    assert wait_for_result(engine, later).error.kind is ErrorKind.LOST


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.97])
def test_a_file_that_the_restart_cut_off_is_made_again_at_once(server, share):
    engine = ComfyUI(workflows.config(server))
    remote_id = finish_image(server, engine)
    whole = server.files[key := file_of(server, remote_id)]
    server.files[key] = whole[: int(len(whole) * share)]
    server.restart()
    with pytest.raises(EngineError) as caught:
        engine.fetch(wait_for_result(engine, remote_id), MemoryContext())
    assert caught.value.kind is ErrorKind.LOST and "while it was writing" in caught.value.message


def test_a_restarted_server_that_does_not_answer_for_the_file_is_asked_again(server):
    engine = ComfyUI(workflows.config(server))
    remote_id = finish_image(server, engine)
    server.restart()
    server.fail_next("HEAD /view", CUT_BEFORE, Fault(response=Response(503)))
    for _ in range(2):
        with pytest.raises(EngineError) as caught:
            engine.poll([remote_id])
        assert caught.value.kind is ErrorKind.TRANSIENT
    server.fail_next("GET /view", CUT_BEFORE)
    with pytest.raises(EngineError) as caught:
        engine.fetch(wait_for_result(engine, remote_id), MemoryContext())
    assert caught.value.kind is ErrorKind.TRANSIENT, "that it was cut off on its way says nothing of the file"
    assert engine.fetch(wait_for_result(engine, remote_id), MemoryContext()).pixels is not None


def test_submissions_whose_ids_do_not_name_the_job_still_get_their_results(server):
    engine = ComfyUI(workflows.config(server))
    old = finish_image(server, engine).partition("#")[0]
    assert wait_for_result(engine, old).error is None
    server.restart()
    assert wait_for_result(engine, old).error.kind is ErrorKind.LOST


def test_a_server_that_answers_nonsense_is_asked_again(server):
    engine = ComfyUI(workflows.config(server))
    remote_id = submit(engine).remote_id
    wait_for_result(engine, remote_id)
    nonsense = (Response(200, b"<html>"), Response(503), plain([]), plain({"jobs": None}), plain({"status": "odd"}))
    for response in (*nonsense, Response(500), Response(404, b"no such page")):
        server.fail_next("GET /api/jobs/{id}", Fault(response=response))
        with pytest.raises(EngineError) as caught:
            engine.poll([remote_id])
        assert caught.value.kind is not ErrorKind.LOST
    assert wait_for_result(engine, remote_id).error is None


# -- several servers ------------------------------------------------------------------------------------------------


@pytest.fixture
def two_servers() -> Iterator[tuple[ComfyServer, ComfyServer]]:
    with serving(ComfyServer()) as first, serving(ComfyServer()) as second:
        yield first, second


def test_the_shorter_queue_gets_the_next_image(two_servers):
    first, second = two_servers
    first.is_paused = second.is_paused = True
    for _ in range(6):
        submit(ComfyUI(workflows.config(first)))
    engine = ComfyUI(workflows.config(first, second))
    for _ in range(10):
        submit(engine)
    assert (len(first.submissions), len(second.submissions)) == (8, 8)


def test_a_dead_server_is_passed_over_and_the_others_work_on(server):
    engine = ComfyUI(workflows.config(closed_port(), server, closed_port()))
    for _ in range(4):
        assert submit_and_fetch(engine).pixels is not None
    assert len(server.submissions) == 4


def test_what_a_server_had_that_stays_away_is_lost_and_made_elsewhere(two_servers):
    first, second = two_servers
    engine = ComfyUI(workflows.config(first, second, lost_after_seconds=1.0))
    first.is_paused = second.is_paused = True
    ids = [submit(engine).remote_id for _ in range(2)]
    gone = next(
        remote_id for remote_id in ids if Submission.parse(remote_id).server == first.url.removeprefix("http://")
    )
    first.fail_next("GET /api/jobs", *[CUT_BEFORE] * 3)
    assert set(engine.poll(ids)) == set(ids) - {gone}, "it could not be asked for, and that says nothing yet"
    time.sleep(1.1)
    state = engine.poll(ids)[gone]
    assert isinstance(state, Result) and state.error is not None and state.error.kind is ErrorKind.LOST


def test_a_server_that_lacks_the_model_gets_nothing_while_another_has_it(server):
    with serving(ComfyServer(checkpoints=("other.safetensors",))) as bare:
        engine = ComfyUI(workflows.config(bare, server))
        for _ in range(4):
            assert submit_and_fetch(engine).pixels is not None
        assert not bare.submissions and bare.counts["POST /prompt"] == 1
        only = ComfyUI(workflows.config(bare, closed_port()))
        error = submit_and_fail(only)
        assert "no ckpt_name called 'sd15.safetensors'" in error.message


def test_unreachable_servers_are_a_transient_error_that_names_them(server):
    engine = ComfyUI(workflows.config(closed_port(), closed_port()))
    for _ in range(2):
        error = submit_and_fail(engine)
        assert error.kind is ErrorKind.TRANSIENT
        assert error.message.count("127.0.0.1:") == 2
    with pytest.raises(EngineError) as caught:
        engine.poll([f"{new_marker()}@{engine.servers[0].name}"])
    assert caught.value.kind is ErrorKind.TRANSIENT


def test_a_server_that_was_taken_out_of_the_endpoint_has_lost_its_images(two_servers):
    first, second = two_servers
    remote_id = submit(ComfyUI(workflows.config(first))).remote_id
    state = ComfyUI(workflows.config(second)).poll([remote_id])[remote_id]
    assert isinstance(state, Result) and state.error is not None and state.error.kind is ErrorKind.LOST
    assert not second.requests


# -- cancelling -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_jobs", [True, False])
@pytest.mark.parametrize("which", [0, 1])
def test_only_our_own_image_is_cancelled_running_or_waiting(has_jobs, which):
    with serving(ComfyServer(has_jobs=has_jobs, step_seconds=0.02)) as server:
        engine = ComfyUI(workflows.config(server))
        long = Spec("x", 64, 64, 1, parameters={"steps": 25})
        ids = [submit(engine, task(long)).remote_id for _ in range(3)]
        while server.running is None:
            time.sleep(0.01)
        engine.cancel(ids[which])
        given_up = wait_for_result(engine, ids[which]).error
        assert given_up is not None and given_up.kind is ErrorKind.CANCELLED
        others = [remote_id for remote_id in ids if remote_id != ids[which]]
        assert [wait_for_result(engine, remote_id).error for remote_id in others] == [None, None]
        assert all(b"prompt_id" in request.body for request in server.requests if request.path.endswith("/interrupt"))


def test_cancelling_what_has_ended_or_never_was_does_nothing(server):
    engine = ComfyUI(workflows.config(server))
    remote_id = submit(engine).remote_id
    wait_for_result(engine, remote_id)
    engine.cancel(remote_id)
    engine.cancel(f"{new_marker()}@{engine.servers[0].name}")
    engine.cancel(f"{new_marker()}@nowhere:1")
    assert wait_for_result(engine, remote_id).error is None


def test_an_image_that_somebody_stopped_at_the_server_is_made_again():
    with serving(ComfyServer(step_seconds=0.05)) as server:
        engine = ComfyUI(workflows.config(server))
        remote_id = submit(engine, task(Spec("x", 64, 64, 1, parameters={"steps": 50}))).remote_id
        while server.running is None:
            time.sleep(0.01)
        server.handle(Request("POST", "/interrupt", {}, {}, b""))
        error = wait_for_result(engine, remote_id).error
        assert error is not None and error.kind is ErrorKind.LOST and "Somebody stopped" in error.message


# -- hints ----------------------------------------------------------------------------------------------------------


def wait_for(true: Any, what: str) -> None:
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def test_the_websocket_says_how_far_an_image_is():
    with serving(ComfyServer(step_seconds=0.05)) as server:
        engine = ComfyUI(workflows.config(server))
        engine.progress_listener.watch(engine.servers[0].service.base_url)
        wait_for(lambda: server.sockets.clients, "a socket")
        remote_id = submit(engine, task(Spec("x", 64, 64, 1, parameters={"steps": 20}))).remote_id
        seen = []
        while isinstance(state := engine.poll([remote_id])[remote_id], Pending):
            seen.append((state.step, state.steps))
            time.sleep(0.02)
        assert (0, 0) not in seen[5:] and {steps for _, steps in seen} <= {0, 20}
        assert seen == sorted(seen) and len(set(seen)) > 5
        assert state.error is None


@pytest.mark.parametrize(
    "message",
    [
        "nonsense",
        "[]",
        '{"type": "progress", "data": null}',
        '{"type": "progress", "data": {"prompt_id": "ID", "value": "many", "max": 9}}',
        '{"type": "progress", "data": {"prompt_id": "ID", "value": 9, "max": 4}}',
        '{"type": "progress", "data": {"prompt_id": "ID", "value": -1, "max": 4}}',
        '{"type": "progress", "data": {"prompt_id": "ID", "value": NaN, "max": NaN}}',
        '{"type": "progress_state", "data": {"prompt_id": "ID", "nodes": [1]}}',
        '{"type": "executing", "data": {"prompt_id": "ID", "node": null}}',
        b"\x00\x00\x00\x01preview",
    ],
)
def test_wrong_hints_change_nothing(server, message):
    engine = ComfyUI(workflows.config(server))
    server.is_paused = True
    remote_id = submit(engine).remote_id
    wait_for(lambda: server.sockets.clients, "a socket")
    prompt_id = remote_id.split("@")[0]
    frame = message if isinstance(message, bytes) else message.replace("ID", prompt_id)
    client = server.sockets.clients[0]
    server.sockets.send_message(client, frame)
    server.sockets.send_event(client, "progress", {"prompt_id": "last", "value": 1, "max": 2})
    wait_for(lambda: engine.progress_listener.get_progress("last") == (1, 2), "the hint behind it")
    assert engine.poll([remote_id])[remote_id] == Pending(ahead=0)
    server.resume()
    assert wait_for_result(engine, remote_id).error is None


def test_progress_by_nodes_counts_the_one_that_is_running(server):
    engine = ComfyUI(workflows.config(server))
    server.is_paused = True
    prompt_id = submit(engine).remote_id.split("@")[0]
    wait_for(lambda: server.sockets.clients, "a socket")
    nodes = {
        "3": {"value": 4, "max": 30, "state": "running"},
        "4": {"value": 1, "max": 1, "state": "finished"},
        "5": {"value": 90, "max": 100, "state": "finished"},
    }
    server.sockets.send_event(server.sockets.clients[0], "progress_state", {"prompt_id": prompt_id, "nodes": nodes})
    wait_for(lambda: engine.progress_listener.get_progress(prompt_id) == (4, 30), "the hint")


def test_without_a_websocket_everything_else_is_the_same(server):
    server.upgrade = lambda request, connection: False  # type: ignore[method-assign]
    assert submit_and_fetch(ComfyUI(workflows.config(server))).pixels is not None


def is_listening(base_url: str) -> bool:
    return any(thread.name == f"hints of {base_url}" for thread in threading.enumerate())


def test_a_socket_that_is_cut_is_opened_again_later(server):
    engine = ComfyUI(workflows.config(server))
    base_url = engine.servers[0].service.base_url
    engine.progress_listener.watch(base_url)
    wait_for(lambda: server.sockets.clients, "a socket")
    server.restart()
    wait_for(lambda: not is_listening(base_url), "the end of the socket")
    engine.progress_listener.watch(base_url)
    assert not is_listening(base_url), "not at once: a server that is away is left alone for a while"
    assert submit_and_fetch(engine).pixels is not None
