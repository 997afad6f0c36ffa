"""Template filters of the page of a ComfyUI workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template

from generation.engines.comfyui.graph import Workflow

register = template.Library()


@register.filter
def at(held: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key in a mapping, "" without one."""
    return held.get(key, "")


@register.filter
def in_words(place: str, workflow: Workflow) -> str:
    """Return "4 ckpt_name" as "ckpt_name of “Load Checkpoint” (node 4)"."""
    node_id, _, name = place.partition(" ")
    return f"{name} of {workflow.title(node_id)}"
