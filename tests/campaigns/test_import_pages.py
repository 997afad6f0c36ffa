"""Tests of the import pages: upload or paste a file, map its columns, fix its mistakes, apply and undo it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.models import FeedImport, FeedSource, Subject
from campaigns.services import imports
from core.models import Brand, Event, User
from tests.support import factories
from tests.support.feed_files import parsed, xlsx

pytestmark = pytest.mark.django_db(transaction=True)

GOOD = "sku,name,colour\nM-1,Mug,sage\nM-2,Bowl,clay\n"
WRONG = "sku;name;price\nM-1;Mug;cheap\nM-2;Bowl;12,90 €\nM-3;Jar;dear\n;Lid;5\n"
ODD = "Art.;Was;Glasur;VK\nM-1;Becher;salbei;12,90\nM-2;Schale;ton;19,90\n"


class ImportPages:
    """The actions of a campaign manager on the import pages."""

    def __init__(self, client: Any, brand: Brand) -> None:
        self.client = client
        self.home = f"/brands/{brand.slug}/import/"

    def drop(self, data: str | bytes, name: str = "feed.csv", **fields: str) -> str:
        """Upload a file and return the URL of the next page."""
        raw = data.encode() if isinstance(data, str) else data
        answer = self.client.post(self.home, {"file": SimpleUploadedFile(name, raw)} | fields)
        assert answer.status_code == 302, answer.content[:2000]
        address: str = answer["Location"]
        return address

    def see(self, address: str) -> str:
        answer = self.client.get(address)
        assert answer.status_code == 200
        text: str = answer.content.decode()
        return re.sub(r"\s+", " ", text)

    def post(self, address: str, **fields: str) -> str:
        answer = self.client.post(address, fields, follow=True)
        assert answer.status_code == 200, (answer.status_code, answer.content[:500])
        text: str = answer.content.decode()
        return re.sub(r"\s+", " ", text)

    def download(self, address: str) -> bytes:
        answer = self.client.get(address)
        assert answer.status_code == 200
        return b"".join(answer.streaming_content)


@pytest.fixture
def pages(brand: Brand, manager: User, page_client: Any) -> ImportPages:
    return ImportPages(page_client(manager), brand)


def test_a_sound_file_is_shown_as_it_will_be_and_then_applied(pages: ImportPages, brand: Brand) -> None:
    address = pages.drop(GOOD)
    page = pages.see(address)
    assert "2 rows are right: 2 new, 0 changed" in page
    assert "Bowl" in page and "Nothing is written yet" in page
    assert not Subject.objects.exists()
    done = pages.post(address)
    assert "Applied: 2 new, 0 changed, 0 as they were" in done
    for subject in Subject.objects.filter(brand=brand):
        assert f"/products/{subject.pk}/" in done
    assert "Removes 2 subjects that it made" in done


def test_one_import_is_one_row_from_check_to_undo(pages: ImportPages) -> None:
    address = pages.drop(GOOD)
    pages.post(address)
    page = pages.post(f"{address}undo/")
    assert "2 removed, 0 given their old values back" in page
    assert FeedImport.objects.get().status == "undone"
    assert not Subject.objects.exists()
    assert [event.type for event in Event.objects.filter(object_type="feed_import")] == [
        "campaigns.feed.imported",
        "campaigns.feed.undone",
    ]


def test_undo_gives_changed_products_their_old_values_back(pages: ImportPages) -> None:
    pages.post(pages.drop(GOOD))
    address = pages.drop(GOOD.replace("sage", "teal") + "M-3,Jar,blue\n")
    assert "Gives 1 its old values back" in pages.post(address)
    pages.post(f"{address}undo/")
    assert Subject.objects.get(key="M-1").attributes == {"colour": "sage"}
    assert set(Subject.objects.values_list("key", flat=True)) == {"M-1", "M-2"}


def test_the_second_undo_gets_a_message_that_names_who_was_first(pages: ImportPages, manager: User) -> None:
    address = pages.drop(GOOD)
    pages.post(address)
    pages.post(f"{address}undo/")
    answer = pages.client.post(f"{address}undo/")
    assert answer.status_code == 409
    assert manager.display_name in answer.content.decode()


def test_mistakes_are_grouped_by_cause_with_their_fixes_and_one_button_fixes_all(pages: ImportPages) -> None:
    address = pages.drop(WRONG)
    page = pages.see(address)
    assert "3 mistakes stand in the way" in page
    assert "2 prices that cannot be read, like “cheap”, first in C2" in page
    assert "1 row without a key" in page
    assert "cheap → empty" in page
    page = pages.post(f"{address}fix/", cause="price_unreadable", fix="leave_empty")
    assert "Leave them empty: 2 cells changed" in page
    assert "prices that cannot be read: 2 cells changed" in page
    assert "1 mistake stands in the way" in page
    page = pages.post(f"{address}fix/", cause="key_missing", fix="leave_out")
    assert "Apply all of it" in page
    page = pages.post(f"{address}fix/", cause="key_missing", take_back="leave_out")
    assert "Apply all of it" not in page
    assert "1 mistake stands in the way" in page


def test_a_fix_that_changes_nothing_says_so(pages: ImportPages) -> None:
    page = pages.post(f"{pages.drop(WRONG)}fix/", cause="price_unreadable", fix="number_in_text")
    assert "no cell could be changed so; try another fix" in page


def test_a_mistake_that_only_the_file_can_fix_says_so(pages: ImportPages) -> None:
    page = pages.see(pages.drop('sku,name\n1,"open\n'))
    assert "This has to be mended in the file" in page


def test_the_rows_of_one_cause_can_be_shown_alone(pages: ImportPages) -> None:
    page = pages.see(f"{pages.drop(WRONG)}?cause=key_missing")
    rows = page.partition('id="rows"')[2]
    assert "the SKU is empty" in rows and "is not a price" not in rows


def test_headings_that_say_nothing_lead_to_the_columns(pages: ImportPages) -> None:
    address = pages.drop(ODD)
    assert address.endswith("/columns/")
    page = pages.see(address)
    assert "No column is the SKU yet" in page
    assert "Becher" in page and "Schale" in page
    assert page.count("guessed</span>") == 4


def mapped(**more: str) -> dict[str, str]:
    fields = {"field-0": "key", "field-1": "name", "field-2": "attribute:colour", "field-3": "attribute:price"}
    return fields | {"kind": "product"} | more


def test_the_preview_follows_the_columns_that_are_chosen(pages: ImportPages) -> None:
    address = pages.drop(ODD)
    page = pages.post(f"{address}preview/", **mapped())
    assert "M-1" in page and "Becher" in page and "salbei" in page and "12.90" in page
    assert "Still missing" not in page
    page = pages.post(f"{address}preview/", **mapped(**{"field-1": "ignore"}))
    assert "No column is the name yet" in page
    assert not FeedImport.objects.get().mapping


def test_columns_are_remembered_for_the_next_file_and_the_page_says_so(pages: ImportPages, brand: Brand) -> None:
    page = pages.post(pages.drop(ODD), **mapped(remember="1", name="Supplier list"))
    assert "Remembered as “Supplier list”" in page
    assert "2 rows are right" in page
    source = FeedSource.objects.get(brand=brand)
    assert (source.kind, source.slug, source.mapping["Was"]) == ("upload", "supplier-list", "name")
    page = pages.see(pages.drop(ODD.replace("M-1", "M-9"), name="next.csv"))
    assert "read as saved under “Supplier list”" in page
    assert "2 rows are right" in page
    other = pages.drop(ODD.replace("Glasur", "Dekor"))
    assert other.endswith("/columns/")


def test_a_mapping_saved_again_replaces_the_first(pages: ImportPages) -> None:
    pages.post(pages.drop(ODD), **mapped(remember="1", name="Supplier list"))
    address = pages.drop(ODD)
    pages.post(f"{address}columns/", **mapped(remember="1", name="Supplier", **{"field-2": "attribute:glaze"}))
    assert FeedSource.objects.get().mapping["Glasur"] == "attribute:glaze"
    assert FeedSource.objects.get().name == "Supplier"


def test_a_mapping_is_not_used_for_another_brand(
    pages: ImportPages, other_brand: Brand, person: Callable[..., User], page_client: Any
) -> None:
    pages.post(pages.drop(ODD), **mapped(remember="1", name="Supplier list"))
    theirs = ImportPages(page_client(person("campaign_manager", brand=other_brand)), other_brand)
    assert theirs.drop(ODD).endswith("/columns/")


def test_a_column_may_be_left_out(pages: ImportPages) -> None:
    page = pages.post(pages.drop(ODD), **mapped(**{"field-3": "ignore"}))
    assert "2 rows are right" in page
    pages.post(f"{pages.home}{FeedImport.objects.get().pk}/")
    assert Subject.objects.get(key="M-1").attributes == {"colour": "salbei"}


def test_a_list_of_titles_becomes_articles(pages: ImportPages, brand: Brand) -> None:
    titles = "Mugs, bowls and plates\n- How a glaze gets its colour\n\nThe quiet kitchen\n"
    answer = pages.client.post(pages.home, {"pasted": titles, "kind": "article"}, follow=True)
    assert "3 rows are right" in re.sub(r"\s+", " ", answer.content.decode())
    pages.post(f"{pages.home}{FeedImport.objects.get().pk}/")
    names = Subject.objects.filter(brand=brand, kind="article").order_by("name").values_list("name", flat=True)
    assert list(names) == ["How a glaze gets its colour", "Mugs, bowls and plates", "The quiet kitchen"]


def test_cells_copied_from_a_spreadsheet_are_a_table(pages: ImportPages) -> None:
    answer = pages.client.post(pages.home, {"pasted": "sku\tname\r\n1\tMug, sage\r\n", "kind": "product"}, follow=True)
    assert "Mug, sage" in answer.content.decode()


def test_a_form_without_a_choice_gets_a_message(pages: ImportPages) -> None:
    answer = pages.client.post(pages.home, {"kind": "product"})
    assert answer.status_code == 422
    assert "Choose a file first, or paste" in answer.content.decode()


# -- download of the uploaded file -------------------------------------------------------------------------------------


def table(data: bytes, delimiter: str = ";") -> list[list[str]]:
    assert data.startswith("\ufeff".encode())
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig")), delimiter=delimiter))


def test_the_own_file_comes_back_in_its_order_with_a_column_of_mistakes(pages: ImportPages) -> None:
    data = pages.download(f"{pages.drop(WRONG)}file/")
    rows = table(data)
    assert rows[0] == ["sku", "name", "price", "What is wrong"]
    assert [row[:3] for row in rows[1:]] == [line.split(";") for line in WRONG.splitlines()[1:]]
    assert "“cheap” is not a price" in rows[1][3]
    assert rows[2][3] == ""
    assert "the SKU is empty" in rows[4][3]


def test_only_the_rows_with_mistakes_may_be_taken(pages: ImportPages) -> None:
    rows = table(pages.download(f"{pages.drop(WRONG)}file/?only=wrong"))
    assert [row[1] for row in rows[1:]] == ["Mug", "Jar", "Lid"]


def test_mistakes_that_only_the_whole_file_shows_are_reported_in_their_rows(pages: ImportPages) -> None:
    rows = table(pages.download(f"{pages.drop(GOOD + 'M-1,Again,red')}file/"), ",")
    assert "already stands in row 2" in rows[3][3]
    assert [row[3] for row in rows[1:3]] == ["", ""]


def test_a_file_that_breaks_off_says_where(pages: ImportPages) -> None:
    rows = table(pages.download(f"{pages.drop(GOOD + chr(34) + 'open,x,y')}file/"), ",")
    assert [row[0] for row in rows[1:3]] == ["M-1", "M-2"]
    assert "never closed" in rows[-1][-1]


def test_a_fixed_cell_is_no_mistake_any_more_and_the_cells_are_the_persons_own(pages: ImportPages) -> None:
    address = pages.drop(WRONG)
    pages.post(f"{address}fix/", cause="price_unreadable", fix="leave_empty")
    rows = table(pages.download(f"{address}file/"))
    assert (rows[1][2], rows[1][3]) == ("cheap", "")
    assert "the SKU is empty" in rows[4][3]


def test_no_cell_of_the_own_file_is_run_and_numbers_stay_numbers(pages: ImportPages) -> None:
    feed = 'sku,name,price\n1,"=HYPERLINK(""http://x"")",-5\n2,@SUM(1),+49\n'
    rows = table(pages.download(f"{pages.drop(feed)}file/"), ",")
    assert (rows[1][1], rows[1][2]) == ('\'=HYPERLINK("http://x")', "-5")
    assert (rows[2][1], rows[2][2]) == ("'@SUM(1)", "+49")


def test_every_mistake_is_in_the_own_file_also_those_that_were_not_stored(
    pages: ImportPages, monkeypatch: pytest.MonkeyPatch
) -> None:
    from campaigns.services import feed_reading

    monkeypatch.setattr(feed_reading, "MAX_STORED_PER_CAUSE", 2)
    address = pages.drop("sku,name,price\n" + "".join(f"{number},Mug,cheap\n" for number in range(50)))
    assert FeedImport.objects.get().issues.count() == 2
    rows = table(pages.download(f"{address}file/"), ",")
    assert all("is not a price" in row[3] for row in rows[1:]) and len(rows) == 51


def test_a_workbook_comes_back_as_a_workbook_that_can_be_read_again(pages: ImportPages) -> None:
    book = xlsx([["sku", "name", "price"], ["007", "Mug", "cheap"], [12345.0, "=A1", 12.5], ["9", "Jar\nblue", ""]])
    address = pages.drop(book, name="feed.xlsx")
    data = pages.download(f"{address}file/")
    rows, issues = parsed(data)
    assert {row.key for row in rows} >= {"007", "12345", "9"}
    assert [(issue.cell, issue.cause) for issue in issues] == [("C2", "price_unreadable"), ("B3", "formula")]
    wrong = {row.key: row.attributes.get("what_is_wrong", "") for row in rows}
    assert "is not a price" in wrong["007"] and "formula" in wrong["12345"] and not wrong["9"]


def test_a_file_that_is_no_table_offers_no_own_file(pages: ImportPages) -> None:
    address = pages.drop(b"%PDF-1.4 something", name="list.pdf")
    page = pages.see(address)
    assert "column of mistakes" not in page
    assert pages.client.get(f"{address}file/").status_code == 409


# -- waiting -----------------------------------------------------------------------------------------------------------


def test_a_large_file_waits_for_a_worker_and_its_page_follows(
    pages: ImportPages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MAX_IMMEDIATE_BYTES", 20)
    address = pages.drop(GOOD)
    page = pages.see(address)
    assert "It is being checked" in page and f'hx-get="{address}progress/"' in page
    assert "Waiting for a worker" in pages.see(f"{address}progress/")
    FeedImport.objects.update(rows=1000, bytes_read=10, reading_since="2026-01-01T00:00:00Z")
    assert "<b>1000</b> rows read" in pages.see(f"{address}progress/")
    assert pages.client.post(address).status_code == 409
    assert imports.process_waiting(FeedImport.objects.get().pk)
    assert pages.client.get(f"{address}progress/")["HX-Refresh"] == "true"
    assert "2 rows are right" in pages.see(address)


def test_a_large_file_that_cannot_be_read_is_reported_at_once(
    pages: ImportPages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MAX_IMMEDIATE_BYTES", 20)
    assert pages.drop(ODD).endswith("/columns/")
    assert "This is a PDF document" in pages.see(pages.drop(b"%PDF-1.4 something more", name="list.pdf"))


def test_a_file_that_is_no_longer_kept_can_be_read_but_not_changed(pages: ImportPages) -> None:
    address = pages.drop(WRONG)
    default_storage.delete(FeedImport.objects.get().storage_key)
    page = pages.see(address)
    assert "no longer kept" in page and "fix/" not in page
    answer = pages.client.post(f"{address}fix/", {"cause": "key_missing", "fix": "leave_out"})
    assert answer.status_code == 409


# -- permissions and limits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["", "columns/", "file/", "progress/", "mistakes.csv"])
def test_pages_of_an_import_are_for_people_who_may_import(
    page: str, pages: ImportPages, brand: Brand, viewer: User, other_brand: Brand, person: Any, page_client: Any
) -> None:
    pages.drop(WRONG)
    address = f"{pages.home}{FeedImport.objects.get().pk}/{page}"
    assert pages.client.get(address).status_code == 200
    assert page_client(viewer).get(address).status_code == 403
    assert page_client(person("admin", brand=other_brand)).get(address).status_code == 404


@pytest.mark.parametrize("page", ["undo/", "fix/", "columns/", "columns/preview/", ""])
def test_nobody_else_may_post_to_an_import(page: str, pages: ImportPages, viewer: User, page_client: Any) -> None:
    pages.drop(WRONG)
    address = f"{pages.home}{FeedImport.objects.get().pk}/{page}"
    assert page_client(viewer).post(address).status_code == 403


def test_the_list_and_an_import_cost_no_more_queries_with_more_rows(pages: ImportPages) -> None:
    for _ in range(3):
        pages.post(pages.drop(GOOD))
    address = pages.drop("sku,name,price\n" + "".join(f"{number},Mug,cheap\n" for number in range(80)))
    applied = pages.drop("sku,name\n" + "".join(f"X-{number},Mug\n" for number in range(80)))
    pages.post(applied)
    for page, most in ((pages.home, 10), (address, 12), (applied, 12)):
        with CaptureQueriesContext(connection) as queries:
            pages.see(page)
        assert len(queries) <= most, [query["sql"][:120] for query in queries]


def test_a_name_that_is_taken_is_refused_in_words(pages: ImportPages, brand: Brand, manager: User) -> None:
    FeedSource.objects.create(
        brand=brand, slug="supplier", name="Supplier", kind="url", url="https://x.test/", created_by=manager
    )
    answer = pages.client.post(pages.drop(ODD), mapped(remember="1", name="Supplier"))
    assert answer.status_code == 422
    assert "There is already a source called" in answer.content.decode()


def test_a_mapping_to_what_does_not_exist_lists_what_does(pages: ImportPages) -> None:
    answer = pages.client.post(pages.drop(ODD), mapped(**{"field-1": "nonsense"}))
    assert answer.status_code == 422
    assert "known are key, name" in answer.content.decode()


def test_attributes_that_the_brand_has_are_offered_for_a_column(pages: ImportPages, brand: Brand) -> None:
    factories.SubjectFactory(brand=brand, attributes={"glaze_name": "celadon"})
    assert 'value="attribute:glaze_name"' in pages.see(pages.drop(ODD))


def test_a_file_that_is_no_zip_of_photos_is_a_mistake_in_the_form(brand: Any, manager: Any, page_client: Any) -> None:
    client = page_client(manager)
    for files, sentence in (
        ({"photos": SimpleUploadedFile("a.zip", b"no zip")}, "This is no ZIP archive that can be read"),
        ({"photos": SimpleUploadedFile("a.zip", b"")}, "a.zip is empty."),
        ({}, "Choose a ZIP archive of photos first."),
    ):
        answer = client.post(f"/brands/{brand.slug}/products/photos/", files)
        assert answer.status_code == 422 and answer.context["photos_problem"].startswith(sentence)
        text = answer.content.decode()
        assert f'<span class="error" role="alert">{answer.context["photos_problem"]}' in text
        assert text.count(f'action="/brands/{brand.slug}/import/"') == 2  # the other forms still go to their own page
    assert client.get(f"/brands/{brand.slug}/products/photos/?page=2").headers["Location"].endswith("/import/?page=2")
