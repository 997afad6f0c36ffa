"""Test the `openai` engine against servers of the same API that refuse fields of OpenAI, such as a LiteLLM proxy."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from generation.engines.base import EngineError, ErrorKind, Result, Submitted, Task, build
from generation.engines.openai import answers
from generation.engines.openai.engine import OpenAIImages
from generation.engines.service import may_be_private, read_output_hosts
from tests.support.engine_context import MemoryContext
from tests.support.openai_server import EDITS, GENERATIONS, KEY, OpenAIServer, refused_by_litellm
from tests.support.openai_submissions import engine, png, spec, submit, submit_refused
from tests.support.remote_server import CUT_BEFORE, Fault, Response, plain, serving


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with serving(OpenAIServer(is_compatible=True)) as service:
        yield service


def peer(server: OpenAIServer, **config: Any) -> OpenAIImages:
    return engine(server, model="qwen-image", **config)


def refusal_response(message: str, status: int = 400, **fields: Any) -> Callable[[list[str]], Response]:
    """Return how a server refuses fields; "{name}", "{names}" and "{quoted}" in `message` stand for them."""

    def refuse(names: list[str]) -> Response:
        words = message.format(name=names[0], names=", ".join(names), quoted=repr(names))
        param = {"param": names[0]} if fields.get("param") else {}
        return plain({"error": {"message": words, "type": "invalid_request_error", **fields, **param}}, status)

    return refuse


def pydantic_refusal(names: list[str]) -> Response:
    detail = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"} for name in names
    ]
    return plain({"detail": detail}, 422)


# -- fields that a server does not know --------------------------------------------------------------------------------

PROFILE = {"base": "compatible", "seed": "seed", "always": {"response_format": "b64_json", "n": 1}}
WAYS = {
    "litellm": refused_by_litellm,
    "litellm before": refusal_response(
        "litellm.UnsupportedParamsError: openai does not support parameters: {quoted}, for model=good."
    ),
    "openai": refusal_response("Unknown parameter: '{name}'.", code="unknown_parameter", param=True),
    "old openai": refusal_response("Unrecognized request argument supplied: {name}"),
    "old openai, several": refusal_response("Unrecognized request arguments supplied: {names}"),
    "azure": refusal_response(
        "Unsupported parameter: '{name}' is not supported with this model.", code="unsupported_parameter"
    ),
    "json schema": refusal_response("Additional properties are not allowed ('{name}' was unexpected) - 'request'"),
    "go": refusal_response('json: unknown field "{name}"'),
    "python": refusal_response("generate() got an unexpected keyword argument '{name}'"),
    "joi": refusal_response('"{name}" is not allowed', 422),
    "pydantic": pydantic_refusal,
    "xai": refusal_response("Argument not supported: {name}"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("field", ["response_format", "size", "n", "seed"])
def test_a_field_that_a_server_does_not_know_is_left_out_once_and_for_all(
    server: OpenAIServer, way: Callable[[list[str]], Response], field: str
) -> None:
    server.unknown, server.says = {field}, way
    made = peer(
        server, profile={"base": "compatible", "seed": "seed", "always": {"response_format": "b64_json", "n": 1}}
    )
    results = [submit(made), submit(made)]
    assert all(result.pixels is not None for result in results)
    assert server.counts[GENERATIONS] == 3 and len(server.made) == 2
    assert [field in request.fields for request in server.made] == [False, False]
    assert all({"model", "prompt"} <= request.fields.keys() for request in server.made)
    assert results[1].facts["left_out"] == [field]


def test_several_unknown_fields_are_left_out_one_after_the_other(server: OpenAIServer) -> None:
    server.unknown = {"response_format", "n", "seed"}
    made = peer(
        server, profile={"base": "compatible", "seed": "seed", "always": {"response_format": "b64_json", "n": 1}}
    )
    assert submit(made).pixels is not None
    assert server.counts[GENERATIONS] == 4 and len(server.made) == 1
    submit(made)
    assert server.counts[GENERATIONS] == 5


def test_each_endpoint_remembers_for_itself(server: OpenAIServer) -> None:
    server.unknown = {"response_format"}
    first, second = peer(server), peer(server)
    submit(first)
    submit(second)
    assert server.counts[GENERATIONS] == 4
    assert first.model_identity() == second.model_identity() == peer(server).model_identity()


def test_an_edit_without_the_unknown_field_still_has_its_photo_and_its_prompt(server: OpenAIServer) -> None:
    server.unknown = {"response_format"}
    photo = png((64, 64), (200, 10, 10))
    result = submit(peer(server), spec("paint it", roles=["photo"]), photo=photo)
    assert result.pixels is not None and server.counts[EDITS] == 2
    assert [part.data for part in server.made[0].images] == [photo] and server.made[0].prompt == "paint it"


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("prompt", "Unknown parameter: 'prompt'."),
        ("model", "Unrecognized request argument supplied: model"),
        ("quality", "Setting `quality` is not supported by openai, good."),
        ("negative_prompt", "Unknown parameter: 'negative_prompt'."),
        ("steps", "generate() got an unexpected keyword argument 'steps'"),
        ("style", "Unrecognized request argument supplied: style"),
    ],
)
def test_a_parameter_that_people_set_is_never_left_out_silently(server: OpenAIServer, field: str, message: str) -> None:
    server.unknown, server.says = {field}, refusal_response(message)
    profile = {
        "base": "compatible",
        "negative": "negative_prompt",
        "parameters": {"quality": [], "steps": [], "style": []},
    }
    made = peer(server, profile=profile, quality="hd")
    job_spec = spec(negative="hands", parameters={"steps": 20, "style": "vivid"})
    error = submit_refused(made, job_spec)
    assert server.counts[GENERATIONS] == 1 and server.made == []
    if field not in ("prompt", "model"):
        assert error.kind == ErrorKind.ENDPOINT and f"does not take {field}" in error.message


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("Invalid value: '1024x1024'. Supported values are: '512x512'.", "invalid_value"),
        ("size must be one of 256x256, 512x512", None),
        ("Unsupported size: 1024x1024", None),
        ("The prompt is too long", None),
        ("The image is corrupt", None),
    ],
)
def test_a_refused_value_is_no_unknown_field(server: OpenAIServer, message: str, code: str | None) -> None:
    server.unknown, server.says = {"size"}, refusal_response(message, code=code)
    error = submit_refused(peer(server))
    assert error.kind == ErrorKind.INPUT and message in error.message
    assert server.counts[GENERATIONS] == 1


def test_words_of_the_prompt_name_no_field(server: OpenAIServer) -> None:
    prompt = "a poster with the words 'size' and response_format"
    server.unknown, server.says = {"size"}, refusal_response(f"Unsupported request: {prompt}")
    assert submit_refused(peer(server), spec(prompt)).kind == ErrorKind.INPUT
    assert server.counts[GENERATIONS] == 1


@pytest.mark.parametrize("status", [200, 401, 429, 500, 502, 503])
def test_only_a_submission_that_was_refused_before_it_was_made_is_sent_again(server: OpenAIServer, status: int) -> None:
    server.unknown, server.says = {"response_format"}, refusal_response("Unknown parameter: 'response_format'.", status)
    submit_refused(peer(server))
    assert server.counts[GENERATIONS] == 1


# -- refusals without a code -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (
            429,
            "throttling_error",
            "RateLimitError: You exceeded your current quota, please check your plan.",
        ),
        (400, "budget_exceeded", "ExceededBudget: over budget. Spend=10.2, Budget=10"),
        (400, None, "Budget has been exceeded! Current cost: 1.2, Max budget: 1.0"),
        (402, None, "Insufficient credits. Add more in your account."),
        (403, "forbidden", "Your credit balance is too low to access the API."),
        (429, None, "Billing hard limit has been reached"),
    ],
)
def test_an_empty_account_is_recognised_by_type_and_words(
    server: OpenAIServer, status: int, kind: str | None, message: str
) -> None:
    answer = plain({"error": {"message": message, "type": kind, "param": None, "code": str(status)}}, status)
    server.fail_next(GENERATIONS, Fault(response=answer))
    error = submit_refused(peer(server))
    assert error.kind == ErrorKind.QUOTA and "no credit left" in error.message


@pytest.mark.parametrize(
    "message",
    [
        "Rate limit reached for images per minute",
        "Quota exceeded for quota metric 'Generate requests' and limit 'requests per minute'",
        "You exceeded your current quota of 5 images per minute",
        "Too many requests, try again in 20s",
        "slow down",
    ],
)
def test_too_many_calls_are_no_empty_account(server: OpenAIServer, message: str) -> None:
    server.fail_next(GENERATIONS, Fault(response=plain({"error": {"message": message, "code": "429"}}, 429)))
    assert submit_refused(peer(server)).kind == ErrorKind.RATE


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "litellm.BadRequestError: OpenAIException - Your request was rejected by the safety system."),
        (400, "litellm.ContentPolicyViolationError: the response was filtered"),
        (400, "The response was filtered due to Azure OpenAI's content management. Content filter triggered."),
        (422, "NSFW content detected"),
        (403, "This request was blocked by our moderation system"),
        (400, "The prompt may contain sensitive content"),
        (400, "Responsible AI practices: the image generation failed"),
    ],
)
def test_a_refusal_by_rules_is_recognised_by_its_words(server: OpenAIServer, status: int, message: str) -> None:
    answer = plain({"error": {"message": message, "type": "None", "param": "None", "code": str(status)}}, status)
    server.fail_next(GENERATIONS, Fault(response=answer))
    error = submit_refused(peer(server))
    assert error.kind == ErrorKind.MODERATION and "Change the words" in error.message


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            400,
            "{'error': '/image/generations: Invalid model name passed in model=nothere. Call `/v1/models`'}",
        ),
        (404, "The model `qwen-image` does not exist."),
        (400, "model 'qwen-image' not found, try pulling it first"),
        (400, "Unknown model: qwen-image"),
        (403, "You do not have access to the model qwen-image"),
        (422, "The model qwen-image has been retired"),
    ],
)
def test_a_wrong_model_is_the_endpoints_fault_and_recognised_by_its_words(
    server: OpenAIServer, status: int, message: str
) -> None:
    answer = plain({"error": {"message": message, "type": "None", "param": "None", "code": str(status)}}, status)
    server.fail_next(GENERATIONS, Fault(response=answer))
    error = submit_refused(peer(server))
    assert error.kind == ErrorKind.ENDPOINT
    assert "has no model qwen-image" in error.message and "parameter None" not in error.message


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (400, "no_db_connection", "No connected db."),
        (400, None, "API key not valid. Please pass a valid API key."),
        (403, "auth_error", "Authentication Error"),
        (401, None, "who are you"),
        (400, "invalid_api_key", "no"),
    ],
)
def test_a_refused_key_is_recognised_by_type_and_words(
    server: OpenAIServer, status: int, kind: str | None, message: str
) -> None:
    server.fail_next(GENERATIONS, Fault(response=plain({"error": {"message": message, "type": kind}}, status)))
    error = submit_refused(peer(server))
    assert error.kind == ErrorKind.QUOTA and "does not accept the endpoint's key" in error.message


@pytest.mark.parametrize("letters", ["key", "model ", "n, ", "'size' ", " ", "parameter: n, seed, ", "not "])
def test_hostile_words_are_read_in_no_time(letters: str) -> None:
    """The text comes from another server: 200 KB of any of these are read in less than a second."""
    answer = plain({"error": {"message": letters * (200_000 // len(letters)), "code": "x" * 1000}}, 400)
    response = answers.httpx.Response(answer.status, content=answer.body)
    error = answers.refusal_error(response, "host", "m", ("size", "n", "seed", "response_format"), "a mug")
    assert isinstance(error, EngineError)


# -- hosts of images ---------------------------------------------------------------------------------------------------


def submitted(made: OpenAIImages) -> Submitted:
    return made.submit(Task(11, spec(width=64, height=64)), str(uuid.uuid4()), MemoryContext())


def fetched(made: OpenAIImages, remote_id: str) -> Result:
    status = made.poll([remote_id])[remote_id]
    assert isinstance(status, Result) and status.error is None
    return made.fetch(status, MemoryContext())


@pytest.fixture
def store() -> Iterator[OpenAIServer]:
    """A second server that stores the images, as MinIO does beside the model's server."""
    with serving(OpenAIServer()) as service:
        yield service


@pytest.fixture
def remote(server: OpenAIServer, store: OpenAIServer) -> OpenAIServer:
    """A server that answers with addresses at the store."""
    server.answers, server.public_url, store.files = "url", store.url, server.files
    return server


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_a_private_host_is_fetched_from_by_its_name_and_port_and_without_the_key(
    remote: OpenAIServer, store: OpenAIServer, name: str
) -> None:
    port = store.url.rpartition(":")[2]
    remote.public_url = f"http://{name}:{port}"
    result = submitted(peer(remote, output_hosts=["cdn.example", f"{name}:{port}"])).result
    assert result is not None and result.pixels is not None
    assert store.counts == {"GET /files": 1}
    assert "authorization" not in store.requests[0].headers and KEY not in str(store.requests[0].headers)


@pytest.mark.parametrize(
    "hosts",
    [[], ["cdn.example"], ["127.0.0.1:9"], ["localhost"], ["127.0.0.1"], ["0.0.1"], ["127.0.0.2:{port}"]],
    ids=str,
)
def test_an_image_on_a_host_that_is_not_allowed_is_kept_and_fetched_when_it_is(
    remote: OpenAIServer, store: OpenAIServer, hosts: list[str]
) -> None:
    port = store.url.rpartition(":")[2]
    hosts = [host.format(port=port) for host in hosts]
    paid = submitted(peer(remote, output_hosts=hosts))
    assert paid.result is None and paid.problem is not None and paid.problem.kind == ErrorKind.ENDPOINT
    assert f"127.0.0.1:{port}" in paid.problem.message and "output_hosts" in paid.problem.message
    assert paid.remote_id.startswith(store.url) and not store.counts
    with pytest.raises(EngineError) as caught:
        fetched(peer(remote, output_hosts=hosts), paid.remote_id)
    assert caught.value.kind == ErrorKind.ENDPOINT
    allowed = peer(remote, output_hosts=[f"127.0.0.1:{port}"])
    image = fetched(allowed, paid.remote_id)
    assert image.pixels is not None and image.usage == {"images": 1}
    assert (image.model, image.revision) == allowed.model_identity()
    assert remote.counts[GENERATIONS] == len(remote.made) == 1


@pytest.mark.parametrize(
    "fault",
    [CUT_BEFORE, Fault(response=Response(503)), Fault(response=Response(429)), Fault(response=Response(200, b"PNG"))],
)
def test_an_image_that_cannot_be_fetched_now_is_fetched_later(
    remote: OpenAIServer, store: OpenAIServer, fault: Fault
) -> None:
    made = peer(remote, output_hosts=[store.url.removeprefix("http://")])
    store.fail_next("GET /files", fault, fault, fault)
    paid = submitted(made)
    assert paid.problem is not None and paid.problem.kind in {ErrorKind.TRANSIENT, ErrorKind.RATE}
    store.faults.clear()
    assert fetched(made, paid.remote_id).pixels is not None
    assert len(remote.made) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 410, 451])
def test_an_image_that_is_gone_is_paid_for_and_uncertain(
    remote: OpenAIServer, store: OpenAIServer, status: int
) -> None:
    paid = submitted(peer(remote))
    made = peer(remote, output_hosts=[store.url.removeprefix("http://")])
    store.fail_next("GET /files", Fault(response=Response(status)))
    with pytest.raises(EngineError) as caught:
        fetched(made, paid.remote_id)
    assert caught.value.kind == ErrorKind.UNCERTAIN and "was made" in caught.value.message


def test_a_redirect_of_a_private_host_is_not_followed(remote: OpenAIServer, store: OpenAIServer) -> None:
    made = peer(remote, output_hosts=[store.url.removeprefix("http://")])
    store.fail_next("GET /files", Fault(response=Response(302, b"", {"Location": f"{remote.url}/v1/models"})))
    with pytest.raises(EngineError):
        submitted(made)
    assert remote.counts["GET /v1/models"] == 0


@pytest.mark.parametrize(
    ("entry", "is_private"),
    [
        ("minio:9000", True),
        ("minio", True),
        ("10.0.0.5", True),
        ("10.0.0.5:9000", True),
        ("[fd00::5]:9000", True),
        ("cdn.example:8443", True),
        ("127.1", True),
        ("cdn.example", False),
        ("replicate.delivery", False),
    ],
)
def test_hosts_of_a_private_network_are_distinguished_from_public_ones(entry: str, is_private: bool) -> None:
    assert may_be_private(entry) is is_private
    assert bool(read_output_hosts([entry]).private) is is_private


@pytest.mark.parametrize(
    "entries",
    ["minio:9000", ["minio:port"], ["http://minio:9000"], ["minio:9000/bucket"], [""], ["a b"], ["u@minio:9000"]],
)
def test_a_host_that_is_none_is_refused_with_a_sentence(server: OpenAIServer, entries: Any) -> None:
    with pytest.raises(ValueError, match='"output_hosts"'):
        build("openai", {"model": "m", "base_url": server.url, "output_hosts": entries})
