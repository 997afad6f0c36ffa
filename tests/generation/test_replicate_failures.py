"""Test the `replicate` engine against a service that refuses, fails, cuts connections and forgets."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from generation.engines.base import EngineError, ErrorKind, Pending, Task
from tests.support.engine_context import MemoryContext
from tests.support.remote_server import CUT_AFTER, CUT_BEFORE, Fault, Response, Window, plain, serving
from tests.support.replicate_server import DEPLOYMENT, MODEL, VERSION, PredictionOutcome
from tests.support.replicate_server import Replicate as Server
from tests.support.replicate_submissions import (
    INPUTS,
    engine,
    find,
    images_and_context,
    png,
    spec,
    submit,
    submit_and_fetch,
    submit_refused,
    wait_for_result,
)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as service:
        yield service


# -- refusals and failures ------------------------------------------------------------------------------------------


def test_what_the_model_does_not_accept_is_reported_with_the_field(server):
    replicate = engine(server, inputs={**INPUTS, "seed": {"input": "seed", "maximum": 2**40}})
    error = submit_refused(replicate, spec(seed=2**33))
    assert error.kind == ErrorKind.INPUT
    assert "seed: Must be less than or equal to 4294967295" in error.message
    assert server.paid == []


@pytest.mark.parametrize(("form", "wait"), [("body", 30.0), ("words", 30.0), ("header", 30.0)])
def test_a_throttled_submission_says_how_long_to_wait_in_each_of_its_forms(form, wait):
    with serving(Server(limits=(Window(1, wait),))) as server:
        server.throttled = form
        replicate = engine(server)
        submit(replicate, spec())
        error = submit_refused(replicate)
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
    assert submit_refused(engine(server)).retry_after_seconds == wait


def test_an_account_without_credit_and_a_refused_token_hold_the_endpoint(server):
    server.credit = 1
    replicate = engine(server)
    submit(replicate, spec())
    empty, stranger = submit_refused(replicate), submit_refused(engine(server, secret="r8_wrong"))
    assert (empty.kind, stranger.kind) == (ErrorKind.QUOTA, ErrorKind.QUOTA)
    assert "no credit" in empty.message and "secret" in stranger.message
    assert "r8_wrong" not in f"{stranger.message} {stranger.log}"
    nobody = submit_refused(engine(server, secret=""))
    assert (nobody.kind, server.counts["POST /predictions"]) == (ErrorKind.QUOTA, 3)


def test_a_version_or_model_that_is_not_there_holds_the_endpoint(server):
    for target in ({"version": "0" * 64}, {"model": "nobody/nothing"}, {"deployment": "nobody/nothing"}):
        error = submit_refused(engine(server, **target))
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
def test_a_failed_prediction_fails_with_the_kind_that_its_message_means(server, words, kind):
    server.fates["a mug on oak"] = PredictionOutcome(error=words, logs="what the model wrote")
    result = submit_and_fetch(engine(server), spec())
    assert (result.error.kind, result.pixels) == (kind, None)
    assert words in result.error.message
    assert result.error.log == "what the model wrote"


def test_a_failure_in_the_awaited_answer_comes_by_the_poller_with_its_id(server):
    server.fates["a mug on oak"] = PredictionOutcome(error="NSFW content detected.")
    replicate = engine(server, wait_seconds=5)
    submitted = submit(replicate, spec())
    assert submitted.result is None
    assert wait_for_result(replicate, submitted.remote_id).error.kind == ErrorKind.MODERATION


def test_a_model_that_answers_with_words_has_made_no_image(server):
    server.fates["a mug on oak"] = PredictionOutcome(output="a lovely mug")
    error = submit_and_fetch(engine(server), spec()).error
    assert error.kind == ErrorKind.INPUT and "a lovely mug" in error.message


def test_only_our_own_prediction_is_cancelled_and_cancelling_an_ended_one_changes_nothing(server):
    server.seconds = 60
    replicate = engine(server)
    first, second = submit(replicate, spec()).remote_id, submit(replicate, spec(seed=8)).remote_id
    replicate.cancel(first)
    assert wait_for_result(replicate, first).error.kind == ErrorKind.CANCELLED
    assert isinstance(replicate.poll([second])[second], Pending)
    server.advance(100)
    replicate.cancel(second)
    replicate.cancel("nobody-knows-this")
    assert wait_for_result(replicate, second).error is None


def test_what_was_not_begun_in_time_is_tried_again_and_what_took_too_long_goes_to_a_person(server):
    replicate = engine(server, cancel_after="10m")
    server.start_seconds, server.seconds = 700, 10
    never_begun = submit(replicate, spec()).remote_id
    server.start_seconds, server.seconds = 0, 700
    too_long = submit(replicate, spec(seed=8)).remote_id
    assert server.requests[0].headers["cancel-after"] == "10m"
    server.advance(650)
    aborted, stopped = wait_for_result(replicate, never_begun), wait_for_result(replicate, too_long)
    assert (aborted.error.kind, stopped.error.kind) == (ErrorKind.TRANSIENT, ErrorKind.INPUT)
    assert "not charged" in aborted.error.message and "600 s" in stopped.error.message


@pytest.mark.parametrize("text", ["soon", "4s", "10 m", "-5m"])
def test_a_deadline_that_means_nothing_is_refused_in_the_settings(server, text):
    with pytest.raises(ValueError, match="cancel_after"):
        engine(server, cancel_after=text)


def test_images_that_the_service_has_deleted_are_lost(server):
    replicate = engine(server)
    remote_id = submit(replicate, spec()).remote_id
    result = wait_for_result(replicate, remote_id)
    server.advance(3700)
    assert wait_for_result(replicate, remote_id).error.kind == ErrorKind.LOST
    with pytest.raises(EngineError) as caught:
        replicate.fetch(result, MemoryContext())
    assert caught.value.kind == ErrorKind.LOST


def test_an_unknown_id_is_lost(server):
    assert engine(server).poll(["nobody"])["nobody"].error.kind == ErrorKind.LOST


def test_images_come_from_the_services_own_hosts_only(server):
    server.fates["a mug on oak"] = PredictionOutcome(output="https://169.254.169.254/latest/meta-data/a.png")
    with pytest.raises(EngineError) as caught:
        submit_and_fetch(engine(server), spec())
    assert caught.value.kind == ErrorKind.ENDPOINT
    assert "may not fetch from there" in caught.value.message


# -- answers that do not come ---------------------------------------------------------------------------------------


def test_a_submission_that_never_arrived_may_be_sent_again():
    with serving(Server()) as server:
        replicate = engine(server)
    assert submit_refused(replicate).kind == ErrorKind.TRANSIENT


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
def test_a_submission_whose_answer_was_lost_is_uncertain_and_found_again(server, fault, target):
    server.fail_next("POST /predictions", fault)
    replicate = engine(
        server, timeout_seconds=1, **{target: {"version": VERSION, "model": MODEL}.get(target, DEPLOYMENT)}
    )
    assert submit_refused(replicate).kind == ErrorKind.UNCERTAIN
    server.seconds = 5
    submit(replicate, spec(seed=8))
    time.sleep(fault.seconds)
    found_id = find(replicate, spec())
    assert server.predictions[found_id].input["seed"] == 7
    assert replicate.fetch(wait_for_result(replicate, found_id), MemoryContext()).pixels is not None


def test_a_submission_that_was_cut_before_it_counted_is_not_found(server):
    replicate = engine(server)
    submit(replicate, spec(seed=8))
    server.fail_next("POST /predictions", CUT_BEFORE)
    assert submit_refused(replicate).kind == ErrorKind.UNCERTAIN
    assert find(replicate, spec()) is None


def test_a_busy_gateway_that_took_nothing_is_asked_again(server):
    server.fail_next("POST /predictions", Fault(response=Response(503, b"overloaded", {"Retry-After": "4"})))
    error = submit_refused(engine(server))
    assert (error.kind, error.retry_after_seconds) == (ErrorKind.TRANSIENT, 4)


@pytest.mark.parametrize(
    "fault", [CUT_BEFORE, Fault(response=Response(500, b"oops")), Fault(response=Response(200, b"<"))]
)
def test_a_poll_without_an_answer_is_a_transient_error_and_the_result_still_comes(server, fault):
    replicate = engine(server)
    remote_id = submit(replicate, spec()).remote_id
    server.fail_next("GET /predictions/{id}", fault)
    with pytest.raises(EngineError) as caught:
        replicate.poll([remote_id])
    assert caught.value.kind == ErrorKind.TRANSIENT
    assert wait_for_result(replicate, remote_id).error is None


def test_of_several_the_ones_that_answered_count(server):
    replicate = engine(server)
    ids = [submit(replicate, spec(seed=seed)).remote_id for seed in range(3)]
    server.fail_next("GET /predictions/{id}", Fault(), CUT_BEFORE)
    assert list(replicate.poll(ids)) == ids[:1]


def test_an_image_that_breaks_off_is_fetched_again(server):
    replicate = engine(server)
    result = wait_for_result(replicate, submit(replicate, spec()).remote_id)
    for fault in (CUT_BEFORE, Fault(response=Response(200, png(1)[:500]))):
        server.fail_next("GET /outputs/{id}", fault)
        with pytest.raises(EngineError) as caught:
            replicate.fetch(result, MemoryContext())
        assert caught.value.kind == ErrorKind.TRANSIENT
    assert replicate.fetch(result, MemoryContext()).pixels is not None


# -- finding lost submissions ---------------------------------------------------------------------------------------


def test_a_submission_is_found_on_later_pages_and_not_beyond_its_time(server):
    replicate = engine(server)
    server.page = 4
    expected_id = submit(replicate, spec()).remote_id
    for seed in range(100, 119):
        submit(replicate, spec(seed=seed))
    assert find(replicate, spec()) == expected_id
    assert server.counts["GET /predictions"] == 5
    later = datetime.now(UTC) + timedelta(seconds=120)
    assert replicate.find(Task(1, spec()), str(uuid.uuid4()), later, ()) is None


def test_two_that_look_the_same_are_given_to_one_task_each(server):
    replicate = engine(server)
    first, second = (
        submit(replicate, spec(), task_id=1).remote_id,
        submit(replicate, spec(), task_id=2).remote_id,
    )
    first_match = find(replicate, spec())
    second_match = find(replicate, spec(), taken={first_match})
    assert {first_match, second_match} == {first, second}
    assert find(replicate, spec(), taken={first, second}) is None


def test_the_webhooks_address_distinguishes_two_submissions_that_look_the_same(server):
    server.shows_webhooks = True
    replicate = engine(server, webhook_url="https://context.example/hooks/replicate/cloud")
    markers = [str(uuid.uuid4()) for _ in range(3)]
    server.reroute = lambda address: f"{server.url}/nowhere"
    ids = [
        replicate.submit(Task(number, spec()), marker, MemoryContext()).remote_id
        for number, marker in enumerate(markers[:2])
    ]
    assert [find(replicate, spec(), marker) for marker in markers] == [*ids, None]


@pytest.mark.parametrize("other", [spec("a bowl"), spec(seed=8), spec(width=72), spec(parameters={"guidance": 5})])
def test_a_submission_for_another_image_is_not_taken_for_ours(server, other):
    replicate = engine(server)
    submit(replicate, other)
    if other.parameters:  # it contains all inputs of ours: it counts only where no equal one exists
        equal = submit(replicate, spec()).remote_id
        submit(replicate, other)
        assert find(replicate, spec()) == equal
    else:
        assert find(replicate, spec()) is None


def test_a_submission_of_another_version_or_model_is_not_taken_for_ours(server):
    submit(engine(server, model=MODEL), spec())
    assert find(engine(server), spec()) is None
    assert find(engine(server, model="kilnmoor/other"), spec()) is None
    assert find(engine(server, model=MODEL), spec()) is not None


@pytest.mark.parametrize("side", [48, 400])
def test_the_same_words_with_another_product_photo_are_another_submission(server, side):
    replicate = engine(server)
    mug, bowl = (png(seed, width=side, height=side, grain=60) for seed in (1, 2))
    mugs, with_mug = images_and_context(init=mug)
    bowls, with_bowl = images_and_context(init=bowl)
    of_bowl = submit(replicate, spec(images=bowls), context=with_bowl).remote_id
    assert find(replicate, spec(images=mugs)) is None
    of_mug = submit(replicate, spec(images=mugs), context=with_mug).remote_id
    assert find(replicate, spec(images=mugs)) == of_mug
    assert find(replicate, spec(images=bowls)) == of_bowl
    assert find(replicate, spec()) is None


@pytest.mark.parametrize("fault", [CUT_BEFORE, Fault(response=Response(500, b"oops")), Fault(response=plain({}, 429))])
def test_a_lookup_whose_list_cannot_be_read_is_an_error_and_not_a_missing_submission(server, fault):
    replicate = engine(server)
    submit(replicate, spec())
    server.fail_next("GET /predictions", fault)
    with pytest.raises(EngineError) as caught:
        find(replicate, spec())
    assert caught.value.kind in (ErrorKind.TRANSIENT, ErrorKind.RATE)


def test_a_list_that_leads_elsewhere_is_not_followed_there(server):
    replicate = engine(server)
    evil = {"results": [], "next": "http://127.0.0.1:9/steal?cursor=1"}
    server.fail_next("GET /predictions", Fault(response=plain(evil)))
    assert find(replicate, spec()) is None
    assert server.requests[-1].query == {"cursor": "1"}
