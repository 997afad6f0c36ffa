"""Tests of waiting imports: one reader each, resumed after a kill, given up after repeated kills; undone once."""

from __future__ import annotations

import contextlib
import io
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import django_rq
import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from campaigns.choices import ImportStatus
from campaigns.models import FeedImport, FeedSource, Subject
from campaigns.services import feed_reading, imports, mappings
from core import clock, stored_files
from core.errors import Conflict, NotAllowed, NotFound
from core.models import Brand, Event, SealedEvent, User
from generation.services.images import sweeper
from tests.campaigns.test_imports import FEED, Peak, big_feed
from tests.support import factories, processes
from tests.support.racing import race, race_without_errors

pytestmark = pytest.mark.django_db(transaction=True)


def read_all() -> int:
    """Read what is due as the io lane does, which logs errors; return how many imports were read."""
    count = 0
    while FeedImport.objects.filter(due_at__lte=timezone.now()).exists():
        with contextlib.suppress(RuntimeError):
            count += imports.process_waiting()
    return count


def is_one_waiting() -> bool:
    return FeedImport.objects.filter(status=ImportStatus.WAITING).exists()


def make_due() -> None:
    FeedImport.objects.filter(due_at__isnull=False).update(due_at=timezone.now())


@pytest.fixture
def offer(brand: Brand, manager: User) -> Callable[..., FeedImport]:
    """Return a function: `offer(text)` uploads the text as the campaign manager; `waits` leaves it for a worker."""

    def make(data: str | Path, *, waits: bool = False, **options: Any) -> FeedImport:
        values: dict[str, Any] = {"brand": brand, "file_name": "feed.csv", "by": manager} | options
        file = data if isinstance(data, Path) else io.BytesIO(data.encode())
        before = imports.MAX_IMMEDIATE_BYTES
        imports.MAX_IMMEDIATE_BYTES = 0 if waits else before
        try:
            return imports.upload(file=file, **values)
        finally:
            imports.MAX_IMMEDIATE_BYTES = before

    return make


def test_of_two_people_who_undo_at_once_one_wins(offer: Callable[..., FeedImport], manager: User, lead: User) -> None:
    feed_import = imports.apply(import_id=offer(FEED).pk, by=manager)
    results = race(
        *(lambda who=who: imports.undo(import_id=feed_import.pk, by=who) for who in (manager, lead, manager))
    )
    won = [result for result in results if isinstance(result, FeedImport)]
    lost = [result for result in results if isinstance(result, Conflict)]
    assert (len(won), len(lost)) == (1, 2), results
    assert won[0].undone_counts == {"removed": 3, "restored": 0, "kept": 0, "retired": 0}
    assert Event.objects.filter(type="campaigns.feed.undone").count() == 1
    assert not Subject.objects.exists()


def test_a_large_import_is_taken_back_by_a_worker(
    offer: Callable[..., FeedImport], manager: User, lead: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed_import = imports.apply(import_id=offer(FEED).pk, by=manager)
    monkeypatch.setattr(imports, "MAX_IMMEDIATE_UNDO", 2)
    results = race(*(lambda who=who: imports.undo(import_id=feed_import.pk, by=who) for who in (lead, manager)))
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "FeedImport"]
    assert Subject.objects.count() == 3
    assert sorted(race_without_errors(*[lambda: imports.process_waiting(feed_import.pk)] * 3)) == [False, False, True]
    feed_import.refresh_from_db()
    assert (feed_import.status, feed_import.rows, feed_import.undone_counts["removed"]) == (ImportStatus.UNDONE, 3, 3)
    assert Event.objects.get(type="campaigns.feed.undone").actor == feed_import.undone_by
    assert not Subject.objects.exists()


def test_a_taking_back_that_fails_every_time_leaves_the_import_applied(
    offer: Callable[..., FeedImport], manager: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed_import = imports.apply(import_id=offer(FEED).pk, by=manager)
    monkeypatch.setattr(imports, "MAX_IMMEDIATE_UNDO", 2)
    imports.undo(import_id=feed_import.pk, by=manager)

    def undo(import_id: int) -> Any:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(imports.undoing, "undo", undo)
    for _ in range(3):
        assert read_all() == 0
        make_due()
    feed_import.refresh_from_db()
    assert (feed_import.status, feed_import.undone_by, Subject.objects.count()) == (ImportStatus.APPLIED, None, 3)


def test_of_two_people_who_apply_at_once_one_wins(offer: Callable[..., FeedImport], manager: User, lead: User) -> None:
    feed_import = offer(FEED)
    results = race(*(lambda who=who: imports.apply(import_id=feed_import.pk, by=who) for who in (manager, lead)))
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "FeedImport"]
    assert Event.objects.filter(type="campaigns.feed.imported").count() == 1
    assert Subject.objects.count() == 3


def test_of_several_workers_one_reads_a_waiting_import(offer: Callable[..., FeedImport]) -> None:
    feed_import = offer(FEED, waits=True, is_to_apply=True)
    assert feed_import.status == ImportStatus.WAITING
    results = race_without_errors(*[lambda: imports.process_waiting(feed_import.pk)] * 4)
    assert sorted(results) == [False, False, False, True]
    feed_import.refresh_from_db()
    assert (feed_import.status, feed_import.created, feed_import.attempts) == (ImportStatus.APPLIED, 3, 0)


def test_a_small_file_is_read_by_its_own_request_though_workers_look_for_work(offer: Callable[..., FeedImport]) -> None:
    is_over = threading.Event()

    def look_for_work() -> int:
        count = 0
        while not is_over.is_set():
            count += imports.process_waiting()
        return count

    def bring_files() -> list[str]:
        try:
            return [offer(f"sku,name\nKM-{number},Mug\n").status for number in range(20)]
        finally:
            is_over.set()

    assert race_without_errors(look_for_work, bring_files) == [0, [ImportStatus.CHECKED] * 20]


def test_a_file_that_waits_wakes_the_io_lane(offer: Callable[..., FeedImport], clean_redis: Any) -> None:
    small = offer(FEED)
    assert django_rq.get_queue("io").count == 0, "it was read at once"
    offer(FEED, waits=True)
    assert django_rq.get_queue("io").count == 1
    assert small.due_at is None


def test_what_waits_is_read_in_its_order_and_a_broken_one_does_not_stop_the_others(
    offer: Callable[..., FeedImport], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, sound = offer(FEED, waits=True), offer(FEED + "010;Jar;blue;5;jar.jpg\n", waits=True)
    original = feed_reading.read_feed

    def read(stream: Any, offered: FeedImport) -> FeedImport:
        if offered.pk == broken.pk:
            raise RuntimeError("a mistake of ours")
        return original(stream, offered)

    monkeypatch.setattr(feed_reading, "read_feed", read)
    assert read_all() == 1
    sound.refresh_from_db()
    assert (sound.status, sound.rows) == (ImportStatus.CHECKED, 4)
    assert FeedImport.objects.get(status=ImportStatus.WAITING) == broken


def test_an_import_that_ends_every_reader_is_refused(
    offer: Callable[..., FeedImport], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed_import = offer(FEED, waits=True)

    def read(stream: Any, offered: FeedImport) -> FeedImport:
        raise RuntimeError("a mistake of ours")

    with monkeypatch.context() as patched:
        patched.setattr(feed_reading, "read_feed", read)
        for attempt in range(1, 4):
            feed_import.refresh_from_db()
            assert (feed_import.status, feed_import.attempts) == (ImportStatus.WAITING, attempt - 1)
            assert read_all() == 0
            make_due()
    feed_import.refresh_from_db()
    assert (feed_import.status, feed_import.issues.get().cause) == (ImportStatus.CHECKED, "unreadable")
    assert "failed 3 times" in feed_import.issues.get().message
    assert feed_import.due_at is None


def test_progress_is_reported_while_it_is_read(
    offer: Callable[..., FeedImport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_reading, "PROGRESS_SECONDS", 0)
    feed_import = offer(big_feed(tmp_path / "feed.csv", 3000), waits=True)
    seen: list[tuple[int, int]] = []
    original = feed_reading._record_progress

    def followed(*arguments: Any) -> Iterator[Any]:
        for row in original(*arguments):
            if len(seen) < 3000:
                seen.append(FeedImport.objects.values_list("rows", "bytes_read").get(pk=feed_import.pk))
            yield row

    monkeypatch.setattr(feed_reading, "_record_progress", followed)
    assert imports.process_waiting(feed_import.pk)
    rows = [row for row, _ in seen]
    assert rows == sorted(rows) and 0 < rows[1000] <= rows[-1] <= 3000
    assert 0 < seen[1000][1] <= feed_import.file_bytes


@pytest.mark.slow
def test_the_import_of_a_killed_worker_is_taken_up_by_the_next(
    offer: Callable[..., FeedImport], tmp_path: Path, clean_redis: Any
) -> None:
    feed_import = offer(big_feed(tmp_path / "big.csv", 60_000), waits=True, is_to_apply=True)

    def is_being_read() -> bool:
        feed_import.refresh_from_db()
        return feed_import.rows > 1000

    with processes.running("clock"):
        first = processes.start("worker", "io", "housekeeping")
        try:
            processes.wait_until(is_being_read, seconds=60, what="a worker that reads the import")
        finally:
            processes.stop(first, signal.SIGKILL)
        feed_import.refresh_from_db()
        assert (feed_import.status, Subject.objects.count()) == (ImportStatus.WAITING, 0)
        with processes.running("worker", "io", "housekeeping"):
            processes.wait_until(
                lambda: not is_one_waiting(),
                seconds=120,
                what="another worker that takes the import up",
            )
            processes.wait_until(SealedEvent.objects.exists, seconds=60, what="a sealed event")
    feed_import.refresh_from_db()
    assert (feed_import.status, feed_import.created, Subject.objects.count()) == (ImportStatus.APPLIED, 60_000, 60_000)
    assert Event.objects.filter(type="campaigns.feed.imported").count() == 1


# -- files -------------------------------------------------------------------------------------------------------------


def test_the_sweeper_leaves_the_file_of_an_import_until_it_is_let_go(offer: Callable[..., FeedImport]) -> None:
    feed_import = offer(FEED)
    later = clock.now() + timedelta(days=2)
    assert sweeper.sweep(now=later) == 0
    assert imports.is_file_kept(feed_import)
    FeedImport.objects.update(created_at=clock.now() - imports.KEPT_FOR - timedelta(hours=1))
    assert imports.release_old_files() == 1
    assert sweeper.sweep(now=later) == 1
    assert not stored_files.exists(feed_import.storage_key)


def test_a_waiting_imports_file_is_never_let_go(offer: Callable[..., FeedImport]) -> None:
    offer(FEED, waits=True)
    FeedImport.objects.update(created_at=clock.now() - 2 * imports.KEPT_FOR)
    assert imports.release_old_files() == 0


@pytest.mark.slow
def test_a_large_file_is_kept_and_read_without_filling_the_memory(brand: Brand, manager: User, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        for _ in range(150):
            file.write(b"x" * (1 << 20))
    peak = Peak()
    stored = imports._store_stream(path)
    assert (stored.bytes, default_storage.size(stored.key)) == (150 << 20, 150 << 20)
    assert peak.megabytes() < 12
    with path.open("rb") as stream:
        assert stored_files.put_stream(stream, suffix="feed", max_bytes=1 << 30) == stored


def test_a_file_that_is_too_large_is_refused_without_being_stored(
    offer: Callable[..., FeedImport], brand: Brand, manager: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MAX_FILE_BYTES", 20)
    with pytest.raises(Exception, match="expected at most 20"):
        offer(FEED)
    done = imports.import_feed(brand=brand, file=io.BytesIO(FEED.encode()), file_name="f.csv", by=manager)
    assert (done.status, done.issues.get().cause) == (ImportStatus.REFUSED, "unreadable")
    assert not list(stored_files.list_keys()) and not list(stored_files.list_keys(stored_files.TEMPORARY))


# -- mappings ----------------------------------------------------------------------------------------------------------

ODD = "Art.;Was\n1;Becher\n"
FIELDS = {"Art.": "key", "Was": "name"}


def test_a_remembered_mapping_is_used_on_every_way_in(
    offer: Callable[..., FeedImport], brand: Brand, manager: User
) -> None:
    first = imports.check_again(import_id=offer(ODD).pk, by=manager, mapping=FIELDS)
    source = mappings.save_mapping(import_id=first.pk, name="Supplier", by=manager)
    done = imports.import_feed(brand=brand, file=io.BytesIO(ODD.encode()), file_name="again.csv", by=manager)
    assert (done.status, done.created, done.source) == (ImportStatus.APPLIED, 1, source)
    event = Event.objects.get(type="campaigns.mapping.remembered")
    assert (event.object_id, event.payload) == (source.pk, {"name": "Supplier", "mapping": FIELDS})


def test_a_mapping_that_is_given_comes_before_the_remembered_one(
    offer: Callable[..., FeedImport], brand: Brand, manager: User
) -> None:
    first = imports.check_again(import_id=offer(ODD).pk, by=manager, mapping=FIELDS)
    mappings.save_mapping(import_id=first.pk, name="Supplier", by=manager)
    done = offer(ODD, mapping={"Art.": "name", "Was": "key"}, is_to_apply=True)
    assert (done.source, Subject.objects.get().key) == (None, "Becher")


def test_the_mapping_of_a_source_is_used_for_its_files(brand: Brand, manager: User) -> None:
    source = FeedSource.objects.create(
        brand=brand, slug="erp", name="ERP", kind="push", mapping=FIELDS, created_by=manager
    )
    done = imports.import_feed(
        brand=brand, file=io.BytesIO(ODD.encode()), file_name="erp.csv", by=manager, source=source
    )
    assert (done.status, done.source, done.mapping) == (ImportStatus.APPLIED, source, FIELDS)


# -- permissions and order ---------------------------------------------------------------------------------------------


def test_only_people_who_may_import_fix_apply_and_undo(offer: Callable[..., FeedImport], viewer: User) -> None:
    feed_import = offer(FEED)
    for attempt in (
        lambda: imports.apply(import_id=feed_import.pk, by=viewer),
        lambda: imports.undo(import_id=feed_import.pk, by=viewer),
        lambda: imports.check_again(import_id=feed_import.pk, by=viewer, mapping={}),
        lambda: imports.add_fix(import_id=feed_import.pk, by=viewer, cause="ragged", fix="fill"),
        lambda: mappings.save_mapping(import_id=feed_import.pk, name="x", by=viewer),
    ):
        with pytest.raises(NotAllowed):
            attempt()
    with pytest.raises(NotFound):
        imports.undo(import_id=0, by=viewer)


def test_an_import_that_is_not_applied_cannot_be_undone(offer: Callable[..., FeedImport], manager: User) -> None:
    with pytest.raises(Conflict, match="only checked"):
        imports.undo(import_id=offer(FEED).pk, by=manager)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [("x\n", "1 mistake is in the way; fix it first"), ("x\ny\n", "2 mistakes are in the way; fix them first")],
)
def test_a_file_with_mistakes_cannot_be_applied(
    offer: Callable[..., FeedImport], manager: User, rows: str, sentence: str
) -> None:
    with pytest.raises(Conflict, match=sentence):
        imports.apply(import_id=offer(FEED + rows).pk, by=manager)


def test_an_applied_import_is_not_checked_again(offer: Callable[..., FeedImport], manager: User) -> None:
    feed_import = imports.apply(import_id=offer(FEED).pk, by=manager)
    with pytest.raises(Conflict, match="it was applied"):
        imports.check_again(import_id=feed_import.pk, by=manager, mapping={})


def test_a_file_that_became_wrong_since_its_check_is_refused_and_nothing_is_written(
    offer: Callable[..., FeedImport], brand: Brand, manager: User
) -> None:
    subject = factories.SubjectFactory(brand=brand, key="007")
    feed_import = offer("sku,image\n007,a.jpg\n")
    assert feed_import.error_count == 0
    subject.delete()
    feed_import = imports.apply(import_id=feed_import.pk, by=manager)
    assert (feed_import.status, feed_import.issue_counts) == (ImportStatus.REFUSED, {"parent_unknown": 1})
    assert not Event.objects.filter(type="campaigns.feed.imported").exists()


def test_an_import_and_its_event_name_the_person_who_applied_it(
    offer: Callable[..., FeedImport], manager: User, lead: User
) -> None:
    feed_import = imports.apply(import_id=offer(FEED).pk, by=lead)
    assert feed_import.requested_by == lead
    assert Event.objects.get(type="campaigns.feed.imported").actor == lead
