"""Test the run page: the paged matrix, the cost of live updates, causes in cells and groups, and the drawer."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from core.models import Notice, User
from generation.models import Asset, Attempt, Job, Run
from generation.selectors import matrix
from review.services import decisions
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments, packshot_spec

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(brand: Any, manager: User) -> Run:
    return factories.RunFactory(campaign=factories.CampaignFactory(brand=brand, owner=manager), requested_by=manager)


@pytest.fixture
def address(brand: Any, run: Run) -> str:
    return f"/brands/{brand.slug}/runs/{run.pk}/"


def fill(run: Run, subjects: int, *values: str) -> list[Any]:
    """Create cells for this many new subjects with these backdrops, each with its asset and a queued job."""
    made = []
    for _ in range(subjects):
        subject = factories.SubjectFactory(brand=run.campaign.brand)
        for value in values or ("clay",):
            cell = factories.CellFactory(
                run=run, subject=subject, axis_values={"backdrop": value}, values_key=f'{{"backdrop":"{value}"}}'
            )
            factories.AssetFactory(cell=cell)
            frozen = factories.JobSpecFactory(job=factories.JobFactory(run=run, cell=cell), spec=packshot_spec())
            made.append(frozen.job)
    Run.objects.filter(pk=run.pk).update(cell_count=len(made))
    return made


def fail(job: Job, kind: str = "input", message: str = "The cut-out is empty.", status: str = "failed") -> None:
    Job.objects.filter(pk=job.pk).update(status=status, error_kind=kind, error=message)
    Asset.objects.filter(cell_id=job.cell_id).update(state="failed")


def marks(html: str) -> dict[str, str]:
    return dict(re.findall(r'id="cell-(\d+)" data-mark="(\w+)"', html))


def head(html: str) -> str:
    match = re.search(r'id="run-head" data-mark="(\w+)"', html)
    assert match
    return match[1]


# -- the matrix -----------------------------------------------------------------------------------------------------


def test_a_big_matrix_comes_in_pages_without_gaps(run: Run, address: str, viewer: User, page_client: Any) -> None:
    fill(run, 30, "clay", "sage", "charcoal")
    client = page_client(viewer)
    assert len(matrix.load_sheet(run).rows) * 3 <= matrix.CELLS
    everything: list[str] = []
    after = -1
    while True:
        rows = matrix.rows(run, limit=7, after=after)
        everything += [row.key for row in rows]
        if not rows:
            break
        after = rows[-1].place
    assert len(everything) == len(set(everything)) == 30
    page = client.get(address).content.decode()
    assert len(marks(page)) == 90
    assert [colour for colour in ("clay", "sage", "charcoal") if f"<span>{colour}</span>" in page] == [
        "clay", "sage", "charcoal",
    ]  # fmt: skip


def test_the_next_page_of_rows_continues_where_the_first_ended(
    run: Run, address: str, viewer: User, page_client: Any
) -> None:
    fill(run, 70)
    client = page_client(viewer)
    first = client.get(address).content.decode()
    more = re.search(r'data-rows="([^"]+)"', first)
    assert more
    second = client.get(more[1].replace("&amp;", "&")).content.decode()
    assert len(marks(first)) == 60
    assert len(marks(second)) == 10
    assert not marks(first).keys() & marks(second).keys()
    assert "matrix-more" not in second


def test_only_problems_finds_them_on_every_page(run: Run, address: str, viewer: User, page_client: Any) -> None:
    jobs = fill(run, 70, "clay", "sage")
    fail(jobs[139])
    page = page_client(viewer).get(address, {"only": "problems"})
    [row] = page.context["sheet"].rows
    assert row.key == jobs[139].cell.subject.key
    assert [bool(cell.is_problem) for cell in row.cells] == [False, True]
    assert page.content.decode().count("is-quiet") == 1


def test_a_list_run_has_no_columns_of_its_own(run: Run, address: str, viewer: User, page_client: Any) -> None:
    Run.objects.filter(pk=run.pk).update(shape="list")
    for number in range(3):
        fill(run, 1, *[f"value {number}-{place}" for place in range(number + 1)])
    page = page_client(viewer).get(address)
    sheet = page.context["sheet"]
    assert len(sheet.columns) == 3
    assert [len([cell for cell in row.cells if cell]) for row in sheet.rows] == [1, 2, 3]
    assert b"matrix-top" not in page.content


def test_cells_are_small_when_there_are_many(run: Run, address: str, viewer: User, page_client: Any) -> None:
    fill(run, 2)
    client = page_client(viewer)
    assert b'class="matrix"' in client.get(address).content
    Run.objects.filter(pk=run.pk).update(cell_count=301)
    assert b'class="matrix is-small"' in client.get(address).content


def test_a_failed_cell_shows_its_cause_as_shape_and_word(
    run: Run, address: str, viewer: User, page_client: Any
) -> None:
    [job] = fill(run, 1)
    fail(job)
    page = page_client(viewer).get(address).content.decode()
    cell = page[page.index(f'id="cell-{job.cell_id}"') :]
    cell = cell[: cell.index("</a>")]
    assert 'href="#i-image"' in cell
    assert "<span>cut-out</span>" in cell


def test_a_run_costs_the_same_queries_however_many_images(
    run: Run, address: str, viewer: User, page_client: Any
) -> None:
    client = page_client(viewer)

    def queries() -> int:
        with CaptureQueriesContext(connection) as caught:
            assert client.get(address).status_code == 200
        return len(caught)

    for job in fill(run, 2):
        fail(job)
    few = queries()
    for job in fill(run, 20, "clay", "sage")[:9]:
        fail(job)
    assert queries() <= few <= 25


# -- live -----------------------------------------------------------------------------------------------------------


def test_a_live_update_without_changes_is_empty(run: Run, address: str, viewer: User, page_client: Any) -> None:
    fill(run, 5)
    client = page_client(viewer)
    page = client.get(address).content.decode()
    cells = ".".join(f"{cell}-{mark}" for cell, mark in marks(page).items())
    answer = client.post(f"{address}live/", {"cells": cells, "head": head(page)})
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_live_update_contains_the_changed_cells_and_the_head(
    run: Run, address: str, viewer: User, page_client: Any
) -> None:
    jobs = fill(run, 5)
    client = page_client(viewer)
    page = client.get(address).content.decode()
    cells = ".".join(f"{cell}-{mark}" for cell, mark in marks(page).items())
    Job.objects.filter(pk=jobs[2].pk).update(
        status="running", lease_token=uuid.uuid4(), lease_expires_at=timezone.now(), step=3, steps=4
    )
    answer = client.post(f"{address}live/", {"cells": cells, "head": head(page)}).content.decode()
    assert list(marks(answer)) == [str(jobs[2].cell_id)]
    assert "75 %" in answer
    assert "1 being made" in answer
    next_answer = client.post(f"{address}live/", {"cells": cells, "head": head(answer)}).content.decode()
    assert 'id="run-head"' not in next_answer
    assert list(marks(next_answer)) == [str(jobs[2].cell_id)]


def test_a_live_update_costs_by_the_cells_on_the_screen_not_by_those_of_the_run(
    run: Run, address: str, viewer: User, page_client: Any
) -> None:
    fill(run, 60)
    client = page_client(viewer)
    page = client.get(address).content.decode()
    shown = list(marks(page).items())[:10]
    cells = ".".join(f"{cell}-{mark}" for cell, mark in shown)
    assert len(cells) < 15 * len(shown)
    with CaptureQueriesContext(connection) as caught:
        client.post(f"{address}live/", {"cells": cells, "head": head(page)})
    assert len(caught) <= 13


@pytest.mark.parametrize("cells", ["", "-", "x-y", "1", "99999999999999999999-a", "1-a..2-b", "٣-a"])
def test_odd_marks_are_no_error(cells: str, address: str, viewer: User, page_client: Any) -> None:
    assert page_client(viewer).post(f"{address}live/", {"cells": cells, "head": "x"}).status_code == 200


def test_cells_of_another_run_are_not_shown(run: Run, address: str, viewer: User, page_client: Any, other_brand: Any) -> None:  # fmt: skip # noqa: E501
    foreign = factories.RunFactory(campaign=factories.CampaignFactory(brand=other_brand))
    [job] = fill(foreign, 1)
    answer = page_client(viewer).post(f"{address}live/", {"cells": f"{job.cell_id}-00000", "head": "x"})
    assert f"cell-{job.cell_id}" not in answer.content.decode()


# -- the head and the groups ----------------------------------------------------------------------------------------


def test_a_scheduled_run_says_when_it_begins(run: Run, address: str, viewer: User, page_client: Any) -> None:
    Run.objects.filter(pk=run.pk).update(state="planned", release_at=timezone.now() + timedelta(days=1))
    assert "begins by itself" in page_client(viewer).get(address).content.decode()
    Run.objects.filter(pk=run.pk).update(state="running")
    assert "begins by itself" not in page_client(viewer).get(address).content.decode()


def test_each_group_has_the_button_that_resolves_it(run: Run, address: str, manager: User, page_client: Any) -> None:
    jobs = fill(run, 5)
    fail(jobs[0])
    fail(jobs[1], "moderation", "Refused by the safety system.")
    fail(jobs[2], "transient", "No answer.")
    fail(jobs[3], "lost", "Died.", "quarantined")
    fail(jobs[4], "input", "Endpoint x cannot be used: no model.")
    page = page_client(manager).get(address).content.decode()
    prompt = run.prompt_version
    assert f"/cutouts/?ids={jobs[0].cell.subject_id}" in page
    assert f"/prompts/{prompt.template.slug}/v{prompt.number}/?subject={jobs[1].cell.subject_id}" in page
    assert "Try it again" in page
    assert "Try one of them" in page
    assert "Tell the operator" in page


def test_a_viewer_sees_causes_but_no_buttons(run: Run, address: str, viewer: User, page_client: Any) -> None:
    [job] = fill(run, 1)
    fail(job, "transient", "No answer.")
    page = page_client(viewer).get(address).content.decode()
    assert "Most often it is a restart" in page
    assert "Try it again" not in page


def test_a_group_is_tried_again_from_the_page(run: Run, address: str, manager: User, page_client: Any) -> None:
    jobs = fill(run, 2)
    fail(jobs[0], "transient", "No answer after 3 s.")
    fail(jobs[1], "moderation", "Refused.")
    client = page_client(manager)
    group = next(shown for shown in client.get(address).context["groups"] if shown.cause.code == "transient")
    answer = client.post(f"{address}retry/", {"group": group.key}, follow=True)
    assert "1 image is tried again." in answer.content.decode()
    assert list(Job.objects.order_by("pk").values_list("status", flat=True)) == ["queued", "failed"]


def test_too_little_budget_leads_to_the_brief(run: Run, address: str, manager: User, page_client: Any) -> None:
    run.campaign.budget = Decimal("0.10")
    run.campaign.save()
    [job] = fill(run, 1)
    type(job.frozen).objects.update(quoted_cost=Decimal(2))
    fail(job, "transient", "No answer.")
    page = page_client(manager).get(address).content.decode()
    assert "Raise the budget" in page
    assert f"/campaigns/{run.campaign.slug}/brief/#id_budget" in page


def test_the_operator_sees_what_waits_where(
    run: Run, address: str, manager: User, person: Any, page_client: Any
) -> None:
    operator = person("admin")
    [job] = fill(run, 1)
    fail(job, "input", "Endpoint x cannot be used: no model.")
    client = page_client(manager)
    [group] = client.get(address).context["groups"]
    client.post(f"{address}operator/", {"group": group.key})
    [notice] = Notice.objects.all()
    assert notice.user == operator
    assert f"asks you to look at {run.endpoint.name}: 1 image of {run.name}" in notice.sentence


# -- the drawer -----------------------------------------------------------------------------------------------------


def test_the_drawer_shows_everything_about_one_image(brand: Any, reviewer: User, manager: User, page_client: Any, lead: User) -> None:  # fmt: skip # noqa: E501
    task = create_image_in_review(brand)
    asset = task.asset
    run = asset.cell.run
    version = asset.versions.get()
    factories.FindingFactory(
        version=version, check_name="crop", outcome="fail", message="The rim is cut off.", box=[0.25, 0.5, 0.75, 1.0]
    )
    began = timezone.now()
    Attempt.objects.create(
        job=version.job, number=1, lease_token=uuid.uuid4(), endpoint=run.endpoint, worker="gpu-7",
        outcome="succeeded", started_at=began, ended_at=began + timedelta(seconds=3),
    )  # fmt: skip
    client = page_client(reviewer)
    address = f"/brands/{brand.slug}/runs/{run.pk}/cells/{asset.cell_id}/"
    words = client.get(address, headers={"X-Requested-With": "drawer"}).content.decode()
    assert "<html" not in words
    for expected in ("A mug on clay", "gpu-7", "The rim is cut off.", f"?task={task.pk}", run.endpoint.name, "3 s"):
        assert expected in words
    assert "left:25.00%;top:50.00%;right:25.00%;bottom:0.00%" in words
    assert "Nobody has decided about it yet." in words
    decisions.approve(by=reviewer, **decision_arguments(task))
    assert f"by {reviewer.display_name}" in client.get(address).content.decode()
    assert "<html" in client.get(address).content.decode(), "without scripts it is a page"


def test_the_drawer_of_a_failed_image_offers_to_try_it_again(
    run: Run, address: str, manager: User, page_client: Any
) -> None:
    [job] = fill(run, 1)
    fail(job, "transient", "No answer.")
    client = page_client(manager)
    words = client.get(f"{address}cells/{job.cell_id}/").content.decode()
    assert "Most often it is a restart" in words
    assert f'name="job" value="{job.pk}"' in words
    client.post(f"{address}retry/", {"job": job.pk})
    job.refresh_from_db()
    assert job.status == "queued"


def test_the_drawer_stays_within_the_run_and_the_brand(
    run: Run, address: str, manager: User, other_brand: Any, person: Any, page_client: Any
) -> None:
    [job] = fill(run, 1)
    [other] = fill(factories.RunFactory(campaign=run.campaign), 1)
    client = page_client(manager)
    assert client.get(f"{address}cells/{job.cell_id}/").status_code == 200
    assert client.get(f"{address}cells/{other.cell_id}/").status_code == 404
    stranger = page_client(person("admin", brand=other_brand))
    assert stranger.get(f"{address}cells/{job.cell_id}/").status_code == 404
    assert (
        stranger.get(f"{address.replace(run.campaign.brand.slug, other_brand.slug)}cells/{job.cell_id}/").status_code
        == 404
    )


def test_the_sheet_of_cutouts_shows_the_products_that_failed(
    brand: Any, viewer: User, manager: User, page_client: Any
) -> None:
    requested, other = (factories.ReferencePhotoFactory(subject__brand=brand) for _ in range(2))
    page = page_client(viewer).get(f"/brands/{brand.slug}/cutouts/", {"ids": f"{requested.subject_id},x"})
    assert [card[0] for card in page.context["sheet"].cards] == [requested]
    everything = page_client(viewer).get(f"/brands/{brand.slug}/cutouts/", {"show": "all"})
    assert [card[0] for card in everything.context["sheet"].cards] == [requested, other]
