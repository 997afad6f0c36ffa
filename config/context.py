"""The context of every page template: the brand, the person's other brands, and their rights in the brand."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from core.access import Action, can
from core.models import Brand
from core.selectors import notices


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Context processor. Each query runs only if a template uses it."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    brand = getattr(request, "brand", None)
    return {
        "brand": brand,
        "brands": Brand.objects.visible_to(user),
        "unread_notices": SimpleLazyObject(lambda: notices.count_unread(user=user, brand=brand) if brand else 0),
        # For templates that hide forbidden actions; the services decide.
        "may": SimpleLazyObject(lambda: {action.value: can(user, action, brand) for action in Action} if brand else {}),
        "section": getattr(request.resolver_match, "url_name", "") if request.resolver_match else "",
    }
