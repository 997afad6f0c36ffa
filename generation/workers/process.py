"""The one worker of this process, and its reactions to the messages of each lane."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from django.utils.module_loading import autodiscover_modules

from core import periodic_tasks
from core.choices import Lane
from core.io_lane import IoLane
from core.services import wake_ups
from core.tasks import serve_lane
from generation.workers.lane import LaneWorker
from generation.workers.remote import RemoteLane

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
