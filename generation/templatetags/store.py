"""Template tag for the terms of a local model, shown where people pick it."""

from __future__ import annotations

from typing import Any

from django import template

from generation.models import Endpoint
from generation.services.endpoints import local_models

register = template.Library()


@register.inclusion_tag("generation/model_terms.html")
def model_terms(endpoint: Endpoint | None) -> dict[str, Any]:
    """Show the registered model of an endpoint with its licence and terms; nothing if none is registered."""
    model = local_models.find_for_endpoint(endpoint) if endpoint is not None else None
    return {"model": model, "family": local_models.family_title(model.family) if model else ""}
