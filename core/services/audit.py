"""Seals the audit trail, and verifies and exports it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from typing import Any

from django.db import connection, transaction
from django.utils.translation import gettext as _

from core import audit_chain
from core.audit_chain import Link, Verification
from core.models import Brand, SealedEvent

_COLUMNS = "e.id, e.brand_id, e.type, e.object_type, e.object_id, e.payload, e.actor_id, e.actor_label, e.at, e.xid"

# Rows that no running transaction can still add to: below the oldest running one. A visible row at or above the
# snapshot's end can only come from a restored dump of another cluster, whose numbers ran ahead of ours: it goes first.
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
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [seal_lock(brand_id)])
        sealed = SealedEvent.objects.filter(brand_id=brand_id).order_by("-seq")
        last = sealed.values_list("seq", "hash", "event__xid", "event_id").first()
        seq, head, xid, event_id = last or (0, audit_chain.GENESIS, 0, 0)
        cursor.execute(_UNSEALED, {"brand": brand_id, "xid": xid, "event": event_id, "limit": limit})
        rows = cursor.fetchall()
    seals = []
    for row in rows:
        seq += 1
        previous, head = head, audit_chain.link_hash(head, _body(seq, row))
        seals.append(SealedEvent(brand_id=brand_id, seq=seq, event_id=row[0], previous_hash=previous, hash=head))
    SealedEvent.objects.bulk_create(seals, batch_size=1000)
    return len(seals)


def seal_lock(brand_id: int) -> str:
    """Return the name of the lock under which a brand's trail is sealed."""
    return f"proofline.seal:{brand_id}"


def body_of(event_id: int, seq: int) -> dict[str, Any]:
    """Return the current body of one event, in the form that is hashed."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM core_event e WHERE e.id = %s", [event_id])  # noqa: S608
        return _body(seq, cursor.fetchone())


def verify(brand: Brand, *, anchor: tuple[int, str] | None = None) -> Verification:
    """Check the brand's whole chain; `anchor` is (number, hash) noted earlier elsewhere. Uses little memory."""
    verification = audit_chain.check_links(_links(brand, 0), anchor=anchor)
    if not verification.is_intact:
        return verification
    with connection.cursor() as cursor:
        cursor.execute(_UNSEALED_BEFORE_HEAD, {"brand": brand.pk})
        row = cursor.fetchone()
    if row:
        sentence = _(
            "Event %(id)d (%(type)s) is older than the last link and has no seal: it was added or unsealed later."
        )
        message = sentence % {"id": row[0], "type": row[1]}
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
        connection.ensure_connection()
        with connection.chunked_cursor() as cursor:
            cursor.execute(_CHAIN, {"brand": brand.pk, "since": since})
            while rows := cursor.fetchmany(2000):
                for seq, previous, digest, *event in rows:
                    yield Link(seq, previous, digest, _body(seq, event) if event[0] is not None else None)


def _body(seq: int, row: Any) -> dict[str, Any]:
    """Return the hashed body of one row in the order of _COLUMNS: all its values, and its number in the chain."""
    event_id, brand_id, type_, object_type, object_id, payload, actor_id, actor_label, at, xid = row
    return {
        "seq": seq,
        "event": event_id,
        "brand": brand_id,
        "type": type_,
        "object_type": object_type,
        "object": object_id,
        "payload": plain_payload(payload),
        "actor": actor_id,
        "actor_label": actor_label,
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "xid": xid,
    }


def plain_payload(payload: Any) -> Any:
    """Return a payload as JSON; a raw cursor gives jsonb as text under Django's psycopg adapters."""
    return json.loads(payload) if isinstance(payload, str) else payload
