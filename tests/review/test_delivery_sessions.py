"""Test the journal and the rate limit that destination plug-ins get."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from core.services import leases
from review.delivery.base import DeliveryError
from review.models import Delivery
from review.services.delivery_sessions import POLICY, DeliveryJournal, RedisLimiter
from tests.support import factories

pytestmark = pytest.mark.django_db


class Remote:
    """A service that makes what it is asked, and may lose its answer or refuse."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.loses_answers = self.refuses = False

    def send(self) -> Mapping[str, Any]:
        if self.refuses:
            raise DeliveryError("No.")
        self.made.append(f"image {len(self.made) + 1}")
        if self.loses_answers:
            raise DeliveryError("The connection broke off.", is_uncertain=True)
        return {"id": self.made[-1]}

    def look_up(self) -> Mapping[str, Any] | None:
        return {"id": self.made[-1]} if self.made else None


@pytest.fixture
def journal() -> DeliveryJournal:
    return DeliveryJournal(factories.DeliveryFactory())


def test_a_change_that_is_done_is_not_made_again(journal: DeliveryJournal) -> None:
    remote = Remote()
    first = journal.once("image", remote.send, remote.look_up)
    again = DeliveryJournal(Delivery.objects.get()).once("image", remote.send, remote.look_up)
    assert first == again == {"id": "image 1"} and remote.made == ["image 1"]


def test_a_change_whose_answer_was_lost_is_looked_up_first(journal: DeliveryJournal) -> None:
    remote = Remote()
    remote.loses_answers = True
    with pytest.raises(DeliveryError):
        journal.once("image", remote.send, remote.look_up)
    assert [(step.key, step.is_done) for step in journal.steps()] == [("image", False)]
    assert journal.once("image", remote.send, remote.look_up) == {"id": "image 1"}
    assert remote.made == ["image 1"]


def test_a_change_that_was_not_made_is_made_at_the_next_attempt(journal: DeliveryJournal) -> None:
    remote = Remote()
    with pytest.raises(DeliveryError):
        journal.once("image", _lose_before, lambda: None)
    assert journal.once("image", remote.send, lambda: None) == {"id": "image 1"}


def test_a_refused_change_is_not_looked_up(journal: DeliveryJournal) -> None:
    remote = Remote()
    remote.refuses = True
    with pytest.raises(DeliveryError, match=r"No\."):
        journal.once("image", remote.send, remote.look_up)
    assert list(journal.steps()) == []
    remote.refuses = False
    assert journal.once("image", remote.send, lambda: pytest.fail("looked up")) == {"id": "image 1"}


def test_a_change_that_was_taken_back_can_be_made_again(journal: DeliveryJournal) -> None:
    remote = Remote()
    journal.once("image", remote.send, remote.look_up)
    journal.undo("image")
    assert list(journal.steps()) == []
    journal.once("image", remote.send, remote.look_up)
    assert remote.made == ["image 1", "image 2"]


def test_the_state_before_is_kept_once(journal: DeliveryJournal) -> None:
    journal.keep({"images": ["old"]})
    DeliveryJournal(Delivery.objects.get()).keep({"images": ["ours"]})
    assert Delivery.objects.get().before == {"images": ["old"]} == journal.before


def test_a_worker_whose_delivery_was_taken_over_changes_nothing(journal: DeliveryJournal) -> None:
    Delivery.objects.all().make_due()
    claimed = leases.claim(Delivery.objects.all(), POLICY)
    assert claimed is not None
    Delivery.objects.update(lease_token=uuid.uuid4())
    remote = Remote()
    with pytest.raises(DeliveryError, match="taken this delivery over"):
        DeliveryJournal(claimed).once("image", remote.send, remote.look_up)
    assert remote.made == []


def test_two_workers_share_one_limit() -> None:
    name = uuid.uuid4().hex
    first, second = (RedisLimiter(name, maximum=100, per_second=200) for _ in range(2))
    first.wait(100)
    started = time.monotonic()
    second.wait(50)
    assert 0.2 < time.monotonic() - started < 5
    second.report(available=0, maximum=100, per_second=200)
    started = time.monotonic()
    first.wait(40)
    assert time.monotonic() - started > 0.15


def test_the_limit_grows_when_the_service_says_that_it_is_larger_than_assumed() -> None:
    limiter = RedisLimiter(uuid.uuid4().hex, maximum=100, per_second=0.1)
    limiter.wait(30)
    limiter.report(available=1970, maximum=2000, per_second=0.1)
    limiter.wait(1900)
    with pytest.raises(DeliveryError, match="used up"):
        limiter.wait(100)


def test_a_limit_that_needs_minutes_ends_the_attempt() -> None:
    limiter = RedisLimiter(uuid.uuid4().hex, maximum=100, per_second=0.1)
    limiter.wait(100)
    with pytest.raises(DeliveryError) as refused:
        limiter.wait(50)
    assert refused.value.retry_after_seconds and refused.value.retry_after_seconds > 400


def _lose_before() -> Mapping[str, Any]:
    raise DeliveryError("Timed out.", is_uncertain=True)
