"""How a worker ends what it holds: a picture kept, reused, or failed; each write waits out a database that is away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection

from campaigns import faults
from generation.choices import Outcome
from generation.engines.base import EngineError, ErrorKind, Result
from generation.services import outcomes, runs
from generation.services.dispatch import Claim, ClaimedJob
from generation.workers import product
from generation.workers.briefing import Brief
from generation.workers.leases import Leases

log = structlog.get_logger(__name__)


class Endings:
    """Used by every thread of a worker process."""

    def __init__(self, worker_name: str, leases: Leases) -> None:
        self.name = worker_name
        self._leases = leases

    def complete(self, job: ClaimedJob, claim: Claim, brief: Brief, result: Result) -> None:
        made = product.develop_result(brief, result.arrived())
        faults.point("stored")
        self._end(job, claim, made)

    def reuse(self, job: ClaimedJob, claim: Claim, brief: Brief) -> None:
        self._end(job, claim, product.develop_master(brief))

    def _end(self, job: ClaimedJob, claim: Claim, made: outcomes.Made) -> None:
        self.persist(lambda: outcomes.finish(job=job, token=claim.token, made=made, worker=self.name))
        faults.point("finished")
        self.drop(claim, [job])
        if any(verdict.outcome == Outcome.FAIL for verdict in made.verdicts):
            self.persist(lambda: runs.pause_if_unhealthy(job.run_id))
        self.persist(lambda: runs.finish_if_done(job.run_id))

    def fail(self, job: ClaimedJob, claim: Claim, error: EngineError) -> None:
        try:
            self.persist(lambda: outcomes.fail(job=job, token=claim.token, error=error, worker=self.name))
        finally:
            self.drop(claim, [job])  # what could not be written is found by the reaper
        self.persist(lambda: runs.finish_if_done(job.run_id))

    def persist(self, write: Callable[[], object]) -> None:
        """Do a guarded write, waiting out a database that is away for as long as the lease could still be ours."""
        give_up_at = time.monotonic() + settings.PROOFLINE["lease_seconds"]
        while True:
            try:
                write()
                return
            except DatabaseError as error:
                connection.close()
                if time.monotonic() > give_up_at or not _is_outage(error):
                    raise
                log.warning("database.away", error=str(error))
                time.sleep(1)

    @contextlib.contextmanager
    def guarding(self, job: ClaimedJob, claim: Claim) -> Iterator[None]:
        """Whatever goes wrong inside ends the job's attempt, with the reason."""
        try:
            yield
        except Exception as error:
            connection.close()
            if isinstance(error, EngineError):
                self.fail(job, claim, error)
                return
            log.exception("finish.failed", job=job.id)
            message = f"{type(error).__name__}: {error}"[:500]
            self.fail(job, claim, EngineError(ErrorKind.TRANSIENT, message))

    def drop(self, claim: Claim, jobs: Iterable[ClaimedJob]) -> None:
        """These are no longer held by this process."""
        for job in jobs:
            self._leases.drop(claim.token, job.id)


def _is_outage(error: DatabaseError) -> bool:
    """True if the connection failed, not the statement."""
    return isinstance(error, OperationalError | InterfaceError)
