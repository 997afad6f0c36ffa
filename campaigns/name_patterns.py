"""Checks patterns of file names, such as "{brand}_{sku}_{date}".

The names themselves are made in generation/finishing/names.py.
"""

from __future__ import annotations

from string import Formatter

PLACEHOLDERS = ("brand", "campaign", "sku", "asset_type", "date", "variation", "status", "spec")


def lint(pattern: str) -> list[str]:
    """Return sentences about the mistakes of a name pattern; an empty list if it is valid."""
    try:
        fields = [field for _, field, _, _ in Formatter().parse(pattern) if field is not None]
    except ValueError:
        return ["A brace is not closed or not opened. Write {sku} for a placeholder and {{ for a brace."]
    unknown = sorted({field or "{}" for field in fields} - set(PLACEHOLDERS))
    problems = [f"There is no {{{field}}}; known are {_listed(PLACEHOLDERS)}." for field in unknown]
    if not pattern.strip():
        problems.append("The name pattern is empty.")
    elif not unknown and not {"sku", "variation"} & set(fields):
        problems.append("Every image would get the same name: add {sku} or {variation}.")
    if any(spec or conversion for _, _, spec, conversion in Formatter().parse(pattern)):
        problems.append("Placeholders take no format: write {sku}, not {sku:>8}.")
    if pattern.startswith("/") or ".." in pattern.split("/"):
        problems.append("The name must stay inside its folder: no leading slash and no '..'.")
    return problems


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)
