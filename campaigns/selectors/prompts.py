"""Reading prompts: templates, versions, and a version as the plain source that renders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Count, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from campaigns.choices import PromptStatus
from campaigns.models import PromptTemplate, PromptVersion, StylePreset, Subject
from campaigns.prompts import PromptSource
from campaigns.selectors import subjects
from core.errors import NotFound
from core.models import Brand, User

LOOKED_AT = 5000
"""Subjects of a brand that are looked at for attribute names; the newest."""
CHOSEN = 3
_NAMES = """
SELECT entry.key, count(*) FROM (
    SELECT attributes FROM campaigns_subject WHERE brand_id = %s AND is_active ORDER BY id DESC LIMIT %s
) subject, jsonb_each_text(subject.attributes) entry
WHERE entry.value <> '' GROUP BY entry.key ORDER BY count(*) DESC, entry.key LIMIT 200
"""


@dataclass(frozen=True)
class Name:
    """One placeholder that a prompt may hold, with how many of the `of` subjects looked at have a value for it."""

    name: str
    count: int
    of: int


def names(brand_id: int) -> list[Name]:
    """Return the names that placeholders can read: what every subject has, then attributes, the commonest first."""
    looked_at = Subject.objects.filter(brand_id=brand_id, is_active=True)[:LOOKED_AT].count()
    with connection.cursor() as cursor:
        cursor.execute(_NAMES, [brand_id, LOOKED_AT])
        attributes = [Name(name, count, looked_at) for name, count in cursor.fetchall()]
    always = [Name(name, looked_at, looked_at) for name in ("name", "sku", "key", "kind", "brand", "campaign")]
    taken = {one.name for one in always}
    return [*always, *(one for one in attributes if one.name not in taken)]


def chosen_subjects(user: User, brand_id: int, wanted: Sequence[int]) -> list[Subject]:
    """The subjects that a prompt is shown on: those wanted, in that order, and others spread over the brand until
    there are CHOSEN. With their photos."""
    rows = Subject.objects.visible_to(user).filter(brand_id=brand_id, is_active=True)
    keys = list(rows.order_by("key", "pk").values_list("pk", flat=True)[:60])
    spread = keys[:: max(1, len(keys) // CHOSEN)] + keys
    mine = list(rows.filter(pk__in=wanted[:CHOSEN]).values_list("pk", flat=True))
    first = [pk for pk in wanted[:CHOSEN] if pk in mine]
    picked = list(dict.fromkeys([*first, *spread]))[:CHOSEN]
    found = {subject.pk: subject for subject in rows.filter(pk__in=picked).prefetch_related(subjects.photos())}
    return [found[pk] for pk in picked]


def matching_subjects(user: User, brand_id: int, words: str, *, limit: int = 12) -> QuerySet[Any]:
    """Active subjects whose key or name holds the words, by key."""
    rows = Subject.objects.visible_to(user).filter(brand_id=brand_id, is_active=True)
    if words:
        rows = rows.filter(Q(key__icontains=words) | Q(name__icontains=words))
    return rows.order_by("key", "pk")[:limit]


def asked_for(user: User, brand_id: int) -> QuerySet[Any]:
    """Versions that wait for a lead's answer, the longest waiting first, with template and who asked."""
    rows = PromptVersion.objects.visible_to(user).filter(template__brand_id=brand_id, status=PromptStatus.REQUESTED)
    return rows.select_related("template", "asked_by").order_by("asked_at", "pk")


def templates(user: User, *, brand_id: int | None = None) -> QuerySet[Any]:
    """Templates by slug, not the studios', with brand, `version_count`, `last_number`, `approved_number` (the newest
    approved) and `asked_count`."""
    rows = PromptTemplate.objects.visible_to(user).filter(studio=None).select_related("brand")
    if brand_id is not None:
        rows = rows.filter(brand_id=brand_id)
    approved = Max("versions__number", filter=Q(versions__status=PromptStatus.APPROVED))
    asked = Count("versions", filter=Q(versions__status=PromptStatus.REQUESTED))
    counts = {"version_count": Count("versions"), "last_number": Max("versions__number")}
    return rows.annotate(**counts, approved_number=approved, asked_count=asked).order_by("brand", "slug")


def versions(user: User, template: PromptTemplate) -> QuerySet[Any]:
    """Versions of a template, newest first, with style and author."""
    rows = PromptVersion.objects.visible_to(user).filter(template=template)
    return rows.select_related("style", "created_by").order_by("-number")


def get_version(user: User, version_id: int) -> PromptVersion:
    """With template, brand and style. Raises NotFound, also for what the person must not know of."""
    rows = PromptVersion.objects.visible_to(user).select_related("template__brand", "style")
    version: PromptVersion | None = rows.filter(pk=version_id).first()
    if version is None:
        raise NotFound(f"There is no prompt version {version_id}.")
    return version


def styles(user: User, *, brand_id: int) -> QuerySet[Any]:
    """Style presets of a brand by name, retired ones last, with `version_count`."""
    rows = StylePreset.objects.visible_to(user).filter(brand_id=brand_id)
    using = PromptVersion.objects.filter(style=OuterRef("pk")).order_by().values("style")
    count = Coalesce(Subquery(using.annotate(count=Count("pk")).values("count")), 0)
    return rows.annotate(version_count=count).order_by("-is_active", "name", "slug")


def source(version: PromptVersion) -> PromptSource:
    """The version as plain values, with the words of its style as they were when it was written."""
    return PromptSource(
        text=version.text,
        negative=version.negative,
        style=version.style_text,
        style_negative=version.style_negative,
        parameters=version.parameters,
    )


def template(user: User, brand: Brand, slug: str) -> PromptTemplate:
    """Return a brand's template. Raises NotFound."""
    found: PromptTemplate | None = PromptTemplate.objects.visible_to(user).filter(brand=brand, slug=slug).first()
    if found is None:
        raise NotFound(f"There is no prompt {slug!r} in {brand.name}.")
    return found


def of_brand(user: User, brand: Brand) -> QuerySet[Any]:
    """Return the versions of all templates of a brand, with template, brand and style."""
    rows = PromptVersion.objects.visible_to(user).filter(template__brand=brand)
    return rows.select_related("template__brand", "style")


def numbered(user: User, brand: Brand, slug: str, number: int) -> PromptVersion:
    """Return one version of a template. Raises NotFound."""
    version: PromptVersion | None = of_brand(user, brand).filter(template__slug=slug, number=number).first()
    if version is None:
        raise NotFound(f"There is no version {number} of a prompt {slug!r} in {brand.name}.")
    return version


def style(user: User, brand: Brand, slug: str) -> StylePreset:
    """Return a style preset of a brand. Raises NotFound."""
    found: StylePreset | None = StylePreset.objects.visible_to(user).filter(brand=brand, slug=slug).first()
    if found is None:
        raise NotFound(f"There is no style {slug!r} in {brand.name}.")
    return found


def active_styles(user: User, brand: Brand) -> QuerySet[Any]:
    """Return the presets that new versions may take, by name."""
    return StylePreset.objects.visible_to(user).filter(brand=brand, is_active=True).order_by("name")
