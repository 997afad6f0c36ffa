"""Keeps responses private: sets what a browser or a proxy may store."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase


def keep_private(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: add a Cache-Control header to responses without one, so that shared caches do not store them.

    Pages, refusals and lists are not stored at all: after signing out on a shared computer, "Back" shows nothing. The
    caller may keep a response with an ETag, but must revalidate it each time (docs/api.md). Views of stored files set
    their own header, because their addresses name one content.
    """

    def respond(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if "Cache-Control" not in response:
            response["Cache-Control"] = "private, no-cache" if "ETag" in response else "private, no-store"
        return response

    return respond
