"""Run SQL statements that are written by hand. A comment above each says why the ORM does not make it."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import psycopg
from django.db import connection
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper
from django.db.models import Model
from psycopg.types.json import JsonbLoader

ModelT = TypeVar("ModelT", bound=Model)
Values = Sequence[Any] | Mapping[str, Any]

CHUNK_ROWS = 2000
PREPARE_AFTER = 5
"""The number of times that a connection runs a statement before it prepares it, in processes that prepare."""


def prepare_repeated_statements() -> None:
    """Prepare the statements of this module that this process repeats, on every connection that it opens from now on.

    PostgreSQL then plans them once, which a worker's statements need: they are few, are run for every image, and take
    longer to plan than to run. Pages do not, because the best plan of a list depends on its filter.
    """
    connection_created.connect(_set_prepare_threshold, dispatch_uid="core.sql")


def _set_prepare_threshold(connection: Any, **kwargs: Any) -> None:
    connection.connection.prepare_threshold = PREPARE_AFTER


@contextmanager
def _open_cursor() -> Iterator[CursorWrapper]:
    """Yield a cursor that sends the values apart from the statement, which can then be prepared (ADR 34)."""
    with connection.cursor() as cursor:
        cursor.cursor = psycopg.Cursor(connection.connection, row_factory=_named_row)
        yield cursor


def rows(statement: str, values: Values = ()) -> list[Any]:
    """Run a statement; return its rows as named tuples, jsonb as Python values."""
    with _open_cursor() as cursor:
        _execute(cursor, statement, values)
        return cursor.fetchall()


def instances(model: type[ModelT], statement: str, values: Values = ()) -> list[ModelT]:
    """Run a statement that returns all columns of the model's table; return its rows as instances."""
    return [instance(model, row) for row in rows(statement, values)]


def instance(model: type[ModelT], row: Any) -> ModelT:
    """Return the instance of a row that has all columns of the model's table, and perhaps others."""
    names = [field.attname for field in model._meta.concrete_fields]
    return model.from_db(connection.alias, names, [getattr(row, name) for name in names])


def stream(statement: str, values: Values = ()) -> Iterator[Any]:
    """Yield rows as `rows` does, but from a server-side cursor, so that a long result takes little memory."""
    with connection.chunked_cursor() as cursor:
        cursor.cursor.row_factory = _named_row
        _execute(cursor, statement, values)
        while chunk := cursor.fetchmany(CHUNK_ROWS):
            yield from chunk


def execute(statement: str, values: Values = ()) -> int:
    """Run a statement; return how many rows it changed."""
    with _open_cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


@contextmanager
def copy(statement: str) -> Iterator[Any]:
    """Run a COPY ... FROM STDIN; yield psycopg's object, to which the rows are written."""
    with connection.cursor() as cursor, cursor.copy(statement) as writer:
        yield writer


def lock(name: str, number: int = 0) -> None:
    """Wait for the advisory lock of this name and number, and hold it until the transaction ends."""
    execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [name, number])


def try_lock(name: str) -> bool:
    """Take the advisory lock of this name for this session, which may have it already; False if another one has it."""
    [(has_lock,)] = rows("SELECT pg_try_advisory_lock(hashtextextended(%s, 7))", [name])
    return bool(has_lock)


def unlock(name: str) -> None:
    execute("SELECT pg_advisory_unlock(hashtextextended(%s, 7))", [name])


def _execute(cursor: Any, statement: str, values: Values) -> None:
    """Run a statement on the cursor; Django's connections have no loader of jsonb, so the cursor gets one."""
    cursor.cursor.adapters.register_loader("jsonb", JsonbLoader)
    cursor.execute(statement, values)


def _named_row(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], Any]:
    """Make rows that are named tuples. psycopg's own factory refuses two columns without a name."""
    result = cursor.pgresult
    if result is None:
        return tuple
    return _row_type(tuple((result.fname(number) or b"").decode() for number in range(result.nfields)))


@cache
def _row_type(names: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
    make: Callable[[Sequence[Any]], Any] = namedtuple("Row", names, rename=True)._make  # type: ignore[attr-defined]
    return make
