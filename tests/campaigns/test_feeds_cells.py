"""Tests of single cells: price notations, keys that spreadsheets changed, formulas, colours, images, kinds."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.feeds import cells
from campaigns.feeds.base import CAUSES, DateText, NumberText
from campaigns.feeds.cells import Unreadable
from tests.support.feed_files import only_issue, parsed


@pytest.mark.parametrize(
    ("written", "amount", "currency"),
    [
        ("12.90", "12.90", ""), ("12,90", "12.90", ""), ("12,90 €", "12.90", "EUR"), ("€12.9", "12.90", "EUR"),
        ("EUR 12.90", "12.90", "EUR"), ("15.00 USD", "15.00", "USD"), ("$5", "5.00", "USD"), ("£ 7,5", "7.50", "GBP"),
        ("1.234,56", "1234.56", ""), ("1,234.56", "1234.56", ""), ("1 234,56 €", "1234.56", "EUR"),
        ("1'234.50 CHF", "1234.50", "CHF"), ("1\u202f234,5", "1234.50", ""), ("1.234.567", "1234567.00", ""),
        ("0,123", "0.123", ""), ("1234.567", "1234.567", ""), ("0", "0.00", ""), ("007,10", "7.10", ""),
        ("+3", "3.00", ""), (" 12,90\xa0€ ", "12.90", "EUR"),
    ],
)  # fmt: skip
def test_a_price_is_read_in_every_unambiguous_notation(written: str, amount: str, currency: str) -> None:
    assert cells.price(written) == (amount, currency)


@pytest.mark.parametrize(
    ("written", "cause"),
    [
        ("1,234", "price_ambiguous"), ("12.345 €", "price_ambiguous"), ("-3", "price_negative"),
        ("−3,50 €", "price_negative"), ("twelve", "price_unreadable"), ("12,9o", "price_unreadable"),
        ("12.90.1", "price_unreadable"), ("1,2,3", "price_unreadable"), ("n/a", "price_unreadable"),
        ("$ 5 €", "price_unreadable"), ("12-90", "price_unreadable"), ("4.0E+12", "price_unreadable"),
        ("9" * 50, "price_unreadable"),
    ],
)  # fmt: skip
def test_a_price_that_is_none_or_may_be_two_is_refused(written: str, cause: str) -> None:
    with pytest.raises(Unreadable) as refusal:
        cells.price(written)
    assert refusal.value.cause == cause


@given(st.decimals(min_value=0, max_value=999_999, places=2))
def test_every_amount_survives_both_notations(amount: Decimal) -> None:
    english, german = f"{amount:,.2f}", f"{amount:,.2f}".translate(str.maketrans(",.", ".,"))
    assert cells.price(english)[0] == cells.price(german)[0] == f"{amount:.2f}"


def test_a_numeric_cell_is_never_ambiguous() -> None:
    assert cells.price(NumberText("1.234")) == ("1.234", "")


@pytest.mark.parametrize("sku", ["4.0E+12", "4E+12", "4,01E+12", "4.0E12", "1e-5", "-4.5E+3"])
def test_a_sku_in_scientific_notation_is_refused_with_its_cell(sku: str) -> None:
    issue = only_issue(f"name;sku\nMug;001\nCup;{sku}\n")
    assert (issue.row, issue.cell, issue.column, issue.value, issue.cause) == (3, "B3", "sku", sku, "key_scientific")
    assert issue.message.startswith("B3: ")
    assert "expected the SKU as text" in issue.message


@pytest.mark.parametrize("sku", ["12E5", "1e10", "E+12", "4E", "00012", "0", "A-1", "ä/ö.7 x", "1.5"])
def test_a_sku_that_only_resembles_a_number_is_kept_as_written(sku: str) -> None:
    assert cells.key(f" {sku} ") == sku


@pytest.mark.parametrize(
    ("cell", "cause"),
    [
        ("=1+1", "formula"),
        ("+49", "formula"),
        ("-1", "formula"),
        ("@x", "formula"),
        (DateText("2026-11-01"), "key_date"),
        (NumberText("1.5"), "key_unreadable"),
        (NumberText("1E+15"), "key_scientific"),
        ("a\nb", "key_unreadable"),
        ("x" * 256, "too_long"),
    ],
)
def test_a_key_that_cannot_be_one_is_refused(cell: str, cause: str) -> None:
    with pytest.raises(Unreadable) as refusal:
        cells.key(cell)
    assert refusal.value.cause == cause


@pytest.mark.parametrize(
    "cell",
    ["=1+1", '=HYPERLINK("http://x")', "@SUM(A1)", "+cmd|' /C calc'!A0", "-cmd|x!A1", "= A1", "=cmd|' /C'!A0"],
)
def test_formulas_are_refused_in_names_and_in_attributes(cell: str) -> None:
    quoted = '"' + cell.replace('"', '""') + '"'
    assert only_issue(f"sku,name\n1,{quoted}\n").cause == "formula"
    issue = only_issue(f"sku,name,note\n1,Mug,{quoted}\n")
    assert (issue.cell, issue.cause) == ("C2", "formula")


@pytest.mark.parametrize("cell", ["-5", "-12.5 °C", "- hand wash only", "+49 30 123", "@brandname", "===", "a=b", "−"])
def test_text_that_only_begins_like_a_formula_is_kept(cell: str) -> None:
    rows, issues = parsed(f"sku,name,note\n1,Mug,{cell}\n")
    assert not issues
    assert rows[0].attributes["note"] == cell


@pytest.mark.parametrize(("written", "read"), [("#7A8F6A", "#7a8f6a"), ("7a8f6a", "#7a8f6a"), ("#fff", "#ffffff")])
def test_a_hex_colour_is_read(written: str, read: str) -> None:
    rows, _ = parsed(f"sku,name,hex\n1,Mug,{written}\n")
    assert rows[0].attributes["hex"] == read


def test_a_hex_colour_that_is_none_is_refused() -> None:
    issue = only_issue("sku,name,hex\n1,Mug,#12345\n")
    assert (issue.cell, issue.cause) == ("C2", "hex_unreadable")


def test_columns_are_found_by_their_usual_names_and_the_rest_are_attributes() -> None:
    rows, issues = parsed(
        "Artikelnummer;Bezeichnung;Farbe;Preis;Bild;Care Instructions*\n007;Tasse;salbei;12,90 €;tasse.jpg;by hand\n"
    )
    assert not issues
    assert (rows[0].key, rows[0].name) == ("007", "Tasse")
    assert rows[0].attributes == {
        "colour": "salbei",
        "price": "12.90",
        "currency": "EUR",
        "care_instructions": "by hand",
    }
    assert rows[0].photos == [{"source": "tasse.jpg", "role": "front", "position": 1, "alt": ""}]


def test_images_come_from_several_columns_and_several_per_cell() -> None:
    rows, issues = parsed(
        "id,title,image_link,additional_image_link,photo_inner\n"
        '1,Mug,https://x.test/a.jpg,"https://x.test/b,1.jpg,https://x.test/c.jpg",in/side.jpg\n'
    )
    assert not issues
    assert [(photo["source"], photo["role"], photo["position"]) for photo in rows[0].photos] == [
        ("https://x.test/a.jpg", "front", 1),
        ("https://x.test/b,1.jpg", "angle", 2),
        ("https://x.test/c.jpg", "angle", 3),
        ("in/side.jpg", "inner", 4),
    ]


@pytest.mark.parametrize(
    "source",
    ["file:///etc/passwd", "../../etc/passwd", "C:\\x.jpg", "javascript:alert(1)", "a/../../b.jpg", "=x.jpg", "/"],
)
def test_an_image_that_leads_elsewhere_is_refused(source: str) -> None:
    issue = only_issue(f"sku,name,photo\n1,Mug,{source}\n")
    assert (issue.cell, issue.cause) == ("C2", "photo_unusable")


def test_kinds_are_read_and_unknown_ones_refused() -> None:
    rows, issues = parsed("sku,name,kind\n1,Mug,Product\n2,Autumn,concept\n3,x,gadget\n")
    assert [row.kind for row in rows[:2]] == ["product", "concept"]
    assert [(issue.cell, issue.cause) for issue in issues] == [("C4", "kind_unknown")]


def test_articles_and_concepts_need_no_key_and_get_one_from_their_title() -> None:
    rows, issues = parsed("title,kind\nFive ways to set a table,article\n“Größe” zählt!,concept\n")
    assert not issues
    assert [(row.kind, row.key, row.name) for row in rows] == [
        ("article", "five-ways-to-set-a-table", "Five ways to set a table"),
        ("concept", "größe-zählt", "“Größe” zählt!"),
    ]


def test_a_bare_list_of_titles_is_a_feed_of_articles_when_asked_for() -> None:
    rows, issues = parsed("Title\nSpring, at last\nA quiet morning\n".replace(",", ""), kind="article")
    assert not issues
    assert [row.key for row in rows] == ["spring-at-last", "a-quiet-morning"]


def test_a_product_without_key_or_name_is_named() -> None:
    _, issues = parsed("sku,name\n,Mug\n2,\n")
    assert [(issue.cell, issue.cause) for issue in issues] == [("A2", "key_missing"), ("B3", "name_missing")]


def test_a_product_in_a_list_without_sku_column_is_named() -> None:
    issue = only_issue("title,kind\nMug,product\n")
    assert (issue.cell, issue.cause) == ("B2", "key_missing")


def test_every_mistake_of_a_row_is_reported_at_once() -> None:
    _, issues = parsed("sku,name,price,hex\n4E+12,,abc,red\n")
    assert [issue.cause for issue in issues] == ["name_missing", "key_scientific", "price_unreadable", "hex_unreadable"]
    assert all(issue.cause in CAUSES for issue in issues)
