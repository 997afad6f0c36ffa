"""Tests of list mode: a pasted or uploaded table becomes one image per row, or issues that name their cell."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.prompts import listing
from core.errors import Invalid
from core.models import Brand, User
from generation.choices import RunShape, Stage
from generation.models import Cell, JobSpec
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from tests.support import factories
from tests.support.feed_files import xlsx


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_row_is_an_image_whatever_parts_the_cells(separator: str) -> None:
    lines = [["SKU", "backdrop", "Seed", "Size"], ["M-1", "clay", "7", "1024 × 1280"], ["M-2", "", "", ""]]
    result = listing.read_listing("\n".join(separator.join(line) for line in lines))
    assert result.issues == ()
    assert result.rows == ({"subject": "M-1", "backdrop": "clay", "seed": 7, "size": "1024x1280"}, {"subject": "M-2"})
    assert (result.numbers, result.is_valid) == ((2, 3), True)


def test_json_lines_a_json_list_and_a_workbook_say_the_same() -> None:
    items = [{"sku": "M-1", "{backdrop}": "clay", "seed": 7, "aspect": "8:10"}, {"sku": "M-2", "size": 512}]
    expected = (
        {"subject": "M-1", "backdrop": "clay", "seed": 7, "aspect": "4:5"},
        {"subject": "M-2", "size": "512x512"},
    )
    assert listing.read_listing("\n".join(map(json.dumps, items))).rows == expected
    assert listing.read_listing(json.dumps(items)).rows == expected
    book = xlsx(
        [["sku", "backdrop", "seed", "aspect", "size"], ["M-1", "clay", 7, "4:5", None], ["M-2", None, None, None, 512]]
    )
    assert listing.read_listing(book).rows == expected


def test_each_mistake_names_its_cell_and_its_row_is_left_out() -> None:
    rows = ["M-1,soon,,,white", ",1,,,white", "M-2,1,9x9,,white", "M-3,,1024,4:5,white", "M-4,,,,white"]
    text = "\n".join(["sku,seed,size,aspect,backdrop", *rows])
    result = listing.read_listing(text)
    assert [(issue.cell, issue.column, issue.row) for issue in result.issues] == [
        ("B2", "seed", 2), ("A3", "sku", 3), ("C4", "size", 4), ("", "", 5),
    ]  # fmt: skip
    assert [row["subject"] for row in result.rows] == ["M-4"]
    assert not result.is_valid
    assert "1:1, not 4:5" in result.issues[3].message


def test_what_is_no_size_in_pixels_fills_a_placeholder_called_size() -> None:
    result = listing.read_listing("sku,size\nT-1,XL\nT-2,M\n")
    assert [row["size"] for row in result.rows] == ["XL", "M"]
    assert listing.image_size(result.rows[0]) is None
    assert listing.placeholders(result.rows[0]) == {"size": "XL"}


def test_a_spreadsheets_time_of_day_is_the_aspect_that_was_typed() -> None:
    assert listing.read_listing("sku\taspect\nM-1\t04:05:00\n").rows == ({"subject": "M-1", "aspect": "4:5"},)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nothing here yet"),
        ("backdrop,seed\nwhite,1\n", "call it “sku”"),
        ("sku,sku\nM-1,M-2\n", "keep one"),
        ("sku,product\nM-1,M-2\n", "keep one"),
        ("sku,\nM-1,white\n", "no heading"),
        ("sku,9 lives\nM-1,white\n", "placeholder"),
        ("sku,backdrop\nM-1,white\nM-1,white\n", "same image as row 2"),
        ("sku\nM-1,white\n", "beyond the last heading"),
        ("sku,backdrop\n", "no row below"),
        ('{"sku": "M-1"}\n{"sku": }\n', "line 2"),
        ('{"sku": "M-1", "backdrop": ["a", "b"]}', "not a list"),
        ("[1, 2]", "no object"),
        ('sku,backdrop\nM-1,"white\n', "never closed"),
        (b"%PDF-1.7", "PDF"),
        (b'{"sku": "M\xff"}', "UTF-8"),
    ],
)
def test_what_cannot_be_planned_says_what_to_do(text: str | bytes, words: str) -> None:
    result = listing.read_listing(text)
    assert not result.is_valid
    assert words in result.issues[0].message


def test_only_so_many_rows_and_issues_are_kept() -> None:
    result = listing.read_listing("sku,seed\n" + "M-1,x\n" * 1000)
    assert (result.issue_count, len(result.issues)) == (1000, listing.MAX_ISSUES)
    many = listing.read_listing("sku,seed\n" + "".join(f"M-{number},1\n" for number in range(listing.MAX_ROWS + 1)))
    assert "make two lists" in many.issues[0].message


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)))
def test_anything_at_all_is_read_or_refused_in_words(given_: str | bytes) -> None:
    if isinstance(given_, str):
        given_ = given_.encode("utf-8", "replace")
    result = listing.read_listing(given_)
    assert result.rows or result.issues
    assert all(issue.message for issue in result.issues)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["backdrop", "light", "mood"]), st.text('abc ,;"{}\n', min_size=1, max_size=12))
    )
)
def test_rows_written_as_json_lines_come_back(values: list[dict[str, str]]) -> None:
    expected: list[dict[str, Any]] = [
        {"subject": f"M-{number}", **{name: text.strip() for name, text in row.items() if text.strip()}}
        for number, row in enumerate(values)
    ]
    result = listing.read_listing(
        "\n".join(json.dumps({"sku": f"M-{number}", **row}) for number, row in enumerate(values))
    )
    assert list(result.rows) == expected


# -- planning a list -----------------------------------------------------------------------------------------------


@pytest.fixture
def plan_fields(brand: Brand, manager: User) -> dict[str, Any]:
    """Make two mugs with cut-outs, a campaign with a square and a 4:5 output, and a prompt for the packshot."""
    subjects = [factories.SubjectFactory(brand=brand, key=key) for key in ("M-1", "M-2")]
    for subject in subjects:
        factories.CutoutFactory(photo__subject=subject)
    campaign = factories.CampaignFactory(brand=brand, subjects=subjects)
    factories.OutputSpecFactory(campaign=campaign, width=1000, height=1000)
    factories.OutputSpecFactory(campaign=campaign, width=800, height=1000)
    version = factories.PromptVersionFactory(template__brand=brand, axes={}, text="{name} on {backdrop|white}")
    version.parameters = {"backdrop": "{backdrop|white}"}
    version.save()
    endpoint = factories.EndpointFactory()
    return {"campaign": campaign, "prompt_version": version, "endpoint": endpoint, "stage": Stage.PILOT, "by": manager}


@pytest.mark.django_db
def test_a_listed_row_with_an_aspect_or_a_size_is_one_image_of_that_size(plan_fields: dict[str, Any]) -> None:
    table = "sku,backdrop,aspect,size\nM-1,clay,4:5,\nM-2,,,600x600\nM-1,sage,,\n"
    run = plans.plan(PlanArguments(**plan_fields, shape=RunShape.LIST, rows=listing.read_listing(table).rows))
    made = [
        (cell.subject.key, cell.aspect, spec.spec["width"], spec.spec["height"], spec.spec["parameters"]["backdrop"])
        for cell in Cell.objects.filter(run=run).order_by("position")
        for spec in JobSpec.objects.filter(cell=cell)
    ]
    assert made == [
        ("M-1", "4:5", 800, 1000, "clay"),
        ("M-2", "1:1", 600, 600, "white"),
        ("M-1", "1:1", 1000, 1000, "sage"),
        ("M-1", "4:5", 800, 1000, "sage"),
    ]


@pytest.mark.django_db
def test_a_listed_aspect_that_no_channel_wants_is_refused_with_those_that_are(plan_fields: dict[str, Any]) -> None:
    rows = listing.read_listing("sku,aspect\nM-1,16:9\n").rows
    with pytest.raises(Invalid, match=r"16:9.*1:1, 4:5"):
        plans.plan(PlanArguments(**plan_fields, shape=RunShape.LIST, rows=rows))


@pytest.mark.django_db
def test_a_listed_size_beyond_the_engine_is_refused(plan_fields: dict[str, Any], tmp_path: Any) -> None:
    model = tmp_path / "sd"
    model.mkdir()
    (model / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    plan_fields["endpoint"] = factories.EndpointFactory(engine="diffusers", config={"model": str(model)})
    plan_fields["prompt_version"] = factories.PromptVersionFactory(
        template__brand=plan_fields["campaign"].brand,
        axes={},
        text="{name}",
        parameters={},
        needs={"engine": "diffusers"},
    )
    with pytest.raises(Invalid, match="at most 2048 × 2048"):
        plans.plan(
            PlanArguments(
                **plan_fields, shape=RunShape.LIST, rows=listing.read_listing("sku,size\nM-1,4096x4096\n").rows
            )
        )
    run = plans.plan(
        PlanArguments(
            **plan_fields, shape=RunShape.LIST, rows=listing.read_listing("sku,size,seed\nM-1,600x600,5\n").rows
        )
    )
    spec = JobSpec.objects.get(cell__run=run).spec
    assert (spec["width"], spec["height"], spec["seed"]) == (600, 600, 5)
