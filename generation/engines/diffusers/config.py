"""The declaration of the `diffusers` engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from generation.engines import base


def _make(config: Mapping[str, Any]) -> base.Engine:
    from generation.engines.diffusers.engine import Diffusers

    return Diffusers(config)


PLUGIN: Final = base.EnginePlugin(
    "diffusers", _make, label="diffusers on our own machines", is_operator_only=True, lanes=(base.GPU, base.CPU)
)
