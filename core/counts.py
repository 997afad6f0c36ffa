"""Counts of rows, kept in tables, so that a page reads a number instead of counting a million rows.

A count is the sum of the rows with its keys. Triggers on the counted tables insert rows with +1 or -1 in the
transaction of the change, so counts follow every change, also of many rows at once, and go with a rollback.
`fold` replaces the rows of each count with one; readers get the same sum before, during and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.apps import apps
from django.db import models, transaction
from django.db.models import Sum

from core import sql
from core.access import BrandOwned


class Counts(BrandOwned):
    def sums(self, *keys: str) -> list[tuple[Any, ...]]:
        """Return (*keys, number) of each count that is not 0, in the order of the keys; counts are added up."""
        rows = self.order_by().values_list(*keys).annotate(total=Sum("number")).exclude(total=0)
        return list(rows.order_by(*keys))

    def total(self) -> int:
        return int(self.aggregate(total=Sum("number"))["total"] or 0)


class Count(models.Model):
    """A part of a count. Only triggers and this module write such rows.

    keys: the columns that tell counts from each other. counted_by: a SELECT that counts the rows themselves and returns
    the keys and `number`. counted: the tables that the SELECT reads.
    """

    keys: ClassVar[Sequence[str]]
    counted_by: ClassVar[str]
    counted: ClassVar[Sequence[str]]

    id = models.BigAutoField(primary_key=True)
    number = models.BigIntegerField()

    class Meta:
        abstract = True


# Counts with one row that is not 0 stay as they are.
_FOLD = """
WITH loose AS (
    SELECT {keys} FROM {table} GROUP BY {keys} HAVING count(*) > 1 OR sum(number) = 0
), taken AS (
    DELETE FROM {table} rows USING loose WHERE ({rows_keys}) = ({loose_keys}) RETURNING rows.*
), folded AS (
    INSERT INTO {table} ({keys}, number) SELECT {keys}, sum(number) FROM taken GROUP BY {keys} HAVING sum(number) <> 0
)
SELECT count(*) AS rows FROM taken
"""
_DIFFERENCES = """
SELECT {keys}, kept.number AS kept, counted.number AS counted
FROM (SELECT {keys}, sum(number) AS number FROM {table} GROUP BY {keys} HAVING sum(number) <> 0) kept
FULL JOIN ({counted_by}) counted USING ({keys})
WHERE kept.number IS DISTINCT FROM counted.number
"""


def list_models() -> list[type[Count]]:
    return [model for model in apps.get_models() if issubclass(model, Count)]


def fold(model: type[Count]) -> int:
    """Replace the rows of each count with one row; return how many were replaced. Two cannot run at once."""
    with transaction.atomic():
        sql.lock(f"fold {model._meta.db_table}")
        [row] = sql.rows(_statement(_FOLD, model))
    return int(row.rows)


def find_differences(model: type[Count]) -> list[Any]:
    """Return the counts that are wrong: their keys, the number `kept` and the number `counted` (None: none)."""
    return sql.rows(_statement(_DIFFERENCES, model))


def rebuild(model: type[Count]) -> None:
    """Count the rows themselves again. Changes of the counted tables wait until it has ended."""
    table, keys = model._meta.db_table, ", ".join(model.keys)
    with transaction.atomic():
        sql.lock(f"fold {table}")
        sql.execute(f"LOCK TABLE {', '.join(model.counted)} IN SHARE MODE")
        sql.execute(f"DELETE FROM {table}")  # noqa: S608 (names of our own tables)
        sql.execute(f"INSERT INTO {table} ({keys}, number) {model.counted_by}")


def _statement(text: str, model: type[Count]) -> str:
    names = {name: ", ".join(f"{name}.{key}" for key in model.keys) for name in ("rows", "loose")}
    return text.format(
        table=model._meta.db_table,
        keys=", ".join(model.keys),
        rows_keys=names["rows"],
        loose_keys=names["loose"],
        counted_by=model.counted_by,
    )
