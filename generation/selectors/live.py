"""Approved images that are in a shop or channel now.

The app that delivers images registers a function here that finds them; without such an app there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet

AssetQuery = Callable[[int], QuerySet[Any]]
"""A function that returns, for a campaign id, the ids of its assets whose approved version is at some destination, as a
subquery."""

_asset_queries: list[AssetQuery] = []


def register_query(query: AssetQuery) -> AssetQuery:
    """Register a function that finds live assets (a decorator)."""
    _asset_queries.append(query)
    return query


def asset_ids(campaign_id: int) -> list[QuerySet[Any]]:
    """Return the subqueries of live assets, one per registered function."""
    return [query(campaign_id) for query in _asset_queries]
