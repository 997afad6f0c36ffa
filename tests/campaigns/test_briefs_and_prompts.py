"""Tests of brands, campaigns and prompts through their services: permissions, errors and events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils.text import slugify

from campaigns.choices import PromptStatus
from campaigns.models import Campaign, GuideVersion, PromptVersion
from campaigns.selectors import campaigns as campaign_selectors
from campaigns.selectors import guides as guide_selectors
from campaigns.selectors import prompts as prompt_selectors
from campaigns.services import campaigns, guides, prompts, styles
from campaigns.services.campaigns import SpecInput
from core.choices import Role
from core.errors import Conflict, Invalid, NotAllowed, NotFound, Stale
from core.models import Brand, Event, User
from core.selectors import brands as brand_selectors
from core.services import brands
from tests.support import factories

pytestmark = pytest.mark.django_db


def event_payloads(kind: str) -> list[dict[str, Any]]:
    return list(Event.objects.filter(type=kind).order_by("id").values_list("payload", flat=True))


# -- brands --------------------------------------------------------------------------------------------------------


def test_a_superuser_founds_a_brand_and_becomes_its_admin(lead: User) -> None:
    founder = factories.UserFactory(is_superuser=True)
    brand = brands.create_brand(slug="north-kiln", name="North Kiln", by=founder)
    assert list(brand.memberships.values_list("user", "role")) == [(founder.pk, "admin")]
    with pytest.raises(Conflict):
        brands.create_brand(slug="north-kiln", name="Another", by=founder)
    with pytest.raises(NotAllowed):
        brands.create_brand(slug="mine", name="Mine", by=lead)
    with pytest.raises(Invalid) as refusal:
        brands.create_brand(slug="North Kiln", name=" ", currency="euro", by=founder)
    assert [problem.pointer for problem in refusal.value.problems] == ["slug", "name", "currency"]


def test_members_are_added_once_and_the_last_editor_stays(brand: Brand, lead: User, viewer: User) -> None:
    for _ in range(2):
        membership = brands.add_member(brand=brand, user=viewer, role=Role.REVIEWER, by=lead)
    assert len(event_payloads("core.member.added")) == 1
    brands.remove_member(membership_id=membership.pk, by=lead)
    assert event_payloads("core.member.removed")[0]["role"] == "reviewer"
    with pytest.raises(Conflict, match="last"):
        brands.remove_member(membership_id=brand.memberships.get(user=lead).pk, by=lead)
    with pytest.raises(NotAllowed):
        brands.add_member(brand=brand, user=viewer, role=Role.LEAD, by=viewer)
    with pytest.raises(Invalid):
        brands.add_member(brand=brand, user=viewer, role="king", by=lead)


def test_the_highest_published_guide_counts_and_is_frozen(brand: Brand, lead: User) -> None:
    first = guides.edit_draft(brand=brand, by=lead, banned_wording=["cheap"], fill_ratio=0.7)
    assert guide_selectors.get_published(brand.pk) is None
    guides.publish(guide_id=first.pk, by=lead)
    second = guides.edit_draft(brand=brand, by=lead, required_wording=["stoneware"])
    assert (second.number, second.banned_wording, second.fill_ratio) == (2, ["cheap"], 0.7)
    assert guide_selectors.get_published(brand.pk) == first
    guides.publish(guide_id=second.pk, by=lead)
    assert guide_selectors.get_published(brand.pk) == second
    with pytest.raises(Conflict):
        guides.publish(guide_id=second.pk, by=lead)
    with pytest.raises(IntegrityError), transaction.atomic():
        GuideVersion.objects.filter(pk=second.pk).update(banned_wording=[])


def test_a_guide_with_mistakes_names_each(brand: Brand, lead: User) -> None:
    with pytest.raises(Invalid) as refusal:
        guides.edit_draft(
            brand=brand, by=lead, palette=[{"name": "Clay", "hex": "red"}], banned_wording=[""], baseline=2
        )
    assert {problem.pointer for problem in refusal.value.problems} == {"palette/0/hex", "banned_wording", "baseline"}


# -- campaigns -----------------------------------------------------------------------------------------------------


@pytest.fixture
def campaign(brand: Brand, manager: User) -> Campaign:
    return campaigns.create_campaign(
        brand=brand, slug="autumn", name="Autumn", by=manager, specs=[SpecInput("shop", 1200, 1200)]
    )


def test_a_campaign_is_created_once_per_slug_and_brand(brand: Brand, campaign: Campaign, manager: User) -> None:
    assert (campaign.owner, campaign.output_specs.get().aspect) == (manager, "1:1")
    with pytest.raises(Conflict):
        campaigns.create_campaign(brand=brand, slug="autumn", name="Autumn again", by=manager)


def test_those_without_the_role_write_no_brief(brand: Brand, designer: User, person: Callable[..., User]) -> None:
    for user in (designer, person("lead", brand=factories.BrandFactory())):
        with pytest.raises(NotAllowed):
            campaigns.create_campaign(brand=brand, slug="x", name="X", by=user)


def test_a_change_of_the_brief_is_recorded_and_a_late_one_is_stale(campaign: Campaign, manager: User) -> None:
    seen_at = campaign.updated_at
    changed = campaigns.update_campaign(
        campaign_id=campaign.pk, by=manager, seen_at=seen_at, budget=Decimal("500.00"), name="Autumn"
    )
    assert changed.budget == Decimal("500.00")
    assert event_payloads("campaigns.campaign.changed") == [{"changes": {"budget": [None, "500.00"]}}]
    with pytest.raises(Stale):
        campaigns.update_campaign(campaign_id=campaign.pk, by=manager, seen_at=seen_at, name="Winter")
    with pytest.raises(NotFound):
        campaigns.update_campaign(campaign_id=0, by=manager, name="Winter")


def test_a_brief_with_mistakes_names_each(campaign: Campaign, manager: User) -> None:
    with pytest.raises(Invalid) as refusal:
        campaigns.update_campaign(
            campaign_id=campaign.pk,
            by=manager,
            starts_on=date(2026, 5, 2),
            ends_on=date(2026, 5, 1),
            budget=Decimal(-1),
            review_owner=factories.UserFactory(),
            colour="red",
        )
    pointers = {problem.pointer for problem in refusal.value.problems}
    assert pointers == {"ends_on", "budget", "review_owner", "colour"}


def test_output_specs_become_exactly_what_is_requested(campaign: Campaign, manager: User) -> None:
    specs = [SpecInput("shop", 1600, 1600), SpecInput("story", 1080, 1920, image_format="webp")]
    saved = campaigns.set_output_specs(campaign_id=campaign.pk, specs=specs, by=manager)
    assert {(spec.slug, spec.width, spec.height) for spec in saved} == {("shop", 1600, 1600), ("story", 1080, 1920)}
    campaigns.set_output_specs(campaign_id=campaign.pk, specs=specs, by=manager)
    assert event_payloads("campaigns.campaign.output_specs_set")[1:] == [
        {"added": ["story"], "changed": ["shop"], "removed": []}
    ]
    with pytest.raises(Invalid):
        campaigns.set_output_specs(campaign_id=campaign.pk, specs=[SpecInput("shop", 9, 9, max_bytes=5)], by=manager)


def test_a_spec_that_has_files_neither_changes_nor_goes(campaign: Campaign, manager: User) -> None:
    spec = campaign.output_specs.get()
    run = factories.RunFactory(campaign=campaign)
    version = factories.AssetVersionFactory(asset__cell__run=run)
    factories.RenditionFactory(version=version, output_spec=spec)
    for specs in ([SpecInput("shop", 800, 800)], [SpecInput("other", 800, 800)]):
        with pytest.raises(Conflict, match="another slug"):
            campaigns.set_output_specs(campaign_id=campaign.pk, specs=specs, by=manager)
    kept = [SpecInput("shop", 1200, 1200), SpecInput("small", 400, 400)]
    assert campaigns.set_output_specs(campaign_id=campaign.pk, specs=kept, by=manager)[0].pk == spec.pk


def test_subjects_join_a_campaign(campaign: Campaign, manager: User, other_brand: Brand) -> None:
    mugs = factories.SubjectFactory.create_batch(3, brand=campaign.brand)
    factories.SubjectFactory(brand=campaign.brand, is_active=False)
    stranger = factories.SubjectFactory(brand=other_brand)
    assert campaigns.add_subjects(campaign_id=campaign.pk, by=manager, subject_ids=[mugs[0].pk]) == 1
    assert campaigns.add_subjects(campaign_id=campaign.pk, by=manager) == 2
    assert campaigns.add_subjects(campaign_id=campaign.pk, by=manager) == 0
    with pytest.raises(Invalid):
        campaigns.add_subjects(campaign_id=campaign.pk, by=manager, subject_ids=[stranger.pk])
    assert campaign.subjects.count() == 3


def test_people_of_another_brand_see_nothing(
    campaign: Campaign, person: Callable[..., User], other_brand: Brand
) -> None:
    stranger = person("lead", brand=other_brand)
    assert not campaign_selectors.visible(stranger).exists()
    for look in (
        lambda: campaign_selectors.get(stranger, campaign.pk),
        lambda: campaign_selectors.get_by_slug(stranger, campaign.brand.slug, "autumn"),
        lambda: brand_selectors.get(stranger, campaign.brand.slug),
    ):
        with pytest.raises(NotFound):
            look()


# -- prompts -------------------------------------------------------------------------------------------------------


@pytest.fixture
def version(brand: Brand, designer: User) -> PromptVersion:
    template = prompts.create_template(brand=brand, slug="studio", name="Studio", by=designer)
    style = styles.create(brand=brand, slug="soft", name="Soft", text="soft light", by=designer)
    return prompts.add_version(template_id=template.pk, by=designer, text="{name} in {colour|white}", style=style)


def test_versions_are_numbered_and_rendered_with_their_style(version: PromptVersion, designer: User) -> None:
    second = prompts.add_version(template_id=version.template_id, by=designer, text="{name}")
    assert (version.number, second.number) == (1, 2)
    source = prompt_selectors.prompt_source(prompt_selectors.get_version(designer, version.pk))
    assert (source.style, source.required_names) == ("soft light", ("name",))
    [template] = prompt_selectors.list_templates(designer, brand_id=version.template.brand_id)
    assert (template.version_count, template.last_number) == (2, 2)


def test_a_prompt_with_mistakes_names_the_place_of_each(version: PromptVersion, designer: User) -> None:
    with pytest.raises(Invalid) as refusal:
        prompts.add_version(
            template_id=version.template_id,
            by=designer,
            text="A {colour",
            parameters={"backdrop": {"deep": ["}"]}},
            axes={"backdrop": []},
            candidates=9,
            seed_strategy="lucky",
            policy={"on_fail": "shout"},
        )
    pointers = [problem.pointer for problem in refusal.value.problems]
    assert pointers == [
        "text",
        "parameters/backdrop/deep/0",
        "axes/backdrop",
        "candidates",
        "seed_strategy",
        "policy/on_fail",
    ]
    assert "character 3" in refusal.value.problems[0].message


def test_only_a_draft_that_was_never_used_changes(version: PromptVersion, designer: User, lead: User) -> None:
    changed = prompts.edit_draft_version(version_id=version.pk, by=designer, text="{name}", candidates=1)
    assert changed.text == "{name}"
    assert event_payloads("campaigns.prompt.version_changed")[0]["fields"] == ["text"]
    prompts.approve_version(version_id=version.pk, by=lead)
    with pytest.raises(Conflict, match="approved"):
        prompts.edit_draft_version(version_id=version.pk, by=designer, text="{key}")


def test_a_used_version_is_frozen_by_the_database_too(version: PromptVersion, designer: User, lead: User) -> None:
    for _ in range(2):
        prompts.mark_used(version=version, by=designer)
    assert len(event_payloads("campaigns.prompt.version_used")) == 1
    with pytest.raises(Conflict, match="used"):
        prompts.edit_draft_version(version_id=version.pk, by=designer, text="{key}")
    with pytest.raises(IntegrityError), transaction.atomic():
        PromptVersion.objects.filter(pk=version.pk).update(text="{key}")
    assert prompts.approve_version(version_id=version.pk, by=lead).status == PromptStatus.APPROVED


def test_only_a_lead_approves_and_only_once(version: PromptVersion, designer: User, lead: User) -> None:
    with pytest.raises(NotAllowed):
        prompts.approve_version(version_id=version.pk, by=designer)
    prompts.approve_version(version_id=version.pk, by=lead)
    with pytest.raises(Conflict):
        prompts.approve_version(version_id=version.pk, by=lead)


def test_a_style_of_another_brand_is_refused(version: PromptVersion, designer: User) -> None:
    with pytest.raises(Invalid):
        prompts.add_version(
            template_id=version.template_id, by=designer, text="{name}", style=factories.StylePresetFactory()
        )


def test_the_campaign_form_shows_all_mistakes_at_once(
    campaign: Campaign, manager: User, page_client: Callable[..., Any]
) -> None:
    typed = {
        "name": campaign.name, "channel": "", "starts_on": "2026-12-01", "ends_on": "2026-11-01", "budget": "much",
        "pilot_decisions": "20", "pilot_approval_percent": "130",
    }  # fmt: skip
    campaign.slug = slugify(campaign.name)
    campaign.save()
    errors = page_client(manager).post(f"/brands/{campaign.brand.slug}/campaigns/new/", typed).context["form"].errors
    assert "There already is a campaign of this name" in errors["name"][0]
    assert "It ends before it starts" in errors["ends_on"][0]
    assert set(errors) == {"name", "ends_on", "budget", "pilot_approval_percent"}
    page = page_client(manager).post(f"/brands/{campaign.brand.slug}/campaigns/new/", typed | {"name": "¿?"})
    assert page.context["form"].errors["name"] == ["Give it a name with letters or digits."]
    assert Campaign.objects.count() == 1
