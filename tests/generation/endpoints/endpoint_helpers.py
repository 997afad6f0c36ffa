"""Shared data and helpers of the tests of the endpoint pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from core.models import Brand
from generation.models import Attempt, Endpoint, Run
from tests.support import factories

SECRET = "r8_hush5f1c9a7be2"
MODEL = "black-forest-labs/flux-schnell"


def attempt(run: Run, outcome: str = "succeeded", *, hours_ago: float = 0.01, **fields: Any) -> Attempt:
    at = timezone.now() - timedelta(hours=hours_ago)
    job = factories.JobFactory(run=run, status="succeeded" if outcome == "succeeded" else "failed")
    kept: Attempt = Attempt.objects.create(
        job=job, number=1, lease_token="0" * 32, endpoint=run.endpoint, worker="w", outcome=outcome, started_at=at,
        ended_at=at, **fields,
    )  # fmt: skip
    return kept


def address(brand: Brand, page: str = "") -> str:
    return f"/brands/{brand.slug}/endpoints/{page}"


def settings_of(endpoint: Endpoint, **fields: str) -> dict[str, str]:
    """Return the form data of an endpoint in which only `fields` are changed."""
    return {
        "name": endpoint.name, "lane": "cloud", "setting_model": MODEL, "when_uncertain": "hold",
        "batch_size": "1", "seconds_per_image": "10", "price_per_image": "0", "price_image": "0.003",
        "licence_note": "Apache 2.0", **fields,
    }  # fmt: skip
