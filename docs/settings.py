"""Write docs/settings.md from what plug-ins declare. `make docs` runs it; a test checks that it is current."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from core.plugin_config import Config, Kind, Setting, Source
from generation.checks.base import CHECKS
from generation.engines.base import ENGINES, EngineConfig
from generation.finishing.base import STEPS
from review.delivery.base import DESTINATIONS

PAGE = Path(__file__).with_name("settings.md")
INTRODUCTION = """# Settings of plug-ins

Written by `make docs` from the settings that engines, destinations and checks declare in the code; change them there,
not here. An empty default means that nothing is set. Settings marked “operator” reach the server's files or network:
only the operator may set or remove them.
"""
HEAD = "| setting | value | default | |\n|---|---|---|---|\n"


def describe_value(setting: Setting) -> str:
    match setting.kind:
        case Kind.NUMBER | Kind.WHOLE:
            noun = "whole number" if setting.kind == Kind.WHOLE else "number"
            return f"{noun}, {setting.minimum:.15g} to {setting.maximum:.15g} {setting.unit}".rstrip()
        case Kind.CHOICE:
            return ", ".join(f"`{choice}`" for choice in setting.choices)
        case Kind.SWITCH:
            return "true or false"
        case Kind.LINES:
            return "list of texts"
        case Kind.LONG_TEXT:
            return "text of several lines"
        case Kind.JSON:
            return f"JSON: `{setting.example}`" if setting.example else "JSON"
    return f"`{setting.example}`" if setting.example else "text"


def describe_setting(setting: Setting) -> str:
    remarks = [
        f"{setting.label}.",
        setting.hint,
        "Needed." if setting.needed else "",
        "Operator." if setting.is_operator_only else "",
        "Without a field in the form." if setting.source == Source.JSON else "",
    ]
    words = " ".join(filter(None, remarks))
    return f"| `{setting.name}` | {describe_value(setting)} | {setting.default_text} | {words} |"


def draw_settings(title: str, config: type[Config], names: Iterable[str]) -> str:
    """Return one table. names: of the settings, in order."""
    settings = config.settings()
    return f"## {title}\n\n{HEAD}" + "\n".join(describe_setting(settings[name]) for name in names) + "\n"


def page() -> str:
    parts = [INTRODUCTION]
    of_all = [name for name, setting in EngineConfig.settings().items() if setting.source == Source.JSON]
    parts.append(draw_settings("Every engine", EngineConfig, of_all))
    for plugin in ENGINES:
        if own := [setting.name for setting in plugin.config.form_settings()]:
            parts.append(draw_settings(f"Engine `{plugin.name}`: {plugin.label}", plugin.config, own))
    for kind in DESTINATIONS:
        own = [setting.name for setting in kind.config.form_settings()]
        parts.append(draw_settings(f"Destination `{kind.kind}`: {kind.label}", kind.config, own))
    for check in (*STEPS, *CHECKS):
        if own := [setting.name for setting in check.config.form_settings()]:
            parts.append(draw_settings(f"Check `{check.name}`: {check.label}", check.config, own))
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
