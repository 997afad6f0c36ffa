"""Tests that files made to be expensive are refused quickly with a message, and the other files are kept."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from PIL import Image

from campaigns.choices import ImportStatus, PhotoStatus
from campaigns.feeds import annotating, markup
from campaigns.models import FeedImport, ReferencePhoto
from campaigns.photos import intake, reading
from campaigns.services import archives, imports, photo_loading
from core import errors, parsing
from core.parsing import Limits, messages, processes
from tests.support import factories, hostile_files
from tests.support.feed_files import only_issue, parsed

COSTLY = "tests.support.hostile_tasks:misbehave"
SECONDS = 20.0
"""Of processor time in this process, generously: what is not linear takes minutes. benchmarks/hostile.py measures."""
SMALL = Limits(memory_bytes=256 << 20, cpu_seconds=2, seconds=60)


def cpu_seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


# -- feeds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", hostile_files.FEEDS)
def test_a_feed_that_is_meant_to_cost_a_lot_is_refused_fast_and_in_words(name: str) -> None:
    results: list[Any] = []
    seconds = cpu_seconds(lambda: results.extend(parsed(hostile_files.FEEDS[name])))
    assert seconds < SECONDS
    assert not results[0] and results[1] and all(len(issue.message) > 20 for issue in results[1])


@pytest.mark.parametrize("name", hostile_files.TEXTS)
def test_a_text_that_is_meant_to_cost_a_lot_is_read_fast(name: str) -> None:
    text = hostile_files.TEXTS[name]
    assert cpu_seconds(lambda: markup.plain(text)) < SECONDS
    assert cpu_seconds(lambda: parsed(hostile_files.table(*[text.replace('"', "")] * 10))) < SECONDS


LISTS = b",".join([b"[]"] * 400_000)
NUMBERS = b",".join([b"1"] * 400_000)


@pytest.mark.parametrize(
    "feed",
    [
        b'[{"sku":"A","name":"M","d":[' + LISTS + b"]}]",
        b'[{"sku":"A","name":"M","d":[' + NUMBERS + b"]}]",
        b'[{"sku":"A","name":"M","d":["' + b'","'.join([b"x"] * 200_000) + b'"]}]',
        b'[{"sku":"A","name":"M","d":[' + b",".join([b"{}"] * 200_000) + b"]}]",
        b'{"sizes":[' + NUMBERS + b'],"products":[{"sku":"A","name":"M"}]}',
        b'{"sku":"A","name":"M","d":[' + NUMBERS + b"]}\n" + b'{"sku":"B","name":"M","d":[' + NUMBERS + b"]}\n",
    ],
)
def test_json_with_too_many_values_is_refused_for_their_number(feed: bytes) -> None:
    _, issues = parsed(feed)
    assert issues and all("one value that holds more than 100,000 others" in issue.message for issue in issues)


@pytest.mark.parametrize(
    "text", [", " * 150_000, ',\\"' * 110_000, "," * 400_000, "\\\\," * 120_000, '[1,{\\":,' * 60_000]
)
def test_commas_within_a_text_are_no_values(text: str) -> None:
    rows, issues = parsed('[{"sku":"A","name":"M","description":"' + text + '"},{"sku":"B","name":"N"}]')
    assert not [issue for issue in issues if "broken" in issue.message]
    assert "B" in [row.key for row in rows]


@pytest.mark.parametrize("inside", ["<a>x</a>", "<a/>", "<a b='1'/>", "<a b='1' c='2'>x</a>", "<a><b>x</b></a>"])
@pytest.mark.parametrize("path", ["<rss><channel><item>{}</item></channel></rss>", "<r><i>{}</i><i>x</i></r>"])
def test_an_xml_item_with_too_many_elements_is_refused_for_their_number(inside: str, path: str) -> None:
    issue = only_issue(path.format(inside * 21_000).encode())
    assert issue.message.startswith("Item 1 has more than 20,000 elements and attributes")


@pytest.mark.parametrize("text", ["<a" * 16_000, "<" * 32_000, "</p" * 9_000, "<5 cl " * 5_000, "<a href='" * 3_500])
def test_angle_brackets_that_begin_no_tag_are_passed_over_at_once(text: str) -> None:
    assert list(markup._TagRemover(text).pieces()) == [text]


@pytest.mark.parametrize(
    "cell",
    [
        "+" + "1" * 131_000 + "a",
        "-" + "1," * 60_000 + "x",
        "+" + " " * 131_000,
        "-" + "." * 131_000 + "1!",
        "+1" * 60_000,
    ],
)
def test_a_long_cell_goes_back_fast_into_the_file_with_mistakes(cell: str) -> None:
    cells: list[str] = []
    assert cpu_seconds(lambda: cells.append(annotating.escape_formula(cell))) < SECONDS
    assert cells[0] == f"'{cell}"


@pytest.mark.parametrize("cell", ["+49 30 123", "-12,90", "+1", "- 5", "-1.234,50"])
def test_amounts_go_back_into_the_file_with_mistakes_as_they_are(cell: str) -> None:
    assert annotating.escape_formula(cell) == cell


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b'<?xml version="1.0"?>\n<!-- made by -->\n<!DOCTYPE svg PUBLIC "x">\n<svg width="1">', "SVG"),
        (b"<svg>", "SVG"),
        (b"<!-- a --><!-- b --> <SVG >", "SVG"),
        (b'<?xml version="1.0"?><!-- a > b --><svg/>', "SVG"),
        (b"<!doctype svg><svg>", "SVG"),
    ],
)
def test_drawings_are_still_recognised(head: bytes, what: str) -> None:
    assert what in only_issue(head).message


def test_a_list_of_many_values_is_one_cell_with_a_line_for_each() -> None:
    rows, issues = parsed('[{"sku":"A","name":"M","tags":["a","","b"],"sizes":[{"eu":36},{"eu":37}]}]')
    assert not issues
    assert rows[0].attributes["tags"] == "a\n\nb" and rows[0].attributes["sizes_eu"] == "36\n37"


# -- photos ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos() -> dict[str, bytes]:
    return hostile_files.photos()


NAMES = [
    "WebP of 16383 × 3900", "WebP of 8000 × 8000", "AVIF of 7000 × 7000", "progressive JPEG of 8000 × 8000",
    "progressive JPEG with 800 scans", "progressive CMYK", "PNG of 4,000,000 × 16", "PNG of 16 × 4,000,000",
    "bilevel PNG of 8000 × 8000", "PNG of 9000 × 9000",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_photo_whose_pixels_cost_too_much_is_refused_before_it_is_decoded(
    name: str, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(intake.TooLarge) as refusal:
        intake.admit(photos[name])
    assert len(str(refusal.value)) > 40


@pytest.mark.parametrize(
    ("kind", "size", "options"),
    [
        ("JPEG", (4000, 3000), {"progressive": True}), ("JPEG", (8000, 8000), {}), ("PNG", (6000, 6000), {}),
        ("WEBP", (4000, 4000), {"lossless": True}), ("PNG", (3000, 100), {}),
    ],
)  # fmt: skip
def test_photos_that_cameras_and_shops_make_pass(kind: str, size: tuple[int, int], options: dict[str, Any]) -> None:
    data = hostile_files.image(kind, *size, **options)
    with Image.open(io.BytesIO(data)) as image:
        intake.check_cost(image, data + bytes(50_000))


def test_a_strip_in_an_archive_leaves_the_good_photo_beside_it_alone(db: None, brand: Any, manager: Any) -> None:
    rows = [
        factories.ReferencePhotoFactory(subject__brand=brand, source=name, status=PhotoStatus.PENDING)
        for name in ("strip.png", "good.png")
    ]
    archive = hostile_files.zipped(strip__png=hostile_files.png(4_000_000, 16), good__png=hostile_files.png(300, 300))
    report = archives.attach_zip(brand=brand, file=io.BytesIO(archive), by=manager)
    assert (report.ready, report.refused) == (1, 1)
    for row in rows:
        row.refresh_from_db()
    assert [row.status for row in rows] == [PhotoStatus.REFUSED, PhotoStatus.READY]
    assert "long side" in rows[0].notes[0]


def test_a_small_photo_and_its_cut_out_come_back_from_the_other_process() -> None:
    data = _mug()
    photo = reading.admit(data)
    assert (photo.data, photo.width, photo.height, photo.suffix) == (data, 200, 160, "png")
    cut = reading.cut_out(photo.data)
    with Image.open(io.BytesIO(cut.png)) as image:
        assert (image.size, image.mode) == ((200, 160), "RGBA")
    with pytest.raises(intake.Refused, match="JPEG, PNG"):
        reading.admit(b"GIF89a" + bytes(50))


def _mug() -> bytes:
    image = Image.new("RGB", (200, 160), "white")
    image.paste("#406080", (60, 40, 140, 120))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


# -- the processes that open files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what", [{"what": "memory"}, {"what": "slow memory"}, {"what": "time"}, {"what": "crash"}, {"what": "exit"}]
)
def test_a_file_that_exceeds_its_limits_ends_its_process_and_not_this_one(what: dict[str, Any]) -> None:
    with pytest.raises(parsing.Exceeded):
        parsing.run_task(COSTLY, what, limits=SMALL)
    assert parsing.run_task(COSTLY, {"what": ""}, [b"abc"], limits=SMALL).parts == [b"abc"]


@pytest.mark.parametrize(
    "task",
    ["tests.nothing:here", "tests.support.hostile_tasks:nothing", "tests.support.factories:x", "tests:x", "os:no"],
)
def test_a_task_that_cannot_be_started_is_not_blamed_on_the_file(task: str) -> None:
    with pytest.raises(errors.Busy, match="could not be opened just now"):
        parsing.run_task(task, {}, [b"abc"], limits=SMALL)
    assert parsing.run_task(COSTLY, {"what": ""}, [b"abc"], limits=SMALL).parts == [b"abc"]


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"\x80", b"null", b"[]", b"1", b'{"value": 1}', b'{"value": 1, "sizes": 3}', b"[" * 100_000,
     b'{"value": 1, "sizes": [-1]}', b'{"value": 1, "sizes": ["x"]}', b'{"value": 1, "sizes": [1e400]}',
     b'{"value": 1, "sizes": [9]}'],
)  # fmt: skip
def test_an_answer_that_is_none_of_ours_counts_as_the_end_of_the_child(line: bytes) -> None:
    assert messages.read(io.BytesIO(line + b"\nabc")) is None


def test_starting_the_process_counts_against_no_limit() -> None:
    processes.answer_pool.end_idle()
    limits = Limits(memory_bytes=256 << 20, cpu_seconds=2, seconds=0.5)
    assert parsing.run_task("tests.support.slow_to_import:task", {}, limits=limits).value == "done"


def test_a_process_that_is_not_ready_in_time_serves_the_next_file() -> None:
    processes.answer_pool.end_idle()
    with pytest.raises(errors.Busy, match="could not be opened just now"):
        parsing.run_task("tests.support.slow_to_import:task", {}, limits=SMALL, deadline=time.monotonic() + 0.2)
    [child] = processes.answer_pool._idle
    assert parsing.run_task("tests.support.slow_to_import:task", {}, limits=SMALL).value == "done"
    assert processes.answer_pool._idle == [child]


def test_a_process_is_started_before_a_file_needs_it() -> None:
    processes.answer_pool.end_idle()
    parsing.prepare(COSTLY)
    parsing.prepare(COSTLY)
    [child] = processes.answer_pool._idle
    parsing.run_task(COSTLY, {"what": ""}, limits=SMALL)
    assert processes.answer_pool._idle == [child]


def test_a_process_is_replaced_before_it_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_REQUESTS", 4)
    monkeypatch.setattr(processes, "RENEWED_AT", 2)
    processes.answer_pool.end_idle()
    counts = []
    for _ in range(6):
        parsing.run_task(COSTLY, {"what": ""}, limits=SMALL)
        counts.append([child.requests for child in processes.answer_pool._idle])
    assert counts == [[1], [0, 2], [0, 3], [0, 4], [1], [0, 2]]


def test_a_killed_process_is_replaced_at_once() -> None:
    with pytest.raises(parsing.Exceeded):
        parsing.run_task(COSTLY, {"what": "crash"}, limits=SMALL)
    assert processes.answer_pool._idle


def test_what_children_import_brings_no_client_and_no_framework_with_it() -> None:
    modules = "core.parsing.child, campaigns.photos.reading, generation.finishing.found_files"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"django", "httpx", "pydantic", "structlog", "rich", "cryptography", "asyncio"}
    assert heavy & set(done.stdout.split()) == set()


def test_one_that_waits_for_ever_is_killed_by_the_clock() -> None:
    limits = Limits(memory_bytes=256 << 20, cpu_seconds=5, seconds=1.5)
    began = time.monotonic()
    with pytest.raises(parsing.Exceeded):
        parsing.run_task(COSTLY, {"what": "sleep", "seconds": 60}, limits=limits)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("task", ["read_for_ever", "unpack_endlessly"])
def test_the_deadline_holds_before_all_other_limits(task: str) -> None:
    limits = Limits(memory_bytes=256 << 20, cpu_seconds=600, seconds=600)
    parsing.run_task(COSTLY, {"what": ""}, limits=SMALL)
    with pytest.raises(parsing.Exceeded):
        parsing.run_task(f"tests.support.hostile_tasks:{task}", {}, limits=limits, deadline=time.monotonic() + 1.5)
    assert parsing.run_task(COSTLY, {"what": ""}, limits=SMALL).value


def test_an_unforeseen_error_is_reported_and_the_process_goes_on() -> None:
    with pytest.raises(parsing.Broken, match="KeyError"):
        parsing.run_task(COSTLY, {"what": "error"}, limits=SMALL)


def test_what_a_task_prints_does_not_come_between_the_messages() -> None:
    assert parsing.run_task(COSTLY, {"what": "print"}, limits=SMALL).value


def test_the_other_process_knows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://secret@host/db")
    processes.answer_pool.end_idle()
    environment = parsing.run_task(COSTLY, {"what": ""}, limits=SMALL).value["environment"]
    assert "PATH" in environment and not [
        name for name in environment if "SECRET" in name or "URL" in name or "DJANGO" in name
    ]


def test_no_more_files_are_opened_at_once_than_there_are_places_and_the_rest_is_sent_away() -> None:
    calls = processes.MAX_CHILDREN + processes.MOST_WAITING + 3
    outcomes: list[Any] = []

    def call() -> None:
        try:
            parsing.run_task(COSTLY, {"what": "sleep", "seconds": 2}, limits=SMALL)
            outcomes.append("done")
        except errors.Busy as busy:
            outcomes.append(busy)

    threads = [threading.Thread(target=call) for _ in range(calls)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True).stdout
    for thread in threads:
        thread.join()
    assert children.count("core.parsing.child") <= 2 * processes.MAX_CHILDREN
    assert [outcome for outcome in outcomes if isinstance(outcome, errors.Busy)] and "done" in outcomes
    assert errors.Busy.status == 503


# -- set aside ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [3, 4, 7])
def test_a_photo_that_ended_its_process_three_times_is_set_aside_with_words(db: None, brand: Any, times: int) -> None:
    row = factories.ReferencePhotoFactory(
        subject__brand=brand, source="https://shop.example.com/a.jpg", status="pending", due_at=timezone.now()
    )
    for _ in range(times):
        claimed = photo_loading.claim()
        assert claimed is not None
        if claimed.deaths > photo_loading.POLICY.max_deaths:
            break
        ReferencePhoto.objects.update(due_at=timezone.now())  # the process died; its lease expired
    else:
        claimed = photo_loading.claim()
    assert claimed is not None and claimed.attempts == 4
    photo_loading.load(claimed)
    row.refresh_from_db()
    assert row.status == PhotoStatus.REFUSED
    assert "3 times, so it is set aside" in row.notes[0] and "fetched again" in row.notes[0]


def test_fetches_that_fail_in_words_are_no_deaths(db: None, brand: Any, manager: Any, settings: Any) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"private_sources": ["127.0.0.0/8"]}
    row = factories.ReferencePhotoFactory(
        subject__brand=brand, source="http://127.0.0.1:9/a.jpg", status="pending", due_at=timezone.now()
    )
    for attempt in range(1, 6):
        claimed = photo_loading.claim()
        assert claimed is not None and (claimed.attempts, claimed.deaths) == (attempt, 1)
        photo_loading.load(claimed)
        ReferencePhoto.objects.update(due_at=timezone.now())
    row.refresh_from_db()
    assert row.status == PhotoStatus.REFUSED and "set aside" not in row.notes[0]
    photo_loading.retry_photos(brand=brand, by=manager)
    row.refresh_from_db()
    assert (row.deaths, row.attempts) == (0, 0)


KILLED = """
import os, django
django.setup()
from django.conf import settings
from campaigns.models import FeedSource
from core.models import Brand, User
from campaigns.services import feed_reading, imports
feed_reading.read_feed = lambda *_: os._exit(9)
import io
brand = Brand.objects.get(pk={brand})
try_first = {first}
if try_first:
    imports.import_feed(brand=brand, file=io.BytesIO(b"sku,name\\n1,Mug\\n"), file_name="f.csv",
                        by=User.objects.get(pk={user}))
else:
    imports.process_waiting({import_id})
"""


@pytest.mark.django_db(transaction=True)
def test_an_import_that_killed_three_processes_is_set_aside_also_when_it_began_by_itself(
    brand: Any, manager: Any
) -> None:
    from tests.support import processes as started

    def run(**values: Any) -> int:
        script = KILLED.format(**{"brand": brand.pk, "user": manager.pk, "import_id": 0, "first": False} | values)
        return subprocess.run([sys.executable, "-c", script], env=started.environment(), cwd=started.ROOT).returncode

    assert run(first=True) == 9
    row = FeedImport.objects.get()
    assert (row.status, row.attempts) == (ImportStatus.WAITING, 1)
    for attempt in (2, 3):
        # The lease of a killed reader has to end first.
        started.wait_until(lambda: run(import_id=row.pk) == 9, seconds=60, what="the end of the lease")
        row.refresh_from_db()
        assert row.attempts == attempt
    started.wait_until(lambda: imports.process_waiting(row.pk), seconds=60, what="the end of the lease")
    row.refresh_from_db()
    assert row.status == ImportStatus.REFUSED and "set aside" in row.issues.get().message
    connection.close()
