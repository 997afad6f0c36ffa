"""The declaration of the `packshot` engine: its settings, and what is known of it without importing it."""

from __future__ import annotations

import re
from typing import Final

from PIL import ImageColor
from pydantic import field_validator

from core.plugin_config import setting
from generation.engines import base


class Config(base.EngineConfig):
    colours: dict[str, str] = setting(
        "Named backdrops", default={}, example='{"clay": "#b5651d"}'
    )  # they add to, or override, the engine's own

    @field_validator("colours")
    @classmethod
    def _ensure_hex(cls, colours: dict[str, str]) -> dict[str, str]:
        for name, value in colours.items():
            if parse_hex(value) is None:
                raise ValueError(f'packshot: the colour {name!r} is {value!r}; write it as "#rrggbb".')
        return colours


def parse_hex(text: str) -> tuple[int, int, int] | None:
    """Parse #rgb or #rrggbb to sRGB; None if it is neither."""
    match = re.fullmatch(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", text.strip())
    return ImageColor.getrgb(f"#{match[1]}")[:3] if match else None


PLUGIN: Final = base.EnginePlugin(
    "packshot",
    base.import_engine("generation.engines.packshot.engine:Packshot"),
    label="Packshot studio, no model",
    config=Config,
    lanes=(base.CPU, base.GPU),
    is_operator_only=True,
    is_generative=False,
)
