"""Tests of races between a changed input and an approval: the second one sees the first (real threads)."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from PIL import Image

from campaigns.models import Subject
from campaigns.services import cutouts, photos, subjects
from core.choices import Role
from core.errors import Stale
from core.models import Brand, User
from generation.models import Asset
from generation.selectors import inputs
from review.models import ReviewTask
from review.services import decisions
from tests.support import factories, scenes
from tests.support.approved_images import create_product, import_products, make_image, plan_run
from tests.support.images_in_review import decision_arguments
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.django_db(transaction=True)

WAIT = 60


@pytest.fixture
def people(brand: Brand) -> tuple[User, User]:
    """Return the user who changes inputs and the user who reviews."""
    manager = factories.MembershipFactory(brand=brand, role=Role.CAMPAIGN_MANAGER).user
    return manager, factories.MembershipFactory(brand=brand, role=Role.REVIEWER).user


@pytest.fixture
def task(brand: Brand, people: tuple[User, User]) -> ReviewTask:
    [asset] = Asset.objects.filter(cell__run=plan_run(brand, [create_product(brand)], people[0]))
    return make_image(asset)


class BackgroundCall:
    """A function that runs in another thread with its own connection. Its exception is in `error`."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.error = error
        finally:
            connection.close()

    def waits(self) -> bool:
        """Return whether the thread still runs after half a second, because it waits for a lock."""
        self._thread.join(0.5)
        return self._thread.is_alive()

    def end(self) -> BaseException | None:
        self._thread.join(WAIT)
        assert not self._thread.is_alive(), "two transactions wait for each other"
        return self.error


def edit(subject: Subject, by: User) -> None:
    subjects.edit(subject_id=subject.pk, by=by, attributes=(subject.attributes | {"colour": "teal"}).items())


def import_feed(subject: Subject, by: User) -> None:
    import_products(subject.brand, by, (subject.key, "Mug", "teal", "stoneware", "12.90"))


def replace_photo(subject: Subject, by: User) -> None:
    buffer = io.BytesIO()
    Image.fromarray(scenes.scene("vase", size=128).pixels).save(buffer, "PNG")
    photos.attach(data=buffer.getvalue(), file_name="new.png", by=by, photo_id=subject.photos.get().pk)


def remove_photo(subject: Subject, by: User) -> None:
    photos.remove(photo_id=subject.photos.get().pk, by=by)


def accept_cutout(subject: Subject, by: User) -> None:
    better = factories.CutoutFactory(photo=subject.photos.get(), is_accepted=False)
    cutouts.accept_many(cutout_ids=[better.pk], by=by)


CHANGES = [edit, import_feed, replace_photo, remove_photo, accept_cutout]
OPEN = [edit, replace_photo, remove_photo, accept_cutout]  # an import does not run inside another transaction


def state(task: ReviewTask) -> str:
    return str(Asset.objects.get(pk=task.asset_id).state)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_after_an_approval_makes_it_stale(change: Any, task: ReviewTask, people: tuple[User, User]) -> None:
    decisions.approve(by=people[1], **decision_arguments(task))
    change(task.asset.subject, people[0])
    assert state(task) == "stale"


@pytest.mark.parametrize("change", CHANGES)
def test_an_approval_that_is_being_given_while_an_input_moves_goes_stale(
    change: Any, task: ReviewTask, people: tuple[User, User]
) -> None:
    with transaction.atomic():
        decisions.approve(by=people[1], **decision_arguments(task))
        other = BackgroundCall(lambda: change(task.asset.subject, people[0]))
        assert other.waits()
    assert other.end() is None
    assert state(task) == "stale"


@pytest.mark.parametrize("change", OPEN)
def test_an_approval_given_while_a_change_is_not_committed_waits_and_is_refused(
    change: Any, task: ReviewTask, people: tuple[User, User]
) -> None:
    before = decision_arguments(task)
    with transaction.atomic():
        change(task.asset.subject, people[0])
        other = BackgroundCall(lambda: decisions.approve(by=people[1], **before))
        assert other.waits()
    assert isinstance(other.end(), Stale)
    assert state(task) == "in_review"


@pytest.mark.parametrize("sold", [("teal", "stoneware"), ("sage", "glass")], ids=["used value", "unused value"])
def test_an_approval_before_an_open_change_has_looked_is_seen_by_it(
    sold: tuple[str, str], task: ReviewTask, people: tuple[User, User]
) -> None:
    """The change writes its value, then the approval commits, then the change looks for approvals."""
    from campaigns import events
    from core.events import publish

    subject = task.asset.subject
    with transaction.atomic():
        colour, material = sold
        Subject.objects.filter(pk=subject.pk).update(attributes={"colour": colour, "material": material})
        assert BackgroundCall(lambda: decisions.approve(by=people[1], **decision_arguments(task))).end() is None
        happened = events.SubjectChanged(brand_id=subject.brand_id, object_id=subject.pk, payload={"changes": {}})
        publish(happened, by=people[0])
    assert state(task) == ("stale" if colour == "teal" else "approved")


@pytest.mark.parametrize("seed", range(5))
def test_no_approval_stands_on_an_input_that_moved_however_they_meet(
    seed: int, brand: Brand, people: tuple[User, User]
) -> None:
    manager, reviewer = people
    products = [create_product(brand, key=f"MUG-{number:02}") for number in range(12)]
    tasks = [make_image(asset) for asset in Asset.objects.filter(cell__run=plan_run(brand, products, manager))]
    dice = random.Random(seed)
    dice.shuffle(tasks)
    feed = [(subject.key, "Mug", "teal", "stoneware", "12.90") for subject in products[::2]]

    def approve_all(mine: list[ReviewTask]) -> None:
        for review_task in mine:
            try:
                decisions.approve(by=reviewer, **decision_arguments(review_task))
            except Stale:
                decisions.approve(by=reviewer, **decision_arguments(review_task))

    def change_photos() -> None:
        for subject in products[1::4]:
            remove_photo(subject, manager)

    def change_feed() -> None:
        import_products(brand, manager, *feed)

    race_without_errors(
        partial(approve_all, tasks[0::2]), partial(approve_all, tasks[1::2]), change_photos, change_feed
    )
    approved = Asset.objects.filter(brand=brand, state="approved")
    assert inputs.find_changes(approved.values_list("cell_id", flat=True)) == {}
    assert set(Asset.objects.filter(brand=brand).values_list("state", flat=True)) <= {"approved", "stale"}
