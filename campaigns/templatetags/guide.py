"""The values that the brand guide offers, for any page's template."""

from __future__ import annotations

from typing import Any

from django import template

from campaigns.selectors import guides
from core.models import Brand

register = template.Library()


@register.inclusion_tag("campaigns/guide_offer.html")
def guide_offer(brand: Brand, axis: str = "") -> dict[str, Any]:
    """The published guide's choices as buttons that write them into the axes beside (static/js/axes.js), all of them or
    those of one axis; nothing where the guide offers none."""
    offered = guides.choices(guides.published(brand.pk))
    return {"offered": {name: given for name, given in offered.items() if not axis or name == axis}}
