"""Tests of photos with several separate parts: a badge beside the product, a pair, a set."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from campaigns.models import Cutout
from campaigns.photos import confidence, cutout, intake
from campaigns.services import photos
from tests.support import factories

WALL = (236, 237, 238)
BIG = [("ellipse", (300, 320), (170, 130), (40, 90, 150))]
#: Name -> shapes (kind, centre, half sizes, colour) of photos that must not be accepted automatically.
WITH_BADGE = {
    "a round badge in a corner": [*BIG, ("ellipse", (520, 90), (60, 60), (200, 30, 30))],
    "a price label": [*BIG, ("box", (90, 540), (70, 30), (230, 190, 20))],
    "a small logo": [*BIG, ("box", (540, 545), (32, 20), (20, 20, 20))],
    "two badges": [*BIG, ("ellipse", (520, 90), (50, 50), (200, 30, 30)), ("box", (80, 80), (45, 30), (20, 120, 40))],
    "a badge as wide as the product": [*BIG, ("box", (300, 80), (170, 35), (200, 30, 30))],
    "a cup with its spoon": [*BIG, ("box", (545, 330), (12, 110), (90, 90, 95))],
}
GOLD, LEATHER = (150, 110, 30), (60, 40, 30)
ALIKE = {
    "a pair of earrings": [("ellipse", (x, 300), (80, 150), GOLD) for x in (180, 420)],
    "a pair of shoes": [("box", (300, 200), (200, 70), LEATHER), ("box", (310, 420), (195, 72), LEATHER)],
    "three bowls": [("ellipse", (x, 320), (70, 60), (40, 90, 150)) for x in (110, 300, 490)],
    "four tiles": [("box", (x, y), (90, 90), (160, 60, 40)) for x in (160, 440) for y in (160, 440)],
    "two that differ": [("ellipse", (180, 300), (85, 150), LEATHER), ("ellipse", (430, 300), (78, 140), LEATHER)],
}
SINGLE = {
    "one pot": BIG,
    "a badge on the product": [*BIG, ("ellipse", (350, 300), (50, 50), (200, 30, 30))],
    "a badge that touches it": [*BIG, ("ellipse", (490, 320), (60, 60), (200, 30, 30))],
    "a necklace": [("box", (300, 300), (4, 200), (120, 90, 20)), ("ellipse", (300, 520), (50, 50), (30, 60, 120))],
    "a ring": [("ring", (300, 300), (170, 170), (150, 110, 30))],
}


def painted(shapes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return (pixels on a plain wall, alpha of the shapes)."""
    pixels, alpha = np.full((600, 600, 3), WALL, np.uint8), np.zeros((600, 600), np.uint8)
    for kind, (x, y), (wide, high), colour in shapes:
        for canvas, value in ((pixels, colour), (alpha, 255)):
            if kind == "box":
                cv2.rectangle(canvas, (x - wide, y - high), (x + wide, y + high), value, -1)
            else:
                cv2.ellipse(canvas, (x, y), (wide, high), 0, 0, 360, value, 24 if kind == "ring" else -1, cv2.LINE_AA)
    return pixels, alpha


def files_of(shapes: Any) -> dict[str, bytes]:
    pixels, alpha = painted(shapes)
    files = {}
    for kind, values in (("JPEG", pixels), ("PNG", np.dstack([pixels, alpha]))):
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
        files[kind] = buffer.getvalue()
    return files


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("shapes", WITH_BADGE.values(), ids=list(WITH_BADGE))
def test_a_photo_with_parts_of_different_sizes_is_not_accepted_by_itself(shapes: Any, kind: str) -> None:
    cut = cutout.cut_out(intake.admit(files_of(shapes)[kind]).pixels)
    assert cut.confidence < cutout.AUTO_ACCEPT_CONFIDENCE
    assert f"{len(shapes)} separate parts" in cut.note and "badge" in cut.note


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("shapes", ALIKE.values(), ids=list(ALIKE))
def test_a_photo_with_parts_of_one_size_is_used_and_shown_to_a_person(shapes: Any, kind: str) -> None:
    cut = cutout.cut_out(intake.admit(files_of(shapes)[kind]).pixels)
    assert cutout.AUTO_ACCEPT_CONFIDENCE <= cut.confidence < cutout.LOW_CONFIDENCE
    assert f"{len(shapes)} separate parts of about the same size" in cut.note


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("shapes", SINGLE.values(), ids=list(SINGLE))
def test_a_photo_of_one_part_is_as_sure_as_before(shapes: Any, kind: str) -> None:
    cut = cutout.cut_out(intake.admit(files_of(shapes)[kind]).pixels)
    assert "separate parts" not in cut.note
    assert kind == "JPEG" or (cut.confidence, cut.note) == (1.0, "")


@pytest.mark.parametrize("scale", [1, 3, 8])
def test_parts_are_counted_alike_at_every_size(scale: int) -> None:
    alpha = painted(WITH_BADGE["a price label"])[1]
    large = cv2.resize(alpha, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    cap = confidence.confidence_cap(large)
    assert cap is not None and "2 separate parts" in cap[1]
    thin = painted(SINGLE["a necklace"])[1]
    assert confidence.confidence_cap(cv2.resize(thin, None, fx=scale, fy=scale)) is None


def test_dust_is_no_part() -> None:
    alpha = painted(BIG)[1]
    alpha[::40, ::40] = 255
    assert confidence.confidence_cap(alpha) is None
    assert confidence.confidence_cap(np.zeros((20, 20), np.uint8)) is None


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_badge_is_reported_beside_the_photo_also_when_the_file_is_known(kind: str, brand: Any, lead: Any) -> None:
    data = files_of(WITH_BADGE["a round badge in a corner"])[kind]
    for _ in range(2):
        subject = factories.SubjectFactory(brand=brand)
        photo = photos.attach(subject_id=subject.pk, data=data, file_name="pot.jpg", by=lead)
        cut = Cutout.objects.get(photo=photo)
        assert not cut.is_accepted and cut.note in photo.notes
        assert sum("separate parts" in note for note in photo.notes) == 1
        assert not any("much alike" in note for note in photo.notes)


@pytest.mark.django_db
def test_a_cut_out_of_an_older_algorithm_is_not_used_for_the_same_file_again(brand: Any, lead: Any) -> None:
    data = files_of(WITH_BADGE["a round badge in a corner"])["JPEG"]
    first = photos.attach(subject_id=factories.SubjectFactory(brand=brand).pk, data=data, file_name="a.jpg", by=lead)
    Cutout.objects.filter(photo=first).update(algorithm=3, confidence=1.0, note="")
    again = photos.attach(subject_id=factories.SubjectFactory(brand=brand).pk, data=data, file_name="a.jpg", by=lead)
    assert not Cutout.objects.get(photo=again).is_accepted
