"""Write many rows at once with COPY: a chunk of a plan as database rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import connection, models

from core import clock, sql


def reserve_ids(model: type[models.Model], count: int) -> list[int]:
    """Return `count` primary keys from the model's sequence, so that rows of several tables can refer to each other."""
    key = model._meta.pk
    assert key is not None
    # The ORM has no sequences, and it inserts several times as slowly as COPY below.
    statement = "SELECT nextval(pg_get_serial_sequence(%s, %s)::regclass) FROM generate_series(1, %s)"
    return [row[0] for row in sql.rows(statement, [model._meta.db_table, key.column, count])]


def insert(
    model: type[models.Model], *, same: Mapping[str, Any], fields: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert rows into the model's table with COPY.

    `fields` names the values of each row, `same` has the values that are equal for all rows; every other column gets
    its model default. Names are those of columns ("cell_id"). JSON columns take plain values or JSON text.
    """
    constant = {**_defaults(model), **same}
    shared = [name for name in constant if name not in fields]
    quote = connection.ops.quote_name
    columns = ", ".join(quote(name) for name in [*shared, *fields])
    statement = f"COPY {quote(model._meta.db_table)} ({columns}) FROM STDIN"
    head = [_plain(constant[name]) for name in shared]
    with sql.copy(statement) as copy:
        for row in rows:
            copy.write_row([*head, *(_plain(value) for value in row)])


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


def _defaults(model: type[models.Model]) -> dict[str, Any]:
    """Return, by column, the value that `Model()` would have; columns that the database fills are left out."""
    now = clock.now()
    defaults: dict[str, Any] = {}
    for field in model._meta.concrete_fields:
        column = str(field.column)
        if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
            defaults[column] = now
        elif field.has_default():
            defaults[column] = field.get_default()
        elif not field.primary_key and not field.null and isinstance(field, models.CharField | models.TextField):
            defaults[column] = ""
    return defaults
