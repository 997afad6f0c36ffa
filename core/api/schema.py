"""Additions to drf-spectacular's OpenAPI schema: names of requests, and refusals as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction
from rest_framework import serializers

from core.api.field_selection import SelectableFields

_ROW = "The id of the row that is in the way, or that was not found."
#: The further members of refusals by their types: the keyword arguments of the exceptions in the services.
FURTHER_MEMBERS = {
    "integer": {
        "campaign": _ROW, "decision": _ROW, "import": _ROW, "photo": _ROW, "subject": _ROW, "task": _ROW,
        "template": _ROW, "version": _ROW,
        "decided": "With 409: the images of the pilot that are decided.",
        "approved": "With 409: the images of the pilot that are approved.",
        "decisions_needed": "With 409: the decisions that the pilot needs.",
        "percent_needed": "With 409: the share of approved images that the pilot needs.",
        "error_count": "With 422: how many mistakes the rows have.",
        "problem_count": "With 422: how many problems a run has.",
        "retry_after_seconds": "With 429: after how many seconds the same request may succeed, as in Retry-After.",
    },
    "boolean": {"can_withdraw": "With 409: the request may be sent again with `withdraws`."},
    "array": {"withdraws": "With 409: the names of the destinations that would remove the image."},
    "object": {"kinds": "With 422: how many problems of each kind a run has."},
    "string": {
        "slug": "The slug that is taken, or that was not found.",
        "key": "The Idempotency-Key, or the key of a missing file.",
        "action": "With 403: the action that your roles do not allow.",
        "rule": "With 403: the rule that forbids it, such as “four eyes”.",
        "state": "With 409: the state that forbids it.",
        "wanted": "With 409: the state that cannot follow.",
        "guide_status": "With 409: the status of the guide's version.",
        "kind": "With 409: the kind of the feed source.",
        "held_by": "With 409: the person who has claimed the task.",
        "until": "With 409: the time at which the claim ends.",
        "budget": "With 409: the budget that does not suffice, campaign or brand.",
        "needed": "With 409: the amount that a run needs.",
        "left": "With 409: the amount that is left.",
        "gate": "With 409: what a full run lacks, pilot or approval.",
        "etag": "With 412: the entity tag of the current state.",
        "seen": "With 412: the token that was sent.",
        "updated_at": "With 412: the time of the last change.",
    },
}  # fmt: skip
PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "Problem details (RFC 9457). Refusals have some of the further members, for programs.",
    "properties": {
        "type": {"type": "string", "example": "about:blank"},
        "title": {"type": "string", "example": "The input has mistakes"},
        "status": {"type": "integer", "example": 422},
        "detail": {"type": "string", "description": "One sentence for a person: what happened, and what to do."},
        "errors": {
            "type": "array",
            "description": "With 422: each mistake.",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {
                        "type": "string",
                        "description": "Where: a JSON pointer, or the name of a header or of a query parameter.",
                    },
                    "detail": {"type": "string"},
                    "value": {"type": "string", "description": "What was sent there, if that helps."},
                },
                "required": ["pointer", "detail"],
            },
        },
        **{
            name: {"type": kind, "description": words} | ({"items": {"type": "string"}} if kind == "array" else {})
            for kind, members in FURTHER_MEMBERS.items()
            for name, words in members.items()
        },
    },
    "required": ["type", "title", "status", "detail"],
}
RESPONSES = {
    400: ("BadRequest", "The request cannot be read."),
    401: ("Unauthorized", "There is no valid token, session or password."),
    403: ("Forbidden", "Your roles in the brand do not allow this."),
    404: ("NotFound", "It does not exist in your brands."),
    409: ("Conflict", "Somebody was first, or the state forbids it."),
    410: ("Gone", "It existed, and was withdrawn."),
    412: ("PreconditionFailed", "What you saw has changed. Read it again."),
    415: ("UnsupportedMediaType", "This address does not take this Content-Type."),
    422: ("Unprocessable", "The input has mistakes."),
    428: ("PreconditionRequired", "The change needs If-Match with the ETag of what you saw."),
    429: ("TooManyRequests", "Wait as long as Retry-After says."),
    503: ("Unavailable", "The database does not answer. Ask again after Retry-After seconds."),
}


class RequestNames(AutoSchema):
    """Names the component of a `…Request` serializer once: drf-spectacular adds "Request" itself.

    Fields of which a request chooses some by `?fields=` are not required.
    """

    def get_serializer_name(self, serializer: serializers.Serializer[Any], direction: Direction) -> str:
        name = super().get_serializer_name(serializer, direction)
        return name.removesuffix("Request") if direction == "request" else name

    def _map_basic_serializer(self, serializer: serializers.Serializer[Any], direction: Direction) -> dict[str, Any]:
        described: dict[str, Any] = super()._map_basic_serializer(serializer, direction)
        if isinstance(serializer, SelectableFields):
            described.pop("required", None)
        return described


def add_refusals(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Postprocessing hook of drf-spectacular: add the shared components, and reference them in each operation."""
    components = result["components"]
    components.setdefault("schemas", {})["Problem"] = PROBLEM
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    components["responses"] = {
        name: {"description": description, "content": content} for name, description in RESPONSES.values()
    }
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            declared = {status for status in RESPONSES if str(status) in operation["responses"]}
            for status in sorted(declared | {*_statuses(path, method, operation)}):
                reference = {"$ref": f"#/components/responses/{RESPONSES[status][0]}"}
                operation["responses"][str(status)] = reference
    return result


def _statuses(path: str, method: str, operation: dict[str, Any]) -> Iterator[int]:
    """Yield the statuses of an operation's possible refusals, by its method and parameters."""
    parameters = operation.get("parameters", [])
    names = {parameter["name"] for parameter in parameters}
    yield from (400, 401, 403, 503)
    if "{" in path or names & {"brand", "cursor"} or "requestBody" in operation:
        yield 404
    if "requestBody" in operation:
        yield 415
    if method != "get" or any(parameter["in"] == "query" for parameter in parameters):
        yield 422
    if method != "get":
        yield from (409, 412)
    if method == "patch":
        yield 428
    if any("basicAuth" in way for way in operation.get("security", [])):
        yield 429
