"""Tests that an approval goes stale when an input changes, says why, and waits for the next decision."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, transaction
from django.utils import timezone
from PIL import Image

from campaigns.models import Cutout, GuideVersion, ReferencePhoto, Subject
from campaigns.services import cutouts, guides, imports, photos, subjects
from core.errors import Conflict, Invalid, Stale
from core.models import Brand, Event, User
from core.services import audit, brands
from generation.models import Asset, JobSpec, StaleAsset, StaleCandidate
from generation.services.images import staleness
from review.models import ChecklistVersion, Decision, Delivery, ReviewTask
from review.selectors import changes, usable_assets
from review.selectors import staleness as because
from review.services import checklists, consequences, decisions, queue
from tests.support import factories, scenes
from tests.support.approved_images import (
    approve_task,
    create_approved_image,
    create_product,
    import_products,
    make_image,
    plan_run,
)
from tests.support.images_in_review import add_default_reasons, decision_arguments

pytestmark = pytest.mark.django_db

Change = Callable[[Subject, User], Any]


@pytest.fixture
def mug(brand: Brand) -> Subject:
    return create_product(brand)


@pytest.fixture
def image(brand: Brand, mug: Subject, manager: User, reviewer: User) -> Asset:
    """An approved image of the mug, made with "{name} in {colour}" from its cut-out."""
    return create_approved_image(brand, mug, manager, reviewer)


def state(asset: Asset) -> str:
    return str(Asset.objects.get(pk=asset.pk).state)


def reasons_of(asset: Asset) -> list[str]:
    """Return the causes of staleness, as people read them."""
    changed = because.get_staleness(Asset.objects.get(pk=asset.pk))
    return changed["sentences"] if changed else []


def task_of(asset: Asset) -> ReviewTask:
    return ReviewTask.objects.get(asset=asset)


def jpeg(kind: str = "vase") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scenes.scene(kind, size=256).pixels).save(buffer, "JPEG", quality=93)
    return buffer.getvalue()


def in_effect() -> None:
    consequences.carry_out_due(now=timezone.now() + timedelta(minutes=1))


# -- values of the feed ----------------------------------------------------------------------------------------------

VALUES: dict[str, tuple[tuple[str, ...], str]] = {
    "another colour": (("MUG-1", "Mug", "teal", "stoneware", "12.90"), "colour changed from sage to teal."),
    "another name": (("MUG-1", "Large mug", "sage", "stoneware", "12.90"), "name changed from Mug to Large mug."),
    "an emptied value": (("MUG-1", "Mug", "", "stoneware", "12.90"), "colour is now empty; it was sage."),
    "another alphabet": (("MUG-1", "Mug", "бирюза", "stoneware", "12.90"), "colour changed from sage to бирюза."),
    "signs of SQL and HTML": (
        ("MUG-1", "Mug", "50% 'teal' < sage", "stoneware", "12.90"), "colour changed from sage to 50% 'teal' < sage."
    ),
    "only letter case": (("MUG-1", "Mug", "Sage", "stoneware", "12.90"), "colour changed from sage to Sage."),
}  # fmt: skip


@pytest.mark.parametrize("case", VALUES)
def test_a_feed_value_that_the_prompt_used_and_that_changed_makes_the_approval_stale(
    case: str, brand: Brand, manager: User, image: Asset
) -> None:
    row, reason = VALUES[case]
    import_products(brand, manager, row)
    assert state(image) == "stale"
    assert reasons_of(image) == [reason]
    assert task_of(image).state == "open"
    event = Event.objects.filter(type="generation.asset.moved", object_id=image.pk).order_by("-id")[0]
    assert (event.payload["from"], event.payload["to"], event.actor) == ("approved", "stale", manager)
    assert [cause["kind"] for cause in event.payload["causes"]] == ["value"]


UNUSED = {
    "a value that the prompt does not name": ("MUG-1", "Mug", "sage", "glass", "12.90"),
    "a price": ("MUG-1", "Mug", "sage", "stoneware", "15.90"),
    "the same row again": ("MUG-1", "Mug", "sage", "stoneware", "12.90"),
    "another product": ("MUG-2", "Mug", "teal", "stoneware", "12.90"),
    "blanks around a value": ("MUG-1", " Mug ", " sage ", "stoneware", "12.90"),
}


@pytest.mark.parametrize("case", UNUSED)
def test_what_the_prompt_did_not_use_leaves_the_approval_alone(
    case: str, brand: Brand, manager: User, image: Asset
) -> None:
    import_products(brand, manager, UNUSED[case])
    assert (state(image), reasons_of(image), task_of(image).state) == ("approved", [], "decided")
    assert not StaleCandidate.objects.exists()


GROUND = {"backdrop": "{backdrop}"}
PROMPTS: dict[str, dict[str, Any]] = {
    "in its text": {"text": "A mug, {colour}"},
    "in its negative prompt": {"text": "A mug", "negative": "anything but {colour}"},
    "in a parameter": {"text": "A mug", "parameters": {"backdrop": "{colour}"}},
    "with a default": {"text": "A mug in {colour|grey}"},
    "twice": {"text": "{colour}, really {colour}"},
    "beside an axis": {"text": "{colour} on {backdrop}", "axes": {"backdrop": ["clay", "white"]}, "parameters": GROUND},
}


@pytest.mark.parametrize("case", PROMPTS)
def test_wherever_the_prompt_read_the_value_the_approval_rests_on_it(
    case: str, brand: Brand, manager: User, reviewer: User
) -> None:
    mug = create_product(brand, colour="white")
    assets = list(Asset.objects.filter(cell__run=plan_run(brand, [mug], manager, **PROMPTS[case])))
    for asset in assets:
        approve_task(make_image(asset), reviewer)
    import_products(brand, manager, ("MUG-1", "Mug", "teal", "stoneware", "12.90"))
    assert {state(asset) for asset in assets} == {"stale"}


def test_a_value_of_an_axis_comes_from_no_feed(brand: Brand, manager: User, reviewer: User) -> None:
    mug = create_product(brand, backdrop="clay")
    image = create_approved_image(brand, mug, manager, reviewer, axes={"backdrop": ["white"]}, parameters=GROUND)
    subjects.edit(subject_id=mug.pk, by=manager, attributes=(mug.attributes | {"backdrop": "snow"}).items())
    assert state(image) == "approved"


def test_a_value_that_was_missing_and_came_is_a_change(brand: Brand, manager: User, reviewer: User) -> None:
    mug = create_product(brand, colour="")
    image = create_approved_image(brand, mug, manager, reviewer, text="A mug in {colour|grey}")
    import_products(brand, manager, ("MUG-1", "Mug", "teal", "stoneware", "12.90"))
    assert reasons_of(image) == ["colour is now teal; it was empty."]


def test_a_subject_changed_by_hand_makes_its_approvals_stale(mug: Subject, manager: User, image: Asset) -> None:
    subjects.edit(subject_id=mug.pk, by=manager, attributes=(mug.attributes | {"colour": "teal"}).items())
    assert reasons_of(image) == ["colour changed from sage to teal."]


def test_a_change_that_is_taken_back_before_anybody_decides_restores_the_approval(
    brand: Brand, manager: User, image: Asset, integrator: User
) -> None:
    done = import_products(brand, manager, ("MUG-1", "Mug", "teal", "stoneware", "12.90"))
    assert state(image) == "stale"
    imports.undo(import_id=done.pk, by=manager)
    assert (state(image), task_of(image).state) == ("approved", "decided")
    assert not StaleAsset.objects.exists()
    assert [asset.pk for asset in usable_assets.find(user=integrator, brand=brand)] == [image.pk]
    assert decisions.undo(decision_id=Decision.objects.get().pk, by=Decision.objects.get().decided_by, withdraws=True)


def test_an_undone_import_leaves_what_was_decided_since(
    brand: Brand, manager: User, reviewer: User, image: Asset
) -> None:
    done = import_products(brand, manager, ("MUG-1", "Mug", "teal", "stoneware", "12.90"))
    approve_task(task_of(image), reviewer)
    assert (state(image), reasons_of(image)) == ("approved", [])
    imports.undo(import_id=done.pk, by=manager)
    assert reasons_of(image) == ["colour changed from teal to sage."]


# -- photos ----------------------------------------------------------------------------------------------------------


def replace_photo(mug: Subject, by: User) -> None:
    photos.attach(data=jpeg(), file_name="better.jpg", by=by, photo_id=mug.photos.get().pk)


def remove_photo(mug: Subject, by: User) -> None:
    photos.remove(photo_id=mug.photos.get().pk, by=by)


def repair_cutout(mug: Subject, by: User) -> None:
    better = factories.CutoutFactory(photo=mug.photos.get(), is_accepted=False)
    cutouts.accept_many(cutout_ids=[better.pk], by=by)


def refuse_cutout(mug: Subject, by: User) -> None:
    cutouts.refuse_many(cutout_ids=[Cutout.objects.get().pk], by=by)


def replace_and_recolour(mug: Subject, by: User) -> None:
    replace_photo(mug, by)
    subjects.edit(subject_id=mug.pk, by=by, attributes=(mug.attributes | {"colour": "teal"}).items())


PHOTOS: dict[str, tuple[Change, list[str]]] = {
    "another file": (replace_photo, ["The product photo was replaced on {day}."]),
    "removed": (remove_photo, ["The product photo was removed on {day}."]),
    "another cut-out": (repair_cutout, ["The product’s cut-out was replaced on {day}."]),
    "cut-out refused": (refuse_cutout, ["The product’s cut-out was taken out of use on {day}."]),
    "another file and colour": (
        replace_and_recolour, ["The product photo was replaced on {day}.", "colour changed from sage to teal."]
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PHOTOS)
def test_a_product_photo_that_moved_makes_the_approval_stale(
    case: str, mug: Subject, manager: User, image: Asset
) -> None:
    change, reasons = PHOTOS[case]
    change(mug, manager)
    now = timezone.localtime()
    assert state(image) == "stale"
    assert reasons_of(image) == [reason.format(day=f"{now.day} {now:%b %Y}") for reason in reasons]


@pytest.mark.parametrize("change", [replace_photo, repair_cutout])
def test_the_next_round_is_made_from_the_photo_as_it_is_now(
    change: Change, mug: Subject, manager: User, reviewer: User, image: Asset
) -> None:
    change(mug, manager)
    task = task_of(image)
    decisions.request_revision(by=reviewer, controls={"fill": 0.7}, **decision_arguments(task))
    in_effect()
    first, second = JobSpec.objects.filter(cell_id=image.cell_id).order_by("round")
    cutout = Cutout.objects.get(photo__subject=mug, photo__status="ready", is_accepted=True)
    assert second.spec["images"] == {"cutout": {"sha256": cutout.sha256, "key": cutout.storage_key}}
    assert second.spec["images"] != first.spec["images"]
    assert second.fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("change", "sentence"), [(remove_photo, "The product photo"), (refuse_cutout, "no accepted cut-out")]
)
def test_no_next_round_is_asked_for_without_the_photo_that_it_needs(
    change: Change, sentence: str, mug: Subject, manager: User, reviewer: User, image: Asset
) -> None:
    change(mug, manager)
    with pytest.raises(Invalid) as refused:
        decisions.request_revision(by=reviewer, controls={"fill": 0.7}, **decision_arguments(task_of(image)))
    assert sentence in refused.value.problems[0].message
    assert state(image) == "stale"


def test_another_photo_of_the_product_leaves_the_approval_alone(mug: Subject, manager: User, image: Asset) -> None:
    photos.attach(data=jpeg(), file_name="side.jpg", by=manager, subject_id=mug.pk, role="angle")
    photos.arrange(subject_id=mug.pk, order=list(mug.photos.values_list("pk", flat=True))[::-1], by=manager)
    assert state(image) == "approved"


def test_a_photo_that_is_brought_back_restores_the_approval(mug: Subject, manager: User, image: Asset) -> None:
    remove_photo(mug, manager)
    assert state(image) == "stale"
    photos.restore(photo_id=ReferencePhoto.objects.get(subject=mug).pk, by=manager)
    assert state(image) == "approved"


# -- decisions about stale images ------------------------------------------------------------------------------------


def test_an_approval_of_what_was_on_screen_before_the_change_is_refused(
    brand: Brand, mug: Subject, manager: User, reviewer: User
) -> None:
    [asset] = Asset.objects.filter(cell__run=plan_run(brand, [mug], manager))
    task = make_image(asset)
    before = decision_arguments(task)
    import_products(brand, manager, ("MUG-1", "Mug", "teal", "stoneware", "12.90"))
    with pytest.raises(Stale, match="inputs"):
        decisions.approve(by=reviewer, **before)
    assert (state(asset), reasons_of(asset)) == ("in_review", ["colour changed from sage to teal."])
    decision = decisions.approve(by=reviewer, **decision_arguments(task))
    assert decision.pinned["inputs"] == [{"kind": "value", "name": "colour", "from": "sage", "to": "teal"}]
    assert (state(asset), reasons_of(asset)) == ("approved", [])
    import_products(brand, manager, ("MUG-1", "Mug", "teal", "glass", "12.90"))
    assert state(asset) == "approved"
    import_products(brand, manager, ("MUG-1", "Mug", "sage", "glass", "12.90"))
    assert state(asset) == "stale"


def test_an_approval_of_one_stage_counts_no_more_when_an_input_moves_before_the_next(
    brand: Brand, mug: Subject, manager: User, reviewer: User, lead: User, person: Callable[..., User]
) -> None:
    for place, stage in enumerate(("brand", "legal"), start=1):
        checklists.create(brand=brand, by=lead, stage=stage, name=stage.title(), items=[], position=place)
    [asset] = Asset.objects.filter(cell__run=plan_run(brand, [mug], manager))
    approve_task(make_image(asset), reviewer)
    legal = ReviewTask.objects.get(asset=asset, stage="legal")
    assert legal.state == "open"
    replace_photo(mug, manager)
    assert dict(ReviewTask.objects.values_list("stage", "state")) == {"brand": "open", "legal": "awaiting_version"}
    first = ReviewTask.objects.get(stage="brand")
    approve_task(first, reviewer)
    legal.refresh_from_db()
    approve_task(legal, person("reviewer"))
    assert state(asset) == "approved"


# -- published until decided -----------------------------------------------------------------------------------------


@pytest.fixture
def shop(brand: Brand) -> Any:
    return factories.DestinationFactory(brand=brand, slug="shop", name="Shop")


def test_a_stale_image_stays_published_until_it_is_decided(
    brand: Brand, shop: Any, mug: Subject, image: Asset, manager: User, integrator: User
) -> None:
    delivery = Delivery.objects.get(asset=image)
    replace_photo(mug, manager)
    delivery.refresh_from_db()
    assert delivery.desired == "present"
    assert [asset.pk for asset in usable_assets.find(user=integrator, brand=brand)] == [image.pk]
    assert StaleAsset.objects.get().is_published


def test_a_brand_may_have_stale_images_taken_back_at_once(
    brand: Brand, shop: Any, mug: Subject, image: Asset, manager: User, lead: User, integrator: User
) -> None:
    brands.change(brand_id=brand.pk, stale_use="withdraw", by=lead)
    replace_photo(mug, manager)
    delivery = Delivery.objects.get(asset=image)
    assert (state(image), delivery.desired, delivery.due_at) == ("stale", "absent", None)
    assert not usable_assets.find(user=integrator, brand=brand).exists()
    [recall] = Event.objects.filter(type="review.asset.recalled")
    assert (recall.object_id, recall.payload["sku"]) == (image.pk, "MUG-1")
    with pytest.raises(Invalid):
        brands.change(brand_id=brand.pk, stale_use="burn", by=lead)


def _approve(task: ReviewTask, by: User) -> None:
    decisions.approve(by=by, **decision_arguments(task))


def _reject(task: ReviewTask, by: User) -> None:
    decisions.reject(by=by, reason="wrong-colour", **decision_arguments(task))


def _send_back(task: ReviewTask, by: User) -> None:
    decisions.request_revision(by=by, note="retouch the handle", needs_retouch=True, **decision_arguments(task))


@pytest.mark.parametrize(
    ("decide", "is_used", "ends"),
    [(_approve, True, "approved"), (_reject, False, "rejected"), (_send_back, False, "revising")],
    ids=["approve", "reject", "request changes"],
)
def test_the_decision_about_a_stale_image_keeps_or_takes_back_what_is_published(
    decide: Any, is_used: bool, ends: str, brand: Brand, shop: Any, mug: Subject, image: Asset, manager: User,
    lead: User, integrator: User,
) -> None:  # fmt: skip
    add_default_reasons(brand, lead)
    replace_photo(mug, manager)
    decide(task_of(image), lead)
    assert state(image) == ends
    assert Delivery.objects.get(asset=image).desired == "present", "nothing follows while it can be undone for free"
    in_effect()
    assert Delivery.objects.get(asset=image).desired == ("present" if is_used else "absent")
    assert usable_assets.find(user=integrator, brand=brand).exists() is is_used
    assert not StaleAsset.objects.exists()


@pytest.mark.parametrize("decide", [_approve, _reject, _send_back], ids=["approve", "reject", "request changes"])
def test_undoing_that_decision_in_time_leaves_the_image_stale_and_published(
    decide: Any, brand: Brand, shop: Any, mug: Subject, image: Asset, manager: User, lead: User, integrator: User
) -> None:
    add_default_reasons(brand, lead)
    replace_photo(mug, manager)
    decide(task_of(image), lead)
    decisions.undo(decision_id=Decision.objects.order_by("-id")[0].pk, by=lead)
    assert (state(image), task_of(image).state, Delivery.objects.get().desired) == ("stale", "open", "present")
    assert usable_assets.find(user=integrator, brand=brand).exists()
    assert len(reasons_of(image)) == 1


def test_an_approval_that_had_not_taken_effect_publishes_nothing_when_it_goes_stale(
    brand: Brand, shop: Any, mug: Subject, manager: User, reviewer: User, integrator: User
) -> None:
    [asset] = Asset.objects.filter(cell__run=plan_run(brand, [mug], manager))
    approve_task(make_image(asset), reviewer, in_effect=False)
    replace_photo(mug, manager)
    in_effect()
    assert (state(asset), Delivery.objects.count()) == ("stale", 0)
    assert not usable_assets.find(user=integrator, brand=brand).exists()
    approve_task(task_of(asset), reviewer)
    assert (state(asset), Delivery.objects.count()) == ("approved", 1)


def test_a_stale_image_can_be_revoked_and_reopened(mug: Subject, image: Asset, manager: User, lead: User) -> None:
    replace_photo(mug, manager)
    with pytest.raises(Conflict):
        decisions.reopen(asset_id=image.pk, by=lead)
    decisions.revoke(asset_id=image.pk, by=lead, note="the old mug")
    assert (state(image), task_of(image).state) == ("revoked", "decided")
    decisions.reopen(asset_id=image.pk, by=lead)
    assert (state(image), task_of(image).state) == ("in_review", "open")


@pytest.mark.django_db(transaction=True)
def test_integrators_are_notified_with_the_reason(
    brand: Brand, mug: Subject, image: Asset, manager: User, integrator: User, reviewer: User
) -> None:
    import_products(brand, manager, ("MUG-1", "Mug", "teal", "stoneware", "12.90"))
    approve_task(task_of(image), reviewer)
    audit.seal()
    entries, _ = changes.changes(user=integrator, brand=brand)
    assert [(change["kind"], change["because"]) for change in entries] == [
        ("approved", []), ("stale", ["colour changed from sage to teal."]), ("approved", [])
    ]  # fmt: skip


def test_the_person_who_approved_it_before_may_decide_again(
    mug: Subject, image: Asset, manager: User, reviewer: User
) -> None:
    replace_photo(mug, manager)
    [claimed] = queue.claim_batch(brand=image.brand, by=reviewer)
    assert claimed.asset_id == image.pk
    assert approve_task(claimed, reviewer).kind == "approved"


# -- guides and checklists -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look_again", [False, True], ids=["from now on", "look again"])
def test_a_new_guide_has_approved_images_looked_at_again_only_where_its_author_asks(
    look_again: bool, brand: Brand, image: Asset, lead: User
) -> None:
    draft = guides.edit_draft(brand=brand, by=lead, light="left")
    guides.publish(guide_id=draft.pk, by=lead, look_again=look_again)
    now = timezone.localtime()
    if look_again:
        assert reasons_of(image) == [f"Version 1 of the brand guide was published on {now.day} {now:%b %Y}."]
    assert state(image) == ("stale" if look_again else "approved")


@pytest.mark.parametrize("look_again", [False, True], ids=["from now on", "look again"])
def test_a_new_checklist_has_approved_images_looked_at_again_only_where_its_author_asks(
    look_again: bool, brand: Brand, image: Asset, lead: User
) -> None:
    current = checklists.get_or_create_version(brand_id=brand.pk)
    items = [{"code": "handle", "sentence": "The handle is on the right."}]
    made = checklists.publish_version(checklist_id=current.checklist_id, by=lead, items=items, look_again=look_again)
    assert state(image) == ("stale" if look_again else "approved")
    pinned = ChecklistVersion.objects.get(pk=task_of(image).checklist_version_id)
    assert (pinned == made) is look_again
    if look_again:
        assert reasons_of(image)[0].startswith("Version 2 of the checklist “Brand review” was published on ")


def test_an_image_that_is_stale_for_two_reasons_is_not_restored_when_one_of_them_is_gone(
    brand: Brand, mug: Subject, image: Asset, lead: User, manager: User
) -> None:
    guides.publish(guide_id=guides.edit_draft(brand=brand, by=lead, light="left").pk, by=lead, look_again=True)
    done = import_products(brand, manager, ("MUG-1", "Mug", "teal", "stoneware", "12.90"))
    assert len(reasons_of(image)) == 2
    imports.undo(import_id=done.pk, by=manager)
    assert state(image) == "stale"
    assert [reason[:9] for reason in reasons_of(image)] == ["Version 1"]


# -- many ------------------------------------------------------------------------------------------------------------


def test_a_large_change_goes_on_after_its_commit_and_survives_the_death_of_its_process(
    brand: Brand, manager: User, reviewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    products = [create_product(brand, key=f"MUG-{number}") for number in range(7)]
    assets = list(Asset.objects.filter(cell__run=plan_run(brand, products, manager)).order_by("pk"))
    for asset in assets:
        approve_task(make_image(asset), reviewer)
    real = staleness.settle
    rows = [(subject.key, "Mug", "teal", "stoneware", "12.90") for subject in products]
    with monkeypatch.context() as patch:
        patch.setattr(staleness, "CHUNK", 3)
        patch.setattr(staleness, "settle", lambda batch: real(batch, limit=3))
        import_products(
            brand, manager, *rows
        )  # the test's transaction never commits, as if the process had died after its commit
    assert sorted(map(state, assets)) == ["approved"] * 4 + ["stale"] * 3
    assert StaleCandidate.objects.count() == 4
    assert staleness.process_batches() == 4
    assert set(map(state, assets)) == {"stale"}
    assert not StaleCandidate.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_failure_after_the_commit_does_not_reach_who_made_the_change_and_housekeeping_does_the_rest(
    brand: Brand, manager: User, reviewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    products = [create_product(brand, key=f"MUG-{number}") for number in range(3)]
    assets = list(Asset.objects.filter(cell__run=plan_run(brand, products, manager)).order_by("pk"))
    for asset in assets:
        approve_task(make_image(asset), reviewer)
    real, batches = staleness.settle, []

    def settle(batch: Any) -> int:
        batches.append(batch)
        if len(batches) == 2:
            raise OperationalError("the connection is gone")
        return real(batch, limit=1)

    with monkeypatch.context() as patch:
        patch.setattr(staleness, "CHUNK", 1)
        patch.setattr(staleness, "settle", settle)
        import_products(brand, manager, *[(subject.key, "Mug", "teal", "stoneware", "12.90") for subject in products])
    assert len(batches) == 2
    assert StaleCandidate.objects.count() == 2
    assert staleness.process_batches() == 2
    assert set(map(state, assets)) == {"stale"}


def test_the_number_of_statements_does_not_grow_with_the_images(
    brand: Brand, manager: User, reviewer: User, django_assert_max_num_queries: Any
) -> None:
    products = [create_product(brand, key=f"MUG-{number}") for number in range(12)]
    for asset in Asset.objects.filter(cell__run=plan_run(brand, products, manager)):
        approve_task(make_image(asset), reviewer)
    Subject.objects.filter(brand=brand).update(attributes={"colour": "teal"})
    ids = [subject.pk for subject in products]
    with transaction.atomic(), django_assert_max_num_queries(45):
        assert staleness.check_subjects(subjects=Subject.objects.filter(pk__in=ids).values("pk"), by=manager) == 12
    assert set(Asset.objects.values_list("state", flat=True)) == {"stale"}


def test_another_brand_is_never_touched(brand: Brand, other_brand: Brand, image: Asset, person: Any) -> None:
    admin = person("lead", brand=other_brand)
    assert GuideVersion.objects.count() == 0
    guides.publish(guide_id=guides.edit_draft(brand=other_brand, by=admin, light="left").pk, by=admin, look_again=True)
    assert state(image) == "approved"
