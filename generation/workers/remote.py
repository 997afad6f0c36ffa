"""The remote lane: submits jobs to services, polls them, and has the images fetched (retrieval.py).

One thread plans rounds, a pool of threads makes the calls, and a few others store the images that came. No thread waits
while a service makes an image: open jobs are in the database, so another worker can continue with them at any moment
(services/remote/submissions.py).
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import cast

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.utils import timezone

from core import crash_points
from core.choices import Lane
from core.services import nudges
from generation.engines import service
from generation.engines.base import EngineError, ErrorKind, Pending, RemoteEngine, Result, Spec, Submitted, Task
from generation.models import Endpoint
from generation.services.dispatch import claims
from generation.services.dispatch.claims import Claim, ClaimedJob
from generation.services.endpoints import changes, health
from generation.services.planning import fingerprints
from generation.services.planning.fingerprints import Maker
from generation.services.remote import pacing, submissions, throttle
from generation.services.remote.submissions import Due
from generation.workers.context import Engines, WorkContext, disconnect, reported
from generation.workers.job_contexts import JobContext, load_contexts
from generation.workers.leases import Leases
from generation.workers.one_at_a_time import OneAtATime
from generation.workers.result_writer import ResultWriter
from generation.workers.retrieval import FIRST_PAUSE_SECONDS, Retrieval, kept_or_uncertain

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
ASK_AGAIN_SECONDS = 10.0
"""Pause before jobs are polled again that could not be polled."""


class RemoteLane:
    """One process's share of the lane `cloud`."""

    def __init__(self, name: str, leases: Leases) -> None:
        self.name = name
        self.leases = leases
        self._is_stopping = threading.Event()
        self.result_writer = ResultWriter(name, leases, self._is_stopping)
        self._context = WorkContext(leases)
        self._engines = Engines()
        self._guard = threading.Lock()
        self._busy = 0
        self._threads: int = settings.PROOFLINE["remote_threads"]
        self._pool = ThreadPoolExecutor(self._threads, "remote")
        self._retrieval = Retrieval(self.result_writer, self._context)
        self._asking: set[int] = set()
        self._probe_at: dict[int, float] = {}
        self._seen_away: set[int] = set()
        self._filling = OneAtATime()
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._plan, name="remote lane")

    def start(self) -> None:
        self._usual_switch_seconds = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread.start()

    def wake(self) -> None:
        """Start a round at once, because something was queued or a webhook came."""
        nudges.taken(Lane.CLOUD)
        self._awake.set()

    def stop(self) -> None:
        """Start nothing more and wait for the open calls, because their answers may have been paid for."""
        self._is_stopping.set()
        self._awake.set()
        self._thread.join()
        disconnect(self._pool, self._threads)
        self._pool.shutdown(wait=True)
        self._retrieval.stop()
        sys.setswitchinterval(self._usual_switch_seconds)

    # -- rounds ----------------------------------------------------------------------------------------------------

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
        pauses, loads = [IDLE_SECONDS], pacing.loads()
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
        """Check a resting endpoint every PROBE_SECONDS: one that was unreachable and is back gets a job at once.

        One that answers all the time and yet fails its jobs rests for its full time.
        """
        now = monotonic()
        if now < self._probe_at.get(endpoint.pk, 0.0) or not self._idle_threads():
            return
        self._probe_at[endpoint.pk] = now + PROBE_SECONDS

        def look() -> None:
            if not health.is_well(endpoint):
                self._seen_away.add(endpoint.pk)
            elif endpoint.pk in self._seen_away:
                self._seen_away.discard(endpoint.pk)
                pacing.answers_again(endpoint.pk)
                self._awake.set()

        self._spawn(look)

    def _claim_for(self, endpoint: Endpoint, *, most: int) -> float:
        """Claim as many jobs as the endpoint may get now, at most `most`, and have them submitted.

        Returns the seconds until there may be more to do.
        """
        rate = throttle.room(endpoint)
        if rate.submissions == 0:
            return rate.wait_seconds
        with transaction.atomic():
            fresh = pacing.room(endpoint.pk)
            limit = min(fresh.submissions, most)
            if rate.submissions is not None:
                limit = min(limit, rate.submissions - pacing.unsent(endpoint.pk))
            claim = Claim.none()
            if limit > 0:
                claim = claims.claim(lane=Lane.CLOUD, worker=self.name, limit=limit, endpoint_id=endpoint.pk)
        if claim:
            self.leases.hold(claim.token, [job.id for job in claim.jobs])
            crash_points.point("claimed")
            self._begin(claim, endpoint, fresh.in_use + len(claim.jobs))
        return BUSY_SECONDS

    def _submit_more(self, endpoint_id: int) -> None:
        """Call `_claim_for` with the endpoint read again, because it may have other limits by now or be disabled."""
        endpoint = pacing.current(endpoint_id)
        if endpoint is not None:
            self._claim_for(endpoint, most=self._idle_threads(own=1))

    def _begin(self, claim: Claim, endpoint: Endpoint, in_use: int) -> None:
        contexts_by_job = load_contexts(claim.jobs, engine=endpoint.engine, is_remote=True)
        for job in claim.jobs:
            self._spawn(lambda job=job: self._submit(job, claim, endpoint, contexts_by_job[job.id], in_use))  # type: ignore[misc]

    def _ask(self, endpoint: Endpoint) -> float:
        """Have a thread poll the endpoint's due jobs, unless one is doing so."""
        pause = self._poll_pause(endpoint)
        if endpoint.pk in self._asking or not self._idle_threads():
            return pause
        due = submissions.take_due(endpoint_id=endpoint.pk, limit=POLLED_AT_ONCE)
        if due:
            self._asking.add(endpoint.pk)
            self._spawn(lambda: self._look_at(endpoint, due))
        return pause

    def _poll_pause(self, endpoint: Endpoint) -> float:
        try:
            return min(IDLE_SECONDS, self._engine(endpoint).poll_seconds / 2)
        except EngineError:
            return IDLE_SECONDS

    def _spawn(self, work: Callable[[], None]) -> None:
        """Run the work on a thread of the pool; while stopping, on the calling thread."""
        with self._guard:
            self._busy += 1

        def run() -> None:
            try:
                with reported("remote.call_failed"):
                    work()
            finally:
                if self._is_stopping.is_set():
                    connection.close()
                with self._guard:
                    self._busy -= 1
                self._awake.set()

        if self._is_stopping.is_set():
            run()
        else:
            self._pool.submit(run)

    def _idle_threads(self, *, own: int = 0) -> int:
        """Return how many calls could begin now; a few threads are reserved for finished images.

        own: 1 if the calling thread itself will be free at once.
        """
        if self._retrieval.is_full:
            return 0
        return max(0, self._threads - self._threads // 4 - self._busy + own)

    def _engine(self, endpoint: Endpoint) -> RemoteEngine:
        engine = self._engines.of(endpoint)
        if not engine.capabilities().is_remote:
            message = f"Endpoint {endpoint.slug} cannot be used: {endpoint.engine} works here, on the lane gpu or cpu."
            raise EngineError(ErrorKind.INPUT, message)
        return cast(RemoteEngine, engine)

    # -- one job on its way there ----------------------------------------------------------------------------------

    def _submit(self, job: ClaimedJob, claim: Claim, endpoint: Endpoint, job_context: JobContext, in_use: int) -> None:
        with self.result_writer.guarding(job, claim):
            if job_context.master is not None:
                self.result_writer.reuse(job, claim, job_context)
                return
            engine = self._engine(endpoint)
            maker = fingerprints.maker(endpoint, engine)
            if changes.is_changed(job, maker):  # or it was planned after this round read the endpoint
                endpoint = Endpoint.objects.get(pk=endpoint.pk)
                engine = self._engine(endpoint)
                maker = fingerprints.maker(endpoint, engine)
            if changes.is_changed(job, maker):
                self.result_writer.hold([job], claim, endpoint, maker)
                return
            submitted = self._call_service(engine, job, claim, endpoint, maker)
            if submitted is None:
                return
            if submitted.result is None:
                problem = submitted.problem
                self._entrust_or_leave(engine, job, claim, submitted.remote_id, problem)
                self.result_writer.persist(lambda: pacing.succeeded(endpoint, in_use=in_use))
                if problem is not None and problem.kind == ErrorKind.ENDPOINT:
                    self.result_writer.persist(lambda: pacing.failed(endpoint, problem))
            else:
                with kept_or_uncertain(engine):
                    submissions.answered(job_id=job.id, token=claim.token)
                    self.result_writer.persist(lambda: pacing.succeeded(endpoint, in_use=in_use))
                self._fill(endpoint)
                made_by = fingerprints.made_by(maker, maker, submitted.result.model, submitted.result.revision)
                attempt = partial(kept_or_uncertain, engine)
                if submitted.is_kept:
                    attempt = partial(self._retrieval.repeated, engine, job, claim, submitted.remote_id)
                self._retrieval.retrieve(engine, job, claim, job_context, submitted.result, made_by, attempt)

    def _fill(self, endpoint: Endpoint) -> None:
        """Submit more jobs to a service that has just finished one, before this thread processes the result."""
        if self._is_stopping.is_set():
            return
        try:
            self._filling.run(endpoint.pk, lambda: self._submit_more(endpoint.pk))
        except Exception as error:  # the lane's next round will do it; nothing may prevent the fetching of this image
            log.warning("remote.not_filled", error=str(error))
            connection.close()

    def _call_service(
        self, engine: RemoteEngine, job: ClaimedJob, claim: Claim, endpoint: Endpoint, maker: Maker
    ) -> Submitted | None:
        """Submit a job after its intent is recorded. None if there is nothing more to do with it here."""
        turn = throttle.wait(endpoint)
        if turn is None:
            self._give_back(job, claim)
            return None
        marker = submissions.record_intent(job_id=job.id, token=claim.token, maker=maker)
        if marker is None:
            raise EngineError(ErrorKind.CANCELLED, "Given up before it was submitted.")
        submitted_at = timezone.now()
        crash_points.point("intended")
        service.departure.set(turn)
        try:
            submitted = engine.submit(Task(job.id, Spec.from_json(job.spec)), str(marker), self._context)
        except EngineError as error:
            if turn.is_called_back:
                self._give_back(job, claim)
                return None
            refusal, settle_seconds = error, engine.settle_seconds
            if error.kind in (ErrorKind.RATE, ErrorKind.CHANGED):
                self.result_writer.persist(lambda: submissions.refused(job_id=job.id, token=claim.token))
            if error.kind != ErrorKind.CHANGED:
                self.result_writer.persist(lambda: pacing.failed(endpoint, refusal, submitted_at=submitted_at))
            if error.kind != ErrorKind.UNCERTAIN or not engine.looks_up:
                raise
            self.result_writer.persist(
                lambda: submissions.look_up_later(
                    job_id=job.id, token=claim.token, seconds=settle_seconds, error=refusal
                )
            )
            self.result_writer.drop(claim, [job])
            return None
        finally:
            service.departure.set(None)
        crash_points.point("submitted")
        return submitted

    def _give_back(self, job: ClaimedJob, claim: Claim) -> None:
        """Put a job back that was not submitted, because the service has asked for a pause."""
        self.result_writer.persist(lambda: claims.give_back(claim.token, [job.id]))
        self.result_writer.drop(claim, [job])

    def _entrust_or_leave(
        self, engine: RemoteEngine, job: ClaimedJob, claim: Claim, remote_id: str, problem: EngineError | None
    ) -> None:
        """Let the job wait for its image. If that cannot be written, the reaper looks it up by its marker."""
        try:
            pause = engine.poll_seconds if problem is None else FIRST_PAUSE_SECONDS
            self._retrieval.record_submission(job, claim, remote_id, pause=pause, problem=problem)
        except DatabaseError:
            log.exception("remote.not_written", job=job.id, remote_id=remote_id)
            connection.close()
            self.result_writer.drop(claim, [job])

    # -- many jobs that are there ----------------------------------------------------------------------------------

    def _look_at(self, endpoint: Endpoint, due: Sequence[Due]) -> None:
        try:
            engine = self._engine(endpoint)
            self._cancel(engine, [due_job for due_job in due if due_job.is_cancel_requested])
            to_ask = [due_job for due_job in due if not due_job.is_cancel_requested]
            for due_job in to_ask:
                if not due_job.remote_id:
                    self._look_up(engine, endpoint, due_job)
            self._poll(engine, endpoint, {due_job.remote_id: due_job for due_job in to_ask if due_job.remote_id})
        except EngineError as error:
            pacing.failed(endpoint, error)
            submissions.poll_again({due_job.job_id: Pending() for due_job in due}, seconds=ASK_AGAIN_SECONDS)
        finally:
            self._asking.discard(endpoint.pk)

    def _poll(self, engine: RemoteEngine, endpoint: Endpoint, due: Mapping[str, Due]) -> None:
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

    def _end(self, engine: RemoteEngine, endpoint: Endpoint, due_job: Due, result: Result) -> None:
        """Claim the job again and have its image fetched and stored."""
        claim = submissions.resume(job_id=due_job.job_id, remote_id=due_job.remote_id, worker=self.name)
        if not claim:
            return
        job = claim.jobs[0]
        self.leases.hold(claim.token, [job.id])
        crash_points.point("resumed")
        contexts_by_job = load_contexts(claim.jobs, engine=endpoint.engine, is_remote=True)

        def work() -> None:
            with self.result_writer.guarding(job, claim):
                if result.error is not None:
                    raise result.error
                self._fill(endpoint)
                attempt = partial(self._retrieval.repeated, engine, job, claim, due_job.remote_id)
                maker, attributed = _attributed(engine, endpoint, job, result)
                self._retrieval.retrieve(engine, job, claim, contexts_by_job[job.id], attributed, maker, attempt)

        self._spawn(work)

    def _cancel(self, engine: RemoteEngine, due: Sequence[Due]) -> None:
        """Cancel the jobs at the service, if possible, and end them here in any case."""
        for due_job in due:
            if due_job.remote_id:
                try:
                    engine.cancel(due_job.remote_id)
                except EngineError as error:
                    log.warning("remote.not_cancelled", job=due_job.job_id, error=error.message)
            claim = submissions.resume(job_id=due_job.job_id, remote_id=due_job.remote_id, worker=self.name)
            for job in claim.jobs:
                self.leases.hold(claim.token, [job.id])
                self.result_writer.fail(job, claim, EngineError(ErrorKind.CANCELLED, "Cancelled."))

    def _look_up(self, engine: RemoteEngine, endpoint: Endpoint, due_job: Due) -> None:
        """Find out whether the service has a job that was submitted without an answer."""
        spec = submissions.specs([due_job.job_id]).get(due_job.job_id)
        if spec is None:
            return
        used_remote_ids = submissions.remote_ids_since(endpoint.pk, due_job.submitted_at)
        remote_id = engine.find(
            Task(due_job.job_id, Spec.from_json(spec)), str(due_job.marker), due_job.submitted_at, used_remote_ids
        )
        crash_points.point("looked_up")
        if remote_id is not None:
            submissions.found(job_id=due_job.job_id, remote_id=remote_id)
        else:
            submissions.never_arrived(job_id=due_job.job_id)
        log.info("remote.looked_up", job=due_job.job_id, found=remote_id is not None)


def _attributed(engine: RemoteEngine, endpoint: Endpoint, job: ClaimedJob, result: Result) -> tuple[Maker, Result]:
    """Return the maker of a result that a job has waited for, and the result itself.

    If the endpoint's settings have changed since the submission, model and seed are set to those of the submission.
    """
    now = fingerprints.maker(endpoint, engine)
    submitted = submissions.submitted_to(job.id) or Maker.of(job.maker) or now
    maker = fingerprints.made_by(submitted, now, result.model, result.revision)
    if submitted != now:
        result = replace(result, model=maker.model, seed=job.spec["seed"])
    return maker, result
