"""Test what the endpoint pages say about each endpoint: health, numbers, the last day and the owner."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from core import clock
from core.models import Brand, User
from generation.models import Attempt, Endpoint, EndpointStatus, LedgerEntry, Run, Worker
from generation.selectors import endpoint_activity, endpoint_cards
from tests.generation.endpoints.endpoint_helpers import MODEL, address, attempt
from tests.support import factories

pytestmark = pytest.mark.django_db


def test_a_card_says_what_an_endpoint_is_made_of_and_what_it_may_be_given(
    brand: Brand, brand_endpoint: Endpoint, viewer: User, page_client: Callable[[User], Client]
) -> None:
    Endpoint.objects.filter(pk=brand_endpoint.pk).update(max_per_minute=600, disclaimer="demo model")
    page = page_client(viewer).get(address(brand)).content.decode()
    for words in ("Overflow", "never asked", MODEL, "0 of 4 at once, limit found by itself", "600 a minute",
                  "Apache 2.0", "demo model", f"{brand.name}’s own"):  # fmt: skip
        assert words in page, words
    assert "New endpoint" not in page


def test_without_an_endpoint_the_page_says_what_one_is(
    brand: Brand, viewer: User, lead: User, page_client: Callable[[User], Client]
) -> None:
    assert "No endpoint yet" in page_client(viewer).get(address(brand)).content.decode()
    assert "Set the first one up" in page_client(lead).get(address(brand)).content.decode()
    assert "No endpoint is switched on" in page_client(viewer).get(address(brand, "now/")).content.decode()


def test_numbers_are_of_the_brand_and_of_today(
    brand: Brand, other_brand: Brand, brand_endpoint: Endpoint, run: Run
) -> None:
    made = [attempt(run, details={"seconds": seconds}) for seconds in (2.0, 4.0)]
    attempt(run, "failed", error_kind="transient", message="gone")
    attempt(run, "failed", error_kind="moderation", message="no")
    attempt(run, "failed", error_kind="rate", message="slowly")
    attempt(run, "succeeded", details={"reused_master": "x"})
    attempt(run, "succeeded", hours_ago=30, details={"seconds": 99.0})
    foreign = factories.RunFactory(campaign__brand=other_brand, endpoint=brand_endpoint)
    attempt(foreign, "failed", error_kind="transient", message="theirs")
    now = timezone.now()
    for job, amount, at in (
        (made[0].job, "0.30", now),
        (made[1].job, "0.20", now - timedelta(days=40)),
        (attempt(foreign).job, "9.00", now),
    ):
        with clock.at(at):
            LedgerEntry.objects.create(
                campaign=job.campaign, run=job.run, job=job, kind="settle", amount=Decimal(amount)
            )
    factories.JobFactory(run=run, status="queued")
    factories.JobFactory(run=foreign, status="queued")
    factories.JobFactory(run=foreign, status="waiting")
    numbers = endpoint_cards.figures(brand, [brand_endpoint])[brand_endpoint.pk]
    assert (numbers.made, numbers.failed, numbers.seconds) == (2, 1, 3.0)
    assert numbers.sample == 3 and round(numbers.error_percent) == 33
    assert (numbers.by_kind["rate"], numbers.by_kind["moderation"]) == (1, 1)
    assert numbers.money_month == numbers.money_today == Decimal("0.30")
    assert numbers.queued == 1, "what others queue is theirs"
    assert numbers.waiting == 1, "what is open at the service is everybody's"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"breaker": "open", "failures": 5, "open_until": 40}, "resting"),
        ({"breaker": "half_open", "failures": 5}, "being tried"),
        ({"resume_at": 20}, "slowed down"),
        ({"last_error_kind": "quota", "last_error_at": -1}, "account empty"),
        ({"last_error_kind": "quota", "last_error_at": -9, "last_success_at": -1}, "working"),
        ({"last_success_at": -1, "resume_at": -1}, "working"),
    ],
)
def test_health_names_what_delays_the_next_submission_of_an_endpoint(
    fields: dict[str, Any], word: str, brand_endpoint: Endpoint, brand: Brand
) -> None:
    now = timezone.now()
    moments = {name: now + timedelta(seconds=value) if name.endswith(("_until", "_at")) else value
               for name, value in fields.items()}  # fmt: skip
    EndpointStatus.objects.create(endpoint=brand_endpoint, **moments)
    endpoint = endpoint_cards.get(brand, factories.UserFactory(is_superuser=True), "overflow")
    (card,) = endpoint_cards.cards(brand, [endpoint])
    assert card.health.word == word
    if word == "resting":
        assert "After 5 failures in a row" in card.health.sentence and "again in 40 s" in card.health.sentence


def test_an_endpoint_without_a_worker_says_so(brand: Brand, brand_endpoint: Endpoint) -> None:
    Worker.objects.update(lanes=["gpu"])
    (card,) = endpoint_cards.cards(brand, [brand_endpoint])
    assert card.health.word == "no worker" and "manage.py worker cloud" in card.health.sentence


def test_an_endpoint_that_only_fails_is_failing(brand: Brand, brand_endpoint: Endpoint, run: Run) -> None:
    for _ in range(3):
        attempt(run, "failed", error_kind="transient", message="gone")
    (card,) = endpoint_cards.cards(brand, [brand_endpoint])
    assert card.health.word == "failing" and card.health.is_in_trouble


def test_a_service_that_does_not_say_how_long_it_took_is_timed_from_submission_to_end(
    brand: Brand, brand_endpoint: Endpoint, run: Run
) -> None:
    made = attempt(run, details={"seconds": 0.0})
    Attempt.objects.filter(pk=made.pk).update(started_at=made.ended_at - timedelta(seconds=7))
    assert endpoint_cards.figures(brand, [brand_endpoint])[brand_endpoint.pk].seconds == 7


def test_the_day_is_drawn_by_the_hour_and_errors_are_listed_once_each(
    brand: Brand, brand_endpoint: Endpoint, run: Run
) -> None:
    for hours_ago in (0, 0, 3):
        attempt(run, hours_ago=hours_ago)
    for number in (1, 2):
        attempt(run, "failed", error_kind="transient", message=f"job {number} broke off")
    attempt(run, "failed", error_kind="input", message="too wide", hours_ago=30)
    day = endpoint_activity.day(brand, brand_endpoint)
    assert len(day.hours) == 24 and (day.made, day.failed, day.highest) == (3, 2, 4)
    assert (day.hours[-1].made, day.hours[-1].failed, day.hours[-4].made) == (2, 2, 1)
    (trouble,) = endpoint_activity.troubles(brand, brand_endpoint)
    assert (trouble.count, trouble.cause.code, trouble.message) == (2, "transient", "job 2 broke off")


def test_the_page_of_an_endpoint_explains_reasons_in_words(
    brand: Brand, brand_endpoint: Endpoint, run: Run, viewer: User, page_client: Callable[[User], Client]
) -> None:
    attempt(run)
    attempt(run, "failed", error_kind="moderation", message="NSFW content detected")
    page = page_client(viewer).get(address(brand, "overflow/")).content.decode()
    assert "1 × not allowed" in page and "NSFW content detected" in page and f"/runs/{run.pk}/" in page
    assert "translate(460 0)" in page and 'height="1" class="day-made"' in page and "kept, not shown" in page
    assert 'name="setting_model"' not in page and "A lead of" in page


def test_a_shared_endpoints_other_brands_stay_unknown(
    brand: Brand, other_brand: Brand, viewer: User, page_client: Callable[[User], Client], worker: Worker
) -> None:
    shared = factories.EndpointFactory(slug="shared", lane="cpu", config={"root": "/srv/models"})
    foreign = factories.RunFactory(campaign__brand=other_brand, endpoint=shared, name="Their launch")
    attempt(foreign, "failed", error_kind="transient", message="their secret plan")
    page = page_client(viewer).get(address(brand, "shared/")).content.decode()
    assert "shared by all brands" in page
    for hidden in ("Their launch", "their secret plan", other_brand.name, "/srv/models"):
        assert hidden not in page


def test_an_endpoint_of_another_brand_is_not_there(
    brand: Brand,
    other_brand: Brand,
    brand_endpoint: Endpoint,
    person: Callable[..., User],
    page_client: Callable[[User], Client],
) -> None:
    client = page_client(person("lead", brand=other_brand))
    for page in ("overflow/", "overflow/answer/"):
        assert client.get(address(other_brand, page)).status_code == 404
    assert client.get(address(brand)).status_code == 404
    assert "Overflow" not in client.get(address(other_brand)).content.decode()
    assert client.post(address(other_brand, "overflow/secret/"), {"secret": "mine"}).status_code == 404
