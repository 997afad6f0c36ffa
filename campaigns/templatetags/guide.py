"""Template tag for the values that the brand guide offers."""

from __future__ import annotations

from typing import Any

from django import template

from campaigns.selectors import guides
from core.models import Brand

register = template.Library()


@register.inclusion_tag("campaigns/guide_offer.html")
def guide_offer(brand: Brand, axis: str = "") -> dict[str, Any]:
    """Show the published guide's choices as buttons that write them into the axes of the form (static/js/axes.js).

    All choices are shown, or those of one axis; nothing if the guide has none.
    """
    offered = guides.choices_by_axis(guides.get_published(brand.pk))
    return {"offered": {name: given for name, given in offered.items() if not axis or name == axis}}
