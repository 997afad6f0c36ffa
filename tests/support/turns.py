"""Threads that take turns before each database statement, so that an interleaving of transactions can be repeated.

Each player is a thread with a database connection of its own. It stops before every statement until it gets a turn, so
only one of them runs at a time, and a list of turns is one interleaving. A player whose statement waits for a lock, as
PostgreSQL says, gets no turn until another one has released the lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from django.db import connection, connections

Turn = tuple[int, int]
"""(number of the player, how many statements it may run)"""

MAX_SECONDS = 60.0
_LOOK_SECONDS = 0.004  # a statement that takes longer may be waiting for a lock


class Player(threading.Thread):
    """A thread that runs one program after the other, a statement at a time. error: what ended the last program."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.is_busy = False
        self.is_waiting = False
        self.error: BaseException | None = None
        self.backend = 0
        self._programs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._may_go = threading.Semaphore(0)
        self._has_stopped = threading.Semaphore(0)

    def begin(self, program: Callable[[], None]) -> None:
        """Take up a program and stop before its first statement."""
        self.is_busy, self.is_waiting, self.error = True, False, None
        self._programs.put(program)
        self._has_stopped.acquire()

    def go(self) -> None:
        """Run the next statement, and what follows until the one after it."""
        self._may_go.release()
        self.look()

    def look(self) -> None:
        """Wait until the player has stopped, or waits for a lock."""
        deadline = time.monotonic() + MAX_SECONDS
        while not self._has_stopped.acquire(timeout=_LOOK_SECONDS):
            self.is_waiting = _waits_for_lock(self.backend)
            if self.is_waiting:
                return
            assert time.monotonic() < deadline, f"{self.name} neither stops nor waits for a lock"
        self.is_waiting = False

    def end(self) -> None:
        self._programs.put(None)
        self.join(MAX_SECONDS)

    def run(self) -> None:
        connection.ensure_connection()
        self.backend = connection.connection.info.backend_pid
        try:
            with connection.execute_wrapper(self._execute):
                while program := self._programs.get():
                    self._play(program)
        finally:
            connections.close_all()

    def _play(self, program: Callable[[], None]) -> None:
        self._pause()
        try:
            program()
        except BaseException as error:
            self.error = error
        self.is_busy = False
        self._has_stopped.release()

    def _execute(self, execute: Callable[..., Any], statement: Any, values: Any, many: bool, context: Any) -> Any:
        self._pause()
        return execute(statement, values, many, context)

    def _pause(self) -> None:
        self._has_stopped.release()
        self._may_go.acquire()


@contextmanager
def playing(names: Sequence[str]) -> Iterator[list[Player]]:
    """Yield players with these names, whose connections are closed in the end."""
    players = [Player(name) for name in names]
    for player in players:
        player.start()
    try:
        yield players
    finally:
        for player in players:
            player.end()


def play(players: Sequence[Player], programs: Sequence[Callable[[], None]], turns: Sequence[Turn]) -> None:
    """Run a program per player, interleaved as `turns` says; after the last turn one player after the other ends.

    Transactions that wait for each other are ended by PostgreSQL, and one of them gets its error.
    """
    for player, program in zip(players, programs, strict=True):
        player.begin(program)
    for number, statements in turns:
        for _ in range(statements):
            _give_turn(players[number % len(players)], players)
    while busy := [player for player in players if player.is_busy]:
        ready = [player for player in busy if not player.is_waiting]
        if ready:
            _give_turn(ready[0], players)
        else:
            _look_again(busy)


def _give_turn(player: Player, players: Sequence[Player]) -> None:
    if player.is_busy and not player.is_waiting:
        player.go()
        _look_again(players)


def _look_again(players: Sequence[Player]) -> None:
    """Let those whose lock has been released meanwhile run on until they stop."""
    for player in players:
        if player.is_busy and player.is_waiting:
            player.look()


def _waits_for_lock(backend: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [backend])
        return bool(cursor.fetchone()[0])
