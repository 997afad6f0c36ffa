"""Tests of the brand guide: drafts, publishing, comparison, and its effect."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from django.db import IntegrityError, transaction
from PIL import Image

from campaigns import thresholds
from campaigns.choices import Light
from campaigns.models import GuideImage, GuideVersion
from campaigns.selectors import guides as selectors
from campaigns.services import guides, images
from core import stored_files
from core.errors import Conflict, Invalid, NotAllowed, Stale
from core.models import Brand, Event, User
from generation.checks.base import Sample, run_checks
from generation.engines.packshot import engine as packshot
from generation.models import JobSpec, Run
from generation.services.dispatch.claims import ClaimedJob
from generation.services.images import sweeper
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from generation.workers import job_contexts
from tests.support import factories, queued_runs
from tests.support.racing import race_without_errors


def png(colour: tuple[int, int, int] = (200, 80, 40), size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, options.pop("format", "PNG"), **options)
    return buffer.getvalue()


@pytest.fixture
def published(brand: Brand, lead: User) -> GuideVersion:
    made = guides.edit_draft(
        brand=brand,
        by=lead,
        palette=[{"name": "Clay", "hex": "#b5651d"}],
        backdrops=[{"name": "White", "hex": "#ffffff"}, {"name": "Sand", "hex": "#e0d0b4"}],
        backdrop="white",
        banned_wording=["cheap"],
    )
    images.add_to_guide(guide_id=made.pk, use="do", files_given=[("do.png", png())], by=lead, caption="Air around")
    return guides.publish(guide_id=made.pk, by=lead, note="The first one")


# -- drafts and publishing -----------------------------------------------------------------------------------------


def test_a_brand_has_one_open_draft_that_is_changed_in_place(brand: Brand, published: GuideVersion, lead: User) -> None:
    first = guides.edit_draft(brand=brand, by=lead, light="right")
    second = guides.edit_draft(brand=brand, by=lead, fill_ratio=0.7)
    assert (first.pk, second.number, second.light, second.fill_ratio) == (second.pk, 2, "right", 0.7)
    assert second.created_by == lead and selectors.get_published(brand.pk) == published


def test_the_next_draft_shows_the_same_files(brand: Brand, published: GuideVersion, lead: User) -> None:
    copied = guides.edit_draft(brand=brand, by=lead).images.get()
    shown = published.images.get()
    assert (copied.sha256, copied.caption, copied.use) == (shown.sha256, "Air around", "do") and copied.pk != shown.pk


def test_publishing_says_who_when_and_why(published: GuideVersion, lead: User) -> None:
    assert (published.note, published.published_by) == ("The first one", lead) and published.published_at is not None


def test_a_published_guide_and_its_images_are_frozen_by_the_database(published: GuideVersion) -> None:
    image = published.images.get()
    attempts: list[Callable[[], object]] = [
        lambda: GuideVersion.objects.filter(pk=published.pk).update(light="top"),
        lambda: GuideImage.objects.filter(pk=image.pk).update(caption="Other"),
        lambda: GuideImage.objects.filter(pk=image.pk).delete(),
        lambda: GuideImage.objects.create(
            guide=published, use="logo", sha256="0" * 64, storage_key="x", width=1, height=1
        ),
        lambda: GuideVersion.objects.filter(pk=published.pk).delete(),
    ]
    for attempt in attempts:
        with pytest.raises(IntegrityError), transaction.atomic():
            attempt()


def test_an_image_cannot_be_moved_into_a_published_guide(brand: Brand, published: GuideVersion, lead: User) -> None:
    open_one = guides.edit_draft(brand=brand, by=lead).images.get()
    with pytest.raises(IntegrityError), transaction.atomic():
        GuideImage.objects.filter(pk=open_one.pk).update(guide=published)


def test_a_discarded_draft_leaves_what_counts_and_the_event(brand: Brand, published: GuideVersion, lead: User) -> None:
    guides.discard(guide_id=guides.edit_draft(brand=brand, by=lead, light="top").pk, by=lead)
    assert brand.guide_versions.get() == published and published.images.count() == 1
    assert Event.objects.filter(type="campaigns.guide.discarded").get().payload["number"] == 2
    with pytest.raises(Conflict, match="frozen"):
        guides.discard(guide_id=published.pk, by=lead)


def test_a_stale_draft_form_overwrites_nothing(brand: Brand, lead: User) -> None:
    seen = guides.draft_token(guides.edit_draft(brand=brand, by=lead, light="left"), ["light"])
    guides.edit_draft(brand=brand, by=lead, light="right", seen=seen)
    guides.edit_draft(brand=brand, by=lead, fill_ratio=0.6)  # a change of another part keeps the first change
    with pytest.raises(Stale):
        guides.edit_draft(brand=brand, by=lead, light="top", seen=seen)


@pytest.mark.parametrize("role", ["viewer", "designer", "campaign_manager", "reviewer", "integrator"])
def test_only_leads_and_admins_change_the_guide(
    brand: Brand, published: GuideVersion, person: Callable[..., User], lead: User, role: str
) -> None:
    by = person(role)
    draft = guides.edit_draft(brand=brand, by=lead)
    image = draft.images.get()
    for attempt in (
        lambda: guides.edit_draft(brand=brand, by=by, light="top"),
        lambda: guides.publish(guide_id=draft.pk, by=by),
        lambda: guides.discard(guide_id=draft.pk, by=by),
        lambda: images.add_to_guide(guide_id=draft.pk, use="do", files_given=[("a.png", png())], by=by),
        lambda: images.change(image=image, by=by, caption="x"),
        lambda: images.remove(image=image, by=by),
    ):
        with pytest.raises(NotAllowed):
            attempt()


@pytest.mark.django_db(transaction=True)
def test_two_people_who_begin_a_draft_at_once_share_one(lead: User, brand: Brand) -> None:
    race_without_errors(*(partial(guides.edit_draft, brand=brand, by=lead, light=light) for light in ("left", "right")))
    assert GuideVersion.objects.filter(brand=brand).count() == 1


# -- validation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"palette": [{"name": "Clay", "hex": "red"}]}, "palette/0/hex"),
        ({"palette": [{"name": "123", "hex": "#112233"}]}, "palette/0/name"),
        ({"palette": [{"name": "", "hex": "#112233"}]}, "palette/0/name"),
        ({"backdrops": [{"name": "A", "hex": "#111"}, {"name": "a", "hex": "#222"}]}, "backdrops/1/name"),
        ({"backdrops": [{"name": "Sand", "hex": "#e0d0b4"}], "backdrop": "clay"}, "backdrop"),
        ({"light": "from below"}, "light"),
        ({"fill_ratio": 0.05}, "fill_ratio"),
        ({"baseline": True}, "baseline"),
        ({"required_wording": ["Fine"], "banned_wording": ["fine"]}, "required_wording"),
        ({"banned_wording": ["x" * 121]}, "banned_wording"),
        ({"thresholds": {"beauty": {"least": 1}}}, "thresholds/beauty"),
        ({"thresholds": {"photo_size": {"most": 1}}}, "thresholds/photo_size/most"),
        ({"thresholds": {"photo_size": {"enlarged": 99}}}, "thresholds/photo_size/enlarged"),
        ({"mood": "happy"}, "mood"),
    ],
)
def test_a_mistake_is_named_at_its_field(brand: Brand, lead: User, fields: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as refusal:
        guides.edit_draft(brand=brand, by=lead, **fields)
    assert [problem.pointer for problem in refusal.value.problems] == [pointer]
    assert not GuideVersion.objects.exists()


def test_a_backdrop_that_is_the_default_cannot_vanish(brand: Brand, published: GuideVersion, lead: User) -> None:
    with pytest.raises(Invalid) as refusal:
        guides.edit_draft(brand=brand, by=lead, backdrops=[{"name": "Sand", "hex": "#e0d0b4"}])
    assert refusal.value.problems[0].pointer == "backdrops"


def test_colours_and_words_are_kept_in_one_spelling(brand: Brand, lead: User) -> None:
    made = guides.edit_draft(
        brand=brand,
        by=lead,
        palette=[{"name": " Burnt  clay ", "hex": "B51"}],
        banned_wording=["Cheap", "cheap", " best   ever "],
        thresholds={"photo_size": {"enlarged": 1.5}, "blank": {"flat": 5}},
    )
    assert made.palette == [{"name": "Burnt clay", "hex": "#bb5511"}]
    assert made.banned_wording == ["Cheap", "best ever"]
    assert made.thresholds == {"blank": {"flat": 5.0}}, "what only repeats the default keeps following it"


def test_the_lights_are_those_that_the_packshot_engine_obeys() -> None:
    assert set(Light.values) == set(packshot.CHOICES["light"])


# -- images ------------------------------------------------------------------------------------------------------


def test_images_are_ordered_captioned_and_removed_in_a_draft(brand: Brand, lead: User) -> None:
    draft = guides.edit_draft(brand=brand, by=lead)
    given = [(f"{n}.png", png((n, n, 200))) for n in (10, 90, 170)]
    made = images.add_to_guide(guide_id=draft.pk, use="dont", files_given=given, by=lead)
    images.change(image=made[2], by=lead, caption="Too cold", move=-2)
    images.remove(image=made[0], by=lead)
    assert [(image.pk, image.caption) for image in draft.images.all()] == [(made[2].pk, "Too cold"), (made[1].pk, "")]


def test_an_image_that_is_there_already_is_not_doubled(brand: Brand, lead: User) -> None:
    draft = guides.edit_draft(brand=brand, by=lead)
    for _ in range(2):
        images.add_to_guide(guide_id=draft.pk, use="logo", files_given=[("a.png", png())], by=lead)
    assert draft.images.count() == 1


def test_one_file_that_is_no_image_refuses_all_and_is_named(brand: Brand, lead: User) -> None:
    draft = guides.edit_draft(brand=brand, by=lead)
    given = [("good.png", png()), ("letter.txt", b"Dear all"), ("tiny.png", png(size=(4, 4)))]
    with pytest.raises(Invalid) as refusal:
        images.add_to_guide(guide_id=draft.pk, use="do", files_given=given, by=lead)
    assert [problem.value for problem in refusal.value.problems] == ["letter.txt", "tiny.png"]
    assert not draft.images.exists()


def test_where_an_image_was_taken_does_not_travel(brand: Brand, lead: User) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    data = png(format="JPEG", exif=exif)
    draft = guides.edit_draft(brand=brand, by=lead)
    made = images.add_to_guide(guide_id=draft.pk, use="do", files_given=[("a.jpg", data)], by=lead)[0]
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(stored_files.read(made.storage_key))) as after:
        assert dict(before.getexif().get_ifd(0x8825)) and not dict(after.getexif().get_ifd(0x8825))


def test_the_sweeper_keeps_the_files_of_guides_and_briefs(brand: Brand, lead: User) -> None:
    draft = guides.edit_draft(brand=brand, by=lead)
    kept = images.add_to_guide(guide_id=draft.pk, use="do", files_given=[("a.png", png())], by=lead)[0]
    campaign = factories.CampaignFactory(brand=brand)
    beside = images.add_to_brief(campaign_id=campaign.pk, files_given=[("b.png", png((1, 2, 3)))], by=lead)[0]
    stored_files.put(b"nobody's", suffix="png")
    assert sweeper.list_referenced_keys(stored_files.list_keys()) == {kept.storage_key, beside.storage_key}


# -- differences ---------------------------------------------------------------------------------------------------


def test_two_versions_are_compared_in_words_and_swatches(brand: Brand, published: GuideVersion, lead: User) -> None:
    draft = guides.edit_draft(
        brand=brand,
        by=lead,
        palette=[{"name": "Clay", "hex": "#a0522d"}, {"name": "Ink", "hex": "#2b3650"}],
        light="right",
        banned_wording=["luxury"],
        thresholds={"photo_size": {"enlarged": 2}},
    )
    images.change(image=draft.images.get(), by=lead, caption="More air")
    differences = [
        (change.part, change.kind, change.before.get("hex") or change.before.get("text"), change.after.get("text"))
        for change in selectors.compare(published, selectors.list_versions(lead, brand).get(number=2))
    ]
    assert differences == [
        ("Palette", "changed", "#b5651d", "Clay"),
        ("Palette", "added", None, "Ink"),
        ("Light", "added", None, "right"),
        ("Banned wording", "removed", "cheap", None),
        ("Banned wording", "added", None, "luxury"),
        ("A photo may be enlarged", "changed", "1.5 times", "2 times"),
        ("Do", "changed", "Air around", "More air"),
    ]
    assert selectors.compare(published, published) == []


def test_the_guides_colours_are_offered_with_the_default_first(published: GuideVersion) -> None:
    published.backdrop = "sand"
    assert [colour["name"] for colour in selectors.choices_by_axis(published)["backdrop"]] == ["Sand", "White"]
    assert selectors.choices_by_axis(None) == {}
    assert selectors.colours_by_name(published) == {"clay": "#b5651d", "white": "#ffffff", "sand": "#e0d0b4"}


# -- limits --------------------------------------------------------------------------------------------------------


def _outcomes(thresholds: dict[str, Any], pixels: np.ndarray, **facts: Any) -> dict[str, str]:
    return {finding.check: finding.outcome for finding in run_checks(Sample(pixels, {"limits": thresholds, **facts}))}


def test_a_lower_threshold_changes_the_check_result_of_the_same_image() -> None:
    image = np.full((200, 200, 3), 120, np.uint8)
    image[60:140, 60:140] = 128  # eight levels apart
    facts = {"photo": [160, 160], "specs": [{"slug": "shop", "width": 200, "height": 200}]}
    assert _outcomes({}, image, **facts) | {"blank": "pass", "photo_size": "pass"} == _outcomes({}, image, **facts)
    strict = _outcomes({"blank": {"flat": 12}, "photo_size": {"enlarged": 1.2}}, image, **facts)
    assert (strict["blank"], strict["photo_size"]) == ("fail", "flag")


def test_every_limit_is_explained_and_its_default_is_within_its_range() -> None:
    declared = [limit for limits_of in thresholds.thresholds_by_check().values() for limit in limits_of]
    assert {"blank", "photo_size", "renditions"} <= set(thresholds.thresholds_by_check()) and len(declared) >= 4
    for limit in declared:
        assert limit.minimum <= limit.default <= limit.maximum and limit.hint.endswith(".") and limit.label


def test_a_run_is_checked_by_the_guide_that_was_current_when_it_was_planned(
    brand: Brand, published: GuideVersion, lead: User
) -> None:
    campaign = factories.CampaignFactory(brand=brand, subjects=[factories.SubjectFactory(brand=brand)])
    factories.OutputSpecFactory(campaign=campaign)
    version = factories.PromptVersionFactory(
        template__brand=brand, text="{name}", axes={}, parameters={}, needs={}, created_by=lead
    )
    arguments = {"prompt_version": version, "endpoint": queued_runs.create_endpoint(engine="ready"), "by": lead}

    def planned(name: str) -> Run:
        return plans.plan(PlanArguments(campaign=campaign, stage="partial", **arguments), name=name)

    before = planned("before")
    stricter = guides.edit_draft(brand=brand, by=lead, thresholds={"blank": {"flat": 20}})
    assert planned("draft open").guide_version == published, "a draft does not count"
    guides.publish(guide_id=stricter.pk, by=lead)
    after = planned("after")
    assert (before.guide_version, after.guide_version) == (published, stricter)
    limits_by_run = {run.name: _frozen_thresholds(run) for run in (before, after)}
    assert limits_by_run == {"before": {}, "after": {"blank": {"flat": 20.0}}}


def _frozen_thresholds(run: Run) -> dict[str, Any]:
    """Return the check thresholds that a worker gets for a run."""
    job = JobSpec.objects.select_related("job").get(job__run=run)
    claimed = ClaimedJob(
        id=job.job_id, endpoint_id=run.endpoint_id, campaign_id=run.campaign_id, run_id=run.pk, cell_id=job.cell_id,
        batch_key="", spec=job.spec, round=1, candidate=1, fingerprint=job.fingerprint, brand_id=run.campaign.brand_id,
    )  # fmt: skip
    return dict(job_contexts.load_contexts([claimed], engine="ready")[job.job_id].facts["limits"])
