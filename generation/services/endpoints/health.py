"""The health of endpoints: checks of an endpoint or of its workflow, and notices when an endpoint no longer works.

A worker of the lane checks, because only workers have the secrets and graphics cards and reach the servers. There is
one check of a kind per endpoint at a time, an RQ job with a fixed name. Its answer is kept for some minutes.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import django_rq
import structlog
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from redis.exceptions import RedisError
from rq.exceptions import NoSuchJobError

from core.access import Action, require
from core.choices import Role
from core.encryption import Unreadable
from core.errors import Conflict, Invalid
from core.models import Brand, User
from core.services import notices
from generation.choices import Breaker, HoldReason, JobState
from generation.engines import base as engines
from generation.engines.comfyui.graph import Workflow
from generation.engines.comfyui.questions import confirmed_keys
from generation.models import Endpoint, EndpointStatus, Job
from generation.selectors import endpoint_cards
from generation.services.endpoints import editing, workflows

log = structlog.get_logger(__name__)

ANSWER_SECONDS: Final = 20.0  # time limit for the answer of an engine
#: Time limits for one call in the check of a workflow, and for all its servers together.
WORKFLOW_CALL_SECONDS: Final = 8.0
WORKFLOW_SECONDS: Final = 40.0
PATIENCE_SECONDS: Final = 45  # how long a check waits for a worker before the page says that none took it
KEPT_SECONDS: Final = 600
_NO_SERVER_ANSWER: Final[Mapping[str, Any]] = {"is_ok": False, "problems": [], "version": "", "devices": []}
_WITHOUT_ACCOUNT: Final = Q(status=JobState.HELD, hold_reason=HoldReason.QUOTA)
TRIPS: Final = 2
"""A circuit breaker that opened once may be a restart of the service; if its probe fails too, somebody should look."""


@dataclass(frozen=True)
class Check:
    """The answer to a check of an endpoint or of its workflow. is_open: it is not finished; then the rest is empty.

    suggested: settings that fit the service's description of itself. is_old: the settings have changed since the check.
    servers: of a workflow: the name of each server, whether it can run it (is_ok) and if not, why (problems), its
    version ("" if it did not answer) and devices.
    """

    is_open: bool
    is_ok: bool = False
    message: str = ""
    seconds: float = 0.0
    at: datetime | None = None
    suggested: Mapping[str, Any] = field(default_factory=dict)
    is_old: bool = False
    servers: Sequence[Mapping[str, Any]] = ()

    @property
    def inputs(self) -> list[str]:
        """Return the suggested inputs, by the names that prompts and pages use."""
        named = self.suggested.get("inputs", {})
        own = [name.replace("_", " ") for name in named if name not in ("images", "parameters", "fixed")]
        images = [_("image “%(name)s”") % {"name": name} for name in named.get("images", {})]
        return [*own, *images, *named.get("parameters", {})]


def request_check(*, brand: Brand, slug: str, by: User) -> Endpoint:
    """Have a worker check the endpoint, unless a check is open. Raises NotFound, NotAllowed, Conflict without Redis."""
    require(by, Action.RUN, brand)
    endpoint = endpoint_cards.get(brand, by, slug)
    if not ((latest := get_latest_check(endpoint)) and latest.is_open):
        refusal = _("The question cannot be sent: Redis, which wakes the workers, is away. Try again.")
        task = ("generation.tasks.ask_endpoint", endpoint.pk)
        _enqueue(task, endpoint, "ask-endpoint", seconds=ANSWER_SECONDS, refusal=refusal)
    return endpoint


def request_workflow_check(*, endpoint_id: int, by: User) -> None:
    """Have a worker check the workflow, unless a check is open. Raises NotFound, NotAllowed, Conflict without Redis."""
    endpoint = workflows.get_editable(endpoint_id=endpoint_id, by=by)
    if not ((latest := get_latest_workflow_check(endpoint)) and latest.is_open):
        refusal = _("The check cannot be begun: Redis, which wakes the workers, is away. Try again.")
        task = ("generation.tasks.check_workflow", endpoint.pk, by.pk)
        _enqueue(task, endpoint, "check-workflow", seconds=WORKFLOW_SECONDS, refusal=refusal)


def get_latest_check(endpoint: Endpoint) -> Check | None:
    """Return the latest check, finished or not; None if there was none lately."""
    failed = _("The worker could not ask it; its log says why.")
    untaken = _("No worker of the lane %(lane)s took the question within %(seconds)d s; is one running?")
    report = _find_report(endpoint, "ask-endpoint", failed=failed, untaken=untaken)
    if report is None or isinstance(report, Check):
        return report
    at = datetime.fromisoformat(report["at"])
    is_old = report.get("of") != _digest(endpoint)
    suggested = {} if is_old else report.get("suggested", {})
    return Check(False, report["is_ok"], report["message"], report["seconds"], at, suggested, is_old)


def get_latest_workflow_check(endpoint: Endpoint) -> Check | None:
    """Return the latest check of the current workflow, finished or not; None if there was none lately."""
    failed = _("The worker could not check it; its log says why.")
    untaken = _("No worker of the lane %(lane)s took the check within %(seconds)d s; is one running?")
    report = _find_report(endpoint, "check-workflow", failed=failed, untaken=untaken, started_seconds=WORKFLOW_SECONDS)
    if report is None or isinstance(report, Check):
        return report
    if report.get("digest") != _workflow_revision(endpoint):
        return None  # of an earlier workflow, of other marks, or from before its questions were settled
    return Check(False, bool(report["is_ok"]), str(report["message"]), servers=report["servers"])


def run_check(endpoint: Endpoint) -> dict[str, Any]:
    """Check the engine (in a worker); returns JSON for `get_latest_check`, in at most ANSWER_SECONDS."""
    began = time.monotonic()
    health = _answer_within(ANSWER_SECONDS, lambda: _ask_engine(endpoint, endpoint.config))
    return {
        "is_ok": health.is_ok,
        "message": health.message[:500],
        "seconds": round(time.monotonic() - began, 2),
        "at": timezone.now().isoformat(),
        "suggested": dict(health.suggested),
        "of": _digest(endpoint),
    }


def run_workflow_check(*, endpoint: Endpoint, by: User) -> dict[str, Any]:
    """Check the workflow (in a worker), store the limits of its inputs, and return JSON for
    `get_latest_workflow_check`. It is valid only for the workflow that was checked."""
    digest, config = _workflow_digest(endpoint), {**endpoint.config, "timeout_seconds": WORKFLOW_CALL_SECONDS}
    broken = "The check broke down ({error}); the worker's log says more."
    health = _answer_within(WORKFLOW_SECONDS, lambda: _ask_engine(endpoint, config, broken=broken))
    by_server: Mapping[str, Mapping[str, Any]] = health.facts.get("servers", {})
    ranges = next((server["ranges"] for server in by_server.values() if server["is_ok"]), None)
    message = health.message
    if ranges is not None:
        try:
            models = {name: server["models"] for name, server in by_server.items() if server.get("models")}
            workflows.store_ranges(endpoint_id=endpoint.pk, by=by, seen=digest, ranges=ranges, models=models)
        except Invalid as refusal:
            text = " ".join(problem.message for problem in refusal.problems)
            message += f" The limits of its inputs cannot be kept: {text}"
    servers = [
        {"name": name, **{key: server.get(key) or empty for key, empty in _NO_SERVER_ANSWER.items()}}
        for name, server in by_server.items()
    ]
    return {"digest": _workflow_revision(endpoint), "is_ok": health.is_ok, "message": message, "servers": servers}


def is_healthy(endpoint: Endpoint) -> bool:
    """Return whether the engine says that it can work. This runs in the calling thread and may take long."""
    return _ask_engine(endpoint, endpoint.config).is_ok


@transaction.atomic
def apply_suggested(*, brand: Brand, slug: str, by: User) -> Endpoint:
    """Apply the settings that the latest check suggested. Raises what `editing.update` does, Conflict without any."""
    endpoint = editing.lock(endpoint_cards.get(brand, by, slug).pk, by)
    latest = get_latest_check(endpoint)
    if latest is None or not latest.suggested:
        raise Conflict(_("Nothing is suggested for these settings; ask the endpoint once again."))
    return editing.update(endpoint_id=endpoint.pk, by=by, config={**endpoint.config, **latest.suggested})


def notify_operators() -> int:
    """Notify operators of every endpoint that has stopped working: once, and again only after it has worked in between.
    Returns how many endpoints."""
    empty = Job.objects.filter(_WITHOUT_ACCOUNT, endpoint=OuterRef("pk"))
    is_down = Q(trips__gte=TRIPS) & ~Q(breaker=Breaker.CLOSED)
    still = EndpointStatus.objects.filter(notified_at=None).filter(is_down | Exists(empty))
    return sum(_notify(status.pk) for status in still)


@transaction.atomic
def _notify(endpoint_id: int) -> bool:
    unlocked = EndpointStatus.objects.select_for_update(of=("self",), skip_locked=True).select_related("endpoint")
    if (status := unlocked.filter(pk=endpoint_id, notified_at=None).first()) is None:
        return False
    waiting = Job.objects.filter(_WITHOUT_ACCOUNT | Q(status=JobState.QUEUED), endpoint=status.endpoint)
    counts = dict(waiting.values_list("campaign__brand_id").annotate(Count("pk")).order_by())
    for brand in Brand.objects.filter(pk__in=counts):
        notices.notify(
            brand=brand,
            users=[*notices.list_operators(), *notices.list_people_with_roles(brand, Role.ADMIN)],
            kind="endpoint_stands",
            sentence=_notice(status, counts[brand.pk]),
            href=reverse("endpoint", args=[brand.slug, status.endpoint.slug]),
        )
    EndpointStatus.objects.filter(pk=endpoint_id).update(notified_at=timezone.now())
    return True


def _notice(status: EndpointStatus, count: int) -> str:
    images = "1 image waits" if count == 1 else f"{count} images wait"
    if status.breaker == Breaker.CLOSED:
        return f"{status.endpoint.name}: the account is empty or its credentials were refused. {images} for it."
    error = status.last_error.rstrip(".")
    return f"{status.endpoint.name} fails again and again ({error}). {images} for it."


def _enqueue(task: tuple[Any, ...], endpoint: Endpoint, kind: str, *, seconds: float, refusal: str) -> None:
    """Have a worker run the task (function, arguments), instead of an earlier one of this kind. Raises Conflict."""
    queue, name = django_rq.get_queue(endpoint.lane), f"{kind}-{endpoint.pk}"
    try:
        if (earlier := queue.fetch_job(name)) is not None:
            earlier.delete()
        limits = {"ttl": PATIENCE_SECONDS, "result_ttl": KEPT_SECONDS, "failure_ttl": KEPT_SECONDS}
        queue.enqueue(*task, job_id=name, job_timeout=int(seconds) + 10, **limits)
    except RedisError as error:
        raise Conflict(refusal) from error


def _find_report(
    endpoint: Endpoint, kind: str, *, failed: str, untaken: str, started_seconds: float = 0
) -> dict[str, Any] | Check | None:
    """Return what the worker returned, else a check that is open, or that failed or was untaken, with these words; None
    if there was none lately or Redis cannot be reached. started_seconds: how long a started one may work."""
    try:
        message = django_rq.get_queue(endpoint.lane).fetch_job(f"{kind}-{endpoint.pk}")
        if message is None:
            return None
        status, result = message.get_status(refresh=True), message.latest_result()
    except (RedisError, NoSuchJobError):
        return None
    # The result of an earlier check with this name stays in Redis after its job is deleted.
    if status == "finished" and result is not None and isinstance(result.return_value, dict):
        return dict(result.return_value)
    age = (timezone.now() - message.enqueued_at.astimezone(timezone.get_current_timezone())).total_seconds()
    patience = PATIENCE_SECONDS + (started_seconds if status == "started" else 0)
    if status in ("queued", "started") and age < patience:
        return Check(True)
    text = failed if status == "failed" else untaken % {"lane": endpoint.lane, "seconds": PATIENCE_SECONDS}
    return Check(False, message=text, seconds=age, at=timezone.now())


def _answer_within(seconds: float, check: Callable[[], engines.Health]) -> engines.Health:
    """Return the answer of a check, which runs in a thread of its own; after this time, that there was none."""
    answers: list[engines.Health] = []
    thread = threading.Thread(target=lambda: answers.append(check()), name="check", daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else engines.Health(False, f"No answer within {seconds:g} s.")


def _ask_engine(
    endpoint: Endpoint, config: Mapping[str, Any], *, broken: str = "The engine broke down when it was asked ({error})."
) -> engines.Health:
    """Return the health that the engine reports with this config. broken: the message if the engine crashes."""
    secret = ""
    try:
        secret = endpoint.secret
        health = engines.build(endpoint.engine, config, secret).health()
    except (engines.EngineError, ValueError, TypeError, KeyError, OSError, ImportError, Unreadable) as error:
        health = engines.Health(False, f"It cannot be used: {error}")
    except Exception as error:
        log.exception("endpoint.health_crashed", endpoint=endpoint.slug)
        health = engines.Health(False, broken.format(error=type(error).__name__))
    message = health.message.replace(secret, "…") if len(secret) > 3 else health.message
    return replace(health, message=message)


def _digest(endpoint: Endpoint) -> str:
    return hashlib.sha256(json.dumps(endpoint.config, sort_keys=True).encode()).hexdigest()


def _workflow_digest(endpoint: Endpoint) -> str:
    try:
        return Workflow.from_config(endpoint.config).digest()
    except ValueError:
        return ""


def _workflow_revision(endpoint: Endpoint) -> str:
    """Return the revision that a result is about: the workflow with its marks, and its settled questions."""
    return f"{_workflow_digest(endpoint)} {sorted(confirmed_keys(endpoint.config))}"
