"""Health checks of endpoints. A worker of the lane does them, because only workers have the secrets and graphics cards.

There is one check per endpoint at a time, an RQ job with a fixed name. Its answer is kept for some minutes.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import django_rq
import structlog
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from redis.exceptions import RedisError
from rq.exceptions import NoSuchJobError

from core.access import Action, require
from core.encryption import Unreadable
from core.errors import Conflict
from core.models import Brand, User
from generation.engines import base as engines
from generation.models import Endpoint
from generation.selectors import endpoint_cards
from generation.services.endpoints import editing

log = structlog.get_logger(__name__)

#: Time limit for the answer of an engine.
ANSWER_SECONDS: Final = 20.0
#: How long a check waits for a worker before the page says that none took it.
PATIENCE_SECONDS: Final = 45
KEPT_SECONDS: Final = 600


@dataclass(frozen=True)
class HealthCheck:
    """The answer to a health check. is_open: it is not finished; then the other fields are empty. suggested: settings
    that fit the service's description of itself. is_old: the settings have changed since the check."""

    is_open: bool
    is_ok: bool = False
    message: str = ""
    seconds: float = 0.0
    at: datetime | None = None
    suggested: Mapping[str, Any] = field(default_factory=dict)
    is_old: bool = False

    @property
    def inputs(self) -> list[str]:
        """Return the suggested inputs, by the names that prompts and pages use."""
        named = self.suggested.get("inputs", {})
        groups = ("images", "parameters", "fixed")
        own = [name.replace("_", " ") for name in named if name not in groups]
        images = [_("image “%(name)s”") % {"name": name} for name in named.get("images", {})]
        return [*own, *images, *named.get("parameters", {})]


@dataclass(frozen=True)
class CheckMessage:
    """A check in its queue. status: that of RQ; report: what the worker returned, None before."""

    status: str
    report: dict[str, Any] | None
    age_seconds: float


def request_check(*, brand: Brand, slug: str, by: User) -> Endpoint:
    """Have a worker check the endpoint, unless a check is open. Raises NotFound, NotAllowed, Conflict without Redis."""
    require(by, Action.RUN, brand)
    endpoint = endpoint_cards.get(brand, by, slug)
    if (latest := get_latest_check(endpoint)) and latest.is_open:
        return endpoint
    refusal = _("The question cannot be sent: Redis, which wakes the workers, is away. Try again.")
    task, name = "generation.tasks.ask_endpoint", _name(endpoint)
    enqueue(task, endpoint.pk, lane=endpoint.lane, name=name, seconds=ANSWER_SECONDS, refusal=refusal)
    return endpoint


def enqueue(task: str, *arguments: Any, lane: str, name: str, seconds: float, refusal: str) -> None:
    """Have a worker of the lane run the task, instead of an earlier one of this name. Raises Conflict(refusal)."""
    queue = django_rq.get_queue(lane)
    try:
        if (earlier := queue.fetch_job(name)) is not None:
            earlier.delete()
        limits = {"ttl": PATIENCE_SECONDS, "result_ttl": KEPT_SECONDS, "failure_ttl": KEPT_SECONDS}
        queue.enqueue(task, *arguments, job_id=name, job_timeout=int(seconds) + 10, **limits)
    except RedisError as error:
        raise Conflict(refusal) from error


def find_message(lane: str, name: str) -> CheckMessage | None:
    """Return the message of a check, None if there was none lately or Redis cannot be reached."""
    try:
        message = django_rq.get_queue(lane).fetch_job(name)
        if message is None:
            return None
        status, result = message.get_status(refresh=True), message.latest_result()
    except (RedisError, NoSuchJobError):
        return None
    # The result of an earlier check with this name stays in Redis after its job is deleted.
    value = result.return_value if status == "finished" and result is not None else None
    age = timezone.now() - message.enqueued_at.astimezone(timezone.get_current_timezone())
    return CheckMessage(status, value if isinstance(value, dict) else None, age.total_seconds())


def get_latest_check(endpoint: Endpoint) -> HealthCheck | None:
    """Return the latest check, finished or not; None if there was none lately."""
    message = find_message(endpoint.lane, _name(endpoint))
    if message is None:
        return None
    if (report := message.report) is not None:
        at = datetime.fromisoformat(report["at"])
        is_old = report.get("of") != _digest(endpoint)
        suggested = {} if is_old else report.get("suggested", {})
        return HealthCheck(False, report["is_ok"], report["message"], report["seconds"], at, suggested, is_old)
    if message.status in ("queued", "started") and message.age_seconds < PATIENCE_SECONDS:
        return HealthCheck(True)
    text = _("No worker of the lane %(lane)s took the question within %(seconds)d s; is one running?")
    text %= {"lane": endpoint.lane, "seconds": PATIENCE_SECONDS}
    if message.status == "failed":
        text = _("The worker could not ask it; its log says why.")
    return HealthCheck(False, False, text, message.age_seconds, timezone.now())


def run_check(endpoint: Endpoint) -> dict[str, Any]:
    """Check the engine (in a worker); returns JSON for `get_latest_check`, in at most ANSWER_SECONDS."""
    began = time.monotonic()
    health = answer_within(ANSWER_SECONDS, lambda: _health(endpoint))
    return {
        "is_ok": health.is_ok,
        "message": health.message[:500],
        "seconds": round(time.monotonic() - began, 2),
        "at": timezone.now().isoformat(),
        "suggested": dict(health.suggested),
        "of": _digest(endpoint),
    }


def answer_within(seconds: float, check: Callable[[], engines.Health]) -> engines.Health:
    """Return the answer of a check, which runs in a thread of its own; after this time, that there was none."""
    answers: list[engines.Health] = []
    thread = threading.Thread(target=lambda: answers.append(check()), name="check", daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else engines.Health(False, f"No answer within {seconds:g} s.")


def is_healthy(endpoint: Endpoint) -> bool:
    """Return whether the engine says that it can work. This runs in the calling thread and may take long."""
    return _health(endpoint).is_ok


@transaction.atomic
def apply_suggested(*, brand: Brand, slug: str, by: User) -> Endpoint:
    """Apply the settings that the latest check suggested. Raises what `editing.update` does, Conflict without any."""
    endpoint = editing.lock(endpoint_cards.get(brand, by, slug).pk, by)
    latest = get_latest_check(endpoint)
    if latest is None or not latest.suggested:
        raise Conflict(_("Nothing is suggested for these settings; ask the endpoint once again."))
    return editing.update(endpoint_id=endpoint.pk, by=by, config={**endpoint.config, **latest.suggested})


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


def _digest(endpoint: Endpoint) -> str:
    """Return the digest of the settings that an answer is about."""
    return hashlib.sha256(json.dumps(endpoint.config, sort_keys=True).encode()).hexdigest()


def _name(endpoint: Endpoint) -> str:
    return f"ask-endpoint-{endpoint.pk}"
