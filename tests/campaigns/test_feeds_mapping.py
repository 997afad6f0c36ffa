"""Tests of column mappings: the choices, the detected suggestions, and the sample rows."""

from __future__ import annotations

import io

import pytest

from campaigns.feeds import LAYOUTS, FeedRefused, Header, Record, header_sha256, read_head, suggest_mapping
from campaigns.feeds.columns import FIELDS, is_field
from config.env import ROOT
from tests.campaigns.test_feeds_shopify import OLD, SHOP, table
from tests.support.feed_files import only_issue, opened, parsed

ODD = "Ref;What it is;Look;Shot\n007;Mug;sage;mug.jpg\n008;Cup;clay;cup.jpg\n"
CHOSEN = {"Ref": "key", "What it is": "name", "Look": "attribute:colour", "Shot": "photo"}


def header_of(data: str) -> Header:
    return read_head(io.BytesIO(data.encode())).header


def test_columns_with_headings_of_their_own_are_read_as_mapped() -> None:
    assert {issue.cause for issue in parsed(ODD)[1]} == {"column_missing"}
    rows, issues = parsed(ODD, mapping=CHOSEN)
    assert not issues
    assert [(row.key, row.name, row.attributes) for row in rows] == [
        ("007", "Mug", {"colour": "sage"}),
        ("008", "Cup", {"colour": "clay"}),
    ]
    assert rows[0].photos == [{"source": "mug.jpg", "role": "front", "position": 1, "alt": ""}]


def test_headings_are_found_however_they_are_capitalised_and_unmapped_ones_are_detected() -> None:
    rows, issues = parsed(
        "REF,what_it_is,Farbe,gone\n1,Mug,sage,x\n", mapping={"Ref": "key", "What it is": "name", "gone": "ignore"}
    )
    assert not issues
    assert rows[0].attributes == {"colour": "sage"}


def test_an_ignored_column_is_not_read_at_all() -> None:
    rows, issues = parsed("sku,name,price\n1,Mug,what?\n", mapping={"price": "ignore"})
    assert not issues
    assert rows[0].attributes == {}


def test_a_detected_column_gives_way_to_the_one_that_people_chose() -> None:
    rows, issues = parsed("sku,name,label\n1,internal,Mug\n", mapping={"label": "name"})
    assert not issues
    assert (rows[0].name, rows[0].attributes) == ("Mug", {"name": "internal"})


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"price": "prise"}, "“prise” is no field"),
        ({"price": "attribute:"}, "is no field"),
        ({"name": "key", "sku": "key"}, "one column for it"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_with_its_heading(mapping: dict[str, str], words: str) -> None:
    issue = only_issue("sku,name,price\n1,Mug,1\n", mapping=mapping)
    assert issue.cause == "mapping"
    assert words in issue.message
    assert issue.cell in ("A1", "B1", "C1")


def test_a_shop_export_keeps_its_own_rules_and_gives_up_columns() -> None:
    data = table(OLD, SHOP)
    as_is = parsed(data)[0]
    assert parsed(data, mapping=read_head(io.BytesIO(data.encode())).suggestion) == (as_is, [])
    rows, issues = parsed(data, mapping={"Vendor": "ignore", "Type": "attribute:family"})
    assert not issues
    assert "vendor" in as_is[0].attributes and "vendor" not in rows[0].attributes
    assert rows[0].attributes.get("family") == as_is[0].attributes.get("type")
    assert only_issue(data, mapping={"Title": "alt"}).cause == "mapping"


def test_what_is_suggested_is_what_would_be_read() -> None:
    header = header_of("Artikelnummer;Bezeichnung;Farbe;Preis;Bild;photo_inner;Care\n1;2;3;4;5;6;7\n")
    assert suggest_mapping(header) == {
        "Artikelnummer": "key",
        "Bezeichnung": "name",
        "Farbe": "attribute:colour",
        "Preis": "attribute:price",
        "Bild": "photo",
        "photo_inner": "photo:inner",
        "Care": "attribute:care",
    }
    assert all(is_field(field) for field in suggest_mapping(header).values())


def test_every_field_has_words_for_people() -> None:
    assert set(FIELDS) >= {"key", "name", "kind", "photo", "photos_more", "alt", "hex", "parent"}
    assert all(FIELDS.values())


def test_the_same_headings_have_the_same_digest_however_they_are_written() -> None:
    assert header_sha256(header_of("SKU,Name\n1,x\n")) == header_sha256(header_of("sku ;name\n9;y\n"))
    assert header_sha256(header_of("sku,name\n1,x\n")) != header_sha256(header_of("name,sku\nx,1\n"))


def test_a_peek_shows_the_first_rows_and_says_what_is_missing() -> None:
    seen = read_head(io.BytesIO(ODD.encode()), rows=1)
    assert seen.sample == [(2, ["007", "Mug", "sage", "mug.jpg"])]
    assert "column for the SKU" in seen.problem
    assert seen.suggestion["Look"] == "attribute:look"
    mapped = read_head(io.BytesIO(ODD.encode()), mapping=CHOSEN)
    assert (len(mapped.sample), mapped.problem) == (2, "")


def test_a_peek_at_what_is_no_table_is_refused() -> None:
    with pytest.raises(FeedRefused, match="PDF"):
        read_head(io.BytesIO(b"%PDF-1.7"))


def test_a_fix_changes_each_record_before_it_is_read() -> None:
    def upper(header: Header, record: Record) -> Record:
        row, cells = record
        return row, [cell.upper() if header.names[i] == "sku" else cell for i, cell in enumerate(cells)]

    rows, issues = parsed("sku,name\na1,Mug\n\nb2,Cup\n", record_fix=upper)
    assert not issues
    assert [(row.row, row.key, row.name) for row in rows] == [(2, "A1", "Mug"), (4, "B2", "Cup")]
    feed = opened("sku,name\na1,Mug\n\nb2,Cup\n", record_fix=upper)
    list(feed.rows())
    assert feed.count == 2


def test_every_layout_and_every_field_is_described_in_the_docs() -> None:
    text = (ROOT / "docs" / "feeds.md").read_text()
    assert [name for name in LAYOUTS.names() if f"`{name}`" not in text] == []
    assert [name for name in FIELDS if f"`{name}" not in text] == []
