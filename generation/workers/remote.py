"""The remote lane: plans how many jobs each service gets and when it is polled, and has threads make the calls.

One thread plans rounds, a pool of threads submits and polls jobs (service_calls.py) and fetches the images
(retrieval.py), and a few others store the images that came. No thread waits while a service makes an image: open jobs
are in the database, so another worker can continue with them at any moment (services/remote/submissions.py).
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from time import monotonic

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, transaction

from core import crash_points
from core.choices import Lane
from core.services import wake_ups
from generation.engines.base import EngineError
from generation.models import Endpoint
from generation.services.dispatch import claims
from generation.services.endpoints import health
from generation.services.remote import pacing, submissions, throttle
from generation.services.remote.submissions import DueJob
from generation.workers.context import Engines, WorkContext, close_connections, task_errors_logged
from generation.workers.job_contexts import load_contexts
from generation.workers.leases import Leases
from generation.workers.result_writer import ResultWriter
from generation.workers.retrieval import Retrieval
from generation.workers.service_calls import ServiceCalls

log = structlog.get_logger(__name__)

IDLE_SECONDS = 1.0
BUSY_SECONDS = 0.1
"""Pause between rounds while jobs are being submitted; the end of a call starts the next round at once."""
SHORTEST_PAUSE_SECONDS = 0.05
SWITCH_SECONDS = 0.001
"""Longest time that a thread runs before others do, 5 ms by default: a submission that is due needs little time, and
must not wait for all images that are being decoded."""
PROBE_SECONDS = 3.0
"""Interval for checking whether a resting endpoint, for which jobs wait, works again."""
POLLED_AT_ONCE = 200


class SingleRunner:
    """Let one of several threads do the same work, and do it once more for all requests that came meanwhile."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._at_work: set[int] = set()
        self._wanted: set[int] = set()

    def run(self, key: int, work: Callable[[], object]) -> None:
        """Ensure that `work` begins after this call; returns at once if another thread will do it."""
        with self._guard:
            self._wanted.add(key)
            if key in self._at_work:
                return
            self._at_work.add(key)
        try:
            while self._take(key):
                work()
        except BaseException:
            with self._guard:
                self._at_work.discard(key)
            raise

    def _take(self, key: int) -> bool:
        with self._guard:
            is_wanted = key in self._wanted
            self._wanted.discard(key)
            if not is_wanted:
                self._at_work.discard(key)
            return is_wanted


class RemoteLane:
    """One process's share of the lane `cloud`."""

    def __init__(self, name: str, leases: Leases) -> None:
        self.name = name
        self.leases = leases
        self._is_stopping = threading.Event()
        self.result_writer = ResultWriter(name, leases, self._is_stopping)
        self._engines = Engines()
        self._guard = threading.Lock()
        self._busy = 0
        self._threads: int = settings.PROOFLINE["remote_threads"]
        self._pool = ThreadPoolExecutor(self._threads, "remote")
        context = WorkContext(leases)
        self._retrieval = Retrieval(self.result_writer, context)
        self._calls = ServiceCalls(
            self.result_writer, context, self._engines, self._retrieval, spawn=self._spawn, fill=self._fill
        )
        self._asking: set[int] = set()
        self._probe_at: dict[int, float] = {}
        self._seen_away: set[int] = set()
        self._filling = SingleRunner()
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._plan, name="remote lane")

    def start(self) -> None:
        self._usual_switch_seconds = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread.start()

    def wake(self) -> None:
        """Start a round at once, because something was queued or a webhook came."""
        wake_ups.clear_pending(Lane.CLOUD)
        self._awake.set()

    def stop(self) -> None:
        """Start nothing more and wait for the open calls, because their answers may have been paid for."""
        self._is_stopping.set()
        self._awake.set()
        self._thread.join()
        close_connections(self._pool, self._threads)
        self._pool.shutdown(wait=True)
        self._retrieval.stop()
        sys.setswitchinterval(self._usual_switch_seconds)

    def _plan(self) -> None:
        while not self._is_stopping.is_set():
            pause = IDLE_SECONDS
            try:
                pause = self._round()
            except DatabaseError as error:
                log.warning("database.away", error=str(error))
                connection.close()
            except Exception:
                log.exception("remote.round_failed")
            self._is_stopping.wait(SHORTEST_PAUSE_SECONDS)
            self._awake.wait(max(pause - SHORTEST_PAUSE_SECONDS, 0.0))
            self._awake.clear()
        connection.close()

    def _round(self) -> float:
        """Submit to every endpoint what it may get, and poll due jobs; returns the seconds until the next round."""
        pauses, loads = [IDLE_SECONDS], pacing.list_loads()
        hungry = sum(load.has_queued and load.submissions > 0 for load in loads)
        for load in loads:
            if load.is_resting and load.has_queued:
                self._probe(load.endpoint)
            if load.waiting:
                pauses.append(self._ask(load.endpoint))
            if load.has_queued and load.submissions:
                pauses.append(self._claim_for(load.endpoint, most=math.ceil(self._idle_threads() / hungry)))
                hungry -= 1
            elif load.has_queued:
                pauses.append(load.wait_seconds)
        return min(pauses)

    def _probe(self, endpoint: Endpoint) -> None:
        """Check a resting endpoint every PROBE_SECONDS: one that was unreachable and is back gets a job at once. One
        that answers all the time and yet fails its jobs rests for its full time."""
        now = monotonic()
        if now < self._probe_at.get(endpoint.pk, 0.0) or not self._idle_threads():
            return
        self._probe_at[endpoint.pk] = now + PROBE_SECONDS

        def look() -> None:
            if not health.is_healthy(endpoint):
                self._seen_away.add(endpoint.pk)
            elif endpoint.pk in self._seen_away:
                self._seen_away.discard(endpoint.pk)
                pacing.record_recovery(endpoint.pk)
                self._awake.set()

        self._spawn(look)

    def _claim_for(self, endpoint: Endpoint, *, most: int) -> float:
        """Claim as many jobs as the endpoint may get now, at most `most`, and have them submitted. Returns the seconds
        until there may be more to do."""
        rate = throttle.get_allowance(endpoint)
        if rate.submissions == 0:
            return rate.wait_seconds
        with transaction.atomic():
            fresh = pacing.lock_load(endpoint.pk)
            limit = min(fresh.submissions, most)
            if rate.submissions is not None:
                limit = min(limit, rate.submissions - pacing.count_unsent(endpoint.pk))
            claim = claims.NO_CLAIM
            if limit > 0:
                claim = claims.claim(lane=Lane.CLOUD, worker=self.name, limit=limit, endpoint_id=endpoint.pk)
        if claim:
            self.leases.hold(claim)
            crash_points.point("claimed")
            in_use = fresh.in_use + len(claim.jobs)
            contexts_by_job = load_contexts(claim.jobs, engine=endpoint.engine, is_remote=True)
            for job in claim.jobs:
                self._spawn(partial(self._calls.submit, job, claim, endpoint, contexts_by_job[job.id], in_use))
        return BUSY_SECONDS

    def _submit_more(self, endpoint_id: int) -> None:
        """Call `_claim_for` with the endpoint read again, because it may have other limits by now or be disabled."""
        enabled = Endpoint.objects.select_related("status").filter(is_enabled=True)
        if endpoint := enabled.filter(pk=endpoint_id).first():
            self._claim_for(endpoint, most=self._idle_threads(own=1))

    def _ask(self, endpoint: Endpoint) -> float:
        """Have a thread poll the endpoint's due jobs, unless one is doing so."""
        pause = IDLE_SECONDS
        with suppress(EngineError):
            pause = min(pause, self._engines.remote(endpoint).poll_seconds / 2)
        if endpoint.pk in self._asking or not self._idle_threads():
            return pause
        if due := submissions.take_due(endpoint_id=endpoint.pk, limit=POLLED_AT_ONCE):
            self._asking.add(endpoint.pk)
            self._spawn(partial(self._poll, endpoint, due))
        return pause

    def _poll(self, endpoint: Endpoint, due: Sequence[DueJob]) -> None:
        try:
            self._calls.poll_due(endpoint, due)
        finally:
            self._asking.discard(endpoint.pk)

    def _spawn(self, work: Callable[[], None]) -> None:
        """Run the work on a thread of the pool; while stopping, on the calling thread."""
        with self._guard:
            self._busy += 1

        def run() -> None:
            try:
                with task_errors_logged("remote.call_failed"):
                    work()
            finally:
                if self._is_stopping.is_set():
                    connection.close()
                with self._guard:
                    self._busy -= 1
                self._awake.set()

        run() if self._is_stopping.is_set() else self._pool.submit(run)

    def _idle_threads(self, *, own: int = 0) -> int:
        """Return how many calls could begin now; a few threads are reserved for finished images.

        own: 1 if the calling thread itself will be free at once.
        """
        if self._retrieval.is_full:
            return 0
        return max(0, self._threads - self._threads // 4 - self._busy + own)

    def _fill(self, endpoint: Endpoint) -> None:
        """Submit more jobs to a service that has just finished one, before this thread processes the result."""
        if self._is_stopping.is_set():
            return
        try:
            self._filling.run(endpoint.pk, lambda: self._submit_more(endpoint.pk))
        except Exception as error:  # the lane's next round will do it; nothing may prevent the fetching of this image
            log.warning("remote.not_filled", error=str(error))
            connection.close()
