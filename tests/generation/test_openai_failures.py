"""Test the `openai` engine against a service that refuses, limits, breaks off and answers nonsense."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.engines.base import EngineError, ErrorKind, Result, Task, build
from generation.engines.openai import answers
from generation.engines.openai.engine import OpenAIImages
from tests.support.engine_context import MemoryContext
from tests.support.openai_server import GENERATIONS, KEY, OpenAIServer
from tests.support.openai_submissions import engine, spec, submit, submit_refused
from tests.support.remote_server import CUT_AFTER, CUT_BEFORE, Fault, Response, Window, plain, serving


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with serving(OpenAIServer()) as service:
        yield service


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["a forbidden scene", "a celebrity with a mug"])
def test_a_moderation_refusal_is_final_and_gives_the_reason(server: OpenAIServer, prompt: str) -> None:
    error = submit_refused(engine(server), spec(prompt))
    assert error.kind == ErrorKind.MODERATION
    assert "was rejected" in error.message and "Change the words" in error.message
    assert "x-request-id: req_" in error.log
    assert server.made == []


def test_no_credit_is_distinguished_from_too_many_calls() -> None:
    with serving(OpenAIServer(credit=1)) as server:
        made = engine(server)
        submit(made)
        empty = submit_refused(made)
        assert empty.kind == ErrorKind.QUOTA and "no credit left" in empty.message
    with serving(OpenAIServer(limits=(Window(2, 60),))) as server:
        made = engine(server)
        first, second = submit(made), submit(made)
        assert first.facts["limits"]["requests"] == {"limit": 2, "remaining": 1, "reset_seconds": 60}
        assert second.facts["limits"]["requests"]["remaining"] == 0
        many = submit_refused(made)
        assert many.kind == ErrorKind.RATE
        assert many.retry_after_seconds is not None and 50 < many.retry_after_seconds <= 60


def test_failed_calls_count_against_the_limit() -> None:
    with serving(OpenAIServer(limits=(Window(2, 60),))) as server:
        made = engine(server)
        submit_refused(made, spec("forbidden"))
        submit_refused(made, spec("forbidden"))
        assert submit_refused(made).kind == ErrorKind.RATE


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry_after_ms": "1500"}, "slow down", 1.5),
        ({"retry_after": "20"}, "slow down", 20),
        ({"x_ratelimit_reset_requests": "6m0s", "x_ratelimit_remaining_requests": "0"}, "slow down", 360),
        (
            {
                "x_ratelimit_reset_requests": "6m0s",
                "x_ratelimit_remaining_requests": "12",
                "x_ratelimit_reset_tokens": "350ms",
                "x_ratelimit_remaining_tokens": "0",
            },
            "slow down",
            0.35,
        ),
        ({}, "Rate limit reached. Please try again in 7.188s. Visit the page", 7.188),
        ({}, "Rate limit reached. Please try again in 1m12s.", 72),
        ({}, "slow down", None),
    ],
)
def test_the_wait_is_read_wherever_the_service_names_it(
    server: OpenAIServer, headers: dict[str, str], message: str, seconds: float | None
) -> None:
    body = {"error": {"message": message, "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
    server.fail_next(GENERATIONS, Fault(response=plain(body, 429, **headers)))
    error = submit_refused(engine(server))
    assert error.kind == ErrorKind.RATE
    assert error.retry_after_seconds == seconds


def test_a_wrong_key_holds_the_endpoint_and_is_never_repeated(server: OpenAIServer) -> None:
    secret = "sk-proj-somebodyelses0000"
    stranger = OpenAIImages({"base_url": f"{server.url}/v1", "model": "gpt-image-2", "secret": secret})
    error = submit_refused(stranger)
    assert error.kind == ErrorKind.QUOTA and "does not accept the endpoint's key" in error.message
    echo = plain({"error": {"message": f"No such key: {secret}", "code": "invalid_api_key"}}, 401)
    server.fail_next(GENERATIONS, Fault(response=echo))
    second_error = submit_refused(stranger)
    for text in (error.message, error.log, second_error.message, second_error.log, str(second_error.__cause__)):
        assert secret not in text and "sk-proj-" not in text


def test_a_model_that_is_gone_is_the_endpoints_fault(server: OpenAIServer) -> None:
    error = submit_refused(engine(server, model="gpt-image-1"))
    assert error.kind == ErrorKind.ENDPOINT
    assert "has no model gpt-image-1 for this account" in error.message and "Set another" in error.message


def test_a_submission_that_cannot_be_carried_out_names_the_parameter(server: OpenAIServer) -> None:
    made = engine(server, profile={"parameters": {"style": []}})
    error = submit_refused(made, spec(parameters={"style": "vivid"}))
    assert error.kind == ErrorKind.ENDPOINT
    assert "does not take style: Unknown parameter: 'style'." in error.message


UNVERIFIED = plain({"error": {"message": "Your organization must be verified.", "code": None}}, 403)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (UNVERIFIED, ErrorKind.QUOTA),
        (
            plain({"error": {"message": "Billing hard limit", "code": "billing_hard_limit_reached"}}, 400),
            ErrorKind.QUOTA,
        ),
        (plain({"error": {"message": "The server had an error", "type": "server_error"}}, 500), ErrorKind.TRANSIENT),
        (plain({"error": {"message": "Overloaded"}}, 503, retry_after="3"), ErrorKind.TRANSIENT),
        (plain({"error": "a bare string"}, 409), ErrorKind.TRANSIENT),
        (plain({"detail": "no such path"}, 404), ErrorKind.ENDPOINT),
        (Response(502, b"<html>bad gateway</html>"), ErrorKind.UNCERTAIN),
        (Response(504, b""), ErrorKind.UNCERTAIN),
        (Response(524, b"a timeout occurred"), ErrorKind.UNCERTAIN),
        (Response(413, b"too large"), ErrorKind.INPUT),
    ],
)
def test_every_other_refusal_is_of_the_kind_that_fits(server: OpenAIServer, answer: Response, kind: ErrorKind) -> None:
    server.fail_next(GENERATIONS, Fault(response=answer))
    error = submit_refused(engine(server))
    assert error.kind == kind
    if answer.headers.get("retry-after"):
        assert error.retry_after_seconds == 3


@given(st.text(max_size=60))
def test_a_span_of_time_is_read_or_is_none(text: str) -> None:
    seconds = answers.parse_duration(text)
    assert seconds is None or seconds >= 0


def test_spans_as_the_headers_write_them() -> None:
    assert [
        answers.parse_duration(text) for text in ("1s", "6m0s", "350ms", "1h2m3.5s", "1d", "", "soon", "5", "1..2s")
    ] == [
        1,
        360,
        0.35,
        3723.5,
        86400,
        None,
        None,
        None,
        None,
    ]


# -- answers that do not come, or not whole ----------------------------------------------------------------------------


def test_a_cut_connection_is_uncertain_and_its_marker_is_reported(server: OpenAIServer) -> None:
    made, marker = engine(server), str(uuid.uuid4())
    server.fail_next(GENERATIONS, CUT_BEFORE, CUT_AFTER)
    for paid in (0, 1):
        with pytest.raises(EngineError) as caught:
            made.submit(Task(1, spec()), marker, MemoryContext())
        assert caught.value.kind == ErrorKind.UNCERTAIN
        assert marker in caught.value.message
        assert len(server.made) == paid
    assert server.made[0].client_request_id == marker
    assert server.counts[GENERATIONS] == 2  # the engine never submits twice by itself


def test_a_slow_answer_is_waited_for_and_one_too_slow_is_uncertain(server: OpenAIServer) -> None:
    server.fail_next(GENERATIONS, Fault(seconds=0.4))
    assert submit(engine(server)).pixels is not None
    server.fail_next(GENERATIONS, Fault(seconds=0.6, after_effect=True, is_cut=True))
    assert submit_refused(engine(server, timeout_seconds=0.2)).kind == ErrorKind.UNCERTAIN


def test_a_service_that_is_not_there_was_sent_nothing() -> None:
    made = build("openai", {"model": "gpt-image-2", "base_url": "http://127.0.0.1:9/v1"}, secret=KEY)
    assert isinstance(made, OpenAIImages)
    error = submit_refused(made)
    assert error.kind == ErrorKind.TRANSIENT and error.is_unsent


@pytest.mark.parametrize(
    "body",
    [
        b'{"created": 1, "data": [{"b64_json": "aGFsZiBhIHBp',
        b'{"created": 1, "data": [{"b64_json": "!!!"}]}',
        b'{"created": 1, "data": [{"b64_json": "aGFsZg=="}]}',
        b'{"created": 1, "data": 5}',
        b'{"created": 1, "data": [{"b64_json": 3}], "usage": {"output_tokens": "many"}}',
        b"[]",
        b"<html>hello</html>",
    ],
)
def test_an_answer_that_cannot_be_read_was_paid_for_and_is_uncertain(server: OpenAIServer, body: bytes) -> None:
    server.fail_next(GENERATIONS, Fault(after_effect=True, response=Response(200, body)))
    assert submit_refused(engine(server)).kind == ErrorKind.UNCERTAIN


def test_an_answer_without_an_image_goes_to_a_person(server: OpenAIServer) -> None:
    server.fail_next(GENERATIONS, Fault(response=plain({"created": 1, "data": []})))
    error = submit_refused(engine(server))
    assert error.kind == ErrorKind.INPUT and "without an image" in error.message


def test_the_service_has_no_lookup_of_calls(server: OpenAIServer) -> None:
    made = engine(server)
    with pytest.raises(EngineError) as caught:
        made.find(Task(1, spec()), "m", datetime.now(UTC), ())
    assert caught.value.kind == ErrorKind.UNCERTAIN
    polled = made.poll(["req_1"])["req_1"]
    assert isinstance(polled, Result) and polled.error is not None and polled.error.kind == ErrorKind.UNCERTAIN
    made.cancel("req_1")
    assert not server.counts
