"""RFC 9457 problem details: turns refusals into API responses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.http import Http404, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from rest_framework import exceptions
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler, set_rollback

from core.errors import DomainError, Invalid
from core.refusals import refusal_for

MEDIA_TYPE = "application/problem+json"


def _response(status: int, title: Any, detail: str, /, **more: Any) -> JsonResponse:
    """Return problem details, which are always JSON, whatever the Accept header or the view's renderers are."""
    # The standard members come last, so that no other replaces them.
    members = more | {"type": "about:blank", "title": str(title), "status": status, "detail": detail}
    return JsonResponse(members, status=status, content_type=MEDIA_TYPE)


def _pointers(detail: Any, path: str = "") -> list[dict[str, str]]:
    """Return DRF's nested error details as a flat list of {pointer, detail}."""
    if isinstance(detail, dict):
        places = (
            (value, path if key == api_settings.NON_FIELD_ERRORS_KEY else f"{path}/{key}")
            for key, value in detail.items()
        )
        return [entry for value, place in places for entry in _pointers(value, place)]
    if isinstance(detail, list):
        places = ((value, path if isinstance(value, str) else f"{path}/{index}") for index, value in enumerate(detail))
        return [entry for value, place in places for entry in _pointers(value, place)]
    return [{"pointer": path or "/", "detail": str(detail)}]


def problem_response(error: DomainError) -> JsonResponse:
    """Return the response to a request that was refused."""
    more = dict(error.extra)
    if isinstance(error, Invalid):
        more["errors"] = [
            {"pointer": problem.pointer, "detail": problem.message, "value": problem.value}
            for problem in error.problems
        ]
    answer = _response(error.status, _(error.title), error.message, **more)
    if error.retry_after_seconds is not None:
        answer["Retry-After"] = str(error.retry_after_seconds)
    return answer


def _place(pointer: str) -> str:
    """Return a JSON pointer, because services name fields as in forms; "?name" stays: it is of the address."""
    return pointer if pointer.startswith("?") else f"/{pointer.removeprefix('/')}"


def handle_exception(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """Return the response for an exception; None makes Django respond with 500 (config/errors.py)."""
    if isinstance(error, exceptions.ValidationError):
        set_rollback()
        sentence = _("Some fields cannot be accepted.")
        return _response(422, _(Invalid.title), sentence, errors=_pointers(error.detail))
    if refusal := refusal_for(error):
        set_rollback()
        if isinstance(refusal, Invalid):
            refusal.problems = [replace(problem, pointer=_place(problem.pointer)) for problem in refusal.problems]
        return problem_response(refusal)
    response = exception_handler(error, context)
    if response is None:
        return None
    title = _("Not found") if isinstance(error, Http404) else response.status_text
    answer = _response(response.status_code, title, str(response.data.get("detail", title)))
    for header in ("WWW-Authenticate", "Retry-After", "Allow"):
        if header in response:
            answer[header] = response[header]
    return answer
