"""Test the real embedded PostgreSQL and Redis: in a path with a space, killed, shared, locked down."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
import redis

from config import embedded, env, servers
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.slow
AS_ROOT = os.geteuid() == 0

# A shell that runs the tests in the background may ignore Ctrl-C or hang-up, and children inherit that.
HOLDER = """
import signal, sys
from config import embedded
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
with embedded.services():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def var(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield an empty var/ in a deep path with a space and a quote, which the servers' account may enter."""
    root = Path(tempfile.mkdtemp(prefix="embedded-"))
    root.chmod(0o755)
    folder = root / "it's a long way" / ("down " * 12).strip() / "var"
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROOFLINE_VAR", str(folder))
    monkeypatch.setenv("PROOFLINE_UNSAFE_FAST_DB", "1")
    yield folder
    embedded.stop()
    shutil.rmtree(root)


@pytest.fixture
def holder(var: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Yield a function that starts another process, which holds the services until its standard input is closed."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER], cwd=env.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def place() -> servers.Place:
    recorded = embedded._load_place()
    assert recorded is not None
    return recorded


def ask(sql: str) -> object:
    with psycopg.connect(embedded.database_url(), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None


def client() -> redis.Redis:
    return redis.Redis.from_url(embedded.redis_url())


def pids() -> set[int]:
    """Return the process ids of both servers, which must answer."""
    ask("SELECT 1")
    return {client().info("server")["process_id"], servers.postmaster_pid(place())}


def both_answer() -> bool:
    return servers.accepts_connections(place().postgres_socket) and servers.accepts_connections(place().redis_socket)


def both_are_down() -> bool:
    return not servers.accepts_connections(place().postgres_socket) and not servers.accepts_connections(
        place().redis_socket
    )


def test_services_start_in_a_path_with_a_space_and_stop_with_the_block(var: Path) -> None:
    with embedded.services():
        assert ask("SELECT current_setting('server_version_num')::int") >= 180000
        assert client().ping()
        sockets = place().sockets
    assert both_are_down()
    assert not sockets.exists()
    assert not (var / "pg" / "postmaster.pid").exists()


def test_only_we_can_enter_and_read(var: Path) -> None:
    with embedded.services():
        here = place()
        for folder in (here.sockets, here.data, here.home / "redis", var / "secrets", var / "embedded"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
        for secret in (var / "secrets").iterdir():
            assert stat.S_IMODE(secret.stat().st_mode) == 0o600, secret
        assert ask("SHOW listen_addresses") == ""
        assert client().config_get("port") == {"port": "0"}
        assert ask("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        lines = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True).stdout
        for secret in (var / "secrets").iterdir():
            assert secret.read_text() not in lines


def test_no_password_no_entry(var: Path) -> None:
    with embedded.services():
        host = str(place().sockets)
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(host=host, user="proofline", dbname="proofline")
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            psycopg.connect(host=host, user="postgres", dbname="postgres", password="guess")
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(unix_socket_path=str(place().redis_socket)).ping()


def test_rows_and_keys_outlive_a_restart(var: Path) -> None:
    with embedded.services():
        ask("CREATE TABLE kept AS SELECT 42 AS answer")
        client().set("kept", "42")
    with embedded.services():
        assert ask("SELECT answer FROM kept") == 42
        assert client().get("kept") == b"42"


def test_a_killed_postgres_comes_back_at_once_with_what_was_committed(var: Path) -> None:
    with embedded.services():
        ask("CREATE TABLE kept AS SELECT 42 AS answer")
        for _ in range(3):
            pid = servers.postmaster_pid(place())
            os.kill(pid, signal.SIGKILL)
            embedded.ensure_running()
            assert servers.postmaster_pid(place()) != pid
            assert ask("SELECT answer FROM kept") == 42
    assert both_are_down()


def test_the_watcher_brings_back_what_died(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "WATCH_SECONDS", 0.1)
    with embedded.services(watch=True):
        client().set("kept", "42")
        time.sleep(1.2)  # the append-only file is flushed once a second
        before = pids()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        after = before
        while time.monotonic() < deadline and after & before:
            time.sleep(0.1)
            with contextlib.suppress(redis.ConnectionError, psycopg.OperationalError):
                after = pids()
        assert not after & before
        assert client().get("kept") == b"42"
        assert ask("SELECT 1") == 1


def test_a_pid_file_with_the_number_of_another_program_is_no_hindrance(var: Path) -> None:
    with embedded.services():
        lines = (place().data / "postmaster.pid").read_text().splitlines()
    stale = place().data / "postmaster.pid"
    stale.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with embedded.services():
        assert ask("SELECT 1") == 1


def test_an_interrupted_first_start_is_repaired(var: Path) -> None:
    half = var / "pg.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with embedded.services():
        assert ask("SELECT 1") == 1


def test_a_second_process_joins_and_the_last_one_out_stops_them(
    var: Path, holder: Callable[[], subprocess.Popen[str]]
) -> None:
    with embedded.services():
        pid = servers.postmaster_pid(place())
        other = holder()
        assert other.stdout.readline() == "held\n"
    assert servers.postmaster_pid(place()) == pid
    assert both_answer()
    other.communicate("")
    assert both_are_down()


def test_many_starting_at_once_make_one_database(var: Path, holder: Callable[[], subprocess.Popen[str]]) -> None:
    crowd = [holder() for _ in range(4)]
    assert [process.stdout.readline() for process in crowd] == ["held\n"] * 4
    assert ask("SELECT count(*) FROM pg_database WHERE datname = 'proofline'") == 1
    for process in crowd:
        process.communicate("")
    assert both_are_down()


def test_after_a_killed_holder_the_next_one_joins_and_cleans_up(
    var: Path, holder: Callable[[], subprocess.Popen[str]]
) -> None:
    other = holder()
    assert other.stdout.readline() == "held\n"
    other.kill()
    other.wait()
    assert both_answer()
    pid = servers.postmaster_pid(place())
    with embedded.services():
        assert servers.postmaster_pid(place()) == pid
    assert both_are_down()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_holder_that_is_asked_to_end_exits_cleanly(
    var: Path, holder: Callable[[], subprocess.Popen[str]], number: int
) -> None:
    other = holder()
    assert other.stdout.readline() == "held\n"
    other.send_signal(number)
    other.wait(60)
    assert both_are_down()


def test_nothing_starts_where_both_addresses_are_given(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://somewhere/else")
    monkeypatch.setenv("REDIS_URL", "redis://somewhere/0")
    with embedded.services():
        assert embedded.database_url() == "postgres://somewhere/else"
        assert embedded.redis_url() == "redis://somewhere/0"
    assert not var.exists()


def test_a_secret_is_made_once_however_many_ask(var: Path) -> None:
    assert len(set(race_without_errors(*[partial(embedded.ensure_secret, "word")] * 8))) == 1
    assert [path.name for path in (var / "secrets").iterdir()] == ["word"]


def test_lost_passwords_are_explained(var: Path) -> None:
    with embedded.services():
        pass
    shutil.rmtree(var / "secrets")
    with pytest.raises(servers.StartFailed, match="var/secrets"), embedded.services():
        pass


@pytest.fixture
def closed(var: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put var/ into a folder that only root may enter, outside the temporary folder; return the shared home."""
    shared, temporary = var.parent.parent / "shared home", var.parent.parent / "temporary"
    var.parent.mkdir(parents=True)
    var.parent.chmod(0o700)
    temporary.mkdir()
    monkeypatch.setattr(embedded, "SHARED_HOME", shared)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return shared


@pytest.mark.skipif(not AS_ROOT, reason="only root's servers run as another user")
def test_for_root_in_a_closed_folder_the_database_lives_elsewhere_and_persists(var: Path, closed: Path) -> None:
    with embedded.services():
        ask("CREATE TABLE kept AS SELECT 42 AS answer")
        home = place().home
        assert home.parent == closed
        assert place().data.stat().st_uid == place().account.uid != 0
    with embedded.services():
        assert place().home == home
        assert ask("SELECT answer FROM kept") == 42
    assert stat.S_IMODE(var.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(not AS_ROOT, reason="only root's servers run as another user")
def test_programs_in_a_closed_folder_are_copied_with_their_libraries(
    var: Path, closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = var.parent / "site-packages"
    for program in (servers.postgres_programs().parent, servers.redis_program().parent.parent):
        for package in program.parent.glob(f"{program.name}*"):
            if package.name in {program.name, f"{program.name}.libs"}:
                shutil.copytree(package, site / package.name, symlinks=True)
    postgres = site / servers.postgres_programs().relative_to(servers.postgres_programs().parent.parent)
    redis_program = site / servers.redis_program().relative_to(servers.redis_program().parent.parent.parent)
    monkeypatch.setattr(servers, "postgres_programs", lambda: postgres)
    monkeypatch.setattr(servers, "redis_program", lambda: redis_program)
    with embedded.services():
        assert place().postgres.is_relative_to(closed)
        assert place().redis.is_relative_to(closed)
        assert ask("SELECT 1") == 1
        assert client().ping()


@pytest.mark.skipif(not AS_ROOT, reason="only root's servers run as another user")
def test_what_is_temporary_leaves_nothing_in_the_shared_home(
    var: Path, closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    with embedded.services():
        home = place().home
        assert home.parent == Path(tempfile.gettempdir())
        assert not closed.exists()
    shutil.rmtree(home)


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user never changes to another")
def test_an_unknown_database_user_is_named(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROOFLINE_DB_USER", "nobody-of-this-name")
    with pytest.raises(servers.StartFailed, match="nobody-of-this-name"), embedded.services():
        pass


def test_a_command_without_a_database_starts_nothing(var: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "manage.py", "help"], cwd=env.ROOT, capture_output=True, text=True, check=True
    )
    assert "worker" in shown.stdout
    assert not (var / "pg").exists()
