"""The declaration of the `openai` engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from generation.engines import base


def _make(config: Mapping[str, Any]) -> base.Engine:
    from generation.engines.openai.engine import OpenAIImages

    return OpenAIImages(config)


PLUGIN: Final = base.EnginePlugin("openai", _make, label="OpenAI’s images API, or one like it", lanes=(base.CLOUD,))
