"""Test the page that shows current use: limits and money."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from core.models import Brand, Event, User
from generation.models import Endpoint, EndpointStatus, LedgerEntry, Run, Worker
from generation.rate_limits import LearntRate
from generation.selectors import endpoint_activity, endpoint_cards
from generation.services.remote import throttle
from tests.generation.endpoints.endpoint_helpers import address
from tests.support import factories

pytestmark = pytest.mark.django_db


def test_use_now_counts_submissions_of_this_second_and_minute(
    brand: Brand, brand_endpoint: Endpoint, run: Run, lead: User, clean_redis: Any
) -> None:
    for _ in range(2):
        assert throttle.wait_for_turn(run.endpoint)
    for fields in (
        {"status": "waiting", "remote_id": "a"},
        {"status": "running"},
        {"status": "running", "remote_id": "b"},  # made, and being downloaded
    ):
        lease = {"lease_token": "0" * 32} if fields["status"] == "running" else {}
        factories.JobFactory(run=run, **fields, **lease)
    (use,) = endpoint_activity.list_endpoint_uses(brand, lead)
    gauges = {gauge.label: (gauge.used, gauge.limit) for gauge in use["gauges"]}
    assert gauges == {"this second": (2, None), "this minute": (2, None), "open now": (2, 4)}
    assert use["gauges"][2].percent == 50 and use["gauges"][2].note == "limit found by itself"


def test_spent_money_is_shown_with_its_limit(brand: Brand, run: Run, lead: User) -> None:
    Brand.objects.filter(pk=brand.pk).update(monthly_budget=50)
    brand.refresh_from_db()
    type(run.campaign).objects.filter(pk=run.campaign_id).update(budget=10)
    for kind, amount in (("reserve", "6"), ("settle", "2"), ("release", "1")):
        LedgerEntry.objects.create(
            campaign=run.campaign, run=run, job=factories.JobFactory(run=run), kind=kind, amount=Decimal(amount)
        )
    (_none, month), (_campaign, campaign) = endpoint_activity.list_budget_uses(brand, lead)
    assert (month.spent, month.reserved, month.left) == (Decimal(2), Decimal(3), Decimal(45))
    assert (campaign.spent, campaign.reserved, campaign.left) == (Decimal(2), Decimal(3), Decimal(5))
    assert (campaign.spent_percent, campaign.reserved_percent, campaign.is_nearly_gone) == (20, 30, False)
    type(run.campaign).objects.filter(pk=run.campaign_id).update(budget=6)
    assert endpoint_activity.list_budget_uses(brand, lead)[1][1].is_nearly_gone


def test_limits_that_were_found_are_shown_as_such(
    brand: Brand, brand_endpoint: Endpoint, lead: User, clean_redis: Any
) -> None:
    rate = LearntRate(4.5, timezone.now()).to_json()
    EndpointStatus.objects.create(endpoint=brand_endpoint, rates={"second": rate}, window=6.4)
    (use,) = endpoint_activity.list_endpoint_uses(brand, lead)
    assert [(gauge.limit, gauge.note) for gauge in use["gauges"]] == [
        (4.5, "limit found by itself"),
        (None, "no limit known"),
        (6, "limit found by itself"),
    ]
    (card,) = endpoint_cards.cards(brand, [Endpoint.objects.select_related("status").get(pk=brand_endpoint.pk)])
    assert "4.5 a second, limit found by itself" in card.limits


def test_a_lead_sets_what_the_brand_may_spend_in_a_month(
    brand: Brand, lead: User, viewer: User, page_client: Callable[[User], Client], clean_redis: Any
) -> None:
    assert page_client(viewer).post(address(brand, "now/budget/"), {"monthly_budget": "5"}).status_code == 403
    assert "Give" not in page_client(viewer).get(address(brand, "now/")).content.decode()
    client = page_client(lead)
    assert client.post(address(brand, "now/budget/"), {"monthly_budget": "-5"}).status_code == 422
    assert client.post(address(brand, "now/budget/"), {"monthly_budget": "120.50"}).status_code == 302
    brand.refresh_from_db()
    assert brand.monthly_budget == Decimal("120.50")
    assert "120.50" in client.get(address(brand, "now/")).content.decode()
    client.post(address(brand, "now/budget/"), {"monthly_budget": ""})
    brand.refresh_from_db()
    assert brand.monthly_budget is None
    assert [event.payload for event in Event.objects.filter(type="core.brand.budget_set").order_by("id")] == [
        {"before": None, "after": "120.50"},
        {"before": "120.50", "after": None},
    ]


def test_the_page_of_use_asks_for_its_part_again(
    brand: Brand, brand_endpoint: Endpoint, viewer: User, page_client: Callable[[User], Client]
) -> None:
    client = page_client(viewer)
    whole = client.get(address(brand, "now/")).content.decode()
    assert 'hx-trigger="every 2s"' in whole and "<html" in whole and "this month" in whole
    part = client.get(address(brand, "now/"), headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith('<div id="use"') and "Overflow" in part and "<html" not in part


def test_what_our_own_workers_took_ahead_is_not_being_made_yet(brand: Brand, lead: User, worker: Worker) -> None:
    local = factories.EndpointFactory(name="Ours", lane="gpu", batch_size=4)
    for number in range(6):
        job = factories.JobFactory(run__campaign__brand=brand, run__endpoint=local)
        type(job).objects.filter(pk=job.pk).update(status="running", lease_token=f"{number:032}")
    (use,) = endpoint_activity.list_endpoint_uses(brand, lead)
    assert (use["gauges"][0].used, use["gauges"][0].limit, use["gauges"][0].note) == (4, 4, "and 2 next")


def test_use_now_costs_as_many_queries_for_ten_endpoints_as_for_one(
    brand: Brand, lead: User, worker: Worker, django_assert_max_num_queries: Any
) -> None:
    factories.EndpointFactory.create_batch(10, lane="cpu")
    with django_assert_max_num_queries(10):
        assert len(endpoint_activity.list_endpoint_uses(brand, lead)) == 10
    with django_assert_max_num_queries(10):
        assert len(endpoint_cards.cards(brand, list(endpoint_cards.visible(brand, lead)))) == 10
