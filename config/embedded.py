"""The embedded PostgreSQL and Redis, which are used if DATABASE_URL or REDIS_URL are not set.

Every process that needs them enters `services()`. The first process starts the servers, the last one stops them; other
processes use the running ones. The users are counted by file locks, which the kernel releases however a process ends.
Reasons: docs/adr/0001-embedded-services.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

from config import env, servers
from config.servers import Account, Passwords, Place, StartFailed

#: Longest socket path that every system accepts (macOS: 104 bytes), minus the longest file name in it.
SOCKET_FOLDER_BYTES = 80
#: Parent folder of root's database if the unprivileged account cannot reach the checkout, such as one under /root.
SHARED_HOME = Path("/var/lib/proofline")
WATCH_SECONDS = 1.0


def _folder() -> Path:
    """Return var/embedded, with the locks and the state file of the servers."""
    folder = env.var_dir() / "embedded"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except PermissionError as error:
        raise StartFailed(
            f"{error.filename} belongs to another user. Run as that user, give the folder back with chown, "
            "or set PROOFLINE_VAR to a folder of your own."
        ) from error
    return folder


def ensure_secret(name: str, *, size: int = 24) -> str:
    """Return a secret of `size` random bytes, made once and kept in a private file for all processes."""
    folder = env.var_dir() / "secrets"
    path = folder / name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(size))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
        os.unlink(temporary)
    return path.read_text()


def _passwords() -> Passwords:
    return Passwords(
        superuser=ensure_secret("postgres_superuser"),
        database=ensure_secret("postgres"),
        redis=ensure_secret("redis"),
    )


def database_url() -> str:
    """Return DATABASE_URL, or the address of the embedded PostgreSQL (which need not be running yet)."""
    if configured := env.text("DATABASE_URL"):
        return configured
    place, name = _load_place(), servers.DATABASE
    sockets = place.sockets if place else _folder() / "not-started"
    return f"postgres://{name}:{quote(ensure_secret('postgres'))}@{quote(str(sockets), safe='')}/{name}"


def redis_url() -> str:
    """Return REDIS_URL, or the address of the embedded Redis (which need not be running yet)."""
    if configured := env.text("REDIS_URL"):
        return configured
    place = _load_place()
    path = place.redis_socket if place else _folder() / "not-started"
    return f"unix://{quote(str(path))}?db=0&password={quote(ensure_secret('redis'))}"


def _load_place() -> Place | None:
    """Return the place from the state file, or None before the first start."""
    try:
        state = json.loads((env.var_dir() / "embedded" / "state.json").read_text())
        account = Account(*state["account"]) if state["account"] else None
        home, sockets, postgres, redis = (Path(state[name]) for name in ("home", "sockets", "postgres", "redis"))
    except (FileNotFoundError, KeyError):
        return None
    return Place(home, sockets, postgres, redis, account)


def _account() -> Account | None:
    """Return the account for the servers: None for ourselves; for root the owner of the database or another user."""
    if os.geteuid() != 0:
        return None
    data = env.var_dir() / "pg"
    if data.exists() and data.stat().st_uid != 0:
        return Account(data.stat().st_uid, data.stat().st_gid)
    name = env.text("PROOFLINE_DB_USER", "nobody")
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise StartFailed(
            f"PostgreSQL refuses to run as root and there is no user {name!r}. Set PROOFLINE_DB_USER to an "
            "unprivileged user, run as an ordinary user, or set DATABASE_URL to a server of yours."
        ) from None
    if entry.pw_uid == 0:
        raise StartFailed(f"PROOFLINE_DB_USER={name!r} is root; PostgreSQL refuses to run as root. Name another user.")
    return Account(entry.pw_uid, entry.pw_gid)


def _can_enter(path: Path, account: Account | None) -> bool:
    """Test the right to enter or execute as the account itself, so that parents, groups and access lists count."""
    if account is None:
        return True
    try:
        completed = subprocess.run(
            ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)], cwd="/", **servers.as_account(account)
        )
    except PermissionError as error:
        raise StartFailed(
            "PostgreSQL refuses to run as root, and this root may not change to an unprivileged user "
            f"({error}). Run as an ordinary user, or set DATABASE_URL and REDIS_URL."
        ) from error
    return completed.returncode == 0


def _home(account: Account | None) -> Path:
    """Return var/, or another folder that outlives a reboot if we are root and the account cannot enter var/."""
    var = env.var_dir()
    if _can_enter(var, account):
        return var
    parent = SHARED_HOME
    if var.is_relative_to(Path(tempfile.gettempdir()).resolve()):
        parent = Path(tempfile.gettempdir())  # a temporary var/ needs no permanent folder
    try:
        parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        home = Path(tempfile.mkdtemp(prefix=f"{var.parent.name}-".replace(" ", "_"), dir=parent))
    except OSError as error:
        raise StartFailed(
            f"the unprivileged user that runs PostgreSQL cannot enter {var}, and no folder can be made in {parent} "
            f"({error}). Set PROOFLINE_VAR to a folder that everybody may enter, or run as an ordinary user."
        ) from error
    (home / "README").write_text(f"The embedded database of {var}. Made by Proofline; remove it together with that.\n")
    home.chmod(0o711)
    return home


def _programs(home: Path, account: Account | None) -> tuple[Path, Path]:
    """Return PostgreSQL's folder and redis-server: those of the wheels, or copies if the account cannot read them."""
    postgres, redis = servers.postgres_programs(), servers.redis_program()
    if _can_enter(postgres / "bin" / "postgres", account) and _can_enter(redis, account):
        return postgres, redis
    copy, fresh = home / "programs", home / "programs.new"
    shutil.rmtree(fresh, ignore_errors=True)
    # The programs find their libraries by relative paths, so the layout is kept.
    for package, part in ((postgres.parent, postgres.name), (redis.parent.parent, redis.parent.name)):
        shutil.copytree(package / part, fresh / package.name / part, symlinks=True)
        for libraries in (package.with_name(f"{package.name}.libs"), package / ".dylibs"):
            if libraries.exists():
                shutil.copytree(libraries, fresh / libraries.relative_to(package.parent), symlinks=True)
    for folder, _, _ in os.walk(fresh):
        os.chmod(folder, 0o755)  # noqa: S103 - as readable as the wheels themselves
    shutil.rmtree(copy, ignore_errors=True)
    fresh.rename(copy)
    return copy / postgres.parent.name / postgres.name, copy / redis.parent.parent.name / redis.parent.name / redis.name


def _new_sockets(account: Account | None) -> Path:
    """Return a new private folder with a short name, because socket paths are limited and checkouts can be deep."""
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes it private
        folder = Path(tempfile.mkdtemp(prefix="proofline-", dir=parent))
        servers.make_private(folder, account)
        if len(os.fsencode(folder)) <= SOCKET_FOLDER_BYTES and _can_enter(folder, account):
            return folder
        folder.rmdir()
    raise StartFailed("found no place for a socket: TMPDIR and /tmp are too long or closed to the database's user")


def _still_private(folder: Path, account: Account | None) -> bool:
    """Return True if the recorded socket folder still exists and is private; temporary folders may be replaced."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    return status.st_uid == (account.uid if account else os.geteuid()) and status.st_mode & 0o170777 == 0o040700


def _prepare() -> Place:
    """Return the place for a start: the recorded parts that are still valid, and new ones for the others."""
    old = _load_place()
    env.var_dir().mkdir(parents=True, exist_ok=True)
    if old and not (old.home.exists() and (old.account is not None) == (os.geteuid() == 0)):
        old = None
    account = old.account if old else _account()
    home = old.home if old else _home(account)
    is_copied = old is not None and old.postgres.is_relative_to(home / "programs") and old.postgres.exists()
    postgres, redis = (old.postgres, old.redis) if old and is_copied else _programs(home, account)
    if account is None and (home / "pg").exists() and (home / "pg").stat().st_uid != os.geteuid():
        raise StartFailed(
            f"{home / 'pg'} was made by root or another user. Run as that user, or set PROOFLINE_VAR to a folder "
            "of your own, or remove the folder to begin with an empty database."
        )
    sockets = old.sockets if old and _still_private(old.sockets, account) else _new_sockets(account)
    place = Place(home, sockets, postgres, redis, account)
    fresh = _folder() / "state.new"
    fresh.write_text(json.dumps(asdict(place), indent=1, default=str))
    fresh.replace(_folder() / "state.json")
    return place


@contextlib.contextmanager
def _start_stop_lock() -> Iterator[None]:
    """Hold the lock under which one process at a time starts or stops servers."""
    with (_folder() / "gate.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _embedded_servers_needed() -> tuple[bool, bool]:
    """Return whether (PostgreSQL, Redis) must be embedded."""
    return not env.text("DATABASE_URL"), not env.text("REDIS_URL")


def _start_missing() -> None:
    postgres, redis = _embedded_servers_needed()
    place, passwords = _load_place(), _passwords()
    up = place is not None and _still_private(place.sockets, place.account)
    lost_postgres = postgres and not (up and place and servers.postgres_responds(place, passwords))
    lost_redis = redis and not (up and place and servers.redis_responds(place, passwords.redis))
    if place is None or lost_postgres or lost_redis:
        place = _prepare()
    if lost_postgres:
        servers.start_postgres(place, passwords, unsafe_fast=env.flag("PROOFLINE_UNSAFE_FAST_DB"))
    if lost_redis:
        servers.start_redis(place, passwords.redis)


def ensure_running() -> None:
    """Start the needed servers that do not respond. Safe at any time, from any number of processes."""
    if any(_embedded_servers_needed()):
        with _start_stop_lock():
            _start_missing()


def stop() -> None:
    """Stop both servers, even if they are in use; `services()` calls this for the last user."""
    place = _load_place()
    if place is None:
        return
    postgres, redis = _embedded_servers_needed()
    if redis:
        servers.stop_redis(place, _passwords().redis)
    if postgres:
        servers.stop_postgres(place)
    if not (servers.accepts_connections(place.redis_socket) or servers.accepts_connections(place.postgres_socket)):
        shutil.rmtree(place.sockets, ignore_errors=True)


@contextlib.contextmanager
def services(*, watch: bool = False) -> Iterator[None]:
    """Keep PostgreSQL and Redis running during the block; the last process stops them.

    With `watch`, a thread restarts a server that died (for the supervisor of `make up`). Does nothing if DATABASE_URL
    and REDIS_URL are both set. Raises StartFailed, whose message says what to do.
    """
    if not any(_embedded_servers_needed()):
        yield
        return
    _end_by_exception()
    with (_folder() / "users.lock").open("a") as users:
        with _start_stop_lock():
            fcntl.flock(users, fcntl.LOCK_SH)
            _start_missing()
        finished = threading.Event()
        watcher = threading.Thread(target=_watch, args=(finished,), name="embedded-services", daemon=True)
        if watch:
            watcher.start()
        try:
            yield
        finally:
            finished.set()
            if watch:
                watcher.join()
            with ignore_interrupts(), _start_stop_lock(), contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails if another process uses the servers
                stop()


def _watch(finished: threading.Event) -> None:
    while not finished.wait(WATCH_SECONDS):
        try:
            ensure_running()
        except (StartFailed, OSError) as error:
            print(f"embedded services: {error}", file=sys.stderr, flush=True)


def _end_by_exception() -> None:
    """Make SIGTERM and SIGHUP end the block in order, unless the command has its own handlers."""
    if threading.current_thread() is not threading.main_thread():
        return
    for kind in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(kind) is signal.SIG_DFL:
            signal.signal(kind, lambda number, _: sys.exit(128 + number))


@contextlib.contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C during the block, so that a second one does not leave a database half stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
