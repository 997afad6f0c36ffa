"""Test that the disclaimer of an endpoint ("demo model") stands beside each of its images, and beside no other."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from core.choices import Role
from generation.models import Asset, Endpoint, Run
from generation.selectors import coverage, matrix
from review.models import ReviewTask
from review.selectors import lineage, workspace
from review.services import approved_archive, decisions, packages
from tests.support import factories
from tests.support.images_in_review import add_default_reasons, create_image_in_review, decision_arguments

pytestmark = pytest.mark.django_db

DISCLAIMER = "demo model"
BADGE = re.compile(r'<span class="disclaimer[^"]*" title="demo model">demo model</span>')

#: Pages that show an image in review, and how often they show the disclaimer: beside each copy of the image and
#: beside the name of its engine.
PAGES = {
    "": 2,
    "campaigns/{campaign}/": 2,
    "runs/{run}/": 2,
    "runs/{run}/rows/": 1,
    "runs/{run}/cells/{cell}/": 2,
    "runs/{run}/compare/{run}/": 2,
    "prompts/{prompt}/compare/": 2,
    "library/": 1,
    "assets/{asset}/": 2,
    "review/": 1,
    "review/tasks/{task}/rail/": 1,
    "reports/runs/{run}/": 1,
}


@pytest.fixture
def endpoint(db: None) -> Endpoint:
    return factories.EndpointFactory(engine="packshot", disclaimer=DISCLAIMER)


@pytest.fixture
def run(brand: Any, endpoint: Endpoint) -> Run:
    return factories.RunFactory(
        campaign__brand=brand, endpoint=endpoint, released_at=timezone.now(), prompt_version__status="draft"
    )


@pytest.fixture
def task(brand: Any, run: Run) -> ReviewTask:
    made = create_image_in_review(brand, run=run)
    run.campaign.subjects.add(made.asset.subject)
    return made


@pytest.fixture
def address(brand: Any, task: ReviewTask) -> Callable[[str], str]:
    names = {
        "campaign": task.asset.campaign.slug,
        "run": task.asset.cell.run_id,
        "cell": task.asset.cell_id,
        "asset": task.asset_id,
        "task": task.pk,
        "prompt": task.asset.cell.run.prompt_version.template.slug,
    }
    return lambda page: f"/brands/{brand.slug}/{page.format(**names)}"


def badges(client: Any, path: str) -> int:
    answer = client.get(path)
    assert answer.status_code == 200
    return len(BADGE.findall(answer.content.decode()))


@pytest.mark.parametrize("page", PAGES)
def test_the_disclaimer_is_on_every_page_that_shows_the_image(
    page: str, lead: Any, page_client: Any, address: Callable[[str], str]
) -> None:
    assert badges(page_client(lead), address(page)) == PAGES[page]


@pytest.mark.parametrize("page", [*PAGES, "review/workspace/"])
def test_a_packshot_has_no_disclaimer(
    page: str, lead: Any, endpoint: Endpoint, page_client: Any, address: Callable[[str], str]
) -> None:
    Endpoint.objects.update(disclaimer="")
    answer = page_client(lead).get(address(page))
    assert b'class="disclaimer' not in answer.content
    assert DISCLAIMER.encode() not in answer.content


def test_beside_a_packshot_only_the_generated_image_has_it(
    brand: Any, lead: Any, page_client: Any, task: ReviewTask
) -> None:
    create_image_in_review(brand, run=factories.RunFactory(campaign=task.asset.campaign))
    answer = page_client(lead).get(f"/brands/{brand.slug}/library/").content.decode()
    assert answer.count('class="tile"') == 2
    assert len(BADGE.findall(answer)) == 1


def test_every_showing_has_its_own(
    brand: Any, lead: Any, page_client: Any, address: Callable[[str], str], run: Run
) -> None:
    for _ in range(4):
        create_image_in_review(brand, run=run)
    client = page_client(lead)
    assert badges(client, address("library/")) == 5
    assert badges(client, address("runs/{run}/rows/")) == 5
    assert badges(client, address("review/")) == 5


def test_the_workspace_shows_it_with_each_candidate(brand: Any, lead: Any, page_client: Any, run: Run) -> None:
    waiting = create_image_in_review(brand, run=run, candidates=2)
    state = _workspace_state(page_client(lead), brand)
    assert [version["disclaimer"] for version in state["cards"][0]["versions"]] == [DISCLAIMER, DISCLAIMER]
    assert badges(page_client(lead), f"/brands/{brand.slug}/review/tasks/{waiting.pk}/rail/") == 3
    decisions.approve(by=lead, **decision_arguments(waiting))
    assert _workspace_state(page_client(lead), brand)["lately"][0]["disclaimer"] == DISCLAIMER
    assert badges(page_client(lead), f"/brands/{brand.slug}/review/") == 1  # in the list of the last decisions


def _workspace_state(client: Any, brand: Any) -> dict[str, Any]:
    page = client.get(f"/brands/{brand.slug}/review/room/").content.decode()
    match = re.search(r'id="workspace-state"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert match
    state: dict[str, Any] = json.loads(match[1])
    return state


def test_an_earlier_round_has_it_too(brand: Any, lead: Any, task: ReviewTask) -> None:
    add_default_reasons(brand, lead)
    decisions.request_revision(
        by=lead, reason="wrong-colour", controls={"fill": 0.6}, note="", **decision_arguments(task)
    )
    ReviewTask.objects.filter(pk=task.pk).update(round=2, state="open")
    assert workspace.task_cards(workspace.load_tasks([task.pk]))[0]["earlier"][0]["disclaimer"] == DISCLAIMER


def test_refused_images_in_a_report_have_it(
    brand: Any, lead: Any, page_client: Any, task: ReviewTask, address: Callable[[str], str]
) -> None:
    add_default_reasons(brand, lead)
    decisions.reject(by=lead, reason="artefact", **decision_arguments(task))
    client = page_client(lead)
    assert badges(client, address("reports/runs/{run}/")) == 2
    assert badges(client, address("reports/campaigns/{campaign}/")) == 1


def test_try_outs_and_the_last_image_of_a_prompt_have_it(
    brand: Any, designer: Any, page_client: Any, endpoint: Endpoint, run: Run
) -> None:
    Run.objects.update(stage="sandbox")
    made = create_image_in_review(brand, run=run, is_sandbox=True)
    version = run.prompt_version
    path = f"/brands/{brand.slug}/prompts/{version.template.slug}/v{version.number}/"
    page = page_client(designer).get(f"{path}?subject={made.asset.subject_id}").content.decode()
    assert len(BADGE.findall(page)) == 2
    assert f"{endpoint.name} ({DISCLAIMER})" in page  # where engines are chosen


def test_a_delivery_of_it_has_it(brand: Any, lead: Any, page_client: Any, task: ReviewTask) -> None:
    version = task.asset.versions.get()
    destination = factories.DestinationFactory(brand=brand)
    factories.DeliveryFactory(asset=task.asset, version=version, destination=destination)
    assert badges(page_client(lead), f"/brands/{brand.slug}/deliveries/") == 1


def test_a_retouched_image_keeps_the_disclaimer_of_its_run(run: Run) -> None:
    asset = factories.AssetFactory(cell=factories.CellFactory(run=run), state="in_review")
    version = factories.AssetVersionFactory(asset=asset, job=None, source="retouched")
    Asset.objects.filter(pk=asset.pk).update(current_version=version)
    run.campaign.subjects.add(asset.subject)
    assert version.disclaimer == DISCLAIMER
    assert matrix.rows(run)[0].cells[0].disclaimer == DISCLAIMER
    assert [row.disclaimer for row in coverage.load_rows(run.campaign, [], [asset.subject])] == [DISCLAIMER]


def _viewer(run: Run) -> Any:
    return factories.MembershipFactory(brand=run.campaign.brand, role=Role.VIEWER).user


def test_the_disclaimer_is_exported_with_the_files(brand: Any, lead: Any, task: ReviewTask) -> None:
    decisions.approve(by=lead, **decision_arguments(task))
    package = packages.load_approved_asset(task.asset.versions.get().pk)
    assert lineage.lineage(package.version, package.approval)["disclaimer"] == DISCLAIMER
    chunks = b"".join(approved_archive.start(user=lead, brand=brand, assets=Asset.objects.all()).chunks)
    assert _manifest(chunks)[0]["disclaimer"] == DISCLAIMER
    Endpoint.objects.update(disclaimer="")
    package = packages.load_approved_asset(task.asset.versions.get().pk)
    assert "disclaimer" not in lineage.lineage(package.version, package.approval)


def _manifest(archive: bytes) -> list[dict[str, str]]:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return list(csv.DictReader(io.StringIO(opened.read("manifest.csv").decode("utf-8-sig"))))


def test_the_api_includes_the_disclaimer(api_client: Any, lead: Any, task: ReviewTask) -> None:
    shown = api_client(lead).get(f"/api/v1/assets/{task.asset_id}/").json()
    assert shown["current_version"]["disclaimer"] == DISCLAIMER


@pytest.mark.parametrize("page", ["library/", "runs/{run}/rows/", "campaigns/{campaign}/", "review/"])
def test_the_disclaimer_costs_no_query_of_its_own(
    page: str, brand: Any, lead: Any, page_client: Any, run: Run, address: Callable[[str], str]
) -> None:
    client = page_client(lead)
    client.get(address(page))
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            client.get(address(page))
        counts.append(len(queries))
        for _ in range(5):
            made = create_image_in_review(brand, run=run, specs=[])
            run.campaign.subjects.add(made.asset.subject)
    assert counts[0] == counts[1]
