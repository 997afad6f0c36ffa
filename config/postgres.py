"""Runs PostgreSQL's client programs in the embedded version: `python -m config.postgres pg_dump --file=x.dump`.

A dump needs a pg_dump that is at least as new as the server; that of the operating system often is older.
"""

from __future__ import annotations

import os
import subprocess
import sys

import dj_database_url

from config import embedded, servers

PROGRAMS = ("pg_dump", "pg_restore", "psql")


def run(program: str, arguments: list[str]) -> int:
    """Run one of PROGRAMS on this installation's database and return its exit status.

    The address is passed in the environment, where other users of the machine cannot read the password. Arguments such
    as another --dbname take precedence. Raises StartFailed if there is no server.
    """
    with embedded.services():
        database = dj_database_url.parse(embedded.database_url())
        settings = {
            "PGHOST": database["HOST"],
            "PGPORT": str(database["PORT"]),
            "PGUSER": database["USER"],
            "PGPASSWORD": database["PASSWORD"],
            "PGDATABASE": database["NAME"],
            "PGSSLMODE": database.get("OPTIONS", {}).get("sslmode", ""),
        }
        variables = {name: value for name, value in settings.items() if value}
        path = servers.postgres_programs() / "bin" / program
        return subprocess.run([str(path), *arguments], env=os.environ | variables).returncode


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in PROGRAMS:
        sys.exit(f"usage: python -m config.postgres {{{','.join(PROGRAMS)}}} [its own options]")
    try:
        sys.exit(run(sys.argv[1], sys.argv[2:]))
    except servers.StartFailed as error:
        sys.exit(f"The embedded services cannot start: {error}")


if __name__ == "__main__":
    main()
