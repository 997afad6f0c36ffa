"""Approved images that are in a shop or channel now.

The app that delivers images registers a function here that finds them; without such an app there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet

Teller = Callable[[int], QuerySet[Any]]
"""A function that returns, for a campaign id, the ids of its assets whose approved version is at some destination, as a
subquery."""

_tellers: list[Teller] = []


def provide(teller: Teller) -> Teller:
    """Register a function that finds live assets (a decorator)."""
    _tellers.append(teller)
    return teller


def asset_ids(campaign_id: int) -> list[QuerySet[Any]]:
    """Return the subqueries of live assets, one per registered function."""
    return [teller(campaign_id) for teller in _tellers]
