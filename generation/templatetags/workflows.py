"""Template filters of the page of a ComfyUI workflow."""

from __future__ import annotations

from django import template
from django.utils.translation import gettext as _

from generation.engines.comfyui.graph import Workflow

register = template.Library()


@register.filter
def in_words(place: str, workflow: Workflow) -> str:
    """Return "4 ckpt_name" as "ckpt_name of “Load Checkpoint” (node 4)"."""
    node_id, _space, name = place.partition(" ")
    return _("%(input)s of %(node)s") % {"input": name, "node": workflow.title(node_id)}
