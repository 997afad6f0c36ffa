"""Our RQ worker: JSON, no fork, and a look at the rows whenever two seconds pass without a message."""

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


class NudgedWorker(SimpleWorker):
    """A SimpleWorker (CUDA cannot be initialised in a forked child) that does not depend on any message arriving."""

    lane_worker: LaneWorker
    _stop_requested: bool
    is_looking = False

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        while not self._stop_requested:
            found = super().dequeue_job_and_maintain_ttl(IDLE_LOOK_SECONDS, IDLE_LOOK_SECONDS)
            if found is not None:
                return found
            if not self._stop_requested:
                self.look()
        return None

    def look(self) -> None:
        """Serve every lane as if it had been nudged. Whatever is wrong is logged; the next look comes."""
        self.is_looking = True
        try:
            for lane in self.lane_worker.lanes:
                self._look_at(lane)
        finally:
            self.is_looking = False

    def _look_at(self, lane: str) -> None:
        try:
            tasks.drain(lane)
        except DatabaseError as error:
            log.warning("look.failed", lane=lane, error=str(error))
            connection.close()
            time.sleep(1)
        except Exception:
            log.exception("look.failed", lane=lane)

    def request_stop(self, signum: int, frame: FrameType | None) -> Any:
        """RQ takes a looking worker for an idle one and would break off its work; let it end what it has in hand."""
        self.lane_worker.is_stopping.set()
        if self.is_looking and not self._stop_requested:
            self._stop_requested = True
            return None
        return super().request_stop(signum, frame)
