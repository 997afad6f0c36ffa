"""Test workflow files: wrapped for a host, saved by ComfyUI with values like NaN, or of another kind."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from generation.engines.comfyui.graph import InvalidWorkflow, parse
from tests.support import comfy_kinds

GRAPH = comfy_kinds.text_to_image()
EDITOR = {"nodes": [{"id": 3, "type": "KSampler"}], "links": [[1, 4, 0, 3, 0, "MODEL"]], "version": 0.4}
WRAPPED: dict[str, Any] = {
    "ComfyUI's clients": {"prompt": GRAPH, "client_id": "x"},
    "RunPod": {"input": {"workflow": GRAPH, "images": []}},
    "RunPod with a prompt": {"input": {"prompt": GRAPH}, "webhook": "https://a.example"},
    "a workflow by name": {"workflow": GRAPH, "version": 2},
    "the editor's own function": {"workflow": EDITOR, "output": GRAPH},
    "output alone": {"output": GRAPH},
    "text inside JSON": {"workflow_api": json.dumps(GRAPH)},
    "text inside a wrapper": {"input": {"workflow_json": json.dumps({"prompt": GRAPH})}},
    "a history": {
        "6b1f": {"prompt": [3, "6b1f", GRAPH, {"extra_pnginfo": {"workflow": EDITOR}}, ["9"]], "outputs": {}}
    },
    "the same twice": {"prompt": GRAPH, "workflow": GRAPH},
    "a list": [GRAPH],
}


def as_json(plain: Any) -> bytes:
    return json.dumps(plain).encode()


def png(**texts: str) -> bytes:
    info, stream = PngImagePlugin.PngInfo(), io.BytesIO()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.new("RGB", (8, 8)).save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def refusal_message(data: bytes) -> str:
    with pytest.raises(InvalidWorkflow) as caught:
        parse(data)
    return str(caught.value)


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_graph_is_found_in_what_is_wrapped_around_it(kind):
    assert parse(as_json(WRAPPED[kind])) == GRAPH


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "[NaN, [NaN]]"])
@pytest.mark.parametrize("is_png", [True, False])
def test_what_is_no_number_beside_the_inputs_of_a_node_does_no_harm(number, is_png):
    text = json.dumps(GRAPH).replace('"class_type": "KSampler"', f'"is_changed": [{number}], "class_type": "KSampler"')
    assert "is_changed" in text
    assert parse(png(prompt=text) if is_png else text.encode()) == GRAPH


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("NaN", "“KSampler” (node 3): its 'cfg' is NaN, and NaN is no number"),
        ("-Infinity", "“KSampler” (node 3): its 'cfg' is Infinity"),
        ("1e999", "“KSampler” (node 3): its 'cfg' is Infinity"),
        ('[1, {"a": NaN}]', "“KSampler” (node 3): its 'cfg' is NaN"),
        ('"a\\u0000b"', "its 'cfg' holds a character that is no text"),
        ('"\\ud800"', "its 'cfg' holds a character that is no text"),
        ("[" * 200 + "]" * 200, "its 'cfg' is nested too deeply"),
    ],
)
def test_a_value_of_a_node_that_cannot_be_kept_is_named(value, words):
    text = json.dumps(GRAPH).replace('"cfg": 8', f'"cfg": {value}')
    assert words in refusal_message(text.encode())
    if '"' not in value:
        assert words in refusal_message(png(prompt=text))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (as_json(EDITOR), "as ComfyUI's editor keeps it"),
        (as_json({"nodes": [], "definitions": {"subgraphs": []}, "version": 1}), "as ComfyUI's editor keeps it"),
        (as_json({"workflow": EDITOR}), "as ComfyUI's editor keeps it"),
        (as_json({"input": {"workflow": EDITOR}}), "as ComfyUI's editor keeps it"),
        (png(workflow=json.dumps(EDITOR)), "carries its workflow only as ComfyUI's editor keeps it"),
        (png(parameters="a mug, Steps: 20"), "carries no workflow"),
        (b"\xff\xd8\xff\xe0 photo", "This image is no PNG"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "This image is no PNG"),
        (as_json({"input": {"prompt": "a mug"}, "webhook": ""}), "the file has input, webhook, and none of them"),
        (as_json({"a": GRAPH, "b": comfy_kinds.flux()}), "This file holds 2 workflows"),
    ],
)
def test_a_file_without_a_graph_is_refused_with_the_real_cause(data, words):
    assert words in refusal_message(data)
