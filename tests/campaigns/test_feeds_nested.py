"""Tests that JSON, JSON lines and XML give the same rows as a table, and that errors name their place."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaigns.feeds import items, json_file, read_head
from tests.support.feed_files import only_issue, opened, parsed

ITEMS = [
    {"sku": "007", "name": "Mug", "price": 12.9, "colour": "sage", "images": ["mug.jpg", "side.jpg"]},
    {"sku": "008", "name": "Bowl", "price": "20,00 €", "size": {"height": 9, "unit": "cm"}, "vegan": True, "x": None},
]
RSS = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel><title>Shop</title><link>https://x.test</link>
<item><title>Plain title</title><g:title>Mug</g:title><g:id>007</g:id><g:price>12.90 EUR</g:price>
  <g:image_link>https://x.test/1.jpg</g:image_link>
  <g:additional_image_link>https://x.test/2.jpg</g:additional_image_link>
  <g:additional_image_link>https://x.test/3.jpg</g:additional_image_link>
  <description><![CDATA[<p>Thrown &amp; glazed</p>]]></description>
  <g:shipping><g:country>DE</g:country><g:price>4.90 EUR</g:price></g:shipping></item>
<item><g:title>Bowl</g:title><g:id>008</g:id><g:price>20 EUR</g:price><g:image_link>https://x.test/4.jpg</g:image_link>
</item></channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0"><title>Shop</title>
<entry><g:id>1</g:id><title>Mug</title><link href="https://x.test/1"/><g:image_link>https://x.test/1.jpg</g:image_link>
<g:availability>in_stock</g:availability></entry></feed>"""


def as_lines(values: list[Any]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ITEMS),
        json.dumps(ITEMS, indent=2, ensure_ascii=False),
        json.dumps({"products": ITEMS}),
        json.dumps({"items": ITEMS, "total": 2}),
        json.dumps({"shop": {"name": "x", "tags": ["a"]}, "data": {"empty": [], "list": ITEMS}, "next": None}),
        as_lines(ITEMS),
        "\n" + as_lines(ITEMS) + "\n\n",
    ],
    ids=["array", "indented", "products", "items", "deep", "lines", "lines with gaps"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_of_every_shape_gives_the_same_subjects(text: str, encoding: str) -> None:
    rows, issues = parsed(text.encode(encoding))
    assert not issues
    assert [(row.key, row.name) for row in rows] == [("007", "Mug"), ("008", "Bowl")]
    assert rows[0].attributes == {"price": "12.90", "colour": "sage"}
    assert [(photo["source"], photo["role"]) for photo in rows[0].photos] == [
        ("mug.jpg", "front"), ("side.jpg", "angle")
    ]  # fmt: skip
    assert rows[1].attributes == {
        "price": "20.00", "currency": "EUR", "size_height": "9", "size_unit": "cm", "vegan": "true"
    }  # fmt: skip


def test_a_json_number_is_never_ambiguous_and_keeps_its_digits() -> None:
    rows, issues = parsed('[{"sku": 4006381333931123456, "name": "Mug", "price": 1.234}]')
    assert not issues
    assert (rows[0].key, rows[0].attributes["price"]) == ("4006381333931123456", "1.234")
    assert only_issue('[{"sku": 4.0E+12, "name": "Mug"}]').cause == "key_scientific"


def test_variants_within_an_item_become_variants() -> None:
    item = {
        "sku": "M", "name": "Mug", "price": 12.9,
        "variants": [{"sku": "M-S", "options": {"Size": "S"}}, {"sku": "M-L", "size": "L", "price": 14}],
    }  # fmt: skip
    rows, issues = parsed(json.dumps([item, {"sku": "B", "name": "Bowl", "size": "20 cm"}]))
    assert not issues
    assert [(row.key, row.parent_key, row.name, row.options, row.attributes) for row in rows] == [
        ("M", "", "Mug", {}, {"price": "12.90"}),
        ("M-S", "M", "", {"Size": "S"}, {}),
        ("M-L", "M", "", {"Size": "L"}, {"price": "14.00"}),
        ("B", "", "Bowl", {}, {"size": "20 cm"}),
    ]


def test_objects_in_a_list_become_lines_and_their_addresses_photos() -> None:
    item = {"sku": "M", "name": "Mug", "images": [{"src": "a.jpg", "alt": "A"}, {"src": "b.jpg", "alt": "B"}]}
    rows, issues = parsed(json.dumps([item]))
    assert not issues
    assert [photo["source"] for photo in rows[0].photos] == ["a.jpg", "b.jpg"]


def test_cells_of_json_are_named_by_their_path() -> None:
    feed = {"shop": {"products": [*ITEMS, {"sku": "009", "name": "Jar", "price": "-3"}]}}
    issue = only_issue(json.dumps(feed))
    assert (issue.row, issue.cell, issue.column) == (3, "shop.products[2].price", "price")
    assert issue.message.startswith("shop.products[2].price: ")
    issue = only_issue(as_lines(ITEMS) + '{"sku": "9", "name": "Jar", "price": "-3"}')
    assert (issue.row, issue.cell) == (3, "line 3, price")


def test_broken_json_is_named_by_line_and_column() -> None:
    rows, issues = parsed('[\n  {"sku": "1", "name": "Mug"},\n  {"sku": "2" "name": "Cup"}\n]')
    assert [(issue.row, issue.cell, issue.cause) for issue in issues] == [(3, "line 3, column 15", "json_broken")]
    assert "expecting ',' delimiter" in issues[0].message and '"name": "Cup"}' in issues[0].value
    assert not rows


@pytest.mark.parametrize("size", [1, 3000])
def test_json_that_is_cut_off_is_named_where_it_ends(size: int) -> None:
    text = json.dumps([{"sku": str(number), "name": "Mug"} for number in range(size)], indent=1)
    issue = only_issue(text[:-20])
    assert issue.cause == "json_broken"
    assert issue.row == text[:-20].count("\n") + 1


def test_a_broken_line_of_json_lines_is_one_mistake_and_the_rest_is_read() -> None:
    rows, issues = parsed('{"sku":"1","name":"A"}\n{"sku":"2","name":}\n{"sku":"3","name":"C"}\n[4]\n')
    assert [row.key for row in rows] == ["1", "3"]
    assert [(issue.row, issue.cell, issue.cause) for issue in issues] == [
        (2, "line 2, column 19", "json_broken"),
        (4, "line 4", "item_unusable"),
    ]
    assert only_issue('{"sku":"1","name"}\n').cell == "line 1, column 18"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '[{"a":' + "[" * 100_000, '[{"a":' * 500])
def test_json_nested_without_end_is_refused(text: str) -> None:
    assert only_issue(text).cause in ("json_broken", "unreadable", "item_unusable")


def test_an_item_too_large_for_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_file, "MAX_ITEM", 100_000)
    issue = only_issue('[{"sku": "1", "name": "' + "x" * 300_000 + '"}]')
    assert issue.cause == "json_broken"


def test_items_with_endless_new_names_are_refused() -> None:
    text = json.dumps([{"sku": "1", "name": "x", **{f"n{number}": 1 for number in range(items.MAX_HEADINGS)}}])
    assert "more than 1,000 names" in only_issue(text).message


def test_a_large_array_is_read_a_piece_at_a_time() -> None:
    products = [{"sku": f"{number:05}", "name": f"Mug {number} " + "é" * (number % 250)} for number in range(4000)]
    rows, issues = parsed(json.dumps({"meta": {"n": 4000}, "products": products}, ensure_ascii=False, indent=1))
    assert not issues
    assert [(row.row, row.key) for row in rows] == [(n + 1, f"{n:05}") for n in range(4000)]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_subnormal=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(value=_json, indent=st.sampled_from([None, 1]), cut=st.integers(0, 12))
def test_no_json_raises_anything_but_a_refusal(value: Any, indent: int | None, cut: int) -> None:
    text = json.dumps([{"sku": "1", "name": "x", "value": value}], indent=indent)
    parsed(text)
    parsed(text[: len(text) - cut])
    parsed(json.dumps(value, indent=indent))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_googles_rss_is_read(encoding: str) -> None:
    rows, issues = parsed(RSS.replace("UTF-8", "utf-16" if encoding == "utf-16" else "utf-8").encode(encoding))
    assert not issues
    assert [(row.key, row.name) for row in rows] == [("007", "Mug"), ("008", "Bowl")]
    assert rows[0].attributes == {"price": "12.90", "currency": "EUR", "description": "Thrown & glazed"}
    assert [photo["source"] for photo in rows[0].photos] == [f"https://x.test/{number}.jpg" for number in (1, 2, 3)]


def test_googles_atom_is_read() -> None:
    feed = opened(ATOM)
    rows = list(feed.rows())
    assert (feed.dialect["format"], feed.dialect["items"], feed.dialect["layout"]) == (
        "xml", "feed/entry", "google-merchant"
    )  # fmt: skip
    assert [row.key for row in rows] == ["1"]  # type: ignore[union-attr]


def test_a_catalogue_of_elements_and_attributes_is_read() -> None:
    rows, issues = parsed(
        '<catalog date="x"><product sku="1"><name>Mug</name><images><image url="a.jpg"/><image url="b.jpg"/></images>'
        '</product><product sku="2"><name>Cup</name><color>red</color></product></catalog>'
    )
    assert not issues
    assert [(row.key, row.name, [photo["source"] for photo in row.photos]) for row in rows] == [
        ("1", "Mug", ["a.jpg", "b.jpg"]), ("2", "Cup", [])
    ]  # fmt: skip


def test_cells_of_xml_are_named_by_their_path() -> None:
    issue = only_issue(RSS.replace("<g:price>20 EUR", "<g:price>about 20"))
    assert (issue.row, issue.cell, issue.column, issue.cause) == (2, "item[2].price", "price", "price_unreadable")


BOMB = '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">' + "".join(
    f'<!ENTITY lol{n} "{f"&lol{n - 1 or str()};" * 10}">' for n in range(1, 10)
) + "]><products><product><sku>1</sku><name>&lol9;</name></product></products>"  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><products><product><sku>1</sku><name>&e;</name>'
        "</product></products>",
        '<?xml version="1.0"?><!DOCTYPE products SYSTEM "https://x.test/p.dtd"><products/>',
    ],
    ids=["billion laughs", "a file of the server", "a DTD elsewhere"],
)
def test_a_document_type_is_refused_before_it_is_used(text: str) -> None:
    issue = only_issue(text)
    assert issue.cause == "unreadable"
    assert issue.cell == "line 1"
    assert "DTD" in issue.message and "Remove it" in issue.message


def test_broken_xml_is_named_by_line_and_column() -> None:
    rows, issues = parsed(RSS.replace("</g:id><g:price>20", "</g:idd><g:price>20"))
    assert [(issue.row, issue.cell, issue.cause) for issue in issues] == [(9, "line 9, column 41", "xml_broken")]
    assert "mismatched tag" in issues[0].message
    assert not rows
    assert only_issue(RSS[:-30]).cause == "xml_broken"
    assert only_issue(RSS.replace("12.90 EUR", "12.90 &euro;")).cause == "xml_broken"


def test_xml_without_a_list_and_xml_without_end_are_refused() -> None:
    assert "no list of products" in only_issue("<shop><name>x</name></shop>").message
    assert "deep" in only_issue("<a>" * 5000).message


@settings(max_examples=100, deadline=None)
@given(st.text("<>/&;ab \"'=!-[]?:", max_size=80))
def test_no_markup_raises_anything_but_a_refusal(text: str) -> None:
    parsed("<products><p><sku>1</sku>" + text)
    parsed("<" + text)


def test_a_peek_at_nested_data_shows_rows_and_reads_only_the_beginning() -> None:
    many = [{"sku": str(number), "name": "x"} for number in range(50_000)]
    stream = io.BytesIO(json.dumps({"products": many}).encode())
    seen = read_head(stream, rows=2)
    assert seen.sample == [(1, ["0", "x"]), (2, ["1", "x"])]
    assert (seen.suggestion, seen.problem) == ({"sku": "key", "name": "name"}, "")


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("Spring, at last\nA quiet morning\n\nFive ways to set a table\n", [1, 2, 4]),
        ("Title\nSpring, at last\nA quiet morning\n\nFive ways to set a table\n", [2, 3, 5]),
        ('"Spring, at last"\r\n"A quiet morning"\r\n\r\n"Five ways to set a table"\r\n', [1, 2, 4]),
        ('["Spring, at last", "A quiet morning", "Five ways to set a table"]', [1, 2, 3]),
    ],
)
@pytest.mark.parametrize("kind", ["article", "concept"])
def test_a_bare_list_of_titles_is_a_feed(text: str, titles: list[int], kind: str) -> None:
    rows, issues = parsed(text, kind=kind)
    assert not issues
    assert [(row.row, row.kind, row.key, row.name) for row in rows] == [
        (titles[0], kind, "spring-at-last", "Spring, at last"),
        (titles[1], kind, "a-quiet-morning", "A quiet morning"),
        (titles[2], kind, "five-ways-to-set-a-table", "Five ways to set a table"),
    ]


def test_a_hundred_titles_with_commas_of_every_number_are_a_hundred_articles() -> None:
    text = "".join(f"Idea {number}{', and more' * (number % 4)}\n" for number in range(100))
    rows, issues = parsed(text, kind="article")
    assert (len(rows), issues) == (100, [])


def test_a_table_of_articles_stays_a_table() -> None:
    rows, issues = parsed("title,topic\nSpring,garden\nAutumn,forest\n", kind="article")
    assert not issues
    assert rows[0].attributes == {"topic": "garden"}
    assert only_issue("Ref;Line\n1;Spring\n2;Autumn\n", kind="article").cause == "column_missing"


def test_titles_are_no_products() -> None:
    assert {issue.cause for issue in parsed("Spring at last\nA quiet morning\n")[1]} == {"column_missing"}
