"""Starts child processes, sends them requests, and kills those that exceed their limits. A few work at a time.

Children are kept for a while, because starting one takes as long as decoding a photo, or longer on a busy machine. A
child that was killed, or has done much work, is replaced before the next request needs it. A request that killed its
child is never repeated.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import structlog

from core.errors import Busy
from core.parsing import messages
from core.parsing.messages import Broken, Exceeded, Limits, Message


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
RENEWED_AT = MAX_REQUESTS - 20  # at this request the next child is started, which takes the time of several requests
log = structlog.get_logger(__name__)
_ROOT = Path(__file__).resolve().parents[2]


def run_task(
    task: str, arguments: Mapping[str, Any], parts: Sequence[bytes | IO[bytes]], limits: Limits, *,
    is_patient: bool, deadline: float | None,
) -> Message:  # fmt: skip
    """See core.parsing.run_task."""
    answers = answer_pool.answers(task, arguments, parts, limits, is_patient=is_patient, deadline=deadline)
    with contextlib.closing(answers):
        received = list(answers)  # up to the end, so that the child can be used again
    if len(received) != 1:
        raise Broken(f"{task} gave {len(received)} answers")
    return received[0]


class _StillStarting(Exception):
    """The child is not ready yet; a later request can use it."""


class _Child:
    """One child process, which serves one caller at a time. It starts by importing `module`; nobody waits for it."""

    def __init__(self, module: str) -> None:
        # Our own environment has the address and password of the database, so it is not passed.
        environment = {
            "PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "PYTHONPATH": str(_ROOT),
            # Threads of native libraries would count as memory and time.
            "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.parsing.child", module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        self.used_at = time.monotonic()
        self.requests = 0
        self._is_ready = False

    @property
    def is_fresh(self) -> bool:
        kept_seconds = KEPT_SECONDS if self._wait_until_ready(0) else START_SECONDS
        is_young = time.monotonic() - self.used_at < kept_seconds
        return is_young and self.requests < MAX_REQUESTS and self._process.poll() is None

    def answers(
        self, task: str, arguments: Mapping[str, Any], parts: Sequence[bytes | IO[bytes]], limits: Limits,
        deadline: float | None,
    ) -> Iterator[Message]:  # fmt: skip
        assert self._process.stdin and self._process.stdout
        if not self._wait_until_ready(_seconds_left(deadline, START_SECONDS)):
            raise _StillStarting
        self.requests += 1
        self._start({"task": task, "arguments": dict(arguments), **vars(limits)}, parts, deadline)
        while True:
            with self._killed_after(_seconds_left(deadline, limits.seconds)):
                answer = messages.read(self._process.stdout)
            if answer is None:
                raise Exceeded("it takes too much memory or time")
            if isinstance(answer.value, dict) and "end" in answer.value:
                self.used_at = time.monotonic()
                return
            if isinstance(answer.value, dict) and "broken" in answer.value:
                log.warning("parsing.broken", task=task, work=arguments.get("work", ""), error=answer.value["broken"])
                raise Broken(answer.value["broken"])
            yield answer

    def _wait_until_ready(self, seconds: float) -> bool:
        """Return whether the child has imported its module by then, or has ended, which `_start` reports."""
        assert self._process.stdout
        if not self._is_ready and select.select([self._process.stdout], [], [], seconds)[0]:
            messages.read(self._process.stdout)
            self._is_ready, self.used_at = True, time.monotonic()
        return self._is_ready

    def _start(self, request: Mapping[str, Any], parts: Sequence[bytes | IO[bytes]], deadline: float | None) -> None:
        """Send the request and wait until its task begins. Raises Busy if it does not; the file is not the cause."""
        assert self._process.stdin and self._process.stdout
        with self._killed_after(_seconds_left(deadline, START_SECONDS)):
            with contextlib.suppress(BrokenPipeError):
                messages.write(self._process.stdin, request, parts)
            answer = messages.read(self._process.stdout)
        if answer is None or not answer.value["started"]:
            reason = answer.value["reason"] if answer else "the process ended, or took too long to start"
            log.error("parsing.not_started", task=request["task"], reason=reason)
            raise _not_opened()

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


def _seconds_left(deadline: float | None, most: float) -> float:
    return most if deadline is None else max(0.0, min(most, deadline - time.monotonic()))


def _not_opened() -> Busy:
    return Busy(_("The file could not be opened just now. Try again in a few seconds."))


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
        is_patient: bool = False, deadline: float | None = None,
    ) -> Generator[Message, None, None]:  # fmt: skip
        """Yield the answers of a free child. It is killed if it fails, or is not read to the end."""
        with self._reserve_place(is_patient=is_patient, deadline=deadline):
            child = self._take_child(task)
            try:
                yield from child.answers(task, arguments, parts, limits, deadline)
            except _StillStarting:
                self._keep(child)
                log.warning("parsing.still_starting", task=task)
                raise _not_opened() from None
            except BaseException as error:
                child.end()
                if isinstance(error, Exceeded | Broken):
                    self.prepare(task)
                raise
            self._keep(child)
            if child.requests >= RENEWED_AT:
                self.prepare(task)

    def prepare(self, task: str) -> None:
        """Start a child in the background, unless an idle one is there that lasts for a while."""
        with self._lock:
            if any(child.is_fresh and child.requests < RENEWED_AT for child in self._idle):
                return
            self._idle.insert(0, _Child(_module(task)))  # the last one is taken first

    def _keep(self, child: _Child) -> None:
        with self._lock:
            self._idle.append(child)

    @contextlib.contextmanager
    def _reserve_place(self, *, is_patient: bool, deadline: float | None) -> Iterator[None]:
        """Hold one of the places. Raises Busy if too many wait for one, or this wait takes too long."""
        places = self._places  # a forked process has others
        if not places.acquire(blocking=is_patient):
            self._wait(_seconds_left(deadline, WAIT_SECONDS))
        try:
            yield
        finally:
            places.release()

    def _wait(self, seconds: float) -> None:
        with self._lock:
            if self._waiting >= MOST_WAITING:
                raise Busy(_("Too many files are being opened just now. Try again in a few seconds."))
            self._waiting += 1
        try:
            if not self._places.acquire(timeout=seconds):
                raise Busy(_("Other files take long to open just now. Try again in a minute."))
        finally:
            with self._lock:
                self._waiting -= 1

    def _take_child(self, task: str) -> _Child:
        with self._lock:
            fresh = [child for child in self._idle if child.is_fresh]
            old = [child for child in self._idle if child not in fresh]
            child = fresh.pop() if fresh else None
            self._idle = fresh
        for expired in old:
            expired.end()
        return child or _Child(_module(task))

    def end_idle(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop().end()


def _module(task: str) -> str:
    return task.partition(":")[0]


answer_pool, stream_pool = _Pool(), _Pool()
for _pool in (answer_pool, stream_pool):
    # A forked process forgets the children, which the parent process continues to use.
    os.register_at_fork(after_in_child=_pool.reset)
    atexit.register(_pool.end_idle)
