"""Publish events in the transaction that made the change, and let higher apps subscribe to them.

Each app declares its event types in its events.py; those of brands and members are here.
Subscribers run in order of registration; side effects must run after commit and read the event table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from django.db import connection, transaction

from core import clock
from core.fetching import redact_json
from core.models import User

# Several times as fast as `bulk_create`, which matters to the workers: each image has four events.
_INSERT = """
INSERT INTO core_event (brand_id, type, object_type, object_id, payload, actor_id, actor_label, at)
SELECT *, %(actor)s, %(label)s, %(now)s::timestamptz
FROM unnest(%(brands)s::bigint[], %(types)s::text[], %(object_types)s::text[], %(objects)s::bigint[],
            %(payloads)s::jsonb[])
"""


@dataclass(frozen=True, kw_only=True)
class DomainEvent:
    """One kind of event. Subclasses set `type` and `object_type`; `payload` is plain JSON."""

    type: ClassVar[str]
    object_type: ClassVar[str]
    #: True if work stops without a subscriber; then a system check fails.
    needs_subscriber: ClassVar[bool] = False

    brand_id: int
    object_id: int
    payload: dict[str, Any] = field(default_factory=dict)


Kind = TypeVar("Kind", bound=type[DomainEvent])
Subscriber = Callable[[Any], None]
TYPES: dict[str, type[DomainEvent]] = {}
_subscribers: dict[str, list[Subscriber]] = {}
_subscribers_to_all: dict[str, list[Subscriber]] = {}
_current_actor: ContextVar[User | None] = ContextVar("current_actor", default=None)


def declare(cls: Kind) -> Kind:
    """Class decorator: register an event type. Raises ValueError if its name is already registered."""
    if cls.type in TYPES:
        raise ValueError(f"event type {cls.type} is declared twice")
    TYPES[cls.type] = cls
    return cls


def subscribe(kind: type[DomainEvent]) -> Callable[[Subscriber], Subscriber]:
    """Decorator: call the function with each published event of `kind`, inside the publishing transaction."""
    return _adder_to(_subscribers.setdefault(kind.type, []))


def subscribe_to_all(kind: type[DomainEvent]) -> Callable[[Subscriber], Subscriber]:
    """Decorator: like `subscribe`, but the function gets the list of all events of `kind` that one call published."""
    return _adder_to(_subscribers_to_all.setdefault(kind.type, []))


def _adder_to(subscribers: list[Subscriber]) -> Callable[[Subscriber], Subscriber]:
    def add(function: Subscriber) -> Subscriber:
        subscribers.append(function)
        return function

    return add


def missing_subscribers() -> list[str]:
    """Return the event types that need a subscriber and have none."""
    heard = _subscribers.keys() | _subscribers_to_all.keys()
    return sorted(name for name, kind in TYPES.items() if kind.needs_subscriber and name not in heard)


def current_actor() -> User | None:
    """Return the person who caused the event of the running subscriber; None if a process did."""
    return _current_actor.get()


def publish(*events: DomainEvent, by: User | None = None, label: str = "") -> None:
    """Insert a row per event, by a person or the process `label`, and call the subscribers, all in this transaction."""
    publish_all(events, by=by, label=label)


def publish_all(events: Iterable[DomainEvent], *, by: User | None = None, label: str = "") -> None:
    """Publish many events as `publish` does, with one INSERT."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("publish() outside a transaction: the event could survive a change that did not happen")
    items = list(events)
    if not items:
        return
    values = {
        "actor": by.pk if by else None,
        "label": by.display_name if by else (label or "system"),
        "now": clock.now(),
        "brands": [item.brand_id for item in items],
        "types": [item.type for item in items],
        "object_types": [item.object_type for item in items],
        "objects": [item.object_id for item in items],
        "payloads": [json.dumps(redact_json(item.payload)) for item in items],  # a sealed event cannot be changed
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, values)
    token = _current_actor.set(by)
    try:
        for item in items:
            for subscriber in _subscribers.get(item.type, ()):
                subscriber(item)
        for kind, listeners in _subscribers_to_all.items():
            if published := [item for item in items if item.type == kind]:
                for listener in listeners:
                    listener(published)
    finally:
        _current_actor.reset(token)


@declare
class AuditRedacted(DomainEvent):
    """An operator removed a secret from an earlier event.

    payload: {"seq", "event", "hash", "body_sha256", "places", "reason"}. seq and hash: number and hash of the event's
    link, which stay. body_sha256: of the event's current body. places: how often the secret occurred in it.
    """

    type = "core.audit.redacted"
    object_type = "event"


@declare
class BrandCreated(DomainEvent):
    """A brand was created. payload: {"slug", "name", "currency", "time_zone"}."""

    type = "core.brand.created"
    object_type = "brand"


@declare
class BrandTimeZoneSet(DomainEvent):
    """The time zone of a brand's dates was changed. payload: {"before", "after"}; "" means that of the installation."""

    type = "core.brand.time_zone_set"
    object_type = "brand"


@declare
class BrandBudgetSet(DomainEvent):
    """The monthly budget of a brand was changed. payload: {"before", "after"}, None for no limit."""

    type = "core.brand.budget_set"
    object_type = "brand"


@declare
class BrandStaleUseSet(DomainEvent):
    """A brand chose what stale images cause. payload: {"before", "after"}: "keep" or "withdraw"."""

    type = "core.brand.stale_use_set"
    object_type = "brand"


@declare
class BrandBannedWordsSet(DomainEvent):
    """A brand chose what happens when a banned word is used. payload: {"before", "after"}: "warn" or "block"."""

    type = "core.brand.banned_words_set"
    object_type = "brand"


@declare
class MemberAdded(DomainEvent):
    """Somebody was given a role. object_id is the brand's; payload: {"user", "name", "role"}."""

    type = "core.member.added"
    object_type = "brand"


@declare
class MemberRemoved(DomainEvent):
    """Somebody lost a role. object_id is the brand's; payload: {"user", "name", "role"}."""

    type = "core.member.removed"
    object_type = "brand"
