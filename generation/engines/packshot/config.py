"""The declaration of the `packshot` engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from generation.engines import base


def _make(config: Mapping[str, Any]) -> base.Engine:
    from generation.engines.packshot.engine import Packshot

    return Packshot(config)


PLUGIN: Final = base.EnginePlugin(
    "packshot", _make, label="Packshot studio, no model", is_operator_only=True, lanes=(base.CPU, base.GPU)
)
