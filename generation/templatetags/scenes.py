"""The scenes of a brand where one of them is chosen, for any page's template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import template

from campaigns.models import Brand
from generation.selectors import scenes

register = template.Library()


@register.simple_tag(takes_context=True)
def scene_names(context: Mapping[str, Any], brand: Brand, used: str) -> Sequence[tuple[str, str]]:
    """(key, name) of the scenes that the person may choose, and of the one in use; one query."""
    there = scenes.names(context["request"].user, brand)
    is_listed = scenes.is_none(used) or any(key == used for key, _ in there)
    return there if is_listed else [(used, f"{used}, as it is"), *there]


@register.filter
def has_scene(offered: scenes.Offered, key: str) -> bool:
    return any(one.key == key for one in offered.scenes)


@register.simple_tag(takes_context=True)
def scenes_of(context: Mapping[str, Any], brand: Brand) -> scenes.Offered:
    """The scenes with their pictures, and the concepts that have none yet; four queries."""
    return scenes.offered(context["request"].user, brand)
