"""The calls to services: submit jobs, look up uncertain submissions, poll and cancel open jobs, have images fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog
from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone

from core import crash_points
from generation.engines import service
from generation.engines.base import EngineError, ErrorKind, Pending, RemoteEngine, Result, Spec, Submitted, Task
from generation.models import Endpoint, JobSpec
from generation.services.dispatch import claims
from generation.services.dispatch.claims import Claim, ClaimedJob
from generation.services.endpoints import changes
from generation.services.planning import fingerprints
from generation.services.planning.fingerprints import Maker
from generation.services.remote import pacing, submissions, throttle
from generation.services.remote.submissions import DueJob
from generation.workers.context import Engines, WorkContext
from generation.workers.job_contexts import JobContext, load_contexts
from generation.workers.result_writer import ResultWriter
from generation.workers.retrieval import FIRST_PAUSE_SECONDS, Retrieval, uncertain_if_not_stored

log = structlog.get_logger(__name__)

ASK_AGAIN_SECONDS = 10.0
"""Pause before jobs are polled again that could not be polled."""


@dataclass(frozen=True)
class ServiceCalls:
    """The calls to services, used by every thread of the remote lane.

    spawn: runs work on another thread of the lane. fill: submits more jobs to an endpoint whose service has just
    finished one.
    """

    result_writer: ResultWriter
    context: WorkContext
    engines: Engines
    retrieval: Retrieval
    spawn: Callable[[Callable[[], None]], None]
    fill: Callable[[Endpoint], None]

    def submit(self, job: ClaimedJob, claim: Claim, endpoint: Endpoint, job_context: JobContext, in_use: int) -> None:
        """Submit a job, or reuse its image if it exists, or hold the job if its endpoint has changed.

        in_use: how many submissions the service has, including this one.
        """
        with self.result_writer.guarding(job, claim):
            if job_context.master is not None:
                self.result_writer.reuse(job, claim, job_context)
                return
            engine = self.engines.remote(endpoint)
            maker = fingerprints.get_maker(endpoint, engine)
            if changes.is_changed(job, maker):  # or it was planned after this round read the endpoint
                endpoint = Endpoint.objects.get(pk=endpoint.pk)
                engine = self.engines.remote(endpoint)
                maker = fingerprints.get_maker(endpoint, engine)
            if changes.is_changed(job, maker):
                self.result_writer.hold([job], claim, endpoint, maker)
                return
            if (submitted := self._call_service(engine, job, claim, endpoint, maker)) is None:
                return
            if submitted.result is None:
                problem = submitted.problem
                self._record_submission(engine, job, claim, submitted.remote_id, problem)
                self.result_writer.persist(lambda: pacing.record_success(endpoint, in_use=in_use))
                if problem is not None and problem.kind == ErrorKind.ENDPOINT:
                    self.result_writer.persist(lambda: pacing.record_failure(endpoint, problem))
            else:
                with uncertain_if_not_stored(engine):
                    submissions.record_answer(job_id=job.id, token=claim.token)
                    self.result_writer.persist(lambda: pacing.record_success(endpoint, in_use=in_use))
                self.fill(endpoint)
                made_by = fingerprints.maker_of_result(maker, maker, submitted.result.model, submitted.result.revision)
                remote_id = submitted.remote_id if submitted.is_kept else None
                self.retrieval.retrieve(engine, job, claim, job_context, submitted.result, made_by, remote_id)

    def _call_service(
        self, engine: RemoteEngine, job: ClaimedJob, claim: Claim, endpoint: Endpoint, maker: Maker
    ) -> Submitted | None:
        """Submit a job after its intent is recorded. None if there is nothing more to do with it here."""
        if (turn := throttle.wait_for_turn(endpoint)) is None:
            self._give_back(job, claim)
            return None
        marker = submissions.record_intent(job_id=job.id, token=claim.token, maker=maker)
        if marker is None:
            raise EngineError(ErrorKind.CANCELLED, "Given up before it was submitted.")
        submitted_at = timezone.now()
        crash_points.point("intended")
        service.send_hook.set(turn)
        try:
            submitted = engine.submit(Task(job.id, Spec.from_json(job.spec)), str(marker), self.context)
        except EngineError as error:
            if turn.is_called_back:
                self._give_back(job, claim)
                return None
            if error.kind in (ErrorKind.RATE, ErrorKind.CHANGED):
                self.result_writer.persist(lambda: submissions.record_refusal(job_id=job.id, token=claim.token))
            if error.kind != ErrorKind.CHANGED:
                failed = partial(pacing.record_failure, endpoint, error, submitted_at=submitted_at)
                self.result_writer.persist(failed)
            if error.kind != ErrorKind.UNCERTAIN or not engine.can_find_submissions:
                raise
            # Without a remote id, the job is looked up when it is due.
            later = partial(submissions.record_submission, job_id=job.id, token=claim.token, remote_id="")
            self.result_writer.persist(partial(later, poll_seconds=engine.settle_seconds, problem=error))
            self.result_writer.drop(claim, [job])
            return None
        finally:
            service.send_hook.set(None)
        crash_points.point("submitted")
        return submitted

    def _give_back(self, job: ClaimedJob, claim: Claim) -> None:
        """Put a job back that was not submitted, because the service has asked for a pause."""
        self.result_writer.persist(lambda: claims.give_back(claim.token, [job.id]))
        self.result_writer.drop(claim, [job])

    def _record_submission(
        self, engine: RemoteEngine, job: ClaimedJob, claim: Claim, remote_id: str, problem: EngineError | None
    ) -> None:
        """Let the job wait for its image. If that cannot be written, the reaper looks it up by its marker."""
        try:
            pause = engine.poll_seconds if problem is None else FIRST_PAUSE_SECONDS
            self.retrieval.record_submission(job, claim, remote_id, pause=pause, problem=problem)
        except DatabaseError:
            log.exception("remote.not_written", job=job.id, remote_id=remote_id)
            connection.close()
            self.result_writer.drop(claim, [job])

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
        if not (claim := self._claim(due_job)):
            return
        job = claim.jobs[0]
        crash_points.point("resumed")
        contexts_by_job = load_contexts(claim.jobs, engine=endpoint.engine, is_remote=True)

        def work() -> None:
            with self.result_writer.guarding(job, claim):
                if result.error is not None:
                    raise result.error
                self.fill(endpoint)
                maker, attributed = _attributed(engine, endpoint, job, result)
                context, remote_id = contexts_by_job[job.id], due_job.remote_id
                self.retrieval.retrieve(engine, job, claim, context, attributed, maker, remote_id)

        self.spawn(work)

    def _claim(self, due_job: DueJob) -> Claim:
        """Claim a waiting job again; the claim is empty if it no longer waits."""
        writer, remote_id = self.result_writer, due_job.remote_id
        claim = submissions.claim_waiting(job_id=due_job.job_id, remote_id=remote_id, worker=writer.name)
        if claim:
            writer.leases.hold(claim)
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
        spec = JobSpec.objects.filter(pk=due_job.job_id).values_list("spec", flat=True).first()
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
