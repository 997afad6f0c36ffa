"""Engines by name. Those of other packages register through the entry point group `proofline.engines`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from generation.engines import base

_GROUP = "proofline.engines"
_OURS = {
    "packshot": "packshot.engine:Packshot",
    "comfyui": "comfyui.engine:ComfyUI",
    "diffusers": "diffusers.engine:Diffusers",
    "openai": "openai.engine:OpenAIImages",
    "replicate": "replicate.engine:build",
}
_points = [EntryPoint(name, f"generation.engines.{place}", _GROUP) for name, place in _OURS.items()]
for _point in (*_points, *entry_points(group=_GROUP)):
    base.register(_point.name, _point.load)
