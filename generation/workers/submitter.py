"""Submit one claimed job to its service: write the intent, make the call, and act on the answer or the failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog
from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone

from core import crash_points
from generation.engines import service
from generation.engines.base import EngineError, ErrorKind, RemoteEngine, Spec, Submitted, Task
from generation.models import Endpoint
from generation.services.dispatch import claims
from generation.services.dispatch.claims import Claim, ClaimedJob
from generation.services.endpoints import changes
from generation.services.planning import fingerprints
from generation.services.planning.fingerprints import Maker
from generation.services.remote import pacing, submissions, throttle
from generation.workers.context import Engines, WorkContext
from generation.workers.job_contexts import JobContext
from generation.workers.result_writer import ResultWriter
from generation.workers.retrieval import FIRST_PAUSE_SECONDS, Retrieval, uncertain_if_not_stored

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Submitter:
    """The submitting of jobs, used by every thread of the remote lane.

    fill: submits more jobs to an endpoint whose service has just finished one.
    """

    result_writer: ResultWriter
    context: WorkContext
    engines: Engines
    retrieval: Retrieval
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
            submitted = self._call_service(engine, job, claim, endpoint, maker)
            if submitted is None:
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
                attempt = partial(uncertain_if_not_stored, engine)
                if submitted.is_kept:
                    attempt = partial(self.retrieval.retried_on_failure, engine, job, claim, submitted.remote_id)
                self.retrieval.retrieve(engine, job, claim, job_context, submitted.result, made_by, attempt)

    def _call_service(
        self, engine: RemoteEngine, job: ClaimedJob, claim: Claim, endpoint: Endpoint, maker: Maker
    ) -> Submitted | None:
        """Submit a job after its intent is recorded. None if there is nothing more to do with it here."""
        turn = throttle.wait_for_turn(endpoint)
        if turn is None:
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
            later = partial(submissions.look_up_later, job_id=job.id, token=claim.token)
            self.result_writer.persist(partial(later, seconds=engine.settle_seconds, error=error))
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
