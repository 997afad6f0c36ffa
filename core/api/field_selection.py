"""Reads `?fields=`: which fields a response has. Fields that are left out cost no query."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request

from core.errors import Invalid, Problem

FIELDS_PARAMETER = OpenApiParameter(
    "fields",
    str,
    description="Only these fields, separated by commas; a dot names a nested one: “sku,files.url”. Default: all.",
)


class SelectableFields:
    """Marks serializers of whose fields `?fields=` may choose some: in the schema none is required."""


def read_names(request: Request, parameter: str) -> list[str]:
    """Return the names of a query parameter, which are separated by commas, each once and in order."""
    text = ",".join(request.query_params.getlist(parameter))
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def refuse_unknown(parameter: str, unknown: Iterable[str], known: Iterable[str]) -> Invalid:
    """Return the refusal of names that a query parameter cannot have; it lists those that it can have."""
    message = _("There is no such name. Known are: %(known)s.") % {"known": ", ".join(known) or _("none")}
    names = list(unknown)
    sentence = _("“%(parameter)s” has unknown names: %(unknown)s. %(message)s")
    sentence %= {"parameter": parameter, "unknown": ", ".join(name[:40] for name in names[:5]), "message": message}
    return Invalid(sentence, [Problem(f"?{parameter}", message, name[:100]) for name in names[:20]])


def select_fields(serializer: serializers.BaseSerializer[Any], request: Request) -> set[str]:
    """Leave the serializer the fields that `?fields=` names, and return their names, nested ones with a dot.

    Raises Invalid for names that the serializer does not have.
    """
    known = list(_list_names(serializer))
    if "fields" not in request.query_params:
        return set(known)
    names = read_names(request, "fields")
    if unknown := [name for name in names if name not in known]:
        raise refuse_unknown("fields", unknown, known)
    if not names:
        raise refuse_unknown("fields", [""], known)
    kept = {name for name in known if any(_is_within(name, of) or _is_within(of, name) for of in names)}
    _remove_others(serializer, kept)
    return kept


def _is_within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(f"{parent}.")


def _fields_of(serializer: Any) -> dict[str, Any]:
    """Return the fields of a serializer or of the rows of a list; none of a plain field."""
    return cast(dict[str, Any], getattr(getattr(serializer, "child", serializer), "fields", {}))


def _list_names(serializer: Any, prefix: str = "") -> Iterator[str]:
    for name, field in _fields_of(serializer).items():
        yield f"{prefix}{name}"
        yield from _list_names(field, f"{prefix}{name}.")


def _remove_others(serializer: Any, kept: set[str], prefix: str = "") -> None:
    fields = _fields_of(serializer)
    for name in list(fields):
        if f"{prefix}{name}" in kept:
            _remove_others(fields[name], kept, f"{prefix}{name}.")
        else:
            fields.pop(name)
