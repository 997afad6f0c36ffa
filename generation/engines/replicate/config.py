"""The declaration of the `replicate` engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from generation.engines import base


def _make(config: Mapping[str, Any]) -> base.Engine:
    from generation.engines.replicate.cog import Cog
    from generation.engines.replicate.engine import Replicate

    return Cog(config) if config.get("cog") else Replicate(config)


PLUGIN: Final = base.EnginePlugin("replicate", _make, label="Replicate, or a Cog server", lanes=(base.CLOUD,))
