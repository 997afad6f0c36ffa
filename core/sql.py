"""Run SQL statements that are written by hand. A comment above each says why the ORM does not make it."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.db import connection
from psycopg.types.json import JsonbLoader

Values = Sequence[Any] | Mapping[str, Any]

CHUNK_ROWS = 2000


def rows(statement: str, values: Values = ()) -> list[Any]:
    """Run a statement; return its rows as named tuples, jsonb as Python values."""
    with connection.cursor() as cursor:
        _execute(cursor, statement, values)
        return _named(cursor, cursor.fetchall())


def stream(statement: str, values: Values = ()) -> Iterator[Any]:
    """Yield rows as `rows` does, but from a server-side cursor, so that a long result takes little memory."""
    with connection.chunked_cursor() as cursor:
        _execute(cursor, statement, values)
        while chunk := cursor.fetchmany(CHUNK_ROWS):
            yield from _named(cursor, chunk)


def execute(statement: str, values: Values = ()) -> int:
    """Run a statement; return how many rows it changed."""
    with connection.cursor() as cursor:
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


def _named(cursor: Any, records: Sequence[Sequence[Any]]) -> list[Any]:
    return list(map(_row_type(tuple(column.name for column in cursor.description))._make, records))


@cache
def _row_type(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", names, rename=True)
