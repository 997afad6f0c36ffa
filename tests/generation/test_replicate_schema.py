"""Test that one click turns the input schema of a Replicate model or a Cog server into the settings of an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import django_rq
import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from rq import SimpleWorker

from core.models import Brand, Event, User
from generation.engines.base import Spec
from generation.engines.replicate import inputs as replicate_inputs
from generation.engines.replicate.cog import Cog
from generation.engines.replicate.config import Config
from generation.engines.replicate.schema import Input, inputs, problem, suggest_inputs, suggest_settings
from generation.models import Endpoint, Worker
from generation.services.endpoints import editing
from tests.support import factories
from tests.support.cog_server import Cog as CogServer
from tests.support.remote_server import serving
from tests.support.replicate_server import MODEL, TOKEN
from tests.support.replicate_server import Replicate as Server
from tests.support.replicate_submissions import engine, spec, submit

#: The schema of a Flux-like model: choices in schemas of their own, its own order of inputs, an optional image.
SHAPES: dict[str, Any] = {
    "Input": {
        "type": "object",
        "required": ["prompt"],
        "properties": {
            "seed": {"type": "integer", "title": "Seed", "x-order": 9},
            "prompt": {"type": "string", "title": "Prompt", "x-order": 0},
            "image": {"type": "string", "format": "uri", "x-order": 3},
            "go_fast": {"type": "boolean", "default": True, "x-order": 11},
            "guidance": {"type": "number", "minimum": 0, "maximum": 10, "default": 3, "x-order": 5},
            "aspect_ratio": {"allOf": [{"$ref": "#/components/schemas/aspect_ratio"}], "default": "1:1", "x-order": 1},
            "width": {"type": "integer", "minimum": 256, "maximum": 1440, "x-order": 13},
            "height": {"type": "integer", "minimum": 256, "maximum": 1440, "x-order": 14},
            "num_outputs": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1, "x-order": 6},
            "output_format": {"anyOf": [{"$ref": "#/components/schemas/output_format"}, {"type": "null"}]},
            "output_quality": {"type": "integer", "minimum": 0, "maximum": 100, "default": 80},
            "prompt_strength": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.8, "x-order": 4},
            "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": 50, "default": 28, "x-order": 7},
            "disable_safety_checker": {"type": "boolean", "default": False},
            "lora_weights": {"type": "string"},
        },
    },
    "aspect_ratio": {"type": "string", "enum": ["1:1", "4:5", "16:9", "custom"]},
    "output_format": {"type": "string", "enum": ["webp", "jpg", "png"]},
}


def described(**properties: Any) -> tuple[Input, ...]:
    parts = {"Input": {"properties": properties, "required": ["prompt"]}}
    return inputs({"components": {"schemas": parts}})


def test_a_model_of_shapes_is_read_whole() -> None:
    model_inputs = inputs({"latest_version": {"openapi_schema": {"components": {"schemas": SHAPES}}}})
    assert [model_input.name for model_input in model_inputs][:3] == ["prompt", "aspect_ratio", "image"], (
        "in the model's own submission"
    )
    suggestion = suggest_inputs(model_inputs)
    assert suggestion == {
        "prompt": "prompt",
        "seed": "seed",
        "aspect_ratio": {"input": "aspect_ratio", "choices": ["1:1", "4:5", "16:9"]},
        "images": {"init": "image"},
        "parameters": {
            "strength": {"input": "prompt_strength", "minimum": 0, "maximum": 1, "step": 0.1, "default": 0.8},
            "guidance": {"input": "guidance", "minimum": 0, "maximum": 10, "step": 0.1, "default": 3},
            "steps": {"input": "num_inference_steps", "minimum": 1, "maximum": 50, "step": 1, "default": 28},
            "go_fast": {"input": "go_fast", "choices": {"yes": True, "no": False}},
        },
        "fixed": {"num_outputs": 1, "output_format": "png"},
    }
    sent = replicate_inputs.read(Config(inputs=suggestion)).model_input(
        Spec("a mug", 1080, 1350, 7, parameters={"go_fast": "no", "steps": 4})
    )
    assert sent == {
        "prompt": "a mug", "seed": 7, "aspect_ratio": "4:5", "prompt_strength": 0.8, "guidance": 3,
        "num_inference_steps": 4, "go_fast": False, "num_outputs": 1, "output_format": "png",
    }  # fmt: skip


def test_a_model_of_sizes_lists_of_images_and_masks_is_read_too() -> None:
    model_inputs = described(
        prompt={"type": "string"},
        negative_prompt={"type": "string"},
        seed={"type": "integer", "maximum": 2**32 - 1},
        width={"type": "integer"},
        height={"type": "integer"},
        image_input={"type": "array", "items": {"type": "string", "format": "uri"}},
        mask={"type": "string", "format": "uri"},
        image={"type": "string"},
        prompt_strength={"type": "number", "minimum": 0, "maximum": 1},
    )
    assert suggest_inputs(model_inputs) == {
        "prompt": "prompt", "negative": "negative_prompt", "seed": {"input": "seed", "maximum": 2**32 - 1},
        "width": "width", "height": "height",
        "images": {"reference": {"input": "image_input", "is_list": True}, "mask": "mask"},
    }, "a text called image is no image, and without an image to start from there is no strength"  # fmt: skip


def test_an_unreadable_schema_suggests_nothing() -> None:
    for odd in ({}, {"openapi_schema": "none"}, {"components": {"schemas": {"Input": {"properties": [1]}}}}):
        assert inputs(odd) == () and suggest_inputs(inputs(odd)) == {}
    assert suggest_inputs(described(text_file={"type": "string"})) == {}, "nothing that the words could go by"
    assert problem((), {"prompt"}) == ""


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_subnormal=False)
    | st.sampled_from(["uri", "array", "boolean", "1:1", "0:1", "integer"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "format"]), inner),
    max_leaves=4,
)
FIELDS = ("type", "format", "enum", "minimum", "maximum", "default", "x-order", "allOf", "anyOf", "items", "$ref")
NAMES = ("prompt", "seed", "width", "height", "aspect_ratio", "image", "guidance_scale", "num_outputs", "output_format")


@given(
    st.dictionaries(st.sampled_from(NAMES), st.dictionaries(st.sampled_from(FIELDS), PLAIN) | PLAIN),
    st.lists(st.sampled_from(NAMES)) | PLAIN,
)
def test_whatever_a_service_says_of_itself_is_read_and_what_is_suggested_can_be_used(
    properties: dict[str, Any], required: Any
) -> None:
    model_inputs = inputs({"components": {"schemas": {"Input": {"properties": properties, "required": required}}}})
    suggestion = suggest_inputs(model_inputs)
    assert {model_input.name for model_input in model_inputs} == set(properties) and (
        "prompt" in suggestion or not suggestion
    )
    assert not suggestion or replicate_inputs.read(Config(inputs=suggestion)).names <= set(properties)


def test_an_input_that_the_model_needs_and_nobody_names_is_reported() -> None:
    model_inputs = inputs(
        {"components": {"schemas": {"Input": {"properties": {"text": {}, "face": {}}, "required": ["face"]}}}}
    )
    assert problem(model_inputs, {"text"}) == "The model needs face, and its inputs here do not name it."
    assert problem(model_inputs, {"text", "face"}) == "" and "no input width" in problem(model_inputs, {"width"})


def test_bounds_that_no_submission_could_keep_are_left_out() -> None:
    model_inputs = described(
        prompt={"type": "string"},
        steps={"type": "integer", "minimum": 1, "maximum": 50, "default": "many"},
        grain={"type": "number", "minimum": 0, "maximum": 1, "default": 7},
        huge={"type": "integer", "minimum": 0, "maximum": 10**400},
        style={"type": "string", "enum": ["a" * 200, "ink", {"not": "plain"}]},
        **{"n" * 300: {"type": "boolean"}},
    )
    assert suggest_inputs(model_inputs)["parameters"] == {
        "steps": {"input": "steps", "minimum": 1, "maximum": 50, "step": 1},
        "grain": {"input": "grain", "minimum": 0, "maximum": 1, "step": 0.1},
        "style": {"input": "style", "choices": ["ink"]},
    }


def test_what_somebody_wrote_is_corrected_and_not_replaced() -> None:
    model_inputs = described(
        prompt={"type": "string"},
        seed={"type": "integer"},
        width={"type": "integer"},
        height={"type": "integer"},
        aspect_ratio={"type": "string", "enum": ["1:1", "4:5"]},
        go_fast={"type": "boolean"},
        guidance={"type": "number", "minimum": 0, "maximum": 10},
        num_outputs={"type": "integer"},
        image={"type": "string", "format": "uri"},
    )
    ours = {
        "prompt": "prompt",
        "width": "width",
        "height": "height",
        "parameters": {
            "speed": {"input": "go_fast", "choices": {"fast": True, "exact": False}, "label": "How fast"},
            "gone": {"input": "megapixels", "choices": ["1"]},
        },
        "fixed": {"num_outputs": 1, "megapixels": "1"},
        "images": {"mask": "mask"},
    }
    assert suggest_settings(model_inputs, ours, fits=False) == {
        "inputs": {
            "prompt": "prompt",
            "width": "width",
            "height": "height",
            "seed": "seed",
            "images": {"init": "image"},
            "parameters": {
                "guidance": {"input": "guidance", "minimum": 0, "maximum": 10, "step": 0.1},
                "speed": {"input": "go_fast", "choices": {"fast": True, "exact": False}, "label": "How fast"},
            },
            "fixed": {"num_outputs": 1},
        }
    }


def test_only_an_endpoint_that_does_not_fit_or_says_nothing_gets_a_suggestion() -> None:
    model_inputs = described(prompt={"type": "string"}, seed={"type": "integer"})
    assert suggest_settings(model_inputs, None, fits=True) == {"inputs": {"prompt": "prompt", "seed": "seed"}}
    assert suggest_settings(model_inputs, {"prompt": "prompt"}, fits=True) == {}, "somebody's own choice"
    assert suggest_settings(model_inputs, {"prompt": "words"}, fits=False) != {}
    assert suggest_settings(model_inputs, {"prompt": "prompt", "seed": "seed"}, fits=False) == {}, "nothing new"


def test_the_suggestion_is_accepted_by_the_service() -> None:
    with serving(Server()) as server:
        health = engine(server, inputs={"prompt": "words"}, model=MODEL).health()
        assert not health.is_ok and health.suggested["inputs"]["parameters"]
        submit(engine(server, model=MODEL, inputs=dict(health.suggested["inputs"])), spec(height=80))
        (paid,) = server.paid
        assert (paid["aspect_ratio"], paid["num_outputs"], paid["output_format"]) == ("4:5", 1, "png")
    with serving(CogServer()) as server:
        assert Cog({"cog": True, "base_url": server.url}).health().suggested["inputs"]["prompt"] == "prompt"


# -- on the page -------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as service:
        yield service


@pytest.fixture
def replicate_endpoint(transactional_db: None, brand: Brand, server: Server, clean_redis: Any) -> Endpoint:
    now = timezone.now()
    Worker.objects.create(name="all", lanes=["cloud"], host="h", pid=1, started_at=now, seen_at=now)
    return editing.create(
        brand=brand, by=factories.UserFactory(is_superuser=True), slug="flux", name="Flux", engine="replicate",
        lane="cloud", config={"model": MODEL, "base_url": f"{server.url}/v1"}, secret=TOKEN,
    )  # fmt: skip


def test_a_lead_sets_the_endpoint_up_for_the_models_inputs_by_one_click(
    brand: Brand, replicate_endpoint: Endpoint, lead: User, designer: User, page_client: Callable[[User], Client]
) -> None:
    client, address = page_client(lead), f"/brands/{brand.slug}/endpoints/flux/"
    assert client.post(f"{address}suggested/").status_code == 409, "nobody has asked yet"
    client.post(f"{address}ask/")
    queue = django_rq.get_queue("cloud")
    SimpleWorker([queue], connection=queue.connection, serializer=queue.serializer).work(burst=True)
    page = client.get(address).content.decode()
    assert "which inputs it has: prompt, negative, seed, aspect ratio, image “init”" in page
    assert "Set the endpoint up for them" not in page_client(designer).get(address).content.decode()
    assert page_client(designer).post(f"{address}suggested/").status_code == 403
    assert client.post(f"{address}suggested/").status_code == 302
    replicate_endpoint.refresh_from_db()
    assert replicate_endpoint.config["inputs"]["aspect_ratio"]["choices"] == ["1:1", "4:5", "16:9", "9:16"]
    assert replicate_endpoint.config["model"] == MODEL and replicate_endpoint.secret == TOKEN
    changed = Event.objects.filter(brand=brand).latest("pk").payload["changes"]
    assert list(changed) == ["config.inputs"]
    page = client.get(address).content.decode()
    assert "before its settings were changed" in page and "Set the endpoint up for them" not in page
    assert client.post(f"{address}suggested/").status_code == 409, "it was for the settings before"
    client.post(f"{address}ask/")
    SimpleWorker([queue], connection=queue.connection, serializer=queue.serializer).work(burst=True)
    page = client.get(address).content.decode()
    assert "Set the endpoint up for them" not in page and "can be used here" in page
