"""Test the marks of a ComfyUI workflow that replaces another one, and images and prompts without a mark."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.errors import Invalid
from core.models import Event
from generation.engines import base as engines
from generation.engines.base import ImageRef, Spec
from generation.engines.comfyui import marks as comfyui_marks
from generation.engines.comfyui.engine import ComfyUI
from generation.engines.comfyui.questions import CONFIRMED_SETTING
from generation.models import Endpoint
from generation.selectors import workflows as selectors
from generation.services.endpoints import workflows
from generation.services.planning import plan_requests
from generation.services.planning.plan_requests import PlanArguments
from tests.generation.test_workflows import address, as_json, names_of, save_marks, upload_workflow
from tests.support import comfy_kinds as kinds
from tests.support import factories
from tests.support.comfy_kinds import node
from tests.support.comfy_nodes import png
from tests.support.comfy_server import ComfyServer
from tests.support.comfy_submissions import submit_and_fetch, task
from tests.support.comfy_workflows import config as workflows_config
from tests.support.engine_context import MemoryContext
from tests.support.remote_server import serving

pytestmark = pytest.mark.django_db


def replace_workflow(endpoint: Endpoint, lead: Any, graph: Any) -> Endpoint:
    return workflows.upload(endpoint_id=endpoint.pk, by=lead, data=as_json(graph), file_name="next.json")


def remove_marks(endpoint: Endpoint, lead: Any, *places: str) -> Endpoint:
    return save_marks(endpoint, lead, **dict.fromkeys(places, ""))


def confirm_places(endpoint: Endpoint, lead: Any, *places: tuple[str, str]) -> Endpoint:
    """Confirm that these places are meant as they are, and keep the marks."""
    seen = selectors.load_details(endpoint).digest
    return workflows.mark(endpoint_id=endpoint.pk, by=lead, seen=seen, names=names_of(endpoint), meant=places)


def open_places(endpoint: Endpoint) -> list[tuple[str, str]]:
    return [question.place for question in selectors.load_details(endpoint).open_questions]


# -- a second workflow ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", kinds.ALL)
def test_a_second_workflow_of_any_kind_is_marked_as_on_a_fresh_endpoint(second):
    graph = kinds.ALL[second]()
    for first in kinds.ALL.values():
        before = {"workflow": first(), **workflows.settings_of_upload(first(), {})}
        assert workflows.settings_of_upload(graph, before) == workflows.settings_of_upload(graph, {})


@pytest.mark.parametrize("kind", ["ControlNet", "image to image", "IP-Adapter", "inpainting", "upscaling", "Flux"])
def test_an_uploaded_second_workflow_gets_its_photo_words_and_size(brand, lead, kind):
    endpoint = replace_workflow(upload_workflow(brand, lead), lead, kinds.ALL[kind]())
    assert endpoint.config["inputs"] == comfyui_marks.guess_marks(kinds.ALL[kind]())
    assert selectors.load_details(endpoint).open_questions == []


def test_a_size_that_a_workflow_in_between_did_not_have_is_marked_again(brand, lead):
    endpoint = upload_workflow(brand, lead, graph=kinds.text_to_image())
    endpoint = replace_workflow(endpoint, lead, kinds.image_to_image())
    assert endpoint.config["inputs"]["init"] == ["10", "image"] and "width" not in endpoint.config["inputs"]
    endpoint = replace_workflow(endpoint, lead, kinds.text_to_image())
    assert (endpoint.config["inputs"]["width"], endpoint.config["inputs"]["height"]) == (
        ["5", "width"],
        ["5", "height"],
    )
    assert "init" not in endpoint.config["inputs"]


@pytest.mark.parametrize(
    ("changes", "place", "name"),
    [
        ({"3.cfg": "strictness"}, ("3", "cfg"), "strictness"),
        ({"3.steps": ""}, ("3", "steps"), ""),
        ({"4.ckpt_name": "model"}, ("4", "ckpt_name"), "model"),
        ({"3.sampler_name": "sampler"}, ("3", "sampler_name"), "sampler"),
        ({"5.batch_size": "batch"}, ("5", "batch_size"), "batch"),
        ({"7.text": "avoid"}, ("7", "text"), "avoid"),
    ],
)
def test_what_a_person_marked_by_hand_stays_where_the_node_is_the_same(brand, lead, changes, place, name):
    endpoint = replace_workflow(save_marks(upload_workflow(brand, lead), lead, **changes), lead, kinds.controlnet())
    assert names_of(endpoint)[place] == name
    assert endpoint.config["inputs"]["photo"] == ["11", "image"], "the rest is marked anew"


def test_what_a_person_marked_by_hand_goes_where_the_node_is_another_one(brand, lead):
    endpoint = save_marks(upload_workflow(brand, lead), lead, **{"5.batch_size": "batch"})
    graph = kinds.text_to_image()
    graph["5"] = node("EmptyImage", width=512, height=512, batch_size=1)
    assert "batch" not in replace_workflow(endpoint, lead, graph).config["inputs"]


def test_the_saving_node_that_a_person_chose_stays(brand, lead):
    graph = kinds.text_to_image()
    graph["21"] = node("SaveImage", filename_prefix="raw", images=["8", 0])
    endpoint = upload_workflow(brand, lead, graph=graph)
    seen = selectors.load_details(endpoint).digest
    endpoint = workflows.mark(endpoint_id=endpoint.pk, by=lead, seen=seen, names=names_of(endpoint), output_node="9")
    assert replace_workflow(endpoint, lead, graph).config["output_node"] == "9"


# -- inputs without a mark -------------------------------------------------------------------------------------------

IMAGES = {
    "LoadImage": node("LoadImage", image="example.png"),
    "a loader whose export names its widget": node("LoadImage", image="example.png", upload="image"),
    "LoadImageMask": node("LoadImageMask", image="mask.png", channel="alpha"),
    "LoadImageOutput": node("LoadImageOutput", image="ComfyUI_00001_.png [output]"),
    "a pack's loader": node("Image Load", image_path="./input/example.png", RGBA="false"),
    "a loader by address": node("LoadImageFromUrl", url="https://shop.example/mug"),
    "a loader of text": node("ETN_LoadImageBase64", image="iVBORw0KGgo="),
    "a loader with an empty name": node("easy loadImageBase64", base64_data="", image=""),
    "a folder": node("LoadImagesFromFolderKJ", folder="/data/mugs", width=1024),
    "a name in a node of its own": node("PrimitiveString", value="refs/mug.JPG"),
    "an unknown class": node("Brand Logo Overlay", logo="logo.webp"),
}
PROMPTS = {
    "CLIPTextEncode": ("text", node("CLIPTextEncode", text="a face", clip=["4", 1])),
    "SDXL": ("text_g", node("CLIPTextEncodeSDXL", text_g="a face", text_l="", clip=["4", 1])),
    "Flux": ("t5xxl", node("CLIPTextEncodeFlux", clip_l=" ", t5xxl="a face", guidance=3.5, clip=["4", 1])),
    "Qwen": ("prompt", node("TextEncodeQwenImageEdit", prompt="a face", clip=["4", 1])),
    "a pack's encoder": ("text", node("BNK_CLIPTextEncodeAdvanced", text="a face", token_normalization="none")),
    "wildcards": ("wildcard_text", node("ImpactWildcardEncode", wildcard_text="a face", clip=["4", 1])),
    "a loader with both prompts": ("positive", node("Efficient Loader", positive="a face", negative="")),
    "an image service": ("prompt", node("IdeogramV3", prompt="a face", seed=1)),
    "a detailer before its encoder": ("text", node("smZ CLIPTextEncode", text="a face", parser="comfy")),
    "a subgraph": ("text", node("f2fdebf6-dfaf-43b6-9eb2-7f70613cfdc1", text="a face")),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_that_is_not_marked_is_remarked_on_and_blocks_planning(brand, lead, kind):
    endpoint = upload_workflow(brand, lead, graph={**kinds.text_to_image(), "50": IMAGES[kind]})
    places = [f"50.{name}" for (at, name), mark in names_of(endpoint).items() if at == "50" and mark]
    endpoint = remove_marks(endpoint, lead, *places)
    sentence = selectors.load_details(endpoint).open_questions[0].sentence
    assert "(node 50) loads" in sentence and "the same for every product" in sentence
    assert_blocked(endpoint, brand, lead, sentence)


@pytest.mark.parametrize("kind", PROMPTS)
def test_a_prompt_that_is_not_marked_is_remarked_on_and_blocks_planning(brand, lead, kind):
    name, encoder = PROMPTS[kind]
    endpoint = upload_workflow(brand, lead, graph={**kinds.text_to_image(), "50": encoder})
    assert open_places(endpoint) == [("50", name)]
    sentence = selectors.load_details(endpoint).open_questions[0].sentence
    assert "(node 50) keeps its own words, “a face”" in sentence
    assert_blocked(endpoint, brand, lead, sentence)


def assert_blocked(endpoint: Endpoint, brand: Any, lead: Any, sentence: str) -> None:
    engine = engines.build("comfyui", endpoint.config)
    assert sentence in engine.validate(Spec("x", 64, 64, 1))
    with pytest.raises(Invalid) as caught:
        plan_requests.load(
            PlanArguments(
                campaign=factories.CampaignFactory(brand=brand),
                prompt_version=factories.PromptVersionFactory(template__brand=brand, needs={}),
                endpoint=endpoint,
                stage="full",
                by=lead,
            )
        )
    assert [problem.message for problem in caught.value.problems if problem.pointer == "endpoint"] == [
        f"{endpoint.name}: {sentence}"
    ]


@pytest.mark.parametrize("kind", kinds.ALL)
def test_a_workflow_as_it_is_guessed_leaves_no_question_open(brand, lead, kind):
    assert selectors.load_details(upload_workflow(brand, lead, graph=kinds.ALL[kind]())).open_questions == []


@pytest.mark.parametrize("kind", kinds.ALL)
def test_without_marks_every_image_and_prompt_is_asked_about(brand, lead, kind):
    endpoint = upload_workflow(brand, lead, graph=kinds.ALL[kind]())
    filled = {place for place, mark in names_of(endpoint).items() if mark in ("prompt", "negative")}
    filled |= {place for place in names_of(endpoint) if place[1] == "image"}
    seen = selectors.load_details(endpoint).digest
    bare = workflows.mark(endpoint_id=endpoint.pk, by=lead, seen=seen, names={})
    assert set(open_places(bare)) == filled


@pytest.mark.parametrize(
    "change",
    [
        {"7": node("CLIPTextEncode", text="", clip=["4", 1])},
        {"7": node("CLIPTextEncode", text="  \n", clip=["4", 1])},
        {"50": node("Note", text="remember to change the words")},
        {"50": node("ShowText|pysssss", text="a result")},
        {
            "50": node("CLIPTextEncode", text="x", clip=["4", 1]),
            "51": node("ConditioningZeroOut", conditioning=["50", 0]),
        },
        {"50": node("UpscaleModelLoader", model_name="4x.pth")},
    ],
)
def test_words_that_change_nothing_are_not_asked_about(brand, lead, change):
    endpoint = upload_workflow(brand, lead, graph={**kinds.text_to_image(), **change})
    endpoint = remove_marks(endpoint, lead, *(f"{at}.text" for at in change if at == "7"))
    assert selectors.load_details(endpoint).open_questions == []


def test_a_prompt_without_words_is_asked_about_where_no_other_one_is_marked(brand, lead):
    graph = kinds.text_to_image()
    graph["6"]["inputs"]["text"] = graph["7"]["inputs"]["text"] = ""
    endpoint = remove_marks(upload_workflow(brand, lead, graph=graph), lead, "6.text", "7.text")
    assert open_places(endpoint) == [("6", "text"), ("7", "text")]


def test_words_that_another_node_makes_can_be_marked_over(brand, lead):
    graph = kinds.text_to_image()
    graph["6"]["inputs"]["text"] = ["30", 0]
    graph["30"] = node("Florence2Run", image=["31", 0], task="caption")
    graph["31"] = node("EmptyImage", width=64, height=64, batch_size=1)
    endpoint = upload_workflow(brand, lead, graph=graph)
    assert open_places(endpoint) == [("6", "text")]
    endpoint = save_marks(endpoint, lead, **{"6.text": "prompt"})
    assert open_places(endpoint) == [] and endpoint.config["inputs"]["prompt"] == ["6", "text"]


# -- inputs confirmed without a mark --------------------------------------------------------------------------------


def style_kept(brand: Any, lead: Any) -> Endpoint:
    """An endpoint whose workflow has a second image for the brand's style, the same for every product."""
    endpoint = remove_marks(upload_workflow(brand, lead, graph=kinds.ip_adapter()), lead, "22.image")
    assert open_places(endpoint) == [("22", "image")]
    return confirm_places(endpoint, lead, ("22", "image"))


def test_an_input_that_is_confirmed_as_it_is_is_not_asked_about_again_and_is_recorded_in_the_audit_trail(brand, lead):
    endpoint = style_kept(brand, lead)
    assert open_places(endpoint) == [] and engines.build("comfyui", endpoint.config).capabilities().open_questions == ()
    event = Event.objects.filter(object_type="endpoint", object_id=endpoint.pk).order_by("-id").first()
    assert event is not None and event.actor_id == lead.pk
    assert event.payload["changes"][f"config.{CONFIRMED_SETTING}"][1][0][:2] == ["22", "image"]


def test_saving_other_marks_keeps_confirmed_inputs(brand, lead):
    endpoint = save_marks(style_kept(brand, lead), lead, **{"3.cfg": "strictness"})
    assert open_places(endpoint) == []


def test_a_confirmation_can_be_taken_back(brand, lead):
    assert open_places(confirm_places(style_kept(brand, lead), lead)) == [("22", "image")]


@pytest.mark.parametrize(
    ("change", "is_kept"),
    [
        ({}, True),
        ({"3": {"cfg": 4}}, True),
        ({"22": {"image": "other-style.png"}}, False),
    ],
)
def test_a_new_version_keeps_a_confirmation_while_its_value_is_the_same(brand, lead, change, is_kept):
    graph = kinds.ip_adapter()
    for node_id, values in change.items():
        graph[node_id]["inputs"] |= values
    endpoint = replace_workflow(style_kept(brand, lead), lead, graph)
    assert (CONFIRMED_SETTING in endpoint.config) is is_kept
    assert ("reference_2" in endpoint.config["inputs"]) is not is_kept, "else it is marked as on a fresh endpoint"


def test_a_confirmation_does_not_change_the_fingerprint(brand, lead):
    endpoint = remove_marks(upload_workflow(brand, lead, graph=kinds.ip_adapter()), lead, "22.image")
    before = engines.build("comfyui", endpoint.config).model_identity()
    assert engines.build("comfyui", confirm_places(endpoint, lead, ("22", "image")).config).model_identity() == before


def test_an_answer_about_an_unmarked_image_does_not_answer_for_a_mark(brand, lead):
    endpoint = remove_marks(upload_workflow(brand, lead, graph=kinds.inpaint()), lead, "20.image")
    endpoint = confirm_places(endpoint, lead, ("20", "image"))
    assert open_places(endpoint) == []
    assert open_places(save_marks(endpoint, lead, **{"20.image": "init"})) == [("20", "image")]


def test_settings_of_another_shape_settle_nothing(brand, lead):
    config = {"workflow": kinds.ip_adapter(), "inputs": {}}
    for odd in ("yes", {"a": 1}, [1], [["22", "image"]], [None], [["22", "image", "", "x"]]):
        assert (
            engines.build("comfyui", {"servers": ["http://a:1"], **config, CONFIRMED_SETTING: odd})
            .capabilities()
            .open_questions
        )


# -- the page -------------------------------------------------------------------------------------------------------


def test_the_page_asks_about_an_unmarked_image_and_takes_the_answer(brand, lead, page_client):
    endpoint, client = (
        remove_marks(upload_workflow(brand, lead, graph=kinds.ip_adapter()), lead, "22.image"),
        page_client(lead),
    )
    words = client.get(address(brand, endpoint)).content.decode()
    assert "1 input to look at before images can be planned" in words
    assert "“Style” (node 22) loads house-style.png from the server" in words and 'name="meant|22|image"' in words
    fields = {f"mark|{at}|{name}": mark for (at, name), mark in names_of(endpoint).items()}
    fields |= {"do": "mark", "seen": selectors.load_details(endpoint).digest, "meant|22|image": "on"}
    assert client.post(address(brand, endpoint), fields).status_code == 302
    words = client.get(address(brand, endpoint)).content.decode()
    assert "to look at before" not in words and "checked" in words
    endpoint.refresh_from_db()
    assert open_places(endpoint) == []


def test_a_refused_mark_keeps_the_answer_that_was_ticked(brand, lead, page_client):
    endpoint = remove_marks(upload_workflow(brand, lead, graph=kinds.ip_adapter()), lead, "22.image")
    fields = {f"mark|{at}|{name}": mark for (at, name), mark in names_of(endpoint).items()}
    fields |= {
        "do": "mark",
        "seen": selectors.load_details(endpoint).digest,
        "meant|22|image": "on",
        "mark|3|cfg": "my name",
    }
    answer = page_client(lead).post(address(brand, endpoint), fields)
    assert answer.status_code == 422 and "checked" in answer.content.decode()
    endpoint.refresh_from_db()
    assert open_places(endpoint) == [("22", "image")]


def test_others_read_what_is_asked_and_cannot_answer(brand, lead, designer, page_client):
    endpoint = remove_marks(upload_workflow(brand, lead, graph=kinds.ip_adapter()), lead, "22.image")
    words = page_client(designer).get(address(brand, endpoint)).content.decode()
    assert "loads house-style.png from the server" in words and 'name="meant|' not in words


# -- masks that come from transparency ------------------------------------------------------------------------------


def with_two_images() -> Any:
    """Return a workflow that takes the image from one file and the mask from the transparency of another one."""
    graph = kinds.inpaint()
    graph["21"] = node("LoadImage", image="mug.png")
    graph["26"]["inputs"]["pixels"] = ["21", 0]
    return graph


def with_mask_node(channel: str) -> Any:
    graph = kinds.inpaint()
    graph["21"] = node("LoadImageMask", image="mask.png", channel=channel)
    graph["26"]["inputs"]["mask"] = ["21", 0]
    return graph


def inverted() -> Any:
    graph = kinds.inpaint()
    graph["21"] = node("InvertMask", mask=["20", 1])
    graph["26"]["inputs"]["mask"] = ["21", 0]
    return graph


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (kinds.inpaint(), {"cutout": ["20", "image"]}),
        (kinds.inpaint("SetLatentNoiseMask"), {"cutout": ["20", "image"]}),
        (kinds.inpaint("InpaintModelConditioning"), {"cutout": ["20", "image"]}),
        (inverted(), {"cutout": ["20", "image"]}),
        (with_two_images(), {"init": ["21", "image"], "mask": ["20", "image"]}),
        (with_mask_node("alpha"), {"init": ["20", "image"], "mask": ["21", "image"]}),
    ],
)
def test_an_image_whose_mask_is_used_gets_the_cutout_which_has_transparency(graph, expected):
    guessed = comfyui_marks.guess_marks(graph)
    assert {name: guessed.get(name) for name in expected} == expected
    assert {name for name, place in guessed.items() if place[1] == "image"} == set(expected)


def test_two_images_with_masks_get_the_same_cutout():
    graph = kinds.inpaint()
    graph["30"] = node("LoadImage", image="second.png")
    graph["31"] = node("ImageCompositeMasked", source=["30", 0], mask=["30", 1], destination=["8", 0])
    assert comfyui_marks.guess_marks(graph)["cutout"] == [["20", "image"], ["30", "image"]]


@pytest.mark.parametrize("role", ["init", "photo", "reference", "scene", "cutout_2"])
def test_a_mark_whose_image_has_no_transparency_is_asked_about_where_the_mask_is_used(brand, lead, role):
    endpoint = save_marks(upload_workflow(brand, lead, graph=kinds.inpaint()), lead, **{"20.image": role})
    sentence = selectors.load_details(endpoint).open_questions[0].sentence
    assert f"makes its mask from transparency, and the image “{role}” has none" in sentence
    assert_blocked(endpoint, brand, lead, sentence)


@pytest.mark.parametrize(("channel", "is_asked"), [("alpha", False), ("red", True), ("green", True), ("blue", True)])
def test_a_mask_that_is_read_from_a_colour_is_asked_about(brand, lead, channel, is_asked):
    endpoint = upload_workflow(brand, lead, graph=with_mask_node(channel))
    assert open_places(endpoint) == ([("21", "image")] if is_asked else [])


def test_the_server_gets_the_cutout_and_repaints_what_is_transparent():
    rgba = np.full((64, 64, 4), 90, np.uint8)
    rgba[..., 3] = 0
    rgba[16:48, 16:48, 3] = 255
    graph = kinds.inpaint()
    graph["9"]["inputs"]["images"] = ["30", 0]
    graph["30"] = node("MaskToImage", mask=["20", 1])
    with serving(ComfyServer()) as server:
        engine = ComfyUI(workflows_config(server, workflow=graph, inputs={"cutout": ["20", "image"]}))
        spec = Spec("x", 64, 64, 3, images={"cutout": ImageRef("c" * 64, "mug")})
        made_image = submit_and_fetch(engine, task(spec), MemoryContext(mug=png(rgba))).pixels
    assert made_image is not None
    assert made_image[32, 32].tolist() == [0, 0, 0] and made_image[2, 2].tolist() == [255, 255, 255]
