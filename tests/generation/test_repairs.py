"""Test what people do with cut-outs (accept, retire, repaint, undo), and how runs use the outcome."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image

from campaigns.choices import CutoutMethod
from campaigns.models import Cutout, ReferencePhoto
from campaigns.photos import cutout
from campaigns.services import cutouts, photos
from core import stored_files
from core.errors import Conflict, Invalid, NotAllowed, NotFound
from core.models import Event
from generation.models import JobSpec
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from tests.support import factories, scenes
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.django_db
SIZE = 256


@pytest.fixture
def photo(brand: Any, manager: Any) -> ReferencePhoto:
    """Return a real photo that is stored and cut out."""
    buffer = io.BytesIO()
    Image.fromarray(scenes.scene("mug", size=SIZE).pixels).save(buffer, "JPEG", quality=93)
    subject = factories.SubjectFactory(brand=brand)
    return photos.attach(subject_id=subject.pk, data=buffer.getvalue(), file_name="mug.jpg", by=manager)


def png(alpha: np.ndarray, mode: str = "LA") -> bytes:
    """Return the mask as the brush sends it (grey and transparency), or as brightness only."""
    layers = {"LA": np.dstack([alpha, alpha]), "L": alpha}
    buffer = io.BytesIO()
    Image.fromarray(layers[mode], mode).save(buffer, "PNG")
    return buffer.getvalue()


def disc_mask(size: int = SIZE, radius: float = 80) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size] + 0.5
    return np.clip((radius - np.hypot(x - size / 2, y - size / 2)) * 255, 0, 255).astype(np.uint8)


def alpha_of(cut: Cutout) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(stored_files.read(cut.storage_key))))[..., 3]


@pytest.mark.parametrize("mode", ["LA", "L"])
def test_a_painted_mask_becomes_the_cut_out_with_exactly_its_alpha(photo: Any, designer: Any, mode: str) -> None:
    mask = disc_mask()
    made, _ = cutouts.repair_with_mask(photo_id=photo.pk, mask=png(mask, mode), by=designer)
    assert np.array_equal(alpha_of(made), mask)
    assert (made.method, made.is_accepted, made.made_by, made.confidence) == (CutoutMethod.MANUAL, True, designer, 1.0)
    assert made.box == [48, 48, 208, 208]
    assert photo.cutouts.filter(is_accepted=True).get() == made and photo.cutouts.count() == 2


def test_the_background_is_taken_out_of_a_painted_edge() -> None:
    """A red disc on white, cut out with its own soft mask, has no pale rim over black."""
    y, x = np.mgrid[0:200, 0:200] + 0.5
    alpha = np.clip((60 - np.hypot(x - 100, y - 100)) / 3 + 0.5, 0, 1)[..., None]
    pixels = np.round(alpha * (150, 20, 20) + (1 - alpha) * 255).astype(np.uint8)
    cut = cutout.cut_out_with_mask(pixels, np.round(alpha[..., 0] * 255).astype(np.uint8))
    over_black = cut.rgba[..., :3] * (cut.rgba[..., 3:] / 255)
    rim = (alpha[..., 0] > 0.05) & (alpha[..., 0] < 0.95)
    assert over_black[rim][:, 1].max() < 26 and pixels[rim][:, 1].max() > 200


def test_a_mask_of_another_shape_an_empty_one_and_no_image_are_refused(photo: Any, designer: Any) -> None:
    for mask, words in (
        (png(np.full((100, 256), 255, np.uint8)), "256 × 100 px"),
        (png(np.zeros((SIZE, SIZE), np.uint8)), "leaves nothing"),
        (b"GIF89a", "JPEG, PNG"),
    ):
        with pytest.raises(Invalid, match=words):
            cutouts.repair_with_mask(photo_id=photo.pk, mask=mask, by=designer)
    assert photo.cutouts.count() == 1


def test_a_larger_mask_of_the_same_shape_is_fitted(photo: Any, designer: Any) -> None:
    made, _ = cutouts.repair_with_mask(photo_id=photo.pk, mask=png(disc_mask(2 * SIZE, 160)), by=designer)
    assert np.abs(alpha_of(made).astype(int) - disc_mask()).mean() < 1


def test_two_people_who_repair_at_once_do_not_overwrite_each_other(photo: Any, designer: Any, manager: Any) -> None:
    seen = photo.cutouts.get().pk
    cutouts.repair_with_mask(photo_id=photo.pk, mask=png(disc_mask()), by=designer, seen=seen)
    with pytest.raises(Conflict, match="since you opened it"):
        cutouts.repair_with_mask(photo_id=photo.pk, mask=png(disc_mask(radius=40)), by=manager, seen=seen)


def test_a_repair_is_taken_back_and_the_earlier_cut_out_counts_again(photo: Any, designer: Any) -> None:
    first = photo.cutouts.get()
    made, step = cutouts.repair_with_mask(photo_id=photo.pk, mask=png(disc_mask()), by=designer)
    assert cutouts.undo_changes(steps=[step], by=designer) == 1
    assert photo.cutouts.get(is_accepted=True) == first and Cutout.objects.filter(pk=made.pk).exists()
    with pytest.raises(Conflict):
        cutouts.undo_changes(steps=[step], by=designer)
    events = Event.objects.filter(object_type="photo", object_id=photo.pk).order_by("id")
    assert [event.payload["replaced"] for event in events] == [[first.sha256], [made.sha256]]


def test_many_are_accepted_at_once_in_a_few_queries_and_all_taken_back(
    brand: Any, manager: Any, django_assert_max_num_queries: Any
) -> None:
    uncertain = [
        factories.CutoutFactory(photo__subject__brand=brand, confidence=0.45, is_accepted=at % 2 == 0)
        for at in range(40)
    ]
    with django_assert_max_num_queries(20):
        steps = cutouts.accept_many(cutout_ids=[cutout.pk for cutout in uncertain], by=manager)
    assert len(steps) == 40 and Cutout.objects.filter(is_accepted=True, accepted_by=manager).count() == 40
    assert Event.objects.filter(type="campaigns.cutout.accepted").count() == 40
    assert cutouts.accept_many(cutout_ids=[uncertain[0].pk], by=manager) == []
    cutouts.undo_changes(steps=steps, by=manager)
    assert Cutout.objects.filter(is_accepted=True, accepted_by=None).count() == 20
    assert Cutout.objects.filter(accepted_by=manager).count() == 0


def test_a_cut_out_taken_out_of_use_leaves_its_photo_without_one(photo: Any, designer: Any) -> None:
    cut = photo.cutouts.get()
    steps = cutouts.refuse_many(cutout_ids=[cut.pk], by=designer)
    assert not photo.cutouts.filter(is_accepted=True).exists()
    assert Event.objects.get(type="campaigns.cutout.refused").payload["replaced"] == [cut.sha256]
    cutouts.undo_changes(steps=steps, by=designer)
    assert photo.cutouts.get(is_accepted=True) == cut


def test_only_those_who_may_edit_photos_decide_about_cut_outs(
    photo: Any, reviewer: Any, person: Any, other_brand: Any
) -> None:
    cut = photo.cutouts.get()
    stranger = person("admin", brand=other_brand)
    for who, refusal in ((reviewer, NotAllowed), (stranger, NotFound)):
        for act in (cutouts.accept_many, cutouts.refuse_many):
            with pytest.raises(refusal):
                act(cutout_ids=[cut.pk], by=who)
        with pytest.raises(refusal):
            cutouts.repair_with_mask(photo_id=photo.pk, mask=png(disc_mask()), by=who)
        with pytest.raises(refusal):
            cutouts.undo_changes(steps=[cutouts.CutoutChange(photo.pk, None, cut.pk)], by=who)


@pytest.mark.django_db(transaction=True)
def test_two_people_accept_different_cut_outs_of_one_photo_and_one_is_left(brand: Any, person: Any) -> None:
    photo = factories.ReferencePhotoFactory(subject__brand=brand)
    both = [factories.CutoutFactory(photo=photo, is_accepted=False) for _ in range(2)]
    people = [person("lead"), person("designer")]
    race_without_errors(
        *(partial(cutouts.accept_many, cutout_ids=[cut.pk], by=user) for cut, user in zip(both, people, strict=True))
    )
    assert photo.cutouts.filter(is_accepted=True).count() == 1
    assert Event.objects.filter(type="campaigns.cutout.accepted").count() == 2


# -- how runs use repairs ----------------------------------------------------------------------------------------------


def specs_of(run: Any) -> list[dict[str, Any]]:
    return [row.spec for row in JobSpec.objects.filter(job__run=run)]


def test_a_run_planned_after_a_repair_uses_the_new_cut_out_and_is_another_image(
    brand: Any, photo: Any, manager: Any, designer: Any
) -> None:
    campaign = factories.CampaignFactory(brand=brand, subjects=[photo.subject])
    factories.OutputSpecFactory(campaign=campaign, slug="shop", width=600, height=600)
    version = factories.PromptVersionFactory(template__brand=brand, text="{name}", axes={}, parameters={}, needs={})
    arguments = {
        "campaign": campaign,
        "prompt_version": version,
        "endpoint": factories.EndpointFactory(engine="packshot"),
        "stage": "pilot",
        "by": manager,
    }
    before = plans.plan(PlanArguments(**arguments))
    made, step = cutouts.repair_with_mask(photo_id=photo.pk, mask=png(disc_mask()), by=designer)
    after = plans.plan(PlanArguments(**arguments))
    cutouts.undo_changes(steps=[step], by=designer)
    last = plans.plan(PlanArguments(**arguments))
    pinned = [specs_of(run)[0]["images"]["cutout"]["sha256"] for run in (before, after, last)]
    first = photo.cutouts.order_by("id")[0]
    assert pinned == [first.sha256, made.sha256, first.sha256]
    prints = [JobSpec.objects.get(job__run=run).fingerprint for run in (before, after, last)]
    assert prints[0] == prints[2] != prints[1]


def test_without_an_accepted_cut_out_nothing_is_planned_and_a_message_explains_it(
    brand: Any, photo: Any, manager: Any, designer: Any
) -> None:
    campaign = factories.CampaignFactory(brand=brand, subjects=[photo.subject])
    factories.OutputSpecFactory(campaign=campaign, slug="shop", width=600, height=600)
    version = factories.PromptVersionFactory(template__brand=brand, text="{name}", axes={}, parameters={}, needs={})
    cutouts.refuse_many(cutout_ids=[photo.cutouts.get().pk], by=designer)
    with pytest.raises(Invalid, match="no accepted cut-out"):
        plans.plan(
            PlanArguments(
                campaign=campaign,
                prompt_version=version,
                endpoint=factories.EndpointFactory(engine="packshot"),
                stage="pilot",
                by=manager,
            )
        )
