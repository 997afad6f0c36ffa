"""Template tags for the choice of a scene or a map among the concepts of a brand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import template

from core.models import Brand
from generation.selectors import concepts

register = template.Library()


@register.filter
def names_concept(kind: str) -> bool:
    """Return whether a control of this kind is a choice of concepts."""
    return kind in concepts.USES


@register.simple_tag(takes_context=True)
def concept_names(context: Mapping[str, Any], brand: Brand, kind: str, used: str) -> Sequence[tuple[str, str]]:
    """Return (key, name) of the scenes or maps that the person may choose, and of the one in use; one query."""
    return concepts.list_names(concepts.USES[kind], context["request"].user, brand, used)


@register.filter
def has_concept(offered: concepts.ConceptChoices, key: str) -> bool:
    return any(image.key == key for image in offered.images)


@register.simple_tag(takes_context=True)
def concepts_of(context: Mapping[str, Any], brand: Brand, kind: str) -> concepts.ConceptChoices:
    """Return the scenes or maps with their images, and the concepts that have none yet; four queries."""
    return concepts.list_choices(concepts.USES[kind], context["request"].user, brand)
