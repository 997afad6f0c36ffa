"""Test that a copy of a file with a visible label leads back to its image, which has no label itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from campaigns.visible_labels import CORNERS, Label
from core.models import Brand, User
from generation.finishing.labels import draw_label
from review.selectors import found_images as finder
from tests.support import factories, found_images, found_masters

pytestmark = pytest.mark.django_db

NUMBERS = [0, 4, 8, 9, 16]
SIZE = found_images.SIDE


def add_spec(brand: Brand, label: Label) -> None:
    fields = {"label_text": label.text, "label_corner": label.corner, "label_percent": label.percent}
    factories.OutputSpecFactory(campaign__brand=brand, width=SIZE, height=SIZE, **fields)


def find(number: int, label: Label, change: Any, viewer: User, *, is_foreign: bool = False) -> list[int]:
    labelled = draw_label(found_images.make(number, is_foreign=is_foreign), label)
    match = finder.find_lineage(change(labelled, np.random.default_rng(number)), user=viewer)
    return [found.version.pk for found in match.found] if match else []


@pytest.mark.parametrize("name", found_images.CHANGES)
def test_changed_copies_with_a_label_are_found(brand: Brand, viewer: User, name: str) -> None:
    change, _aim = found_images.CHANGES[name]
    versions = found_masters.create_versions(brand, NUMBERS)
    for place, number in enumerate(NUMBERS):
        label = Label("AI-generated", CORNERS[place % 4], 6)
        add_spec(brand, label)
        assert versions[number] in find(number, label, change, viewer), f"image {number}"


def test_strangers_with_the_same_label_are_not_found(brand: Brand, viewer: User) -> None:
    found_masters.create_versions(brand, NUMBERS)
    label = Label("AI-generated", percent=6)
    add_spec(brand, label)
    for number in range(12):
        assert not find(number, label, found_images.lower_quality, viewer, is_foreign=True)


def test_a_label_that_no_output_spec_has_is_a_change_of_the_image(brand: Brand, viewer: User) -> None:
    found_masters.create_versions(brand, [8])
    assert not find(8, Label("AI-generated", percent=12), found_images.lower_quality, viewer)
