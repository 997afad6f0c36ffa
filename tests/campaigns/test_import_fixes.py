"""Tests of fixes for all rows at once: each changes only the wrong cells, as its button says."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from campaigns.choices import ImportStatus
from campaigns.feeds import CAUSES, FeedRow, Issue, fixes, open_feed, suggest_mapping
from campaigns.feeds.fixes import ChosenFix, FixApplier
from campaigns.models import FeedImport, Subject
from campaigns.selectors import annotated_files
from campaigns.selectors import imports as selectors
from campaigns.services import feed_reading, imports
from core.errors import Conflict, Invalid, NotFound
from core.models import Brand, User


def read(text: str | bytes, *chosen: ChosenFix) -> tuple[list[FeedRow], list[Issue], list[int]]:
    """Return rows, issues, and the number of cells that each fix changed."""
    fix_applier = FixApplier(chosen, suggest_mapping)
    data = text.encode() if isinstance(text, str) else text
    rows: list[FeedRow] = []
    issues: list[Issue] = []
    for item in open_feed(io.BytesIO(data), record_fix=fix_applier).rows():
        (issues if isinstance(item, Issue) else rows).append(item)  # type: ignore[arg-type]
    return rows, issues, fix_applier.changed


def prices(*cells: str, fix: Sequence[ChosenFix]) -> tuple[list[str], int]:
    """Return the prices that are read, and how many are still wrong."""
    body = "".join(f'{number},Mug,"{cell}"\n' for number, cell in enumerate(cells))
    rows, issues, _ = read(f"sku,name,price\n{body}", *fix)
    return [row.attributes.get("price", "") for row in rows], len(issues)


@pytest.mark.parametrize(
    ("cell", "read_as"),
    [
        ("from 12,90 €", "12.90"), ("12.90 per piece", "12.90"), ("12,-", "12.00"), ("on request", None),
        ("2 for 10 €", None), ("12,9o €", None), ("12.90 / 10.90", None), ("approx. 1.234,50 EUR", "1234.50"),
        ("was 5", "5.00"), ("v2", None),
    ],
)  # fmt: skip
def test_the_one_number_of_a_text_is_its_price_and_several_are_none(cell: str, read_as: str | None) -> None:
    values, wrong = prices(cell, fix=[ChosenFix("price_unreadable", "number_in_text")])
    assert (values, wrong) == (([read_as], 0) if read_as else ([""], 1))


def test_the_next_fix_applies_to_the_result_of_the_one_before() -> None:
    chosen = [ChosenFix("price_unreadable", "number_in_text"), ChosenFix("price_unreadable", "leave_empty")]
    rows, issues, changed = read("sku,name,price\n1,a,from 5 €\n2,b,cheap\n3,c,7\n", *chosen)
    assert [row.attributes.get("price") for row in rows] == ["5.00", None, "7.00"]
    assert (issues, changed) == ([], [1, 1])


@pytest.mark.parametrize(
    ("fix", "read_as"), [("comma_decimal", ["1.234", "1234.00"]), ("point_decimal", ["1234.00", "1.234"])]
)
def test_a_price_with_two_readings_is_read_as_people_say(fix: str, read_as: list[str]) -> None:
    values, wrong = prices("1,234", "1.234 €", "12.50", "3,50", fix=[ChosenFix("price_ambiguous", fix)])
    assert (values, wrong) == ([*read_as, "12.50", "3.50"], 0)


def test_the_currency_beside_an_ambiguous_price_is_kept() -> None:
    rows, _, _ = read('sku,name,price\n1,a,"1,234 €"\n', ChosenFix("price_ambiguous", "point_decimal"))
    assert rows[0].attributes == {"price": "1234.00", "currency": "EUR"}


def test_a_negative_price_loses_its_sign() -> None:
    assert prices("-5,00", "6", fix=[ChosenFix("price_negative", "drop_sign")]) == (["5.00", "6.00"], 0)


@pytest.mark.parametrize(
    ("cause", "fix", "line"),
    [
        ("key_scientific", "leave_out", "4.0E+12,Mug,5,red"), ("formula", "leave_out", "2,=A1,5,red"),
        ("key_missing", "leave_out", ",Mug,5,red"), ("name_missing", "leave_out", "2,,5,red"),
        ("ragged", "leave_out", "2,Mug"), ("price_unreadable", "leave_out", "2,Mug,cheap,red"),
        ("price_negative", "leave_out", "2,Mug,-5,red"), ("too_long", "leave_out", f"2,{'x' * 301},5,red"),
        ("key_unreadable", "leave_out", '"2\n2",Mug,5,red'),
    ],
)  # fmt: skip
def test_a_row_is_left_out_and_the_others_stay(cause: str, fix: str, line: str) -> None:
    feed = f"sku,name,price,colour\n1,Cup,3,sage\n{line}\n3,Jar,4,clay\n"
    _, before, _ = read(feed)
    rows, issues, changed = read(feed, ChosenFix(cause, fix))
    assert [issue.cause for issue in before] == [cause]
    assert ([row.key for row in rows], issues, changed) == (["1", "3"], [], [1])


@pytest.mark.parametrize(
    ("cause", "fix", "heading", "cell", "read_as"),
    [
        ("formula", "leave_empty", "colour", "=A1", {}),
        ("hex_unreadable", "leave_empty", "hex", "greenish", {}),
        ("price_unreadable", "leave_empty", "price", "cheap", {}),
        ("control_character", "remove", "colour", "sa\x07ge", {"colour": "sage"}),
    ],
)
def test_a_cell_is_corrected_and_the_row_stays(
    cause: str, fix: str, heading: str, cell: str, read_as: dict[str, str]
) -> None:
    feed = f"sku,name,{heading}\n1,Cup,{cell}\n"
    assert [issue.cause for issue in read(feed)[1]] == [cause]
    rows, issues, changed = read(feed, ChosenFix(cause, fix))
    assert (dict(rows[0].attributes), issues, changed) == (read_as, [], [1])


def test_a_nameless_row_is_called_by_its_sku() -> None:
    rows, issues, changed = read("sku,name\n1,\n2,Jar\n", ChosenFix("name_missing", "key_as_name"))
    assert ([row.name for row in rows], issues, changed) == (["1", "Jar"], [], [1])


def test_a_long_name_is_cut_to_what_is_allowed() -> None:
    rows, issues, _ = read(f"sku,name\n1,{'word ' * 90}\n", ChosenFix("too_long", "cut"))
    assert (len(rows[0].name) <= 300, rows[0].name[:9], issues) == (True, "word word", [])


def test_only_the_unusable_photos_of_a_cell_go() -> None:
    feed = "sku,name,photo\n1,Cup,cup.jpg|mailto:me|side.jpg\n"
    assert [issue.cause for issue in read(feed)[1]] == ["photo_unusable"]
    rows, issues, _ = read(feed, ChosenFix("photo_unusable", "leave_empty"))
    assert ([photo["source"] for photo in rows[0].photos], issues) == (["cup.jpg", "side.jpg"], [])


def test_a_synonym_of_a_kind_becomes_that_kind() -> None:
    rows, issues, _ = read("sku,name,kind\n1,Cup,tableware\n2,Why,Article\n", ChosenFix("kind_unknown", "as_product"))
    assert ([row.kind for row in rows], issues) == (["product", "article"], [])


def test_bytes_of_an_older_encoding_become_the_letters_that_they_were() -> None:
    feed = "sku,name\n1,café\n3,éclair à la crème\n".encode() + b"2,caf\xe9 \x8024\n"
    assert [issue.cause for issue in read(feed)[1]] == ["control_character"]
    rows, issues, changed = read(feed, ChosenFix("control_character", "windows_1252"))
    assert ([row.name for row in rows], issues, changed) == (["café", "éclair à la crème", "café €24"], [], [1])


def test_short_rows_are_filled_up_and_long_ones_cut_off() -> None:
    feed = "sku,name,colour\n1,Cup\n2,Jar,sage,more\n3,Mug,clay\n"
    rows, issues, changed = read(feed, ChosenFix("ragged", "fill"), ChosenFix("ragged", "trim"))
    assert ([row.attributes.get("colour") for row in rows], issues) == ([None, "sage", "clay"], [])
    assert changed == [1, 1]


def test_values_without_a_heading_are_ignored() -> None:
    feed = "sku,,name\n1,x,Cup\n2,,Jar\n"
    assert [issue.cause for issue in read(feed)[1]] == ["column_unnamed"]
    rows, issues, changed = read(feed, ChosenFix("column_unnamed", "ignore"))
    assert (len(rows), issues, changed) == (2, [], [1])


def test_a_fix_keeps_to_its_columns() -> None:
    feed = "sku,name,price,cost\n1,Cup,cheap,dear\n"
    _, issues, _ = read(feed, ChosenFix("price_unreadable", "leave_empty", ("price",)))
    assert [issue.column for issue in issues] == ["cost"]


def test_sound_cells_stay_as_they_are() -> None:
    everything = [
        ChosenFix(cause, fix.id)
        for cause, cause_fixes in fixes.FIXES.items()
        for fix in cause_fixes
        if not fix.is_staged
    ]
    feed = 'sku,name,price,colour,photo,hex\n007,"Mug, sage","12,90 €",sage,a.jpg|b.jpg,#7a8f6a\n'
    assert read(feed, *everything)[:2] == read(feed)[:2]
    assert sum(read(feed, *everything)[2]) == 0


def test_every_fix_is_for_a_cause_that_exists_and_says_what_it_does() -> None:
    assert set(fixes.FIXES) <= set(CAUSES)
    for cause, cause_fixes in fixes.FIXES.items():
        assert len({fix.id for fix in cause_fixes}) == len(cause_fixes)
        for fix in cause_fixes:
            assert fix.label and fix.explanation.endswith("."), (cause, fix.id)
            if not (fix.is_staged or fix.row):
                assert not fixes.is_wrong(cause, "", "name")


def test_a_row_that_ends_before_its_key_gets_no_name_from_it() -> None:
    rows, issues, changed = read("colour,name,sku\nred,,\nred, \n,,3\n", ChosenFix("name_missing", "key_as_name"))
    assert ([row.name for row in rows], changed) == (["3"], [1])
    assert [issue.cause for issue in issues] == ["name_missing", "key_missing", "ragged"]


def test_an_unknown_fix_lists_the_known_ones() -> None:
    with pytest.raises(fixes.UnknownFix, match="known are fill, trim, leave_out"):
        fixes.find_fix("ragged", "pray")
    with pytest.raises(fixes.UnknownFix, match="no fix for 'quote'"):
        fixes.find_fix("quote", "leave_out")


# -- applied to an import ----------------------------------------------------------------------------------------------


@pytest.fixture
def upload_feed(brand: Brand, manager: User) -> Callable[..., FeedImport]:
    """Return a function: `upload_feed(text)` uploads the text as the campaign manager does on the page."""

    def make(text: str, **options: Any) -> FeedImport:
        values: dict[str, Any] = {"brand": brand, "file_name": "feed.csv", "by": manager} | options
        return imports.upload(file=io.BytesIO(text.encode()), **values)

    return make


WRONG = "sku,name,price\n1,Cup,cheap\n2,Jar,5\n2,Jar again,6\n3,Mug,dear\n"


def test_fixes_are_applied_one_after_the_other_until_nothing_is_wrong(
    upload_feed: Callable[..., FeedImport], manager: User
) -> None:
    feed_import = upload_feed(WRONG)
    assert feed_import.issue_counts == {"price_unreadable": 2, "duplicate_key": 1}
    feed_import = imports.add_fix(import_id=feed_import.pk, by=manager, cause="price_unreadable", fix="leave_empty")
    assert feed_import.issue_counts == {"duplicate_key": 1}
    feed_import = imports.add_fix(import_id=feed_import.pk, by=manager, cause="duplicate_key", fix="keep_last")
    assert (feed_import.error_count, feed_import.created) == (0, 3)
    assert [fix["changed"] for fix in feed_import.fixes] == [2, 1]
    assert not Subject.objects.exists()
    feed_import = imports.apply(import_id=feed_import.pk, by=manager)
    assert (feed_import.status, feed_import.created) == (ImportStatus.APPLIED, 3)
    assert dict(Subject.objects.values_list("key", "name")) == {"1": "Cup", "2": "Jar again", "3": "Mug"}


def test_the_first_of_two_rows_may_be_kept(upload_feed: Callable[..., FeedImport], manager: User) -> None:
    feed_import = upload_feed("sku,name\n2,Jar\n2,Jar again\n", fixes=[{"cause": "duplicate_key", "fix": "keep_first"}])
    imports.apply(import_id=feed_import.pk, by=manager)
    assert Subject.objects.get().name == "Jar"


def test_one_of_two_equal_variants_may_be_kept(upload_feed: Callable[..., FeedImport], manager: User) -> None:
    feed = "Handle,Title,Option1 Name,Option1 Value,Variant SKU\nmug,Mug,Size,S,\nmug,,,S,\n"
    feed_import = upload_feed(feed, fixes=[{"cause": "duplicate_variant", "fix": "keep_first"}])
    imports.apply(import_id=feed_import.pk, by=manager)
    assert Subject.objects.get().variants.count() == 1


def test_photos_of_unknown_products_may_be_left_out(upload_feed: Callable[..., FeedImport], manager: User) -> None:
    imports.apply(import_id=upload_feed("sku,name\n1,Cup\n").pk, by=manager)
    feed_import = upload_feed("sku,image\n1,a.jpg\n9,b.jpg\n")
    assert feed_import.issue_counts == {"parent_unknown": 1}
    feed_import = imports.add_fix(import_id=feed_import.pk, by=manager, cause="parent_unknown", fix="leave_out")
    assert (feed_import.error_count, feed_import.updated, feed_import.fixes[0]["changed"]) == (0, 1, 1)


def previewed(feed_import: FeedImport) -> list[tuple[str, str, int, list[str]]]:
    """Return the key, name, number of photos and variants of each previewed subject."""
    subjects = annotated_files.preview_import(feed_import).subjects
    return [(each.key, each.name, len(each.photos), each.variants) for each in subjects]


REPEATED = "sku,name,image\n1,Cup,a.jpg\n2,Jar,b.jpg\n2,Jar again,c.jpg\n3,Mug,\n4,Lid,\n5,Pot,\n1,Cup again,\n"


@pytest.mark.parametrize(
    ("fix", "names", "photos"),
    [
        ("keep_first", ["Cup", "Jar", "Mug", "Lid"], [1, 1, 0, 0]),
        # The last row of the first product comes after all previewed subjects.
        ("keep_last", ["Cup again", "Jar again", "Mug", "Lid"], [0, 1, 0, 0]),
    ],
)
def test_the_preview_shows_the_rows_that_a_fix_of_repeated_keys_keeps(
    upload_feed: Callable[..., FeedImport], manager: User, fix: str, names: list[str], photos: list[int]
) -> None:
    feed_import = upload_feed(REPEATED, fixes=[{"cause": "duplicate_key", "fix": fix}])
    assert [(name, count) for _, name, count, _ in previewed(feed_import)] == list(zip(names, photos, strict=True))
    imports.apply(import_id=feed_import.pk, by=manager)
    assert list(Subject.objects.filter(key__lt="5").order_by("key").values_list("name", flat=True)) == names


@pytest.mark.parametrize(("fix", "photo"), [("keep_first", "a.jpg"), ("keep_last", "b.jpg")])
def test_the_preview_shows_the_variant_that_a_fix_keeps(
    upload_feed: Callable[..., FeedImport], fix: str, photo: str
) -> None:
    feed = "sku,name,parent_sku,size,image\nmug,Mug,,,\nmug-s,,mug,S,a.jpg\nmug-s,,mug,M,b.jpg\nmug-l,,mug,L,\n"
    feed_import = upload_feed(feed, fixes=[{"cause": "duplicate_variant", "fix": fix}])
    (subject,) = annotated_files.preview_import(feed_import).subjects
    assert subject.variants == ["S" if fix == "keep_first" else "M", "L"]
    assert [image["source"] for image in subject.photos] == [photo]


def test_the_preview_leaves_out_the_rows_of_unknown_products(
    upload_feed: Callable[..., FeedImport], manager: User
) -> None:
    imports.apply(import_id=upload_feed("sku,name\n1,Cup\n").pk, by=manager)
    unknown = "".join(f"{key},b.jpg\n" for key in range(5, 12))
    feed_import = upload_feed(f"sku,image\n{unknown}1,a.jpg\n")
    assert len(previewed(feed_import)) == 4
    feed_import = imports.add_fix(import_id=feed_import.pk, by=manager, cause="parent_unknown", fix="leave_out")
    assert previewed(feed_import) == [("1", "", 1, [])]


def test_the_preview_keeps_variants_that_stand_for_their_product(upload_feed: Callable[..., FeedImport]) -> None:
    feed = 'sku,name,parent_sku,size\nA,Mug,,\nX-1,,X,S\nY-1,"Jar, S",Y,S\nA-1,,A,S\n'
    feed_import = upload_feed(feed, fixes=[{"cause": "parent_unknown", "fix": "leave_out"}])
    assert previewed(feed_import) == [("A", "Mug", 0, ["S"]), ("Y", "Jar", 0, ["S"])]


def test_a_fix_of_repeated_keys_adds_no_mistakes_of_later_rows_to_the_preview(
    upload_feed: Callable[..., FeedImport],
) -> None:
    rows = "".join(f"{key},Mug,{'cheap' if key > 6 else 5}\n" for key in range(1, 12))
    feed_import = upload_feed(f"sku,name,price\n{rows}", fixes=[{"cause": "duplicate_key", "fix": "keep_first"}])
    preview = annotated_files.preview_import(feed_import)
    assert (len(preview.subjects), preview.issues) == (4, [])


def test_a_fix_may_be_taken_back(upload_feed: Callable[..., FeedImport], manager: User) -> None:
    feed_import = upload_feed(WRONG)
    imports.add_fix(import_id=feed_import.pk, by=manager, cause="price_unreadable", fix="leave_empty")
    feed_import = imports.take_back_fix(
        import_id=feed_import.pk, by=manager, cause="price_unreadable", fix="leave_empty"
    )
    assert (feed_import.fixes, feed_import.issue_counts["price_unreadable"]) == ([], 2)
    with pytest.raises(NotFound):
        imports.take_back_fix(import_id=feed_import.pk, by=manager, cause="price_unreadable", fix="leave_empty")


def test_unknown_fixes_are_refused(upload_feed: Callable[..., FeedImport], manager: User) -> None:
    with pytest.raises(Invalid, match="known are"):
        imports.add_fix(import_id=upload_feed(WRONG).pk, by=manager, cause="price_unreadable", fix="guess")
    with pytest.raises(Invalid):
        upload_feed(WRONG, fixes=[{"cause": "typo", "fix": "x"}])


def test_two_people_who_fix_at_once_do_not_lose_each_others_fix(
    upload_feed: Callable[..., FeedImport], manager: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed_import = upload_feed(WRONG)
    seen = imports._load(feed_import.pk, manager)
    imports.add_fix(import_id=feed_import.pk, by=manager, cause="price_unreadable", fix="leave_empty")
    monkeypatch.setattr(imports, "_load", lambda *_: seen)  # the state that the slower user had on screen
    with pytest.raises(Conflict, match="somebody else"):
        imports.add_fix(import_id=feed_import.pk, by=manager, cause="duplicate_key", fix="keep_first")


def test_fixes_are_offered_with_an_example_from_the_file(upload_feed: Callable[..., FeedImport], manager: User) -> None:
    feed_import = upload_feed('sku,name,price\n1,Cup,cheap\n2,Jar,from 5 €\n3,Mug,"1,234"\n')
    offers = {
        (group.cause, fix.id): example
        for group in selectors.group_issues(manager, feed_import)
        for fix, example in group.offers
    }
    assert offers["price_unreadable", "number_in_text"] == "from 5 € → 5"
    assert offers["price_unreadable", "leave_empty"] == "cheap → empty"
    assert offers["price_ambiguous", "comma_decimal"] == "1,234 → 1.234"
    assert offers["price_ambiguous", "point_decimal"] == "1,234 → 1234"


def test_a_mistake_beyond_those_that_are_stored_is_fixed_too(
    upload_feed: Callable[..., FeedImport], manager: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_reading, "MAX_STORED_PER_CAUSE", 3)
    feed_import = upload_feed("sku,name,price\n" + "".join(f"{number},Cup,cheap\n" for number in range(20)))
    assert (feed_import.error_count, feed_import.issues.count()) == (20, 3)
    feed_import = imports.add_fix(import_id=feed_import.pk, by=manager, cause="price_unreadable", fix="leave_empty")
    assert (feed_import.error_count, feed_import.fixes[0]["changed"]) == (0, 20)
    assert feed_import.fixes[0]["columns"] == ["price"]
