"""Publish events in the transaction that made the change, and let higher apps subscribe to them.

Each app declares its event types in its events.py; those of brands and members are here.
Subscribers run in order of registration; side effects must run after commit and read the event table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from django.db import transaction

from core import clock, sql
from core.fetching import redact_json
from core.models import User

# Several times as fast as `bulk_create`, which matters to the workers: each image has four events.
_INSERT = """
INSERT INTO core_event (brand_id, type, object_type, object_id, payload, actor_id, actor_label, at)
SELECT event.*, %(actor)s, %(label)s, %(now)s::timestamptz
FROM jsonb_to_recordset(%(events)s) AS event
    (brand_id bigint, type text, object_type text, object_id bigint, payload jsonb)
"""

TYPES: dict[str, type[DomainEvent]] = {}


@dataclass(frozen=True, kw_only=True)
class DomainEvent:
    """One kind of event, registered by the `type` in its class line. `payload` is plain JSON.

    object_type: the kind of row that `object_id` means; by default the middle part of the type.
    """

    type: ClassVar[str]
    object_type: ClassVar[str]
    #: True if work stops without a subscriber; then a system check fails.
    needs_subscriber: ClassVar[bool] = False

    brand_id: int
    object_id: int
    payload: dict[str, Any] = field(default_factory=dict)

    def __init_subclass__(cls, *, type: str = "", object_type: str = "") -> None:
        if type in TYPES:
            raise ValueError(f"event type {type} is declared twice")
        if type:
            cls.type, cls.object_type = type, object_type or type.split(".")[1]
            TYPES[type] = cls

    @classmethod
    def of(cls, row: Any, /, **payload: Any) -> Self:
        """Return the event of a row that has a brand, or of a brand itself."""
        return cls(brand_id=getattr(row, "brand_id", row.pk), object_id=row.pk, payload=payload)


Subscriber = Callable[[Any], None]
_subscribers: dict[str, list[Subscriber]] = {}
_subscribers_to_all: dict[str, list[Subscriber]] = {}
_current_actor: ContextVar[User | None] = ContextVar("current_actor", default=None)


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
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("publish() outside a transaction: the event could survive a change that did not happen")
    if not events:
        return
    rows = [
        {
            "brand_id": item.brand_id,
            "type": item.type,
            "object_type": item.object_type,
            "object_id": item.object_id,
            "payload": redact_json(item.payload),  # a sealed event cannot be changed
        }
        for item in events
    ]
    actor = {"actor": by.pk if by else None, "label": by.display_name if by else (label or "system")}
    sql.execute(_INSERT, {**actor, "now": clock.now(), "events": json.dumps(rows)})
    token = _current_actor.set(by)
    try:
        for item in events:
            for subscriber in _subscribers.get(item.type, ()):
                subscriber(item)
        for kind, listeners in _subscribers_to_all.items():
            if published := [item for item in events if item.type == kind]:
                for listener in listeners:
                    listener(published)
    finally:
        _current_actor.reset(token)


def set_changed(row: Any, values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Set those of the values that differ from the row's; return them as an event shows them: field -> [old, new]."""
    changes = {name: [old, new] for name, new in values.items() if new != (old := getattr(row, name))}
    for name, (_old, new) in changes.items():
        setattr(row, name, new)
    return changes


class AuditRedacted(DomainEvent, type="core.audit.redacted", object_type="event"):
    """An operator removed a secret from an earlier event.

    payload: {"seq", "event", "hash", "body_sha256", "places", "reason"}. seq and hash: number and hash of the event's
    link, which stay. body_sha256: of the event's current body. places: how often the secret occurred in it.
    """


class BrandCreated(DomainEvent, type="core.brand.created"):
    """A brand was created. payload: {"slug", "name", "currency", "time_zone"}."""


class BrandTimeZoneSet(DomainEvent, type="core.brand.time_zone_set"):
    """The time zone of a brand's dates was changed. payload: {"before", "after"}; "" means that of the installation."""


class BrandBudgetSet(DomainEvent, type="core.brand.budget_set"):
    """The monthly budget of a brand was changed. payload: {"before", "after"}, None for no limit."""


class BrandStaleUseSet(DomainEvent, type="core.brand.stale_use_set"):
    """A brand chose what stale images cause. payload: {"before", "after"}: "keep" or "withdraw"."""


class BrandBannedWordsSet(DomainEvent, type="core.brand.banned_words_set"):
    """A brand chose what happens when a banned word is used. payload: {"before", "after"}: "warn" or "block"."""


class MemberAdded(DomainEvent, type="core.member.added", object_type="brand"):
    """Somebody was given a role. object_id is the brand's; payload: {"user", "name", "role"}."""


class MemberRemoved(DomainEvent, type="core.member.removed", object_type="brand"):
    """Somebody lost a role. object_id is the brand's; payload: {"user", "name", "role"}."""
