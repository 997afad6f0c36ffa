"""The responses to failed requests: problem+json for the API, a partial for htmx, a page for people."""

from __future__ import annotations

import logging
import sys
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from core.api.problems import problem_response
from core.errors import BadRequest, DomainError, Invalid, NotAllowed, NotFound
from core.refusals import refusal_for

logger = logging.getLogger(__name__)


class InternalError(DomainError):
    status = 500
    title = gettext_noop("Something went wrong here")


class MethodNotAllowed(DomainError):
    status = 405
    title = gettext_noop("This cannot be done at this address")


def is_api(request: HttpRequest) -> bool:
    """Return True for addresses of the API, whose errors are always problem+json."""
    return request.path_info.startswith("/api/")


def error_response(request: HttpRequest, error: DomainError) -> HttpResponse:
    """Return the response for a refusal, in the format of the caller."""
    if is_api(request):
        return problem_response(error)
    response = _render_page(request, error)
    if error.retry_after_seconds is not None:
        response["Retry-After"] = str(error.retry_after_seconds)
    return response


def _render_page(request: HttpRequest, error: DomainError) -> HttpResponse:
    problems = error.problems if isinstance(error, Invalid) else []
    context = {"status": error.status, "title": _(error.title), "message": error.message, "problems": problems}
    # request.htmx is missing if a middleware before HtmxMiddleware refuses the request.
    is_htmx = getattr(request, "htmx", False) or request.headers.get("HX-Request") == "true"
    if error.status >= 500:  # rendered without the request, so that it needs neither the database nor a session
        template = "partials/refusal.html" if is_htmx else "error_alone.html"
        return HttpResponse(render_to_string(template, context), status=error.status)
    if is_htmx:
        return render(request, "partials/refusal.html", context, status=error.status)
    is_signed_in = getattr(getattr(request, "user", None), "is_authenticated", False)
    return render(request, "error.html" if is_signed_in else "error_alone.html", context, status=error.status)


def status_page(request: HttpRequest, status: int) -> HttpResponse | None:
    """Return the page for the status of an empty response, such as 405; None for one that only programs see."""
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        sentence = _("This address does not take %(method)s requests. Go back and use the button on the page.")
        return error_response(request, MethodNotAllowed(sentence % {"method": request.method}))
    handler = {400: bad_request, 403: permission_denied, 404: page_not_found, 500: server_error}.get(status)
    return handler(request) if handler else None


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    sentence = _("The server cannot read this request. Go back, load the page again, and retry.")
    return error_response(request, BadRequest(sentence))


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return error_response(request, NotAllowed(_("You may not see or do this. Ask a lead of your brand if you should.")))


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    sentence = _("There is nothing at this address. It may have been typed wrongly, or removed.")
    return error_response(request, NotFound(sentence))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500. An outage of the database or of Redis gives 503."""
    error = sys.exc_info()[1]
    refusal = refusal_for(error) if error is not None else None
    sentence = _("The server could not finish this. It was logged. Try again; if it stays, tell your administrator.")
    return error_response(request, refusal or InternalError(sentence))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    logger.warning("CSRF check failed: %s", reason, extra={"path": request.path})
    sentence = _(
        "This form could not be checked, because it is too old or cookies are blocked. Nothing was changed. "
        "Go back, load the page again, and send it once more."
    )
    return error_response(request, NotAllowed(sentence))
