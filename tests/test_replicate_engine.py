"""The `replicate` engine against a server of ours on a real socket that keeps Replicate's documented rules and breaks
in the ways that services break."""

from __future__ import annotations

import hashlib
import io
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from PIL import Image

from generation.engines.base import (
    EngineError,
    ErrorKind,
    ImageRef,
    Pending,
    RemoteEngine,
    Result,
    Spec,
    Submitted,
    Task,
    build,
)
from generation.engines.replicate import Replicate
from generation.engines.replicate_shared import credentials
from tests.engines import ready_pixels
from tests.remote_server import CUT_AFTER, CUT_BEFORE, Fault, Response, Window, plain, serving
from tests.replicate_server import DEPLOYMENT, MODEL, TOKEN, VERSION, Fate
from tests.replicate_server import Replicate as Server

INPUTS = {
    "prompt": "prompt",
    "negative": "negative_prompt",
    "seed": {"input": "seed", "maximum": 2**32 - 1},
    "width": "width",
    "height": "height",
    "images": {"init": "image", "mask": "mask", "reference": {"input": "image_input", "is_list": True}},
    "parameters": {
        "guidance": {"input": "guidance_scale", "minimum": 0, "maximum": 10, "step": 0.5},
        "format": {"input": "output_format", "choices": ["png", "webp"]},
        "speed": {"input": "go_fast", "choices": {"fast": True, "exact": False}},
    },
    "fixed": {"num_outputs": 1},
}


class Lent:
    """A worker's context: files by key."""

    def __init__(self, **files: bytes) -> None:
        self.files = files

    def load(self, ref: ImageRef) -> bytes:
        return self.files[ref.key]

    def progress(self, task_ids: Sequence[int], step: int, steps: int) -> None:
        return

    def cancelled(self) -> frozenset[int]:
        return frozenset()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as service:
        yield service


def engine(server: Server, **config: Any) -> Replicate:
    target = {} if config.keys() & {"version", "model", "deployment"} else {"version": VERSION}
    given = {"base_url": server.base_url, "inputs": INPUTS, **target, **config}
    made = build("replicate", given, secret=config.pop("secret", TOKEN))
    assert isinstance(made, Replicate)
    return made


def spec(prompt: str = "a mug on oak", *, seed: int = 7, width: int = 64, height: int = 80, **others: Any) -> Spec:
    return Spec(prompt, width, height, seed, **others)


def png(seed: int, *, width: int = 48, height: int = 48, grain: float = 3.0) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(ready_pixels(seed, width, height, grain=grain)).save(stream, "PNG")
    return stream.getvalue()


def with_pictures(**files: bytes) -> tuple[dict[str, ImageRef], Lent]:
    refs = {role: ImageRef(hashlib.sha256(data).hexdigest(), role) for role, data in files.items()}
    return refs, Lent(**files)


def order(one: RemoteEngine, given: Spec, *, task_id: int = 1, lent: Lent | None = None) -> Submitted:
    return one.submit(Task(task_id, given), str(uuid.uuid4()), lent or Lent())


def ended(one: RemoteEngine, remote_id: str) -> Result:
    """Polled until it is no longer pending."""
    until = time.monotonic() + 20
    while isinstance(standing := one.poll([remote_id])[remote_id], Pending):
        assert time.monotonic() < until, "still pending"
        time.sleep(0.02)
    return standing


def made(one: RemoteEngine, given: Spec, lent: Lent | None = None) -> Result:
    return one.fetch(ended(one, order(one, given, lent=lent).remote_id), lent or Lent())


def refused(one: RemoteEngine, given: Spec | None = None) -> EngineError:
    with pytest.raises(EngineError) as caught:
        order(one, given or spec())
    return caught.value


def find(
    one: RemoteEngine, given: Spec, marker: str = "", taken: Collection[str] = (), lent: Lent | None = None
) -> str | None:
    return one.find(Task(1, given), marker or str(uuid.uuid4()), datetime.now(UTC) - timedelta(seconds=5), taken)


# -- orders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ({"version": VERSION}, "/v1/predictions"),
        ({"version": f"{MODEL}:{VERSION}"}, "/v1/predictions"),
        ({"model": MODEL}, f"/v1/models/{MODEL}/predictions"),
        ({"deployment": DEPLOYMENT}, f"/v1/deployments/{DEPLOYMENT}/predictions"),
    ],
)
def test_a_picture_comes_from_a_version_an_official_model_and_a_deployment(server, target, path):
    result = made(engine(server, **target), spec())
    assert [request.path for request in server.requests if request.method == "POST"] == [path]
    assert np.array_equal(result.pixels, ready_pixels(7, 64, 80))
    assert (result.seed, result.usage["images"], result.model) == (7, 1.0, MODEL)


def test_the_spec_becomes_the_models_own_names(server):
    given = spec(negative="text", seed=2**40 + 9, parameters={"guidance": 3.5, "format": "webp", "speed": "exact"})
    order(engine(server), given)
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
    one = engine(server, inputs=inputs)
    assert made(one, spec(width=1080, height=1350)).facts["asked_ratio"] == "4:5"
    order(one, spec(width=1000, height=1900))
    order(one, spec(width=1600, height=1000))
    assert [given["aspect_ratio"] for given in server.paid] == ["4:5", "9:16", "16:9"]


def test_a_size_between_the_multiples_is_rounded(server):
    facts = made(engine(server, size_multiple=16), spec(width=100, height=70)).facts
    assert (server.paid[0]["width"], server.paid[0]["height"]) == (96, 64)
    assert (facts["asked_width"], facts["asked_height"], facts["width"], facts["height"]) == (96, 64, 96, 64)


def test_the_seconds_that_it_took_are_counted(server):
    server.start_seconds, server.seconds = 0.1, 0.2
    result = made(engine(server), spec())
    assert result.usage["seconds"] == pytest.approx(0.2)
    assert result.facts["total_time"] == pytest.approx(0.3)
    assert (result.facts["width"], result.facts["height"]) == (64, 80)


def test_a_prediction_goes_from_starting_over_processing_with_steps_to_its_picture(server):
    server.start_seconds, server.seconds = 100, 100
    server.fates["a mug on oak"] = Fate(logs=" 30%|███       | 3/10 [00:01<00:03]\r 70%|███████   | 7/10 [00:02<00:01]")
    one = engine(server)
    remote_id = order(one, spec()).remote_id
    assert one.poll([remote_id])[remote_id] == Pending()
    server.advance(150)
    assert one.poll([remote_id])[remote_id] == Pending(step=7, steps=10)
    server.advance(100)
    assert one.fetch(ended(one, remote_id), Lent()).pixels is not None


def test_hundreds_are_polled_off_the_list_and_what_is_not_there_one_by_one(server):
    one = engine(server)
    ids = [order(one, spec(seed=seed)).remote_id for seed in range(30)]
    server.page = 10
    server.requests.clear()
    standing = one.poll([*ids[:20], "gone"])
    assert all(isinstance(standing[remote_id], Result) for remote_id in ids[:20])
    assert standing["gone"].error.kind == ErrorKind.LOST
    asked = [request.path for request in server.requests]
    assert asked.count("/v1/predictions") <= 2
    assert len(asked) < 20
    assert sorted(result.seed for remote_id, result in standing.items() if remote_id != "gone") == list(range(20))


def test_of_several_outputs_the_first_is_taken_and_all_are_counted(server):
    result = made(engine(server, inputs={**INPUTS, "fixed": {"num_outputs": 3}}), spec())
    assert (result.usage["images"], result.facts["outputs"]) == (3.0, 3)
    assert np.array_equal(result.pixels, ready_pixels(7, 64, 80))


@pytest.mark.parametrize("shape", ["text", "list", "mapping", "data"])
def test_every_shape_of_output_holds_its_picture(server, shape):
    import base64

    address = f"data:image/png;base64,{base64.b64encode(png(3)).decode()}"
    output = {"text": address, "list": [address], "mapping": {"seed": 3, "image": address}, "data": [[address]]}[shape]
    server.fates["a mug on oak"] = Fate(output=output)
    assert np.array_equal(made(engine(server), spec()).pixels, ready_pixels(3, 48, 48))


# -- answers that are waited for ------------------------------------------------------------------------------------


def test_an_answer_that_is_waited_for_brings_the_picture(server):
    server.seconds = 0.1
    submitted = order(engine(server, wait_seconds=10), spec())
    assert server.requests[0].headers["prefer"] == "wait=10"
    assert np.array_equal(submitted.result.pixels, ready_pixels(7, 64, 80))
    assert submitted.result.usage["seconds"] == pytest.approx(0.1)
    assert submitted.result.task_id == 1


def test_without_a_wait_the_header_is_left_out(server):
    assert order(engine(server), spec()).remote_id in server.predictions
    assert "prefer" not in server.requests[0].headers


def test_an_answer_that_still_says_processing_brings_the_picture_of_an_official_model(server):
    server.seconds = 30
    server.fates["a mug on oak"] = Fate(is_early=True)
    official = order(engine(server, wait_seconds=5, model=MODEL), spec())
    assert official.result.pixels is not None
    by_the_second = order(engine(server, wait_seconds=5), spec())
    assert by_the_second.result is None, "its seconds are not known yet, and they cost"


def test_a_wait_that_ends_before_the_picture_leaves_the_id(server):
    server.seconds = 2
    submitted = order(engine(server, wait_seconds=1), spec())
    assert submitted.result is None
    assert ended(engine(server), submitted.remote_id).outputs


def test_a_picture_that_cannot_be_fetched_at_once_is_left_to_the_poller(server):
    server.fail_next("GET /outputs/{id}", CUT_BEFORE)
    one = engine(server, wait_seconds=5)
    submitted = order(one, spec())
    assert submitted.result is None
    assert one.fetch(ended(one, submitted.remote_id), Lent()).pixels is not None
    assert len(server.paid) == 1


@pytest.mark.parametrize("wait", [-1, 61])
def test_a_wait_that_the_service_refuses_is_refused_in_the_settings(server, wait):
    with pytest.raises(ValueError, match="0 to 60"):
        engine(server, wait_seconds=wait)


# -- pictures that go in --------------------------------------------------------------------------------------------


def test_a_small_picture_goes_along_and_a_large_one_is_uploaded_once(server):
    small, large = png(1), png(2, width=400, height=400, grain=60)
    assert len(large) > 256 * 1024
    images, lent = with_pictures(init=small, mask=large)
    one = engine(server)
    order(one, spec(images=images), lent=lent)
    order(one, spec(images=images, seed=8), lent=lent)
    first = server.paid[0]
    assert first["image"].startswith("data:image/png;base64,")
    assert first["mask"].startswith(f"{server.base_url}/files/")
    assert [data for _, _, data in server.uploads.values()] == [large]
    assert server.paid[1]["mask"] == first["mask"]


def test_an_upload_that_ends_soon_is_not_used_again(server, monkeypatch):
    monkeypatch.setattr("generation.engines.replicate_pictures.KEPT_SECONDS", 0.0)
    images, lent = with_pictures(mask=png(2, width=400, height=400, grain=60))
    one = engine(server)
    order(one, spec(images=images), lent=lent)
    order(one, spec(images=images), lent=lent)
    assert len(server.uploads) == 2


def test_a_list_input_takes_the_picture_in_a_list(server):
    images, lent = with_pictures(reference=png(1))
    order(engine(server), spec(images=images), lent=lent)
    assert len(server.paid[0]["image_input"]) == 1


def test_an_upload_that_fails_has_ordered_nothing(server):
    images, lent = with_pictures(mask=png(2, width=400, height=400, grain=60))
    server.fail_next("POST /files", CUT_AFTER)
    with pytest.raises(EngineError) as caught:
        order(engine(server), spec(images=images), lent=lent)
    assert caught.value.kind == ErrorKind.TRANSIENT
    assert server.paid == []


# -- refusals and failures ------------------------------------------------------------------------------------------


def test_what_the_model_does_not_take_is_said_with_the_field(server):
    one = engine(server, inputs={**INPUTS, "seed": {"input": "seed", "maximum": 2**40}})
    error = refused(one, spec(seed=2**33))
    assert error.kind == ErrorKind.INPUT
    assert "seed: Must be less than or equal to 4294967295" in error.message
    assert server.paid == []


@pytest.mark.parametrize(("form", "wait"), [("body", 30.0), ("words", 30.0), ("header", 30.0)])
def test_a_throttled_order_says_how_long_to_wait_in_each_of_its_forms(form, wait):
    with serving(Server(limits=(Window(1, wait),))) as server:
        server.throttled = form
        one = engine(server)
        order(one, spec())
        error = refused(one)
        assert error.kind == ErrorKind.RATE
        assert error.retry_after_seconds == pytest.approx(wait, abs=2)
        assert len(server.paid) == 1


@pytest.mark.parametrize(
    ("body", "wait"),
    [
        ({"detail": "Request was throttled. Your rate limit resets in ~30s."}, 30.0),
        ({"detail": "Your rate limit resets in ~250ms."}, 0.25),
        ({"detail": "Your rate limit resets in 2m."}, 120.0),
        ({"detail": "Request was throttled.", "retry_after": 5}, 5.0),
        ({"detail": "Request was throttled."}, None),
        ({"detail": "x", "retry_after": 10**9}, 3600.0),
    ],
)
def test_the_wait_is_read_out_of_the_body(server, body, wait):
    server.fail_next("POST /predictions", Fault(response=plain(body, 429)))
    assert refused(engine(server)).retry_after_seconds == wait


def test_an_account_without_credit_and_a_refused_token_hold_the_endpoint(server):
    server.credit = 1
    one = engine(server)
    order(one, spec())
    empty, stranger = refused(one), refused(engine(server, secret="r8_wrong"))
    assert (empty.kind, stranger.kind) == (ErrorKind.QUOTA, ErrorKind.QUOTA)
    assert "no credit" in empty.message and "secret" in stranger.message
    assert "r8_wrong" not in f"{stranger.message} {stranger.log}"
    nobody = refused(engine(server, secret=""))
    assert (nobody.kind, server.counts["POST /predictions"]) == (ErrorKind.QUOTA, 3)


def test_a_version_or_model_that_is_not_there_holds_the_endpoint(server):
    for target in ({"version": "0" * 64}, {"model": "nobody/nothing"}, {"deployment": "nobody/nothing"}):
        error = refused(engine(server, **target))
        assert error.kind == ErrorKind.QUOTA
        assert next(iter(target.values())) in error.message


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("NSFW content detected. Try running it again, or try a different prompt.", ErrorKind.MODERATION),
        ("The input or output was flagged as sensitive. Please try again with different inputs. (E005)", "moderation"),
        ("CUDA out of memory. Tried to allocate 2.25 GiB", ErrorKind.MEMORY),
        ("Prediction interrupted; please retry (code: PA)", ErrorKind.TRANSIENT),
        ("Director: unexpected error handling prediction (E8765)", ErrorKind.TRANSIENT),
        ("Could not load image: the mask has another size than the image", ErrorKind.INPUT),
    ],
)
def test_a_failed_prediction_fails_as_its_words_say(server, words, kind):
    server.fates["a mug on oak"] = Fate(error=words, logs="what the model wrote")
    result = made(engine(server), spec())
    assert (result.error.kind, result.pixels) == (kind, None)
    assert words in result.error.message
    assert result.error.log == "what the model wrote"


def test_a_failure_in_the_awaited_answer_comes_by_the_poller_with_its_id(server):
    server.fates["a mug on oak"] = Fate(error="NSFW content detected.")
    one = engine(server, wait_seconds=5)
    submitted = order(one, spec())
    assert submitted.result is None
    assert ended(one, submitted.remote_id).error.kind == ErrorKind.MODERATION


def test_a_model_that_answers_with_words_has_made_no_picture(server):
    server.fates["a mug on oak"] = Fate(output="a lovely mug")
    error = made(engine(server), spec()).error
    assert error.kind == ErrorKind.INPUT and "a lovely mug" in error.message


def test_only_our_own_prediction_is_cancelled_and_cancelling_an_ended_one_changes_nothing(server):
    server.seconds = 60
    one = engine(server)
    first, second = order(one, spec()).remote_id, order(one, spec(seed=8)).remote_id
    one.cancel(first)
    assert ended(one, first).error.kind == ErrorKind.CANCELLED
    assert isinstance(one.poll([second])[second], Pending)
    server.advance(100)
    one.cancel(second)
    one.cancel("nobody-knows-this")
    assert ended(one, second).error is None


def test_what_was_not_begun_in_time_is_tried_again_and_what_took_too_long_goes_to_a_person(server):
    one = engine(server, cancel_after="10m")
    server.start_seconds, server.seconds = 700, 10
    never_begun = order(one, spec()).remote_id
    server.start_seconds, server.seconds = 0, 700
    too_long = order(one, spec(seed=8)).remote_id
    assert server.requests[0].headers["cancel-after"] == "10m"
    server.advance(650)
    aborted, stopped = ended(one, never_begun), ended(one, too_long)
    assert (aborted.error.kind, stopped.error.kind) == (ErrorKind.TRANSIENT, ErrorKind.INPUT)
    assert "not charged" in aborted.error.message and "600 s" in stopped.error.message


@pytest.mark.parametrize("text", ["soon", "4s", "10 m", "-5m"])
def test_a_deadline_that_means_nothing_is_refused_in_the_settings(server, text):
    with pytest.raises(ValueError, match="cancel_after"):
        engine(server, cancel_after=text)


def test_pictures_that_the_service_has_deleted_are_lost(server):
    one = engine(server)
    remote_id = order(one, spec()).remote_id
    result = ended(one, remote_id)
    server.advance(3700)
    assert ended(one, remote_id).error.kind == ErrorKind.LOST
    with pytest.raises(EngineError) as caught:
        one.fetch(result, Lent())
    assert caught.value.kind == ErrorKind.LOST


def test_an_unknown_id_is_lost(server):
    assert engine(server).poll(["nobody"])["nobody"].error.kind == ErrorKind.LOST


def test_pictures_come_from_the_services_own_hosts_only(server):
    server.fates["a mug on oak"] = Fate(output="https://169.254.169.254/latest/meta-data/a.png")
    with pytest.raises(EngineError) as caught:
        made(engine(server), spec())
    assert caught.value.kind == ErrorKind.INPUT
    assert "no host of" in caught.value.message


# -- answers that do not come ---------------------------------------------------------------------------------------


def test_an_order_that_never_arrived_may_be_sent_again():
    with serving(Server()) as server:
        one = engine(server)
    assert refused(one).kind == ErrorKind.TRANSIENT


@pytest.mark.parametrize(
    "fault",
    [
        CUT_AFTER,
        Fault(response=Response(502, b"bad gateway"), after_effect=True),
        Fault(response=Response(504, b"timeout"), after_effect=True),
        Fault(response=Response(500, b'{"detail":"oops"}'), after_effect=True),
        Fault(response=Response(201, b'{"id": "cut o'), after_effect=True),
        Fault(response=Response(201, b"{}"), after_effect=True),
        Fault(seconds=1.5, response=Response(201, b""), after_effect=True),
    ],
    ids=["cut", "502", "504", "500", "half an answer", "no id", "too slow"],
)
@pytest.mark.parametrize("target", ["version", "model", "deployment"])
def test_an_order_whose_answer_was_lost_is_in_doubt_and_found_again(server, fault, target):
    server.fail_next("POST /predictions", fault)
    one = engine(server, timeout_seconds=1, **{target: {"version": VERSION, "model": MODEL}.get(target, DEPLOYMENT)})
    assert refused(one).kind == ErrorKind.DOUBT
    server.seconds = 5
    order(one, spec(seed=8))
    time.sleep(fault.seconds)
    found = find(one, spec())
    assert server.predictions[found].input["seed"] == 7
    assert one.fetch(ended(one, found), Lent()).pixels is not None


def test_an_order_that_was_cut_before_it_counted_is_not_found(server):
    one = engine(server)
    order(one, spec(seed=8))
    server.fail_next("POST /predictions", CUT_BEFORE)
    assert refused(one).kind == ErrorKind.DOUBT
    assert find(one, spec()) is None


def test_a_busy_gateway_that_took_nothing_is_asked_again(server):
    server.fail_next("POST /predictions", Fault(response=Response(503, b"overloaded", {"Retry-After": "4"})))
    error = refused(engine(server))
    assert (error.kind, error.retry_after_seconds) == (ErrorKind.TRANSIENT, 4)


@pytest.mark.parametrize(
    "fault", [CUT_BEFORE, Fault(response=Response(500, b"oops")), Fault(response=Response(200, b"<"))]
)
def test_a_poll_without_an_answer_is_no_verdict(server, fault):
    one = engine(server)
    remote_id = order(one, spec()).remote_id
    server.fail_next("GET /predictions/{id}", fault)
    with pytest.raises(EngineError) as caught:
        one.poll([remote_id])
    assert caught.value.kind == ErrorKind.TRANSIENT
    assert ended(one, remote_id).error is None


def test_of_several_the_ones_that_answered_count(server):
    one = engine(server)
    ids = [order(one, spec(seed=seed)).remote_id for seed in range(3)]
    server.fail_next("GET /predictions/{id}", Fault(), CUT_BEFORE)
    assert list(one.poll(ids)) == ids[:1]


def test_a_picture_that_breaks_off_is_fetched_again(server):
    one = engine(server)
    result = ended(one, order(one, spec()).remote_id)
    for fault in (CUT_BEFORE, Fault(response=Response(200, png(1)[:500]))):
        server.fail_next("GET /outputs/{id}", fault)
        with pytest.raises(EngineError) as caught:
            one.fetch(result, Lent())
        assert caught.value.kind == ErrorKind.TRANSIENT
    assert one.fetch(result, Lent()).pixels is not None


# -- looking for what was lost --------------------------------------------------------------------------------------


def test_it_is_found_pages_below_and_not_beyond_its_time(server):
    one = engine(server)
    server.page = 4
    wanted = order(one, spec()).remote_id
    for seed in range(100, 119):
        order(one, spec(seed=seed))
    assert find(one, spec()) == wanted
    assert server.counts["GET /predictions"] == 5
    later = datetime.now(UTC) + timedelta(seconds=120)
    assert one.find(Task(1, spec()), str(uuid.uuid4()), later, ()) is None


def test_two_that_look_the_same_are_given_to_one_task_each(server):
    one = engine(server)
    first, second = order(one, spec(), task_id=1).remote_id, order(one, spec(), task_id=2).remote_id
    found = find(one, spec())
    other = find(one, spec(), taken={found})
    assert {found, other} == {first, second}
    assert find(one, spec(), taken={first, second}) is None


def test_the_webhooks_address_tells_two_that_look_the_same_apart(server):
    server.shows_webhooks = True
    one = engine(server, webhook_url="https://desk.example/hooks/replicate/cloud")
    markers = [str(uuid.uuid4()) for _ in range(3)]
    server.reroute = lambda address: f"{server.url}/nowhere"
    ids = [one.submit(Task(number, spec()), marker, Lent()).remote_id for number, marker in enumerate(markers[:2])]
    assert [find(one, spec(), marker) for marker in markers] == [*ids, None]


@pytest.mark.parametrize("other", [spec("a bowl"), spec(seed=8), spec(width=72), spec(parameters={"guidance": 5})])
def test_an_order_for_another_picture_is_not_taken_for_ours(server, other):
    one = engine(server)
    order(one, other)
    if other.parameters:  # it holds all that ours has: taken only where nothing equal is there
        equal = order(one, spec()).remote_id
        order(one, other)
        assert find(one, spec()) == equal
    else:
        assert find(one, spec()) is None


def test_an_order_of_another_version_or_model_is_not_taken_for_ours(server):
    order(engine(server, model=MODEL), spec())
    assert find(engine(server), spec()) is None
    assert find(engine(server, model="kilnmoor/other"), spec()) is None
    assert find(engine(server, model=MODEL), spec()) is not None


@pytest.mark.parametrize("side", [48, 400])
def test_the_same_words_with_another_product_photo_are_another_order(server, side):
    one = engine(server)
    mug, bowl = (png(seed, width=side, height=side, grain=60) for seed in (1, 2))
    mugs, with_mug = with_pictures(init=mug)
    bowls, with_bowl = with_pictures(init=bowl)
    of_bowl = order(one, spec(images=bowls), lent=with_bowl).remote_id
    assert find(one, spec(images=mugs)) is None
    of_mug = order(one, spec(images=mugs), lent=with_mug).remote_id
    assert find(one, spec(images=mugs)) == of_mug
    assert find(one, spec(images=bowls)) == of_bowl
    assert find(one, spec()) is None


@pytest.mark.parametrize("fault", [CUT_BEFORE, Fault(response=Response(500, b"oops")), Fault(response=plain({}, 429))])
def test_a_list_that_cannot_be_read_is_no_verdict(server, fault):
    one = engine(server)
    order(one, spec())
    server.fail_next("GET /predictions", fault)
    with pytest.raises(EngineError) as caught:
        find(one, spec())
    assert caught.value.kind in (ErrorKind.TRANSIENT, ErrorKind.RATE)


def test_a_list_that_leads_elsewhere_is_not_followed_there(server):
    one = engine(server)
    evil = {"results": [], "next": "http://127.0.0.1:9/steal?cursor=1"}
    server.fail_next("GET /predictions", Fault(response=plain(evil)))
    assert find(one, spec()) is None
    assert server.requests[-1].query == {"cursor": "1"}


# -- what planning and the operator see -----------------------------------------------------------------------------


def test_the_settings_say_what_is_obeyed_and_what_may_be_changed(server):
    capabilities = engine(server, max_side=1440).capabilities()
    assert capabilities.is_remote
    assert capabilities.obeys == {"prompt", "negative", "seed", "guidance", "format", "speed"}
    assert capabilities.optional_images == {"init", "mask", "reference"}
    kinds = {one.parameter: (one.kind, one.choices) for one in capabilities.controls}
    assert kinds["guidance"] == ("number", ()) and kinds["seed"] == ("seed", ())
    assert kinds["speed"] == ("choice", ("fast", "exact"))
    assert (capabilities.max_width, capabilities.size_multiple) == (1440, 8)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (spec(""), "no prompt"),
        (spec(parameters={"sharpness": 3}), "Unknown parameter 'sharpness'"),
        (spec(parameters={"guidance": 11}), "the most is 10"),
        (spec(parameters={"guidance": "much"}), "expected a number"),
        (spec(parameters={"format": "gif"}), "png, webp"),
        (spec(images={"depth": ImageRef("0", "0")}), "takes no picture as 'depth'"),
        (spec(width=4096), "2048 px"),
    ],
)
def test_what_cannot_be_made_is_refused_before_it_is_paid_for(given, words):
    one = build("replicate", {"version": VERSION, "inputs": INPUTS})
    assert any(words in problem for problem in one.validate(given)), one.validate(given)


def test_a_needed_picture_is_asked_for():
    inputs = {"prompt": "prompt", "images": {"init": {"input": "image", "is_needed": True}}}
    one = build("replicate", {"version": VERSION, "inputs": inputs})
    assert one.capabilities().needs_images == {"init"}
    assert one.validate(spec()) == ["The model needs a picture as 'init'."]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "needs one of"),
        ({"version": VERSION, "model": MODEL}, "needs one of"),
        ({"version": "latest"}, "hash"),
        ({"model": "flux"}, "owner/name"),
        ({"model": f"../{MODEL}/.."}, "owner/name"),
        ({"model": MODEL, "webhook_url": "http://desk.example"}, "https"),
        ({"model": MODEL, "inputs": {"promt": "prompt"}}, "promt"),
        ({"model": MODEL, "inputs": {"width": "width"}}, "only one of width and height"),
        ({"model": MODEL, "inputs": {"aspect_ratio": "aspect_ratio"}}, "choices"),
        ({"model": MODEL, "inputs": {"aspect_ratio": {"input": "a", "choices": ["1:0"]}}}, "choices"),
        ({"model": MODEL, "max_side": 8, "size_multiple": 16}, "no size is left"),
        ({"model": MODEL, "output_hosts": "replicate.delivery"}, "is a list"),
        ({"model": MODEL, "inputs": {"parameters": {"guidance": {"input": "g", "minimum": "low"}}}}, "low"),
        ({"cog": True}, "base_url"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_a_sentence(config: Mapping[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        build("replicate", config)


def test_planning_needs_no_secret_and_no_network():
    one = build("replicate", {"model": MODEL, "base_url": "http://127.0.0.1:9/v1", "cost_per_image": 0.003})
    assert one.validate(spec()) == []
    assert one.model_identity() == (MODEL, "")
    assert one.quote(spec()).cost == 0.003
    assert one.batch_key(spec()) == one.batch_key(spec(seed=9))


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
