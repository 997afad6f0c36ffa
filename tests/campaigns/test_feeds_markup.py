"""Tests of names, values and descriptions as shops export them: HTML, entities, apostrophes, spreadsheet errors."""

from __future__ import annotations

import csv
import io
import json
import time

import pytest

from campaigns.feeds import cells, markup
from tests.support.feed_files import parsed, xlsx

WOO = ["ID", "Type", "SKU", "Name", "Published", "Description", "Regular price", "In stock?", "Tax status"]
SHOPIFY = ["Handle", "Title", "Body (HTML)", "Option1 Name", "Option1 Value", "Variant SKU", "Variant Barcode"]


def table(headings: list[str], *rows: list[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([headings, *rows])
    return text.getvalue()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Salt &amp; Pepper &#8211; Set", "Salt & Pepper – Set"),
        ("Mug &amp;amp; Saucer", "Mug & Saucer"),
        ("Caf&eacute; &quot;Noir&quot;", 'Café "Noir"'),
        ("Size&nbsp;M", "Size M"),
        ("5&#x22; plate", '5" plate'),
        ("Bed &#038; Bath", "Bed & Bath"),
        ("AT&T", "AT&T"),
        ("Q&A; by Ada", "Q&A; by Ada"),
        ("a&copy=1", "a&copy=1"),
        ("R&unknown; D", "R&unknown; D"),
        ("I &lt;3 mugs", "I <3 mugs"),
        ("&#99999999;", "&#99999999;"),
    ],
)
def test_entities_in_names_and_values_are_shown_as_characters(written: str, shown: str) -> None:
    rows, issues = parsed(table(["sku", "name", "note"], ["1", written, written]))
    assert not issues
    assert (rows[0].name, rows[0].attributes["note"]) == (shown, shown)


def test_entities_are_read_in_every_format() -> None:
    google = (
        '<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel><item><g:id>1</g:id>'
        "<g:title>Mug &amp;amp; Saucer</g:title>"
        "<g:image_link>https://a.example/1.jpg</g:image_link><g:availability>in stock</g:availability>"
        "</item></channel></rss>"
    )
    woo = table(WOO, ["1", "simple", "P-1", "Mug &amp; Saucer", "1", "x", "9.50", "1", "taxable"])
    shopify = table(SHOPIFY, ["mug", "Mug &amp; Saucer", "", "Title", "Default Title", "M", ""])
    feeds = [google, woo, shopify, json.dumps([{"sku": "1", "name": "Mug &amp; Saucer"}])]
    feeds.append(xlsx([["sku", "name"], ["1", "Mug &amp; Saucer"]]))  # type: ignore[arg-type]
    assert [parsed(feed)[0][0].name for feed in feeds] == ["Mug & Saucer"] * 5


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Holds <10 cl and >5 cl of water", "Holds <10 cl and >5 cl of water"),
        ("Width < 30 cm, height > 10 cm", "Width < 30 cm, height > 10 cm"),
        ("<5 cl", "<5 cl"),
        ("a<b and c>d", "a<b and c>d"),
        ("price <EUR 10>", "price <EUR 10>"),
        ("write to <ada@mug.example>", "write to <ada@mug.example>"),
        ("1 <2 <3", "1 <2 <3"),
        ("<p>Holds <10 cl</p>", "Holds <10 cl"),
        ("Kiln->oven<-kiln", "Kiln->oven<-kiln"),
    ],
)
def test_text_between_angle_brackets_is_kept(written: str, shown: str) -> None:
    rows, issues = parsed(table(WOO, ["1", "simple", "P-1", "Glass", "1", written, "9.50", "1", "taxable"]))
    assert not issues
    assert rows[0].attributes["description"] == shown
    rows, _ = parsed(table(["sku", "name", "note"], ["1", "Glass", written]))
    assert rows[0].attributes["note"] == shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<style>.t{color:#f00}</style><script>var a=1;</script><p>H<sub>2</sub>O mug</p>", "H2O mug"),
        ('<STYLE type="text/css">p>b{}</STYLE >A mug', "A mug"),
        ('<p class="x">A <b>mug</b></p>', "A mug"),
        ("A<br>mug<br/>of<BR />clay", "A mug of clay"),
        ("<ul><li>Oak</li><li>Steel</li></ul>", "Oak Steel"),
        ("A <!-- hidden <b>words</b> -->mug", "A mug"),
        ('<img alt="a > b" src="x.jpg">Mug', "Mug"),
        ("<script>if (a < b) { x('</p>') }</script>Mug", "Mug"),
        ("Mug<style>p{}", "Mug"),
        ("&lt;p&gt;A &lt;b&gt;mug&lt;/b&gt;&lt;/p&gt;", "A mug"),
        ("<table><tr><td>H</td><td>9 cm</td></tr></table>", "H 9 cm"),
        ('<span style="color:red">A</span> mug', "A mug"),
    ],
)
def test_a_description_is_what_a_browser_shows(written: str, shown: str) -> None:
    rows, issues = parsed(table(SHOPIFY, ["mug", "Mug", written, "Title", "Default Title", "M", ""]))
    assert not issues
    assert rows[0].attributes["description"] == shown
    rows, _ = parsed(table(["sku", "name", "description"], ["1", "Mug", written]))
    assert rows[0].attributes["description"] == shown


def test_text_without_tags_keeps_its_lines() -> None:
    rows, _ = parsed(table(["sku", "name", "care"], ["1", "Mug", "wash &amp; dry\n  by hand"]))
    assert rows[0].attributes["care"] == "wash & dry\n  by hand"


@pytest.mark.parametrize(
    "part", ["<", "<!--", "<a ", '<a b="', "<style>", "</", "&lt;", "&#", "<?x", "<p>", '<p x=">', "&amp;"]
)
def test_hostile_markup_is_read_in_linear_time(part: str) -> None:
    def seconds(size: int) -> float:
        started = time.process_time()
        markup.plain(part * (size // len(part)))
        return time.process_time() - started

    small = min(seconds(8_000) for _ in range(3))
    assert min(seconds(32_000) for _ in range(3)) < 10 * small + 0.02


@pytest.mark.parametrize(
    ("written", "sku", "shown"),
    [
        ("'00123", "00123", "00123"),
        ("'4006381333931", "4006381333931", "4006381333931"),
        ("'12-34/5", "12-34/5", "12-34/5"),
        ("'2026-11", "2026-11", "2026-11"),
        ("'007 A", "007 A", "'007 A"),
        ("'90s mug", "90s mug", "'90s mug"),
    ],
)
def test_an_apostrophe_before_digits_is_left_out(written: str, sku: str, shown: str) -> None:
    rows, issues = parsed(table(["sku", "name", "barcode"], [written, "Mug", written]))
    assert not issues
    assert (rows[0].key, rows[0].attributes["barcode"]) == (sku, shown)
    rows, issues = parsed(table(SHOPIFY, ["mug", "Mug", "", "Title", "Default Title", written, "'4006381333931"]))
    assert not issues
    assert (rows[1].key, rows[1].attributes["barcode"]) == (sku, "4006381333931")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("'- Oak\\n- Steel", "- Oak - Steel"),
        ("'- Oak (solid)", "- Oak (solid)"),
        ("'-5 to 200 °C", "-5 to 200 °C"),
        ("'@ada", "@ada"),
        ("'=1+1", "'=1+1"),
        ("'- cmd|' /C calc'!A0", "'- cmd|' /C calc'!A0"),
        ("'tis the season", "'tis the season"),
    ],
)
def test_an_apostrophe_before_a_dash_is_left_out_and_one_before_a_formula_stays(written: str, shown: str) -> None:
    rows, issues = parsed(table(WOO, ["1", "simple", "P-1", "Rack", "1", written, "9.50", "1", "taxable"]))
    assert not issues
    assert rows[0].attributes["description"] == shown


def test_a_price_marked_as_text_is_read() -> None:
    assert cells.price("'12,90") == ("12.90", "")


@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#NAME?", "#DIV/0!", "#VALUE!", "#NULL!", "#NUM!", " #n/a ", "#NV"])
def test_a_spreadsheet_error_is_an_empty_cell(error: str) -> None:
    rows, issues = parsed(table(["sku", "name", "colour", "image", "price"], ["A2", "Mug", error, error, error]))
    assert not issues
    assert (dict(rows[0].attributes), rows[0].photos) == ({}, [])


@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#NAME?", "#DIV/0!", "#VALUE!"])
def test_a_spreadsheet_error_in_place_of_key_or_name_is_named(error: str) -> None:
    _, issues = parsed(table(["sku", "name"], [error, "Mug"], ["2", error], ["3", "Cup"]))
    assert [(issue.cell, issue.cause) for issue in issues] == [("A2", "key_missing"), ("B3", "name_missing")]


def test_a_number_sign_that_is_no_error_is_kept() -> None:
    rows, _ = parsed(table(["sku", "name", "note"], ["1", "#1 mug", "#fff"]))
    assert (rows[0].name, rows[0].attributes["note"]) == ("#1 mug", "#fff")
