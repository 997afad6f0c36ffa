"""Style presets: write, change and retire reusable wording. Prompt versions keep the words of their time."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils.text import slugify
from django.utils.translation import gettext as _

from campaigns import events
from campaigns.models import StylePreset
from campaigns.prompts.presets import PRESETS
from campaigns.services.prompts import ensure_named
from core.access import Action, require
from core.errors import Conflict, Invalid, Problem
from core.events import publish, set_changed
from core.models import Brand, User
from core.selectors.rows import first_or_refuse

MAX_TEXT_LENGTH = 2000


@transaction.atomic
def create(*, brand: Brand, slug: str, name: str, text: str, by: User, negative: str = "") -> StylePreset:
    """Create a style preset. Raises Invalid, or Conflict for a slug that is taken."""
    require(by, Action.EDIT_PROMPT, brand)
    ensure_named(slug, name)
    _ensure_words({"text": text, "negative": negative})
    style, is_new = StylePreset.objects.get_or_create(
        brand=brand, slug=slug, defaults={"name": name.strip(), "text": text.strip(), "negative": negative.strip()}
    )
    if not is_new:
        raise Conflict(_("%(brand)s already has a style %(slug)r.") % {"brand": brand.name, "slug": slug}, slug=slug)
    publish(events.StyleCreated.of(style, slug=slug), by=by)
    return style


@transaction.atomic
def change(*, style_id: int, by: User, **fields: Any) -> StylePreset:
    """Change name, text or negative of a preset; existing prompt versions keep the old words. Raises Invalid."""
    style = _lock(style_id, by)
    given = {name: str(value).strip() for name, value in fields.items()}
    ensure_named(style.slug, given.get("name", style.name))
    _ensure_words({"text": style.text, "negative": style.negative, **given})
    if changes := set_changed(style, given):
        style.save(update_fields=list(changes))
        publish(events.StyleChanged.of(style, slug=style.slug, changes=changes), by=by)
    return style


@transaction.atomic
def set_active(*, style_id: int, by: User, is_active: bool) -> StylePreset:
    """Retire a preset, so that no new version uses it, or bring it back. Existing versions stay. Idempotent."""
    style = _lock(style_id, by)
    if style.is_active != is_active:
        style.is_active = is_active
        style.save(update_fields=["is_active"])
        publish(events.StyleRetired.of(style, slug=style.slug, is_active=is_active), by=by)
    return style


@transaction.atomic
def add_presets(*, brand: Brand, by: User) -> list[StylePreset]:
    """Create those of the five standard presets that the brand does not have yet; return the new ones."""
    require(by, Action.EDIT_PROMPT, brand)
    there = set(StylePreset.objects.filter(brand=brand).values_list("slug", flat=True))
    return [
        create(brand=brand, slug=preset.slug, name=preset.name, text=preset.text, negative=preset.negative, by=by)
        for preset in PRESETS
        if preset.slug not in there
    ]


def _lock(style_id: int, by: User) -> StylePreset:
    rows = StylePreset.objects.select_for_update(of=("self",)).select_related("brand")
    style = first_or_refuse(rows.filter(pk=style_id), _("There is no style %(id)s.") % {"id": style_id})
    require(by, Action.EDIT_PROMPT, style.brand)
    return style


def _ensure_words(fields: dict[str, str]) -> None:
    """Raise Invalid for a style without words or with placeholders: its words are appended as they are."""
    problems = []
    if not fields["text"].strip():
        problems.append(Problem("text", _("Write the words that the style adds to a prompt.")))
    for name, words in fields.items():
        if len(words) > MAX_TEXT_LENGTH:
            message = _("This is longer than %(most)d characters.") % {"most": MAX_TEXT_LENGTH}
            problems.append(Problem(name, message))
        if set(words) & set("{}"):
            message = _("A style is added as it stands: placeholders in braces belong into the prompt.")
            problems.append(Problem(name, message, words[words.find("{") :][:40]))
    if problems:
        raise Invalid(_("The style has mistakes."), problems)


@transaction.atomic
def copy(*, style_id: int, by: User) -> StylePreset:
    """Create a preset with the same words, under the name with the next free number."""
    style = _lock(style_id, by)
    taken = set(StylePreset.objects.filter(brand=style.brand).values_list("slug", flat=True))
    count = next(n for n in range(2, len(taken) + 3) if slugify(f"{style.name} {n}")[:50] not in taken)
    name = f"{style.name[:70]} {count}"
    slug = slugify(name)[:50]
    return create(brand=style.brand, slug=slug, name=name, text=style.text, negative=style.negative, by=by)
