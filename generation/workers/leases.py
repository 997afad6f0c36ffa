"""The heartbeat: one thread with its own connection keeps this process's leases alive and learns which are lost."""

from __future__ import annotations

import os
import resource
import socket
import sys
import threading
import uuid
from collections.abc import Iterable

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone

from generation.models import Job, Worker
from generation.services.dispatch import claims
from generation.services.dispatch.claims import Claim

log = structlog.get_logger(__name__)

BEAT_SECONDS = 2.0


class Leases:
    """The leases of this process. The threads of workers call `hold` and `drop`, those of engines call `revoked`."""

    def __init__(self, worker_name: str, lanes: Iterable[str]) -> None:
        self.worker_name = worker_name
        self.lanes = sorted(lanes)
        self._held: dict[uuid.UUID, dict[int, int]] = {}
        self._revoked: set[int] = set()
        self._steps: dict[int, tuple[int, int]] = {}
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._started_at = timezone.now()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def hold(self, claim: Claim) -> None:
        with self._guard:
            self._held.setdefault(claim.token, {}).update((job.id, job.run_id) for job in claim.jobs)

    def holds_any_of(self, run_id: int) -> bool:
        """Return whether a job of the run is among those that this process still holds."""
        with self._guard:
            return any(run_id in jobs.values() for jobs in self._held.values())

    def drop(self, token: uuid.UUID, job_id: int) -> None:
        with self._guard:
            self._held.get(token, {}).pop(job_id, None)
            if not self._held.get(token):
                self._held.pop(token, None)
            self._revoked.discard(job_id)
            self._steps.pop(job_id, None)

    def revoked(self) -> frozenset[int]:
        """Return the ids of jobs that are no longer ours, or that were cancelled."""
        with self._guard:
            return frozenset(self._revoked)

    def note_progress(self, job_ids: Iterable[int], step: int, steps: int) -> None:
        """Remember the progress of jobs. The next heartbeat writes it, so that a step never waits for the database."""
        with self._guard:
            self._steps.update((job_id, (step, steps)) for job_id in job_ids)

    def _beat(self) -> None:
        pause = min(BEAT_SECONDS, settings.PROOFLINE["lease_seconds"] / 3)
        while not self._stop.wait(pause):
            try:
                self.renew()
            except DatabaseError as error:
                log.warning("heartbeat.failed", error=str(error))
                connection.close()
        connection.close()

    def renew(self) -> None:
        """Do one heartbeat: extend every lease, write the progress, record that this process is alive."""
        with self._guard:
            leases = {token: set(ids) for token, ids in self._held.items()}
            steps, self._steps = self._steps, {}
        valid_ids = claims.renew(leases) if leases else frozenset()
        with self._guard:
            for token, ids in leases.items():
                self._revoked |= (ids - valid_ids) & self._held.get(token, {}).keys()
        for job_id, (step, of) in steps.items():
            Job.objects.filter(pk=job_id).update(step=step, steps=of)
        Worker.objects.update_or_create(
            name=self.worker_name,
            defaults={
                "lanes": self.lanes,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "started_at": self._started_at,
                "seen_at": timezone.now(),
                "peak_rss_bytes": peak_rss_bytes(),
            },
        )


def peak_rss_bytes() -> int:
    """Return the peak memory of this process in bytes (ru_maxrss is kilobytes on Linux, bytes on macOS)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
