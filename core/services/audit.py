"""Seals the audit trail, verifies and exports it, and removes secrets from it.

A secret is removed from its event. The link keeps its number and hash, and a new event records which link, by whom and
why, so the trail can still be verified. Verification then lists the link as redacted; its former content can no longer
be proved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from typing import Any

from django.db import transaction
from django.db.models import TextField
from django.db.models.functions import Cast
from django.utils.translation import gettext as _

from core import audit_chain, sql
from core.access import Action, can
from core.audit_chain import Link, Verification
from core.errors import Conflict, Invalid, NotAllowed, Problem
from core.events import AuditRedacted, publish
from core.models import Brand, Event, SealedEvent, User

#: The names in the hashed body of an event, and the columns of their values.
_FIELDS = {
    "event": "id", "brand": "brand_id", "type": "type", "object_type": "object_type", "object": "object_id",
    "payload": "payload", "actor": "actor_id", "actor_label": "actor_label", "at": "at", "xid": "xid",
}  # fmt: skip
_COLUMNS = ", ".join(f"e.{name}" for name in _FIELDS.values())

# Rows that no running transaction can still add to: below the oldest running one. A visible row at or above the
# snapshot's end can only come from a restored dump of another cluster, whose numbers ran ahead of ours: it goes first.
# By hand, as is _UNSEALED_BEFORE_HEAD, because the ORM compares no pairs: (xid, id) > (…, …) reads the index in order.
_UNSEALED = f"""
    WITH now AS (
        SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest,
               pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS ending
    )
    SELECT {_COLUMNS}
    FROM core_event e, now
    WHERE e.brand_id = %(brand)s
      AND (e.xid < now.oldest OR e.xid >= now.ending)
      AND (%(xid)s >= now.ending OR (e.xid, e.id) > (%(xid)s, %(event)s))
      AND NOT EXISTS (SELECT 1 FROM core_sealedevent s WHERE s.event_id = e.id)
    ORDER BY e.xid < now.ending, e.xid, e.id
    LIMIT %(limit)s
"""  # noqa: S608 - the columns are named above

# The ORM would join the events without LEFT, and so pass over a link whose event somebody has deleted.
_CHAIN = f"""
    SELECT s.seq, s.previous_hash, s.hash, {_COLUMNS}
    FROM core_sealedevent s LEFT JOIN core_event e ON e.id = s.event_id
    WHERE s.brand_id = %(brand)s AND s.seq > %(since)s
    ORDER BY s.seq
"""  # noqa: S608 - the columns are named above

# Whoever removes the seal of an old event makes it unsealed again; the sealer never goes back for it.
_UNSEALED_BEFORE_HEAD = """
    SELECT e.id, e.type
    FROM core_event e
    WHERE e.brand_id = %(brand)s
      AND (e.xid, e.id) < (
          SELECT last.xid, last.id FROM core_sealedevent s JOIN core_event last ON last.id = s.event_id
          WHERE s.brand_id = %(brand)s ORDER BY s.seq DESC LIMIT 1
      )
      AND NOT EXISTS (SELECT 1 FROM core_sealedevent s WHERE s.event_id = e.id)
    ORDER BY e.xid, e.id
    LIMIT 1
"""


def seal(brand_id: int | None = None, limit: int = 5000) -> int:
    """Number and hash the events that no running transaction can precede any more; return how many.

    At most `limit` per brand and call, in commit order, without gaps. Safe to call from several processes: one of them
    at a time seals a brand. Must not run inside a longer transaction, whose own events it could not see.
    """
    brands = [brand_id] if brand_id is not None else list(Brand.objects.values_list("pk", flat=True))
    return sum(_seal_brand(pk, limit) for pk in brands)


@transaction.atomic
def _seal_brand(brand_id: int, limit: int) -> int:
    _lock(brand_id)
    sealed = SealedEvent.objects.filter(brand_id=brand_id).order_by("-seq")
    last = sealed.values_list("seq", "hash", "event__xid", "event_id").first()
    seq, head, xid, event_id = last or (0, audit_chain.GENESIS, 0, 0)
    seals = []
    for row in sql.rows(_UNSEALED, {"brand": brand_id, "xid": xid, "event": event_id, "limit": limit}):
        seq += 1
        previous, head = head, audit_chain.link_hash(head, _body(seq, row))
        seals.append(SealedEvent(brand_id=brand_id, seq=seq, event_id=row[0], previous_hash=previous, hash=head))
    SealedEvent.objects.bulk_create(seals, batch_size=1000)
    return len(seals)


def _lock(brand_id: int) -> None:
    """Take the lock under which a brand's trail is sealed, until the transaction ends."""
    sql.lock(f"proofline.seal:{brand_id}")


def verify(brand: Brand, *, anchor: tuple[int, str] | None = None) -> Verification:
    """Check the brand's whole chain; `anchor` is (number, hash) noted earlier elsewhere. Uses little memory."""
    verification = audit_chain.check_links(_links(brand, 0), anchor=anchor)
    if not verification.is_intact:
        return verification
    if unsealed := sql.rows(_UNSEALED_BEFORE_HEAD, {"brand": brand.pk}):
        sentence = _(
            "Event %(id)d (%(type)s) is older than the last link and has no seal: it was added or unsealed later."
        )
        message = sentence % {"id": unsealed[0].id, "type": unsealed[0].type}
        return Verification(verification.count, False, verification.count + 1, message, verification.head)
    return verification


def export(brand: Brand, *, since: int = 0) -> Iterator[str]:
    """Return the sealed trail as JSON lines with number, hash and event; `verify_export` can check them anywhere."""
    return map(audit_chain.to_line, _links(brand, since))


def head(brand: Brand) -> tuple[int, str]:
    """Return (number, hash) of the last link, to be noted elsewhere as an anchor."""
    last = SealedEvent.objects.filter(brand=brand).order_by("-seq").values_list("seq", "hash").first()
    return last or (0, audit_chain.GENESIS)


def _links(brand: Brand, since: int) -> Iterator[Link]:
    """Yield the brand's links after number `since`, with a server-side cursor."""
    with transaction.atomic():
        for seq, previous, digest, *event in sql.stream(_CHAIN, {"brand": brand.pk, "since": since}):
            yield Link(seq, previous, digest, _body(seq, event) if event[0] is not None else None)


def _body(seq: int, row: Any) -> dict[str, Any]:
    """Return the hashed body of one row in the order of _FIELDS: all its values, and its number in the chain."""
    body = {"seq": seq, **dict(zip(_FIELDS, row, strict=True))}
    return body | {"at": body["at"].astimezone(UTC).isoformat(timespec="microseconds")}


REMOVED = "[removed]"
SHORTEST = 6  # characters; a shorter text could also occur where it is not the secret


def count_containing(*, brand: Brand, secret: str) -> int:
    return len(_containing(brand, secret))


@transaction.atomic(durable=True)
def remove_text(*, brand: Brand, by: User, secret: str, reason: str) -> int:
    """Replace the text in every event of the brand by "[removed]" and record each removal; return how many.

    Raises NotAllowed for anybody but an operator, Invalid for a short text or no reason, and Conflict if the trail is
    broken, because a removal must not hide another change.
    """
    if not can(by, Action.REDACT_AUDIT):
        raise NotAllowed(_("Only an operator (superuser) may remove a secret from the trail."), action="redact")
    _ensure_usable(secret, reason)
    _lock(brand.pk)
    verification = verify(brand)
    if not verification.is_intact:
        sentence = _("The trail of %(brand)s does not hold; find out why first. %(fault)s")
        raise Conflict(sentence % {"brand": brand.name, "fault": verification.message})
    if rows := _containing(brand, secret):
        _rewrite({event_id: _without(payload, secret) for event_id, _seq, _hash, payload in rows})
        publish(*(_event(brand, row, secret, reason) for row in rows), by=by)
    return len(rows)


def _ensure_usable(secret: str, reason: str) -> None:
    problems = []
    if len(secret) < SHORTEST:
        sentence = _("Give the secret whole; it has at least %(n)d characters.") % {"n": SHORTEST}
        problems.append(Problem("secret", sentence))
    if not reason.strip() or secret in reason:
        problems.append(Problem("reason", _("Say why in a sentence that does not hold the secret.")))
    if problems:
        raise Invalid(_("Nothing was removed."), problems)


def _containing(brand: Brand, secret: str) -> list[tuple[int, int | None, str | None, Any]]:
    """Return (event, number, hash, payload) of each event that contains the text in a value or a key."""
    events = Event.objects.filter(brand=brand).annotate(text=Cast("payload", TextField()))
    events = events.filter(text__contains=json.dumps(secret, ensure_ascii=False)[1:-1])
    return list(events.order_by("pk").values_list("pk", "seal__seq", "seal__hash", "payload"))


def _without(value: Any, secret: str) -> Any:
    if isinstance(value, str):
        return value.replace(secret, REMOVED)
    if isinstance(value, dict):
        return {_without(key, secret): _without(inner, secret) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner, secret) for inner in value]
    return value


def _rewrite(payloads: dict[int, Any]) -> None:
    """Change payloads, with the table locked and its trigger off. The ORM has no statement for triggers."""
    sql.execute("SET CONSTRAINTS ALL IMMEDIATE")  # ALTER TABLE fails while checks are deferred
    sql.execute("ALTER TABLE core_event DISABLE TRIGGER append_only")
    for event_id, payload in payloads.items():
        Event.objects.filter(pk=event_id).update(payload=payload)
    sql.execute("ALTER TABLE core_event ENABLE TRIGGER append_only")
    sql.execute("SET CONSTRAINTS ALL DEFERRED")


def _event(brand: Brand, row: tuple[int, int | None, str | None, Any], secret: str, reason: str) -> Any:
    event_id, seq, hash_, payload = row
    current = Event.objects.values_list(*_FIELDS.values()).get(pk=event_id)
    record = {
        "seq": seq,
        "event": event_id,
        "hash": hash_,
        "body_sha256": audit_chain.body_sha256(_body(seq, current)) if seq is not None else None,
        "places": json.dumps(payload, ensure_ascii=False).count(json.dumps(secret, ensure_ascii=False)[1:-1]),
        "reason": reason.strip(),
    }
    return AuditRedacted(brand_id=brand.pk, object_id=event_id, payload=record)
