"""Read rows by SQL of our own, for questions that the ORM cannot put well."""

from __future__ import annotations

from typing import Any

from django.db import connection


def rows(statement: str, values: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a statement; jsonb comes as text, because Django removes psycopg's loader of it."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        records: list[tuple[Any, ...]] = cursor.fetchall()
        return records
