"""Tests of imports into PostgreSQL: all or nothing, repeatable, with every mistake recorded."""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from campaigns.choices import ImportStatus
from campaigns.models import FeedImport, ImportIssue, ReferencePhoto, StagedRow, Subject, Variant
from campaigns.selectors import imports as selectors
from campaigns.services import feed_reading, imports, staging
from core.errors import NotAllowed, NotFound
from core.models import Brand, Event, User
from tests.support.feed_files import REAL, needs_real_feeds, xlsx
from tests.support.racing import race_without_errors

FEED = (
    "sku;name;colour;price;photo\n"
    "007;Mug, sage;sage;12,90 €;mug-sage.jpg\n"
    "008;Bowl, clay;clay;20,00 €;bowl-clay.jpg\n"
    "009;Plate, white;white;8,50 €;plate.jpg|plate-side.jpg\n"
)


@pytest.fixture
def take(brand: Brand, manager: User) -> Callable[..., FeedImport]:
    """Return a function: `take(text)` imports the text into the brand as the campaign manager."""

    def make(data: str | bytes, **options: Any) -> FeedImport:
        raw = data.encode() if isinstance(data, str) else data
        values: dict[str, Any] = {"brand": brand, "file_name": "feed.csv", "by": manager} | options
        return imports.import_feed(file=io.BytesIO(raw), **values)

    return make


def counts(done: FeedImport) -> tuple[int, int, int, int]:
    return done.created, done.updated, done.unchanged, done.error_count


def test_a_feed_becomes_subjects_with_attributes_and_pending_photos(
    take: Callable[..., FeedImport], brand: Brand
) -> None:
    done = take(FEED)
    assert (done.status, done.rows, counts(done)) == (ImportStatus.APPLIED, 3, (3, 0, 0, 0))
    mug = Subject.objects.get(brand=brand, key="007")
    assert (mug.name, mug.kind) == ("Mug, sage", "product")
    assert mug.attributes == {"colour": "sage", "price": "12.90", "currency": "EUR"}
    plate = ReferencePhoto.objects.filter(subject__key="009").order_by("position")
    assert [(photo.source, photo.position, photo.status) for photo in plate] == [
        ("plate.jpg", 1, "pending"),
        ("plate-side.jpg", 2, "pending"),
    ]
    assert done.dialect["delimiter"] == ";"
    assert done.file_bytes == len(FEED.encode())


def test_one_event_records_an_import(take: Callable[..., FeedImport], manager: User) -> None:
    done = take(FEED)
    event = Event.objects.get(type="campaigns.feed.imported")
    assert (event.object_type, event.object_id, event.actor) == ("feed_import", done.pk, manager)
    assert event.payload == {
        "import": done.pk,
        "file_name": "feed.csv",
        "file_sha256": done.file_sha256,
        "rows": 3,
        "created": 3,
        "updated": 0,
        "unchanged": 0,
        "variants_changed": 0,
        "photos_changed": 4,
    }


def test_the_same_feed_again_changes_nothing(take: Callable[..., FeedImport]) -> None:
    take(FEED)
    before = list(Subject.objects.values_list("pk", "updated_at"))
    assert counts(take(FEED)) == (0, 0, 3, 0)
    assert list(Subject.objects.values_list("pk", "updated_at")) == before
    assert ReferencePhoto.objects.count() == 4


def test_only_what_differs_is_updated(take: Callable[..., FeedImport]) -> None:
    take(FEED)
    assert counts(take(FEED.replace("20,00", "22,00") + "010;Jar;blue;5;jar.jpg\n")) == (1, 1, 2, 0)
    assert Subject.objects.get(key="008").attributes["price"] == "22.00"


def test_a_new_photo_alone_counts_as_an_update(take: Callable[..., FeedImport]) -> None:
    take(FEED)
    assert counts(take(FEED.replace("mug-sage.jpg", "mug-sage.jpg|mug-inner.jpg"))) == (0, 1, 2, 0)


def test_attributes_the_feed_has_no_column_for_stay_and_emptied_ones_go(
    take: Callable[..., FeedImport], brand: Brand
) -> None:
    take(FEED)
    mug = Subject.objects.get(key="007")
    mug.attributes |= {"story": "thrown by hand"}
    mug.save()
    take('sku,name,colour\n007,"Mug, sage",\n')
    mug.refresh_from_db()
    assert mug.attributes == {"story": "thrown by hand", "price": "12.90", "currency": "EUR"}


def test_a_photo_that_is_here_stays_ready_and_keeps_its_role_and_alt_text(take: Callable[..., FeedImport]) -> None:
    take(FEED)
    ReferencePhoto.objects.filter(source="mug-sage.jpg").update(
        status="ready", role="detail", alt_text="A mug", sha256="a"
    )
    take(FEED)
    photo = ReferencePhoto.objects.get(source="mug-sage.jpg")
    assert (photo.status, photo.role, photo.alt_text, photo.sha256) == ("ready", "detail", "A mug", "a")


def test_one_mistake_refuses_the_whole_feed(take: Callable[..., FeedImport]) -> None:
    done = take(FEED + "4.0E+12;Jar;blue;5;jar.jpg\n")
    assert (done.status, counts(done)) == (ImportStatus.REFUSED, (0, 0, 0, 1))
    assert not Subject.objects.exists()
    assert Event.objects.get().type == "campaigns.feed.refused"
    issue = done.issues.get()
    assert (issue.row, issue.column, issue.cell, issue.value) == (5, "sku", "A5", "4.0E+12")


def test_duplicate_keys_name_both_rows(take: Callable[..., FeedImport]) -> None:
    done = take(FEED + "007;Mug again;red;1;x.jpg\n007;And again;red;1;x.jpg\n")
    assert [(issue.cell, issue.cause, issue.value) for issue in done.issues.all()] == [
        ("A5", "duplicate_key", "007"),
        ("A6", "duplicate_key", "007"),
    ]
    assert "already stands in row 2" in done.issues.first().message


def test_two_articles_with_one_title_are_named(take: Callable[..., FeedImport]) -> None:
    done = take("title\nA quiet morning\nA Quiet Morning!\n", kind="article")
    assert "made of the title already stands in row 2" in done.issues.get().message


def test_the_same_key_may_be_a_product_and_an_article(take: Callable[..., FeedImport]) -> None:
    assert counts(take("sku,name,kind\n1,Mug,product\n1,Why mugs,article\n")) == (2, 0, 0, 0)


def test_a_dry_run_counts_as_the_import_would_and_changes_nothing(take: Callable[..., FeedImport]) -> None:
    take(FEED)
    changed = FEED.replace("20,00", "22,00") + "010;Jar;blue;5;jar.jpg\n"
    dry = take(changed, dry_run=True)
    assert (dry.status, counts(dry)) == (ImportStatus.CHECKED, (1, 1, 2, 0))
    assert Subject.objects.count() == 3
    assert Event.objects.filter(type="campaigns.feed.imported").count() == 1
    assert counts(take(changed)) == counts(dry)


def test_a_dry_run_reports_the_mistakes_too(take: Callable[..., FeedImport]) -> None:
    dry = take(FEED + ";Jar;blue;5;jar.jpg\n", dry_run=True)
    assert (dry.status, dry.error_count, dry.issues.get().cause) == (ImportStatus.CHECKED, 1, "key_missing")


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "unreadable"), (b"%PDF-1.4", "unreadable"), (b"sku,name\n", "no_rows"),
        (b"colour\nred\n", "column_missing"),
        (b"sku,name\n1,a\x00b\n", "control_character"),
        (b"sku,na\x00me\n1,a\n", "control_character"),
        (b"sku,name,caf\xc3\xa9,caf\xe9\n1,a,b,c\n", "control_character"),
        (b"sku,name\n1,caf\xc3\xa9\n2,caf\xe9\n", "control_character"),
        (b'sku,name\n1,"open\n', "quote"), (b"sku,name\n1\n", "ragged"), (b"sku,name\n1,=A1\n", "formula"),
        (b"PK\x03\x04 not really", "unreadable"), (b"sku,name\n1," + b"x" * 40_000 + b"\n", "cell_too_large"),
    ],
)  # fmt: skip
def test_every_bad_file_is_written_down_as_refused(take: Callable[..., FeedImport], data: bytes, cause: str) -> None:
    done = take(data)
    assert (done.status, done.error_count) == (ImportStatus.REFUSED, 1 if cause != "column_missing" else 2)
    assert {issue.cause for issue in done.issues.all()} == {cause}
    assert not StagedRow.objects.exists()


def test_a_workbook_is_imported(take: Callable[..., FeedImport]) -> None:
    done = take(xlsx([["sku", "name", "price"], [12345.0, "Mug", 12.9], ["007", "Cup", 5.0]]), file_name="feed.xlsx")
    assert counts(done) == (2, 0, 0, 0)
    assert set(Subject.objects.values_list("key", flat=True)) == {"12345", "007"}


def test_stored_issues_are_bounded_and_all_are_counted(
    take: Callable[..., FeedImport], monkeypatch: pytest.MonkeyPatch, manager: User
) -> None:
    monkeypatch.setattr(feed_reading, "MAX_STORED_PER_CAUSE", 5)
    rows = "".join(f"{number},Mug,{'x' if number % 2 else '12.00'}\n" for number in range(40))
    done = take("sku,name,price\n" + rows + "39,Mug,1\n" * 7)
    assert done.error_count == 27
    assert done.issue_counts == {"price_unreadable": 20, "duplicate_key": 7}
    assert done.issues.count() == 10


def test_mistakes_are_grouped_by_cause_with_an_example(take: Callable[..., FeedImport], manager: User) -> None:
    done = take("sku,name,price\n1,Mug,cheap\n2,,dear\n3,Jar,12.00\n")
    assert [group.sentence for group in selectors.group_issues(manager, done)] == [
        "2 prices that cannot be read, like “cheap”, first in C2",
        "1 row without a name, first in B3",
    ]


def test_shop_products_with_variants_are_merged_once(take: Callable[..., FeedImport]) -> None:
    shop = (
        "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Price,Image Src,Image Position\n"
        "mug,Mug,Size,S,0001,12,https://x.test/1.jpg,1\nmug,,,L,0002,15,https://x.test/2.jpg,2\n"
        "bowl,Bowl,Title,Default Title,,20,,\n"
    )
    assert counts(take(shop)) == (2, 0, 0, 0)
    assert list(Variant.objects.values_list("key", "options", "position")) == [
        ("0001", {"Size": "S"}, 1),
        ("0002", {"Size": "L"}, 2),
    ]
    assert counts(take(shop)) == (0, 0, 2, 0)
    assert counts(take(shop.replace("L,0002,15", "L,0002,16"))) == (0, 1, 1, 0)
    assert (Variant.objects.count(), ReferencePhoto.objects.count()) == (2, 2)
    assert Variant.objects.get(key="0002").attributes["price"] == "16.00"


def test_variants_that_occur_twice_are_named(take: Callable[..., FeedImport]) -> None:
    done = take("Handle,Title,Option1 Name,Option1 Value,Variant SKU\nmug,Mug,Size,S,\nmug,,,S,\n")
    assert [(issue.cell, issue.cause) for issue in done.issues.all()] == [("D3", "duplicate_variant")]


def test_images_of_unknown_products_are_named_once_each(take: Callable[..., FeedImport]) -> None:
    done = take("sku,image\n007,a.jpg\n007,b.jpg\n")
    assert [(issue.cell, issue.cause, issue.value) for issue in done.issues.all()] == [("A2", "parent_unknown", "007")]
    take(FEED)
    assert counts(take("sku,image\n007,a.jpg\n007,b.jpg\n")) == (0, 1, 0, 0)


@needs_real_feeds
def test_a_real_shop_is_imported_twice_without_duplicates(take: Callable[..., FeedImport]) -> None:
    data = (REAL / "shopify-apparel.csv").read_bytes()
    first = take(data, file_name="shopify-apparel.csv")
    again = take(data)
    assert first.error_count == 0
    assert first.created == Subject.objects.count() == again.unchanged
    assert (again.created, again.updated) == (0, 0)
    assert not Subject.objects.filter(key="").exists()


@needs_real_feeds
def test_real_products_and_their_images_come_in_two_files(take: Callable[..., FeedImport]) -> None:
    products = take((REAL / "magento-bags.csv").read_bytes())
    images = take((REAL / "magento-bags-images.csv").read_bytes())
    assert (products.status, images.status) == (ImportStatus.APPLIED, ImportStatus.APPLIED)
    assert images.updated == products.created
    assert ReferencePhoto.objects.filter(subject__key="24-MB02").count() == 2


def test_only_some_roles_may_import(take: Callable[..., FeedImport], viewer: User, reviewer: User) -> None:
    for person in (viewer, reviewer):
        with pytest.raises(NotAllowed):
            take(FEED, by=person)
    assert not FeedImport.objects.exists()


def test_one_brand_never_sees_or_changes_anothers(
    take: Callable[..., FeedImport], other_brand: Brand, person: Callable[..., User], manager: User
) -> None:
    stranger = person("campaign_manager", brand=other_brand)
    take(FEED + "bad row\n")
    done = take(FEED)
    with pytest.raises(NotFound):
        selectors.get(stranger, done.pk)
    assert not selectors.visible(stranger).exists()
    assert not ImportIssue.objects.visible_to(stranger).exists()
    theirs = take(FEED.replace("sage", "teal"), brand=other_brand, by=stranger)
    assert counts(theirs) == (3, 0, 0, 0)
    assert Subject.objects.get(brand=done.brand, key="007").attributes["colour"] == "sage"


def test_the_staging_table_is_not_logged_and_is_left_empty(take: Callable[..., FeedImport]) -> None:
    take(FEED)
    take(FEED + "x\n")
    assert not StagedRow.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpersistence FROM pg_class WHERE relname = 'campaigns_stagedrow'")
        assert cursor.fetchone() == ("u",)


def test_what_a_killed_import_left_behind_goes_with_the_next(take: Callable[..., FeedImport]) -> None:
    columns = "batch, row, key, parent_key, name, kind, attributes, options, photos, staged_at"
    with connection.cursor() as cursor:
        for age in ("25 hours", "1 hour"):
            cursor.execute(
                f"INSERT INTO campaigns_stagedrow ({columns}) VALUES "  # noqa: S608
                "(gen_random_uuid(), 2, %s, '', 'x', 'product', '{}', '{}', '[]', now() - %s::interval)",
                [age, age],
            )
    take(FEED)
    assert [row.key for row in StagedRow.objects.all()] == ["1 hour"]


def test_a_stream_that_cannot_seek_is_imported(brand: Brand, manager: User) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *args: Any) -> int:
            raise OSError("a pipe")

    done = imports.import_feed(brand=brand, file=Pipe(FEED.encode()), file_name="../../etc/feed.csv", by=manager)
    assert (done.created, done.file_name) == (3, "feed.csv")


@pytest.mark.django_db(transaction=True)
def test_two_imports_of_one_feed_at_once_make_no_duplicates(brand: Brand, manager: User) -> None:
    feed = "sku,name,photo\n" + "".join(f"{number},Mug {number},p{number}.jpg\n" for number in range(500))

    def import_it() -> FeedImport:
        return imports.import_feed(brand=brand, file=io.BytesIO(feed.encode()), file_name="f.csv", by=manager)

    results = race_without_errors(*[import_it] * 4)
    assert sorted(counts(done) for done in results) == [(0, 0, 500, 0)] * 3 + [(500, 0, 0, 0)]
    assert (Subject.objects.count(), ReferencePhoto.objects.count()) == (500, 500)


@pytest.mark.django_db(transaction=True)
def test_parsing_holds_no_transaction(brand: Brand, manager: User, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    original = staging.stage

    def watched(batch: Any, rows: Iterator[Any]) -> None:
        def watch() -> Iterator[Any]:
            for row in rows:
                seen.append(connection.in_atomic_block)
                yield row

        original(batch, watch())

    monkeypatch.setattr(staging, "stage", watched)
    imports.import_feed(brand=brand, file=io.BytesIO(FEED.encode()), file_name="f.csv", by=manager)
    assert seen == [False, False, False]


def big_feed(path: Path, rows: int) -> Path:
    with path.open("w") as file:
        file.write("sku,name,colour,material,price,photo,description\n")
        for number in range(rows):
            file.write(
                f'{number:07},"Mug, {number}",sage,stoneware,"{number % 90},90 €",mug-{number}.jpg,'
                f'"A mug of stoneware, glazed by hand. Number {number}."\n'
            )
    return path


class Peak:
    """Measures the peak growth of this process in megabytes since the object was made."""

    def __init__(self) -> None:
        self.resets = Path("/proc/self/clear_refs").exists()
        if self.resets:
            Path("/proc/self/clear_refs").write_text("5")
        self.before = self._peak_megabytes()

    def _peak_megabytes(self) -> float:
        if self.resets:
            status = Path("/proc/self/status").read_text()
            return int(status.partition("VmHWM:")[2].split()[0]) / 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10))

    def megabytes(self) -> float:
        return self._peak_megabytes() - self.before


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_hundred_thousand_rows_are_imported_in_bounded_memory(brand: Brand, manager: User, tmp_path: Path) -> None:
    small, path = big_feed(tmp_path / "small.csv", 6_000), big_feed(tmp_path / "big.csv", 100_000)
    imports.import_feed(brand=brand, file=small, file_name="small.csv", by=manager)
    peak = Peak()
    done = imports.import_feed(brand=brand, file=path, file_name="big.csv", by=manager)
    assert counts(done) == (94_000, 0, 6_000, 0)
    grown = peak.megabytes()
    assert grown < 12, f"{grown:.0f} MB beyond what 6,000 rows take; the file has {path.stat().st_size / 1e6:.0f} MB"


def command(*arguments: str, expected: int = 0) -> dict[str, Any]:
    out = io.StringIO()
    try:
        call_command("import_feed", *arguments, "--json", stdout=out)
        status = 0
    except SystemExit as ended:
        status = int(str(ended.code))
    assert status == expected
    answer: dict[str, Any] = json.loads(out.getvalue().splitlines()[-1])
    return answer


def test_the_command_prints_counts_and_exits_with_zero(brand: Brand, manager: User, tmp_path: Path) -> None:
    (tmp_path / "feed.csv").write_text(FEED)
    answer = command(str(tmp_path / "feed.csv"), "--brand", brand.slug, "--as", manager.username)
    assert {key: answer[key] for key in ("status", "created", "updated", "unchanged", "errors")} == {
        "status": "applied",
        "created": 3,
        "updated": 0,
        "unchanged": 0,
        "errors": [],
    }


def test_the_command_lists_mistakes_and_exits_with_one(brand: Brand, manager: User, tmp_path: Path) -> None:
    (tmp_path / "feed.csv").write_text(FEED + "4.0E+12;Jar;blue;5;\n")
    for more, status in ((["--dry-run"], "checked"), ([], "refused")):
        answer = command(str(tmp_path / "feed.csv"), "--brand", brand.slug, "--as", manager.username, *more, expected=1)
        assert answer["status"] == status
        error = answer["errors"][0]
        assert (error["row"], error["column"], error["value"]) == (5, "sku", "4.0E+12")
        assert "expected" in error["message"]


def test_the_command_acts_as_the_first_superuser_and_says_when_there_is_none(
    brand: Brand, manager: User, tmp_path: Path
) -> None:
    path = tmp_path / "feed.csv"
    path.write_text(FEED)
    with pytest.raises(CommandError, match="no superuser"):
        call_command("import_feed", str(path), brand=brand.slug)
    operator = User.objects.create_superuser("operator")
    command(str(path), "--brand", brand.slug)
    assert FeedImport.objects.get().requested_by == operator
    with pytest.raises(CommandError, match="no brand 'nowhere'"):
        call_command("import_feed", str(path), brand="nowhere")
    with pytest.raises(CommandError, match="There is no file"):
        call_command("import_feed", str(tmp_path / "none.csv"), brand=brand.slug)
    with pytest.raises(CommandError, match="Name the file"):
        call_command("import_feed", brand=brand.slug)


def test_the_command_takes_a_mapping_and_fixes_and_undoes(brand: Brand, manager: User, tmp_path: Path) -> None:
    path, fields = tmp_path / "odd.csv", tmp_path / "mapping.json"
    path.write_text("Art.;Was;VK\n1;Becher;12,90\n2;Schale;dear\n")
    fields.write_text('{"Art.": "key", "Was": "name", "VK": "attribute:price"}')
    common = ["--brand", brand.slug, "--as", manager.username]
    refused = command(str(path), *common, "--mapping", str(fields), expected=1)
    assert (refused["status"], refused["errors"][0]["cell"]) == ("refused", "C3")
    done = command(str(path), *common, "--mapping", fields.read_text(), "--fix", "price_unreadable=leave_empty")
    assert (done["status"], done["created"]) == ("applied", 2)
    undone = command(*common, "--undo", str(done["import"]))
    assert (undone["status"], undone["undone"]["removed"]) == ("undone", 2)
    with pytest.raises(CommandError, match="cannot be undone"):
        call_command("import_feed", *common, "--undo", str(done["import"]))
    with pytest.raises(CommandError, match="is not JSON"):
        call_command("import_feed", str(path), *common, "--mapping", "{")


def test_feeds_are_read_without_django() -> None:
    code = "import campaigns.feeds, sys; sys.exit(any(name.split('.')[0] == 'django' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
