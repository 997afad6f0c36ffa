"""Tests of style presets: the five defaults, create, change and retire; prompt versions keep their style text."""

from __future__ import annotations

from typing import Any

import pytest

from campaigns.models import PromptVersion, StylePreset
from campaigns.prompts.presets import PRESETS
from campaigns.selectors import prompts as selectors
from campaigns.services import prompts, styles
from core.errors import Conflict, Invalid, NotAllowed
from core.models import Brand, Event, User
from core.services import brands
from tests.support import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def style(brand: Brand, designer: User) -> StylePreset:
    return styles.create(brand=brand, slug="soft", name="Soft", text="soft light", negative="flash", by=designer)


@pytest.fixture
def version(brand: Brand, style: StylePreset, designer: User) -> PromptVersion:
    template = factories.PromptTemplateFactory(brand=brand)
    return prompts.add_version(template_id=template.pk, by=designer, text="{name}", style=style)


def test_a_new_brand_begins_with_the_five_presets() -> None:
    brand = brands.create_brand(slug="north", name="North", by=factories.UserFactory(is_superuser=True))
    assert set(brand.style_presets.values_list("slug", flat=True)) == {preset.slug for preset in PRESETS}


def test_an_older_brand_gets_those_that_it_lacks(brand: Brand, designer: User, viewer: User) -> None:
    styles.create(brand=brand, slug="minimalist", name="Ours", text="less", by=designer)
    assert len(styles.add_presets(brand=brand, by=designer)) == 4
    assert styles.add_presets(brand=brand, by=designer) == []
    assert brand.style_presets.get(slug="minimalist").text == "less"
    with pytest.raises(NotAllowed):
        styles.add_presets(brand=brand, by=viewer)


def test_a_changed_style_leaves_versions_as_they_were(
    style: StylePreset, version: PromptVersion, designer: User
) -> None:
    prompts.mark_used(version=version, by=designer)
    styles.change(style_id=style.pk, by=designer, text="hard light")
    version.refresh_from_db()
    assert (selectors.prompt_source(version).style, selectors.prompt_source(version).style_negative) == (
        "soft light",
        "flash",
    )
    later = prompts.add_version(template_id=version.template_id, by=designer, text="{name}", style=style)
    assert later.style_text == "soft light"  # the version was loaded before the change
    later = prompts.add_version(
        template_id=version.template_id, by=designer, text="{name}", style=StylePreset.objects.get(pk=style.pk)
    )
    assert later.style_text == "hard light"
    assert Event.objects.get(type="campaigns.style.changed").payload["changes"] == {
        "text": ["soft light", "hard light"]
    }


def test_another_style_brings_its_words_into_a_draft(
    brand: Brand, style: StylePreset, version: PromptVersion, designer: User
) -> None:
    other = styles.create(brand=brand, slug="hard", name="Hard", text="hard light", by=designer)
    assert prompts.edit_draft_version(version_id=version.pk, by=designer, style=other).style_text == "hard light"
    assert prompts.edit_draft_version(version_id=version.pk, by=designer, style=None).style_text == ""


@pytest.mark.parametrize(
    "fields",
    [{"text": " "}, {"text": "in {colour}"}, {"negative": "}"}, {"text": "x" * 2001}, {"name": ""}],
)
def test_a_style_that_cannot_be_appended_is_refused(fields: dict[str, Any], style: StylePreset, designer: User) -> None:
    with pytest.raises(Invalid) as refusal:
        styles.change(style_id=style.pk, by=designer, **fields)
    assert [problem.pointer for problem in refusal.value.problems] == list(fields)


def test_a_retired_style_is_offered_no_more_but_stays_with_its_version(
    brand: Brand, style: StylePreset, version: PromptVersion, designer: User, page_client: Any
) -> None:
    client = page_client(designer)
    client.post(f"/brands/{brand.slug}/styles/soft/retire/")
    assert StylePreset.objects.get(pk=style.pk).is_active is False
    used = client.get(f"/brands/{brand.slug}/prompts/{version.template.slug}/")
    new = client.get(f"/brands/{brand.slug}/prompts/{factories.PromptTemplateFactory(brand=brand).slug}/")
    assert (b">Soft</option>" in used.content, b">Soft</option>" in new.content) == (True, False)
    client.post(f"/brands/{brand.slug}/styles/soft/restore/")
    assert StylePreset.objects.get(pk=style.pk).is_active is True


def test_styles_are_written_changed_and_copied_on_their_page(brand: Brand, designer: User, page_client: Any) -> None:
    client, address = page_client(designer), f"/brands/{brand.slug}/styles/"
    assert b"five presets of a design team" in client.get(address).content
    client.post(f"{address}presets/")
    assert client.post(address, {"name": "Soft", "text": "soft light"}).status_code == 302
    again = client.post(address, {"name": "Soft", "text": "soft light"})
    assert b"Another style has this name" in again.content
    wrong = client.post(address, {"name": "Braces", "text": "in {colour}"})
    assert b"placeholders in braces belong into the prompt" in wrong.content
    client.post(f"{address}soft/", {"name": "Softer", "text": "softer light"})
    copied = client.post(f"{address}soft/copy/")
    assert copied["Location"] == f"{address}softer-2/"
    assert StylePreset.objects.get(slug="softer-2").text == "softer light"
    shown = client.post(f"{address}preview/", {"text": "window light"})
    assert b'<mark class="style">window light</mark>' in shown.content


def test_viewers_read_styles_and_change_none(brand: Brand, style: StylePreset, viewer: User, page_client: Any) -> None:
    client, address = page_client(viewer), f"/brands/{brand.slug}/styles/"
    assert b"soft light" in client.get(address).content
    assert client.post(f"{address}presets/").status_code == 403
    assert client.post(f"{address}soft/retire/").status_code == 403
    assert client.post(f"{address}soft/", {"name": "Mine", "text": "x"}).status_code == 403


def test_a_name_that_is_taken_is_a_conflict(brand: Brand, style: StylePreset, designer: User) -> None:
    with pytest.raises(Conflict):
        styles.create(brand=brand, slug="soft", name="Soft", text="light", by=designer)
