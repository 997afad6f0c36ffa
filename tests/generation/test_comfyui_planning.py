"""Test what the ComfyUI engine reports about a workflow before it makes an image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from generation.engines.base import Spec
from generation.engines.comfyui.engine import ComfyUI
from tests.support import comfy_workflows as workflows
from tests.support.comfy_server import ComfyServer
from tests.support.comfy_submissions import (
    closed_port,
    image_spec,
    image_to_image_config,
    submit_and_fetch,
    task,
)
from tests.support.remote_server import serving


@pytest.fixture
def server() -> Iterator[ComfyServer]:
    with serving(ComfyServer()) as running:
        yield running


# -- what planning asks ---------------------------------------------------------------------------------------------


def test_the_engine_obeys_the_marks_and_sends_no_request_for_it():
    engine = ComfyUI(
        image_to_image_config(closed_port(), ranges={"strength": {"type": "FLOAT", "minimum": 0, "maximum": 1}})
    )
    capabilities = engine.capabilities()
    assert capabilities.is_remote and capabilities.obeys_prompt
    assert capabilities.obeys == {"prompt", "negative", "seed", "strength", "lora_strength"}
    controls = {control.parameter: control for control in capabilities.controls}
    assert (controls["strength"].kind, controls["strength"].maximum) == ("number", 1)
    assert controls["lora_strength"].default == 0.8 and "init" not in controls
    assert engine.validate(image_spec(strength="0.4")) == []
    assert engine.validate(image_spec(strength="2")) == ["strength is 2; “KSampler” (node 3) takes 0 to 1."]
    assert engine.validate(image_spec(strength="much")) == ["strength is 'much'; it is a number."]
    assert "No input of this workflow is marked as 'steps'" in engine.validate(image_spec(steps=9))[0]


def test_the_identity_changes_with_the_graph_and_the_marks_but_not_with_titles_or_servers():
    def identity(**changes: Any) -> tuple[str, str]:
        return ComfyUI({**workflows.config("http://a:1"), **changes}).model_identity()

    same, titled, other = workflows.text_to_image(), workflows.text_to_image(), workflows.text_to_image(cfg=4)
    titled["3"]["_meta"]["title"] = "The sampler"
    assert identity() == identity(workflow=same, servers=["http://b:2"]) == identity(workflow=titled)
    assert identity()[0] == "comfyui workflow bottles"
    fewer = {name: place for name, place in workflows.TEXT_MARKS.items() if name != "steps"}
    assert len({identity(), identity(workflow=other), identity(inputs=fewer)}) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"workflow": {"nodes": [], "links": [], "version": 0.4}}, "as ComfyUI's editor keeps it"),
        ({"workflow": {}}, "no ComfyUI workflow"),
        ({"workflow": [1]}, "no ComfyUI workflow"),
        ({"workflow": {"1": {"class_type": "X"}}}, "Node '1' of this file has no inputs"),
        ({"workflow": {"1": {"class_type": None, "inputs": {}}}}, "lacked a custom node"),
        ({"workflow": {"1": {"class_type": "X", "inputs": {"a": ["2", 0]}}}}, "takes its a from node 2"),
        ({"workflow": {"1": {"class_type": "X", "inputs": {}}}, "inputs": {}}, "add a Save Image node"),
        ({"inputs": {"prompt": ["66", "text"]}}, "marked at input 'text' of node 66"),
        ({"inputs": {"prompt": "6"}}, "it is a node and an input"),
        ({"output_node": "3"}, "saves no image"),
        ({"servers": []}, '"servers"'),
        ({"servers": ["gpu-a:8188"]}, "no address of a service"),
    ],
)
def test_what_cannot_be_used_is_explained(change, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        ComfyUI({**workflows.config("http://a:1"), **change})


def test_the_body_that_a_client_posts_is_understood_as_its_graph():
    wrapped = {"prompt": workflows.text_to_image(), "client_id": "x"}
    assert ComfyUI({**workflows.config("http://a:1"), "workflow": wrapped}).workflow.output_node == "9"


def test_a_seed_beyond_what_the_node_takes_is_folded_into_its_range(server):
    engine = ComfyUI(workflows.config(server, ranges={"seed": {"type": "INT", "minimum": 0, "maximum": 2**32 - 1}}))
    result = submit_and_fetch(engine, task(Spec("x", 64, 48, 2**40 + 5)))
    assert result.seed == server.submissions[0]["prompt"]["3"]["inputs"]["seed"] == (2**40 + 5) % 2**32


# -- health ---------------------------------------------------------------------------------------------------------


def test_health_looks_at_every_server_and_says_what_is_missing_there(server):
    lesser = ComfyServer(checkpoints=("a.safetensors", "b.safetensors"), without=frozenset({"VAEDecode"}))
    with serving(lesser):
        health = ComfyUI(workflows.config(server, lesser, closed_port())).health()
        assert health.is_ok
        assert health.message.startswith("1 of 3 servers can run this workflow.")
        assert "“VAE Decode” (node 8) is of the type VAEDecode, which is not installed." in health.message
        assert "there is no ckpt_name called 'sd15.safetensors'; there: a.safetensors, b.safetensors." in health.message
        assert "did not answer" in health.message
        facts = health.facts["servers"][server.url.removeprefix("http://")]
        assert facts["version"] == "0.38.1" and facts["devices"][0]["name"] == "cuda:0 H100"
        assert not ComfyUI(workflows.config(lesser)).health().is_ok
    assert not any(request.method == "POST" for request in [*server.requests, *lesser.requests])


def test_a_missing_lora_is_found_before_anything_is_made():
    with serving(ComfyServer(loras=())) as server:
        health = ComfyUI(image_to_image_config(server)).health()
        assert "“House style” (node 14): there is no lora_name called 'glaze.safetensors'; there: none at all." in (
            health.message
        )


def test_without_a_workflow_there_is_an_endpoint_that_says_what_it_lacks():
    engine = ComfyUI({"servers": ["http://a:1"]})
    assert engine.capabilities().obeys == frozenset()
    assert "no workflow yet" in engine.validate(Spec("x", 64, 64, 1))[0]
    assert engine.health().message == engine.validate(Spec("x", 64, 64, 1))[0]
