"""What every page of a brand shares: sign-in, the brand in the address, and the right that the page needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponseBase

from campaigns.access import Action, require
from campaigns.errors import NotFound
from campaigns.models import Brand, User

P = ParamSpec("P")


class BrandRequest(HttpRequest):
    """A request of a signed-in person to a page below /brands/<slug>/."""

    user: User  # type: ignore[assignment]
    brand: Brand


View = Callable[Concatenate[BrandRequest, P], HttpResponseBase]


def brand_page(action: Action = Action.VIEW) -> Callable[[View[P]], Callable[..., HttpResponseBase]]:
    """Decorator: the view gets `request.brand`; people outside the brand get "not found", people without the right
    a refusal that names who has it. The last brand is remembered for the next visit.
    """

    def wrap(view: View[P]) -> Callable[..., HttpResponseBase]:
        @login_required
        @wraps(view)
        def page(request: Any, brand: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            found = Brand.objects.visible_to(request.user).filter(slug=brand).first()
            if found is None:
                raise NotFound(f"There is no brand {brand!r} among yours. Ask an admin if you should see it.")
            request.brand = found
            require(request.user, action, found)
            if request.session.get("brand") != brand:
                request.session["brand"] = brand
            return view(request, *args, **kwargs)

        return page

    return wrap
