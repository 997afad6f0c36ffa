"""What PostgreSQL reads for a page: every statement of a request is run once more by EXPLAIN (ANALYZE, BUFFERS)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

_WRITES = ("INSERT INTO", "UPDATE ", "DELETE FROM")


@dataclass
class Reading:
    """Counts of one statement. buffers: pages of 8 kB, each counted whenever it is looked at."""

    statement: str
    buffers: int
    removed: int


@dataclass
class Readings:
    statements: list[Reading] = field(default_factory=list)

    @property
    def buffers(self) -> int:
        return sum(reading.buffers for reading in self.statements)

    @property
    def removed(self) -> int:
        """Return how many rows were read and left out by a filter."""
        return sum(reading.removed for reading in self.statements)

    @property
    def worst(self) -> Reading:
        return max(self.statements, key=lambda reading: reading.buffers)


@contextmanager
def explaining() -> Iterator[Readings]:
    """Explain every reading statement of this connection in the block."""
    readings = Readings()

    def explain(execute: Any, statement: str, values: Any, many: bool, context: Any) -> Any:
        text = statement.lstrip()
        is_read = text.startswith(("SELECT", "(SELECT", "WITH")) and not any(
            word in text.replace("FOR UPDATE", "").replace("FOR NO KEY UPDATE", "") for word in _WRITES
        )
        if is_read:
            cursor = context["cursor"].cursor
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values)
            [(plan,)] = cursor.fetchall()
            root = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
            readings.statements.append(Reading(text, _buffers(root), _removed(root)))
        return execute(statement, values, many, context)

    with connection.execute_wrapper(explain):
        yield readings


def _buffers(node: dict[str, Any]) -> int:
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def _removed(node: dict[str, Any]) -> int:
    here = sum(node.get(name, 0) for name in ("Rows Removed by Filter", "Rows Removed by Index Recheck"))
    own = int(here * node.get("Actual Loops", 1))
    return own + sum(_removed(child) for child in node.get("Plans", ()))
