"""Statistics of votes: an interval for a share, and whether a lead may be chance. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

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
        return _("Nobody has named a favourite yet."), False
    if votes < MIN_VOTES:
        sentence = ngettext(
            "%(n)d vote is too few to choose by; %(least)d is the least that can tell a clear favourite.",
            "%(n)d votes are too few to choose by; %(least)d is the least that can tell a clear favourite.",
            votes,
        )
        return sentence % {"n": votes, "least": MIN_VOTES}, False
    odds = probability_of_lead(wins[0], wins[1])
    percent = f"{odds:.0%}" if odds >= 0.01 else _("less than 1 %")
    words = {"n": votes, "first": names[0], "second": names[1], "odds": percent, "wins": wins[0], "others": wins[1]}
    if wins[0] == wins[1]:
        return _("After %(n)d votes %(first)s and %(second)s are level.") % words, False
    if odds >= SIGNIFICANCE_LEVEL:
        sentence = _(
            "%(first)s leads %(second)s by %(wins)d to %(others)d, which may well be chance (%(odds)s between equals): "
            "collect more votes."
        )
        return sentence % words, False
    sentence = _(
        "%(first)s leads %(second)s by %(wins)d to %(others)d; between equals this would happen in %(odds)s of such "
        "votes."
    )
    return sentence % words, True
