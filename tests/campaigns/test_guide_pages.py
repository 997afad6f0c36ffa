"""Tests of the guide's pages and API, of images in the brief, and of channel requirements, through the client."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape
from PIL import Image

from campaigns import channels
from campaigns.choices import ImageFormat
from campaigns.models import Campaign, GuideImage, GuideVersion
from campaigns.services import campaigns, guides, images
from campaigns.services.campaigns import SpecInput
from core.choices import Role
from core.models import Brand, Event, User
from generation.models import Run
from tests.support import factories
from tests.support.images_in_review import create_image_in_review

pytestmark = pytest.mark.django_db

EDITORS = frozenset({"lead", "admin"})
HTMX = {"HX-Request": "true"}


def image(colour: Any = (181, 101, 29), name: str = "p.png", size: tuple[int, int] = (80, 60)) -> SimpleUploadedFile:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return SimpleUploadedFile(name, buffer.getvalue(), "image/png")


@pytest.fixture
def base(brand: Brand) -> str:
    return f"/brands/{brand.slug}/guide/"


@pytest.fixture
def current(brand: Brand, lead: User) -> GuideVersion:
    draft = guides.edit_draft(
        brand=brand,
        by=lead,
        palette=[{"name": "Clay", "hex": "#b5651d"}],
        backdrops=[{"name": "White", "hex": "#ffffff"}],
        backdrop="white",
        required_wording=["as photographed"],
        banned_wording=["luxury"],
    )
    given = [("do.png", image().read())]
    images.add_to_guide(guide_id=draft.pk, use="do", files_given=given, by=lead, caption="Air around")
    return guides.publish(guide_id=draft.pk, by=lead, note="The beginning")


def draft_of(brand: Brand) -> GuideVersion:
    return brand.guide_versions.get(status="draft")


# -- permissions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role.values)
def test_everybody_reads_the_guide_and_leads_and_admins_change_it(
    role: str, base: str, current: GuideVersion, lead: User, brand: Brand, person: Any, page_client: Any
) -> None:
    guides.edit_draft(brand=brand, by=lead, light="top")
    client = page_client(person(role))
    for page in ("", "v1/", "v2/", "v2/changes/"):
        assert client.get(base + page).status_code == 200
    assert client.post(base + "sentence/", {"sentence": "A mug"}).status_code == 200
    editor = role in EDITORS
    assert client.get(base + "draft/").status_code == (200 if editor else 403)
    first = draft_of(brand).images.get()
    changes = {
        "draft/save/setting/": {"light": "left", "fill_ratio": "70", "baseline": "90"},
        "draft/colours/": {"file": image()},
        "draft/colours/take/": {},
        "draft/pictures/logo/": {"file": image((1, 2, 3))},
        f"draft/picture/{first.pk}/": {"caption": "More air"},
        "draft/publish/": {"note": "x"},
        "draft/begin/": {},
        "draft/discard/": {},
    }
    for page, data in changes.items():
        assert client.post(base + page, data).status_code == (
            403 if not editor else 200 if page == "draft/colours/" else 302
        )
    offered = "Begin the next version" in client.get(base).content.decode()
    assert offered == editor


def test_another_brands_guide_and_images_do_not_exist(
    base: str, current: GuideVersion, other_brand: Brand, person: Any, page_client: Any
) -> None:
    stranger = page_client(person("admin", brand=other_brand))
    image = current.images.get()
    assert stranger.get(base).status_code == 404
    assert (
        stranger.post(f"/brands/{other_brand.slug}/guide/draft/picture/{image.pk}/", {"remove": "1"}).status_code == 404
    )
    assert stranger.get(f"/files/guide_picture/{image.pk}/").status_code == 404
    assert page_client(person("viewer")).get(f"/files/guide_picture/{image.pk}/").status_code == 200


# -- reading --------------------------------------------------------------------------------------------------------


def test_a_brand_without_a_guide_sees_its_purpose(base: str, viewer: User, lead: User, page_client: Any) -> None:
    assert b"A brand lead writes it" in page_client(viewer).get(base).content
    client = page_client(lead)
    assert b"Write the first version" in client.get(base).content
    assert client.post(base + "draft/begin/", follow=True).status_code == 200
    assert b"nothing counts yet" in client.get(base).content


def test_the_draft_says_that_another_version_counts(
    base: str, brand: Brand, current: GuideVersion, lead: User, page_client: Any
) -> None:
    guides.edit_draft(brand=brand, by=lead, light="right")
    client = page_client(lead)
    assert "You see the draft v2; v1 counts." in client.get(base + "v2/").content.decode()
    guides.publish(guide_id=draft_of(brand).pk, by=lead)
    assert "v2 counts now" in client.get(base + "v1/").content.decode()
    assert client.get(base + "v9/").status_code == 404


def test_versions_are_compared_on_a_page(
    base: str, brand: Brand, current: GuideVersion, lead: User, page_client: Any
) -> None:
    guides.edit_draft(brand=brand, by=lead, palette=[{"name": "Clay", "hex": "#a0522d"}], banned_wording=["cheap"])
    shown = page_client(lead).get(base + "v2/changes/").content.decode()
    assert "#b5651d" in shown and "#a0522d" in shown and "cheap" in shown and "3 differences" in shown
    assert page_client(lead).get(base + "v1/changes/").status_code == 404


def test_a_sentence_is_tried_against_the_guide_and_against_what_is_typed(
    base: str, current: GuideVersion, viewer: User, page_client: Any
) -> None:
    client = page_client(viewer)
    page = " ".join(client.post(base + "sentence/", {"sentence": "A luxury mug <b>"}).content.decode().split())
    assert '<mark class="banned"' in page and "asks for “as photographed”" in page and "&lt;b&gt;" in page
    assert (
        "Nothing in it speaks against"
        in client.post(base + "sentence/", {"sentence": "as photographed"}).content.decode()
    )
    typed = {
        "sentence": "A luxury mug",
        "required_wording": "",
        "approved_wording": "luxury mug",
        "banned_wording": "mug",
    }
    assert "Nothing in it speaks against" in client.post(base + "sentence/", typed).content.decode()


def test_the_page_costs_no_more_queries_with_more_versions_and_images(
    base: str, brand: Brand, current: GuideVersion, lead: User, page_client: Any
) -> None:
    client = page_client(lead)
    client.get(base)

    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(base).status_code == 200
        return len(queries)

    before = cost()
    for number in range(4):
        draft = guides.edit_draft(brand=brand, by=lead)
        given = [(f"{n}.png", image((n, number, 9)).read()) for n in range(3)]
        images.add_to_guide(guide_id=draft.pk, use="dont", files_given=given, by=lead)
        guides.publish(guide_id=draft.pk, by=lead)
    assert cost() == before <= 12


# -- changing -------------------------------------------------------------------------------------------------------


def test_each_part_of_the_draft_is_saved_on_its_own(
    base: str, brand: Brand, current: GuideVersion, lead: User, page_client: Any
) -> None:
    client = page_client(lead)
    client.post(base + "draft/begin/")
    posts: dict[str, dict[str, Any]] = {
        "palette": {"palette_name": ["Clay", "", "Ink"], "palette_hex": ["B5651D", "", "#2b3650"]},
        "backdrops": {
            "backdrops_row": ["0", "7"],
            "backdrops_name": ["White", "Warm sand"],
            "backdrops_hex": ["#fff", "#e0d0b4"],
            "default": "7",
        },
        "setting": {"light": "hard left", "fill_ratio": "75 %", "baseline": "86,5"},
        "wording": {
            "required_wording": "",
            "approved_wording": "thrown by hand\r\n\r\nslow",
            "banned_wording": "cheap",
        },
        "limits": {"limit:photo_size:enlarged": "1.3", "limit:blank:flat": ""},
    }
    for part, data in posts.items():
        assert client.post(f"{base}draft/save/{part}/", data).status_code == 302
    made = draft_of(brand)
    assert made.palette == [{"name": "Clay", "hex": "#b5651d"}, {"name": "Ink", "hex": "#2b3650"}]
    assert (made.backdrop, made.backdrops[1]) == ("Warm sand", {"name": "Warm sand", "hex": "#e0d0b4"})
    assert (made.light, made.fill_ratio, made.baseline) == ("hard left", 0.75, 0.865)
    assert (made.approved_wording, made.banned_wording) == (["thrown by hand", "slow"], ["cheap"])
    assert made.thresholds == {"photo_size": {"enlarged": 1.3}}
    assert client.post(f"{base}draft/save/weather/", {}).status_code == 404


def test_backdrops_that_are_saved_unchanged_are_no_change(
    base: str, brand: Brand, current: GuideVersion, lead: User, page_client: Any
) -> None:
    client = page_client(lead)
    client.post(base + "draft/begin/")
    begun = Event.objects.filter(type="campaigns.guide.drafted").count()
    data = {"backdrops_row": ["0"], "backdrops_name": ["White"], "backdrops_hex": ["#ffffff"], "default": "0"}
    assert client.post(f"{base}draft/save/backdrops/", data).status_code == 302
    assert client.get(base + "draft/").context["changes"] == []
    assert Event.objects.filter(type="campaigns.guide.drafted").count() == begun


@pytest.mark.parametrize(
    ("part", "data", "field", "message"),
    [
        ("setting", {"light": "below", "fill_ratio": "70", "baseline": "90"}, "light", "The light comes from one of"),
        ("setting", {"light": "top", "fill_ratio": "", "baseline": "90"}, "fill_ratio", "Give a number."),
        ("setting", {"light": "top", "fill_ratio": "70", "baseline": "nan"}, "baseline", "Give a number."),
        ("setting", {"light": "top", "fill_ratio": "5", "baseline": "90"}, "fill_ratio", "Give the fill as a share"),
        ("wording", {"approved_wording": "a" * 121}, "approved_wording", "A phrase has at most 120 characters"),
        ("limits", {"limit:photo_size:enlarged": "much"}, "limit:photo_size:enlarged", "Give a number."),
        ("limits", {"limit:photo_size:enlarged": "99"}, "limit:photo_size:enlarged", "Give a number from 1 to 6."),
    ],
)
def test_each_mistake_of_a_part_is_shown_at_its_field(
    base: str, current: GuideVersion, lead: User, page_client: Any, part: str, data: Any, field: str, message: str
) -> None:
    client = page_client(lead)
    client.post(base + "draft/begin/")
    answer = client.post(f"{base}draft/save/{part}/", data)
    form = answer.context["parts"][part]
    assert answer.status_code == 422
    assert list(form.errors) == [field] and message in form.errors[field][0]
    assert "Nothing was saved yet; see below." in answer.content.decode()
    assert f'<span class="error">{escape(form.errors[field][0])}</span>' in answer.content.decode()


def test_a_mistake_in_a_row_is_shown_in_it_and_empty_rows_follow(
    base: str, brand: Brand, current: GuideVersion, lead: User, page_client: Any
) -> None:
    client = page_client(lead)
    client.post(base + "draft/begin/")
    data = {
        "backdrops_row": ["0", "1", "9"], "backdrops_name": ["White", "", "Sand"], "backdrops_hex": ["#fff", "", "#e0"],
        "default": "9",
    }  # fmt: skip
    answer = client.post(f"{base}draft/save/backdrops/", data)
    rows = list(answer.context["parts"]["backdrops"])
    assert answer.status_code == 422
    assert [row["name"].value() or "" for row in rows] == ["White", "Sand", ""]
    assert [list(row.errors) for row in rows] == [[], ["hex"], []]
    assert [row.is_default for row in rows] == [False, True, False]
    assert draft_of(brand).backdrops == current.backdrops


@pytest.mark.parametrize(
    ("part", "data", "kept", "message"),
    [
        ("palette", {"palette_name": ["Rust"], "palette_hex": ["#zz"]}, 'value="#zz"', "six hexadecimal digits"),
        ("setting", {"light": "top", "fill_ratio": "much", "baseline": "90"}, 'value="much"', "Give a number"),
        ("setting", {"light": "top", "fill_ratio": "70", "baseline": "1e400"}, "", "baseline"),
        ("setting", {"light": "top", "fill_ratio": "-1e400", "baseline": "90"}, "", "fill"),
        ("wording", {"required_wording": "luxury", "banned_wording": "luxury"}, "luxury", "required and banned"),
        ("limits", {"limit:photo_size:enlarged": "99"}, 'value="99"', "from 1 to 6"),
    ],
)
def test_a_refused_part_comes_back_with_what_was_typed(
    base: str, current: GuideVersion, lead: User, page_client: Any, part: str, data: Any, kept: str, message: str
) -> None:
    client = page_client(lead)
    client.post(base + "draft/begin/")
    answer = client.post(f"{base}draft/save/{part}/", data)
    assert answer.status_code == 422
    assert kept in answer.content.decode() and message in answer.content.decode()


def test_a_part_that_somebody_else_changed_meanwhile_is_not_overwritten(
    base: str, brand: Brand, current: GuideVersion, lead: User, page_client: Any
) -> None:
    seen = guides.draft_token(guides.edit_draft(brand=brand, by=lead), ("light", "fill_ratio", "baseline"))
    guides.edit_draft(brand=brand, by=lead, light="right")
    data = {"light": "top", "fill_ratio": "70", "baseline": "90", "seen": seen}
    assert page_client(lead).post(f"{base}draft/save/setting/", data).status_code == 412
    assert draft_of(brand).light == "right"


def test_colours_out_of_an_image_are_ticked_and_taken_over(
    base: str, brand: Brand, current: GuideVersion, lead: User, page_client: Any
) -> None:
    client = page_client(lead)
    client.post(base + "draft/begin/")
    shown = client.post(base + "draft/colours/", {"file": image("#2b3650")}, headers=HTMX).content.decode()
    assert "#2b3650" in shown and "<html" not in shown and 'value="Ink"' in shown
    client.post(
        base + "draft/colours/take/", {"take": ["0"], "name_0": "Night", "hex_0": "#2b3650", "hex_1": "#ffffff"}
    )
    assert draft_of(brand).palette[-1] == {"name": "Night", "hex": "#2b3650"} and len(draft_of(brand).palette) == 2
    letter = SimpleUploadedFile("letter.png", b"Dear all")
    assert "no JPEG, PNG" in client.post(base + "draft/colours/", {"file": letter}).content.decode()


def test_images_are_added_ordered_captioned_and_removed(
    base: str, brand: Brand, current: GuideVersion, lead: User, page_client: Any
) -> None:
    client = page_client(lead)
    client.post(base + "draft/begin/")
    client.post(base + "draft/pictures/dont/", {"file": [image((9, 9, 9)), image((200, 9, 9))]})
    first, second = GuideImage.objects.filter(guide=draft_of(brand), use="dont")
    client.post(f"{base}draft/picture/{second.pk}/", {"caption": "Too dark", "move": "earlier"})
    client.post(f"{base}draft/picture/{first.pk}/", {"remove": "1"})
    assert [row.caption for row in GuideImage.objects.filter(guide=draft_of(brand), use="dont")] == ["Too dark"]
    refused = client.post(base + "draft/pictures/do/", {"file": SimpleUploadedFile("a.gif", b"GIF89a")})
    assert refused.status_code == 422 and "a.gif" in refused.content.decode()


def test_publishing_with_a_note_makes_it_count(
    base: str, brand: Brand, current: GuideVersion, lead: User, page_client: Any
) -> None:
    client = page_client(lead)
    client.post(base + "draft/begin/")
    client.post(base + "draft/publish/", {"note": "Warmer for autumn"})
    assert "Warmer for autumn" in client.get(base).content.decode()
    assert brand.guide_versions.get(number=2).status == "published"


# -- beside an image in review ----------------------------------------------------------------------------------------


def test_the_sidebar_shows_the_guide_that_the_run_was_planned_with(
    brand: Brand, current: GuideVersion, lead: User, reviewer: User, page_client: Any
) -> None:
    task = create_image_in_review(brand)
    Run.objects.filter(pk=task.asset.cell.run_id).update(guide_version=current)
    newer = guides.edit_draft(brand=brand, by=lead, banned_wording=["artisanal"])
    guides.publish(guide_id=newer.pk, by=lead)
    shown = page_client(reviewer).get(f"/brands/{brand.slug}/review/tasks/{task.pk}/rail/").content.decode()
    assert "Brand guide v1" in shown and "v2 counts now" in shown and "Never: luxury" in shown
    assert "Do: Air around" in shown and "asks for “as photographed”" in shown


# -- API ------------------------------------------------------------------------------------------------------------


def test_the_guide_is_read_changed_and_published_over_the_api(
    brand: Brand, current: GuideVersion, lead: User, api_client: Any
) -> None:
    client, address = api_client(lead), f"/api/v1/brands/{brand.slug}/guide/"
    read = client.get(address)
    assert read.json()["current"]["palette"] == current.palette and read.json()["draft"] is None
    assert client.patch(address, {"light": "top"}, format="json").status_code == 428
    changed = client.patch(address, {"light": "top"}, format="json", headers={"If-Match": read["ETag"]})
    assert changed.status_code == 200 and changed.json()["draft"]["light"] == "top"
    stale = client.patch(address, {"light": "left"}, format="json", headers={"If-Match": read["ETag"]})
    assert stale.status_code == 412
    wrong = client.patch(address, {"light": "below"}, format="json", headers={"If-Match": changed["ETag"]})
    assert wrong.status_code == 422
    done = client.post(address + "publish/", {"note": "From above"}, format="json")
    assert done.json()["current"]["number"] == 2 and done.json()["current"]["note"] == "From above"
    assert client.post(address + "publish/", {}, format="json").status_code == 409


@pytest.mark.parametrize("role", sorted(set(Role.values) - EDITORS))
def test_others_only_read_the_guide_over_the_api(
    role: str, brand: Brand, current: GuideVersion, person: Any, api_client: Any
) -> None:
    client, address = api_client(person(role)), f"/api/v1/brands/{brand.slug}/guide/"
    read = client.get(address)
    assert read.status_code == 200
    assert client.patch(address, {}, format="json", headers={"If-Match": read["ETag"]}).status_code == 403


# -- the brief ------------------------------------------------------------------------------------------------------


@pytest.fixture
def campaign(brand: Brand, manager: User) -> Campaign:
    return campaigns.create_campaign(brand=brand, slug="autumn", name="Autumn", by=manager)


@pytest.fixture
def brief(brand: Brand, campaign: Campaign) -> str:
    return f"/brands/{brand.slug}/campaigns/{campaign.slug}/"


def _typed(**changed: Any) -> dict[str, Any]:
    return {"name": "Autumn", "purpose": "", "pilot_decisions": "10", "pilot_approval_percent": "80"} | changed


def test_images_beside_the_brief_change_without_the_page(
    brief: str, campaign: Campaign, manager: User, page_client: Any
) -> None:
    client = page_client(manager)
    two = {"file": [image(name="a.png"), image((0, 0, 99), name="b.png")]}
    shown = client.post(brief + "pictures/", two, headers=HTMX).content.decode()
    assert shown.count("<img") == 2 and "<html" not in shown
    first, second = campaign.images.all()
    client.post(f"{brief}pictures/{second.pk}/", {"caption": "The mood", "move": "earlier"}, headers=HTMX)
    client.post(f"{brief}pictures/{first.pk}/", {"remove": "1"}, headers=HTMX)
    assert [row.caption for row in campaign.images.all()] == ["The mood"]
    refused = client.post(brief + "pictures/", {"file": SimpleUploadedFile("x.png", b"no")}, headers=HTMX)
    assert refused.status_code == 200 and "x.png: This is no JPEG" in refused.content.decode()
    assert b"The mood" in client.get(brief + "brief/").content


def test_those_who_may_not_write_the_brief_add_no_image(
    brief: str, campaign: Campaign, viewer: User, page_client: Any
) -> None:
    assert page_client(viewer).post(brief + "pictures/", {"file": image()}).status_code == 403
    assert not campaign.images.exists()


def test_an_image_of_another_campaign_cannot_be_changed_here(
    brief: str, brand: Brand, manager: User, page_client: Any
) -> None:
    other = factories.CampaignFactory(brand=brand)
    theirs = images.add_to_brief(campaign_id=other.pk, files_given=[("a.png", image().read())], by=manager)[0]
    assert page_client(manager).post(f"{brief}pictures/{theirs.pk}/", {"remove": "1"}).status_code == 404


def test_what_somebody_else_wrote_meanwhile_is_shown_and_nothing_typed_is_lost(
    brief: str, campaign: Campaign, manager: User, page_client: Any
) -> None:
    client = page_client(manager)
    seen = client.get(brief + "brief/").context["seen_at"]
    campaigns.update_campaign(campaign_id=campaign.pk, by=manager, audience="Everybody")
    answer = client.post(brief + "brief/", _typed(purpose="Mine", seen_at=seen))
    page = answer.content.decode()
    assert "Somebody changed this brief" in page and "Purpose" in page and ">\nMine</textarea>" in page
    campaign.refresh_from_db()
    assert (campaign.purpose, campaign.audience) == ("", "Everybody")
    again = client.post(brief + "brief/", _typed(purpose="Mine", seen_at=answer.context["seen_at"]))
    campaign.refresh_from_db()
    assert again.status_code == 302 and campaign.purpose == "Mine"


def test_a_name_that_is_taken_is_reported_at_the_field(
    brand: Brand, campaign: Campaign, manager: User, page_client: Any
) -> None:
    answer = page_client(manager).post(f"/brands/{brand.slug}/campaigns/new/", _typed(purpose="Kept"))
    assert answer.context["form"].errors["name"] and "Kept" in answer.content.decode()


# -- channel requirements ---------------------------------------------------------------------------------------------


def test_a_channels_preset_is_one_click_and_is_added_once(
    brief: str, campaign: Campaign, manager: User, page_client: Any
) -> None:
    client = page_client(manager)
    for preset in (*channels.PRESETS, channels.PRESETS[0]):
        assert client.post(brief + "specs/", {"preset": preset.slug}).status_code == 302
    made = {spec.slug: spec for spec in campaign.output_specs.all()}
    assert len(made) == len(channels.PRESETS)
    assert (made["instagram"].aspect, made["story"].aspect, made["amazon-main"].background) == (
        "4:5",
        "9:16",
        "#ffffff",
    )
    assert client.get(brief + "specs/").content.decode().count("disabled") >= len(channels.PRESETS)


def test_every_preset_is_a_spec_that_the_service_takes() -> None:
    for preset in channels.PRESETS:
        assert preset.image_format in ImageFormat.values and preset.rule.endswith(".")
        assert min(preset.width, preset.height) >= 500 and preset.max_bytes >= 1000


def test_a_spec_with_a_mistake_says_so_at_its_field_and_keeps_the_rest(
    brief: str, campaign: Campaign, manager: User, page_client: Any
) -> None:
    data = {"slug": "shop", "width": "900", "height": "1200", "image_format": "jpeg", "background": "white",
            "asset_type": "packshot", "name_pattern": "{sku}"}  # fmt: skip
    answer = page_client(manager).post(brief + "specs/", data)
    assert "Write a colour as #" in str(answer.context["form"].errors["background"])
    assert 'value="900"' in answer.content.decode() and not campaign.output_specs.exists()


def test_what_google_will_refuse_is_shown_where_the_size_is_set(
    brief: str, campaign: Campaign, manager: User, page_client: Any
) -> None:
    given = [SpecInput("google-small", 400, 400), SpecInput("google-feed", 1000, 1000), SpecInput("tile", 300, 300)]
    campaigns.set_output_specs(campaign_id=campaign.pk, specs=given, by=manager)
    shown = page_client(manager).get(brief + "specs/").content.decode()
    assert shown.count("refuses less than 500 × 500 px from 31 January 2027 on") == 1
    assert shown.count("advises 1500 × 1500 px or more") == 1
    assert set(channels.size_remarks(given, channel="Google Merchant")) == {"google-small", "google-feed", "tile"}


def test_a_spec_that_has_files_stays_and_the_page_says_why(
    brand: Brand, manager: User, page_client: Callable[..., Any]
) -> None:
    task = create_image_in_review(brand)
    spec = task.asset.campaign.output_specs.first()
    address = f"/brands/{brand.slug}/campaigns/{task.asset.campaign.slug}/specs/"
    answer = page_client(manager).post(address, {"remove": spec.slug})
    assert answer.status_code == 200 and "Files were already made" in answer.content.decode()


def test_the_guides_backdrops_are_offered_where_axes_are_chosen(
    brand: Brand, current: GuideVersion, manager: User, page_client: Any
) -> None:
    campaign = factories.CampaignFactory(brand=brand)
    version = factories.PromptVersionFactory(template__brand=brand, needs={})
    query = {"prompt": version.pk, "endpoint": factories.EndpointFactory(engine="packshot").pk}
    address = f"/brands/{brand.slug}/campaigns/{campaign.slug}/runs/axes/"
    shown = page_client(manager).get(address, query).content.decode()
    assert 'data-axis="backdrop" data-value="white"' in shown
