"""End the jobs that a worker holds: store, reuse or fail the image. Each write waits while the database is down."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection

from core import crash_points, stored_files
from core.errors import StorageFailed
from generation.checks import histories
from generation.choices import Outcome
from generation.engines.base import Engine, EngineError, ErrorKind, Result
from generation.models import Endpoint
from generation.services import runs
from generation.services.dispatch import outcomes
from generation.services.dispatch.claims import Claim, ClaimedJob
from generation.services.endpoints import changes
from generation.services.planning import fingerprints
from generation.services.planning.fingerprints import Maker
from generation.workers import product
from generation.workers.job_contexts import JobContext
from generation.workers.leases import Leases

log = structlog.get_logger(__name__)

STORAGE_PAUSE_SECONDS = 2.0
"""Pause before another attempt to store a file."""


@dataclass(frozen=True)
class ResultWriter:
    """Methods that end jobs, used by every thread of a worker process."""

    name: str
    leases: Leases
    is_stopping: threading.Event

    def complete(
        self, job: ClaimedJob, claim: Claim, job_context: JobContext, result: Result, engine: Engine, maker: Maker
    ) -> None:
        """Store the image that `engine` made. maker: its maker at that moment."""
        named = replace(result.wait_for_pixels(), model=result.model or maker.model, revision=maker.revision)
        developed = product.develop_result(job_context, named, put=self._put_for(job))
        made = _with_actual_fingerprint(developed, job, engine, maker)
        crash_points.point("stored")
        try:
            self._end(job, claim, made)
        except outcomes.MasterAlreadyStored as error:
            existing = product.develop_master(replace(job_context, master=error.master), put=self._put_for(job))
            of_version = [finding for finding in made.check_results if finding.check == histories.MADE_BY_ANOTHER]
            kept = replace(
                made,
                master=existing.master,
                renditions=existing.renditions,
                check_results=(*existing.check_results, *of_version),
                details={**made.details, "kept_master": error.master.sha256},
            )
            self._end(job, claim, kept)

    def reuse(self, job: ClaimedJob, claim: Claim, job_context: JobContext) -> None:
        self._end(job, claim, product.develop_master(job_context, put=self._put_for(job)))

    def _put_for(self, job: ClaimedJob) -> product.Put:
        """Return a `stored_files.put` that pauses the run while nothing can be stored, with the image kept in memory.

        It may have been paid for, so it is given up only when PROOFLINE["storage_seconds"] have passed, the worker
        stops or the job is cancelled. Then this raises EngineError of kind STORAGE. Images that wait in memory take the
        worker's places, so it makes no more than it can store.
        """

        def put(data: bytes, **options: Any) -> stored_files.StoredFile:
            give_up_at = time.monotonic() + settings.PROOFLINE["storage_seconds"]
            while True:
                try:
                    return stored_files.put(data, **options)
                except StorageFailed as error:
                    log.warning("storage.failed", job=job.id, error=error.message)
                    self.persist(partial(runs.pause_for_storage, job.run_id, error.message))
                    is_over = time.monotonic() > give_up_at or job.id in self.leases.revoked()
                    if is_over or self.is_stopping.wait(STORAGE_PAUSE_SECONDS):
                        raise EngineError(ErrorKind.STORAGE, error.message) from error

        return put

    def _end(self, job: ClaimedJob, claim: Claim, made: outcomes.StoredResult) -> None:
        self.persist(lambda: outcomes.finish(job=job, token=claim.token, made=made, worker=self.name))
        crash_points.point("finished")
        self.drop(claim, [job])
        if any(check_result.outcome == Outcome.FAIL for check_result in made.check_results):
            self.persist(lambda: runs.pause_if_unhealthy(job.run_id))
        self._finish_run(job)

    def _finish_run(self, job: ClaimedJob) -> None:
        """Finish the job's run if it has no open job; the last job of it that this process holds looks."""
        if not self.leases.holds_any_of(job.run_id):
            self.persist(lambda: runs.finish_if_done(job.run_id))

    def fail(self, job: ClaimedJob, claim: Claim, error: EngineError) -> None:
        try:
            self.persist(lambda: outcomes.fail(job=job, token=claim.token, error=error, worker=self.name))
        finally:
            self.drop(claim, [job])  # if it could not be written, the reaper finds the job
        self._finish_run(job)

    def hold(self, jobs: Sequence[ClaimedJob], claim: Claim, endpoint: Endpoint, now: Maker) -> None:
        """Hold these jobs, which were planned for another maker than `now`, and store none of their images."""
        held_ids: set[int] = set()

        def write() -> None:
            held_ids.update(changes.hold(jobs=jobs, token=claim.token, endpoint=endpoint, now=now, worker=self.name))

        self.persist(write)
        self.drop(claim, [job for job in jobs if job.id in held_ids])
        for job in jobs:
            if job.id not in held_ids:
                self.fail(job, claim, EngineError(ErrorKind.CANCELLED, "Given up before it was started."))

    def persist(self, write: Callable[[], object]) -> None:
        """Do a guarded write; while the database is down, retry as long as the lease could still be ours."""
        give_up_at = time.monotonic() + settings.PROOFLINE["lease_seconds"]
        while True:
            try:
                write()
                return
            except DatabaseError as error:
                connection.close()
                is_outage = isinstance(error, OperationalError | InterfaceError)  # not a fault of the statement
                if time.monotonic() > give_up_at or not is_outage:
                    raise
                log.warning("database.away", error=str(error))
                time.sleep(1)

    @contextlib.contextmanager
    def guarding(self, job: ClaimedJob, claim: Claim) -> Iterator[None]:
        """End the job's attempt with the reason if anything inside the block fails."""
        try:
            yield
        except Exception as error:
            connection.close()
            if not isinstance(error, EngineError):
                log.exception("finish.failed", job=job.id)
                error = EngineError(ErrorKind.TRANSIENT, f"{type(error).__name__}: {error}"[:500])
            self.fail(job, claim, error)

    def drop(self, claim: Claim, jobs: Iterable[ClaimedJob]) -> None:
        """Drop the leases of jobs that this process no longer holds."""
        for job in jobs:
            self.leases.drop(claim.token, job.id)


def _with_actual_fingerprint(
    made: outcomes.StoredResult, job: ClaimedJob, engine: Engine, maker: Maker
) -> outcomes.StoredResult:
    """Return `made` under the fingerprint of its real maker, if a service used another version than was planned.

    It is paid for, so it is stored; reviewers get a finding if the plan named a version. An image that was planned
    before makers were recorded gets its own fingerprint, too.
    """
    planned = Maker.from_json(job.maker)
    if planned == maker:
        return made
    fingerprint = fingerprints.fingerprint_spec(brand_id=job.brand_id, maker=maker, engine=engine, spec=job.spec)
    if planned is None:
        return made if fingerprint == job.fingerprint else replace(made, fingerprint=fingerprint, maker=maker)
    before, after = (compared.revision.partition("+")[0] for compared in (planned, maker))
    made = replace(made, fingerprint=fingerprint, maker=maker)
    if before in ("", after, after.partition("/")[0]):
        return made
    finding = histories.made_by_another(str(planned), str(maker))
    return replace(made, check_results=(*made.check_results, finding))
