"""Tests of the readiness of a subject's photos, for one subject and for ten thousand."""

from __future__ import annotations

import random
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.choices import PhotoStatus
from campaigns.models import Subject
from campaigns.selectors import readiness
from tests.support import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def square(brand: Any) -> Any:
    return factories.OutputSpecFactory(campaign__brand=brand, slug="amazon-main", width=2000, height=2000)


def readiness_of(subject: Subject, **options: Any) -> readiness.Readiness:
    return readiness.assess([subject], **options)[subject.pk]


def with_cutout(brand: Any, box: tuple[int, int, int, int] = (12, 12, 1012, 1012), **options: Any) -> Subject:
    photo = factories.ReferencePhotoFactory(subject__brand=brand)
    factories.CutoutFactory(photo=photo, box=list(box), **options)
    return photo.subject


def test_a_sharp_photo_with_a_sure_cut_out_is_ready(brand: Any, square: Any) -> None:
    status = readiness_of(with_cutout(brand, (0, 0, 1200, 1200)), specs=[square])
    assert (status.state, status.word, status.findings, status.is_ready) == ("ready", "ready", (), True)


def test_a_subject_without_photo_says_what_to_do(brand: Any) -> None:
    status = readiness_of(factories.SubjectFactory(brand=brand))
    assert status.state == "missing" and "drop one" in status.findings[0]


def test_a_photo_that_is_still_loading_is_distinguished_from_one_that_was_refused(brand: Any) -> None:
    awaited = factories.ReferencePhotoFactory(subject__brand=brand, status=PhotoStatus.PENDING)
    refused = factories.ReferencePhotoFactory(
        subject__brand=brand, status=PhotoStatus.REFUSED, source="mug.gif", notes=["This is no JPEG."]
    )
    by_subject = readiness.assess([awaited.subject, refused.subject])
    assert "not here yet" in by_subject[awaited.subject_id].findings[0]
    assert "mug.gif was refused: This is no JPEG." in by_subject[refused.subject_id].findings[0]


def test_an_uncertain_cut_out_needs_a_check_until_a_person_accepts_it(brand: Any, lead: Any) -> None:
    uncertain = with_cutout(brand, confidence=0.42)
    assert readiness_of(uncertain).state == "look" and "42%" in readiness_of(uncertain).findings[0]
    uncertain.photos.get().cutouts.update(accepted_by=lead)
    assert readiness_of(uncertain).state == "ready"


def test_a_cut_out_that_is_not_accepted_or_missing_needs_a_check(brand: Any) -> None:
    rejected = with_cutout(brand, is_accepted=False, confidence=0.2)
    bare = factories.ReferencePhotoFactory(subject__brand=brand).subject
    by_subject = readiness.assess([rejected.pk, bare.pk])
    assert [by_subject[pk].state for pk in (rejected.pk, bare.pk)] == ["look", "look"]
    assert (
        "not accepted (20% sure)" in by_subject[rejected.pk].findings[0]
        and "no cut-out" in by_subject[bare.pk].findings[0]
    )


def test_too_small_is_reported_with_the_spec_and_the_numbers(brand: Any, square: Any) -> None:
    subject = with_cutout(brand, (100, 100, 500, 500))
    status = readiness_of(subject, specs=[square])
    assert status.state == "small"
    sentence = status.findings[0]
    for part in ("amazon-main (2000 × 2000 px)", "400 × 400 px", "1640 × 1640 px", "4.1 times", "1093 px"):
        assert part in sentence
    assert readiness_of(subject, specs=[square], fill=0.2).state == "ready"


def test_an_engine_that_needs_no_photo_makes_every_subject_ready(brand: Any, django_assert_num_queries: Any) -> None:
    article = factories.SubjectFactory(brand=brand, kind="article")
    with django_assert_num_queries(0):
        assert readiness_of(article, images_needed=()).state == "ready"


def test_an_engine_that_needs_the_photo_alone_asks_for_no_cut_out(brand: Any, square: Any) -> None:
    photo = factories.ReferencePhotoFactory(subject__brand=brand, width=1500, height=1500)
    assert readiness_of(photo.subject, specs=[square], images_needed=("photo",)).state == "ready"
    assert readiness_of(photo.subject, specs=[square]).state == "look"


def test_removed_photos_count_for_nothing(brand: Any) -> None:
    subject = with_cutout(brand)
    subject.photos.update(status=PhotoStatus.REMOVED)
    assert readiness_of(subject).state == "missing"


def test_two_queries_for_any_number_of_subjects(brand: Any, square: Any) -> None:
    for _ in range(3):
        with_cutout(brand)
    with CaptureQueriesContext(connection) as few:
        readiness.assess(list(Subject.objects.all()[:1]), specs=[square])
    for _ in range(20):
        with_cutout(brand)
    subjects = list(Subject.objects.all())
    with CaptureQueriesContext(connection) as many:
        readiness.assess(subjects, specs=[square])
    assert len(many) == 2 and len(few) <= 3


def test_the_set_based_answer_is_the_same_as_the_single_one(brand: Any, lead: Any) -> None:
    """For two hundred random subjects, the SQL of lists and the sentences of pages always agree."""
    chance = random.Random(5)
    campaigns = [factories.CampaignFactory(brand=brand) for _ in range(3)]
    for campaign, (wide, high) in zip(campaigns, ((2000, 2000), (800, 1600), (300, 300)), strict=True):
        factories.OutputSpecFactory(campaign=campaign, width=wide, height=high)
    for _ in range(200):
        subject = factories.SubjectFactory(brand=brand)
        subject.campaigns.set(chance.sample(campaigns, chance.randint(0, 3)))
        for position in range(chance.randint(0, 3)):
            photo = factories.ReferencePhotoFactory(
                subject=subject,
                position=position,
                role=chance.choice(["front", "angle", "detail"]),
                status=chance.choice(["ready", "ready", "ready", "pending", "refused", "removed"]),
            )
            for accepted in chance.choice([[], [False], [True], [False, True]]):
                side = chance.randint(0, 1400)
                factories.CutoutFactory(
                    photo=photo,
                    is_accepted=accepted,
                    confidence=chance.random(),
                    box=[10, 10, 10 + side, 10 + chance.randint(0, 1400)],
                    accepted_by=chance.choice([None, lead]),
                )
    subjects = list(Subject.objects.filter(brand=brand))
    specs = readiness.specs_by_subject([subject.pk for subject in subjects])
    single = {pk: status.state for pk, status in readiness.assess(subjects, specs=specs).items()}
    listed = {}
    for state in readiness.STATES:
        rows = Subject.objects.filter(pk__in=readiness.ids_sql(brand, "product", state))
        listed |= dict.fromkeys(rows.values_list("pk", flat=True), state)
    assert listed == single and len(set(single.values())) == 4
    counts = readiness.count_by_state(brand, "product")
    assert counts == {state: list(single.values()).count(state) for state in readiness.STATES}
    inside = list(campaigns[0].subjects.all())
    of_one = readiness.assess(inside, specs=list(campaigns[0].output_specs.all()))
    counts = readiness.count_by_state(brand, "product", campaign_id=campaigns[0].pk)
    assert counts == {state: [status.state for status in of_one.values()].count(state) for state in readiness.STATES}
