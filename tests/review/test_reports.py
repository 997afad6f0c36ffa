"""Tests of reports: the funnel, first looks by prompt version and axis value, money, refusals; the page and its CSV."""

from __future__ import annotations

import csv
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from generation.choices import LedgerKind
from generation.models import Asset, LedgerEntry
from review.selectors import reports
from review.services import decisions
from review.views.reports import funnel_steps
from tests.support import factories
from tests.support.images_in_review import add_default_reasons, create_image_in_review, decision_arguments

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign(brand: Any, manager: Any, lead: Any) -> Any:
    add_default_reasons(brand, lead)
    return factories.CampaignFactory(brand=brand, owner=manager)


@pytest.fixture
def run(campaign: Any, manager: Any) -> Any:
    return factories.RunFactory(
        campaign=campaign, requested_by=manager, released_at=timezone.now() - timedelta(hours=2), quoted_cost=Decimal(9)
    )


@pytest.fixture
def decided_tasks(brand: Any, run: Any, reviewer: Any) -> dict[str, Any]:
    """Make five images of one run: approved at first look, approved after revision, rejected, undecided, not made."""
    first, second, bad, waiting = (create_image_in_review(brand, run=run) for _ in range(4))
    decisions.approve(by=reviewer, **decision_arguments(first))
    sent_back = decisions.request_revision(
        by=reviewer, reason="wrong-colour", controls={"fill": 0.6}, note="smaller", **decision_arguments(second)
    )
    decisions.reject(by=reviewer, reason="artefact", **decision_arguments(bad))
    _next_round(second)
    second.refresh_from_db()
    decisions.approve(by=reviewer, **decision_arguments(second, second.asset.versions.get(round=2)))
    cell = factories.CellFactory(run=run)
    factories.AssetFactory(cell=cell, state="failed")
    for job in list(run.jobs.filter(status="succeeded"))[:4]:
        LedgerEntry.objects.create(
            campaign=run.campaign, run=run, job=job, kind=LedgerKind.SETTLE, amount=Decimal("1.50")
        )
    return {"first": first, "second": second, "bad": bad, "waiting": waiting, "sent_back": sent_back}


def _next_round(task: Any) -> None:
    """Carry out a request for changes and make the next version, as the worker does."""
    from django.db import transaction

    from generation.services.images import assets
    from review.services import queue

    asset = task.asset
    Asset.objects.filter(pk=asset.pk).update(round=2)
    asset.refresh_from_db()
    cell = asset.cell
    frozen = factories.JobSpecFactory(job=factories.JobFactory(run=cell.run, cell=cell, status="succeeded"), round=2)
    version = factories.AssetVersionFactory(asset=asset, round=2, candidate=1, job=frozen.job)
    with transaction.atomic():
        locked = assets.lock(asset.pk)
        locked.current_version = version
        assets.move(locked, "in_review", label="test")
        queue.open_task(asset=locked)


def test_the_funnel_distinguishes_first_looks_from_revisions(run: Any, decided_tasks: Any) -> None:
    counts = reports.report([run]).total.counts
    assert (counts.requested, counts.made, counts.passed_checks, counts.decided) == (5, 4, 4, 3)
    assert (counts.approved_at_first_look, counts.approved_after_revision, counts.approved, counts.rejected) == (
        1,
        1,
        2,
        1,
    )
    assert (counts.waiting, counts.failed, counts.delivered) == (1, 1, 0)
    assert counts.first_look_percent == pytest.approx(33.33, abs=0.01)


def test_an_undone_decision_is_not_counted(run: Any, decided_tasks: Any, reviewer: Any) -> None:
    decision = decided_tasks["bad"].decisions.get()
    decisions.undo(decision_id=decision.pk, by=reviewer)
    decisions.approve(by=reviewer, **decision_arguments(decided_tasks["bad"]))
    counts = reports.report([run]).total.counts
    assert (counts.approved_at_first_look, counts.rejected, counts.decided) == (2, 0, 3)


def test_a_delivered_image_is_counted_once_however_many_places_have_it(run: Any, decided_tasks: Any) -> None:
    asset = decided_tasks["first"].asset
    for _ in range(2):
        factories.DeliveryFactory(asset=asset, version=asset.versions.get(), observed="present")
    factories.DeliveryFactory(asset=decided_tasks["second"].asset, observed="failed")
    assert reports.report([run]).total.counts.delivered == 1


def test_money_is_per_approved_image(run: Any, decided_tasks: Any) -> None:
    total = reports.report([run]).total
    assert (total.money.quoted, total.money.spent, total.money.reserved) == (9, 6, 0)
    assert total.cost_per_approved == Decimal(3)


def test_refusals_are_grouped_by_reason_with_images(run: Any, decided_tasks: Any) -> None:
    by_reason = {refusal.reason: refusal for refusal in reports.report([run]).refusal_reasons}
    assert len(by_reason) == 2
    rejected = next(refusal for refusal in by_reason.values() if refusal.rejected)
    assert (rejected.count, rejected.sent_back) == (1, 0)
    assert rejected.examples == [[decided_tasks["bad"].asset.versions.get().pk, decided_tasks["bad"].asset_id, ""]]


def test_prompt_versions_of_a_campaign_are_compared(campaign: Any, run: Any, decided_tasks: Any, brand: Any, reviewer: Any, manager: Any) -> None:  # fmt: skip # noqa: E501
    better = factories.PromptVersionFactory(template=run.prompt_version.template)
    second = factories.RunFactory(campaign=campaign, prompt_version=better, released_at=timezone.now())
    task = create_image_in_review(brand, run=second)
    decisions.approve(by=reviewer, **decision_arguments(task))
    factories.RunFactory(campaign=campaign, stage="sandbox", released_at=timezone.now())
    report = reports.report(reports.reported_runs(user=manager, campaign=campaign))
    assert {part.version.number: part.counts.first_look_percent for part in report.versions} == {
        run.prompt_version.number: pytest.approx(100 / 3),
        better.number: 100.0,
    }
    assert [part.run for part in report.runs] == [second, run]
    assert report.total.counts.requested == 6
    assert sum(week.decided for week in report.weeks) == 4


def test_axis_values_are_compared_when_there_are_several(
    run: Any, decided_tasks: Any, brand: Any, reviewer: Any
) -> None:
    assert reports.report([run]).values == {}
    task = create_image_in_review(brand, run=run)
    type(task.asset.cell).objects.filter(pk=task.asset.cell_id).update(
        axis_values={"backdrop": "sage"}, values_key='{"backdrop":"sage"}'
    )
    decisions.approve(by=reviewer, **decision_arguments(task))
    [parts] = reports.report([run]).values.values()
    assert {part.name: part.counts.first_look_percent for part in parts}["sage"] == 100.0


def test_times_are_medians_in_seconds(run: Any, decided_tasks: Any) -> None:
    job = run.jobs.filter(status="succeeded").first()
    start = run.released_at + timedelta(seconds=30)
    factories.generation.Attempt.objects.create(
        job=job, number=1, lease_token="00000000-0000-0000-0000-000000000001", endpoint=run.endpoint, worker="w",
        outcome="succeeded", started_at=start, ended_at=start + timedelta(seconds=4),
    )  # fmt: skip
    times = reports.report([run]).times
    assert (times.queue, times.making) == (30.0, 4.0)
    assert times.review is not None
    assert 0 <= times.review < 60


def test_a_report_costs_the_same_however_many_images(run: Any, decided_tasks: Any, brand: Any, reviewer: Any) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as caught:
            reports.report([run])
        return len(caught)

    few = queries()
    for _ in range(4):
        decisions.reject(by=reviewer, reason="artefact", **decision_arguments(create_image_in_review(brand, run=run)))
    assert queries() == few <= 10


def test_a_report_without_images_says_what_will_stand_there(campaign: Any, viewer: Any, page_client: Any) -> None:
    page = page_client(viewer).get(f"/brands/{campaign.brand.slug}/reports/campaigns/{campaign.slug}/")
    assert b"Nothing to report yet" in page.content


def test_the_page_shows_the_sentence_and_the_funnel(
    run: Any, decided_tasks: Any, viewer: Any, page_client: Any
) -> None:
    page = page_client(viewer).get(f"/brands/{run.campaign.brand.slug}/reports/runs/{run.pk}/")
    words = page.content.decode()
    assert page.status_code == 200
    assert "<b>33 %</b> passed at first look" in words
    assert 'aria-label="Funnel: 5 asked for, 4 made, 4 passed checks, 2 approved, 0 delivered"' in words
    assert "Who decided" not in words, "a viewer has no business with who decided how often"


def test_people_are_listed_for_those_who_may_read_the_trail(
    run: Any, decided_tasks: Any, lead: Any, page_client: Any
) -> None:
    page = page_client(lead).get(f"/brands/{run.campaign.brand.slug}/reports/runs/{run.pk}/")
    assert "Who decided" in page.content.decode()
    [person] = page.context["report"].people
    assert (person.approved, person.rejected, person.sent_back) == (2, 1, 1)


def test_the_table_has_one_row_per_image(run: Any, decided_tasks: Any, viewer: Any, page_client: Any) -> None:
    answer = page_client(viewer).get(f"/brands/{run.campaign.brand.slug}/reports/runs/{run.pk}/?format=csv")
    rows = list(csv.DictReader(answer.getvalue().decode("utf-8-sig").splitlines()))
    assert len(rows) == 5
    first = next(row for row in rows if row["sku"] == decided_tasks["first"].asset.subject.key)
    assert (first["state"], first["approved at first look"], first["values"]) == ("approved", "yes", "backdrop clay")
    assert first["prompt"].endswith(f" v{run.prompt_version.number}")


def test_a_report_of_another_brand_does_not_exist(run: Any, other_brand: Any, person: Any, page_client: Any) -> None:
    stranger = page_client(person("admin", brand=other_brand))
    assert stranger.get(f"/brands/{run.campaign.brand.slug}/reports/runs/{run.pk}/").status_code == 404
    assert stranger.get(f"/brands/{other_brand.slug}/reports/runs/{run.pk}/").status_code == 404


def test_bars_of_the_funnel_are_shares_of_what_was_asked_for() -> None:
    steps = funnel_steps(
        reports.ImageCounts(
            requested=200,
            made=150,
            passed_checks=100,
            approved_at_first_look=50,
            approved_after_revision=30,
            delivered=20,
        )
    )
    assert [round(step["height"]) for step in steps] == [100, 75, 50, 40, 10]
    assert [step["count"] for step in steps] == [200, 150, 100, 80, 20]
    assert steps[3]["inner"] == 25
    assert funnel_steps(reports.ImageCounts())[0]["height"] == 0
