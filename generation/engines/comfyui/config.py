"""The declaration of the `comfyui` engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from generation.engines import base


def _make(config: Mapping[str, Any]) -> base.Engine:
    from generation.engines.comfyui.engine import ComfyUI

    return ComfyUI(config)


PLUGIN: Final = base.EnginePlugin("comfyui", _make, label="ComfyUI", is_operator_only=True, lanes=(base.CLOUD,))
