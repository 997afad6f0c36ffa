"""Tests that a running import blocks only other imports of the brand, not other work."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from django.db import OperationalError, connection, transaction

from campaigns.feeds.base import FeedRow
from campaigns.models import StagedRow, Subject
from campaigns.services import merging, staging
from core.models import Brand, User
from generation.models import Cell
from review.services import decisions
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.racing import race

KEYS = 200


def stage_batch(name: str) -> uuid.UUID:
    batch = uuid.uuid4()
    rows = (
        FeedRow(number + 2, f"{number:04}", "product", name, photos=[{
            "source": f"{number}.jpg", "role": "front", "position": 1, "alt": "",
        }])
        for number in range(KEYS)
    )  # fmt: skip
    staging.stage(batch, rows)
    return batch


def run_beside(work: Callable[[], None]) -> BaseException | None:
    """Call it in another thread, with another connection that waits at most two seconds for a lock."""

    def run() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '2s'")
        work()

    [error] = race(run)
    return error


@pytest.mark.django_db(transaction=True)
def test_people_approve_and_plan_while_a_merge_is_open() -> None:
    brand = factories.BrandFactory()
    with transaction.atomic():
        merging.merge(stage_batch("Mug"), brand_id=brand.pk, spoken=())
    reviewer: User = factories.MembershipFactory(brand=brand, role="reviewer").user
    task = create_image_in_review(brand)
    subject = Subject.objects.get(brand=brand, key="0007")
    Cell.objects.filter(asset=task.asset).update(subject=subject)
    task.asset.subject = subject
    task.asset.save()
    done: list[str] = []

    def approve() -> None:
        done.append(decisions.approve(by=reviewer, **decision_arguments(task)).kind)

    def plan() -> None:
        factories.CellFactory(subject=subject, run=task.asset.cell.run, values_key="other")
        done.append("planned")

    def edit_another() -> None:
        factories.SubjectFactory(brand=brand, key="by-hand")
        done.append("made")

    with transaction.atomic():
        merged = merging.merge(stage_batch("Cup"), brand_id=brand.pk, spoken=())
        assert merged["updated"] == KEYS
        for work in (approve, plan, edit_another):
            assert run_beside(work) is None
        assert isinstance(run_beside(lambda: _merge_another(brand)), OperationalError)
    assert done == ["approved", "planned", "made"]
    assert run_beside(lambda: _merge_another(brand)) is None
    StagedRow.objects.all().delete()


def _merge_another(brand: Brand) -> None:
    with transaction.atomic():
        merging.merge(uuid.uuid4(), brand_id=brand.pk, spoken=())


@pytest.mark.django_db(transaction=True)
def test_rows_of_any_characters_come_through_the_copy() -> None:
    odd = 'tab\t, back\\slash \\N \\., "quotes", line\nbreak\r, ünïcode 🏺'
    batch = uuid.uuid4()
    rows = [
        FeedRow(2, "a\\b", "product", odd, attributes={"no\\te": odd, "empty": ""}, photos=[{"alt": odd}]),
        FeedRow(3, "\\N", "product", "\\N", "a\\b", options={"Größe": '"M"'}),
    ]
    staging.stage(batch, rows)
    first, second = StagedRow.objects.filter(batch=batch).order_by("row")
    assert (first.key, first.name, first.attributes) == ("a\\b", odd, {"no\\te": odd, "empty": ""})
    assert first.photos == [{"alt": odd}]
    assert (second.key, second.name, second.parent_key, second.options) == ("\\N", "\\N", "a\\b", {"Größe": '"M"'})
    staging.clear(batch)
    assert not StagedRow.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_copy_that_fails_beside_the_parser_is_reported() -> None:
    rows = (FeedRow(-1 if number == 7000 else number, f"{number}", "product", "x") for number in range(20_000))
    batch = uuid.uuid4()
    with pytest.raises(Exception, match="row"):
        staging.stage(batch, rows)
    staging.clear(batch)
