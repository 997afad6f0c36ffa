"""SQL of triggers that run once per statement, however many rows it changes; for migrations.

A trigger's statement reads the changed rows from `new_rows` (INSERT, UPDATE) and `old_rows` (UPDATE, DELETE).
"""

from __future__ import annotations

from typing import Final

ADDED: Final = "SELECT *, 1 AS sign FROM new_rows"
REMOVED: Final = "SELECT *, -1 AS sign FROM old_rows"
SIGNED_ROWS: Final = {
    "added": ("INSERT", ADDED),
    "changed": ("UPDATE", f"{ADDED} UNION ALL {REMOVED}"),  # what stays the same adds up to 0
    "removed": ("DELETE", REMOVED),
}
"""By change: its event, and the changed rows with a `sign`: 1 for what is now, -1 for what was before."""


def create(name: str, table: str, event: str, statement: str) -> str:
    """Return the SQL of a trigger after `event` on the table, and of its function, both called `name`."""
    tables = {"INSERT": "NEW TABLE AS new_rows", "DELETE": "OLD TABLE AS old_rows"}
    referencing = tables.get(event, "OLD TABLE AS old_rows NEW TABLE AS new_rows")
    return f"""
    CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement} RETURN NULL; END $$;
    CREATE TRIGGER {name} AFTER {event} ON {table} REFERENCING {referencing}
        FOR EACH STATEMENT EXECUTE FUNCTION {name}();
    """


def drop(name: str) -> str:
    """Return the SQL that drops a trigger together with its function."""
    return f"DROP FUNCTION {name}() CASCADE"
