"""Keep the answers that people and programs get private: what a browser or a proxy may store of them."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase


class PrivateAnswersMiddleware:
    """Give every answer without a Cache-Control header one that keeps it out of stores and shared caches.

    Pages, refusals and lists are not stored at all: after signing out on a shared computer, "Back" shows nothing. An
    answer with an ETag may be kept by the caller, who must ask each time whether it still holds (docs/api.md). Views
    of stored files set their own header, because their addresses name one content.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if "Cache-Control" not in response:
            response["Cache-Control"] = "private, no-cache" if "ETag" in response else "private, no-store"
        return response
