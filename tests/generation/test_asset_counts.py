"""Test that the kept counts of assets follow every change, and what folding and rebuilding do to them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import F, Value

from core import counts
from generation.choices import AssetState
from generation.models import ANY_CHECK, Asset, AssetCount, AssetProblem, Finding
from tests.support import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def assets(brand: Any) -> list[Asset]:
    """Six assets in review with a version each; the checks of every second one found something."""
    made = [factories.AssetFactory(brand=brand, state=AssetState.IN_REVIEW) for _ in range(6)]
    for number, asset in enumerate(made):
        outcome = "flag" if number % 2 else "pass"
        version = factories.AssetVersionFactory(asset=asset, worst_outcome=outcome)
        Finding.objects.create(version=version, check_name="blank", outcome=outcome, message="")
        Finding.objects.create(version=version, check_name="size", outcome="pass", message="")
        Asset.objects.filter(pk=asset.pk).update(current_version=version)
    return made


def _by_state(**lookups: Any) -> dict[str, int]:
    return dict(AssetCount.objects.filter(**{"check_name": "", **lookups}).sums("state"))


def _ensure_right() -> None:
    assert counts.find_differences(AssetCount) == []
    findings = Finding.objects.exclude(outcome="pass")
    expected = {
        *findings.filter(version__asset__current_version=F("version")).values_list("version__asset_id", "check_name"),
        *Asset.objects.exclude(current_version__worst_outcome="pass").values_list("pk", Value(ANY_CHECK)),
    }
    assert set(AssetProblem.objects.values_list("asset_id", "check_name")) == expected


def test_counts_follow_changes_of_many_assets(assets: list[Asset]) -> None:
    Asset.objects.filter(pk__in=[asset.pk for asset in assets[:4]]).update(state=AssetState.APPROVED)
    assert _by_state() == {"approved": 4, "in_review": 2}
    assert _by_state(check_name="blank") == _by_state(check_name="any") == {"approved": 2, "in_review": 1}
    assert _by_state(check_name="size") == {}
    _ensure_right()


def test_a_rollback_takes_the_counts_back(assets: list[Asset]) -> None:
    with transaction.atomic():
        Asset.objects.update(state=AssetState.REJECTED)
        assert _by_state() == {"rejected": 6}
        transaction.set_rollback(True)
    assert _by_state() == {"in_review": 6}


def test_findings_of_current_versions_count(assets: list[Asset]) -> None:
    version_id = Asset.objects.get(pk=assets[0].pk).current_version_id
    Finding.objects.create(version_id=version_id, check_name="late", outcome="fail", message="")
    assert _by_state(check_name="late") == {"in_review": 1}
    Finding.objects.filter(check_name="late").update(outcome="pass")
    assert _by_state(check_name="late") == {}
    Finding.objects.filter(check_name="blank").delete()
    assert _by_state(check_name="blank") == {}
    _ensure_right()


def test_another_current_version_counts_with_its_findings(assets: list[Asset]) -> None:
    asset = assets[1]
    version = factories.AssetVersionFactory(asset=asset, round=2)
    Asset.objects.filter(pk=asset.pk).update(current_version=version)
    assert _by_state(check_name="blank") == {"in_review": 2}
    _ensure_right()


def test_folding_leaves_the_same_sums_in_fewer_rows(assets: list[Asset]) -> None:
    Asset.objects.filter(pk__in=[asset.pk for asset in assets[:3]]).update(state=AssetState.APPROVED)
    before = AssetCount.objects.sums(*AssetCount.keys)
    assert counts.fold(AssetCount) > 0
    assert AssetCount.objects.sums(*AssetCount.keys) == before
    assert AssetCount.objects.count() == len(before)
    assert counts.fold(AssetCount) == 0


def test_verify_finds_a_wrong_count_and_rebuild_mends_it(
    assets: list[Asset], capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("counters", "verify")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE generation_assetcount SET number = number + 1 WHERE check_name = 'blank'")
    with pytest.raises(CommandError, match="counters rebuild"):
        call_command("counters", "verify")
    assert "blank" in capsys.readouterr().out
    call_command("counters", "rebuild")
    call_command("counters", "verify")
    assert _by_state() == {"in_review": 6}
