"""Template tags for the choice of scenes and maps, the terms of local models, and inputs of workflows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import template
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.models import Brand
from generation.engines.comfyui.graph import Workflow
from generation.models import Endpoint
from generation.selectors import concepts
from generation.services.endpoints import local_models

register = template.Library()

#: The labels of the fields of a new run, by the name that the services give them.
_LABELS = {
    "prompt_version": gettext_lazy("Prompt"),
    "prompt_version_b": gettext_lazy("Version B"),
    "endpoint": gettext_lazy("Made by"),
    "alternates": gettext_lazy("When it is slow or down"),
    "stage": gettext_lazy("Stage"),
    "shape": gettext_lazy("What it is made of"),
    "pick": gettext_lazy("Which"),
    "subjects": gettext_lazy("Products"),
    "skus": gettext_lazy("SKUs"),
    "sample": gettext_lazy("How many"),
    "rows": gettext_lazy("The list"),
    "file": gettext_lazy("The list"),
    "axes": gettext_lazy("Variations"),
    "aspects": gettext_lazy("Outputs"),
    "output_specs": gettext_lazy("Outputs"),
    "needs": gettext_lazy("Give it the product’s photo"),
    "release_at": gettext_lazy("Date and time"),
    "name": gettext_lazy("Name"),
}


@register.filter
def field_label(pointer: str, form: Any = None) -> str:
    """Return the label of the field that a problem names: "axes/backdrop" as "Variations, backdrop"."""
    name, *inner = pointer.strip("/").split("/")
    field = getattr(form, "fields", {}).get(name)
    label = str(field.label) if field is not None and field.label else str(_LABELS.get(name, name))
    return ", ".join([label, *(part.replace("_", " ") for part in inner)])


@register.simple_tag(takes_context=True)
def concept_names(context: Mapping[str, Any], brand: Brand, kind: str, used: str) -> Sequence[tuple[str, str]]:
    """Return (key, name) of the scenes or maps that the person may choose, and of the one in use; one query."""
    return concepts.list_names(concepts.USES[kind], context["request"].user, brand, used)


@register.simple_tag(takes_context=True)
def concepts_of(context: Mapping[str, Any], brand: Brand, kind: str) -> concepts.ConceptChoices:
    """Return the scenes or maps with their images, and the concepts that have none yet; four queries."""
    return concepts.list_choices(concepts.USES[kind], context["request"].user, brand)


@register.filter
def has_concept(offered: concepts.ConceptChoices, key: str) -> bool:
    return any(image.key == key for image in offered.images)


@register.inclusion_tag("generation/model_terms.html")
def model_terms(endpoint: Endpoint | None) -> dict[str, Any]:
    """Show the registered model of an endpoint with its licence and terms; nothing if none is registered."""
    model = local_models.find_for_endpoint(endpoint) if endpoint is not None else None
    return {"model": model, "family": local_models.family_title(model.family) if model else ""}


@register.filter
def in_words(place: str, workflow: Workflow) -> str:
    """Return "4 ckpt_name" as "ckpt_name of “Load Checkpoint” (node 4)"."""
    node_id, _space, name = place.partition(" ")
    return _("%(input)s of %(node)s") % {"input": name, "node": workflow.title(node_id)}
