"""The thresholds of checks: numbers that a brand's guide may change. Plain data.

A check declares its own thresholds where it is defined; the guide's page lists them all.
"""

from __future__ import annotations

from core.plugin_config import Config, Setting

_declared: dict[str, type[Config]] = {}


def declare_thresholds(check: str, config: type[Config]) -> None:
    """Register the thresholds of a check; a second declaration replaces the first."""
    if config.form_settings():
        _declared[check] = config


def thresholds_by_check() -> dict[str, list[Setting]]:
    """Return check name -> its thresholds, in the order of declaration."""
    return {check: config.form_settings() for check, config in _declared.items()}
