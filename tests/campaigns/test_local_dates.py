"""Tests that `{date}` in file names is the date of the approval in the brand's time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.urls import reverse

from core.errors import Conflict, Invalid, NotAllowed
from core.models import Brand, Event, User
from core.services import brands
from generation.models import Rendition
from review.models import Decision
from review.services import decisions, packages
from tests.support.images_in_review import create_image_in_review, decision_arguments

LATE, EARLY = datetime(2026, 11, 29, 23, 30, tzinfo=UTC), datetime(2026, 11, 29, 2, 0, tzinfo=UTC)
NEW_YEAR = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
SUMMER, WINTER = datetime(2026, 7, 1, 22, 30, tzinfo=UTC), datetime(2026, 1, 1, 22, 30, tzinfo=UTC)


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create_superuser("operator", email="operator@example.com")


@pytest.mark.django_db
def test_a_file_is_named_by_the_date_of_its_brand(brand: Any, lead: Any) -> None:
    task = create_image_in_review(brand)
    decisions.approve(**decision_arguments(task), by=lead)
    approval = Decision.objects.get()
    rendition = Rendition.objects.filter(version=approval.version).first()
    assert rendition is not None
    rendition.output_spec.name_pattern = "{sku}_{date}"
    for zone, moment, day in [
        ("Europe/Berlin", LATE, "20261130"),
        ("America/Los_Angeles", EARLY, "20261128"),
        ("Asia/Tokyo", NEW_YEAR, "20270101"),
        ("Europe/London", SUMMER, "20260701"),
        ("", LATE, "20261129"),
    ]:
        brands.change(brand_id=brand.pk, time_zone=zone, by=lead)
        version = approval.version
        version.asset.brand = Brand.objects.get(pk=brand.pk)
        approval.decided_at = moment
        assert packages.file_name(version, rendition, approval).rpartition(".")[0].endswith(day)


@pytest.mark.parametrize(
    ("zone", "moment", "day"),
    [
        ("Europe/Berlin", SUMMER, "2026-07-02"),
        ("Europe/Berlin", WINTER, "2026-01-01"),
        ("Pacific/Kiritimati", EARLY, "2026-11-29"),
        ("Pacific/Kiritimati", LATE, "2026-11-30"),
        ("Pacific/Pago_Pago", EARLY, "2026-11-28"),
        ("Asia/Kathmandu", datetime(2026, 11, 29, 18, 20, tzinfo=UTC), "2026-11-30"),
        ("UTC", NEW_YEAR, "2026-12-31"),
    ],
)
def test_a_brand_has_the_date_of_its_time_zone(zone: str, moment: datetime, day: str) -> None:
    assert Brand(time_zone=zone).local_date(moment).isoformat() == day


@pytest.mark.django_db
@pytest.mark.parametrize(("zone", "day"), [("Asia/Tokyo", "2026-11-30"), ("America/New_York", "2026-11-29")])
def test_a_brand_without_a_time_zone_has_that_of_the_installation(settings: Any, zone: str, day: str) -> None:
    settings.TIME_ZONE = zone
    assert Brand().local_date(LATE).isoformat() == day


@pytest.mark.django_db
@pytest.mark.parametrize("zone", ["Berlin", "Europe/Atlantis", "+02:00", "../../etc/passwd", "europe/berlin ", "\0"])
def test_a_time_zone_that_does_not_exist_is_refused(zone: str, brand: Any, lead: Any, operator: Any) -> None:
    with pytest.raises(Invalid) as refused:
        brands.change(brand_id=brand.pk, time_zone=zone, by=lead)
    assert "Europe/Berlin" in refused.value.problems[0].message
    with pytest.raises(Invalid):
        brands.create_brand(slug="foxglove", name="Foxglove", time_zone=zone, by=operator)
    assert not Event.objects.filter(type="core.brand.time_zone_set").exists()


@pytest.mark.django_db
def test_a_time_zone_is_set_by_people_who_may_edit_the_brand_and_is_recorded_in_the_trail(
    brand: Any, lead: Any, viewer: Any, operator: Any, client: Any
) -> None:
    with pytest.raises(NotAllowed):
        brands.change(brand_id=brand.pk, time_zone="Asia/Tokyo", by=viewer)
    for _ in range(2):
        brands.change(brand_id=brand.pk, time_zone="Asia/Tokyo", by=lead)
    client.force_login(operator)
    address = reverse("admin:core_brand_change", args=[brand.pk])
    assert client.post(address, {"time_zone": "Europe/Berlin"}).status_code == 302
    page = client.post(address, {"time_zone": "Middle-earth/Shire"})
    assert "Europe/Berlin" in page.content.decode() and page.status_code == 200
    events = Event.objects.filter(type="core.brand.time_zone_set").order_by("id")
    assert [event.payload for event in events] == [
        {"before": "", "after": "Asia/Tokyo"},
        {"before": "Asia/Tokyo", "after": "Europe/Berlin"},
    ]
    made = brands.create_brand(slug="foxglove", name="Foxglove", time_zone="Asia/Tokyo", by=operator)
    assert made.time_zone == "Asia/Tokyo"
    with pytest.raises(Conflict):
        brands.create_brand(slug="foxglove", name="Foxglove", by=operator)
