"""Test that each factory makes rows that the database accepts, twice, within one brand."""

from __future__ import annotations

import inspect

import pytest
from factory.django import DjangoModelFactory

from tests.support import factories

ALL = [
    item
    for _, item in inspect.getmembers(factories, inspect.isclass)
    if issubclass(item, DjangoModelFactory) and item is not DjangoModelFactory
]


@pytest.mark.django_db
@pytest.mark.parametrize("made_by", ALL, ids=lambda item: item.__name__)
def test_a_factory_makes_two_rows_that_the_database_accepts(made_by: type[DjangoModelFactory]) -> None:
    first, second = made_by(), made_by()
    assert first.pk != second.pk


@pytest.mark.django_db
def test_everything_under_a_delivery_belongs_to_one_brand() -> None:
    delivery = factories.DeliveryFactory()
    asset = delivery.asset
    brands = {
        asset.brand_id,
        asset.campaign.brand_id,
        asset.subject.brand_id,
        asset.cell.run.campaign.brand_id,
        asset.cell.run.prompt_version.template.brand_id,
        delivery.version.master.brand_id,
        delivery.destination.brand_id,
    }
    assert brands == {asset.brand_id}
