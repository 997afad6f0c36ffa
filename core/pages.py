"""Conventions of the pages of a brand: sign-in, the brand in the address, and the required right."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext as _

from core.access import Action, require
from core.errors import NotFound
from core.models import Brand, User

P = ParamSpec("P")


class BrandRequest(HttpRequest):
    """A request of a signed-in person to a page below /brands/<slug>/."""

    user: User
    brand: Brand


def parse_row_id(text: str) -> int | None:
    """Return a row's number from an address or a form; None for a text that is no number or too long for bigint."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


View = Callable[Concatenate[BrandRequest, P], HttpResponseBase]


def set_brand(request: Any, slug: str, action: Action) -> BrandRequest:
    """Add the brand to the request and the session. Raises NotFound for strangers, NotAllowed without the right."""
    brand = Brand.objects.visible_to(request.user).filter(slug=slug).first()
    if brand is None:
        raise NotFound(_("There is no brand %(slug)r among yours. Ask an admin if you should see it.") % {"slug": slug})
    request.brand = brand
    request.user.remember_roles()
    require(request.user, action, brand)
    if request.session.get("brand") != slug:
        request.session["brand"] = slug
    return request


def brand_page(action: Action = Action.VIEW) -> Callable[[View[P]], Callable[..., HttpResponseBase]]:
    """Decorator: restrict a page to signed-in people with a right in its brand; the view gets `request.brand`."""

    def wrap(view: View[P]) -> Callable[..., HttpResponseBase]:
        @login_required
        @wraps(view)
        def page(request: Any, brand: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            return view(set_brand(request, brand, action), *args, **kwargs)

        return page

    return wrap
