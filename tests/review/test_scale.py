"""Test that pages read as much of the database with 100,000 images as with 20,000, by EXPLAIN (ANALYZE, BUFFERS)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client

from benchmarks import review_data
from core import counts
from core.models import User
from tests.support import query_plans
from tests.support.query_plans import Readings

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

MOST_GROWTH = 1.3
FEW = 40
"""Buffers that a page may read more, whatever the ratio: an index of a larger table is one level deeper."""
MOST_REMOVED = 5_000
PAGES = {
    "home": "",
    "queue": "review/",
    "workspace": "review/room/",
    "library": "library/",
    "library of a state": "library/?state=approved",
    "library of a campaign": "library/?campaign={campaign}",
    "library of a check": "library/?problem=near_duplicate",
    "deep in the library": "library/?after=10000",
    "search for one product": "library/?q=MDW-000123",
    "search for many products": "library/?q=kissen",
    "asset": "assets/5001/",
}


def _read(images: int) -> dict[str, Readings]:
    """Build a brand with so many images; return what each page reads."""
    made = review_data.create(images)
    with connection.cursor() as cursor:
        cursor.execute("RESET ALL")
    for model in counts.list_models():
        counts.fold(model)
        assert counts.find_differences(model) == []
    client = Client()
    client.force_login(User.objects.get(username="reviewer"))
    readings = {}
    for name, path in PAGES.items():
        address = f"/brands/meadow/{path.format(campaign=made['campaign'])}"
        assert client.get(address).status_code == 200
        with query_plans.explaining() as readings[name]:
            client.get(address)
    return readings


def test_pages_read_the_same_at_five_times_the_size(django_db_blocker: Any) -> None:
    small = _read(20_000)
    connection.close()
    _empty()
    large = _read(100_000)
    for name, reading in large.items():
        allowed = MOST_GROWTH * small[name].buffers + FEW
        assert reading.buffers <= allowed, f"{name}: {small[name].buffers} to {reading.buffers}; {reading.worst}"
        assert reading.removed <= MOST_REMOVED, f"{name}: {reading.removed} rows left out"


def _empty() -> None:
    with connection.cursor() as cursor:
        names = [name for name in connection.introspection.django_table_names(only_existing=True) if "_" in name]
        kept = {"django_migrations", "django_content_type", "auth_permission"}
        tables = ", ".join(sorted(set(names) - kept))
        cursor.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
