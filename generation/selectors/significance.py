"""Statistics of votes: an interval for a share, and whether a lead may be chance. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt
from typing import Final

MIN_VOTES: Final = 12
"""The number of votes below which they are too few for a choice."""
SIGNIFICANCE_LEVEL: Final = 0.05
_Z95: Final = 1.959964


def interval(wins: int, votes: int) -> tuple[float, float]:
    """Return the interval of the true share in 95 of 100 such samples, 0–1 (E. B. Wilson's score interval, 1927)."""
    if not votes:
        return 0.0, 1.0
    share, square = wins / votes, _Z95**2
    middle = (share + square / (2 * votes)) / (1 + square / votes)
    half = _Z95 * sqrt(share * (1 - share) / votes + square / (4 * votes**2)) / (1 + square / votes)
    return max(0.0, middle - half), min(1.0, middle + half)


def probability_of_lead(first: int, second: int) -> float:
    """Return how likely a lead at least this large is between two that are equally good (two-sided sign test), 0–1."""
    votes, most = first + second, max(first, second)
    tail = sum(comb(votes, count) for count in range(most, votes + 1)) / 2**votes
    return min(1.0, 2 * tail)


def conclusion(wins: Sequence[int], names: Sequence[str]) -> tuple[str, bool]:
    """Return (the conclusion as a sentence, True if the lead is more than chance). wins: the most first."""
    votes = sum(wins)
    if not votes:
        return "Nobody has named a favourite yet.", False
    if votes < MIN_VOTES:
        noun = "vote is" if votes == 1 else "votes are"
        return f"{votes} {noun} too few to choose by; {MIN_VOTES} is the least that can tell a clear favourite.", False
    first, second = wins[0], wins[1]
    if first == second:
        return f"After {votes} votes {names[0]} and {names[1]} are level.", False
    odds = probability_of_lead(first, second)
    lead = f"{names[0]} leads {names[1]} by {first} to {second}"
    if odds >= SIGNIFICANCE_LEVEL:
        return f"{lead}, which may well be chance ({odds:.0%} between equals): collect more votes.", False
    return f"{lead}; between equals this would happen in {_percent(odds)} of such votes.", True


def _percent(odds: float) -> str:
    return f"{odds:.0%}" if odds >= 0.01 else "less than 1 %"
