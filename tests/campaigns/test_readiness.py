"""What is said about a subject's photos before anything is made of them, for one and for ten thousand."""

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


def judged(subject: Subject, **options: Any) -> readiness.Readiness:
    return readiness.of([subject], **options)[subject.pk]


def with_cutout(brand: Any, box: tuple[int, int, int, int] = (12, 12, 1012, 1012), **options: Any) -> Subject:
    photo = factories.ReferencePhotoFactory(subject__brand=brand)
    factories.CutoutFactory(photo=photo, box=list(box), **options)
    return photo.subject


def test_a_sharp_photo_with_a_sure_cut_out_is_ready(brand: Any, square: Any) -> None:
    found = judged(with_cutout(brand, (0, 0, 1200, 1200)), specs=[square])
    assert (found.state, found.word, found.findings, found.roles) == ("ready", "ready", (), ("front",))
    assert found.is_ready and found.cutout_id and found.confidence == 1.0


def test_a_subject_without_photo_says_what_to_do(brand: Any) -> None:
    found = judged(factories.SubjectFactory(brand=brand))
    assert found.state == "missing" and "drop one" in found.findings[0]


def test_a_photo_that_is_awaited_is_told_from_one_that_was_refused(brand: Any) -> None:
    awaited = factories.ReferencePhotoFactory(subject__brand=brand, status=PhotoStatus.PENDING)
    refused = factories.ReferencePhotoFactory(
        subject__brand=brand, status=PhotoStatus.REFUSED, source="mug.gif", notes=["This is no JPEG."]
    )
    found = readiness.of([awaited.subject, refused.subject])
    assert found[awaited.subject_id].waiting == 1 and "not here yet" in found[awaited.subject_id].findings[0]
    assert "mug.gif was refused: This is no JPEG." in found[refused.subject_id].findings[0]
    assert found[refused.subject_id].refused[0].source == "mug.gif"


def test_a_doubtful_cut_out_wants_a_look_until_a_person_accepts_it(brand: Any, lead: Any) -> None:
    doubtful = with_cutout(brand, confidence=0.42)
    assert judged(doubtful).state == "look" and "42%" in judged(doubtful).findings[0]
    doubtful.photos.get().cutouts.update(accepted_by=lead)
    assert judged(doubtful).state == "ready"


def test_a_cut_out_that_is_not_accepted_or_not_there_wants_a_look(brand: Any) -> None:
    rejected = with_cutout(brand, is_accepted=False, confidence=0.2)
    bare = factories.ReferencePhotoFactory(subject__brand=brand).subject
    found = readiness.of([rejected.pk, bare.pk])
    assert [found[pk].state for pk in (rejected.pk, bare.pk)] == ["look", "look"]
    assert "not accepted (20% sure)" in found[rejected.pk].findings[0] and "no cut-out" in found[bare.pk].findings[0]
    assert found[rejected.pk].cutout_id is None


def test_too_small_is_said_with_the_spec_and_the_numbers(brand: Any, square: Any) -> None:
    subject = with_cutout(brand, (100, 100, 500, 500))
    found = judged(subject, specs=[square])
    assert found.state == "small" and found.small[0].times == pytest.approx(0.82 * 2000 / 400)
    sentence = found.findings[0]
    for part in ("amazon-main (2000 × 2000 px)", "400 × 400 px", "1640 × 1640 px", "4.1 times", "1093 px"):
        assert part in sentence
    assert judged(subject, specs=[square], fill=0.2).state == "ready"


def test_an_engine_that_needs_no_photo_makes_every_subject_ready(brand: Any, django_assert_num_queries: Any) -> None:
    article = factories.SubjectFactory(brand=brand, kind="article")
    with django_assert_num_queries(0):
        assert judged(article, images_needed=()).state == "ready"


def test_an_engine_that_needs_the_photo_alone_asks_for_no_cut_out(brand: Any, square: Any) -> None:
    photo = factories.ReferencePhotoFactory(subject__brand=brand, width=1500, height=1500)
    assert judged(photo.subject, specs=[square], images_needed=("photo",)).state == "ready"
    assert judged(photo.subject, specs=[square]).state == "look"


def test_removed_photos_count_for_nothing(brand: Any) -> None:
    subject = with_cutout(brand)
    subject.photos.update(status=PhotoStatus.REMOVED)
    assert judged(subject).state == "missing"


def test_two_queries_for_any_number_of_subjects(brand: Any, square: Any) -> None:
    for _ in range(3):
        with_cutout(brand)
    with CaptureQueriesContext(connection) as few:
        readiness.of(list(Subject.objects.all()[:1]), specs=[square])
    for _ in range(20):
        with_cutout(brand)
    subjects = list(Subject.objects.all())
    with CaptureQueriesContext(connection) as many:
        readiness.of(subjects, specs=[square])
    assert len(many) == 2 and len(few) <= 3


def test_the_set_based_answer_is_the_same_as_the_single_one(brand: Any, lead: Any) -> None:
    """Two hundred random subjects: the SQL of lists and the sentences of pages never disagree."""
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
    single = {pk: one.state for pk, one in readiness.of(subjects, specs=specs).items()}
    told = {}
    for state in readiness.STATES:
        rows = Subject.objects.filter(pk__in=readiness.ids(brand, "product", state))
        told |= dict.fromkeys(rows.values_list("pk", flat=True), state)
    assert told == single and len(set(single.values())) == 4
    counts = readiness.counts(brand, "product")
    assert counts == {state: list(single.values()).count(state) for state in readiness.STATES}
    inside = list(campaigns[0].subjects.all())
    of_one = readiness.of(inside, specs=readiness.specs_of(campaigns[0].pk))
    counts = readiness.counts(brand, "product", campaign_id=campaigns[0].pk)
    assert counts == {state: [one.state for one in of_one.values()].count(state) for state in readiness.STATES}
