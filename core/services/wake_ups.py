"""Wake-up messages for workers. A message contains only a lane's name; a lost one costs at most two seconds."""

from __future__ import annotations

import uuid

import django_rq
import structlog
from django.db import transaction
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

COALESCE_SECONDS = 10
_PREFIX = "proofline:wake-up:"


def wake(lane: str) -> None:
    """After commit, make a worker of `lane` look for work. Many calls make one message until it is taken."""
    transaction.on_commit(lambda: send(lane))


def send(lane: str) -> None:
    """Enqueue one message now unless one is waiting. A missing Redis is only logged: the work is in the database."""
    queue = django_rq.get_queue(lane)
    try:
        if queue.connection.set(_PREFIX + lane, 1, nx=True, ex=COALESCE_SECONDS):
            queue.enqueue("core.tasks.drain", lane, job_id=uuid.uuid4().hex, result_ttl=0, failure_ttl=0)
    except RedisError as error:
        log.warning("wake_up.lost", lane=lane, error=str(error))


def clear_pending(lane: str) -> None:
    """Allow the next wake-up message. Called before the first claim, so that later work is announced again."""
    try:
        django_rq.get_queue(lane).connection.delete(_PREFIX + lane)
    except RedisError as error:
        log.warning("wake_up.lost", lane=lane, error=str(error))
