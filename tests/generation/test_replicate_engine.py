"""Test the `replicate` engine against our own server on a real socket, which keeps Replicate's documented rules.

Covered: submissions, results, and what planning and the operator see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from generation.engines.base import EngineError, ErrorKind, ImageRef, Pending, Result, build
from generation.engines.replicate.config import credentials
from tests.support.engine_context import MemoryContext
from tests.support.engines import noise_pixels
from tests.support.remote_server import CUT_AFTER, CUT_BEFORE, serving
from tests.support.replicate_server import DEPLOYMENT, MODEL, VERSION, PredictionOutcome
from tests.support.replicate_server import Replicate as Server
from tests.support.replicate_submissions import (
    INPUTS,
    engine,
    images_and_context,
    png,
    spec,
    submit,
    submit_and_fetch,
    wait_for_result,
)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as service:
        yield service


# -- submissions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ({"version": VERSION}, "/v1/predictions"),
        ({"version": f"{MODEL}:{VERSION}"}, "/v1/predictions"),
        ({"model": MODEL}, f"/v1/models/{MODEL}/predictions"),
        ({"deployment": DEPLOYMENT}, f"/v1/deployments/{DEPLOYMENT}/predictions"),
    ],
)
def test_an_image_comes_from_a_version_an_official_model_and_a_deployment(server, target, path):
    result = submit_and_fetch(engine(server, **target), spec())
    assert [request.path for request in server.requests if request.method == "POST"] == [path]
    assert np.array_equal(result.pixels, noise_pixels(7, 64, 80))
    assert (result.seed, result.usage["images"], result.model) == (7, 1.0, MODEL)


def test_the_spec_becomes_the_models_own_names(server):
    full_spec = spec(negative="text", seed=2**40 + 9, parameters={"guidance": 3.5, "format": "webp", "speed": "exact"})
    submit(engine(server), full_spec)
    assert server.paid == [
        {
            "num_outputs": 1,
            "prompt": "a mug on oak",
            "negative_prompt": "text",
            "seed": (2**40 + 9) % 2**32,
            "width": 64,
            "height": 80,
            "guidance_scale": 3.5,
            "output_format": "webp",
            "go_fast": False,
        }
    ]


def test_a_model_that_knows_shapes_only_gets_the_nearest_one_and_the_facts_say_so(server):
    inputs = {"prompt": "prompt", "aspect_ratio": {"input": "aspect_ratio", "choices": ["1:1", "4:5", "16:9", "9:16"]}}
    replicate = engine(server, inputs=inputs)
    assert submit_and_fetch(replicate, spec(width=1080, height=1350)).facts["asked_ratio"] == "4:5"
    submit(replicate, spec(width=1000, height=1900))
    submit(replicate, spec(width=1600, height=1000))
    assert [paid["aspect_ratio"] for paid in server.paid] == ["4:5", "9:16", "16:9"]


def test_a_size_between_the_multiples_is_rounded(server):
    facts = submit_and_fetch(engine(server, size_multiple=16), spec(width=100, height=70)).facts
    assert (server.paid[0]["width"], server.paid[0]["height"]) == (96, 64)
    assert (facts["asked_width"], facts["asked_height"], facts["width"], facts["height"]) == (96, 64, 96, 64)


def test_the_seconds_that_it_took_are_counted(server):
    server.start_seconds, server.seconds = 0.1, 0.2
    result = submit_and_fetch(engine(server), spec())
    assert result.usage["seconds"] == pytest.approx(0.2)
    assert result.facts["total_time"] == pytest.approx(0.3)
    assert (result.facts["width"], result.facts["height"]) == (64, 80)


def test_a_prediction_goes_from_starting_over_processing_with_steps_to_its_image(server):
    server.start_seconds, server.seconds = 100, 100
    server.fates["a mug on oak"] = PredictionOutcome(
        logs=" 30%|███       | 3/10 [00:01<00:03]\r 70%|███████   | 7/10 [00:02<00:01]"
    )
    replicate = engine(server)
    remote_id = submit(replicate, spec()).remote_id
    assert replicate.poll([remote_id])[remote_id] == Pending()
    server.advance(150)
    assert replicate.poll([remote_id])[remote_id] == Pending(step=7, steps=10)
    server.advance(100)
    assert replicate.fetch(wait_for_result(replicate, remote_id), MemoryContext()).pixels is not None


def test_hundreds_are_polled_off_the_list_and_what_is_not_there_one_by_one(server):
    replicate = engine(server)
    ids = [submit(replicate, spec(seed=seed)).remote_id for seed in range(30)]
    server.page = 10
    server.requests.clear()
    status = replicate.poll([*ids[:20], "gone"])
    assert all(isinstance(status[remote_id], Result) for remote_id in ids[:20])
    assert status["gone"].error.kind == ErrorKind.LOST
    paths = [request.path for request in server.requests]
    assert paths.count("/v1/predictions") <= 2
    assert len(paths) < 20
    assert sorted(result.seed for remote_id, result in status.items() if remote_id != "gone") == list(range(20))


def test_of_several_outputs_the_first_is_taken_and_all_are_counted(server):
    result = submit_and_fetch(engine(server, inputs={**INPUTS, "fixed": {"num_outputs": 3}}), spec())
    assert (result.usage["images"], result.facts["outputs"]) == (3.0, 3)
    assert np.array_equal(result.pixels, noise_pixels(7, 64, 80))


@pytest.mark.parametrize("shape", ["text", "list", "mapping", "data"])
def test_every_shape_of_output_holds_its_image(server, shape):
    import base64

    address = f"data:image/png;base64,{base64.b64encode(png(3)).decode()}"
    output = {"text": address, "list": [address], "mapping": {"seed": 3, "image": address}, "data": [[address]]}[shape]
    server.fates["a mug on oak"] = PredictionOutcome(output=output)
    assert np.array_equal(submit_and_fetch(engine(server), spec()).pixels, noise_pixels(3, 48, 48))


# -- answers that are awaited ---------------------------------------------------------------------------------------


def test_an_answer_that_is_waited_for_brings_the_image(server):
    server.seconds = 0.1
    submitted = submit(engine(server, wait_seconds=10), spec())
    assert server.requests[0].headers["prefer"] == "wait=10"
    assert np.array_equal(submitted.result.pixels, noise_pixels(7, 64, 80))
    assert submitted.result.usage["seconds"] == pytest.approx(0.1)
    assert submitted.result.task_id == 1


def test_without_a_wait_the_header_is_left_out(server):
    assert submit(engine(server), spec()).remote_id in server.predictions
    assert "prefer" not in server.requests[0].headers


def test_an_answer_that_still_says_processing_brings_the_image_of_an_official_model(server):
    server.seconds = 30
    server.fates["a mug on oak"] = PredictionOutcome(is_early=True)
    official = submit(engine(server, wait_seconds=5, model=MODEL), spec())
    assert official.result.pixels is not None
    by_the_second = submit(engine(server, wait_seconds=5), spec())
    assert by_the_second.result is None, "its seconds are not known yet, and they cost"


def test_a_wait_that_ends_before_the_image_leaves_the_id(server):
    server.seconds = 2
    submitted = submit(engine(server, wait_seconds=1), spec())
    assert submitted.result is None
    assert wait_for_result(engine(server), submitted.remote_id).outputs


def test_an_image_that_cannot_be_fetched_at_once_is_left_to_the_poller(server):
    server.fail_next("GET /outputs/{id}", CUT_BEFORE)
    replicate = engine(server, wait_seconds=5)
    submitted = submit(replicate, spec())
    assert submitted.result is None
    assert replicate.fetch(wait_for_result(replicate, submitted.remote_id), MemoryContext()).pixels is not None
    assert len(server.paid) == 1


@pytest.mark.parametrize("wait", [-1, 61])
def test_a_wait_that_the_service_refuses_is_refused_in_the_settings(server, wait):
    with pytest.raises(ValueError, match="0 to 60"):
        engine(server, wait_seconds=wait)


# -- input images ---------------------------------------------------------------------------------------------------


def test_a_small_image_goes_along_and_a_large_one_is_uploaded_once(server):
    small, large = png(1), png(2, width=400, height=400, grain=60)
    assert len(large) > 256 * 1024
    images, context = images_and_context(init=small, mask=large)
    replicate = engine(server)
    submit(replicate, spec(images=images), context=context)
    submit(replicate, spec(images=images, seed=8), context=context)
    first = server.paid[0]
    assert first["image"].startswith("data:image/png;base64,")
    assert first["mask"].startswith(f"{server.base_url}/files/")
    assert [data for _, _, data in server.uploads.values()] == [large]
    assert server.paid[1]["mask"] == first["mask"]


def test_an_upload_that_ends_soon_is_not_used_again(server, monkeypatch):
    monkeypatch.setattr("generation.engines.replicate.shared.UPLOAD_REUSE_SECONDS", 0.0)
    images, context = images_and_context(mask=png(2, width=400, height=400, grain=60))
    replicate = engine(server)
    submit(replicate, spec(images=images), context=context)
    submit(replicate, spec(images=images), context=context)
    assert len(server.uploads) == 2


def test_a_list_input_takes_the_image_in_a_list(server):
    images, context = images_and_context(reference=png(1))
    submit(engine(server), spec(images=images), context=context)
    assert len(server.paid[0]["image_input"]) == 1


def test_an_upload_that_fails_has_submitted_nothing(server):
    images, context = images_and_context(mask=png(2, width=400, height=400, grain=60))
    server.fail_next("POST /files", CUT_AFTER)
    with pytest.raises(EngineError) as caught:
        submit(engine(server), spec(images=images), context=context)
    assert caught.value.kind == ErrorKind.TRANSIENT
    assert server.paid == []


# -- what planning and the operator see -----------------------------------------------------------------------------


def test_the_settings_say_what_is_obeyed_and_what_may_be_changed(server):
    capabilities = engine(server, max_side=1440).capabilities()
    assert capabilities.is_remote
    assert capabilities.obeys == {"prompt", "negative", "seed", "guidance", "format", "speed"}
    assert capabilities.optional_images == {"init", "mask", "reference"}
    kinds = {control.parameter: (control.kind, control.choices) for control in capabilities.controls}
    assert kinds["guidance"] == ("number", ()) and kinds["seed"] == ("seed", ())
    assert kinds["speed"] == ("choice", ("fast", "exact"))
    assert (capabilities.max_width, capabilities.size_multiple) == (1440, 8)


@pytest.mark.parametrize(
    ("invalid_spec", "words"),
    [
        (spec(""), "no prompt"),
        (spec(parameters={"sharpness": 3}), "Unknown parameter 'sharpness'"),
        (spec(parameters={"guidance": 11}), "the most is 10"),
        (spec(parameters={"guidance": "much"}), "expected a number"),
        (spec(parameters={"format": "gif"}), "png, webp"),
        (spec(images={"depth": ImageRef("0", "0")}), "takes no image as 'depth'"),
        (spec(width=4096), "2048 px"),
    ],
)
def test_what_cannot_be_made_is_refused_before_it_is_paid_for(invalid_spec, words):
    replicate = build("replicate", {"version": VERSION, "inputs": INPUTS})
    assert any(words in problem for problem in replicate.validate(invalid_spec)), replicate.validate(invalid_spec)


def test_a_needed_image_is_asked_for():
    inputs = {"prompt": "prompt", "images": {"init": {"input": "image", "is_needed": True}}}
    replicate = build("replicate", {"version": VERSION, "inputs": inputs})
    assert replicate.capabilities().needs_images == {"init"}
    assert replicate.validate(spec()) == ["The model needs an image as 'init'."]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "needs one of"),
        ({"version": VERSION, "model": MODEL}, "needs one of"),
        ({"version": "latest"}, "hash"),
        ({"model": "flux"}, "owner/name"),
        ({"model": f"../{MODEL}/.."}, "owner/name"),
        ({"model": MODEL, "webhook_url": "http://context.example"}, "https"),
        ({"model": MODEL, "inputs": {"promt": "prompt"}}, "promt"),
        ({"model": MODEL, "inputs": {"width": "width"}}, "only one of width and height"),
        ({"model": MODEL, "inputs": {"aspect_ratio": "aspect_ratio"}}, "choices"),
        ({"model": MODEL, "inputs": {"aspect_ratio": {"input": "a", "choices": ["1:0"]}}}, "choices"),
        ({"model": MODEL, "max_side": 32, "size_multiple": 64}, "no size is left"),
        ({"model": MODEL, "output_hosts": "replicate.delivery"}, "list of texts"),
        ({"model": MODEL, "inputs": {"parameters": {"guidance": {"input": "g", "minimum": "low"}}}}, "low"),
        ({"cog": True}, "base_url"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_a_sentence(config: Mapping[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        build("replicate", config)


def test_planning_needs_no_secret_and_no_network():
    replicate = build("replicate", {"model": MODEL, "base_url": "http://127.0.0.1:9/v1", "cost_per_image": 0.003})
    assert replicate.validate(spec()) == []
    assert replicate.model_identity() == (MODEL, "")
    assert replicate.quote(spec()).cost == 0.003
    assert replicate.batch_key(spec()) == replicate.batch_key(spec(seed=9))


def test_health_knows_the_account_and_the_models_inputs(server):
    well = engine(server, model=MODEL).health()
    assert (well.is_ok, well.facts["account"]) == (True, "kilnmoor")
    inputs = {"prompt": "prompt", "fixed": {"megapixels": "1"}}
    odd = engine(server, model=MODEL, inputs=inputs).health()
    assert not odd.is_ok and "no input megapixels" in odd.message
    assert not engine(server, secret="r8_wrong").health().is_ok
    assert engine(server, deployment=DEPLOYMENT).health().is_ok


def test_the_secret_holds_the_token_and_the_key_that_signs():
    assert credentials("r8_a whsec_b") == ("r8_a", "whsec_b")
    assert credentials("r8_a") == ("r8_a", "")
    assert credentials("") == ("", "")
