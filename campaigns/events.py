"""The spine: publish what happened in the transaction that did it, and let higher apps hear of it.

Each app declares its own event types in its events.py as subclasses of `Happening`; this app's are at the end.
`publish` inserts the row: no record, no change. Subscribers run in the same transaction, in the order in which they
were registered; side effects belong after commit and read the event table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from django.db import transaction
from django.utils import timezone

from campaigns.models import Event, User


@dataclass(frozen=True, kw_only=True)
class Happening:
    """One kind of thing that happens. Subclasses set `type` and `object_type`; `payload` is plain JSON."""

    type: ClassVar[str]
    object_type: ClassVar[str]
    #: True if the line breaks when nobody hears it; a system check fails then.
    needs_subscriber: ClassVar[bool] = False

    brand_id: int
    object_id: int
    payload: dict[str, Any] = field(default_factory=dict)


Kind = TypeVar("Kind", bound=type[Happening])
TYPES: dict[str, type[Happening]] = {}
_subscribers: dict[str, list[Callable[[Any], None]]] = {}


def declare(cls: Kind) -> Kind:
    """Class decorator: register an event type, refusing a second one of the same name."""
    if cls.type in TYPES:
        raise ValueError(f"event type {cls.type} is declared twice")
    TYPES[cls.type] = cls
    return cls


def subscribe(kind: type[Happening]) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Decorator: call the function with each published event of `kind`, inside the publishing transaction."""

    def register(function: Callable[[Any], None]) -> Callable[[Any], None]:
        _subscribers.setdefault(kind.type, []).append(function)
        return function

    return register


def unheard() -> list[str]:
    """Event types that need a subscriber and have none."""
    return sorted(name for name, kind in TYPES.items() if kind.needs_subscriber and not _subscribers.get(name))


def publish(*happenings: Happening, by: User | None = None, label: str = "") -> None:
    """Insert one row per happening and tell the subscribers. Must run inside the transaction that did it.

    `by` is the person; without one, `label` names the process ("worker gpu-1", "clock").
    """
    publish_all(happenings, by=by, label=label)


def publish_all(happenings: Iterable[Happening], *, by: User | None = None, label: str = "") -> None:
    """`publish` for many, one INSERT."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("publish() outside a transaction: the event could survive a change that did not happen")
    items = list(happenings)
    now = timezone.now()
    Event.objects.bulk_create(
        Event(
            brand_id=item.brand_id,
            type=item.type,
            object_type=item.object_type,
            object_id=item.object_id,
            payload=item.payload,
            actor=by,
            actor_label=by.display_name if by else (label or "system"),
            at=now,
        )
        for item in items
    )
    for item in items:
        for subscriber in _subscribers.get(item.type, ()):
            subscriber(item)
