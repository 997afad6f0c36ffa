"""Fetch the images that services have finished, and store them on a few threads, while other threads submit jobs.

A finished image is paid for. If the service keeps it, a failed attempt is repeated later. If the service cannot be
asked again, the job is held as an uncertain submission. It is never simply submitted once more.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from time import monotonic, sleep

import structlog
from django.db import connection

from core import crash_points
from generation.engines.base import EngineError, ErrorKind, RemoteEngine, Result
from generation.services.dispatch.claims import Claim, ClaimedJob
from generation.services.planning.fingerprints import Maker
from generation.services.remote import submissions
from generation.workers.context import WorkContext, close_connections, task_errors_logged
from generation.workers.job_contexts import JobContext
from generation.workers.result_writer import ResultWriter

log = structlog.get_logger(__name__)

MAX_ATTEMPTS, FIRST_PAUSE_SECONDS = 8, 2.0
"""Attempts to fetch a finished image before it is given up, and half the pause after the first failure; each further
pause is twice as long."""
ENDPOINT_PAUSE_SECONDS = 10.0
"""Interval for fetching an image again if the endpoint does not allow its host yet."""
RESUBMITTED_KINDS = frozenset({ErrorKind.TRANSIENT, ErrorKind.RATE, ErrorKind.LOST})
"""Failures after which a job is submitted again; never after it is paid for at a service that cannot look it up."""


THREADS = 4
"""More threads are not faster, and a submission that is due would wait for all of them for the interpreter lock."""
GRACE_SECONDS = 0.1
"""The least time that an image waits: the service has free places for more jobs, and these are filled first."""
MAX_QUEUED_BYTES = 256 * 1024 * 1024
"""Bytes of pixels that may wait here before submission stops: about 85 images of 1024 by 1024."""


class Retrieval:
    """The fetching and storing of images, used by every thread of the remote lane.

    An image that waits to be stored holds no thread and no connection, only its pixels.
    """

    def __init__(self, result_writer: ResultWriter, context: WorkContext) -> None:
        self._endings = result_writer
        self._context = context
        self._failures: Counter[int] = Counter()
        self._pool = ThreadPoolExecutor(THREADS, "finish")
        self._guard = threading.Lock()
        self._queued_bytes = 0

    @property
    def is_full(self) -> bool:
        """Return whether so many images wait to be stored that nothing more should be submitted."""
        return self._queued_bytes >= MAX_QUEUED_BYTES

    def stop(self) -> None:
        close_connections(self._pool, THREADS)
        self._pool.shutdown(wait=True)

    def retrieve(
        self,
        engine: RemoteEngine,
        job: ClaimedJob,
        claim: Claim,
        job_context: JobContext,
        result: Result,
        maker: Maker,
        remote_id: str | None,
    ) -> None:
        """Fetch the image and have it stored. remote_id: None if the service does not keep the image."""

        def attempt() -> AbstractContextManager[None]:
            if remote_id is None:
                return uncertain_if_not_stored(engine)
            return self._retried_later(engine, job, claim, remote_id)

        arrived: Result | None = None
        with attempt():
            arrived = result if result.pixels is not None else engine.fetch(result, self._context)
            crash_points.point("generated")
        if arrived is None:
            return
        fetched = replace(arrived, task_id=job.id)

        def finish() -> None:
            with self._endings.guarding(job, claim), attempt():
                self._endings.complete(job, claim, job_context, fetched, engine, maker)
                self._failures.pop(job.id, None)

        self._store_later(fetched, finish)

    def _store_later(self, image: Result, work: Callable[[], None]) -> None:
        """Queue `work`, which stores `image` and handles its own errors."""
        size = 0 if image.pixels is None else image.pixels.nbytes
        self._count_bytes(size)
        due_at = monotonic() + GRACE_SECONDS

        def run() -> None:
            try:
                sleep(max(0.0, due_at - monotonic()))
                with task_errors_logged("remote.finish_failed"):
                    work()
            finally:
                self._count_bytes(-size)

        self._pool.submit(run)

    def _count_bytes(self, size: int) -> None:
        with self._guard:
            self._queued_bytes += size

    @contextlib.contextmanager
    def _retried_later(self, engine: RemoteEngine, job: ClaimedJob, claim: Claim, remote_id: str) -> Iterator[None]:
        """Repeat a failed attempt later: the service keeps the image, and a new submission would be paid again."""
        try:
            yield
        except Exception as error:
            connection.close()
            if not self._count_failure(job, error):
                if not isinstance(error, EngineError):
                    raise
                error.is_unsent = False  # it was sent, and made
                if engine.can_find_submissions or error.kind not in RESUBMITTED_KINDS:
                    raise
                message = f"{error.message} The image is paid for."
                raise EngineError(ErrorKind.UNCERTAIN, message, log=error.log) from error
            log.warning("remote.not_retrieved", job=job.id, error=str(error))
            problem = error if isinstance(error, EngineError) else None
            pause = FIRST_PAUSE_SECONDS * 2 ** self._failures[job.id]
            if problem is not None and problem.kind == ErrorKind.ENDPOINT:
                pause = ENDPOINT_PAUSE_SECONDS
            self.record_submission(job, claim, remote_id, pause=pause, problem=problem)

    def record_submission(
        self, job: ClaimedJob, claim: Claim, remote_id: str, *, pause: float, problem: EngineError | None = None
    ) -> None:
        """Let the job wait, and poll it after `pause` seconds. problem: why its image could not be fetched."""
        record = partial(submissions.record_submission, job_id=job.id, token=claim.token, remote_id=remote_id)
        self._endings.persist(partial(record, poll_seconds=pause, problem=problem))
        crash_points.point("entrusted")
        self._endings.drop(claim, [job])

    def _count_failure(self, job: ClaimedJob, error: Exception) -> bool:
        """Count the failure, unless it passes by itself; return True if the image may be fetched again."""
        if isinstance(error, EngineError) and error.kind in {ErrorKind.STORAGE, ErrorKind.ENDPOINT}:
            return True  # the service keeps it longer than a disk stays full, or an operator needs to allow its host
        self._failures[job.id] += 1
        may_help = not isinstance(error, EngineError) or error.kind in {ErrorKind.TRANSIENT, ErrorKind.RATE}
        if may_help and self._failures[job.id] < MAX_ATTEMPTS:
            return True
        del self._failures[job.id]
        return False


@contextlib.contextmanager
def uncertain_if_not_stored(engine: RemoteEngine) -> Iterator[None]:
    """Hold the job as an uncertain submission if an image that came with the answer cannot be stored. It is paid for,
    and the service cannot be asked for it again."""
    try:
        yield
    except Exception as error:
        unpaid = isinstance(error, EngineError) and error.kind not in {ErrorKind.TRANSIENT, ErrorKind.STORAGE}
        if engine.can_find_submissions or unpaid:
            raise
        log.exception("remote.not_kept")
        message = f"The image was made and could not be kept ({type(error).__name__}: {error}). It is paid for."
        raise EngineError(ErrorKind.UNCERTAIN, message[:500]) from error
