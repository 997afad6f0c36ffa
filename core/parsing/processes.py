"""Starts child processes, sends them requests, and kills those that exceed their limits. A few work at a time.

Children are kept for a while, because starting one takes as long as decoding a photo. A request that killed its child
is never repeated.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import structlog

from core.errors import Busy
from core.parsing import messages
from core.parsing.messages import Message


def _(text: str) -> str:
    """Translate a text. Django is imported only now, because feeds are read without it."""
    from django.utils.translation import gettext

    return gettext(text)


MAX_CHILDREN = max(2, min(4, os.cpu_count() or 1))  # at work for one process, and so images that are decoded at once
MOST_WAITING = 2 * MAX_CHILDREN  # callers for a free child; others get Busy, so that web threads stay free
WAIT_SECONDS = 20.0
KEPT_SECONDS = 20.0  # of an idle child
START_SECONDS = 120.0  # to start a child and send the request; long enough for a busy machine
MAX_REQUESTS = 200  # of a child before it is replaced, so that memory leaks do not add up
log = structlog.get_logger(__name__)
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Limits:
    """Limits of one request, without the start of its child. seconds: elapsed time from one answer to the next."""

    memory_bytes: int
    cpu_seconds: int
    seconds: float


class Exceeded(Exception):
    """The child was killed or crashed: the file takes too much memory or time."""


class Broken(Exception):
    """The task raised an unexpected exception; the message is for the log."""


def run_task(
    task: str, arguments: Mapping[str, Any], parts: Sequence[bytes | IO[bytes]] = (), *, limits: Limits,
    is_patient: bool = False,
) -> Message:  # fmt: skip
    """Return a task's only answer. is_patient: wait for a place without limit. Raises Exceeded, Broken, and Busy."""
    with contextlib.closing(_answer_pool.answers(task, arguments, parts, limits, is_patient=is_patient)) as answers:
        received = list(answers)  # up to the end, so that the child can be used again
    if len(received) != 1:
        raise Broken(f"{task} gave {len(received)} answers")
    return received[0]


def stream_task(
    task: str, arguments: Mapping[str, Any], parts: Sequence[bytes | IO[bytes]] = (), *, limits: Limits
) -> Iterator[Message]:
    """Yield the answers of a task; its child is in use until all are read. Raises Exceeded, Broken, and Busy."""
    return _stream_pool.answers(task, arguments, parts, limits)


class _Child:
    """One child process, which serves one caller at a time."""

    def __init__(self) -> None:
        # Our own environment has the address and password of the database, so it is not passed.
        environment = {
            "PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "PYTHONPATH": str(_ROOT),
            # Threads of native libraries would count as memory and time.
            "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.parsing.child"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        self.used_at = time.monotonic()
        self.requests = 0

    @property
    def is_fresh(self) -> bool:
        is_young = time.monotonic() - self.used_at < KEPT_SECONDS
        return is_young and self.requests < MAX_REQUESTS and self._process.poll() is None

    def answers(
        self, task: str, arguments: Mapping[str, Any], parts: Sequence[bytes | IO[bytes]], limits: Limits
    ) -> Iterator[Message]:
        assert self._process.stdin and self._process.stdout
        self.requests += 1
        self._start({"task": task, "arguments": dict(arguments), **vars(limits)}, parts)
        while True:
            with self._killed_after(limits.seconds):
                answer = messages.read(self._process.stdout)
            if answer is None:
                raise Exceeded("it takes too much memory or time")
            if isinstance(answer.value, dict) and "end" in answer.value:
                self.used_at = time.monotonic()
                return
            if isinstance(answer.value, dict) and "broken" in answer.value:
                raise Broken(answer.value["broken"])
            yield answer

    def _start(self, request: Mapping[str, Any], parts: Sequence[bytes | IO[bytes]]) -> None:
        """Send the request and wait until its task begins. Raises Busy if it does not; the file is not the cause."""
        assert self._process.stdin and self._process.stdout
        with self._killed_after(START_SECONDS):
            with contextlib.suppress(BrokenPipeError):
                messages.write(self._process.stdin, request, parts)
            answer = messages.read(self._process.stdout)
        if answer is None or not answer.value["started"]:
            reason = answer.value["reason"] if answer else "the process ended, or took too long to start"
            log.error("parsing.not_started", task=request["task"], reason=reason)
            raise Busy(_("The file could not be opened just now. Try again in a minute."))

    @contextlib.contextmanager
    def _killed_after(self, seconds: float) -> Iterator[None]:
        timer = threading.Timer(seconds, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def end(self) -> None:
        with contextlib.suppress(BrokenPipeError), self._process:  # which closes the pipes and waits
            self._process.kill()


class _Pool:
    """The idle children of this process, and the places for working children."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._places = threading.BoundedSemaphore(MAX_CHILDREN)
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._waiting = 0

    def answers(
        self, task: str, arguments: Mapping[str, Any], parts: Sequence[bytes | IO[bytes]], limits: Limits, *,
        is_patient: bool = False,
    ) -> Generator[Message, None, None]:  # fmt: skip
        """Yield the answers of a free child. It is killed if it fails, or is not read to the end."""
        with self._reserve_place(is_patient=is_patient):
            child = self._take_child()
            try:
                yield from child.answers(task, arguments, parts, limits)
            except BaseException:
                child.end()
                raise
            with self._lock:
                self._idle.append(child)

    @contextlib.contextmanager
    def _reserve_place(self, *, is_patient: bool) -> Iterator[None]:
        """Hold one of the places. Raises Busy if too many wait for one, or this wait takes too long."""
        places = self._places  # a forked process has others
        if not places.acquire(blocking=is_patient):
            self._wait()
        try:
            yield
        finally:
            places.release()

    def _wait(self) -> None:
        with self._lock:
            if self._waiting >= MOST_WAITING:
                raise Busy(_("Too many files are being opened just now. Try again in a few seconds."))
            self._waiting += 1
        try:
            if not self._places.acquire(timeout=WAIT_SECONDS):
                raise Busy(_("Other files take long to open just now. Try again in a minute."))
        finally:
            with self._lock:
                self._waiting -= 1

    def _take_child(self) -> _Child:
        with self._lock:
            fresh = [child for child in self._idle if child.is_fresh]
            old = [child for child in self._idle if child not in fresh]
            child = fresh.pop() if fresh else None
            self._idle = fresh
        for expired in old:
            expired.end()
        return child or _Child()

    def end_idle(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop().end()


_answer_pool, _stream_pool = _Pool(), _Pool()
for _pool in (_answer_pool, _stream_pool):
    # A forked process forgets the children, which the parent process continues to use.
    os.register_at_fork(after_in_child=_pool.reset)
    atexit.register(_pool.end_idle)
