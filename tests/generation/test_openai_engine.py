"""Test the `openai` engine against local servers on a real socket: the documented API and compatible ones."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from generation.engines.base import ErrorKind, RemoteEngine, build
from generation.engines.openai.engine import OpenAIImages
from generation.engines.openai.profiles import FAMILIES, cut_off, profile_of_model
from tests.support.openai_server import EDITS, GENERATIONS, OpenAIServer, image
from tests.support.openai_submissions import colour, engine, png, spec, submit, submit_refused
from tests.support.remote_server import CUT_BEFORE, Fault, Response, plain, serving


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with serving(OpenAIServer()) as service:
        yield service


# -- an image from words ----------------------------------------------------------------------------------------------


def test_openai_is_a_remote_engine_without_lookup(server: OpenAIServer) -> None:
    made: RemoteEngine = engine(server)
    assert made.can_find_submissions is False
    assert made.capabilities().is_remote


def test_a_prompt_becomes_an_image_with_its_usage(server: OpenAIServer) -> None:
    result = submit(engine(server), spec("a mug on oak", 1088, 1344))
    assert result.pixels is not None and result.pixels.shape == (1344, 1088, 3)
    assert tuple(result.pixels[5, 5]) == colour(image(10, 1088, 1344))
    assert result.task_id == 11 and result.model == "gpt-image-2-2026-04-21"
    assert result.usage == {
        "images": 1,
        "text_input_tokens": 3,
        "image_input_tokens": 0,
        "output_tokens": round(1056 * 1088 * 1344 / 1024**2),
    }
    assert result.facts["revised_prompt"] == "a mug on oak, in soft light"
    assert result.facts["request_id"].startswith("req_")
    assert server.made[0].client_request_id == result.facts["client_request_id"]
    assert result.facts["made_size"] == result.facts["asked_size"] == [1088, 1344]
    assert result.facts["is_reproducible"] is False


def test_the_negative_prompt_is_part_of_the_prompt(server: OpenAIServer) -> None:
    submit(engine(server), spec("a mug", negative="text, hands"))
    assert server.made[0].prompt == "a mug\n\nAvoid: text, hands"


def test_parameters_of_the_spec_come_before_those_of_the_endpoint(server: OpenAIServer) -> None:
    made = engine(server, quality="low", moderation="low")
    submit(made, spec(parameters={"quality": "high"}))
    submit(made, spec(parameters={"quality": ""}))
    assert [request.fields["quality"] for request in server.made] == ["high", "low"]
    assert all(request.fields["moderation"] == "low" for request in server.made)


def test_organisation_and_project_go_along(server: OpenAIServer) -> None:
    submit(engine(server, organisation="org-kiln", project="proj-moor"))
    headers = server.made[0].headers
    assert headers["openai-organization"] == "org-kiln" and headers["openai-project"] == "proj-moor"


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("gpt-image-1-mini", {"quality": "medium", "background": "transparent"}),
        ("gpt-image-1.5", {"quality": "auto", "moderation": "low"}),
        ("gpt-image-2-2026-04-21", {"quality": "high"}),
        ("gpt-image-2.5-flare", {"quality": "xhigh", "complexity": "3"}),
    ],
)
def test_every_family_submits_what_its_model_accepts(
    server: OpenAIServer, model: str, parameters: dict[str, Any]
) -> None:
    made = engine(server, model=model)
    job_spec = spec(width=1200, height=800, parameters=parameters)
    assert made.validate(job_spec) == []
    result = submit(made, job_spec)
    assert result.pixels is not None
    assert result.facts["asked_size"] in ([1536, 1024], [1200, 800])
    assert result.facts["wanted_size"] == [1200, 800]


# -- sizes -------------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FAMILIES)), st.integers(16, 6000), st.integers(16, 6000))
def test_the_size_asked_for_is_always_one_that_the_model_makes(name: str, width: int, height: int) -> None:
    profile = FAMILIES[name]
    size = profile.nearest_size(width, height)
    assert profile.allows(*size)
    assert 0 <= cut_off(size, width, height) < 1
    if profile.allows(width, height):
        assert size == (width, height)
    if not profile.sizes and 1 / 3 <= width / height <= 3 and 512 <= min(width, height) <= max(width, height) <= 2048:
        assert cut_off(size, width, height) <= 0.011  # the same shape, to a pixel or two that finishing crops


def test_the_nearest_size_is_of_the_same_shape_and_rather_larger() -> None:
    free, fixed = FAMILIES["gpt-image-2"], FAMILIES["gpt-image"]
    assert free.nearest_size(1000, 1000) == (1008, 1008)
    assert free.nearest_size(512, 512) == (816, 816)  # the smallest image that it makes: 655,360 pixels
    assert free.nearest_size(5000, 5000) == (2880, 2880)
    assert fixed.nearest_size(1920, 1080) == (1536, 1024)
    assert fixed.nearest_size(300, 320) == (1024, 1024)


def test_a_shape_of_which_most_would_be_cut_off_is_refused(server: OpenAIServer) -> None:
    sentences = engine(server).validate(spec(width=728, height=90))
    assert sentences == ["gpt-image-2-2026-04-21 makes nothing like 728 × 90: of its 1440 × 480, 63% would be cut off."]


def test_families_are_found_by_the_longest_prefix() -> None:
    families = {
        model: profile_of_model(model).name
        for model in (
            "gpt-image-1-mini",
            "gpt-image-1.5",
            "gpt-image-2-2026-04-21",
            "gpt-image-2.5-sunburst",
            "gpt-image-9",
            "Qwen/Qwen-Image",
        )
    }
    assert list(families.values()) == [
        "gpt-image-1-mini",
        "gpt-image-1.5",
        "gpt-image-2",
        "gpt-image-2.5",
        "gpt-image",
        "compatible",
    ]


# -- the capabilities that planning reads -----------------------------------------------------------------------------


def test_planning_touches_no_network() -> None:
    made = build("openai", {"model": "gpt-image-2", "base_url": "http://127.0.0.1:9/v1"})
    assert made.capabilities().obeys == {"prompt", "negative", "seed", "quality", "background", "moderation"}
    assert made.capabilities().optional_images >= {"init", "photo", "cutout", "reference", "mask"}
    assert made.validate(spec()) == []
    assert made.quote(spec()).seconds == 30
    assert made.model_identity()[0] == "gpt-image-2"
    assert made.batch_key(spec())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, 'needs "model"'),
        ({"model": "m", "profile": "nothing"}, "There is no profile 'nothing'; known are"),
        ({"model": "m", "profile": {"sices": []}}, "A profile knows no 'sices'"),
        ({"model": "m", "profile": {"sizes": ["big"]}}, 'written like "1024x1024"'),
        ({"model": "m", "profile": {"max_images": -1}}, "'max_images' cannot be -1"),
        ({"model": "m", "profile": 3}, "is a name or an object"),
        ({"model": "gpt-image-2", "quality": "best"}, '"quality": It is one of low, medium, high, auto.'),
    ],
)
def test_a_wrong_set_up_is_explained_in_a_sentence(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=r"profile|model|quality") as caught:
        build("openai", config)
    assert words in str(caught.value)


def test_what_a_model_cannot_do_is_refused_in_words(server: OpenAIServer) -> None:
    made = engine(server)
    job_spec = spec(" ", parameters={"quality": "best", "steps": 30}, roles=["mask"])
    assert made.validate(job_spec) == [
        "Unknown parameter 'steps'; gpt-image-2-2026-04-21 takes quality, background, moderation.",
        "quality is 'best'; gpt-image-2-2026-04-21 knows low, medium, high, auto.",
        "There are no words to make an image from.",
        "There is a mask, but no image to repaint: give it the image too.",
    ]
    assert "32,001 characters" in made.validate(spec("x" * 32_001))[0]
    few = engine(server, profile={"max_images": 2, "has_mask": False})
    assert few.validate(spec(roles=["photo", "reference", "reference_2", "mask"])) == [
        "gpt-image-2-2026-04-21 takes at most 2 images, not 3.",
        "gpt-image-2-2026-04-21 takes no mask.",
    ]
    assert engine(server, profile={"max_images": 0}).validate(spec(roles=["photo"])) == [
        "gpt-image-2-2026-04-21 takes no images."
    ]


def test_the_fingerprint_knows_server_defaults_and_profile(server: OpenAIServer) -> None:
    identities = [
        engine(server).model_identity(),
        engine(server, quality="low").model_identity(),
        engine(server, base_url="https://elsewhere.example/v1").model_identity(),
        engine(server, profile="compatible").model_identity(),
        engine(server, timeout_seconds=5, organisation="o").model_identity(),
    ]
    assert len(set(identities)) == 4
    assert identities[0] == identities[4]


def test_a_quote_knows_what_an_image_usually_counts(server: OpenAIServer) -> None:
    made = engine(server, quality="medium")
    usage = made.quote(spec("word " * 20, 2048, 1024, roles=["photo"])).usage
    assert usage == {"images": 1, "text_input_tokens": 25, "image_input_tokens": 1000, "output_tokens": 2112}
    assert engine(server, profile="compatible").quote(spec()).usage == {"images": 1}
    assert made.batch_key(spec()) != engine(server, quality="high").batch_key(spec()), "they cost different money"


# -- health ------------------------------------------------------------------------------------------------------------


def test_health_says_whether_the_model_is_there(server: OpenAIServer) -> None:
    assert engine(server).health().is_ok
    gone = engine(server, model="gpt-image-1").health()
    assert not gone.is_ok and "has no model gpt-image-1" in gone.message
    assert "gpt-image-1.5" in gone.facts["models"]


def test_health_reports_a_wrong_key_and_a_closed_port(server: OpenAIServer) -> None:
    stranger = OpenAIImages({"base_url": f"{server.url}/v1", "model": "gpt-image-2", "secret": "sk-wrong-0123456789"})
    health = stranger.health()
    assert not health.is_ok and "does not accept the endpoint's key" in health.message
    assert "sk-wrong" not in health.message
    assert not engine(server, base_url="http://127.0.0.1:9/v1").health().is_ok


# -- images and masks ------------------------------------------------------------------------------------------------


def test_several_images_are_sent_in_order_as_they_are_stored(server: OpenAIServer) -> None:
    photo, cutout = png((300, 200), (10, 20, 30)), png((50, 60), (1, 2, 3, 0), mode="RGBA")
    webp, tiff = png((40, 40), (200, 100, 0), form="WEBP"), png((64, 32), (9, 8, 7), form="TIFF")
    job_spec = spec(roles=["reference_2", "reference", "cutout", "photo"])
    result = submit(engine(server), job_spec, photo=photo, cutout=cutout, reference=webp, reference_2=tiff)
    made = server.made[0]
    assert [part.name for part in made.images] == ["image[]"] * 4
    assert [part.file_name for part in made.images] == [
        "photo.png",
        "cutout.png",
        "reference.webp",
        "reference_2.png",
    ]
    assert [part.data for part in made.images[:3]] == [photo, cutout, webp]
    assert colour(made.images[3].data) == (9, 8, 7)  # a format that the service does not accept is sent as PNG
    assert made.mask is None
    assert result.usage["image_input_tokens"] == 1200
    assert server.counts == {EDITS: 1}


def test_the_mask_is_transparent_where_ours_is_white(server: OpenAIServer) -> None:
    photo = png((800, 800), (0, 90, 0))
    white = Image.new("L", (400, 400), 0)
    white.paste(255, (0, 0, 200, 400))  # the left half is made anew
    stream = io.BytesIO()
    white.save(stream, "PNG")
    job_spec = spec(width=1024, height=1024, roles=["photo", "mask"])
    result = submit(engine(server), job_spec, photo=photo, mask=stream.getvalue())
    sent = server.made[0]
    assert sent.mask is not None
    first, mask = (Image.open(io.BytesIO(part.data)) for part in (sent.images[0], sent.mask))
    assert mask.size == first.size == (1024, 1024)
    alpha = np.asarray(mask.getchannel("A"))
    assert alpha[:, :500].max() == 0 and alpha[:, 524:].min() == 255
    assert result.pixels is not None
    assert (result.pixels[:, 520:] == [0, 90, 0]).all()  # pixels outside the mask stay exactly as they were
    assert tuple(result.pixels[500, 100]) == colour(image(10, 8, 8))
    assert result.facts["kept_outside"] is True


def test_the_service_may_be_believed_outside_the_mask_too(server: OpenAIServer) -> None:
    cutout = Image.new("RGBA", (600, 600), (0, 0, 200, 0))
    cutout.paste((0, 0, 200, 255), (200, 200, 400, 400))
    stream = io.BytesIO()
    cutout.save(stream, "PNG")
    made = engine(server, keep_outside=False)
    result = submit(made, spec(roles=["init", "mask"]), init=png((600, 600), (0, 0, 200)), mask=stream.getvalue())
    sent = server.made[0]
    assert sent.mask is not None
    alpha = np.asarray(Image.open(io.BytesIO(sent.mask.data)).getchannel("A"))
    assert alpha[512, 512] == 255 and alpha[10, 10] == 0  # around the product it is made anew
    assert result.pixels is not None
    assert tuple(result.pixels[512, 512]) == colour(image(10, 8, 8))


def test_a_photo_on_its_side_is_sent_upright(server: OpenAIServer) -> None:
    image = Image.new("RGB", (40, 20), (255, 0, 0))
    exif = image.getexif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=exif)
    submit(engine(server), spec(roles=["photo"]), photo=stream.getvalue())
    assert Image.open(io.BytesIO(server.made[0].images[0].data)).size == (20, 40)


def test_images_too_large_or_broken_are_refused_before_anything_is_paid(server: OpenAIServer) -> None:
    made = engine(server, profile={"max_image_bytes": 1000})
    error = submit_refused(made, spec(roles=["photo"]), photo=image(1, 900, 900))
    assert error.kind == ErrorKind.INPUT and "the service takes at most" in error.message
    error = submit_refused(engine(server), spec(roles=["photo"]), photo=b"no image")
    assert error.kind == ErrorKind.INPUT and "photo image cannot be read" in error.message
    assert not server.counts


def test_the_form_uses_the_field_that_a_server_knows(server: OpenAIServer) -> None:
    made = engine(server, model="gpt-image-1.5", profile={"image_field": "image"})
    submit(made, spec(roles=["photo"], parameters={"input_fidelity": "high"}), photo=png((8, 8), (1, 2, 3)))
    assert [part.name for part in server.made[0].images] == ["image"]
    assert server.made[0].fields["input_fidelity"] == "high"


# -- compatible servers ------------------------------------------------------------------------------------------------


@pytest.fixture
def compatible() -> Iterator[OpenAIServer]:
    with serving(OpenAIServer(key="", is_compatible=True, answers="url", images=3)) as service:
        yield service


def local(server: OpenAIServer, **config: Any) -> OpenAIImages:
    return OpenAIImages({"base_url": f"{server.url}/v1", "model": "qwen-image", **config})


def test_a_compatible_server_is_asked_for_words_and_size_only(compatible: OpenAIServer) -> None:
    result = submit(local(compatible), spec(width=500, height=500))
    assert set(compatible.made[0].fields) == {"model", "prompt", "size", "response_format"}
    assert "authorization" not in compatible.made[0].headers
    assert result.pixels is not None and result.pixels.shape == (512, 512, 3)


def test_an_address_is_fetched_at_once_and_more_images_than_asked_for_are_counted(compatible: OpenAIServer) -> None:
    result = submit(local(compatible))
    assert result.pixels is not None
    assert tuple(result.pixels[5, 5]) == colour(image(10, 8, 8))
    assert result.usage == {"images": 3}
    assert result.facts["images_answered"] == 3
    assert compatible.counts == {GENERATIONS: 1, "GET /files": 1}


def test_an_image_that_cannot_be_fetched_is_tried_again_but_not_submitted_again(compatible: OpenAIServer) -> None:
    compatible.fail_next("GET /files", CUT_BEFORE, Fault(response=Response(503)))
    assert submit(local(compatible)).pixels is not None
    compatible.fail_next("GET /files", Fault(response=Response(404)))
    error = submit_refused(local(compatible))
    assert error.kind == ErrorKind.UNCERTAIN and "was made and could not be taken over" in error.message
    assert compatible.counts[GENERATIONS] == 2


def test_a_data_address_needs_no_fetching(compatible: OpenAIServer) -> None:
    encoded = base64.b64encode(png((32, 16), (4, 5, 6))).decode()
    for entry in ({"url": f"data:image/png;base64,{encoded}"}, {"b64_json": f"data:image/png;base64,{encoded}"}):
        compatible.fail_next(GENERATIONS, Fault(response=plain({"data": [entry]})))
        result = submit(local(compatible))
        assert result.pixels is not None and result.pixels.shape == (16, 32, 3)


def test_a_profile_says_what_a_server_knows_beyond_that(compatible: OpenAIServer) -> None:
    profile = {
        "base": "compatible",
        "sizes": ["512x512", "768x512"],
        "negative": "negative_prompt",
        "seed": "seed",
        "always": {"n": 1},
        "parameters": {"steps": [], "quality": ["standard", "hd"]},
    }
    made = local(compatible, profile=profile, quality="hd")
    submit(made, spec(width=900, height=600, negative="hands", parameters={"steps": 20}))
    assert compatible.made[0].fields == {
        "model": "qwen-image",
        "prompt": "a mug on oak",
        "size": "768x512",
        "n": 1,
        "quality": "hd",
        "steps": 20,
        "negative_prompt": "hands",
        "seed": 7,
    }
    assert made.capabilities().max_width == 768


# -- many at once ------------------------------------------------------------------------------------------------------


def test_one_engine_serves_many_threads() -> None:
    with serving(OpenAIServer(seconds=0.05)) as server:
        made = engine(server)
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda n: submit(made, spec(f"mug {n}")), range(24)))
        assert len({result.facts["request_id"] for result in results}) == 24
        assert sorted(request.prompt for request in server.made) == sorted(f"mug {n}" for n in range(24))
