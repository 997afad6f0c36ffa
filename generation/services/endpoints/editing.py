"""Create and change endpoints, set their secret, enable and disable them, and retry them after failures.

The leads of a brand may change its own endpoints, the operators may change shared ones. Every change is an event of
each brand that it concerns; the secret never is. pacing.py handles the pace and the failures of an endpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from campaigns.services import campaigns
from core import access, fetching, storable
from core.errors import Conflict, Invalid, NotAllowed, Problem
from core.events import DomainEvent, publish
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from core.services import wake_ups
from generation import events
from generation.choices import Breaker, HoldReason, JobState, RunState
from generation.models import Endpoint, EndpointStatus, Job, Run
from generation.services.dispatch import claims
from generation.services.endpoints import rules
from generation.services.images import assets
from generation.states import JOB

#: Fields that can be changed; the slug, the brand and the engine of an endpoint stay.
CHANGEABLE: Final = (
    "name", "config", "lane", "batch_size", "price_per_image", "prices", "max_concurrent", "max_per_second",
    "max_per_minute", "when_uncertain", "seconds_per_image", "licence_note", "disclaimer",
)  # fmt: skip
MAX_SECRET_LENGTH: Final = 10_000
MAX_EVENT_CHARACTERS: Final = 300


@transaction.atomic
def create(
    *, brand: Brand | None, by: User, slug: str, name: str, engine: str, lane: str, secret: str = "", **fields: Any
) -> Endpoint:
    """Create an endpoint; without a brand for all. fields: of CHANGEABLE. Raises NotAllowed, Invalid and Conflict."""
    _require(by, brand)
    fields = _changeable(fields, kept={})
    endpoint = Endpoint(brand=brand, slug=slug, name=name.strip(), engine=engine, lane=lane, **fields)
    _ensure_valid(endpoint, by, before=None)
    endpoint.secret = _readable(secret)
    try:
        with transaction.atomic():
            endpoint.save(force_insert=True)
    except IntegrityError:
        message = _("There is an endpoint %(slug)r already; take another short name.")
        raise Conflict(message % {"slug": slug}) from None
    endpoint.refresh_from_db()
    changes = {"engine": [None, engine], "lane": [None, lane]}
    _publish_saved(endpoint, by, changes, secret="set" if secret else "")
    return endpoint


@transaction.atomic
def update(*, endpoint_id: int, by: User, **fields: Any) -> Endpoint:
    """Change the given fields (of CHANGEABLE). Jobs keep the spec that they were planned with. Raises Invalid as
    `create` does, and Conflict if the lane changes while the endpoint has open jobs."""
    endpoint = lock(endpoint_id, by)
    before = {name: getattr(endpoint, name) for name in CHANGEABLE}
    fields = _changeable(fields, kept=endpoint.config)
    for name, value in fields.items():
        setattr(endpoint, name, value.strip() if isinstance(value, str) else value)
    _ensure_valid(endpoint, by, before=before["config"])
    _ensure_same_receiver(endpoint, before["config"])
    undecided = Job.objects.filter(endpoint=endpoint, status__in=assets.UNDECIDED)
    if endpoint.lane != before["lane"] and undecided.exists():
        message = _("Images are on their way at %(endpoint)s; change its lane when they are through.")
        raise Conflict(message % {"endpoint": endpoint.name})
    endpoint.save(update_fields=list(fields) or None)
    endpoint.refresh_from_db()
    changes = _changes(before, {name: getattr(endpoint, name) for name in CHANGEABLE}, is_shared=not endpoint.brand_id)
    if changes:
        _publish_saved(endpoint, by, changes)
    return endpoint


@transaction.atomic
def set_secret(*, endpoint_id: int, by: User, secret: str, config: Mapping[str, Any] | None = None) -> Endpoint:
    """Replace the secret; "" removes it. config: settings that change with it. Raises NotAllowed and Invalid."""
    endpoint = lock(endpoint_id, by)
    before = endpoint.config
    if config is not None:
        endpoint.config = dict(_restore_queries(config, before))
        _ensure_valid(endpoint, by, before=before)
    had, endpoint.secret = bool(endpoint.sealed_secret), _readable(secret)
    endpoint.save(update_fields=["sealed_secret", "config"])
    changes = _changes({"config": before}, {"config": endpoint.config}, is_shared=not endpoint.brand_id)
    _publish_saved(endpoint, by, changes, secret=("replaced" if had else "set") if secret.strip() else "removed")
    return endpoint


@transaction.atomic
def set_enabled(*, endpoint_id: int, by: User, is_enabled: bool) -> Endpoint:
    """Enable or disable an endpoint. A disabled one is not offered; its queued jobs wait or move elsewhere."""
    endpoint = lock(endpoint_id, by)
    if endpoint.is_enabled != is_enabled:
        endpoint.is_enabled = is_enabled
        endpoint.save(update_fields=["is_enabled"])
        _publish_saved(endpoint, by, {"is_enabled": [not is_enabled, is_enabled]})
        if is_enabled:
            wake_ups.wake(endpoint.lane)
    return endpoint


@transaction.atomic
def try_again(*, endpoint_id: int, by: User) -> int:
    """Let a resting or paused endpoint get its next job now, and queue the jobs that an empty account held. Returns
    how many were queued. The circuit breaker becomes half open. Jobs of paused runs wait for their run."""
    endpoint = lock(endpoint_id, by)
    status = EndpointStatus.objects.filter(pk=endpoint.pk)
    status.update(open_until=None, resume_at=None, trips=0, last_error_kind="")
    status.exclude(breaker=Breaker.CLOSED).update(breaker=Breaker.HALF_OPEN)
    queued = _queue_held(endpoint)
    _publish(events.EndpointTriedAgain, endpoint, {"slug": endpoint.slug, "queued": queued}, by)
    wake_ups.wake(endpoint.lane)
    return queued


def can_edit(user: User, endpoint: Endpoint) -> bool:
    """Return whether this person may change the endpoint; only operators may change a shared one."""
    action = access.Action.EDIT_SHARED_ENDPOINT if endpoint.brand is None else access.Action.EDIT_BRAND
    return access.can(user, action, endpoint.brand)


def _require(by: User, brand: Brand | None) -> None:
    if brand is not None:
        access.require(by, access.Action.EDIT_BRAND, brand)
    elif not access.can(by, access.Action.EDIT_SHARED_ENDPOINT):
        raise NotAllowed(_("Only operators can change an endpoint that serves all brands."))


def lock(endpoint_id: int, by: User) -> Endpoint:
    """Return the endpoint with its row locked. Raises NotFound, also for one that the person may not see."""
    rows = Endpoint.objects.shared_or_visible_to(by).select_related("brand")
    rows = rows.select_for_update(of=("self",)).filter(pk=endpoint_id)
    endpoint: Endpoint = first_or_refuse(rows, _("There is no endpoint %(id)s.") % {"id": endpoint_id})
    _require(by, endpoint.brand)
    return endpoint


def _changeable(fields: dict[str, Any], *, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields, with the queries of addresses in the config `kept`. Raises TypeError for an unknown one."""
    if odd := sorted(set(fields) - set(CHANGEABLE)):
        raise TypeError(f"an endpoint has no setting {', '.join(odd)} to be changed")
    return {name: _restore_queries(value, kept) if name == "config" else value for name, value in fields.items()}


def _restore_queries(config: Any, kept: Any) -> Any:
    """Return the settings with the queries of addresses in `kept`, which are not shown to people. Raises Invalid."""
    try:
        return fetching.restore_redacted_addresses(config, kept)
    except ValueError as error:
        raise Invalid(_("This endpoint cannot be used so."), [Problem("config", str(error))]) from None


def _ensure_valid(endpoint: Endpoint, by: User, *, before: Mapping[str, Any] | None) -> None:
    problems = storable.problems(endpoint.config, "config") or rules.find_problems(endpoint)
    if not problems and not access.can(by, access.Action.EDIT_SHARED_ENDPOINT):
        problems = rules.find_operator_settings(endpoint, before)
    if problems:
        raise Invalid(_("This endpoint cannot be used so."), problems)


def _ensure_same_receiver(endpoint: Endpoint, before: Mapping[str, Any]) -> None:
    """Raise Invalid if the kept secret would be sent to other addresses than those that it was entered for."""
    if not endpoint.sealed_secret:
        return
    if added := rules.list_addresses(endpoint.config) - rules.list_addresses(before):
        setting, text = sorted(added)[0]
        message = _("The kept secret would be sent to %(receiver)s. Enter it again together with the new %(setting)s.")
        message %= {"receiver": fetching.redact_settings(text)[:120], "setting": setting}
    elif "base_url" in before and "base_url" not in endpoint.config:
        message = _(
            "The kept secret would be sent to the service's usual address. Enter it again together with this change."
        )
    else:
        return
    raise Invalid(_("The secret has to be entered again."), [Problem("secret", message)])


def _readable(secret: str) -> str:
    text = secret.strip()
    if len(text) > MAX_SECRET_LENGTH or not text.isprintable():
        message = _("A secret is one line of at most %(n)s characters.") % {"n": f"{MAX_SECRET_LENGTH:,}"}
        raise Invalid(_("This secret cannot be kept."), [Problem("secret", message)])
    return text


def _queue_held(endpoint: Endpoint) -> int:
    """Queue the jobs of running runs that wait for the endpoint's account; locks the campaigns as a release does."""
    held_jobs = Job.objects.filter(endpoint=endpoint, status=JobState.HELD, hold_reason=HoldReason.QUOTA)
    campaign_ids = sorted(set(held_jobs.values_list("campaign_id", flat=True)))
    for campaign_id in campaign_ids:
        campaigns.lock(campaign_id)
    states = dict(Run.objects.filter(pk__in=held_jobs.values("run_id")).values_list("pk", "state"))
    running = [pk for pk, state in states.items() if state == RunState.RUNNING]
    paused = [pk for pk, state in states.items() if state == RunState.PAUSED]
    JOB.ensure(JobState.HELD, JobState.QUEUED)
    held_jobs.filter(run__in=paused).update(hold_reason=HoldReason.PAUSED)
    for campaign_id in campaign_ids:
        claims.activate(lane=endpoint.lane, campaign_id=campaign_id)
    fresh = {"hold_reason": "", "not_before": None, "tries": 0, "error": "", "error_kind": ""}
    queued: int = held_jobs.filter(run__in=running).update(status=JobState.QUEUED, **fresh)
    return queued


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], *, is_shared: bool) -> dict[str, Any]:
    """Return [old, new] by setting for all differences. Brands do not see the engine settings of a shared endpoint."""
    changes: dict[str, Any] = {
        name: [_event_value(before[name]), _event_value(after[name])]
        for name in before
        if name != "config" and before[name] != after[name]
    }
    old, new = before["config"], after["config"]
    for key in sorted(key for key in {*old, *new} if old.get(key) != new.get(key)):
        shown = [_event_value(fetching.redact_settings(config.get(key))) for config in (old, new)]
        changes[f"config.{key}"] = ["…", "…"] if is_shared else shown
    return changes


def _event_value(value: Any) -> Any:
    """Return a value as an event stores it: plain, and cut if it is long, such as a workflow."""
    if isinstance(value, Decimal):
        return str(value)
    text = json.dumps(value, default=str, ensure_ascii=False)
    return value if len(text) <= MAX_EVENT_CHARACTERS else f"{text[:MAX_EVENT_CHARACTERS]}…"


def _publish_saved(endpoint: Endpoint, by: User, changes: Mapping[str, Any], *, secret: str = "") -> None:
    payload = {
        "slug": endpoint.slug,
        "name": endpoint.name,
        "engine": endpoint.engine,
        "changes": dict(changes),
        "secret": secret,
        "is_enabled": endpoint.is_enabled,
    }
    _publish(events.EndpointSaved, endpoint, payload, by)


def _publish(kind: type[DomainEvent], endpoint: Endpoint, payload: dict[str, Any], by: User) -> None:
    """Publish the event for each brand that the endpoint makes images for."""
    brand_ids = [endpoint.brand_id] if endpoint.brand_id else Brand.objects.order_by("pk").values_list("pk", flat=True)
    publish(*(kind(brand_id=pk, object_id=endpoint.pk, payload=payload) for pk in brand_ids), by=by)
