"""Removes a secret from the audit trail, so that the trail can still be verified.

The secret is removed from the event, its link keeps its number and hash, and a new event records which link, by whom
and why. Verification then lists the link as redacted; its former content can no longer be proved.
"""

from __future__ import annotations

import json
from typing import Any

from django.db import connection, transaction
from django.utils.translation import gettext as _

from core import audit_chain
from core.access import Action, can
from core.errors import Conflict, Invalid, NotAllowed, Problem
from core.events import AuditRedacted, publish
from core.models import Brand, User
from core.services import audit

REMOVED = "[removed]"
SHORTEST = 6  # characters; a shorter text could also occur where it is not the secret

_CONTAINING = """
    SELECT e.id, s.seq, s.hash, e.payload FROM core_event e
    LEFT JOIN core_sealedevent s ON s.event_id = e.id
    WHERE e.brand_id = %s AND strpos(e.payload::text, %s) > 0 ORDER BY e.id
"""


def count_events(*, brand: Brand, secret: str) -> int:
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
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [audit.seal_lock(brand.pk)])
    verification = audit.verify(brand)
    if not verification.is_intact:
        sentence = _("The trail of %(brand)s does not hold; find out why first. %(fault)s")
        raise Conflict(sentence % {"brand": brand.name, "fault": verification.message})
    rows = _containing(brand, secret)
    if rows:
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
    with connection.cursor() as cursor:
        cursor.execute(_CONTAINING, [brand.pk, json.dumps(secret, ensure_ascii=False)[1:-1]])
        return [(pk, seq, hash_, audit.plain_payload(payload)) for pk, seq, hash_, payload in cursor.fetchall()]


def _without(value: Any, secret: str) -> Any:
    if isinstance(value, str):
        return value.replace(secret, REMOVED)
    if isinstance(value, dict):
        return {_without(key, secret): _without(inner, secret) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner, secret) for inner in value]
    return value


def _rewrite(payloads: dict[int, Any]) -> None:
    """Change the payloads of events. The trigger that forbids it is off, and the table locked, in this transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # ALTER TABLE fails while checks are deferred
        cursor.execute("ALTER TABLE core_event DISABLE TRIGGER append_only")
        for event_id, payload in payloads.items():
            cursor.execute("UPDATE core_event SET payload = %s::jsonb WHERE id = %s", [json.dumps(payload), event_id])
        cursor.execute("ALTER TABLE core_event ENABLE TRIGGER append_only")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def _event(brand: Brand, row: tuple[int, int | None, str | None, Any], secret: str, reason: str) -> Any:
    event_id, seq, hash_, payload = row
    record = {
        "seq": seq,
        "event": event_id,
        "hash": hash_,
        "body_sha256": audit_chain.body_sha256(audit.body_of(event_id, seq)) if seq is not None else None,
        "places": json.dumps(payload, ensure_ascii=False).count(json.dumps(secret, ensure_ascii=False)[1:-1]),
        "reason": reason.strip(),
    }
    return AuditRedacted(brand_id=brand.pk, object_id=event_id, payload=record)
