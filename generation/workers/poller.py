"""Poll the open jobs of a service: look up uncertain submissions, cancel jobs, and have finished images fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from core import crash_points
from generation.engines.base import EngineError, ErrorKind, Pending, RemoteEngine, Result, Spec, Task
from generation.models import Endpoint
from generation.services.dispatch.claims import Claim, ClaimedJob
from generation.services.planning import fingerprints
from generation.services.planning.fingerprints import Maker
from generation.services.remote import pacing, submissions
from generation.services.remote.submissions import DueJob
from generation.workers.context import Engines
from generation.workers.job_contexts import load_contexts
from generation.workers.leases import Leases
from generation.workers.result_writer import ResultWriter
from generation.workers.retrieval import Retrieval

log = structlog.get_logger(__name__)

ASK_AGAIN_SECONDS = 10.0
"""Pause before jobs are polled again that could not be polled."""


@dataclass(frozen=True)
class Poller:
    """The polling of jobs that were submitted, used by every thread of the remote lane.

    spawn: runs work on another thread of the lane. fill: submits more jobs to an endpoint whose service has just
    finished one.
    """

    worker_name: str
    result_writer: ResultWriter
    leases: Leases
    engines: Engines
    retrieval: Retrieval
    spawn: Callable[[Callable[[], None]], None]
    fill: Callable[[Endpoint], None]

    def poll_due(self, endpoint: Endpoint, due: Sequence[DueJob]) -> None:
        """Cancel, look up or poll each due job. If the service cannot be asked, they are polled again later."""
        try:
            engine = self.engines.remote(endpoint)
            self._cancel(engine, [due_job for due_job in due if due_job.is_cancel_requested])
            to_ask = [due_job for due_job in due if not due_job.is_cancel_requested]
            for due_job in to_ask:
                if not due_job.remote_id:
                    self._look_up(engine, endpoint, due_job)
            self._poll(engine, endpoint, {due_job.remote_id: due_job for due_job in to_ask if due_job.remote_id})
        except EngineError as error:
            pacing.record_failure(endpoint, error)
            submissions.poll_again({due_job.job_id: Pending() for due_job in due}, seconds=ASK_AGAIN_SECONDS)

    def _poll(self, engine: RemoteEngine, endpoint: Endpoint, due: Mapping[str, DueJob]) -> None:
        if not due:
            return
        answers = engine.poll(list(due))
        crash_points.point("polled")
        pending = {due[key].job_id: answer for key, answer in answers.items() if isinstance(answer, Pending)}
        submissions.poll_again(pending, seconds=engine.poll_seconds)
        unasked = {due_job.job_id: Pending() for key, due_job in due.items() if key not in answers}
        submissions.poll_again(unasked, seconds=ASK_AGAIN_SECONDS)
        for key, answer in answers.items():
            if isinstance(answer, Result):
                self._end(engine, endpoint, due[key], answer)

    def _end(self, engine: RemoteEngine, endpoint: Endpoint, due_job: DueJob, result: Result) -> None:
        """Claim the job again and have its image fetched and stored."""
        claim = self._claim(due_job)
        if not claim:
            return
        job = claim.jobs[0]
        crash_points.point("resumed")
        contexts_by_job = load_contexts(claim.jobs, engine=endpoint.engine, is_remote=True)

        def work() -> None:
            with self.result_writer.guarding(job, claim):
                if result.error is not None:
                    raise result.error
                self.fill(endpoint)
                attempt = partial(self.retrieval.retried_on_failure, engine, job, claim, due_job.remote_id)
                maker, attributed = _attributed(engine, endpoint, job, result)
                self.retrieval.retrieve(engine, job, claim, contexts_by_job[job.id], attributed, maker, attempt)

        self.spawn(work)

    def _claim(self, due_job: DueJob) -> Claim:
        """Claim a waiting job again; the claim is empty if it no longer waits."""
        claim = submissions.claim_waiting(job_id=due_job.job_id, remote_id=due_job.remote_id, worker=self.worker_name)
        if claim:
            self.leases.hold(claim)
        return claim

    def _cancel(self, engine: RemoteEngine, due: Sequence[DueJob]) -> None:
        """Cancel the jobs at the service, if possible, and end them here in any case."""
        for due_job in due:
            if due_job.remote_id:
                try:
                    engine.cancel(due_job.remote_id)
                except EngineError as error:
                    log.warning("remote.not_cancelled", job=due_job.job_id, error=error.message)
            claim = self._claim(due_job)
            for job in claim.jobs:
                self.result_writer.fail(job, claim, EngineError(ErrorKind.CANCELLED, "Cancelled."))

    def _look_up(self, engine: RemoteEngine, endpoint: Endpoint, due_job: DueJob) -> None:
        """Find out whether the service has a job that was submitted without an answer."""
        spec = submissions.load_specs([due_job.job_id]).get(due_job.job_id)
        if spec is None:
            return
        task = Task(due_job.job_id, Spec.from_json(spec))
        used_remote_ids = submissions.remote_ids_since(endpoint.pk, due_job.submitted_at)
        remote_id = engine.find(task, str(due_job.marker), due_job.submitted_at, used_remote_ids)
        crash_points.point("looked_up")
        if remote_id is not None:
            submissions.record_found(job_id=due_job.job_id, remote_id=remote_id)
        else:
            submissions.requeue_unsubmitted(job_id=due_job.job_id)
        log.info("remote.looked_up", job=due_job.job_id, found=remote_id is not None)


def _attributed(engine: RemoteEngine, endpoint: Endpoint, job: ClaimedJob, result: Result) -> tuple[Maker, Result]:
    """Return the maker of a result that a job has waited for, and the result itself. If the endpoint's settings have
    changed since the submission, model and seed are set to those of the submission."""
    now = fingerprints.get_maker(endpoint, engine)
    submitted = submissions.get_submitted_maker(job.id) or Maker.from_json(job.maker) or now
    maker = fingerprints.maker_of_result(submitted, now, result.model, result.revision)
    if submitted != now:
        result = replace(result, model=maker.model, seed=job.spec["seed"])
    return maker, result
