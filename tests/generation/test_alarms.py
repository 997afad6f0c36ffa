"""Test that operators are notified once of an endpoint that stands still, with a reason and the page to act on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from core.choices import Lane
from core.models import Brand, Notice, User
from generation.choices import Breaker, HoldReason, JobState
from generation.engines.base import EngineError, ErrorKind
from generation.models import Endpoint, EndpointStatus, Job
from generation.services.endpoints import health
from generation.services.remote import pacing
from tests.support import queued_runs

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(person: Callable[..., User]) -> User:
    return person("admin")


@pytest.fixture
def endpoint(brand: Brand) -> Endpoint:
    """A service endpoint with three waiting images of the brand."""
    made = queued_runs.create_endpoint(engine="wire", lane=Lane.CLOUD, url="http://127.0.0.1:9")
    queued_runs.create_run(queued_runs.create_campaign(brand=brand), made, 3)
    return made


def fail(endpoint: Endpoint, times: int) -> None:
    for _ in range(times):
        pacing.record_failure(endpoint, EngineError(ErrorKind.TRANSIENT, "no answer."))


def fail_after_rest(endpoint: Endpoint) -> None:
    """Let one submission try the endpoint after its rest, and fail."""
    EndpointStatus.objects.filter(endpoint=endpoint).update(breaker=Breaker.HALF_OPEN)
    fail(endpoint, 1)


def notice_sentences(user: User) -> list[str]:
    return list(Notice.objects.filter(user=user).order_by("pk").values_list("sentence", flat=True))


def test_a_first_rest_raises_no_alarm_and_a_failed_probe_does(endpoint: Endpoint, admin: User) -> None:
    fail(endpoint, 5)
    assert health.notify_operators() == 0
    fail_after_rest(endpoint)
    assert health.notify_operators() == 1
    assert notice_sentences(admin) == [f"{endpoint.name} fails again and again (no answer). 3 images wait for it."]
    assert Notice.objects.get(user=admin).href.endswith(f"/endpoints/{endpoint.slug}/")


def test_an_alarm_is_sent_once_and_again_only_after_a_success(endpoint: Endpoint, admin: User) -> None:
    fail(endpoint, 5)
    fail_after_rest(endpoint)
    assert [health.notify_operators(), health.notify_operators()] == [1, 0]
    pacing.record_success(endpoint, in_use=1)
    fail(endpoint, 5)
    fail_after_rest(endpoint)
    Notice.objects.update(read_at=timezone.now())
    assert health.notify_operators() == 1
    assert len(notice_sentences(admin)) == 2


def test_an_empty_account_is_notified_at_once(endpoint: Endpoint, admin: User, viewer: User) -> None:
    Job.objects.update(status=JobState.HELD, hold_reason=HoldReason.QUOTA)
    pacing.record_failure(endpoint, EngineError(ErrorKind.QUOTA, "no credit"))
    assert health.notify_operators() == 1
    assert "the account is empty" in notice_sentences(admin)[0]
    assert notice_sentences(viewer) == []


def test_people_of_other_brands_are_not_notified(endpoint: Endpoint, other_brand: Any, person: Any) -> None:
    stranger = person("admin", brand=other_brand)
    fail(endpoint, 5)
    fail_after_rest(endpoint)
    health.notify_operators()
    assert notice_sentences(stranger) == []
