"""Check a workflow on its servers. A worker does it, because only workers have the secrets and reach those machines.

health.py queues it, one per endpoint at a time. Its result is valid only for the workflow that was checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from django.utils.translation import gettext as _

from core.encryption import Unreadable
from core.errors import Invalid
from core.models import User
from generation.engines import base as engines
from generation.engines.comfyui.graph import Workflow
from generation.engines.comfyui.questions import confirmed_keys
from generation.models import Endpoint
from generation.services.endpoints import health, workflows

log = structlog.get_logger(__name__)

CALL_SECONDS: Final = 8.0
#: Time limit for all servers together.
CHECK_SECONDS: Final = 40.0
_NOTHING: Final[Mapping[str, Any]] = {"is_ok": False, "problems": [], "version": "", "devices": []}


@dataclass(frozen=True)
class ServerCheck:
    """One server: whether it can run the workflow, and if not, why. version: "" if it did not answer."""

    name: str
    is_ok: bool
    problems: Sequence[str]
    version: str
    devices: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class WorkflowCheck:
    """The result of a check. is_open: it is not finished yet; then the other fields are empty."""

    is_open: bool
    is_ok: bool = False
    message: str = ""
    servers: tuple[ServerCheck, ...] = ()


def request_check(*, endpoint_id: int, by: User) -> None:
    """Have a worker check the workflow, unless a check is open. Raises NotFound, NotAllowed, Conflict without Redis."""
    endpoint = workflows.get_editable(endpoint_id=endpoint_id, by=by)
    if (check := get_latest_check(endpoint)) and check.is_open:
        return
    refusal = _("The check cannot be begun: Redis, which wakes the workers, is away. Try again.")
    task, arguments, name = "generation.tasks.check_workflow", (endpoint.pk, by.pk), _name(endpoint)
    health.enqueue(task, *arguments, lane=endpoint.lane, name=name, seconds=CHECK_SECONDS, refusal=refusal)


def get_latest_check(endpoint: Endpoint) -> WorkflowCheck | None:
    """Return the latest check of the current workflow, finished or not; None if there was none lately."""
    message = health.find_message(endpoint.lane, _name(endpoint))
    if message is None:
        return None
    if message.report is not None:
        return _checked(endpoint, message.report)
    patience = health.PATIENCE_SECONDS + (CHECK_SECONDS if message.status == "started" else 0)
    if message.status in ("queued", "started") and message.age_seconds < patience:
        return WorkflowCheck(True)
    if message.status == "failed":
        return WorkflowCheck(False, message=_("The worker could not check it; its log says why."))
    text = _("No worker of the lane %(lane)s took the check within %(seconds)d s; is one running?")
    return WorkflowCheck(False, message=text % {"lane": endpoint.lane, "seconds": health.PATIENCE_SECONDS})


def run_check(*, endpoint: Endpoint, by: User) -> dict[str, Any]:
    """Check the workflow in a worker, store the limits of its inputs, and return JSON for `get_latest_check`."""
    digest = _digest(endpoint)
    answer = health.answer_within(CHECK_SECONDS, lambda: _health(endpoint))
    by_server: Mapping[str, Mapping[str, Any]] = answer.facts.get("servers", {})
    ranges = next((server["ranges"] for server in by_server.values() if server["is_ok"]), None)
    if ranges is not None:
        try:
            models = {name: server["models"] for name, server in by_server.items() if server.get("models")}
            workflows.store_ranges(endpoint_id=endpoint.pk, by=by, seen=digest, ranges=ranges, models=models)
        except Invalid as refusal:
            text = " ".join(problem.message for problem in refusal.problems)
            answer = replace(answer, message=f"{answer.message} The limits of its inputs cannot be kept: {text}")
    servers = [
        {"name": name, **{key: server.get(key) or empty for key, empty in _NOTHING.items()}}
        for name, server in by_server.items()
    ]
    return {"digest": _revision(endpoint), "is_ok": answer.is_ok, "message": answer.message, "servers": servers}


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
    servers = tuple(ServerCheck(**server) for server in report["servers"])
    return WorkflowCheck(False, bool(report["is_ok"]), str(report["message"]), servers)


def _digest(endpoint: Endpoint) -> str:
    try:
        return Workflow.from_config(endpoint.config).digest()
    except ValueError:
        return ""


def _revision(endpoint: Endpoint) -> str:
    """Return the revision that a result is about: the workflow with its marks, and its settled questions."""
    return f"{_digest(endpoint)} {sorted(confirmed_keys(endpoint.config))}"


def _name(endpoint: Endpoint) -> str:
    return f"check-workflow-{endpoint.pk}"
