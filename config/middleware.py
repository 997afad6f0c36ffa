"""Middleware for every request: checks its values, makes error responses, and keeps responses private."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from config import errors
from core import storable
from core.errors import DomainError, Invalid, Problem
from core.refusals import refusal_for


def keep_private(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: add a Cache-Control header to responses without one, so that shared caches do not store them.

    Pages, refusals and lists are not stored at all: after signing out on a shared computer, "Back" shows nothing. The
    caller may keep a response with an ETag, but must revalidate it each time (docs/api.md). Views of stored files set
    their own header, because their addresses name one content. What the API answers depends on who asks.
    """

    def respond(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if "Cache-Control" not in response:
            response["Cache-Control"] = "private, no-cache" if "ETag" in response else "private, no-store"
        if errors.is_api(request):
            patch_vary_headers(response, ("Authorization", "Cookie"))
        return response

    return respond


View = Callable[[HttpRequest], HttpResponse]


class UnknownCharset(DomainError):
    status = 415
    title = gettext_noop("Unsupported encoding")


class StorableInputMiddleware:
    """Refuses what PostgreSQL cannot store in addresses, headers and forms; the API's parsers check its bodies."""

    def __init__(self, get_response: View) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            _require_utf8(request)
            storable.ensure_no_problems(list(_check_address_and_headers(request)))
        except DomainError as refusal:
            return errors.error_response(request, refusal)
        for name in [name for name, value in request.COOKIES.items() if storable.text_problem(value)]:
            del request.COOKIES[name]  # such a cookie cannot be ours
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """Check the numbers in the address and the form fields before the view runs."""
        if any(isinstance(value, int) and value > storable.LARGEST_INTEGER for value in kwargs.values()):
            return errors.page_not_found(request)  # no row has such a number
        if errors.is_api(request) or request.method != "POST":
            return None
        try:
            storable.ensure_form_is_storable(request.POST, request.FILES)
        except Invalid as refusal:
            return errors.error_response(request, refusal)
        return None


class DomainErrorMiddleware:
    """Renders refusals and empty error responses of views as a page, or for htmx as a partial, with their status."""

    def __init__(self, get_response: View) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code < 400 or response.streaming or response.content:
            return response
        page = errors.status_page(request, response.status_code)
        if page is None:
            return response
        for name, value in response.items():
            if name not in ("Content-Type", "Content-Length"):
                page[name] = value
        return page

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        refusal = refusal_for(error)
        return errors.error_response(request, refusal) if refusal else None


def _require_utf8(request: HttpRequest) -> None:
    """Raise UnknownCharset if the Content-Type's charset is not UTF-8: Django would use it for the address too."""
    charset = request.content_params.get("charset", "") if request.content_params else ""
    try:
        is_utf8 = not charset or codecs.lookup(charset).name in ("utf-8", "ascii")
    except (LookupError, ValueError):
        is_utf8 = False
    if not is_utf8:
        shown = storable.escape_unstorable(charset)[:40]
        raise UnknownCharset(_("The charset “%(charset)s” is not read here. Send UTF-8.") % {"charset": shown})


def _check_address_and_headers(request: HttpRequest) -> Iterable[Problem]:
    if message := storable.text_problem(request.path_info):
        yield Problem("path", message)
    yield from storable.field_problems(request.GET.lists(), "?")
    for name, value in request.META.items():
        if name.startswith("HTTP_") and name != "HTTP_COOKIE" and (message := storable.text_problem(str(value))):
            yield Problem(name.removeprefix("HTTP_").replace("_", "-").title(), message)
    if not request.META.get("HTTP_AUTHORIZATION", "").isascii():
        yield Problem("Authorization", _("Tokens and base64 are ASCII."))
