"""Test the search by parts of words: accents, SKUs, short words, and campaigns."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from campaigns.selectors import search
from generation.models import Asset
from tests.support import factories

pytestmark = pytest.mark.django_db


def _found(brand: Any, text: str) -> set[str]:
    groups = search.find_groups(brand, text)
    by_index = Asset.objects.filter(search.matches(brand, groups), brand=brand)
    few = search.filter_few(Asset.objects.filter(brand=brand), groups)
    assert set(by_index) == set(few)
    return set(by_index.values_list("subject__key", flat=True))


@pytest.fixture
def keys(brand: Any, other_brand: Any) -> None:
    spring = factories.CampaignFactory(brand=brand, name="Frühling 2027")
    for key, name in (
        ("SK-0417", "Sofakissen Öland"),
        ("TB-17", "Teebecher, weiß"),
        ("CAFÉ-3", "Café au lait bowl"),
        ("МГ-5", "Кружка зелёная"),
    ):
        subject = factories.SubjectFactory(brand=brand, key=key, name=name)
        factories.AssetFactory(brand=brand, campaign=spring, subject=subject)
    subject = factories.SubjectFactory(brand=other_brand, key="SK-0417", name="Sofakissen")
    factories.AssetFactory(brand=other_brand, subject=subject)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kissen", {"SK-0417"}),
        ("SOFA oland", {"SK-0417"}),
        ("öland", {"SK-0417"}),
        ("sk-0417", {"SK-0417"}),
        ("0417", {"SK-0417"}),
        ("417", {"SK-0417"}),
        ("17", {"TB-17"}),
        ("weiss", {"TB-17"}),
        ("cafe lait", {"CAFÉ-3"}),
        ("кружка", {"МГ-5"}),
        ("зеленая", {"МГ-5"}),
        ("fruhling becher", {"TB-17"}),
        ("frühling", {"SK-0417", "TB-17", "CAFÉ-3", "МГ-5"}),
        ("sofa teebecher", set()),
        ("vase", set()),
        ("'; DROP", set()),
    ],
)
def test_words_and_parts_of_words_find_products(keys: None, brand: Any, text: str, expected: set[str]) -> None:
    assert _found(brand, text) == expected


def test_a_text_without_words_finds_everything(keys: None, brand: Any) -> None:
    assert _found(brand, "% _") == {"SK-0417", "TB-17", "CAFÉ-3", "МГ-5"}


def test_the_index_finds_the_products(keys: None, brand: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = search.find_subjects(brand, ["kissen"]).values("pk").explain()
    assert "subject_search" in plan
