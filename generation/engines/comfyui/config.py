"""The declaration of the `comfyui` engine: its settings, and what is known of it without importing it."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from pydantic import field_validator

from core.plugin_config import Source, Whole, setting
from generation.engines import base

NO_SERVERS: Final = 'The endpoint needs "servers": a list of addresses such as ["http://gpu-a:8188"].'
MAX_ADDRESS_LENGTH: Final = 150
_of_workflow = partial(setting, source=Source.PAGE)
"""Declares a setting that the page of the workflow writes and graph.py reads."""


class Config(base.EngineConfig):
    """One workflow on the servers of an endpoint."""

    servers: list[str] = base.for_operator(
        "Servers", "Addresses, one a line.", needed=NO_SERVERS, example="http://gpu-a:8188"
    )
    max_side: Whole = base.max_side()
    size_multiple: Whole = base.size_multiple()
    allow_partial: bool = base.advanced("Accept partial runs of the workflow", default=False)
    headers: dict[str, Any] = base.advanced_for_operator(
        "Headers of every call", default={}, example='{"X-Team": "art"}'
    )
    lost_after_seconds: float = base.duration("Give up when the server is away for, s", 120.0)
    settle_seconds: float = base.settle_seconds(5.0)
    poll_seconds: float = base.poll_seconds(2.0)
    timeout_seconds: float = base.timeout_seconds(30.0)
    ca: str = base.certificates()
    workflow: Any = _of_workflow("The graph in API format; without one nothing can be made")
    workflow_name: Any = _of_workflow("The name of the workflow for people")
    inputs: Any = _of_workflow('The inputs that a job fills: {"prompt": ["6", "text"], "seed": [["3", "seed"], …]}')
    ranges: Any = _of_workflow("The bounds of parameters, from the server’s schema")
    model_files: Any = _of_workflow("Size and time of change of the workflow’s model files, by server")
    output_node: Any = _of_workflow("The node whose image is the result, if several nodes save images")
    meant_as_is: Any = _of_workflow("Unmarked images and prompts that a person confirmed as they are")

    @field_validator("servers")
    @classmethod
    def _ensure_addresses(cls, servers: list[str]) -> list[str]:
        if not servers:
            raise ValueError(NO_SERVERS)
        if too_long := [address for address in servers if len(address) > MAX_ADDRESS_LENGTH]:
            raise ValueError(f"The address {too_long[0]!r} is longer than {MAX_ADDRESS_LENGTH} characters.")
        return servers


PLUGIN: Final = base.EnginePlugin(
    "comfyui",
    base.import_engine("generation.engines.comfyui.engine:ComfyUI"),
    label="ComfyUI",
    config=Config,
    lanes=(base.CLOUD,),
    is_operator_only=True,
    has_workflow=True,
)
