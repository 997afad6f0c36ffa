"""Money from what a service counted: an endpoint's prices by unit times the usage of one image. Pure.

Prices are plain JSON, in the endpoint's currency: {"image": 0.04}, {"second": "0.000725"} or, as OpenAI charges,
{"million_text_input_tokens": 5, "million_image_input_tokens": 8, "million_output_tokens": 30}. Several add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, Final

PLACES: Final = Decimal("0.000001")
"""Of a ledger's amounts."""
MOST: Final = Decimal(100_000)
"""A price above this is a slip of the pen."""


@dataclass(frozen=True)
class Unit:
    """A unit that is charged for. usage: its name in engines.base.Result.usage. per: how many of those make one."""

    name: str
    usage: str
    per: int
    words: str


UNITS: Final = {
    unit.name: unit
    for unit in (
        Unit("image", "images", 1, "per image"),
        Unit("second", "seconds", 1, "per second"),
        Unit("million_text_input_tokens", "text_input_tokens", 1_000_000, "per million tokens of text sent"),
        Unit("million_image_input_tokens", "image_input_tokens", 1_000_000, "per million tokens of pictures sent"),
        Unit("million_output_tokens", "output_tokens", 1_000_000, "per million tokens made"),
    )
}


def problems(prices: Any) -> list[str]:
    """Sentences about what is wrong with a table of prices; empty if nothing is."""
    if not isinstance(prices, Mapping):
        return ['Prices are an object such as {"image": 0.04}.']
    found = []
    for name, price in prices.items():
        if name not in UNITS:
            found.append(f"Nothing is charged by {name!r}; known are {', '.join(UNITS)}.")
            continue
        amount = _amount(price)
        if amount is None:
            found.append(f"The price {UNITS[name].words} is {price!r}; write an amount of money such as 0.04.")
        elif not 0 <= amount <= MOST:
            found.append(f"The price {UNITS[name].words} is {price}; it lies between 0 and {MOST:,}.")
    return found


def cost(prices: Mapping[str, Any], usage: Mapping[str, float]) -> Decimal:
    """Return what this usage costs, rounded to a millionth. What has no price and what was not counted cost nothing.

    Raises ValueError for a table with problems.
    """
    return _sum(prices, usage).quantize(PLACES, ROUND_HALF_UP)


def uncounted(prices: Mapping[str, Any], usage: Mapping[str, float]) -> tuple[str, ...]:
    """The units that have a price and that the service did not count: what `cost` says is then too little."""
    return tuple(name for name, price in prices.items() if _amount(price) and UNITS[name].usage not in usage)


def estimate(prices: Mapping[str, Any], *, typical: Mapping[str, float] | None = None, seconds: float = 0) -> Decimal:
    """Return what one image will cost about, before it is made. typical: the usage of such an image, as measured or as
    the engine knows it; without it one image that takes `seconds`."""
    return cost(prices, {"images": 1, "seconds": max(seconds, 0), **(typical or {})})


def mean(usages: list[Mapping[str, float]]) -> dict[str, float]:
    """The typical usage of one image, from those of images that were made: by unit, over those that counted it."""
    found: dict[str, float] = {}
    for unit in UNITS.values():
        counted = [usage[unit.usage] for usage in usages if unit.usage in usage]
        if counted:
            found[unit.usage] = sum(counted) / len(counted)
    return found


def in_words(prices: Mapping[str, Any]) -> str:
    """The table for a person: "5 per million tokens of text sent, 30 per million tokens made"; "" if nothing costs."""
    told = ((UNITS[name].words, _amount(price)) for name, price in prices.items() if name in UNITS)
    return ", ".join(f"{amount.normalize():f} {words}" for words, amount in told if amount)


def _sum(prices: Mapping[str, Any], usage: Mapping[str, float]) -> Decimal:
    if wrong := problems(prices):
        raise ValueError(" ".join(wrong))
    total = Decimal(0)
    for name, price in prices.items():
        unit = UNITS[name]
        counted = _amount(usage.get(unit.usage, 0)) or Decimal(0)
        total += (_amount(price) or Decimal(0)) * max(counted, Decimal(0)) / unit.per
    return total


def _amount(value: Any) -> Decimal | None:
    """A finite number, exactly as it is written; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
