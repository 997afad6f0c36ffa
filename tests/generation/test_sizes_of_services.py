"""Test services that make another size than requested: the result of the size check, and how the images are used."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.choices import Lane
from generation.checks import base
from generation.checks.base import CheckResult, Sample
from generation.choices import JobState, RunState
from generation.models import Endpoint, Finding, Job, Rendition, Run
from tests.support import comfy_kinds, comfy_workflows, processes, queued_runs
from tests.support.comfy_server import ComfyServer
from tests.support.openai_server import KEY, OpenAIServer
from tests.support.remote_server import Request, Response, serving


def check_result(width: int, height: int, **facts: Any) -> CheckResult:
    return base.CHECKS.get("dimensions")().inspect(Sample(np.zeros((height, width, 3), np.uint8), facts))


@pytest.mark.parametrize(
    ("made", "wanted_size"),
    [
        ((512, 512), [256, 256]),
        ((1024, 1024), [64, 64]),
        ((512, 512), [256, 320]),
        ((1536, 1024), [1024, 1024]),
        ((300, 900), [256, 256]),
        ((96, 64), [100, 64]),
    ],
)
def test_an_image_of_a_service_that_is_as_large_as_wanted_or_larger_passes(made, wanted_size):
    finding = check_result(*made, wanted=wanted_size, is_remote=True)
    assert finding.outcome == "pass" and finding.message.endswith("it is cropped and scaled.")


@pytest.mark.parametrize(
    ("made", "wanted_size", "score"),
    [
        ((128, 128), [256, 256], 2.0),
        ((512, 512), [256, 1024], 2.0),
        ((1024, 300), [512, 512], 1.71),
        ((64, 64), [1024, 1024], 16.0),
        ((900, 900), [1000, 1000], 1.11),
    ],
)
def test_an_image_of_a_service_that_is_smaller_than_wanted_is_flagged(made, wanted_size, score):
    finding = check_result(*made, wanted=wanted_size, is_remote=True)
    assert (finding.outcome, finding.score) == ("flag", score)
    assert f"{made[0]} × {made[1]} px, and {wanted_size[0]} × {wanted_size[1]} px are wanted" in finding.message


@pytest.mark.parametrize("made", [(512, 512), (128, 128), (256, 320)])
def test_an_engine_of_our_own_that_makes_another_size_fails(made):
    assert check_result(*made, wanted=[256, 256]).outcome == "fail"


def test_a_size_that_the_service_was_asked_for_passes_although_another_one_is_wanted():
    assert check_result(1024, 1024, wanted=[1080, 1080], asked=[1024, 1024], is_remote=True).message.endswith(
        "as asked."
    )


class OneSize(OpenAIServer):
    """A compatible server that makes 512 × 512 px, whatever size is requested."""

    def respond(self, request: Request) -> Response:
        if request.path.endswith("/images/generations"):
            body = json.dumps({**json.loads(request.body), "size": "512x512"}).encode()
            request = replace(request, body=body)
        return super().respond(request)


def workflow(width: int, height: int, *, is_marked: bool, scale: float = 1.0) -> dict[str, Any]:
    """Return the settings of a workflow of this size whose last node scales the image by this factor."""
    graph = comfy_workflows.text_to_image()
    graph["5"]["inputs"] |= {"width": width, "height": height}
    graph["20"] = comfy_kinds.node("ImageScaleBy", image=["8", 0], scale_by=scale, upscale_method="lanczos")
    graph["9"]["inputs"]["images"] = ["20", 0]
    marks = comfy_workflows.TEXT_MARKS
    kept = marks if is_marked else {name: at for name, at in marks.items() if name not in ("width", "height")}
    return {"workflow": graph, "inputs": kept}


SERVICES = {
    "a workflow that enlarges": (workflow(512, 512, is_marked=True, scale=2.0), {"pass"}),
    "a workflow of a fixed larger size": (workflow(256, 256, is_marked=False), {"pass"}),
    "a workflow of another shape": (workflow(256, 128, is_marked=False), {"pass"}),
    "a workflow of a fixed smaller size": (workflow(32, 32, is_marked=False), {"flag"}),
}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_images_of_another_size_are_cropped_and_scaled_and_pause_no_run(clean_redis: Any) -> None:
    with ExitStack() as stack:
        comfy = stack.enter_context(serving(ComfyServer()))
        openai = stack.enter_context(serving(OneSize(is_compatible=True)))
        runs: dict[int, set[str]] = {}
        for config, outcomes in SERVICES.values():
            made = queued_runs.create_endpoint(
                engine="comfyui", lane=Lane.CLOUD, **comfy_workflows.config(comfy, **config)
            )
            runs[queued_runs.create_run(queued_runs.create_campaign(), made, 2).pk] = outcomes
        made = queued_runs.create_endpoint(
            engine="openai", lane=Lane.CLOUD, base_url=f"{openai.url}/v1", model="local-model"
        )
        made.secret = KEY
        made.save()
        runs[queued_runs.create_run(queued_runs.create_campaign(), made, 2).pk] = {"pass"}
        with processes.running("worker", "cloud"):
            processes.wait_until(
                lambda: not Job.objects.exclude(status__in=(JobState.SUCCEEDED, JobState.FAILED)).exists(),
                seconds=120,
                what="every job ends",
            )
    assert set(Job.objects.values_list("status", flat=True)) == {JobState.SUCCEEDED}
    assert Endpoint.objects.count() == len(runs)
    for pk, outcomes in runs.items():
        findings = Finding.objects.filter(check_name="dimensions", version__asset__cell__run=pk)
        assert set(findings.values_list("outcome", flat=True)) == outcomes
        assert Run.objects.get(pk=pk).state == RunState.FINISHED
    assert set(Rendition.objects.values_list("width", "height")) == {(128, 128)}
