"""Test the example catalogue, its deliberate flaws, and its loading."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from campaigns import prompts
from campaigns.models import GuideVersion, PromptVersion, Subject
from campaigns.services import imports
from core import audit_chain
from core.access import Action, can
from core.models import Brand, Event, Membership, User
from core.services import audit
from examples import loading, tamper
from examples.render import native, render
from examples.render.catalogue import PHOTOS, SETS, products
from generation.models import Endpoint
from review.models import Checklist, Destination, Reason
from review.selectors import workspace

BRAND, NEIGHBOUR = loading.FOLDERS
KINDS = {"mug", "bowl", "plate", "vase", "lamp", "teapot", "jar", "bottle"}
needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="the renderer needs a C compiler")


def pixels_of(name: str) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(PHOTOS / name).convert("RGB"))


# -- the catalogue ----------------------------------------------------------------------------------------------------


def test_the_feed_names_28_products_of_eight_kinds() -> None:
    rows = products()
    assert len({row["sku"] for row in rows}) == 28
    counts = Counter(row["category"] for row in rows)
    assert set(counts) == KINDS
    assert set(counts.values()) <= {3, 4}
    assert all(all(row.values()) for row in rows)


def test_every_photo_is_there_and_of_catalogue_size() -> None:
    sizes = {row["photo"]: Image.open(PHOTOS / row["photo"]).size for row in products()}
    assert sizes.pop("jar-cobalt.jpg") == (420, 420)
    assert set(sizes.values()) == {(1024, 1024)}
    assert {path.name for path in PHOTOS.glob("*.jpg")} == {*sizes, "jar-cobalt.jpg"}


def test_all_photos_together_stay_below_six_megabytes() -> None:
    files = [path for _, folder, _ in SETS for path in folder.glob("*.jpg")]
    assert len(files) == 30
    assert sum(path.stat().st_size for path in files) < 6_000_000


def test_exactly_two_products_share_one_photo() -> None:
    shared = [name for name, count in Counter(row["photo"] for row in products()).items() if count > 1]
    assert shared == ["bowl-celadon.jpg"]


def test_exactly_one_photo_contains_where_it_was_taken() -> None:
    located = [path.name for path in PHOTOS.glob("*.jpg") if Image.open(path).getexif().get_ifd(0x8825)]
    assert located == ["bottle-ochre.jpg"]


def test_the_chalk_plate_is_white_on_white() -> None:
    photo = pixels_of("plate-chalk.jpg").astype(int)
    backdrop, plate = photo[:80, :80].reshape(-1, 3).mean(0), photo[480:520, 480:540].reshape(-1, 3).mean(0)
    assert backdrop.min() > 235
    assert np.abs(backdrop - plate).max() < 25


def test_the_sage_vase_is_teal() -> None:
    red, green, blue = pixels_of("vase-sage.jpg")[640:760, 470:560].reshape(-1, 3).astype(int).mean(0)
    row = next(row for row in products() if row["photo"] == "vase-sage.jpg")
    assert (row["colour"], row["hex"]) == ("sage", "#9caf88")
    assert blue > red + 30  # sage has less blue than red
    assert blue > 0.9 * green


# -- loading ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def loaded(db: None, tmp_path: Path) -> list[loading.Example]:
    return loading.load_all(delivered_to=tmp_path)


def counts() -> dict[str, int]:
    models = (Brand, User, Membership, GuideVersion, PromptVersion, Endpoint, Checklist, Reason, Destination, Event)
    return {model.__name__: model.objects.count() for model in models}


def test_loading_twice_changes_nothing(loaded: list[loading.Example], tmp_path: Path) -> None:
    before = counts()
    reloaded = loading.load_all(delivered_to=tmp_path)
    assert counts() == before
    assert [example.campaign.pk for example in reloaded] == [example.campaign.pk for example in loaded]


def test_the_reasons_are_those_of_the_example_alone(loaded: list[loading.Example], tmp_path: Path) -> None:
    loading.load_all(delivered_to=tmp_path)
    for example in loaded:
        codes = [reason.code for reason in workspace.reasons(brand_id=example.brand.pk)]
        plain = json.loads(example.feed.with_name("brand.json").read_text())
        assert codes == [reason["code"] for reason in plain["reasons"]]


def test_what_people_changed_survives_loading_again(loaded: list[loading.Example], tmp_path: Path) -> None:
    reason = Reason.objects.filter(brand=loaded[0].brand).first()
    Reason.objects.filter(pk=reason.pk).update(label="Our own words")
    loading.load_all(delivered_to=tmp_path)
    reason.refresh_from_db()
    assert reason.label == "Our own words"


def test_the_example_has_everyone_that_the_line_needs(loaded: list[loading.Example]) -> None:
    roles = {role for login in loaded[0].logins for role in login.roles}
    assert roles == {"campaign_manager", "designer", "reviewer", "lead", "viewer"}
    assert all(User.objects.get(username=login.username).check_password(login.password) for login in loaded[0].logins)
    assert not User.objects.get(username="operator").has_usable_password()


def test_neighbours_see_nothing_of_each_other(loaded: list[loading.Example]) -> None:
    ours, theirs = loaded
    for mine, other in ((ours, theirs), (theirs, ours)):
        for login in mine.logins:
            person = User.objects.get(username=login.username)
            assert not any(can(person, action, other.brand) for action in Action)
            for model in (Brand, GuideVersion, PromptVersion, Event, Checklist, Reason, Destination):
                assert not model.objects.visible_to(person).filter(pk__in=rows_of(model, other.brand)).exists()
                assert model.objects.visible_to(person).exists() or not rows_of(model, mine.brand)


def rows_of(model: Any, brand: Brand) -> list[int]:
    path = model.objects.all().brand_path
    return list(model.objects.filter(**{path: brand.pk}).values_list("pk", flat=True))


def test_the_guide_remarks_on_the_first_prompt_and_praises_the_second(loaded: list[loading.Example]) -> None:
    guide = GuideVersion.objects.get(brand=loaded[0].brand)
    assert sorted(guide.images.values_list("use", flat=True)) == ["do", "do", "dont", "dont", "logo", "logo"]
    first, second = PromptVersion.objects.filter(template__brand=loaded[0].brand).order_by("number")
    assert {remark.word for remark in prompts.problems(first.text, guide)} == {"luxury", "as photographed"}
    assert prompts.problems(second.text, guide) == []
    assert (first.status, second.status) == ("draft", "approved")


def test_every_product_has_what_the_prompts_ask_for() -> None:
    for folder in loading.FOLDERS:
        for prompt in loading.read(folder)["prompts"]:
            for version in prompt["versions"]:
                placeholders = {node.name for node in prompts.parse(version["text"]) if isinstance(node, prompts.Slot)}
                for row in products(folder / "products.csv"):
                    assert placeholders <= {*row, *version["axes"]}


def test_somebody_elses_account_is_never_taken_over(db: None, tmp_path: Path) -> None:
    User.objects.create_user("mara", email="mara@elsewhere.test", password="her own")
    with pytest.raises(ValueError, match="mara"):
        loading.load_all(delivered_to=tmp_path)
    assert User.objects.get(username="mara").check_password("her own")
    assert not Brand.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_both_feeds_import_without_a_mistake_and_stay_apart(tmp_path: Path) -> None:
    for example, expected in zip(loading.load_all(delivered_to=tmp_path), (28, 3), strict=True):
        feed_import = imports.import_feed(
            brand=example.brand, file=example.feed, file_name=example.feed.name, by=example.owner
        )
        assert (feed_import.created, feed_import.error_count) == (expected, 0)
        assert Subject.objects.visible_to(example.owner).count() == expected
        assert all((example.photos / row["photo"]).is_file() for row in products(example.feed))


@pytest.mark.django_db(transaction=True)
def test_the_feed_with_mistakes_is_refused_with_six_causes(tmp_path: Path) -> None:
    example = loading.load(BRAND, delivered_to=tmp_path)
    path = BRAND / "products-with-mistakes.csv"
    feed_import = imports.import_feed(brand=example.brand, file=path, file_name=path.name, by=example.owner)
    assert feed_import.status == "refused"
    assert set(feed_import.issues.values_list("cause", flat=True)) == {
        "duplicate_key",
        "price_unreadable",
        "key_scientific",
        "name_missing",
        "ragged",
        "formula",
    }
    assert not Subject.objects.exists()


# -- the forged trail -------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_one_forged_byte_is_found_at_its_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROOFLINE_VAR", str(tmp_path))
    loading.load_all(delivered_to=tmp_path)
    out = io.StringIO()
    call_command("demo_tamper", "--json", stdout=out)
    report = json.loads(out.getvalue())
    assert report["original"]["is_intact"]
    assert report["copy"]["first_broken_seq"] == report["forged_seq"] > 1
    whole, forged = ((tmp_path / "tamper" / name).read_bytes() for name in ("trail.jsonl", "trail-forged.jsonl"))
    assert len(whole) == len(forged)
    assert sum(a != b for a, b in zip(whole, forged, strict=True)) == 1
    assert audit.verify(Brand.objects.get(slug="kilnmoor")).is_intact


def test_a_missing_audit_trail_is_reported(db: None) -> None:
    with pytest.raises(CommandError, match="no brand"):
        call_command("demo_tamper")


@pytest.mark.parametrize("at", [0, 3, 6])
def test_any_link_can_be_forged_and_is_named(at: int) -> None:
    head, lines = audit_chain.GENESIS, []
    for seq in range(1, 8):
        body = {"seq": seq, "actor_label": "Żaneta", "payload": {"actor_label": "Żaneta"}}
        link = audit_chain.Link(seq, head, audit_chain.link_hash(head, body), body)
        head = link.hash
        lines.append(audit_chain.to_line(link))
    forgery = tamper.forge(lines, at=at)
    assert audit_chain.verify_export(lines).is_intact
    assert audit_chain.verify_export(forgery.lines).first_broken_seq == at + 1


# -- the renderer -----------------------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_renders_in_its_colour_with_true_coverage(kind: str) -> None:
    photo = render(kind, "#2f4f9e", size=96, material="porcelain", with_alpha=True)
    alpha = photo[..., 3]
    assert photo.shape == (96, 96, 4)
    assert 0.08 < (alpha > 127).mean() < 0.6
    assert alpha[0].max() == alpha[-1].max() == alpha[:, 0].max() == alpha[:, -1].max() == 0
    assert ((alpha > 0) & (alpha < 255)).any()
    solid = photo[alpha == 255].astype(int)
    assert (solid[:, 2] > solid[:, 0] + 30).mean() > 0.2


@needs_compiler
def test_the_same_arguments_give_the_same_pixels() -> None:
    assert np.array_equal(render("mug", "#6f7f58", size=64), render("mug", "#6f7f58", size=64))


@needs_compiler
def test_light_from_the_left_shades_the_right() -> None:
    left = render("jar", "#d8c7a6", size=96, light="soft left").astype(int)
    right = render("jar", "#d8c7a6", size=96, light="soft right").astype(int)
    middle = slice(40, 70)
    assert left[middle, 25:35].mean() > left[middle, 60:70].mean() + 8
    assert right[middle, 60:70].mean() > right[middle, 25:35].mean() + 8


@needs_compiler
def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match="known are mug"):
        render("sofa", "#ffffff")
    with pytest.raises(ValueError, match="known are stoneware"):
        render("mug", "#ffffff", material="gold")
