"""Test the ComfyUI engine against a local server on real sockets: its requests, and how it reads the answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from generation.engines import base
from generation.engines.base import EngineError, ErrorKind, Spec
from generation.engines.comfyui.engine import ComfyUI
from tests.support import comfy_workflows as workflows
from tests.support.comfy_server import ComfyServer
from tests.support.comfy_submissions import (
    SPEC,
    image_spec,
    image_to_image_config,
    new_marker,
    photo,
    submit,
    submit_and_fail,
    submit_and_fetch,
    task,
    wait_for_result,
)
from tests.support.engine_context import MemoryContext
from tests.support.remote_server import CUT_BEFORE, Fault, Response, plain, serving


@pytest.fixture
def server() -> Iterator[ComfyServer]:
    with serving(ComfyServer()) as running:
        yield running


# -- an image ------------------------------------------------------------------------------------------------------


def test_an_image_is_made_from_the_marked_inputs(server):
    engine = base.build("comfyui", workflows.config(server))
    assert isinstance(engine, ComfyUI)
    result = submit_and_fetch(engine)
    assert result.pixels is not None and result.pixels.shape == (48, 64, 3)
    inputs = {node_id: node["inputs"] for node_id, node in server.submissions[0]["prompt"].items()}
    assert inputs["6"]["text"] == "a sage mug on oak" and inputs["7"]["text"] == "blurred"
    assert (inputs["3"]["seed"], inputs["3"]["steps"], inputs["5"]["width"], inputs["5"]["height"]) == (7, 3, 64, 48)
    assert inputs["3"]["cfg"] == 8
    assert result.seed == 7 and result.usage["images"] == 1 and result.usage["seconds"] >= 0
    assert result.facts["size"] == [64, 48] and result.facts["server"] == server.url.removeprefix("http://")
    assert result.facts["models"] == {"4 ckpt_name": "sd15.safetensors"}
    assert (result.model, result.revision) == engine.model_identity()


def test_equal_specs_give_equal_pixels_and_another_seed_gives_others(server):
    engine = ComfyUI(workflows.config(server))
    first, second = submit_and_fetch(engine), submit_and_fetch(engine)
    other = submit_and_fetch(engine, task(Spec(SPEC.prompt, 64, 48, 8)))
    assert first.pixels is not None and second.pixels is not None and other.pixels is not None
    assert np.array_equal(first.pixels, second.pixels)
    assert not np.array_equal(first.pixels, other.pixels)


def test_the_submission_carries_our_own_id_and_the_answer_names_the_server_and_the_job(server):
    engine, own_marker, submitted_task = ComfyUI(workflows.config(server)), new_marker(), task()
    handed = engine.submit(submitted_task, own_marker, MemoryContext())
    assert handed.remote_id == f"{own_marker}@{server.url.removeprefix('http://')}#{submitted_task.id}"
    assert server.submissions[0]["prompt_id"] == own_marker and len(handed.remote_id) <= 200


def test_an_equal_submission_saves_a_file_of_its_own_because_the_jobs_id_is_in_its_name(server):
    engine, submitted_task = ComfyUI(workflows.config(server)), task()
    submit_and_fetch(engine, submitted_task)
    before = server.runs_of_nodes.copy()
    submit_and_fetch(engine, submitted_task)
    saved = [key for key in server.files if key.startswith("output/")]
    assert len(saved) == 2 and all(f"/{submitted_task.id}-" in key for key in saved)
    assert server.runs_of_nodes[len(before) :] == ["SaveImage"], "the sampler's work is reused, the file is new"


def test_the_server_would_otherwise_answer_with_the_old_file(server):
    """Show the problem: the server runs nothing for the same graph under the same prefix."""
    engine = ComfyUI(workflows.config(server))
    graph = engine.workflow.fill({"prompt": "x"}, "proofline/same")
    for _ in range(2):
        engine.servers[0].submit(graph, new_marker(), "nobody")
        while len(server.made) < len(server.submissions):
            time.sleep(0.01)
    assert len([key for key in server.files if key.startswith("output/")]) == 1


def test_of_a_workflow_that_makes_a_batch_the_first_image_counts_and_the_rest_is_reported(server):
    config = workflows.config(server)
    config["workflow"]["5"]["inputs"]["batch_size"] = 3
    result = submit_and_fetch(ComfyUI(config))
    assert result.usage["images"] == 1
    assert result.facts["left_out"] == "2 further images of the workflow's batch"


def test_of_several_saving_nodes_the_chosen_ones_image_counts(server):
    config = workflows.config(server)
    config["workflow"]["20"] = {
        "class_type": "ImageScale",
        "inputs": {"image": ["8", 0], "width": 16, "height": 16},
    }
    config["workflow"]["21"] = {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["20", 0]}}
    with pytest.raises(ValueError, match="Several nodes save images"):
        ComfyUI(config)
    assert submit_and_fetch(ComfyUI({**config, "output_node": "21"})).facts["size"] == [16, 16]
    assert submit_and_fetch(ComfyUI({**config, "output_node": "9"})).facts["size"] == [64, 48]


def test_a_server_behind_a_path_and_a_login_is_asked_with_both():
    with serving(ComfyServer(token="Bearer s3cret", base="/art/comfy")) as server:
        config = workflows.config(server)
        assert submit_and_fetch(base.build("comfyui", config, "s3cret")).pixels is not None
        error = submit_and_fail(base.build("comfyui", config, "wrong"))
        assert error.kind is ErrorKind.QUOTA
        assert "wrong" not in f"{error} {error.log}"
    with serving(ComfyServer(token="Basic YW5uOnBhc3M=")) as server:
        assert submit_and_fetch(base.build("comfyui", workflows.config(server), "ann:pass")).pixels is not None
    with serving(ComfyServer()) as server:
        submit_and_fetch(ComfyUI(workflows.config(server, headers={"X-Team": "studio"})))
        assert {request.headers.get("x-team") for request in server.requests} == {"studio"}


def test_an_origin_is_never_sent_since_the_server_refuses_strange_ones(server):
    engine = ComfyUI(workflows.config(server))
    submit_and_fetch(engine)
    assert not any("origin" in request.headers for request in server.requests)


# -- images ---------------------------------------------------------------------------------------------------------


def test_an_input_image_is_uploaded_and_decides_the_pixels(server):
    engine = ComfyUI(image_to_image_config(server))
    context = MemoryContext(mug=photo(250), bowl=photo(5))
    bright = submit_and_fetch(engine, task(image_spec()), context)
    dark = submit_and_fetch(engine, task(image_spec("b" * 64, "bowl")), context)
    assert bright.pixels is not None and dark.pixels is not None
    assert bright.pixels.mean() > dark.pixels.mean() + 80


def test_an_image_is_uploaded_once_per_server_and_loaded_by_the_name_that_came_back():
    with serving(ComfyServer(renames=True)) as server:
        engine, context = ComfyUI(image_to_image_config(server)), MemoryContext(mug=photo(250))
        for _ in range(3):
            submit_and_fetch(engine, task(image_spec()), context)
        assert server.uploads == 1 and context.loaded == ["mug"]
        names = {submission["prompt"]["10"]["inputs"]["image"] for submission in server.submissions}
        assert names == {f"proofline/{'a' * 32} (1).png"}


def test_an_upload_that_somebody_cleared_away_is_made_again(server):
    engine, context = ComfyUI(image_to_image_config(server)), MemoryContext(mug=photo(250))
    submit_and_fetch(engine, task(image_spec()), context)
    server.files.clear()
    assert submit_and_fetch(engine, task(image_spec()), context).pixels is not None
    assert server.uploads == 2


def test_a_missing_image_is_refused_before_anything_is_sent(server):
    engine = ComfyUI(image_to_image_config(server))
    assert engine.capabilities().needs_images == {"init"}
    error = submit_and_fail(engine, task(Spec("a mug", 64, 64, 3)))
    assert error.kind is ErrorKind.INPUT and "needs an image “init”" in error.message
    assert not server.requests


def test_one_parameter_may_fill_several_inputs_and_comes_as_text(server):
    engine = ComfyUI(image_to_image_config(server))
    submit_and_fetch(engine, task(image_spec(lora_strength="0.35", strength="")), MemoryContext(mug=photo(9)))
    inputs = server.submissions[0]["prompt"]["14"]["inputs"]
    assert (inputs["strength_model"], inputs["strength_clip"]) == (0.35, 0.35)
    assert server.submissions[0]["prompt"]["3"]["inputs"]["denoise"] == 0.5


# -- refusals -------------------------------------------------------------------------------------------------------


def submit_refused(server: ComfyServer, change: dict[tuple[str, str], Any], **more: Any) -> EngineError:
    config = workflows.config(server, **more)
    for (node_id, name), value in change.items():
        config["workflow"][node_id]["inputs"][name] = value
    return submit_and_fail(ComfyUI(config))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {("4", "ckpt_name"): "dream.safetensors"},
            "“Load Checkpoint” (node 4): {host} has no ckpt_name called 'dream.safetensors'.",
        ),
        ({("3", "cfg"): -1}, "“KSampler” (node 3): cfg is -1; at least 0.0 is needed."),
        ({("3", "cfg"): 400}, "“KSampler” (node 3): cfg is 400; at most 100.0 is possible."),
        ({("3", "cfg"): "lots"}, "“KSampler” (node 3): cfg is 'lots', which is of the wrong kind."),
        ({("3", "model"): None}, "“KSampler” (node 3) lacks its model."),
    ],
)  # fmt: skip
def test_a_node_error_is_reported_with_the_nodes_title(server, change, sentence):
    error = submit_refused(server, change)
    assert error.kind is ErrorKind.ENDPOINT, "the workflow or the server is to blame, not the job"
    assert error.message == sentence.format(host=server.url.removeprefix("http://"))


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (("5", "width"), ErrorKind.INPUT),
        (("3", "seed"), ErrorKind.INPUT),
        (("6", "text"), ErrorKind.INPUT),
        (("3", "cfg"), ErrorKind.ENDPOINT),
        (("4", "ckpt_name"), ErrorKind.ENDPOINT),
        (("3", "sampler_name"), ErrorKind.ENDPOINT),
    ],
)
def test_only_a_value_that_the_job_fills_in_is_the_jobs_fault(server, place, kind):
    node_id, name = place
    error = {"type": "value_bigger_than_max", "extra_info": {"input_name": name, "received_value": 9}}
    answer = {"error": {"type": "prompt_outputs_failed_validation"}, "node_errors": {node_id: {"errors": [error]}}}
    server.fail_next("POST /prompt", Fault(response=plain(answer, 400)))
    assert submit_and_fail(ComfyUI(workflows.config(server))).kind is kind


def test_a_node_that_is_not_installed_is_named():
    with serving(ComfyServer(without=frozenset({"VAEDecode"}))) as server:
        error = submit_refused(server, {})
        assert error.kind is ErrorKind.ENDPOINT
        assert "has no node of the type VAEDecode, which “VAE Decode” (node 8) is" in error.message


def test_a_workflow_of_which_the_server_would_run_only_a_part_is_a_failure_and_is_taken_back(server):
    server.is_paused = True
    config = workflows.config(server)
    config["workflow"]["30"] = {"class_type": "ImageScale", "inputs": {"image": ["8", 0], "width": -5, "height": 8}}
    config["workflow"]["31"] = {"class_type": "PreviewImage", "inputs": {"images": ["30", 0]}}
    error = submit_and_fail(ComfyUI(config))
    assert error.kind is ErrorKind.ENDPOINT and "only a part of the workflow" in error.message
    assert "width is -5" in error.message
    assert not server.waiting, "the part would have been made for nobody"
    server.resume()
    assert submit_and_fetch(ComfyUI({**config, "allow_partial": True})).pixels is not None


@pytest.mark.parametrize(
    ("response", "kind", "words"),
    [
        (plain({"error": "no prompt", "node_errors": []}, 400), ErrorKind.INPUT, "no prompt"),
        (plain({"error": {"type": "x", "message": "Loop"}, "node_errors": {}}, 400), ErrorKind.INPUT, "Loop"),
        (Response(413, b"Request Entity Too Large"), ErrorKind.INPUT, "--max-upload-size"),
        (Response(401, b"who are you"), ErrorKind.QUOTA, "who are you"),
        (plain({"detail": "slow"}, 429, retry_after="7"), ErrorKind.RATE, "429"),
        (Response(500, b"<html>500</html>"), ErrorKind.TRANSIENT, "500"),
        (Response(502, b"bad gateway"), ErrorKind.UNCERTAIN, "bad gateway"),
        (Response(504, b"gateway timeout"), ErrorKind.UNCERTAIN, "gateway timeout"),
        (Response(200, b"<html>welcome</html>"), ErrorKind.UNCERTAIN, "something else than its id"),
        (plain({"node_errors": {}}), ErrorKind.UNCERTAIN, "something else than its id"),
        (plain([]), ErrorKind.UNCERTAIN, "something else than its id"),
    ],
)  # fmt: skip
def test_every_strange_answer_to_a_submission_has_its_kind(server, response, kind, words):
    server.fail_next("POST /prompt", Fault(response=response))
    error = submit_and_fail(ComfyUI(workflows.config(server)))
    assert error.kind is kind
    assert words in error.message
    assert error.retry_after_seconds == (7.0 if kind is ErrorKind.RATE else None)


# -- failures -------------------------------------------------------------------------------------------------------


def submit_failing(server: ComfyServer, kind: str, message: str) -> EngineError:
    config = workflows.config(server)
    config["workflow"]["40"] = {
        "class_type": "Fails",
        "inputs": {"images": ["8", 0], "kind": kind, "message": message},
        "_meta": {"title": "Retouch"},
    }
    config["workflow"]["9"]["inputs"]["images"] = ["40", 0]
    return submit_and_fail(ComfyUI(config))


@pytest.mark.parametrize("has_jobs", [True, False])
@pytest.mark.parametrize(
    ("raised", "message", "kind"),
    [
        ("ValueError", "mat1 and mat2 shapes cannot be multiplied", ErrorKind.INPUT),
        ("RuntimeError", "ERROR: clip input is invalid: None", ErrorKind.ENDPOINT),
        ("RuntimeError", "Could not detect model type of: /models/checkpoints/old.ckpt", ErrorKind.ENDPOINT),
        ("RuntimeError", "ERROR: VAE is invalid: None", ErrorKind.ENDPOINT),
        ("SafetensorError", "Error while deserializing header: the safetensors file is cut off", ErrorKind.ENDPOINT),
        ("FileNotFoundError", "no such file", ErrorKind.INPUT),
        ("OutOfMemoryError", "Allocation on device", ErrorKind.MEMORY),
        ("RuntimeError", "CUDA out of memory. Tried to allocate", ErrorKind.MEMORY),
        ("RuntimeError", "CUDA error: an illegal memory access", ErrorKind.TRANSIENT),
        ("ClientConnectorError", "Cannot connect to host", ErrorKind.TRANSIENT),
        ("OSError", "[Errno 28] No space left on device", ErrorKind.TRANSIENT),
    ],
)
def test_a_node_that_raises_is_reported_with_its_title_and_its_kind(raised, message, kind, has_jobs):
    with serving(ComfyServer(has_jobs=has_jobs)) as server:
        error = submit_failing(server, raised, message)
        assert error.kind is kind
        assert "“Retouch” (node 40)" in error.message
        assert raised in error.log


def test_an_image_that_does_not_fit_on_the_card_is_a_matter_of_memory():
    with serving(ComfyServer(vram_pixels=100)) as server:
        error = submit_and_fail(ComfyUI(workflows.config(server)))
        assert error.kind is ErrorKind.MEMORY and "“KSampler” (node 3)" in error.message


def test_a_workflow_that_ended_without_an_image_says_at_which_node(server):
    engine = ComfyUI(workflows.config(server))
    remote_id = submit(engine).remote_id
    wait_for_result(engine, remote_id)
    server.history[remote_id.split("@")[0]]["outputs"] = {}
    error = wait_for_result(engine, remote_id).error
    assert (
        error is not None and error.kind is ErrorKind.INPUT and "“Save Image” (node 9) saved no image" in error.message
    )


def test_a_file_that_is_gone_means_that_the_image_is_made_again(server):
    engine = ComfyUI(workflows.config(server))
    result = wait_for_result(engine, submit(engine).remote_id)
    server.files.clear()
    with pytest.raises(EngineError) as caught:
        engine.fetch(result, MemoryContext())
    assert caught.value.kind is ErrorKind.LOST


def test_an_image_that_arrives_cut_off_is_fetched_again(server):
    engine = ComfyUI(workflows.config(server))
    result = wait_for_result(engine, submit(engine).remote_id)
    whole = next(data for key, data in server.files.items() if key.startswith("output/"))
    server.fail_next(
        "GET /view", Fault(response=Response(200, whole[: len(whole) // 2])), CUT_BEFORE, Fault(response=Response(503))
    )
    for _ in range(3):
        with pytest.raises(EngineError) as caught:
            engine.fetch(result, MemoryContext())
        assert caught.value.kind is ErrorKind.TRANSIENT
    assert engine.fetch(result, MemoryContext()).pixels is not None
