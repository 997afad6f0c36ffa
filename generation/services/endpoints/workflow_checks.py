"""Check a workflow on its servers. A worker does it, because only workers have the secrets and reach those machines.

There is one check per endpoint at a time, an RQ job with a fixed name. Its result is kept for some minutes and is valid
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
from generation.engines.comfyui.questions import confirmed_keys
from generation.models import Endpoint
from generation.services.endpoints import health as asking
from generation.services.endpoints import workflows

log = structlog.get_logger(__name__)

CALL_SECONDS: Final = 8.0
#: Time limit for all servers together.
CHECK_SECONDS: Final = 40.0


@dataclass(frozen=True)
class ServerCheck:
    """One server: whether it can run the workflow, and if not, why. version: "" if it did not answer."""

    name: str
    is_ok: bool
    problems: tuple[str, ...]
    version: str
    devices: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class WorkflowCheck:
    """The result of a check. is_open: it is not finished yet; then the other fields are empty."""

    is_open: bool
    is_ok: bool = False
    message: str = ""
    servers: tuple[ServerCheck, ...] = ()


def request_check(*, endpoint_id: int, by: User) -> None:
    """Have a worker check the workflow now; a check that is not finished is not started twice.

    Raises NotFound, NotAllowed, and Conflict if Redis cannot be reached.
    """
    endpoint = workflows.get_editable(endpoint_id=endpoint_id, by=by)
    if (check := get_latest_check(endpoint)) is not None and check.is_open:
        return
    queue = django_rq.get_queue(endpoint.lane)
    try:
        if (old_message := _message(endpoint)) is not None:
            old_message.delete()
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


def get_latest_check(endpoint: Endpoint) -> WorkflowCheck | None:
    """Return the latest check of the current workflow, finished or not; None if there was none lately."""
    try:
        message = _message(endpoint)
        if message is None:
            return None
        status, result = message.get_status(refresh=True), message.latest_result()
    except (RedisError, NoSuchJobError):
        return None
    # The result of an earlier check with this name stays in Redis after its job is deleted.
    if status == "finished" and result is not None and isinstance(result.return_value, dict):
        return _checked(endpoint, result.return_value)
    age = (timezone.now() - message.enqueued_at.astimezone(timezone.get_current_timezone())).total_seconds()
    if status in ("queued", "started") and age < asking.PATIENCE_SECONDS + CHECK_SECONDS * (status == "started"):
        return WorkflowCheck(True)
    if status == "failed":
        return WorkflowCheck(False, message="The worker could not check it; its log says why.")
    text = f"No worker of the lane {endpoint.lane} took the check within {asking.PATIENCE_SECONDS} s; is one running?"
    return WorkflowCheck(False, message=text)


def run_check(*, endpoint: Endpoint, by: User) -> dict[str, Any]:
    """Check the workflow (in a worker), store the limits that the servers set for marked inputs, and return JSON for
    `get_latest_check`."""
    digest = _digest(endpoint)
    answers: list[engines.Health] = []
    thread = threading.Thread(target=lambda: answers.append(_health(endpoint)), name="check", daemon=True)
    thread.start()
    thread.join(CHECK_SECONDS)
    health = answers[0] if answers else engines.Health(False, f"No answer within {CHECK_SECONDS:g} s.")
    by_server: Mapping[str, Mapping[str, Any]] = health.facts.get("servers", {})
    ranges = next((server["ranges"] for server in by_server.values() if server["is_ok"]), None)
    if ranges is not None:
        try:
            models = {name: server["models"] for name, server in by_server.items() if server.get("models")}
            workflows.store_ranges(endpoint_id=endpoint.pk, by=by, seen=digest, ranges=ranges, models=models)
        except Invalid as refusal:
            text = " ".join(problem.message for problem in refusal.problems)
            health = replace(health, message=f"{health.message} The limits of its inputs cannot be kept: {text}")
    servers = [
        {"name": name, **{key: server.get(key) for key in ("is_ok", "problems", "version", "devices")}}
        for name, server in by_server.items()
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


def _checked(endpoint: Endpoint, report: Mapping[str, Any]) -> WorkflowCheck | None:
    if report.get("digest") != _revision(endpoint):
        return None  # of an earlier workflow, of other marks, or from before its questions were settled
    servers = tuple(
        ServerCheck(
            server["name"],
            bool(server["is_ok"]),
            tuple(server["problems"] or ()),
            str(server["version"] or ""),
            tuple(server["devices"] or ()),
        )
        for server in report["servers"]
    )
    return WorkflowCheck(False, bool(report["is_ok"]), str(report["message"]), servers)


def _digest(endpoint: Endpoint) -> str:
    try:
        return Workflow.from_config(endpoint.config).digest()
    except ValueError:
        return ""


def _revision(endpoint: Endpoint) -> str:
    """Return the revision that a result is about: the workflow with its marks, and its settled questions."""
    return f"{_digest(endpoint)} {sorted(confirmed_keys(endpoint.config))}"


def _message(endpoint: Endpoint) -> Message | None:
    return django_rq.get_queue(endpoint.lane).fetch_job(_name(endpoint))


def _name(endpoint: Endpoint) -> str:
    return f"check-workflow-{endpoint.pk}"
