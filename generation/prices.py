"""The cost of an image from what the service counted: an endpoint's prices by unit times the usage. Pure.

Prices are plain JSON, in the endpoint's currency: {"image": 0.04}, {"second": "0.000725"} or, as OpenAI charges,
{"million_text_input_tokens": 5, "million_image_input_tokens": 8, "million_output_tokens": 30}. Several add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, Final

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

PLACES: Final = Decimal("0.000001")
"""Precision of the amounts in the ledger."""
MOST: Final = Decimal(100_000)
"""A higher price is a typing mistake."""


@dataclass(frozen=True)
class Unit:
    """A unit that services charge for. usage: its name in engines.base.Result.usage, `per` of which are one unit."""

    usage: str
    per: int
    words: Promise


UNITS: Final = {
    "image": Unit("images", 1, gettext_lazy("per image")),
    "second": Unit("seconds", 1, gettext_lazy("per second")),
    "million_text_input_tokens": Unit("text_input_tokens", 10**6, gettext_lazy("per million tokens of text sent")),
    "million_image_input_tokens": Unit("image_input_tokens", 10**6, gettext_lazy("per million tokens of images sent")),
    "million_output_tokens": Unit("output_tokens", 10**6, gettext_lazy("per million tokens made")),
}


def find_problems(prices: Any) -> list[str]:
    """Return sentences about the mistakes in a table of prices; empty if there are none."""
    if not isinstance(prices, Mapping):
        return [_('Prices are an object such as {"image": 0.04}.')]
    sentences = []
    for name, price in prices.items():
        if name not in UNITS:
            sentence = _("Nothing is charged by %(name)r; known are %(units)s.")
            sentences.append(sentence % {"name": name, "units": ", ".join(UNITS)})
            continue
        words = {"unit": UNITS[name].words, "price": price, "most": f"{MOST:,}"}
        if (amount := _amount(price)) is None:
            sentence = _("The price %(unit)s is %(price)r; write an amount of money such as 0.04.")
            sentences.append(sentence % words)
        elif not 0 <= amount <= MOST:
            sentences.append(_("The price %(unit)s is %(price)s; it lies between 0 and %(most)s.") % words)
    return sentences


def cost(prices: Mapping[str, Any], usage: Mapping[str, float]) -> Decimal:
    """Return the cost of this usage, rounded to a millionth; units without a price or a count cost nothing. Raises
    ValueError for a table with problems."""
    if wrong := find_problems(prices):
        raise ValueError(" ".join(wrong))
    total = Decimal(0)
    for name, price in prices.items():
        unit = UNITS[name]
        counted = _amount(usage.get(unit.usage, 0)) or Decimal(0)
        total += (_amount(price) or Decimal(0)) * max(counted, Decimal(0)) / unit.per
    return total.quantize(PLACES, ROUND_HALF_UP)


def mean_usage(usages: list[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean usage of one image: for each unit, over the images for which it was counted."""
    typical: dict[str, float] = {}
    for unit in UNITS.values():
        if counted := [usage[unit.usage] for usage in usages if unit.usage in usage]:
            typical[unit.usage] = sum(counted) / len(counted)
    return typical


def describe(prices: Mapping[str, Any]) -> str:
    """Return prices in words: "5 per million tokens of text sent, 30 per million tokens made"; "" if nothing costs."""
    amounts = ((UNITS[name].words, _amount(price)) for name, price in prices.items() if name in UNITS)
    return ", ".join(f"{amount.normalize():f} {words}" for words, amount in amounts if amount)


def _amount(value: Any) -> Decimal | None:
    """Return a finite number exactly as written; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
