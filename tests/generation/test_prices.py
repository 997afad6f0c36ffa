"""Test prices from usage: exact, never negative, and mistakes in a price table are explained in sentences."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation import prices

TOKENS = {"million_text_input_tokens": 5, "million_image_input_tokens": "8.00", "million_output_tokens": 30.0}
amounts = st.decimals(0, 1000, places=6)
tables = st.dictionaries(st.sampled_from(sorted(prices.UNITS)), amounts)
usages = st.dictionaries(
    st.sampled_from([unit.usage for unit in prices.UNITS.values()]),
    st.integers(0, 10_000_000) | st.floats(0, 3600, allow_subnormal=False),
)


def test_an_image_by_the_token_costs_what_its_documentation_says() -> None:
    usage = {"images": 1, "text_input_tokens": 50, "image_input_tokens": 1000, "output_tokens": 4160}
    assert prices.cost(TOKENS, usage) == Decimal("0.133050")


def test_a_second_and_an_image_have_their_price() -> None:
    assert prices.cost({"second": 0.000725}, {"seconds": 3.2}) == Decimal("0.002320")
    assert prices.cost({"image": "0.04"}, {"images": 3}) == Decimal("0.12")
    assert prices.cost({"image": 0.04, "second": 0.001}, {"images": 1, "seconds": 10}) == Decimal("0.05")


def test_what_has_no_price_or_was_not_counted_costs_nothing() -> None:
    assert prices.cost({}, {"images": 1}) == 0
    assert prices.cost(TOKENS, {"images": 1}) == 0


@given(tables, usages)
def test_money_is_exact_to_half_a_millionth_and_never_negative(
    table: dict[str, Decimal], usage: dict[str, float]
) -> None:
    exact = sum(
        (
            Fraction(price) * Fraction(str(usage.get(prices.UNITS[name].usage, 0))) / prices.UNITS[name].per
            for name, price in table.items()
        ),
        Fraction(0),
    )
    cost = prices.cost(table, usage)
    assert cost >= 0
    assert abs(Fraction(cost) - exact) <= Fraction(1, 2_000_000)
    assert cost == cost.quantize(prices.PLACES)


@given(tables, usages, usages)
def test_more_usage_never_costs_less(
    table: dict[str, Decimal], usage: dict[str, float], more: dict[str, float]
) -> None:
    both = {name: usage.get(name, 0) + more.get(name, 0) for name in usage.keys() | more.keys()}
    assert prices.cost(table, both) >= prices.cost(table, usage)


@given(tables, usages)
def test_a_table_means_the_same_as_numbers_and_as_text(table: dict[str, Decimal], usage: dict[str, float]) -> None:
    written = {name: str(price) for name, price in table.items()}
    assert prices.find_problems(written) == []
    assert prices.cost(written, usage) == prices.cost(table, usage)


@given(tables, st.lists(usages, max_size=5))
def test_an_estimate_from_measured_usage_is_between_the_cheapest_and_the_most_expensive(
    table: dict[str, Decimal], measured: list[dict[str, float]]
) -> None:
    whole = [{unit.usage: 0.0 for unit in prices.UNITS.values()} | usage for usage in measured]
    if not whole:
        return
    costs = [prices.cost(table, usage) for usage in whole]
    estimated = prices.cost(table, prices.mean_usage(whole))
    assert min(costs) - prices.PLACES <= estimated <= max(costs) + prices.PLACES


def test_prices_of_several_units_add_up() -> None:
    assert prices.cost({"image": "0.04", "second": "0.001"}, {"images": 1, "seconds": 12}) == Decimal("0.052")
    assert prices.cost(TOKENS, {"images": 1, "output_tokens": 1000}) == Decimal("0.03")


def test_the_mean_of_a_unit_is_over_those_that_counted_it() -> None:
    assert prices.mean_usage([{"images": 1, "seconds": 4}, {"images": 1}, {"images": 1, "seconds": 8}]) == {
        "images": 1,
        "seconds": 6,
    }
    assert prices.mean_usage([]) == {}


@pytest.mark.parametrize(
    ("table", "sentences"),
    [
        ({}, []),
        ({"image": 0, "second": "0.000725"}, []),
        ([], ['Prices are an object such as {"image": 0.04}.']),
        ({"immage": 1}, ["Nothing is charged by 'immage'; known are " + ", ".join(prices.UNITS) + "."]),
        ({"image": "four"}, ["The price per image is 'four'; write an amount of money such as 0.04."]),
        ({"image": None}, ["The price per image is None; write an amount of money such as 0.04."]),
        ({"image": True}, ["The price per image is True; write an amount of money such as 0.04."]),
        ({"second": float("nan")}, ["The price per second is nan; write an amount of money such as 0.04."]),
        ({"second": -1}, ["The price per second is -1; it lies between 0 and 100,000."]),
        ({"image": 1e9}, ["The price per image is 1000000000.0; it lies between 0 and 100,000."]),
    ],
)
def test_a_wrong_table_is_explained_in_sentences(table: Any, sentences: list[str]) -> None:
    assert prices.find_problems(table) == sentences
    if sentences:
        with pytest.raises(ValueError, match=r"."):
            prices.cost(table, {"images": 1})


@given(
    st.dictionaries(
        st.text(max_size=8) | st.sampled_from(sorted(prices.UNITS)),
        st.text(max_size=6) | st.floats(allow_subnormal=False),
    )
)
def test_any_table_is_either_refused_or_counted(table: dict[str, Any]) -> None:
    if not prices.find_problems(table):
        assert prices.cost(table, {"images": 2, "seconds": 3}) >= 0


def test_prices_read_as_a_sentence() -> None:
    assert prices.describe(TOKENS) == (
        "5 per million tokens of text sent, 8 per million tokens of images sent, 30 per million tokens made"
    )
    assert prices.describe({"image": "0.040", "second": 0}) == "0.04 per image"
    assert prices.describe({}) == ""
