"""What becomes of a refusal that a page's service raised; the API has its own answer in campaigns/api/problems.py."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from campaigns.errors import DomainError, Invalid


class DomainErrorMiddleware:
    """Shows a DomainError as a page, or to htmx as a partial that its error target takes, with the error's status."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, DomainError):
            return None
        template = "partials/refusal.html" if getattr(request, "htmx", False) else "error.html"
        context = {
            "error": error,
            "status": error.status,
            "title": error.title,
            "message": error.message,
            "extra": error.extra,
            "problems": error.problems if isinstance(error, Invalid) else [],
        }
        return render(request, template, context, status=error.status)
