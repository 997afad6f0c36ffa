"""Test the estimates of how long a run takes and what it costs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from campaigns.models import Campaign
from generation.models import Asset, Attempt, Endpoint, Job, LedgerEntry, Worker
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from tests.support import factories

pytestmark = pytest.mark.django_db


def attempts(endpoint: Endpoint, seconds: list[float], *, batch_key: str = "old", paid: str | None = None) -> None:
    """Create succeeded attempts of these lengths, one after the other on one worker."""
    run = factories.RunFactory(endpoint=endpoint)
    at = timezone.now()
    for number, duration in enumerate(seconds):
        frozen = factories.JobSpecFactory(
            job__run=run, job__batch_key=batch_key, job__status="succeeded", quoted_cost=Decimal("0.04"),
            candidate=number + 1,
        )  # fmt: skip
        started, at = at, at + timedelta(seconds=duration)
        # Real claims happen while the previous attempt still runs: only the time since its end counts.
        claimed = started - timedelta(seconds=30) if number else started
        Attempt.objects.create(
            job=frozen.job, number=1, lease_token=uuid.uuid4(), endpoint=endpoint, worker="gpu-1", outcome="succeeded",
            started_at=claimed, ended_at=at,
        )  # fmt: skip
        if paid is not None:
            LedgerEntry.objects.create(
                campaign=run.campaign, run=run, job=frozen.job, kind="settle", amount=Decimal(paid)
            )


def test_without_history_a_preview_says_so(plan_arguments: Callable[..., PlanArguments]) -> None:
    seen = plans.preview(plan_arguments())
    assert (seen.measured, seen.seconds_low, seen.cost_high) == (0, None, None)
    attempts(factories.EndpointFactory(), [1.0] * 3)
    assert plans.preview(plan_arguments()).measured == 0


def test_time_and_cost_are_between_those_of_recent_images_of_the_endpoint(
    plan_arguments: Callable[..., PlanArguments], endpoint: Endpoint
) -> None:
    attempts(endpoint, [float(seconds) for seconds in range(1, 12)], paid="0.06")
    seen = plans.preview(plan_arguments())
    assert seen.measured == 11
    assert seen.seconds_low == pytest.approx(6 * 2.0)
    assert seen.seconds_high == pytest.approx(6 * 10.0)
    assert (seen.cost_low, seen.cost_high) == (Decimal("0.24"), Decimal("0.36"))


def test_workers_share_the_work_and_what_is_queued_may_go_first(
    plan_arguments: Callable[..., PlanArguments], endpoint: Endpoint
) -> None:
    attempts(endpoint, [2.0] * 10)
    now = timezone.now()
    for name in ("gpu-1", "gpu-2"):
        Worker.objects.create(name=name, lanes=["gpu"], host="h", pid=1, started_at=now, seen_at=now)
    factories.JobFactory.create_batch(4, endpoint=endpoint)
    seen = plans.preview(plan_arguments())
    assert (seen.workers, seen.ahead) == (2, 4)
    assert seen.seconds_low == pytest.approx(6 * 2.0 / 2)
    assert seen.seconds_high == pytest.approx((6 + 4) * 2.0 / 2)


def test_a_size_made_often_enough_counts_for_itself(
    plan_arguments: Callable[..., PlanArguments], endpoint: Endpoint
) -> None:
    plans.plan(plan_arguments())
    own = Job.objects.values_list("batch_key", flat=True).first()
    attempts(endpoint, [9.0] * 20, batch_key="another size")
    assert plans.preview(plan_arguments()).seconds_low == pytest.approx(6 * 9.0)
    attempts(endpoint, [1.0] * 8, batch_key=own)
    seen = plans.preview(plan_arguments())
    assert (seen.measured, seen.seconds_high) == (8, pytest.approx(6 * 1.0))


def test_a_budget_that_only_the_most_expensive_would_exceed_is_reported(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, endpoint: Endpoint
) -> None:
    attempts(endpoint, [1.0] * 10, paid="0.08")
    Campaign.objects.filter(pk=campaign.pk).update(budget=Decimal("0.30"))
    campaign.refresh_from_db()
    seen = plans.preview(plan_arguments())
    assert (seen.fits_budget, seen.may_exceed_budget) == (True, True)
    Campaign.objects.filter(pk=campaign.pk).update(budget=Decimal("0.20"))
    campaign.refresh_from_db()
    assert not plans.preview(plan_arguments()).fits_budget


def test_cells_with_an_approved_image_are_counted(plan_arguments: Callable[..., PlanArguments]) -> None:
    run = plans.plan(plan_arguments())
    Asset.objects.filter(cell__run=run, subject__key="MUG-1").update(state="approved")
    assert plans.preview(plan_arguments()).approved_before == 2
    assert plans.preview(plan_arguments(missing_only=True)).cells == 0
