"""Tests of redactions: a secret is removed from the sealed trail, and the chain still proves everything else."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from core import audit_chain
from core.errors import Conflict, Invalid, NotAllowed
from core.events import AuditRedacted, publish
from core.models import Event, SealedEvent, User
from core.services import audit
from tests.core.test_audit import publish_notes, seal_all, tamper  # noqa: F401
from tests.support import factories

pytestmark = pytest.mark.django_db(transaction=True)
KEY = 'k"ü\\hush5f1c'
REASON = "Feed key in a refusal; replaced on 3 May"


@pytest.fixture
def operator() -> User:
    return factories.UserFactory(is_superuser=True)


@pytest.fixture
def trail() -> Any:
    """Make six sealed events; the second and the fifth contain the secret."""
    brand = factories.BrandFactory()
    for number in range(6):
        url = f"https://shop.example/feed/{KEY}" if number in (1, 4) else "https://shop.example/feed"
        publish_notes(brand, number=number, message=f"{url} answered 404", nested=[{"url": url}], **{url: 1})
    seal_all()
    return brand


def links(brand: Any) -> list[tuple[int, str]]:
    return list(SealedEvent.objects.filter(brand=brand).order_by("seq").values_list("seq", "hash"))


def test_a_removed_secret_is_gone_and_the_chain_proves_the_rest(trail: Any, operator: User) -> None:
    before, head = links(trail), audit.head(trail)
    assert audit.count_containing(brand=trail, secret=KEY) == 2
    assert audit.remove_text(brand=trail, by=operator, secret=KEY, reason=REASON) == 2
    seal_all()
    everything = json.dumps(list(Event.objects.values()), default=str, ensure_ascii=False)
    assert json.dumps(KEY, ensure_ascii=False)[1:-1] not in everything and audit.REMOVED in everything
    assert links(trail)[:6] == before, "number and hash of each link stay"
    verification = audit.verify(trail, anchor=head)
    assert (verification.is_intact, verification.redacted, verification.count) == (True, (2, 5), 8)
    assert "removed later from 2 links (2, 5)" in verification.message
    events = Event.objects.filter(type="core.audit.redacted").order_by("pk")
    assert [(event.payload["seq"], event.payload["reason"], event.actor) for event in events] == [
        (2, REASON, operator),
        (5, REASON, operator),
    ]
    assert audit_chain.verify_export(audit.export(trail)).redacted == (2, 5)


def test_events_cannot_be_changed_afterwards_either(trail: Any, operator: User) -> None:
    audit.remove_text(brand=trail, by=operator, secret=KEY, reason=REASON)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        Event.objects.update(payload={})


TAMPERINGS = {
    "the redacted event again": "UPDATE core_event SET payload = '{}' WHERE id = %(redacted)s",
    "another event": "UPDATE core_event SET payload = '{}' WHERE id = %(other)s",
    "who did it": "UPDATE core_event SET actor_label = 'nobody' WHERE id = %(redacted)s",
    "the record of it": 'UPDATE core_event SET payload = payload || \'{"reason": ""}\' WHERE id = %(record)s',
    "the hash in the record": "UPDATE core_event SET payload = payload || '{\"seq\": 3}' WHERE id = %(record)s",
    "the seal": "UPDATE core_sealedevent SET hash = repeat('0', 64) WHERE event_id = %(redacted)s",
    "the record's seal removed": "DELETE FROM core_sealedevent WHERE event_id >= %(record)s",
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_a_change_beside_a_redaction_is_still_found(
    what: str,
    trail: Any,
    operator: User,
    tamper: Callable[..., None],  # noqa: F811
) -> None:
    audit.remove_text(brand=trail, by=operator, secret=KEY, reason=REASON)
    seal_all()
    ids = list(Event.objects.filter(brand=trail).order_by("pk").values_list("pk", flat=True))
    numbers = {"redacted": ids[1], "other": ids[2], "record": ids[6]}
    sql = TAMPERINGS[what]
    for name, value in numbers.items():
        sql = sql.replace(f"%({name})s", str(value))
    tamper(sql.replace("%", "%%") if "%" in sql else sql)
    verification = audit.verify(trail)
    assert not verification.is_intact
    assert not audit_chain.verify_export(audit.export(trail)).is_intact


def test_a_record_for_another_content_explains_nothing(
    trail: Any,
    tamper: Callable[..., None],  # noqa: F811
) -> None:
    event = Event.objects.get(seal__seq=3, brand=trail)
    tamper("UPDATE core_event SET payload = '{}' WHERE id = %s", event.pk)
    payload = {
        "seq": 3,
        "event": event.pk,
        "hash": event.seal.hash,
        "body_sha256": "0" * 64,
        "places": 1,
        "reason": "x",
    }
    with transaction.atomic():
        publish(AuditRedacted(brand_id=trail.pk, object_id=event.pk, payload=payload), label="x")
    seal_all()
    assert audit.verify(trail).first_broken_seq == 3


def test_a_trail_that_does_not_hold_is_not_redacted(
    trail: Any,
    operator: User,
    tamper: Callable[..., None],  # noqa: F811
) -> None:
    second = Event.objects.get(brand=trail, seal__seq=2)
    tamper("UPDATE core_event SET actor_label = 'x' WHERE id = %s", second.pk)
    with pytest.raises(Conflict, match="does not hold"):
        audit.remove_text(brand=trail, by=operator, secret=KEY, reason=REASON)
    assert audit.count_containing(brand=trail, secret=KEY) == 2


@pytest.mark.parametrize(
    ("secret", "reason"), [("", REASON), ("short", REASON), (KEY, ""), (KEY, "  "), (KEY, f"has {KEY}")]
)
def test_a_removal_needs_a_whole_secret_and_a_reason_without_it(
    secret: str, reason: str, trail: Any, operator: User
) -> None:
    with pytest.raises(Invalid):
        audit.remove_text(brand=trail, by=operator, secret=secret, reason=reason)
    assert audit.verify(trail).redacted == ()


def test_only_an_operator_removes(trail: Any, person: Callable[..., User]) -> None:
    with pytest.raises(NotAllowed):
        audit.remove_text(brand=trail, by=person("admin", brand=trail), secret=KEY, reason=REASON)


def test_a_second_secret_of_the_same_event_can_be_removed_later(trail: Any, operator: User) -> None:
    audit.remove_text(brand=trail, by=operator, secret=KEY, reason=REASON)
    seal_all()
    assert audit.remove_text(brand=trail, by=operator, secret="answered 404", reason="Another one") >= 6
    seal_all()
    verification = audit.verify(trail)
    assert verification.is_intact and set(verification.redacted) >= {1, 2, 3, 4, 5, 6}


def test_a_secret_in_the_reason_of_a_redaction_can_be_removed_later(
    trail: Any,
    operator: User,
    tamper: Callable[..., None],  # noqa: F811
) -> None:
    audit.remove_text(brand=trail, by=operator, secret=KEY, reason="The key of shop-4711 stood there")
    seal_all()
    assert audit.remove_text(brand=trail, by=operator, secret="shop-4711", reason="It names a customer") == 2
    seal_all()
    verification = audit.verify(trail)
    assert (verification.is_intact, verification.redacted, verification.count) == (True, (2, 5, 7, 8), 10)
    changed = Event.objects.get(seal__seq=7, brand=trail)
    tamper('UPDATE core_event SET payload = payload || \'{"reason": ""}\' WHERE id = %s', changed.pk)
    assert (audit.verify(trail).is_intact, audit.verify(trail).first_broken_seq) == (False, 2)


def test_an_event_that_is_not_sealed_yet_is_sealed_without_the_secret(operator: User) -> None:
    brand = factories.BrandFactory()
    publish_notes(brand, message=KEY)
    assert audit.remove_text(brand=brand, by=operator, secret=KEY, reason=REASON) == 1
    seal_all()
    assert (audit.verify(brand).is_intact, audit.verify(brand).redacted) == (True, ())


def test_the_command_takes_the_secret_from_standard_input_and_counts_first(
    trail: Any, operator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: str) -> Any:
        out = io.StringIO()
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{KEY}\n"))
        call_command("audit", "redact", *words, stdout=out)
        return out.getvalue()

    assert f"{trail.slug}: 2 events hold it" in run("--dry-run", "--brand", trail.slug)
    with pytest.raises(CommandError, match="sentence"):
        run("--brand", trail.slug)
    done = json.loads(run("--reason", REASON, "--json"))
    assert done["events"][trail.slug] == 2
    assert "0 events hold it" in run("--dry-run", "--brand", trail.slug)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgenabled FROM pg_trigger WHERE tgname = 'append_only' AND tgrelid = 'core_event'::regclass"
        )
        assert cursor.fetchone() == ("O",)
