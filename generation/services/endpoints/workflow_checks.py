"""A workflow held against its servers. A worker does it, because only workers have secrets and reach those machines.

One check per endpoint at a time, as an RQ job with a name of its own; its answer is kept for some minutes and counts
only for the workflow that was checked.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import django_rq
import structlog
from django.utils import timezone
from redis.exceptions import RedisError
from rq.exceptions import NoSuchJobError
from rq.job import Job as Message

from core.encryption import Unreadable
from core.errors import Conflict, Invalid
from core.models import User
from generation.engines import base as engines
from generation.engines.comfyui.graph import Workflow
from generation.engines.comfyui.questions import meant_in
from generation.models import Endpoint
from generation.services.endpoints import health as asking
from generation.services.endpoints import workflows

log = structlog.get_logger(__name__)

CALL_SECONDS: Final = 8.0
#: How long all servers together may take.
CHECK_SECONDS: Final = 40.0


@dataclass(frozen=True)
class ServerCheck:
    """One server: whether it can run the workflow, and if not why. version: "" where it did not answer."""

    name: str
    is_ok: bool
    problems: tuple[str, ...]
    version: str
    devices: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Checked:
    """The result of a check. is_open: it is still on its way; then the rest is empty."""

    is_open: bool
    is_ok: bool = False
    message: str = ""
    servers: tuple[ServerCheck, ...] = ()


def ask(*, endpoint_id: int, by: User) -> None:
    """Have a worker check the workflow now; a check that is on its way is not begun twice.

    Raises NotFound, NotAllowed, and Conflict where Redis cannot be reached.
    """
    endpoint = workflows.editable(endpoint_id=endpoint_id, by=by)
    if (known := answer(endpoint)) is not None and known.is_open:
        return
    queue = django_rq.get_queue(endpoint.lane)
    try:
        if (old := _message(endpoint)) is not None:
            old.delete()
        queue.enqueue(
            "generation.tasks.check_workflow",
            endpoint.pk,
            by.pk,
            job_id=_name(endpoint),
            ttl=asking.PATIENCE_SECONDS,
            job_timeout=int(CHECK_SECONDS) + 10,
            result_ttl=asking.KEPT_SECONDS,
            failure_ttl=asking.KEPT_SECONDS,
        )
    except RedisError as error:
        raise Conflict("The check cannot be begun: Redis, which wakes the workers, is away. Try again.") from error


def answer(endpoint: Endpoint) -> Checked | None:
    """The latest check of the workflow as it is now, or that it is being waited for; None if there was none lately."""
    try:
        message = _message(endpoint)
        if message is None:
            return None
        status, result = message.get_status(refresh=True), message.latest_result()
    except (RedisError, NoSuchJobError):
        return None
    # What an earlier check of this name said outlives it in Redis.
    if status == "finished" and result is not None and isinstance(result.return_value, dict):
        return _checked(endpoint, result.return_value)
    age = (timezone.now() - message.enqueued_at.astimezone(timezone.get_current_timezone())).total_seconds()
    if status in ("queued", "started") and age < asking.PATIENCE_SECONDS + CHECK_SECONDS * (status == "started"):
        return Checked(True)
    if status == "failed":
        return Checked(False, message="The worker could not check it; its log says why.")
    words = f"No worker of the lane {endpoint.lane} took the check within {asking.PATIENCE_SECONDS} s; is one up?"
    return Checked(False, message=words)


def look(*, endpoint: Endpoint, by: User) -> dict[str, Any]:
    """Check it, in a worker: plain JSON for `answer`. What the servers allow for marked inputs is kept."""
    digest = _digest(endpoint)
    said: list[engines.Health] = []
    thread = threading.Thread(target=lambda: said.append(_health(endpoint)), name="check", daemon=True)
    thread.start()
    thread.join(CHECK_SECONDS)
    health = said[0] if said else engines.Health(False, f"No answer within {CHECK_SECONDS:g} s.")
    told: Mapping[str, Mapping[str, Any]] = health.facts.get("servers", {})
    ranges = next((one["ranges"] for one in told.values() if one["is_ok"]), None)
    if ranges is not None:
        try:
            models = {name: one["models"] for name, one in told.items() if one.get("models")}
            workflows.keep_ranges(endpoint_id=endpoint.pk, by=by, seen=digest, ranges=ranges, models=models)
        except Invalid as refusal:
            words = " ".join(problem.message for problem in refusal.problems)
            health = replace(health, message=f"{health.message} The limits of its inputs cannot be kept: {words}")
    servers = [
        {"name": name, **{key: one.get(key) for key in ("is_ok", "problems", "version", "devices")}}
        for name, one in told.items()
    ]
    return {"digest": _revision(endpoint), "is_ok": health.is_ok, "message": health.message, "servers": servers}


def _health(endpoint: Endpoint) -> engines.Health:
    try:
        config = {**endpoint.config, "timeout_seconds": CALL_SECONDS}
        return engines.build(endpoint.engine, config, endpoint.secret).health()
    except (engines.EngineError, ValueError, TypeError, KeyError, OSError, Unreadable) as error:
        return engines.Health(False, f"It cannot be used: {error}")
    except Exception as error:
        log.exception("workflow.check_crashed", endpoint=endpoint.slug)
        return engines.Health(False, f"The check broke down ({type(error).__name__}); the worker's log says more.")


def _checked(endpoint: Endpoint, said: Mapping[str, Any]) -> Checked | None:
    if said.get("digest") != _revision(endpoint):
        return None  # of an earlier workflow, of other marks, or from before its questions were settled
    servers = tuple(
        ServerCheck(
            one["name"],
            bool(one["is_ok"]),
            tuple(one["problems"] or ()),
            str(one["version"] or ""),
            tuple(one["devices"] or ()),
        )
        for one in said["servers"]
    )
    return Checked(False, bool(said["is_ok"]), str(said["message"]), servers)


def _digest(endpoint: Endpoint) -> str:
    try:
        return Workflow.of(endpoint.config).digest()
    except ValueError:
        return ""


def _revision(endpoint: Endpoint) -> str:
    """Return what an answer is about: the workflow with its marks, and which of its questions are settled."""
    return f"{_digest(endpoint)} {sorted(meant_in(endpoint.config))}"


def _message(endpoint: Endpoint) -> Message | None:
    return django_rq.get_queue(endpoint.lane).fetch_job(_name(endpoint))


def _name(endpoint: Endpoint) -> str:
    return f"check-workflow-{endpoint.pk}"
