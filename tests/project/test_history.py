"""Test the example's earlier campaign: made by the real services, dated weeks ago, consistent with its images."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from django.utils import timezone

from campaigns.models import Campaign, Subject
from campaigns.services import archives, imports
from core import clock
from core.models import Event, User
from core.services import audit
from examples import history, loading
from generation.models import Asset, AssetVersion, Endpoint, LedgerEntry
from review.models import Decision, Delivery

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    with clock.at(history.campaign_start()):
        example = loading.load_all(delivered_to=tmp_path)[0]
        imports.import_feed(brand=example.brand, file=example.feed, file_name="products.csv", by=example.owner)
        archives.attach_folder(brand=example.brand, folder=example.photos, by=example.owner)
    people = {role: User.objects.get(username=example.login_of(role)) for role in history.ROLES}
    return history.make(brand=example.brand, people=people, endpoint=Endpoint.objects.get(slug="packshot"))


def test_six_weeks_of_history_are_true_to_their_images(campaign: Campaign, tmp_path: Path) -> None:
    _first_looks(campaign)
    _reasons(campaign)
    _trail(campaign)
    _files(campaign, tmp_path)
    assert campaign.is_example_history
    assert AssetVersion.objects.filter(asset__campaign=campaign).count() == 90


def _first_looks(campaign: Campaign) -> None:
    first = Decision.objects.filter(task__asset__campaign=campaign, version__round=1)
    pairs = first.values_list("version__job__run__prompt_version__number", "kind")
    assert Counter(pairs) == {
        (1, "approved"): 22,  # 61 %
        (1, "rejected"): 10,
        (1, "needs_revision"): 4,
        (2, "approved"): 44,  # 88 %
        (2, "rejected"): 6,
    }


def _reasons(campaign: Campaign) -> None:
    """Check that each decision has the reason that its image really shows, and an approval has none."""
    for decision in Decision.objects.filter(task__asset__campaign=campaign).select_related("version__master", "reason"):
        subject = Subject.objects.get(assets=decision.task.asset_id)
        reason, _ = history.find_objection(subject, decision.version)
        assert (decision.reason.code if decision.reason else "") == reason
    objections = Decision.objects.filter(task__asset__campaign=campaign).exclude(reason=None)
    assert set(objections.values_list("reason__code", flat=True)) == {"off-brand", "wrong-colour", "wrong-product"}


def _trail(campaign: Campaign) -> None:
    assert audit.verify(campaign.brand).is_intact
    times = list(Event.objects.filter(brand=campaign.brand).order_by("seal__seq").values_list("at", flat=True))
    # Concurrent events are sealed in the order in which they were written, seconds later on a busy machine.
    assert all(later - earlier > -timedelta(minutes=1) for earlier, later in pairwise(times))
    assert times[-1] < timezone.now() - timedelta(days=7)
    assert campaign.budget == 6
    assert LedgerEntry.objects.filter(campaign=campaign, kind="settle").count() == 90


def _files(campaign: Campaign, tmp_path: Path) -> None:
    approved = Asset.objects.filter(campaign=campaign, state="approved").count()
    assert approved == 70
    assert Delivery.objects.filter(asset__campaign=campaign, observed="present").count() == approved
    assert len(list((tmp_path / "kilnmoor").rglob("*.jp*g"))) == approved
