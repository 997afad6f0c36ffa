"""Checks patterns of file names, such as "{brand}_{sku}_{date}".

The names themselves are made in generation/finishing/names.py.
"""

from __future__ import annotations

from string import Formatter

from django.utils.translation import gettext as _

PLACEHOLDERS = ("brand", "campaign", "sku", "asset_type", "date", "variation", "status", "spec")


def lint(pattern: str) -> list[str]:
    """Return sentences about the mistakes of a name pattern; an empty list if it is valid."""
    try:
        parts = list(Formatter().parse(pattern))
    except ValueError:
        return [_("A brace is not closed or not opened. Write {sku} for a placeholder and {{ for a brace.")]
    fields = {field for literal, field, spec, conversion in parts if field is not None}
    unknown = sorted({field or "{}" for field in fields} - set(PLACEHOLDERS))
    names = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    problems = [_("There is no {%(name)s}; known are %(names)s.") % {"name": name, "names": names} for name in unknown]
    if not pattern.strip():
        problems.append(_("The name pattern is empty."))
    elif not unknown and not {"sku", "variation"} & fields:
        problems.append(_("Every image would get the same name: add {sku} or {variation}."))
    if any(spec or conversion for literal, field, spec, conversion in parts):
        problems.append(_("Placeholders take no format: write {sku}, not {sku:>8}."))
    if pattern.startswith("/") or ".." in pattern.split("/"):
        problems.append(_("The name must stay inside its folder: no leading slash and no '..'."))
    return problems
