"""Test the workflow page of a ComfyUI endpoint: upload, marks, checks and permissions."""

from __future__ import annotations

import io
import json
from typing import Any

import django_rq
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image, PngImagePlugin
from rq import SimpleWorker

from core.choices import Lane
from core.errors import Invalid, NotAllowed, NotFound, Stale
from core.models import Event
from generation.engines import base as engines
from generation.engines.comfyui import marks as comfyui_marks
from generation.models import Endpoint
from generation.selectors import workflows as selectors
from generation.services.endpoints import health, workflows
from tests.support import comfy_workflows, factories
from tests.support.comfy_server import ComfyServer
from tests.support.remote_server import serving

pytestmark = pytest.mark.django_db


def endpoint(brand: Any, *servers: str, **config: Any) -> Endpoint:
    made: Endpoint = factories.EndpointFactory(
        brand=brand,
        engine="comfyui",
        lane=Lane.CLOUD,
        name="The studio's GPUs",
        config={"servers": list(servers) or ["http://gpu-a:8188"], **config},
    )
    return made


def as_json(graph: Any) -> bytes:
    return json.dumps(graph).encode()


def address(brand: Any, comfy_endpoint: Endpoint) -> str:
    return f"/brands/{brand.slug}/endpoints/{comfy_endpoint.slug}/workflow/"


def upload_workflow(brand: Any, lead: Any, *servers: str, graph: Any = None) -> Endpoint:
    made = endpoint(brand, *servers)
    data = as_json(graph or comfy_workflows.text_to_image())
    return workflows.upload(endpoint_id=made.pk, by=lead, data=data, file_name="bottles v3.json")


def names_of(comfy_endpoint: Endpoint) -> dict[tuple[str, str], str]:
    shown = selectors.load_details(comfy_endpoint)
    return {
        (node_input.node_id, node_input.name): node_input.mark for node in shown.nodes for node_input in node.inputs
    }


def save_marks(comfy_endpoint: Endpoint, by: Any, **changes: str) -> Endpoint:
    """Save the marks of the page with some changes, e.g. marked(endpoint, lead, **{"3.cfg": "guidance"})."""
    names = names_of(comfy_endpoint) | {(key.split(".")[0], key.split(".")[1]): name for key, name in changes.items()}
    return workflows.mark(
        endpoint_id=comfy_endpoint.pk, by=by, seen=selectors.load_details(comfy_endpoint).digest, names=names
    )


# -- guesses --------------------------------------------------------------------------------------------------------


def test_the_inputs_of_comfyuis_first_workflow_are_recognised():
    assert comfyui_marks.guess_marks(comfy_workflows.text_to_image()) == {
        **comfy_workflows.TEXT_MARKS,
        "guidance": ["3", "cfg"],
    }


def test_a_start_image_and_a_lora_are_recognised():
    guessed = comfyui_marks.guess_marks(comfy_workflows.image_to_image())
    assert guessed["init"] == ["10", "image"] and guessed["strength"] == ["3", "denoise"]
    assert guessed["lora"] == ["14", "lora_name"]
    assert guessed["lora_strength"] == [["14", "strength_model"], ["14", "strength_clip"]]
    assert (guessed["width"], guessed["height"]) == (["11", "width"], ["11", "height"])


def test_words_are_found_through_control_and_guidance_and_size_through_a_primitive():
    graph: dict[str, Any] = {
        "6": {"class_type": "CLIPTextEncodeSDXL", "inputs": {"text_g": "x", "text_l": ["40", 0], "clip": ["4", 1]}},
        "40": {"class_type": "PrimitiveString", "inputs": {"value": "x"}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "y", "clip": ["4", 1]}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a"}},
        "20": {
            "class_type": "ControlNetApplyAdvanced",
            "inputs": {"positive": ["6", 0], "negative": ["7", 0], "image": ["10", 0], "strength": 1.0},
        },
        "10": {"class_type": "LoadImage", "inputs": {"image": "pose.png"}},
        "3": {
            "class_type": "KSamplerAdvanced",
            "inputs": {"noise_seed": 3, "positive": ["20", 0], "negative": ["20", 1], "latent_image": ["5", 0]},
        },
        "5": {"class_type": "EmptySD3LatentImage", "inputs": {"width": ["34", 0], "height": 1024}},
        "34": {"class_type": "PrimitiveInt", "inputs": {"value": 768}},
    }
    guessed = comfyui_marks.guess_marks(graph)
    assert guessed["prompt"] == ["40", "value"]
    assert guessed["negative"] == ["7", "text"]
    assert guessed["seed"] == ["3", "noise_seed"]
    assert (guessed["width"], guessed["height"]) == (["34", "value"], ["5", "height"])
    assert guessed["photo"] == ["10", "image"]


def test_a_zeroed_negative_is_not_taken_for_words_and_a_square_size_is_marked_once():
    graph: dict[str, Any] = {
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "x"}},
        "8": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["6", 0]}},
        "3": {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["6", 0], "negative": ["8", 0]}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": ["34", 0], "height": ["34", 0]}},
        "34": {"class_type": "PrimitiveInt", "inputs": {"value": 768}},
    }
    guessed = comfyui_marks.guess_marks(graph)
    assert guessed["prompt"] == ["6", "text"] and "negative" not in guessed
    assert guessed["width"] == ["34", "value"] and "height" not in guessed


def test_nodes_that_lead_round_in_a_circle_end_the_search():
    graph: dict[str, Any] = {
        "1": {"class_type": "A", "inputs": {"positive": ["2", 0]}},
        "2": {"class_type": "B", "inputs": {"positive": ["1", 0], "width": ["1", 0], "height": ["2", 0]}},
    }
    assert comfyui_marks.guess_marks(graph) == {}


# -- uploading ------------------------------------------------------------------------------------------------------


def test_an_uploaded_workflow_is_marked_and_can_be_used_at_once(brand, lead):
    comfy_endpoint = upload_workflow(brand, lead)
    assert comfy_endpoint.config["workflow_name"] == "bottles v3"
    engine = engines.build("comfyui", comfy_endpoint.config)
    assert {"prompt", "negative", "seed", "steps", "guidance"} == engine.capabilities().obeys
    assert Event.objects.filter(object_type="endpoint", object_id=comfy_endpoint.pk).exists()


def test_an_image_that_comfyui_saved_brings_its_workflow_along(brand, lead):
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", json.dumps(comfy_workflows.text_to_image()))
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG", pnginfo=info)
    made = endpoint(brand)
    comfy_endpoint = workflows.upload(
        endpoint_id=made.pk, by=lead, data=stream.getvalue(), file_name="ComfyUI_00001_.png"
    )
    assert comfy_endpoint.config["inputs"]["prompt"] == ["6", "text"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (as_json({"nodes": [{"id": 3}], "links": [], "version": 0.4}), "Export (API)"),
        (b"{", "The file is no JSON"),
        (b"\xff\xfe\x00", "The file is no JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"1": {"class_type": "X", "inputs": {"a": NaN}}}', "NaN is no number"),
        (as_json({"1": {"class_type": "X", "inputs": {}}}), "add a Save Image node"),
        (as_json({"a": 1}), "no API-format workflow"),
        (b"\x89PNG broken", "The image is broken"),
        (b" " * (2 << 20), "over 1 MB"),
    ],
)
def test_a_file_that_is_no_workflow_is_explained(brand, lead, data, words):
    made = endpoint(brand)
    with pytest.raises(Invalid) as caught:
        workflows.upload(endpoint_id=made.pk, by=lead, data=data, file_name="x.json")
    assert words in caught.value.problems[0].message
    made.refresh_from_db()
    assert "workflow" not in made.config


def test_a_new_version_keeps_the_marks_of_nodes_that_stay(brand, lead):
    comfy_endpoint = save_marks(upload_workflow(brand, lead), lead, **{"3.cfg": "strictness", "3.steps": ""})
    graph = comfy_workflows.text_to_image(cfg=3)
    graph["60"] = graph.pop("6")
    graph["3"]["inputs"]["positive"] = ["60", 0]
    replaced = workflows.upload(
        endpoint_id=comfy_endpoint.pk, by=lead, data=as_json(graph), file_name="bottles v4.json"
    )
    assert replaced.config["inputs"]["strictness"] == ["3", "cfg"]
    assert "steps" not in replaced.config["inputs"], "what somebody took away is not marked again"
    assert replaced.config["inputs"]["prompt"] == ["60", "text"], "a node that has another number is found again"


def test_of_several_saving_nodes_the_last_one_is_taken_until_somebody_says_otherwise(brand, lead):
    graph = comfy_workflows.text_to_image()
    graph["21"] = {"class_type": "SaveImage", "inputs": {"filename_prefix": "raw", "images": ["8", 0]}}
    comfy_endpoint = upload_workflow(brand, lead, graph=graph)
    assert comfy_endpoint.config["output_node"] == "21"
    shown = selectors.load_details(comfy_endpoint)
    changed = workflows.mark(
        endpoint_id=comfy_endpoint.pk, by=lead, seen=shown.digest, names=names_of(comfy_endpoint), output_node="9"
    )
    assert changed.config["output_node"] == "9"
    with pytest.raises(Invalid, match=r"."):
        workflows.mark(
            endpoint_id=comfy_endpoint.pk,
            by=lead,
            seen=selectors.load_details(changed).digest,
            names=names_of(comfy_endpoint),
            output_node="3",
        )


# -- marking --------------------------------------------------------------------------------------------------------


def test_marks_decide_what_prompts_may_set(brand, lead):
    comfy_endpoint = save_marks(
        upload_workflow(brand, lead), lead, **{"3.cfg": "Strictness", "7.text": "", "3.denoise": "strictness"}
    )
    assert comfy_endpoint.config["inputs"]["strictness"] == [["3", "cfg"], ["3", "denoise"]]
    assert "negative" not in comfy_endpoint.config["inputs"]
    assert "strictness" in engines.build("comfyui", comfy_endpoint.config).capabilities().obeys


@pytest.mark.parametrize(
    ("place", "name", "words"),
    [
        ("6.text", "seed", "“seed” is a number, but text of “What to show” (node 6) is 'a bottle on a beach'."),
        ("3.cfg", "prompt", "“prompt” is text, but cfg"),
        ("3.cfg", "init", "“init” is an image, but cfg"),
        ("3.cfg", "my name", "a name is of small letters"),
        ("3.nothing", "steps", "There is no input nothing of node 3."),
    ],
)
def test_a_mark_that_does_not_fit_is_refused_where_it_stands(brand, lead, place, name, words):
    comfy_endpoint = upload_workflow(brand, lead)
    with pytest.raises(Invalid) as caught:
        save_marks(comfy_endpoint, lead, **{place: name})
    assert caught.value.problems[0].pointer == f"mark|{place.replace('.', '|')}"
    assert words in caught.value.problems[0].message


def test_marks_on_a_workflow_that_changed_meanwhile_are_refused(brand, lead):
    comfy_endpoint = upload_workflow(brand, lead)
    seen = selectors.load_details(comfy_endpoint).digest
    workflows.upload(
        endpoint_id=comfy_endpoint.pk,
        by=lead,
        data=as_json(comfy_workflows.text_to_image(cfg=2)),
        file_name="other.json",
    )
    with pytest.raises(Stale):
        workflows.mark(endpoint_id=comfy_endpoint.pk, by=lead, seen=seen, names={})


# -- checking -------------------------------------------------------------------------------------------------------


def run_check(comfy_endpoint: Endpoint, by: Any) -> health.Check:
    """Request a check, let a worker of the lane run it, and return its answer as the page reads it."""
    health.request_workflow_check(endpoint_id=comfy_endpoint.pk, by=by)
    waiting = health.get_latest_workflow_check(comfy_endpoint)
    assert waiting is not None and waiting.is_open
    queue = django_rq.get_queue(comfy_endpoint.lane)
    SimpleWorker([queue], connection=queue.connection, serializer=queue.serializer).work(burst=True)
    comfy_endpoint.refresh_from_db()
    check = health.get_latest_workflow_check(comfy_endpoint)
    assert check is not None and not check.is_open
    return check


@pytest.mark.django_db(transaction=True)
def test_the_check_says_what_is_missing_and_keeps_what_the_servers_allow(brand, lead, clean_redis):
    with serving(ComfyServer()) as good, serving(ComfyServer(checkpoints=())) as bare:
        comfy_endpoint = upload_workflow(brand, lead, good.url, bare.url)
        check = run_check(comfy_endpoint, lead)
        assert check.is_ok
        assert [server["is_ok"] for server in check.servers] == [True, False]
        assert check.servers[0]["version"] == "0.38.1"
        assert "there is no ckpt_name called 'sd15.safetensors'" in check.servers[1]["problems"][0]
        assert comfy_endpoint.config["ranges"]["steps"] == {"type": "INT", "minimum": 1, "maximum": 10000, "step": 1}
        controls = engines.build("comfyui", comfy_endpoint.config).capabilities().controls
        assert {control.parameter: control.maximum for control in controls}["guidance"] == 100
        assert not [submission for server in (good, bare) for submission in server.submissions]


@pytest.mark.django_db(transaction=True)
def test_the_check_of_an_unmarked_image_says_no_until_somebody_says_that_it_is_meant(
    brand, lead, clean_redis, page_client
):
    with serving(ComfyServer()) as good:
        comfy_endpoint = save_marks(
            upload_workflow(brand, lead, good.url, graph=comfy_workflows.image_to_image()), lead, **{"10.image": ""}
        )
        check = run_check(comfy_endpoint, lead)
        assert not check.is_ok and "loads example.png from the server, the same for every product" in check.message
        assert [server["is_ok"] for server in check.servers] == [True]
        page = page_client(lead).get(address(brand, comfy_endpoint)).content.decode()
        assert "It cannot be made as it is" in page and "1 input below has to be marked" in page
        seen = selectors.load_details(comfy_endpoint).digest
        workflows.mark(
            endpoint_id=comfy_endpoint.pk, by=lead, seen=seen, names=names_of(comfy_endpoint), meant=[("10", "image")]
        )
        comfy_endpoint.refresh_from_db()
        assert health.get_latest_workflow_check(comfy_endpoint) is None, "it is asked anew"
        assert run_check(comfy_endpoint, lead).is_ok


@pytest.mark.django_db(transaction=True)
def test_the_check_answers_although_a_setting_from_before_is_known_no_more(brand, lead, clean_redis):
    with serving(ComfyServer()) as good:
        comfy_endpoint = upload_workflow(brand, lead, good.url)
        Endpoint.objects.filter(pk=comfy_endpoint.pk).update(config={**comfy_endpoint.config, "max_sides": 512})
        check = run_check(comfy_endpoint, lead)
    assert check.is_ok and "cannot be kept" in check.message and "Did you mean 'max_side'?" in check.message
    assert "ranges" not in comfy_endpoint.config


@pytest.mark.django_db(transaction=True)
def test_the_check_reaches_a_server_that_wants_the_secret(brand, lead, clean_redis):
    with serving(ComfyServer(token="Bearer s3cret")) as server:
        comfy_endpoint = upload_workflow(brand, lead, server.url)
        assert not run_check(comfy_endpoint, lead).is_ok
        comfy_endpoint.secret = "s3cret"
        comfy_endpoint.save()
        check = run_check(comfy_endpoint, lead)
        assert check.is_ok
        assert "s3cret" not in repr(check)


@pytest.mark.django_db(transaction=True)
def test_a_check_of_servers_that_are_not_there_says_so(brand, lead, clean_redis):
    check = run_check(upload_workflow(brand, lead, "http://127.0.0.1:9"), lead)
    assert not check.is_ok
    assert "127.0.0.1:9 did not answer" in check.servers[0]["problems"][0]


@pytest.mark.django_db(transaction=True)
def test_a_check_counts_for_the_workflow_that_was_checked_only(brand, lead, clean_redis):
    with serving(ComfyServer()) as server:
        comfy_endpoint = upload_workflow(brand, lead, server.url)
        assert run_check(comfy_endpoint, lead).is_ok
        changed = save_marks(comfy_endpoint, lead, **{"3.denoise": "strength"})
        assert health.get_latest_workflow_check(changed) is None


@pytest.mark.django_db(transaction=True)
def test_a_check_that_no_worker_takes_up_ends_in_words(brand, lead, clean_redis, monkeypatch):
    comfy_endpoint = upload_workflow(brand, lead)
    health.request_workflow_check(endpoint_id=comfy_endpoint.pk, by=lead)
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 0)
    check = health.get_latest_workflow_check(comfy_endpoint)
    assert check is not None and not check.is_open
    assert "No worker of the lane cloud took the check" in check.message


# -- permissions, and the page --------------------------------------------------------------------------------------


def test_only_leads_and_operators_change_a_workflow(brand, other_brand, person, designer, lead):
    own_endpoint, shared = endpoint(brand), endpoint(None)
    data = as_json(comfy_workflows.text_to_image())
    for by, comfy_endpoint, refusal in (
        (designer, own_endpoint, NotAllowed),
        (lead, shared, NotAllowed),
        (person("lead", brand=other_brand), own_endpoint, NotFound),
    ):
        with pytest.raises(refusal):
            workflows.upload(endpoint_id=comfy_endpoint.pk, by=by, data=data, file_name="x.json")
        with pytest.raises(refusal):
            health.request_workflow_check(endpoint_id=comfy_endpoint.pk, by=by)
        with pytest.raises(refusal):
            workflows.mark(endpoint_id=comfy_endpoint.pk, by=by, seen="", names={})
    operator = person(is_superuser=True)
    assert workflows.upload(endpoint_id=shared.pk, by=operator, data=data, file_name="x.json").config["inputs"]


def test_the_page_takes_a_file_shows_its_inputs_and_saves_marks(brand, lead, page_client):
    comfy_endpoint, client = endpoint(brand), page_client(lead)
    first = client.get(address(brand, comfy_endpoint))
    assert "Export (API)" in first.content.decode()
    file = SimpleUploadedFile("bottles.json", as_json(comfy_workflows.text_to_image()), "application/json")
    assert client.post(address(brand, comfy_endpoint), {"do": "upload", "file": file}).status_code == 302
    shown = client.get(address(brand, comfy_endpoint)).content.decode()
    assert 'value="prompt"' in shown and "What to show" in shown and "a bottle on a beach" in shown
    comfy_endpoint.refresh_from_db()
    fields = {f"mark|{node}|{name}": mark for (node, name), mark in names_of(comfy_endpoint).items()}
    fields |= {
        "do": "mark",
        "seen": selectors.load_details(comfy_endpoint).digest,
        "name": "Bottles",
        "mark|3|cfg": "strictness",
    }
    assert client.post(address(brand, comfy_endpoint), fields).status_code == 302
    comfy_endpoint.refresh_from_db()
    assert (
        comfy_endpoint.config["inputs"]["strictness"] == ["3", "cfg"]
        and comfy_endpoint.config["workflow_name"] == "Bottles"
    )


def test_the_page_keeps_what_was_typed_and_says_what_is_wrong_with_it(brand, lead, page_client):
    comfy_endpoint = upload_workflow(brand, lead)
    fields = {f"mark|{node}|{name}": mark for (node, name), mark in names_of(comfy_endpoint).items()}
    fields |= {
        "do": "mark",
        "seen": selectors.load_details(comfy_endpoint).digest,
        "mark|4|ckpt_name": "init",
        "mark|3|cfg": "strictness",
    }
    answer = page_client(lead).post(address(brand, comfy_endpoint), fields)
    assert answer.status_code == 422
    words = answer.content.decode()
    assert "“init” is an image, but ckpt_name of “Load Checkpoint” (node 4) takes none" in words
    assert 'value="strictness"' in words and 'aria-invalid="true"' in words


@pytest.mark.django_db(transaction=True)
def test_the_page_shows_the_check_in_words(brand, lead, page_client, clean_redis):
    client = page_client(lead)
    with serving(ComfyServer(without=frozenset({"VAEDecode"}))) as server:
        comfy_endpoint = upload_workflow(brand, lead, server.url)
        waiting = client.post(address(brand, comfy_endpoint), {"do": "check"}, follow=True).content.decode()
        assert "A worker asks the servers" in waiting
        run_check(comfy_endpoint, lead)
    words = client.get(address(brand, comfy_endpoint)).content.decode()
    assert "“VAE Decode” (node 8) is of the type VAEDecode, which is not installed." in words


def test_others_of_the_brand_read_the_page_and_change_nothing(brand, designer, lead, other_brand, page_client):
    comfy_endpoint = upload_workflow(brand, lead)
    client = page_client(designer)
    words = client.get(address(brand, comfy_endpoint)).content.decode()
    assert "What to show" in words and "Save the marks" not in words
    for verb in ("upload", "mark", "check"):
        file = SimpleUploadedFile("x.json", b"{}")
        assert client.post(address(brand, comfy_endpoint), {"do": verb, "file": file}).status_code == 403
    assert client.post(address(brand, comfy_endpoint), {"do": "dance"}).status_code == 404
    assert client.get(address(other_brand, comfy_endpoint)).status_code == 404
    packshot = factories.EndpointFactory(brand=brand)
    assert client.get(address(brand, packshot)).status_code == 404


def test_a_stored_workflow_that_cannot_be_read_is_reported_and_can_be_replaced(brand, lead, page_client):
    comfy_endpoint = endpoint(brand, workflow={"nodes": [], "links": []}, inputs={"prompt": ["1", "text"]})
    answer = page_client(lead).get(address(brand, comfy_endpoint))
    assert answer.status_code == 200
    assert "The stored workflow cannot be used" in answer.content.decode()
    fixed = workflows.upload(
        endpoint_id=comfy_endpoint.pk, by=lead, data=as_json(comfy_workflows.text_to_image()), file_name="new.json"
    )
    assert fixed.config["inputs"]["prompt"] == ["6", "text"]
