"""Additions to drf-spectacular's OpenAPI schema: names of requests, and refusals as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction
from rest_framework import serializers

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "Problem details (RFC 9457). A refusal may have further members, for programs.",
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
    },
    "required": ["type", "title", "status", "detail"],
}
RESPONSES = {
    400: ("BadRequest", "The request cannot be read."),
    401: ("Unauthorized", "There is no valid token, session or password."),
    403: ("Forbidden", "Your roles in the brand do not allow this."),
    404: ("NotFound", "It does not exist in your brands."),
    409: ("Conflict", "Somebody was first, or the state forbids it."),
    412: ("PreconditionFailed", "What you saw has changed. Read it again."),
    415: ("UnsupportedMediaType", "This address does not take this Content-Type."),
    422: ("Unprocessable", "The input has mistakes."),
    428: ("PreconditionRequired", "The change needs If-Match with the ETag of what you saw."),
    429: ("TooManyRequests", "Wait as long as Retry-After says."),
    503: ("Unavailable", "The database does not answer. Ask again after Retry-After seconds."),
}


class RequestNames(AutoSchema):
    """Names the component of a `…Request` serializer once: drf-spectacular adds "Request" itself."""

    def get_serializer_name(self, serializer: serializers.Serializer[Any], direction: Direction) -> str:
        name = super().get_serializer_name(serializer, direction)
        return name.removesuffix("Request") if direction == "request" else name


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
            for status in sorted(_statuses(path, method, operation)):
                reference = {"$ref": f"#/components/responses/{RESPONSES[status][0]}"}
                operation["responses"].setdefault(str(status), reference)
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
