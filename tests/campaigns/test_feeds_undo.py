"""Tests of undoing an import: its changes are recorded, and undone unless something has changed them since."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from campaigns.models import FeedImport, ImportChange, ReferencePhoto, Subject, Variant
from campaigns.services import imports, undoing
from core.models import Brand, User
from tests.support import factories

FIRST = "sku;name;colour;price;photo\n007;Mug;sage;12,90;mug.jpg\n008;Bowl;clay;20,00;bowl.jpg\n"
SECOND = (
    "sku;name;colour;price;photo\n007;Mug, new;;13,90;mug.jpg|side.jpg\n008;Bowl;clay;20,00;bowl.jpg\n"
    "009;Jar;blue;5,00;jar.jpg\n"
)
State = list[tuple[Any, ...]]


@pytest.fixture
def take(brand: Brand, manager: User) -> Callable[[str], FeedImport]:
    def make(text: str) -> FeedImport:
        done = imports.import_feed(brand=brand, file=io.BytesIO(text.encode()), file_name="f.csv", by=manager)
        assert done.status == "applied", list(done.issues.values_list("message", flat=True))
        return done

    return make


def undo(done: FeedImport) -> dict[str, int]:
    with transaction.atomic():
        answer = undoing.undo(done.pk)
        FeedImport.objects.filter(pk=done.pk).update(undone_at=done.created_at)
    return answer


def feed_state() -> dict[str, State]:
    """Return everything that a feed writes, as a user sees it."""
    return {
        "subjects": list(Subject.objects.order_by("key").values_list("key", "name", "attributes", "is_active")),
        "variants": list(
            Variant.objects.order_by("key").values_list("subject__key", "key", "options", "attributes", "position")
        ),
        "photos": list(
            ReferencePhoto.objects.order_by("subject__key", "source").values_list(
                "subject__key", "source", "position", "alt_text"
            )
        ),
    }


def test_an_import_writes_down_what_was_there_before(take: Callable[[str], FeedImport]) -> None:
    first = take(FIRST)
    assert set(ImportChange.objects.filter(feed_import=first).values_list("subject__key", "was")) == {
        ("007", None), ("008", None)
    }  # fmt: skip
    second = take(SECOND)
    changes = dict(ImportChange.objects.filter(feed_import=second).values_list("subject__key", "was"))
    assert changes == {
        "007": {
            "name": "Mug",
            "attributes": {"colour": "sage", "price": "12.90"},
            "photos": [{"source": "side.jpg", "was": None}],
        },
        "009": None,
    }
    assert not ImportChange.objects.filter(feed_import=take(SECOND)).exists()


def test_undoing_an_import_leaves_everything_as_before(take: Callable[[str], FeedImport]) -> None:
    take(FIRST)
    before = feed_state()
    done = take(SECOND)
    assert feed_state() != before
    assert undo(done) == {"removed": 1, "restored": 1, "kept": 0, "retired": 0}
    assert feed_state() == before


def test_variants_are_taken_back_too(take: Callable[[str], FeedImport]) -> None:
    head = "sku,name,parent_sku,size,price,photo\n"
    take(head + "M,Mug,,,1.00,m.jpg\nM-S,,M,S,1.00,\nM-L,,M,L,2.00,\n")
    before = feed_state()
    done = take(head + "M,Mug,,,1.00,m.jpg\nM-L,,M,Large,2.50,m.jpg|l.jpg\nM-XL,,M,XL,3.00,\n")
    assert Variant.objects.get(key="M-L").position == 1
    assert undo(done) == {"removed": 0, "restored": 1, "kept": 0, "retired": 0}
    assert feed_state() == before


def test_what_somebody_changed_since_is_kept(take: Callable[[str], FeedImport]) -> None:
    take(FIRST)
    done = take(SECOND)
    for key in ("007", "009"):
        subject = Subject.objects.get(key=key)
        subject.name = "By hand"
        subject.save()
    before = feed_state()
    assert undo(done) == {"removed": 0, "restored": 0, "kept": 2, "retired": 0}
    assert feed_state() == before


def test_what_a_later_import_changed_is_kept(take: Callable[[str], FeedImport]) -> None:
    first = take(FIRST)
    take(SECOND)
    before = feed_state()
    assert undo(first) == {"removed": 1, "restored": 0, "kept": 1, "retired": 0}
    assert feed_state()["subjects"] == [row for row in before["subjects"] if row[0] != "008"]


@pytest.mark.parametrize("use", ["cell", "campaign", "own photo", "cut-out"])
def test_a_product_in_use_is_retired_instead_and_the_next_import_brings_it_back(
    take: Callable[[str], FeedImport], brand: Brand, manager: User, use: str
) -> None:
    done = take(FIRST)
    mug = Subject.objects.get(key="007")
    if use == "cell":
        factories.CellFactory(subject=mug, run__campaign__brand=brand)
    elif use == "campaign":
        factories.CampaignFactory(brand=brand).subjects.add(mug)
    elif use == "own photo":
        factories.ReferencePhotoFactory(subject=mug, source="dropped.jpg")
    else:
        factories.CutoutFactory(photo=mug.photos.get(), made_by=manager)
    assert undo(done) == {"removed": 2, "restored": 0, "kept": 0, "retired": 1}
    mug.refresh_from_db()
    assert not mug.is_active
    assert not Subject.objects.filter(key="008").exists()
    again = take(FIRST)
    mug.refresh_from_db()
    assert mug.is_active
    assert undo(again)["restored"] == 1
    mug.refresh_from_db()
    assert not mug.is_active


def test_a_product_that_somebody_retired_stays_retired(take: Callable[[str], FeedImport]) -> None:
    take(FIRST)
    Subject.objects.filter(key="007").update(is_active=False)
    take(SECOND)
    assert not Subject.objects.get(key="007").is_active


def test_a_checked_import_writes_no_changes(brand: Brand, manager: User) -> None:
    imports.import_feed(brand=brand, file=io.BytesIO(FIRST.encode()), file_name="f.csv", by=manager, dry_run=True)
    assert not ImportChange.objects.exists()


def test_another_brand_is_never_touched(take: Callable[[str], FeedImport], other_brand: Brand) -> None:
    kept = factories.SubjectFactory(brand=other_brand, key="007", name="Theirs")
    undo(take(FIRST))
    kept.refresh_from_db()
    assert (kept.name, kept.is_active, Subject.objects.count()) == ("Theirs", True, 1)
