"""The lane worker: claim batches, have the engine make them, and store each image while the next is being made."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, cast

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from core import crash_points, sql
from core.services import wake_ups
from generation.engines.base import EngineError, ErrorKind, LocalEngine, Spec, Task
from generation.models import Endpoint
from generation.services.dispatch import claims
from generation.services.dispatch.claims import Claim, ClaimedJob
from generation.services.endpoints import changes
from generation.services.planning import fingerprints
from generation.workers import context
from generation.workers.job_contexts import JobContext, load_contexts
from generation.workers.leases import Leases
from generation.workers.result_writer import ResultWriter

log = structlog.get_logger(__name__)

FINISHERS = 2
"""Threads that develop and store; they mostly run native code, which releases the interpreter lock."""
NO_RESULT = "The engine ended without a word about this image."
MAX_PENDING_RESULTS = 8
"""The largest number of images in memory between engine and storage: a batch of eight."""
# Written by hand, because a worker reads the endpoint for every batch, and this statement is prepared.
_ENDPOINT = "SELECT * FROM generation_endpoint WHERE id = %s"


@dataclass(frozen=True)
class _Batch:
    """A claimed batch. todo: by id, the jobs that have not ended. pending: the storing of images that goes on."""

    claim: Claim
    endpoint: Endpoint
    contexts_by_job: Mapping[int, JobContext]
    todo: dict[int, ClaimedJob]
    pending: list[Future[None]]


class LaneWorker:
    """One process's share of the lanes it serves. Engines stay loaded between batches; nothing here forks."""

    def __init__(self, name: str, lanes: Iterable[str]) -> None:
        self.name = name
        self.lanes = tuple(lanes)
        self.leases = Leases(name, self.lanes)
        self.is_stopping = threading.Event()
        self.result_writer = ResultWriter(name, self.leases, self.is_stopping)
        self._context = context.WorkContext(self.leases)
        self._engines = context.Engines()
        self._finishers = ThreadPoolExecutor(FINISHERS, "finish")
        self._claimer = ThreadPoolExecutor(1, "claim")
        self._places = threading.BoundedSemaphore(MAX_PENDING_RESULTS)

    def start(self) -> None:
        context.use_one_malloc_arena()
        context.use_one_opencv_thread()
        context.set_torch_environment()
        self.leases.start()
        self._engines.warm_up(self.lanes)

    def stop(self) -> None:
        self.is_stopping.set()
        for pool, threads in ((self._finishers, FINISHERS), (self._claimer, 1)):
            context.close_connections(pool, threads)
            pool.shutdown(wait=True)
        self.leases.stop()

    def drain(self, lane: str) -> bool:
        """Work on `lane` for a time slice; True if work was left when it ended."""
        wake_ups.clear_pending(lane)
        slice_seconds: float = settings.PROOFLINE["slice_seconds"]
        if len(self.lanes) > 1:  # the process's other lanes get their turn soon
            slice_seconds = min(5, slice_seconds)
        until = time.monotonic() + slice_seconds
        pending: list[Future[None]] = []
        ahead: Future[Claim] | None = None
        claim = self._claim(lane, None)
        if claim:
            wake_ups.send(lane)  # a message wakes one worker; each that gets work wakes the next, so all begin at once
        else:
            self._engines.unload_idle()
        try:
            while claim:
                is_last = self.is_stopping.is_set() or time.monotonic() >= until
                sticky = claim.jobs[0].campaign_id
                ahead = None if is_last else self._claimer.submit(self._claim_apart, lane, sticky)
                self._make(claim, pending)
                pending = [future for future in pending if not future.done()]
                claim = ahead.result() if ahead else claims.NO_CLAIM
                ahead = None
        finally:
            self._give_back(ahead)
            wait(pending)
        if self.is_stopping.is_set() or not claims.has_work(lane):
            return False
        wake_ups.send(lane)
        return True

    def _give_back(self, ahead: Future[Claim] | None) -> None:
        """Put back a batch that was claimed ahead and will not be started."""
        try:
            claim = ahead.result() if ahead else None
        except DatabaseError:
            return
        if claim:
            self.result_writer.persist(lambda: claims.give_back(claim.token, [job.id for job in claim.jobs]))
            self.result_writer.drop(claim, claim.jobs)

    def _claim(self, lane: str, sticky: int | None) -> Claim:
        if claim := claims.claim(lane=lane, worker=self.name, sticky_campaign=sticky):
            self.leases.hold(claim)
            crash_points.point("claimed")
        return claim

    def _claim_apart(self, lane: str, sticky: int | None) -> Claim:
        """Call `_claim` on the claimer's thread; a database error ends the slice instead of the worker."""
        try:
            return self._claim(lane, sticky)
        except DatabaseError:
            connection.close()
            raise

    def _make(self, claim: Claim, pending: list[Future[None]]) -> None:
        """End every job of the batch: reused, made, or failed with the reason."""
        todo = {job.id: job for job in claim.jobs}
        try:
            endpoint = sql.instances(Endpoint, _ENDPOINT, [claim.jobs[0].endpoint_id])[0]
            batch = _Batch(claim, endpoint, load_contexts(claim.jobs, engine=endpoint.engine), todo, pending)
            self._end_without_engine(batch)
            if todo:
                self._generate_or_part(batch)
            missing = EngineError(ErrorKind.TRANSIENT, NO_RESULT)
        except EngineError as error:
            missing = error
        except DatabaseError as error:
            log.warning("database.away", error=str(error))
            connection.close()
            missing = EngineError(ErrorKind.TRANSIENT, "The database was away.")
        except Exception as error:
            log.exception("batch.failed")
            missing = context.to_engine_crash(error)
        for job in todo.values():
            self.result_writer.fail(job, claim, missing)

    def _end_without_engine(self, batch: _Batch) -> None:
        """End the jobs whose master the brand already has, and the cancelled ones."""
        unwanted = self.leases.revoked()
        for job in batch.claim.jobs:
            if batch.contexts_by_job[job.id].master is not None:
                self._submit(batch, self.result_writer.reuse, batch.todo.pop(job.id))
            elif job.id in unwanted:
                cancelled = EngineError(ErrorKind.CANCELLED, "Given up before it was started.")
                self.result_writer.fail(batch.todo.pop(job.id), batch.claim, cancelled)

    def _generate_or_part(self, batch: _Batch) -> None:
        """Have the engine make the batch; after a crash one by one, so that one bad input fails no other job."""
        todo = batch.todo
        try:
            self._generate(batch)
            return
        except Exception as error:
            is_crash = isinstance(error, context.EngineCrash)
            is_foreseen = isinstance(error, EngineError | DatabaseError) and not is_crash
            if is_foreseen or len(todo) == 1:
                raise
            log.exception("engine.crashed" if is_crash else "batch.failed", jobs=len(todo))
        for job_id in list(todo):
            alone = {job_id: todo.pop(job_id)}
            with self.result_writer.guarding(alone[job_id], batch.claim):
                self._generate(replace(batch, todo=alone))
                if alone:
                    raise EngineError(ErrorKind.TRANSIENT, NO_RESULT)

    def _generate(self, batch: _Batch) -> None:
        """Have the engine make the batch, and end each job when its result comes."""
        claim, endpoint, todo = batch.claim, batch.endpoint, batch.todo
        engine = self._engines.get(endpoint)
        if engine.capabilities().is_remote:
            problem = "it is a remote service, which belongs on the lane cloud"
            raise EngineError(ErrorKind.INPUT, f"Endpoint {endpoint.slug} cannot be used: {problem}.")
        now = fingerprints.get_maker(endpoint, engine)
        if stale := [job for job in todo.values() if changes.is_changed(job, now)]:
            self.result_writer.hold([todo.pop(job.id) for job in stale], claim, endpoint, now)
        tasks = [Task(job.id, Spec.from_json(job.spec)) for job in todo.values()]
        for result in context.generate_results(cast(LocalEngine, engine), tasks, self._context) if tasks else ():
            job = todo.pop(result.task_id)
            is_told = result.model or result.revision
            then = now if is_told or result.error else fingerprints.get_maker(endpoint, engine)
            maker = replace(then, model=result.model or then.model, revision=result.revision or then.revision)
            if result.error is not None:
                self.result_writer.fail(job, claim, result.error)
            elif changes.is_changed(job, maker):  # while the batch was made
                self.result_writer.hold([job], claim, endpoint, maker)
            else:
                crash_points.point("generated")
                self._submit(batch, self.result_writer.complete, job, result, engine, maker)

    def _submit(self, batch: _Batch, work: Any, job: ClaimedJob, *args: Any) -> None:
        self._places.acquire()

        def run() -> None:
            try:
                with self.result_writer.guarding(job, batch.claim):
                    work(job, batch.claim, batch.contexts_by_job[job.id], *args)
            finally:
                self._places.release()

        batch.pending.append(self._finishers.submit(run))
