"""RFC 9457 problem details: turns refusals into API responses."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from rest_framework import exceptions
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import exception_handler, set_rollback

from core.errors import DomainError, Invalid, Unavailable
from core.refusals import refusal_for

MEDIA_TYPE = "application/problem+json"


class ProblemResponse(Response):
    """Problem details, which are always JSON, whatever the Accept header or the view's renderers are."""

    @property
    def rendered_content(self) -> bytes:  # type: ignore[override]  # DRF's renderers return bytes, Django's stubs say str
        self["Content-Type"] = MEDIA_TYPE
        rendered: bytes = JSONRenderer().render(self.data)
        return rendered


def _answer(status: int, title: str, detail: str, **more: Any) -> Response:
    return ProblemResponse(_body(status, title, detail, **more), status=status, content_type=MEDIA_TYPE)


def _body(status: int, title: str, detail: str, **more: Any) -> dict[str, Any]:
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}


def _pointers(detail: Any, path: str = "") -> list[dict[str, str]]:
    """Return DRF's nested error details as a flat list of {pointer, detail}."""
    if isinstance(detail, dict):
        return [entry for key, value in detail.items() for entry in _pointers(value, f"{path}/{key}")]
    if isinstance(detail, list):
        flat: list[dict[str, str]] = []
        for index, value in enumerate(detail):
            flat += _pointers(value, path if isinstance(value, str) else f"{path}/{index}")
        return flat
    return [{"pointer": path or "/", "detail": str(detail)}]


def problem_members(error: DomainError) -> dict[str, Any]:
    """Return the members of a refusal's problem details."""
    more: dict[str, Any] = dict(error.extra)
    if isinstance(error, Invalid):
        more["errors"] = [
            {"pointer": problem.pointer, "detail": problem.message, "value": problem.value}
            for problem in error.problems
        ]
    return more | _body(error.status, error.title, error.message)  # an extra member must not replace a standard one


def problem_response(error: DomainError) -> Response:
    response = ProblemResponse(problem_members(error), status=error.status, content_type=MEDIA_TYPE)
    if isinstance(error, Unavailable):
        response["Retry-After"] = str(error.retry_after_seconds)
    return response


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """Return the response for an exception; None makes Django respond with 500 (config/errors.py)."""
    if isinstance(error, exceptions.ValidationError):
        set_rollback()
        return _answer(422, Invalid.title, "Some fields cannot be accepted.", errors=_pointers(error.detail))
    if refusal := refusal_for(error):
        set_rollback()
        return problem_response(refusal)
    response = exception_handler(error, context)
    if response is None:
        return None
    title = "Not found" if isinstance(error, Http404) else response.status_text
    answer = _answer(response.status_code, title, str(response.data.get("detail", title)))
    for header in ("WWW-Authenticate", "Retry-After", "Allow"):
        if header in response:
            answer[header] = response[header]
    return answer
