"""Tests that the fast and the full way of reading a row give the same result."""

from __future__ import annotations

import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from campaigns.feeds import cells, generic
from campaigns.feeds.base import Cells, FeedRow, Issue, NumberText
from tests.support.feed_files import parsed

HEADINGS = ["sku", "name", "colour", "price", "sale_price", "photo", "more_photos", "alt", "currency"]
_cell = st.one_of(
    st.text(st.sampled_from("abeE0129 .,-+=@€/\\|;:\"'_\t\x00\udc80ä\xa0"), max_size=12),
    st.sampled_from([
        "007", "12,90 €", "1.234", "-3", "$5 €", "mug.jpg", "a/b.jpg", "../x", " mug.jpg", "https://x.test/a.jpg",
        "https://x.test/a,b.jpg", "a.jpg|b.jpg", "a..jpg", "/m/b.jpg", "4E+12", "12E5", "=1+1", "x" * 301, "x" * 601,
        "two\nlines", "two\n=lines", "C:\\x", "a.jpg ", ".jpg", "-x.jpg", "",
    ]),
    st.sampled_from([NumberText("12.5"), NumberText("1.234"), NumberText("7"), NumberText("4E+12")]),
)  # fmt: skip
_part = st.sampled_from([
    "mug.jpg", "https://a.example/x.jpg", "http", "https", "HTTPS:", "http:", "/", "//", "\\", ".", "..", "a", "Größe",
    "b.example", "www.", "|", ",", ";", " ", "=", "'", '"', "@", "#", "&amp;", "<b>", "\t", "\n", "n/a", "-", "none",
    "1e5", "9,90", "€ ", "\u200b", "\xa0", "[", "]", "?v=1", "#REF!",
])  # fmt: skip
_joined = st.lists(_part, max_size=5).map("".join)
_sound = ["P-1", "Mug", "sage", "9.90", "", "mug.jpg", "", "", ""]


@settings(max_examples=400, deadline=None)
@given(row=st.lists(_cell, min_size=8, max_size=10))
@example(row=["1", "Mug", "", "5", "", "a.jpg", "a.jpg|b.jpg", "x", "EUR"])
@example(row=["1", "Mug", "", "5 €", "4 $", "", "b.jpg", "x", ""])
def test_a_row_is_read_alike_both_ways(row: list[str]) -> None:
    _is_read_alike(row)


@settings(max_examples=1500, deadline=None)
@given(odd=st.dictionaries(st.integers(0, len(_sound) - 1), _joined, min_size=1, max_size=3))
@example(odd={5: "https//a.example/x.jpg"})
@example(odd={5: "http/mug.jpg"})
@example(odd={5: "https://a.example/x.jpg'"})
@example(odd={6: "back.jpg", 7: "Front;Back"})
def test_a_sound_row_with_a_few_odd_cells_is_read_alike_both_ways(odd: dict[int, str]) -> None:
    _is_read_alike([odd.get(index, cell) for index, cell in enumerate(_sound)])


def _is_read_alike(row: list[str]) -> None:
    header = cells.read_header((1, HEADINGS))
    plain = generic.PlainTable(header, "product", generic.columns.suggest_fields(header))
    quick = plain._quick()
    assert quick is not None
    short = quick(2, row)
    if short is None:
        return
    plain._quick = lambda: None  # type: ignore[method-assign]
    long = list(plain.read([(2, row)]))
    assert long == [short]
    assert not isinstance(long[0], Issue)


def test_most_rows_of_a_plain_feed_go_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bool] = []
    original = generic.PlainTable._quick

    def counted(table: generic.PlainTable) -> generic.QuickReader | None:
        read = original(table)
        assert read is not None

        def record_answer(number: int, row: Cells) -> FeedRow | None:
            answers.append((result := read(number, row)) is not None)
            return result

        return record_answer

    monkeypatch.setattr(generic.PlainTable, "_quick", counted)
    text = io.StringIO()
    text.write("sku;name;colour;price;photo\n")
    for number in range(1000):
        text.write(f"{number:05};Mug {number}, sage;sage;{number % 90},90 €;mug-{number}.jpg\n")
    rows, issues = parsed(text.getvalue())
    assert (len(rows), issues, answers.count(True)) == (1000, [], 1000)
