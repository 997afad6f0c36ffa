"""Test money: the monthly budget of a brand, the usage that services count, and uncertain submissions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from core import clock
from core.errors import Conflict
from core.models import Brand, User
from generation.choices import HoldReason, JobState, LedgerKind, RunState, WhenUncertain
from generation.engines.base import Spec
from generation.models import Attempt, Job, JobSpec, LedgerEntry, Run
from generation.selectors import budgets
from generation.services import runs
from generation.services.planning import estimates, plan_requests
from generation.services.remote import submissions
from tests.support import queued_runs
from tests.support.racing import race


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_superuser("owner", password="x")


def create_planned_run(brand: Brand, owner: User, jobs: int, cost: str) -> Run:
    """Create a planned run of a new campaign, with each image at `cost`."""
    campaign = queued_runs.create_campaign(brand=brand, owner=owner)
    run = queued_runs.create_run(campaign, queued_runs.create_endpoint(), jobs)
    Job.objects.filter(run=run).update(status=JobState.HELD, hold_reason=HoldReason.NOT_RELEASED)
    JobSpec.objects.filter(job__run=run).update(quoted_cost=cost)
    Run.objects.filter(pk=run.pk).update(state=RunState.PLANNED, released_at=None)
    return run


def release(run: Run, owner: User) -> None:
    runs.release(run_id=run.pk, by=owner)


def make_uncertain(run: Run) -> Job:
    """Put the first job of the run into the state that a lost answer leaves."""
    job = run.jobs.first()
    Job.objects.filter(pk=job.pk).update(
        status=JobState.HELD, hold_reason=HoldReason.UNCERTAIN, error_kind="uncertain", error="no answer"
    )
    amount = JobSpec.objects.get(job=job).quoted_cost
    LedgerEntry.objects.create(campaign=run.campaign, run=run, job=job, kind=LedgerKind.UNCERTAIN, amount=amount)
    return Job.objects.get(pk=job.pk)


def test_campaigns_of_a_brand_share_what_it_may_spend_this_month(brand: Brand, owner: User) -> None:
    Brand.objects.filter(pk=brand.pk).update(monthly_budget=Decimal("10"))
    first, second = create_planned_run(brand, owner, 3, "2"), create_planned_run(brand, owner, 3, "2")
    release(first, owner)
    with pytest.raises(Conflict, match=r"4\.00 EUR of the 10\.00 EUR"):
        release(second, owner)
    runs.cancel(run_id=first.pk, by=owner)
    release(second, owner)


@pytest.mark.django_db(transaction=True)
def test_of_many_releases_at_once_only_those_within_the_monthly_budget_succeed() -> None:
    owner = User.objects.create_superuser("owner", password="x")
    brand = Brand.objects.create(slug="b", name="B", monthly_budget=Decimal("10"))
    waiting = [create_planned_run(brand, owner, 2, "2") for _ in range(6)]
    results = race(*(partial(release, run, owner) for run in waiting))
    assert sum(isinstance(result, Conflict) for result in results) == 4
    assert budgets.month_status(brand).reserved == Decimal("8")


def test_what_was_spent_in_an_earlier_month_does_not_count(brand: Brand, owner: User) -> None:
    run = create_planned_run(brand, owner, 1, "2")
    for moment in (datetime(2020, 1, 31, 12, tzinfo=UTC), clock.now()):
        with clock.at(moment):
            LedgerEntry.objects.create(campaign=run.campaign, run=run, kind=LedgerKind.SETTLE, amount=7)
    assert budgets.month_status(brand).spent == 7


def test_a_quote_takes_what_the_service_counted_lately(brand: Brand, owner: User) -> None:
    endpoint = queued_runs.create_endpoint()
    endpoint.prices = {"second": "0.001", "million_output_tokens": "40"}
    endpoint.save()
    campaign = queued_runs.create_campaign(brand=brand, owner=owner)
    for job in queued_runs.create_run(campaign, endpoint, 2).jobs.all():
        Attempt.objects.create(
            job=job, number=1, lease_token="00000000-0000-0000-0000-000000000001", endpoint=endpoint, worker="w",
            outcome="succeeded", started_at="2026-01-01T00:00:00Z",
            details={"usage": {"seconds": 4, "output_tokens": 1000}},
        )  # fmt: skip
    money, _ = estimates.quote(endpoint, estimates.Quote(0, 9))
    assert money == Decimal("0.044")


def test_before_the_first_image_a_quote_takes_what_the_engine_knows(owner: User) -> None:
    endpoint = queued_runs.create_endpoint(
        engine="openai", lane="cloud", base_url="http://127.0.0.1:9/v1", model="gpt-image-1"
    )
    endpoint.prices = {"million_output_tokens": 40}
    engine = plan_requests.open_engine(endpoint)
    named = engine.quote(Spec("a mug", 1024, 1024, seed=0, parameters={"quality": "medium"}))
    money, _ = estimates.quote(endpoint, named)
    assert money == Decimal("0.042240")  # 1,056 tokens


def test_what_is_uncertain_counts_as_spent_until_a_person_says_that_it_was_not(brand: Brand, owner: User) -> None:
    run = create_planned_run(brand, owner, 2, "2")
    release(run, owner)
    make_uncertain(run)
    status = budgets.status(run.campaign)
    assert (status.spent, status.reserved) == (2, 2)
    assert submissions.mark_not_charged(run_id=run.pk, by=owner) == 2
    status = budgets.status(run.campaign)
    assert (status.spent, status.reserved) == (0, 4)
    with pytest.raises(Conflict):
        submissions.mark_not_charged(run_id=run.pk, by=owner)


@pytest.mark.parametrize(
    ("policy", "state"), [(WhenUncertain.HOLD, JobState.HELD), (WhenUncertain.RESUBMIT, JobState.QUEUED)]
)
def test_the_policy_of_the_endpoint_decides_whether_an_uncertain_submission_is_retried(
    policy: str, state: str, brand: Brand, owner: User
) -> None:
    run = create_planned_run(brand, owner, 2, "2")
    release(run, owner)
    job = make_uncertain(run)
    run.endpoint.when_uncertain = policy
    run.endpoint.save()
    submissions.resubmit_uncertain()
    assert Job.objects.get(pk=job.pk).status == state
    assert budgets.status(run.campaign).reserved == (4 if state == JobState.QUEUED else 2)


def test_without_money_for_it_nothing_uncertain_is_submitted_again(brand: Brand, owner: User) -> None:
    run = create_planned_run(brand, owner, 2, "2")
    type(run.campaign).objects.filter(pk=run.campaign_id).update(budget=4)
    release(run, owner)
    job = make_uncertain(run)
    run.endpoint.when_uncertain = WhenUncertain.RESUBMIT
    run.endpoint.save()
    assert submissions.resubmit_uncertain() == 0
    assert Job.objects.get(pk=job.pk).status == JobState.HELD


def test_a_stranger_takes_nothing_back(brand: Brand, owner: User, person: Callable[..., Any]) -> None:
    from core.errors import NotAllowed

    run = create_planned_run(brand, owner, 1, "2")
    release(run, owner)
    make_uncertain(run)
    with pytest.raises(NotAllowed):
        submissions.mark_not_charged(run_id=run.pk, by=person("reviewer"))
