"""Asking an endpoint how it is. A worker of its lane does it, because only workers have secrets and cards.

One question per endpoint at a time, as an RQ job with a name of its own; its answer is kept for some minutes.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import django_rq
import structlog
from django.db import transaction
from django.utils import timezone
from redis.exceptions import RedisError
from rq.exceptions import NoSuchJobError
from rq.job import Job as Message

from core.access import Action, require
from core.encryption import Unreadable
from core.errors import Conflict
from core.models import Brand, User
from generation.engines import base as engines
from generation.models import Endpoint
from generation.selectors import endpoint_cards
from generation.services.endpoints import editing

log = structlog.get_logger(__name__)

#: How long an engine may take to say how it is.
ANSWER_SECONDS: Final = 20.0
#: How long a question waits for a worker before the page says that none came.
PATIENCE_SECONDS: Final = 45
KEPT_SECONDS: Final = 600


@dataclass(frozen=True)
class Answer:
    """The answer to a question. is_open: it is still on its way; then the rest is empty. suggested: settings that
    would fit what the service said of itself. is_old: the settings have changed since it was asked."""

    is_open: bool
    is_ok: bool = False
    message: str = ""
    seconds: float = 0.0
    at: datetime | None = None
    suggested: Mapping[str, Any] = field(default_factory=dict)
    is_old: bool = False

    @property
    def inputs(self) -> list[str]:
        """The inputs among what is suggested, by the names that prompts and pages use."""
        named = self.suggested.get("inputs", {})
        groups = ("images", "parameters", "fixed")
        inner = [f"picture “{name}”" for name in named.get("images", {})] + list(named.get("parameters", {}))
        return [*(name.replace("_", " ") for name in named if name not in groups), *inner]


def ask(*, brand: Brand, slug: str, by: User) -> Endpoint:
    """Have a worker of the endpoint's lane ask it now; a question that is on its way is not asked twice.

    Raises NotFound, NotAllowed, and Conflict where Redis cannot be reached.
    """
    require(by, Action.RUN, brand)
    endpoint = endpoint_cards.get(brand, by, slug)
    if (known := answer(endpoint)) is not None and known.is_open:
        return endpoint
    queue = django_rq.get_queue(endpoint.lane)
    try:
        if (old := _message(endpoint)) is not None:
            old.delete()
        queue.enqueue(
            "generation.tasks.ask_endpoint",
            endpoint.pk,
            job_id=_name(endpoint),
            ttl=PATIENCE_SECONDS,
            job_timeout=int(ANSWER_SECONDS) + 10,
            result_ttl=KEPT_SECONDS,
            failure_ttl=KEPT_SECONDS,
        )
    except RedisError as error:
        raise Conflict("The question cannot be sent: Redis, which wakes the workers, is away. Try again.") from error
    return endpoint


def answer(endpoint: Endpoint) -> Answer | None:
    """The latest answer, or that it is being waited for; None if nobody has asked lately."""
    try:
        message = _message(endpoint)
        if message is None:
            return None
        status, result = message.get_status(refresh=True), message.latest_result()
    except (RedisError, NoSuchJobError):
        return None
    # What an earlier question of this name was answered outlives it in Redis.
    if status == "finished" and result is not None and isinstance(result.return_value, dict):
        said = result.return_value
        at = datetime.fromisoformat(said["at"])
        is_old = said.get("of") != _digest(endpoint)
        suggested = {} if is_old else said.get("suggested", {})
        return Answer(False, said["is_ok"], said["message"], said["seconds"], at, suggested, is_old)
    age = (timezone.now() - message.enqueued_at.astimezone(timezone.get_current_timezone())).total_seconds()
    if status in ("queued", "started") and age < PATIENCE_SECONDS:
        return Answer(True)
    words = f"No worker of the lane {endpoint.lane} took the question within {PATIENCE_SECONDS} s; is one up?"
    if status == "failed":
        words = "The worker could not ask it; its log says why."
    return Answer(False, False, words, age, timezone.now())


def look(endpoint: Endpoint) -> dict[str, Any]:
    """Ask the engine, in a worker: plain JSON for `answer`, in at most ANSWER_SECONDS."""
    began = time.monotonic()
    said: list[engines.Health] = []

    def work() -> None:
        said.append(_health(endpoint))

    thread = threading.Thread(target=work, name="ask", daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    health = said[0] if said else engines.Health(False, f"No answer within {ANSWER_SECONDS:g} s.")
    return {
        "is_ok": health.is_ok,
        "message": health.message[:500],
        "seconds": round(time.monotonic() - began, 2),
        "at": timezone.now().isoformat(),
        "suggested": dict(health.suggested),
        "of": _digest(endpoint),
    }


def is_well(endpoint: Endpoint) -> bool:
    """Return whether the engine says that it can work. It is asked in the calling thread, which may take long."""
    return _health(endpoint).is_ok


@transaction.atomic
def take_suggested(*, brand: Brand, slug: str, by: User) -> Endpoint:
    """Change an endpoint's settings to what fits what its service said. Raises what `editing.update` raises, and
    Conflict where nothing was suggested lately, or for other settings than it has now."""
    endpoint = editing.lock(endpoint_cards.get(brand, by, slug).pk, by)
    known = answer(endpoint)
    if known is None or not known.suggested:
        raise Conflict("Nothing is suggested for these settings; ask the endpoint once again.")
    return editing.update(endpoint_id=endpoint.pk, by=by, config={**endpoint.config, **known.suggested})


def _health(endpoint: Endpoint) -> engines.Health:
    secret = ""
    try:
        secret = endpoint.secret
        health = engines.build(endpoint.engine, endpoint.config, secret).health()
    except (engines.EngineError, ValueError, TypeError, KeyError, OSError, ImportError, Unreadable) as error:
        health = engines.Health(False, f"It cannot be used: {error}")
    except Exception as error:
        log.exception("endpoint.health_crashed", endpoint=endpoint.slug)
        health = engines.Health(False, f"The engine broke down when it was asked ({type(error).__name__}).")
    message = health.message.replace(secret, "…") if len(secret) > 3 else health.message
    return replace(health, message=message)


def _message(endpoint: Endpoint) -> Message | None:
    queue = django_rq.get_queue(endpoint.lane)
    return queue.fetch_job(_name(endpoint))


def _digest(endpoint: Endpoint) -> str:
    """Of the settings that an answer is about."""
    return hashlib.sha256(json.dumps(endpoint.config, sort_keys=True).encode()).hexdigest()


def _name(endpoint: Endpoint) -> str:
    return f"ask-endpoint-{endpoint.pk}"
