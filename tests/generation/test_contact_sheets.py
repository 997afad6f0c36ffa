"""Test blind contact sheets: the runs, what stays hidden before a vote, one vote per person and row, the results."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from PIL import Image

from campaigns.models import Studio
from core import stored_files
from core.choices import Lane
from core.errors import Conflict, Invalid, NotAllowed, NotFound
from core.models import Brand, Event, User
from generation.choices import AssetState, JobState, RunState, Stage
from generation.engines import base as engines
from generation.models import (
    Asset,
    Attempt,
    Comparison,
    ComparisonColumn,
    ComparisonVote,
    Endpoint,
    Job,
    JobSpec,
    LedgerEntry,
    Run,
)
from generation.selectors import comparisons as selectors
from generation.services import comparisons
from generation.services.comparisons import Side
from tests.generation.test_studio import Painter
from tests.support import factories

pytestmark = pytest.mark.django_db
WORDS = ("a jar on oak", "a vase on marble", "a mug in window light")
HTMX = {"HX-Request": "true"}


@pytest.fixture
def endpoints() -> list[Endpoint]:
    """Three endpoints whose names stay hidden until a person has voted."""
    engines.ENGINES.register("painter", engines.EnginePlugin("painter", Painter))
    names = (("Zephyrus", ""), ("Quillon", "demo model"), ("Brambleby", ""))
    return [
        factories.EndpointFactory(
            engine="painter", name=name, slug=name.lower(), disclaimer=disclaimer, lane=Lane.CPU, config={"n": index}
        )
        for index, (name, disclaimer) in enumerate(names)
    ]


@pytest.fixture
def sheet(brand: Brand, designer: User, endpoints: list[Endpoint]) -> Comparison:
    return comparisons.start(
        brand=brand, name="Jars", sides=[Side(endpoint) for endpoint in endpoints], by=designer, words=WORDS, seed=40
    )


def finish_images(sheet: Comparison, *, failing: str = "", rows: range | None = None) -> None:
    """Finish every image as workers do: column n took n+1 seconds and n cents, and has its own colour."""
    for column in sheet.columns.all():
        for job in Job.objects.filter(run=column.run_id).select_related("cell", "endpoint"):
            if rows is not None and job.cell.position not in rows:
                continue
            asset = Asset.objects.get(cell=job.cell)
            if job.endpoint.name == failing:
                Job.objects.filter(pk=job.pk).update(status=JobState.FAILED, error=f"{failing} refused: no jars.")
                Asset.objects.filter(pk=asset.pk).update(state=AssetState.FAILED)
                continue
            buffer = io.BytesIO()
            shade = 20 + 60 * column.position + job.cell.position
            Image.new("RGB", (64, 64), (shade, 90, 120)).save(buffer, "WEBP", lossless=True)
            stored = stored_files.put(buffer.getvalue(), suffix="webp")
            master = factories.MasterFactory(
                brand=sheet.brand, storage_key=stored.key, sha256=stored.sha256, width=64, height=64
            )
            version = factories.AssetVersionFactory(asset=asset, job=job, candidate=1, master=master)
            Asset.objects.filter(pk=asset.pk).update(state=AssetState.IN_REVIEW, current_version=version)
            Job.objects.filter(pk=job.pk).update(status=JobState.SUCCEEDED)
            Attempt.objects.create(
                job=job, number=1, lease_token="0" * 32, endpoint=job.endpoint, worker="w", outcome="succeeded",
                details={"seconds": column.position + 1}, started_at=timezone.now(), ended_at=timezone.now(),
            )  # fmt: skip
            LedgerEntry.objects.create(
                campaign=job.campaign, run=job.run, job=job, kind="settle", amount=Decimal(column.position) / 100
            )
        Run.objects.filter(pk=column.run_id).update(state=RunState.FINISHED)


def address(sheet: Comparison, part: str = "") -> str:
    return f"/brands/{sheet.brand.slug}/compare/{sheet.pk}/{part}"


def cast_vote(sheet: Comparison, row: int, column: int | None, by: User) -> ComparisonVote:
    chosen = sheet.columns.get(position=column).pk if column is not None else None
    return comparisons.vote(comparison_id=sheet.pk, row=row, column_id=chosen, by=by)


# -- the runs of a sheet -------------------------------------------------------------------------------------------


def test_every_row_is_made_on_every_column_with_the_same_words_and_seed(
    sheet: Comparison, endpoints: list[Endpoint]
) -> None:
    for column, endpoint in zip(sheet.columns.all(), endpoints, strict=True):
        run = column.run
        assert (run.endpoint, run.stage, run.state) == (endpoint, Stage.SANDBOX, RunState.RUNNING)
        specs = JobSpec.objects.filter(job__run=run).order_by("cell__position").values_list("spec", flat=True)
        assert [(spec["prompt"], spec["seed"]) for spec in specs] == list(zip(WORDS, (40, 41, 42), strict=True))
    assert set(Asset.objects.values_list("is_sandbox", flat=True)) == {True}


def test_versions_are_compared_on_products_with_the_variant_of_each_row(
    brand: Brand, designer: User, endpoints: list[Endpoint]
) -> None:
    template = factories.PromptTemplateFactory(brand=brand)
    versions = [
        factories.PromptVersionFactory(
            template=template, text=f"{{name}} {n} {{backdrop}}", needs={}, parameters={}, candidates=1,
            axes={"backdrop": ["white", "clay"]},
        )
        for n in (1, 2)
    ]  # fmt: skip
    products = [factories.SubjectFactory(brand=brand, name=f"Mug {n}") for n in range(3)]
    made = comparisons.start(
        brand=brand, name="Two texts", sides=[Side(endpoints[0], version) for version in versions], by=designer,
        subjects=[product.pk for product in products], seed=5,
    )  # fmt: skip
    for column, n in zip(made.columns.all(), (1, 2), strict=True):
        specs = JobSpec.objects.filter(job__run=column.run).order_by("cell__position").values_list("spec", flat=True)
        assert [spec["prompt"] for spec in specs] == [f"Mug 0 {n} white", f"Mug 1 {n} clay", f"Mug 2 {n} white"]
        assert [spec["seed"] for spec in specs] == [5, 6, 7]


@pytest.mark.parametrize(
    ("count", "words", "message"),
    [
        (1, WORDS, "2 to 6 columns"),
        (2, (), "products with prompt versions, or free prompts"),
        (2, ("a", "a "), "twice"),
        (2, ("a" * 401,), "1 to 400 characters"),
        (2, tuple(f"mug {n}" for n in range(25)), "at most 24 rows"),
    ],
)
def test_a_sheet_that_cannot_be_made_says_why_and_leaves_nothing(
    brand: Brand, designer: User, endpoints: list[Endpoint], count: int, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        comparisons.start(
            brand=brand, name="Jars", sides=[Side(endpoint) for endpoint in endpoints[:count]], by=designer, words=words
        )
    assert not Comparison.objects.exists() and not Run.objects.exists()


def test_one_column_that_cannot_make_it_is_named_and_nothing_is_made(
    brand: Brand, designer: User, endpoints: list[Endpoint]
) -> None:
    packshot = factories.EndpointFactory(name="Packshot studio")
    with pytest.raises(Invalid, match="Packshot studio cannot make it"):
        comparisons.start(
            brand=brand, name="Jars", sides=[Side(endpoints[0]), Side(packshot)], by=designer, words=WORDS
        )
    assert not Run.objects.exists() and not Studio.objects.exists()


# -- blindness -----------------------------------------------------------------------------------------------------


def test_the_studio_shows_nothing_of_a_sheet(sheet: Comparison, designer: User, page_client: Any) -> None:
    finish_images(sheet)
    studio, run = f"/brands/{sheet.brand.slug}/studio/", sheet.columns.get(position=0).run_id
    client = page_client(designer)
    assert "?try=" not in client.get(f"{studio}history/").content.decode()
    assert client.get(f"{studio}?try={run}").status_code == 404


def identifying_texts(sheet: Comparison) -> list[str]:
    """Return every text that would tell columns apart: names, versions, money, times, image ids and file names."""
    secret = ["Zephyrus", "Quillon", "Brambleby", "EUR", "painter", "3.0 s", "refused"]
    for asset in Asset.objects.filter(cell__run__comparison_column__comparison=sheet):
        secret.append(f"/assets/{asset.pk}")
        for version in asset.versions.select_related("master"):
            secret += [f"/version/{version.pk}/", f"/master/{version.master_id}/", version.master.sha256[:12]]
    return [*secret, *(f"/runs/{column.run_id}" for column in sheet.columns.all())]


def test_before_a_vote_nothing_in_the_page_distinguishes_columns(
    sheet: Comparison, reviewer: User, page_client: Any
) -> None:
    finish_images(sheet, failing="Brambleby")
    client = page_client(reviewer)
    for part in ("", "0/", "?page=1"):
        body = client.get(address(sheet, part)).content.decode()
        assert [text for text in identifying_texts(sheet) if text in body] == []
        assert "could not be made" in body
    body = client.get(address(sheet)).content.decode()
    assert body.count("among these") == len(WORDS)  # the disclaimer stands at the row, not beside an image


def test_an_images_address_and_headers_do_not_reveal_its_engine(
    sheet: Comparison, reviewer: User, page_client: Any
) -> None:
    finish_images(sheet)
    answer = page_client(reviewer).get(address(sheet, "0/A.webp"))
    assert answer.status_code == 200 and answer["Content-Type"] == "image/webp"
    headers = json.dumps(dict(answer.headers))
    assert [text for text in identifying_texts(sheet) if text in headers] == []
    assert not {"Content-Disposition", "Last-Modified"} & set(answer.headers)
    content = answer.getvalue()
    hashes = {hashlib.new(name, content).hexdigest()[:32] for name in ("md5", "sha1", "sha256")}
    assert answer["ETag"].strip('W/"')[:32] not in hashes, "the tag would name the content"


def test_letters_show_the_images_of_the_columns_that_a_vote_counts_for(
    sheet: Comparison, reviewer: User, page_client: Any
) -> None:
    finish_images(sheet)
    client = page_client(reviewer)
    order = selectors.shuffled_columns(selectors.get(reviewer, sheet.brand, sheet.pk), 1, reviewer)
    for letter, column in zip("ABC", order, strict=True):
        image = Image.open(io.BytesIO(client.get(address(sheet, f"1/{letter}.webp")).content))
        assert image.getpixel((9, 9))[0] == 20 + 60 * column.position + 1
        client.post(address(sheet, "1/vote/"), {"letter": letter})
        assert ComparisonVote.objects.get().column_id == column.pk


def test_the_order_differs_between_rows_and_people_and_stays(
    brand: Brand, designer: User, endpoints: list[Endpoint], person: Any
) -> None:
    sheet = comparisons.start(
        brand=brand, name="Many", sides=[Side(endpoint) for endpoint in endpoints], by=designer,
        words=[f"mug {n}" for n in range(24)],
    )  # fmt: skip
    people = [person("reviewer") for _ in range(4)]
    comparison = selectors.get(designer, brand, sheet.pk)
    orders = [
        tuple(column.position for column in selectors.shuffled_columns(comparison, row, user))
        for user in people
        for row in range(24)
    ]
    assert orders == [
        tuple(column.position for column in selectors.shuffled_columns(comparison, row, user))
        for user in people
        for row in range(24)
    ]
    assert len(set(orders)) == 6
    first = Counter(order[0] for order in orders)
    assert min(first.values()) > 15  # 96 rows: each column stands first about 32 times


def test_a_row_waits_until_all_of_its_images_are_there(sheet: Comparison, reviewer: User, page_client: Any) -> None:
    finish_images(sheet, rows=range(1))
    client = page_client(reviewer)
    body = client.get(address(sheet, "1/")).content.decode()
    assert 'hx-trigger="every 3s"' in body and "0 of 3 there" in body and "webp" not in body
    assert 'hx-trigger="every 3s"' not in client.get(address(sheet, "0/")).content.decode()
    with pytest.raises(Conflict, match="still being made"):
        cast_vote(sheet, 1, 0, reviewer)


def test_after_the_reveal_names_times_and_costs_are_shown_with_their_images(
    sheet: Comparison, reviewer: User, page_client: Any
) -> None:
    finish_images(sheet, failing="Brambleby")
    client = page_client(reviewer)
    voted = client.post(address(sheet, "0/vote/"), {"letter": "none"}, headers=HTMX).content.decode()
    assert [text for text in identifying_texts(sheet) if text in voted] == []
    assert "Tell me which is which in 1 row" in voted
    assert client.post(address(sheet, "reveal/")).status_code == 302
    body = client.get(address(sheet, "0/")).content.decode()
    for shown in ("Zephyrus", "Quillon", "Brambleby refused: no jars.", "0.01 EUR", "2 s", "demo model"):
        assert shown in body
    assert "among these" not in body
    other = client.get(address(sheet, "1/")).content.decode()
    assert [text for text in identifying_texts(sheet) if text in other] == []


def test_what_one_person_saw_stays_hidden_from_another(
    sheet: Comparison, reviewer: User, person: Any, page_client: Any
) -> None:
    finish_images(sheet)
    cast_vote(sheet, 0, 1, reviewer)
    comparisons.reveal(comparison_id=sheet.pk, by=reviewer)
    body = page_client(person("reviewer")).get(address(sheet)).content.decode()
    assert [text for text in identifying_texts(sheet) if text in body] == []


def test_the_table_holds_only_rows_that_were_revealed_to_the_person(
    sheet: Comparison, reviewer: User, page_client: Any
) -> None:
    finish_images(sheet)
    client = page_client(reviewer)
    assert len(client.get(address(sheet, "rows.csv")).content.decode().splitlines()) == 1
    cast_vote(sheet, 2, 1, reviewer)
    comparisons.reveal(comparison_id=sheet.pk, by=reviewer)
    lines = client.get(address(sheet, "rows.csv")).content.decode().splitlines()
    assert len(lines) == 4 and all(line.startswith("3,a mug in window light,") for line in lines[1:])
    assert any("Quillon" in line and ",2,0.010000,1," in line for line in lines)


# -- votes ---------------------------------------------------------------------------------------------------------


def test_a_vote_may_change_until_it_is_revealed_and_then_stands(sheet: Comparison, reviewer: User) -> None:
    finish_images(sheet)
    cast_vote(sheet, 0, 1, reviewer)
    cast_vote(sheet, 0, 2, reviewer)
    assert ComparisonVote.objects.get().column == sheet.columns.get(position=2)
    assert comparisons.reveal(comparison_id=sheet.pk, by=reviewer) == 1
    with pytest.raises(Conflict, match="your vote cannot be changed"):
        cast_vote(sheet, 0, 1, reviewer)
    cast_vote(sheet, 1, 1, reviewer)
    events = Event.objects.filter(type="generation.comparison.voted").order_by("pk")
    assert [event.payload["row"] for event in events] == [0, 0, 1]
    assert events[1].payload["instead_of"] == sheet.columns.get(position=1).pk


def test_nothing_is_revealed_before_a_vote(sheet: Comparison, reviewer: User, page_client: Any) -> None:
    finish_images(sheet)
    with pytest.raises(Conflict, match="Vote on a row first"):
        comparisons.reveal(comparison_id=sheet.pk, by=reviewer)


def test_an_image_that_is_not_there_takes_no_vote(sheet: Comparison, reviewer: User) -> None:
    finish_images(sheet, failing="Brambleby")
    with pytest.raises(Invalid, match="no image under this letter"):
        cast_vote(sheet, 0, 2, reviewer)
    foreign = ComparisonColumn.objects.latest("pk").pk + 1
    for row, column in ((0, foreign), (3, None), (-1, None)):
        with pytest.raises(NotFound):
            comparisons.vote(comparison_id=sheet.pk, row=row, column_id=column, by=reviewer)


@pytest.mark.parametrize("role", ["viewer", "reviewer", "integrator"])
def test_people_who_may_see_a_sheet_may_vote_but_not_start_one(
    sheet: Comparison, endpoints: list[Endpoint], person: Any, page_client: Any, role: str
) -> None:
    finish_images(sheet)
    user = person(role)
    client = page_client(user)
    assert client.get(f"/brands/{sheet.brand.slug}/compare/").status_code == 200
    assert client.post(address(sheet, "0/vote/"), {"letter": "A"}).status_code == 302
    assert client.get(f"/brands/{sheet.brand.slug}/compare/new/").status_code == 403
    with pytest.raises(NotAllowed):
        comparisons.start(
            brand=sheet.brand, name="x", sides=[Side(endpoint) for endpoint in endpoints], by=user, words=WORDS
        )


def test_a_sheet_of_another_brand_is_not_there(
    sheet: Comparison, other_brand: Brand, person: Any, page_client: Any
) -> None:
    finish_images(sheet)
    both = person("designer", brand=other_brand)
    client = page_client(both)
    for part in ("", "0/", "0/A.webp", "results/", "rows.csv"):
        assert client.get(address(sheet, part)).status_code == 404
        assert client.get(f"/brands/{other_brand.slug}/compare/{sheet.pk}/{part}").status_code == 404
    with pytest.raises(NotFound):
        comparisons.vote(comparison_id=sheet.pk, row=0, column_id=None, by=both)


# -- results of the votes ------------------------------------------------------------------------------------------


def test_results_show_wins_shares_and_medians_and_warn_when_votes_are_few(
    sheet: Comparison, person: Any, page_client: Any
) -> None:
    finish_images(sheet, failing="Brambleby")
    people = [person("reviewer") for _ in range(3)]
    for user in people:
        cast_vote(sheet, 0, 1, user)
        cast_vote(sheet, 1, 0 if user == people[0] else 1, user)
        cast_vote(sheet, 2, None, user)
    results = selectors.results(selectors.get(people[0], sheet.brand, sheet.pk))
    assert [(tally.column.run.endpoint.name, tally.wins) for tally in results.tallies] == [
        ("Quillon", 5), ("Zephyrus", 1), ("Brambleby", 0),
    ]  # fmt: skip
    first, _, last = results.tallies
    assert (first.seconds, first.cost, first.measured, last.failed) == (2, Decimal("0.01"), 3, 3)
    assert first.share == pytest.approx(5 / 6)
    assert (results.votes, results.undecided, results.voters, results.rows) == (9, 3, 3, 3)
    assert results.conclusion == "6 votes are too few to choose by; 12 is the least that can tell a clear favourite."
    page = page_client(people[0]).get(address(sheet, "results/")).content.decode()
    assert "6 votes are too few" in page and "9 votes of 3 people on 3 of 3 rows" in page


def test_an_image_that_was_made_before_is_no_measurement(sheet: Comparison, reviewer: User) -> None:
    finish_images(sheet)
    for attempt in Attempt.objects.filter(endpoint__name="Quillon")[:2]:
        attempt.details = {"reused_master": "0" * 64}
        attempt.save()
    results = selectors.results(selectors.get(reviewer, sheet.brand, sheet.pk))
    assert {tally.column.run.endpoint.name: tally.measured for tally in results.tallies}["Quillon"] == 1


def test_a_lead_is_called_chance_until_it_is_more() -> None:
    assert selectors.conclusion([0, 0], ["A", "B"]) == ("Nobody has named a favourite yet.", False)
    assert "level" in selectors.conclusion([6, 6], ["A", "B"])[0]
    assert selectors.conclusion([9, 5], ["A", "B"])[1] is False
    sentence, is_sure = selectors.conclusion([12, 2], ["A", "B"])
    assert is_sure and sentence.startswith("A leads B by 12 to 2")
    assert selectors.probability_of_lead(12, 2) == pytest.approx(0.0129, abs=1e-4)
    low, high = selectors.interval(8, 10)
    assert (low, high) == (pytest.approx(0.490, abs=1e-3), pytest.approx(0.943, abs=1e-3))
    assert selectors.interval(0, 0) == (0.0, 1.0)


# -- the pages -----------------------------------------------------------------------------------------------------


def test_a_sheet_is_begun_from_the_page_with_free_prompts(
    brand: Brand, designer: User, endpoints: list[Endpoint], page_client: Any
) -> None:
    client = page_client(designer)
    form = client.get(f"/brands/{brand.slug}/compare/new/")
    assert set(form.context["form"]["endpoint"].value()) == {str(endpoint.pk) for endpoint in endpoints}
    given = {
        "kind": "words", "words": "a jar\n\na vase\n", "endpoint": [endpoint.pk for endpoint in endpoints],
        "width": "512", "height": "512", "name": "", "skus": "",
    }  # fmt: skip
    answer = client.post(f"/brands/{brand.slug}/compare/new/", given, follow=True)
    made = Comparison.objects.get()
    assert (made.name, made.row_count, made.columns.count()) == ("a jar and 1 more", 2, 3)
    assert answer.redirect_chain[0][0] == address(made)


def test_versions_meet_only_the_endpoints_that_they_were_written_for(
    brand: Brand, designer: User, endpoints: list[Endpoint], page_client: Any
) -> None:
    product = factories.SubjectFactory(brand=brand, key="M-1")
    factories.CutoutFactory(photo__subject=product)
    packshot = factories.EndpointFactory(name="Packshot studio")
    template = factories.PromptTemplateFactory(brand=brand, name="Plain")
    versions = [
        factories.PromptVersionFactory(template=template, text="{name}", axes={}, parameters={}, needs=needs)
        for needs in ({"engine": "packshot"}, {"engine": "painter"})
    ]
    given = {
        "kind": "subjects", "skus": "M-1", "endpoint": [packshot.pk, endpoints[0].pk], "width": "512", "height": "512",
        "version": [version.pk for version in versions], "words": "", "name": "Two ways",
    }  # fmt: skip
    assert page_client(designer).post(f"/brands/{brand.slug}/compare/new/", given).status_code == 302
    columns = Comparison.objects.get().columns.all()
    assert [(column.run.endpoint.name, column.run.prompt_version) for column in columns] == [
        ("Packshot studio", versions[0]), ("Zephyrus", versions[1]),
    ]  # fmt: skip


def test_a_form_with_a_mistake_comes_back_filled_with_words(
    brand: Brand, designer: User, endpoints: list[Endpoint], page_client: Any
) -> None:
    given = {"kind": "words", "words": "a jar", "endpoint": [endpoints[0].pk], "width": "512", "height": "512"}
    answer = page_client(designer).post(f"/brands/{brand.slug}/compare/new/", given)
    assert answer.status_code == 422
    assert "Compare 2 to 6 columns; 1 was given." in answer.content.decode()
    assert answer.context["form"]["words"].value() == "a jar"


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        (
            {"words": " \n", "width": "wide", "height": "5000"},
            {
                "words": "Write at least one prompt, each on a line of its own.",
                "width": "Give width and height in pixels, at most 4096.",
                "height": "Give width and height in pixels, at most 4096.",
            },
        ),
        ({"kind": "subjects"}, {"skus": "Name at least one product."}),
        ({"kind": "subjects", "skus": "no-such"}, {"skus": "has no active subject 'no-such'."}),
        ({"endpoint": ["999999"], "version": ["x"]}, {"endpoint": "Select a valid choice.", "version": "not a valid"}),
    ],
)
def test_each_mistake_of_the_form_is_shown_at_its_field(
    brand: Brand, designer: User, endpoints: list[Endpoint], page_client: Any, changes: Any, errors: dict[str, str]
) -> None:
    given = {
        "kind": "words", "words": "a jar", "endpoint": [endpoint.pk for endpoint in endpoints], "width": "512",
        "height": "512", **changes,
    }  # fmt: skip
    answer = page_client(designer).post(f"/brands/{brand.slug}/compare/new/", given)
    assert answer.status_code == 422 and not Comparison.objects.exists()
    shown = answer.context["form"].errors
    assert shown.keys() == errors.keys()
    for field, message in errors.items():
        assert message in shown[field][0]
    assert answer.content.decode().count('aria-invalid="true"') == len(
        errors.keys() & {"words", "width", "height", "skus"}
    )


def test_more_rows_and_votes_cost_no_more_queries(
    brand: Brand, designer: User, endpoints: list[Endpoint], person: Any, page_client: Any
) -> None:
    counts = []
    for rows in (2, 8):
        sheet = comparisons.start(
            brand=brand, name="Jars", sides=[Side(endpoint) for endpoint in endpoints], by=designer,
            words=[f"jar {n} of {rows}" for n in range(rows)],
        )  # fmt: skip
        finish_images(sheet)
        for user in (designer, *(person("reviewer") for _ in range(rows))):
            for row in range(rows):
                cast_vote(sheet, row, row % 3, user)
        comparisons.reveal(comparison_id=sheet.pk, by=designer)
        client = page_client(designer)
        client.get(address(sheet))
        for part in ("", "results/"):
            with CaptureQueriesContext(connection) as queries:
                assert client.get(address(sheet, part)).status_code == 200
            counts.append(len(queries))
    assert counts[:2] == counts[2:]
