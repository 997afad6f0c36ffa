"""Run PostgreSQL's client programs in the version that came along: `python -m config.postgres pg_dump --file=x.dump`.

A dump needs a pg_dump at least as new as the server, which the one of the operating system often is not.
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

    The address is handed over in the environment, where other users of the machine cannot read the password. What the
    arguments name themselves, such as another --dbname, counts instead. Raises CannotStart where there is no server.
    """
    with embedded.services():
        database = dj_database_url.parse(embedded.database_url())
        given = {
            "PGHOST": database["HOST"],
            "PGPORT": str(database["PORT"]),
            "PGUSER": database["USER"],
            "PGPASSWORD": database["PASSWORD"],
            "PGDATABASE": database["NAME"],
            "PGSSLMODE": database.get("OPTIONS", {}).get("sslmode", ""),
        }
        variables = {name: value for name, value in given.items() if value}
        path = servers.postgres_programs() / "bin" / program
        return subprocess.run([str(path), *arguments], env=os.environ | variables).returncode


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in PROGRAMS:
        sys.exit(f"usage: python -m config.postgres {{{','.join(PROGRAMS)}}} [its own options]")
    try:
        sys.exit(run(sys.argv[1], sys.argv[2:]))
    except servers.CannotStart as error:
        sys.exit(f"The embedded services cannot start: {error}")


if __name__ == "__main__":
    main()
