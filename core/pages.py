"""Conventions of every page of a brand: sign-in, the brand in the address, and the right that the page needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponseBase

from core.access import Action, require
from core.errors import NotFound
from core.models import Brand, User

P = ParamSpec("P")


class BrandRequest(HttpRequest):
    """A request of a signed-in person to a page below /brands/<slug>/."""

    user: User
    brand: Brand


def number(text: str) -> int | None:
    """A row's number out of an address or a form; None for anything that PostgreSQL's bigint would not take."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


View = Callable[Concatenate[BrandRequest, P], HttpResponseBase]


def enter(request: Any, slug: str, action: Action) -> BrandRequest:
    """Put the brand into the request. NotFound for people outside the brand, NotAllowed for people without the right;
    the last brand is remembered for the next visit."""
    found = Brand.objects.visible_to(request.user).filter(slug=slug).first()
    if found is None:
        raise NotFound(f"There is no brand {slug!r} among yours. Ask an admin if you should see it.")
    request.brand = found
    request.user.remember_roles()
    require(request.user, action, found)
    if request.session.get("brand") != slug:
        request.session["brand"] = slug
    entered: BrandRequest = request
    return entered


def brand_page(action: Action = Action.VIEW) -> Callable[[View[P]], Callable[..., HttpResponseBase]]:
    """Decorator: a page of one brand for signed-in people with the right; the view gets `request.brand`."""

    def wrap(view: View[P]) -> Callable[..., HttpResponseBase]:
        @login_required
        @wraps(view)
        def page(request: Any, brand: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            return view(enter(request, brand, action), *args, **kwargs)

        return page

    return wrap
