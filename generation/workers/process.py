"""The one worker of this process, its reactions to the messages of each lane, and the RQ worker that receives them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from types import FrameType
from typing import Any

import structlog
from django.db import Error as DatabaseError
from django.db import connection
from django.utils.module_loading import autodiscover_modules
from rq import SimpleWorker
from rq.job import Job
from rq.queue import Queue

from core import periodic_tasks, tasks
from core.choices import Lane
from core.io_lane import IoLane
from core.services import wake_ups
from core.tasks import serve_lane
from generation.workers.lane import LaneWorker
from generation.workers.remote import RemoteLane

log = structlog.get_logger(__name__)

IDLE_LOOK_SECONDS = 2
URGENCY = (Lane.HOUSEKEEPING, Lane.DELIVERY, Lane.IO, Lane.CLOUD, Lane.GPU, Lane.CPU)
"""The order in which a process with several lanes takes their messages, so that a long run never delays short work."""

GENERATING = (Lane.GPU, Lane.CPU)

_worker: LaneWorker | None = None
_remote: RemoteLane | None = None
_io: IoLane | None = None


@serve_lane(Lane.HOUSEKEEPING)
def _run_periodic_tasks() -> bool:
    periodic_tasks.run_due()
    return False


@serve_lane(Lane.CLOUD)
def _wake_remote() -> bool:
    if _remote is not None:
        _remote.wake()
    return False


@serve_lane(Lane.IO)
def _wake_io() -> bool:
    wake_ups.clear_pending(Lane.IO)
    if _io is not None:
        _io.wake()
    return False


def sort_by_urgency(lanes: Iterable[str]) -> list[str]:
    return sorted(set(lanes), key=lambda lane: URGENCY.index(Lane(lane)))


def start(name: str, lanes: list[str]) -> LaneWorker:
    """Make this process a worker. Once per process."""
    global _worker, _remote, _io
    if _worker is not None:
        raise RuntimeError("this process is a worker already")
    autodiscover_modules("lanes")  # each app's lanes.py says what its lanes' messages do
    _worker = LaneWorker(name, lanes)
    _worker.start()
    for lane in GENERATING:
        serve_lane(lane)(partial(_worker.drain, lane))
    if Lane.CLOUD in lanes:
        _remote = RemoteLane(name, _worker.leases)
        _remote.start()
    if Lane.IO in lanes:
        _io = IoLane()
        _io.start()
    return _worker


def stop() -> None:
    """Finish the work of this process, calls to services first; the leases are kept until these are done."""
    if _remote is not None:
        _remote.stop()
    if _io is not None:
        _io.stop()
    if _worker is not None:
        _worker.stop()


class PollingWorker(SimpleWorker):
    """A SimpleWorker (CUDA cannot be initialised in a forked child) that also works if no message arrives."""

    lane_worker: LaneWorker
    _stop_requested: bool
    is_polling = False

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        while not self._stop_requested:
            message = super().dequeue_job_and_maintain_ttl(IDLE_LOOK_SECONDS, IDLE_LOOK_SECONDS)
            if message is not None:
                return message
            if not self._stop_requested:
                self.poll_lanes()
        return None

    def poll_lanes(self) -> None:
        """Serve every lane as if a message had come. Errors are logged; the next look follows anyway."""
        self.is_polling = True
        try:
            for lane in self.lane_worker.lanes:
                self._poll_lane(lane)
        finally:
            self.is_polling = False

    def _poll_lane(self, lane: str) -> None:
        try:
            tasks.drain(lane)
        except DatabaseError as error:
            log.warning("look.failed", lane=lane, error=str(error))
            connection.close()
            time.sleep(1)
        except Exception:
            log.exception("look.failed", lane=lane)

    def request_stop(self, signum: int, frame: FrameType | None) -> Any:
        """Let a looking worker finish its work; RQ would take it for an idle one and interrupt it."""
        self.lane_worker.is_stopping.set()
        if self.is_polling and not self._stop_requested:
            self._stop_requested = True
            return None
        return super().request_stop(signum, frame)
