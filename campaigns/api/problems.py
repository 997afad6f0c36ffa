"""RFC 9457 problem details: the one place where refusals become API answers."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from campaigns.errors import DomainError, Invalid

MEDIA_TYPE = "application/problem+json"


def _answer(status: int, title: str, detail: str, **members: Any) -> Response:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **members}
    return Response(body, status=status, content_type=MEDIA_TYPE)


def _pointers(detail: Any, path: str = "") -> list[dict[str, str]]:
    """DRF's nested error details as a flat list of {pointer, detail}."""
    if isinstance(detail, dict):
        return [entry for key, value in detail.items() for entry in _pointers(value, f"{path}/{key}")]
    if isinstance(detail, list):
        flat: list[dict[str, str]] = []
        for index, value in enumerate(detail):
            flat += _pointers(value, path if isinstance(value, str) else f"{path}/{index}")
        return flat
    return [{"pointer": path or "/", "detail": str(detail)}]


def from_domain(error: DomainError) -> Response:
    members = dict(error.extra)
    if isinstance(error, Invalid):
        members["errors"] = [
            {"pointer": problem.pointer, "detail": problem.message, "value": problem.value}
            for problem in error.problems
        ]
    return _answer(error.status, error.title, error.message, **members)


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler; None lets Django answer 500."""
    if isinstance(error, DomainError):
        return from_domain(error)
    if isinstance(error, exceptions.ValidationError):
        return _answer(422, Invalid.title, "Some fields cannot be accepted.", errors=_pointers(error.detail))
    response = exception_handler(error, context)
    if response is None:
        return None
    title = "Not found" if isinstance(error, Http404) else response.status_text
    answer = _answer(response.status_code, title, str(response.data.get("detail", title)))
    for header in ("WWW-Authenticate", "Retry-After", "Allow"):
        if header in response:
            answer[header] = response[header]
    return answer
