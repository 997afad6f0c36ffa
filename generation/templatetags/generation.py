"""Template tags for the choice of scenes and maps, the terms of local models, and inputs of workflows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import template
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.models import Brand
from core.templatetags.proofline import field_label, words
from generation.engines.comfyui.graph import Workflow
from generation.models import Endpoint
from generation.selectors import concepts
from generation.services.endpoints import local_models

register = template.Library()

#: The labels of the fields of a new run that have no such label elsewhere, by the name that the services give them.
_LABELS = {
    "prompt_version_b": gettext_lazy("Version B"),
    "shape": gettext_lazy("What it is made of"),
    "pick": gettext_lazy("Which"),
    "sample": gettext_lazy("How many"),
    "file": gettext_lazy("The list"),
    "axes": gettext_lazy("Variations"),
    "output_specs": gettext_lazy("Outputs"),
    "needs": gettext_lazy("Give it the product’s photo"),
}


@register.filter
def form_field_label(pointer: str, form: Any = None) -> str:
    """Return the label of the form's field that a problem names: "axes/backdrop" as "Variations, backdrop"."""
    name, *inner = pointer.strip("/").split("/")
    field = getattr(form, "fields", {}).get(name)
    label = field.label if field is not None and field.label else _LABELS.get(name)
    return ", ".join([str(label), *map(words, inner)]) if label else field_label(pointer)


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
