"""Our RQ worker: JSON messages, no fork, and a look at the rows whenever two seconds pass without a message."""

from __future__ import annotations

import time
from types import FrameType
from typing import Any

import structlog
from django.db import Error as DatabaseError
from django.db import connection
from rq import SimpleWorker
from rq.job import Job
from rq.queue import Queue

from core import tasks
from generation.workers.lane import LaneWorker

log = structlog.get_logger(__name__)

IDLE_LOOK_SECONDS = 2


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
