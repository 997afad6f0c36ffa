"""Tests of the audit trail: it is sealed in commit order, and a check finds where it was changed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from core import audit_chain
from core.events import DomainEvent, publish
from core.models import Event, SealedEvent
from core.services import audit
from tests.support.factories import BrandFactory
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.django_db(transaction=True)


class NoteEvent(DomainEvent, type="tests.note.written"):
    """A test's event."""


TABLES = ("core_event", "core_sealedevent")


def publish_notes(brand: Any, count: int = 1, **payload: Any) -> None:
    with transaction.atomic():
        publish(
            *(NoteEvent(brand_id=brand.pk, object_id=number, payload=payload) for number in range(1, count + 1)),
            label="test",
        )


def seal_all() -> int:
    """Seal until all events are sealed. Another process's snapshot (autovacuum) may delay that for a moment."""
    total = 0
    for _ in range(100):
        total += audit.seal()
        if not Event.objects.filter(seal__isnull=True).exists():
            return total
        threading.Event().wait(0.05)
    raise AssertionError("events stayed unsealed")


@pytest.fixture
def tamper() -> Callable[..., None]:
    """Return a function that runs SQL with the triggers disabled."""

    def run(sql: str, *values: Any) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            for table in TABLES:
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
            cursor.execute(sql, values)
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            for table in TABLES:
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER append_only")

    return run


@pytest.fixture
def sealed() -> Any:
    brand = BrandFactory()
    for number in range(6):
        publish_notes(brand, number=number, text="sage ≠ teal", price=12.5)
    seal_all()
    return brand


def test_numbers_are_gap_free_and_every_brand_has_its_own_chain() -> None:
    first, second = BrandFactory(), BrandFactory()
    publish_notes(first, 3)
    publish_notes(second, 2)
    publish_notes(first, 1)
    assert seal_all() == 6
    assert list(SealedEvent.objects.filter(brand=first).values_list("seq", flat=True)) == [1, 2, 3, 4]
    assert list(SealedEvent.objects.filter(brand=second).values_list("seq", flat=True)) == [1, 2]
    assert audit.verify(first).is_intact and audit.verify(second).count == 2
    assert audit.seal() == 0


def test_sealing_is_bounded_and_goes_on_where_it_stopped() -> None:
    brand = BrandFactory()
    publish_notes(brand, 25)
    seal_all_in = [audit.seal(brand.pk, limit=10) for _ in range(4)]
    assert seal_all_in == [10, 10, 5, 0]
    assert audit.verify(brand).count == 25


def test_an_event_of_a_transaction_that_still_runs_is_not_overtaken() -> None:
    brand = BrandFactory()
    may_commit, has_written = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            publish(NoteEvent(brand_id=brand.pk, object_id=1, payload={"who": "slow"}), label="test")
            has_written.set()
            may_commit.wait(60)
        connection.close()

    thread = threading.Thread(target=slow)
    thread.start()
    assert has_written.wait(60)
    publish_notes(brand, who="fast")
    assert audit.seal() == 0, "the fast event must wait for the slow transaction that began before it"
    may_commit.set()
    thread.join()
    seal_all()
    order = SealedEvent.objects.filter(brand=brand).order_by("seq").values_list("event__payload", flat=True)
    assert [payload["who"] for payload in order] == ["slow", "fast"]
    assert audit.verify(brand).is_intact


def test_concurrent_sealers_make_one_chain() -> None:
    brand = BrandFactory()
    publish_notes(brand, 300)

    def seal() -> None:
        for _ in range(10):
            audit.seal(brand.pk, limit=20)

    race_without_errors(*[seal] * 4)
    seal_all()
    verification = audit.verify(brand)
    assert verification.is_intact and verification.count == 300


def test_the_database_refuses_to_change_an_event_or_its_seal(sealed: Any) -> None:
    for sql in (
        "UPDATE core_event SET actor_label = 'nobody'",
        "DELETE FROM core_sealedevent",
        "UPDATE core_sealedevent SET hash = 'x'",
        "DELETE FROM core_event",
    ):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql)


def test_a_changed_event_is_named(sealed: Any, tamper: Callable[..., None]) -> None:
    event = SealedEvent.objects.get(brand=sealed, seq=3).event_id
    tamper("UPDATE core_event SET payload = jsonb_set(payload, '{number}', '9') WHERE id = %s", event)
    verification = audit.verify(sealed)
    assert (verification.is_intact, verification.first_broken_seq, verification.count) == (False, 3, 2)
    assert f"event {event} was changed" in verification.message


@pytest.mark.parametrize(
    "change",
    ["type = 'x.y'", "object_id = 77", "actor_label = 'eve'", "at = at + interval '1 microsecond'", "xid = xid + 1"],
)
def test_every_column_of_an_event_is_covered(sealed: Any, tamper: Callable[..., None], change: str) -> None:
    event = SealedEvent.objects.get(brand=sealed, seq=4).event_id
    tamper(f"UPDATE core_event SET {change} WHERE id = %s", event)  # noqa: S608 - our own parameters
    assert audit.verify(sealed).first_broken_seq == 4


def test_a_removed_seal_is_a_gap(sealed: Any, tamper: Callable[..., None]) -> None:
    tamper("DELETE FROM core_sealedevent WHERE brand_id = %s AND seq IN (2, 3)", sealed.pk)
    verification = audit.verify(sealed)
    assert verification.first_broken_seq == 2
    assert "Links 2 to 3 are missing" in verification.message


def test_a_removed_event_is_named(sealed: Any) -> None:
    event = SealedEvent.objects.get(brand=sealed, seq=5).event_id
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE core_event DISABLE TRIGGER append_only")
        cursor.execute("DELETE FROM core_event WHERE id = %s", [event])
        verification = audit.verify(sealed)  # before the commit, where the foreign key is checked
        transaction.set_rollback(True)
    assert verification.first_broken_seq == 5 and "lost its event" in verification.message


def test_swapped_links_are_named(sealed: Any, tamper: Callable[..., None]) -> None:
    tamper(
        "UPDATE core_sealedevent SET seq = CASE seq WHEN 2 THEN 4002 ELSE 2 END WHERE brand_id = %s AND seq IN (2, 4)",
        sealed.pk,
    )
    tamper("UPDATE core_sealedevent SET seq = 4 WHERE brand_id = %s AND seq = 4002", sealed.pk)
    assert audit.verify(sealed).first_broken_seq == 2


def test_a_replaced_link_breaks_at_the_next_one(sealed: Any, tamper: Callable[..., None]) -> None:
    """Somebody changes an event and computes its own hash again, but not the later ones."""
    seal = SealedEvent.objects.select_related("event").get(brand=sealed, seq=3)
    tamper("UPDATE core_event SET actor_label = 'eve' WHERE id = %s", seal.event_id)
    row = Event.objects.values_list(*audit._FIELDS.values()).get(pk=seal.event_id)
    digest = audit_chain.link_hash(seal.previous_hash, audit._body(3, row))
    tamper("UPDATE core_sealedevent SET hash = %s WHERE id = %s", digest, seal.pk)
    verification = audit.verify(sealed)
    assert verification.first_broken_seq == 4 and "before it was replaced" in verification.message


def test_an_old_event_without_a_seal_is_noticed(sealed: Any, tamper: Callable[..., None]) -> None:
    tamper(
        "INSERT INTO core_event (brand_id, type, object_type, object_id, payload, actor_label, at, xid) "
        "SELECT brand_id, type, object_type, object_id, payload, 'eve', at, 3 "
        "FROM core_event WHERE brand_id = %s LIMIT 1",
        sealed.pk,
    )
    assert audit.seal() == 0
    verification = audit.verify(sealed)
    assert not verification.is_intact and "has no seal" in verification.message


def test_an_anchor_reveals_a_trail_that_was_cut_off_or_computed_again(sealed: Any, tamper: Callable[..., None]) -> None:
    anchor = audit.head(sealed)
    assert audit.verify(sealed, anchor=anchor).is_intact
    tamper("DELETE FROM core_sealedevent WHERE brand_id = %s AND seq > 4", sealed.pk)
    assert "cut off" in audit.verify(sealed, anchor=anchor).message
    tamper("DELETE FROM core_sealedevent WHERE brand_id = %s", sealed.pk)
    tamper("UPDATE core_event SET actor_label = 'eve' WHERE brand_id = %s", sealed.pk)
    seal_all()
    assert audit.verify(sealed).is_intact, "without an anchor a chain made anew looks whole"
    assert "not the one that was noted" in audit.verify(sealed, anchor=anchor).message


def test_an_export_is_checked_without_the_database(sealed: Any) -> None:
    lines = list(audit.export(sealed))
    verification = audit_chain.verify_export(lines)
    assert verification.is_intact and verification.count == 6 and verification.head == audit.head(sealed)[1]


@pytest.mark.parametrize("position", range(0, 900, 37))
def test_one_changed_byte_of_an_export_is_found(sealed: Any, position: int) -> None:
    lines = list(audit.export(sealed))
    whole = "\n".join(lines)
    position = position % len(whole)
    flipped = whole[:position] + ("7" if whole[position] != "7" else "8") + whole[position + 1 :]
    verification = audit_chain.verify_export(flipped.split("\n"))
    number = whole[:position].count("\n") + 1
    assert not verification.is_intact
    assert verification.first_broken_seq is not None and verification.first_broken_seq <= number + 1


def test_lines_of_an_export_in_another_order_are_found(sealed: Any) -> None:
    lines = list(audit.export(sealed))
    lines[1], lines[2] = lines[2], lines[1]
    assert audit_chain.verify_export(lines).first_broken_seq == 2


def test_the_command_exits_with_1_and_names_the_link(sealed: Any, tamper: Callable[..., None], tmp_path: Any) -> None:
    out = StringIO()
    call_command("audit", "verify", "--brand", sealed.slug, "--json", stdout=out)
    assert json.loads(out.getvalue())["is_intact"] is True
    out = StringIO()
    call_command("audit", "export", "--brand", sealed.slug, stdout=out)
    copy = tmp_path / "trail.jsonl"
    copy.write_text(out.getvalue().replace("sage", "Sage", 1))
    out = StringIO()
    with pytest.raises(SystemExit) as stopped:
        call_command("audit", "verify", "--file", str(copy), stdout=out)
    assert stopped.value.code == 1 and "BROKEN at link 1" in out.getvalue()
    tamper("DELETE FROM core_sealedevent WHERE brand_id = %s AND seq = 1", sealed.pk)
    with pytest.raises(SystemExit):
        call_command("audit", "verify", "--brand", sealed.slug, "--json", stdout=StringIO())


def test_publishing_outside_a_transaction_is_refused() -> None:
    with pytest.raises(RuntimeError, match="outside a transaction"):
        publish(NoteEvent(brand_id=1, object_id=1))
