"""Tests of pages when a service raises an error: its message and status, on a whole page or in a partial."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.test import RequestFactory

from config.middleware import DomainErrorMiddleware
from core import errors

REFUSALS = [errors.Invalid, errors.NotAllowed, errors.NotFound, errors.Conflict, errors.Stale]


def answer(error: Exception, *, htmx: bool = False) -> HttpResponse | None:
    request: Any = RequestFactory().get("/")
    request.user, request.htmx, request.resolver_match = AnonymousUser(), htmx, None
    return DomainErrorMiddleware(lambda _: HttpResponse()).process_exception(request, error)


@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.parametrize("htmx", [False, True])
def test_a_refusal_keeps_its_status_and_its_words(kind: type[errors.DomainError], htmx: bool) -> None:
    shown = answer(kind("Another reviewer approved this <b>4 s</b> ago."), htmx=htmx)
    assert shown is not None
    assert shown.status_code == kind.status
    assert "approved this &lt;b&gt;4 s&lt;/b&gt; ago." in shown.content.decode()


def test_htmx_gets_a_partial_and_a_browser_a_page() -> None:
    error = errors.Conflict("Somebody was first.")
    assert "<html" in answer(error).content.decode()
    assert "<html" not in answer(error, htmx=True).content.decode()


def test_each_mistake_of_the_input_is_shown_with_its_place() -> None:
    problem = errors.Problem("rows/3/price", "Give a number such as 12.90.", "twelve")
    shown = answer(errors.Invalid("Some rows cannot be used.", [problem])).content.decode()
    assert "Row 3, price:" in shown
    assert "Give a number such as 12.90." in shown
    assert "twelve" in shown


def test_an_unexpected_error_stays_an_error() -> None:
    assert answer(ZeroDivisionError()) is None
