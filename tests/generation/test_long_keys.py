"""Test keys as long as shops make them: imported whole, cut on request, and file names that stay different."""

from __future__ import annotations

import pytest

from campaigns.feeds import cells, fixes, suggest_mapping
from campaigns.feeds.fixes import ChosenFix, FixApplier
from generation.finishing import names
from tests.campaigns.test_feeds_markup import SHOPIFY, table
from tests.support.feed_files import only_issue, parsed

DEFAULT = "{brand}_{sku}_{asset_type}_{spec}_{date}_{variation}"
VALUES = {"brand": "kiln-and-loom", "campaign": "autumn", "asset_type": "packshot", "date": "20261121", "spec": "shop"}


@pytest.mark.parametrize("length", [119, 120, 121, 134, 255])
def test_a_handle_of_255_characters_is_imported(length: int) -> None:
    rows, issues = parsed(table(SHOPIFY, ["h" * length, "Mug", "", "Title", "Default Title", "M1", ""]))
    assert not issues
    assert (rows[0].key, rows[1].parent_key) == ("h" * length, "h" * length)


@pytest.mark.parametrize(
    ("headings", "row"),
    [
        (SHOPIFY, ["{key}", "Mug", "", "Title", "Default Title", "M1", ""]),
        (["sku", "name"], ["{key}", "Mug"]),
        (["sku", "name", "parent_sku"], ["{key}", "Mug", ""]),
    ],
)
@pytest.mark.parametrize("length", [256, 300, 2000])
def test_cutting_keys_to_the_limit_makes_the_file_right_and_keeps_keys_apart(
    headings: list[str], row: list[str], length: int
) -> None:
    rows = [[cell.replace("{key}", "h" * (length - 1) + end) for cell in row] for end in "ab"]
    feed = table(headings, *rows)
    _, issues = parsed(feed)
    assert {issue.cause for issue in issues} == {"too_long"}
    mending = FixApplier([ChosenFix("too_long", "cut")], suggest_mapping)
    parsed_rows, issues = parsed(feed, record_fix=mending)
    assert not issues
    keys = {row.key for row in parsed_rows if not row.parent_key}
    assert (len(keys), {len(key) for key in keys}, mending.changed) == (2, {255}, [2])


def test_a_parent_is_cut_as_its_product_is() -> None:
    key = "h" * 300
    mending = FixApplier([ChosenFix("too_long", "cut")], suggest_mapping)
    rows, issues = parsed(table(["sku", "name", "parent_sku"], [key, "Mug", ""], ["V", "Mug", key]), record_fix=mending)
    assert not issues
    assert rows[1].parent_key == rows[0].key


def test_the_offered_fix_shows_what_it_does() -> None:
    issue = only_issue(table(["sku", "name"], ["h" * 256, "Mug"]))
    assert fixes.find_fix("too_long", "cut").example(issue.value, "key")


def test_keys_made_of_titles_stay_as_they_were() -> None:
    rows, _ = parsed("title\n" + "word " * 60 + "\n", kind="article")
    assert len(rows[0].key) <= 120


@pytest.mark.parametrize("pattern", [DEFAULT, "{sku}-{spec}-{variation}", "{brand}/{sku}/{spec}_{variation}_{sku}"])
@pytest.mark.parametrize("length", [60, 91, 120, 200, 255])
def test_a_file_name_keeps_spec_and_variation_whatever_the_key(pattern: str, length: int) -> None:
    made = set()
    for key in ("k" * (length - 1) + "a", "k" * (length - 1) + "b"):
        for spec in ("shop", "story"):
            for variation in ("ffffff-left", "ffffff-right"):
                name = names.name_for(
                    pattern, VALUES | {"sku": key, "spec": spec, "variation": variation}, image_format="webp"
                )
                assert spec in name and variation in name
                assert all(len(part) <= names.MAX_LENGTH + len(".webp") for part in name.split("/"))
                made.add(name.casefold())
    assert len(made) == 8


@pytest.mark.parametrize(
    ("pattern", "values"),
    [
        (DEFAULT, {"sku": "k" * 255, "variation": "v" * 300}),
        (DEFAULT, {"sku": "k" * 90, "variation": "v" * 90}),
        ("{variation}", {"variation": "v" * 400}),
        ("x" * 110 + "{sku}-{variation}", {"sku": "k" * 90, "variation": "left"}),
        ("{sku}" * 8, {"sku": "k" * 60}),
    ],
)
def test_names_that_differ_late_stay_different_when_shortened(pattern: str, values: dict[str, str]) -> None:
    last = next(iter(values))
    made = {names.name_for(pattern, VALUES | values | {last: values[last] + end}) for end in ("1", "2")}
    assert len(made) == 2
    assert all(len(name) <= names.MAX_LENGTH for name in made)


def test_the_name_that_is_planned_is_the_name_that_is_delivered() -> None:
    varying = {"sku": "k" * 150, "variation": "left"}
    planned = names.make_namer(DEFAULT, image_format="webp", fixed=VALUES)(varying)
    assert planned == names.name_for(DEFAULT, VALUES | varying, image_format="webp")


def test_short_names_are_as_they_were() -> None:
    name = names.name_for(DEFAULT, VALUES | {"sku": "A-1", "variation": "left"}, image_format="webp")
    assert name == "kiln-and-loom_A-1_packshot_shop_20261121_left.webp"


def test_a_shortened_key_is_the_same_each_time() -> None:
    assert cells.shorten_key("a" * 300) == cells.shorten_key("a" * 300) != cells.shorten_key("a" * 301)
