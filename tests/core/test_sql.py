"""Tests of the functions that run SQL by hand."""

from __future__ import annotations

import pytest
from django.db import transaction

from core import sql
from tests.support.racing import race

pytestmark = pytest.mark.django_db


def test_rows_have_the_names_of_their_columns_and_python_values_for_jsonb() -> None:
    [row] = sql.rows("""SELECT %(n)s::int AS n, '{"a": [1, null]}'::jsonb AS body, NULL::jsonb AS nothing""", {"n": 3})
    assert (row.n, row.body, row.nothing) == (3, {"a": [1, None]}, None)


def test_columns_without_a_name_of_their_own_are_read_by_place() -> None:
    assert sql.rows("SELECT count(*), count(*), 1 WHERE true") == [(1, 1, 1)]


def test_a_long_result_comes_whole_and_in_order() -> None:
    count = 2 * sql.CHUNK_ROWS + 1
    rows = list(sql.stream("SELECT n, to_jsonb(n) AS body FROM generate_series(1, %s) AS n ORDER BY n", [count]))
    assert [row.n for row in rows] == [row.body for row in rows] == list(range(1, count + 1))


def test_execute_returns_how_many_rows_changed() -> None:
    sql.execute("CREATE TEMPORARY TABLE few (n int) ON COMMIT DROP")
    with sql.copy("COPY few FROM STDIN") as writer:
        for n in range(3):
            writer.write_row([n])
    assert sql.execute("DELETE FROM few WHERE n > %s", [0]) == 2
    assert sql.rows("SELECT n FROM few") == [(0,)]


@pytest.mark.django_db(transaction=True)
def test_a_lock_is_held_until_the_transaction_ends() -> None:
    def is_free() -> bool:
        [row] = sql.rows("SELECT pg_try_advisory_xact_lock(hashtextextended('a name', 7)) AS is_free")
        return bool(row.is_free)

    with transaction.atomic():
        sql.lock("a name", 7)
        assert race(is_free) == [False]
    assert race(is_free) == [True]
