"""Read prompts: templates, versions, and a version as the source that is rendered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Count, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from campaigns.choices import PromptStatus
from campaigns.models import PromptTemplate, PromptVersion, StylePreset, Subject
from campaigns.prompts import PromptSource
from campaigns.selectors import subjects
from core import sql
from core.models import Brand, User
from core.selectors.rows import first_or_refuse

MAX_SUBJECTS_SEARCHED = 5000  # the newest ones, for attribute names
EXAMPLE_SUBJECTS = 3
# By hand, because the ORM cannot join the rows of jsonb_each_text, and 5,000 sets of attributes are too much to send.
_NAMES = """
SELECT entry.key, count(*) FROM (
    SELECT attributes FROM campaigns_subject WHERE brand_id = %s AND is_active ORDER BY id DESC LIMIT %s
) subject, jsonb_each_text(subject.attributes) entry
WHERE entry.value <> '' GROUP BY entry.key ORDER BY count(*) DESC, entry.key LIMIT 200
"""


def count_placeholders(brand_id: int) -> tuple[dict[str, int], int]:
    """Return (placeholder name -> how many subjects have a value, most frequent first; how many were searched)."""
    searched = Subject.objects.filter(brand_id=brand_id, is_active=True)[:MAX_SUBJECTS_SEARCHED].count()
    attributes = dict(sql.rows(_NAMES, [brand_id, MAX_SUBJECTS_SEARCHED]))
    always = dict.fromkeys(("name", "sku", "key", "kind", "brand", "campaign"), searched)
    return always | attributes | always, searched  # these come first, and no attribute replaces them


def example_subjects(user: User, brand_id: int, subject_ids: Sequence[int]) -> list[Subject]:
    """Return EXAMPLE_SUBJECTS with their photos: the given ids in their order, then others spread over the brand."""
    rows = Subject.objects.visible_to(user).filter(brand_id=brand_id, is_active=True)
    keys = list(rows.order_by("key", "pk").values_list("pk", flat=True)[:60])
    spread = keys[:: max(1, len(keys) // EXAMPLE_SUBJECTS)] + keys
    mine = list(rows.filter(pk__in=subject_ids[:EXAMPLE_SUBJECTS]).values_list("pk", flat=True))
    first = [pk for pk in subject_ids[:EXAMPLE_SUBJECTS] if pk in mine]
    picked = list(dict.fromkeys([*first, *spread]))[:EXAMPLE_SUBJECTS]
    by_id = {subject.pk: subject for subject in rows.filter(pk__in=picked).prefetch_related(subjects.prefetch_photos())}
    return [by_id[pk] for pk in picked]


def find_subjects(user: User, brand_id: int, words: str) -> QuerySet[Any]:
    """Return the first twelve active subjects whose key or name contains the words, by key."""
    rows = Subject.objects.visible_to(user).filter(brand_id=brand_id, is_active=True)
    if words:
        rows = rows.filter(Q(key__icontains=words) | Q(name__icontains=words))
    return rows.order_by("key", "pk")[:12]


def list_awaiting_approval(user: User, brand_id: int) -> QuerySet[Any]:
    """Return the versions that wait for approval, the longest waiting first, with template and requester."""
    rows = PromptVersion.objects.visible_to(user).filter(template__brand_id=brand_id, status=PromptStatus.REQUESTED)
    return rows.select_related("template", "asked_by").order_by("asked_at", "pk")


def list_templates(user: User, *, brand_id: int | None = None) -> QuerySet[Any]:
    """Return the templates by slug with their brand and numbers of versions, without those of studios."""
    rows = PromptTemplate.objects.visible_to(user).filter(studio=None).select_related("brand")
    if brand_id is not None:
        rows = rows.filter(brand_id=brand_id)
    approved = Max("versions__number", filter=Q(versions__status=PromptStatus.APPROVED))
    requested = Count("versions", filter=Q(versions__status=PromptStatus.REQUESTED))
    counts = {"version_count": Count("versions"), "last_number": Max("versions__number")}
    return rows.annotate(**counts, approved_number=approved, asked_count=requested).order_by("brand", "slug")


def list_versions(user: User, template: PromptTemplate) -> QuerySet[Any]:
    """Return the versions of a template, newest first, with style and author."""
    rows = PromptVersion.objects.visible_to(user).filter(template=template)
    return rows.select_related("style", "created_by").order_by("-number")


def get_version(user: User, version_id: int) -> PromptVersion:
    """Return a version with template, brand and style. Raises NotFound, also if the user may not see it."""
    rows = PromptVersion.objects.visible_to(user).select_related("template__brand", "style")
    return first_or_refuse(rows.filter(pk=version_id), _("There is no prompt version %(id)d.") % {"id": version_id})


def list_styles(user: User, *, brand_id: int) -> QuerySet[Any]:
    """Return the style presets of a brand by name, retired ones last, with `version_count`."""
    rows = StylePreset.objects.visible_to(user).filter(brand_id=brand_id)
    using = PromptVersion.objects.filter(style=OuterRef("pk")).order_by().values("style")
    count = Coalesce(Subquery(using.annotate(count=Count("pk")).values("count")), 0)
    return rows.annotate(version_count=count).order_by("-is_active", "name", "slug")


def prompt_source(version: PromptVersion) -> PromptSource:
    """Return the version as plain values, with its style's words from the time when it was written."""
    style, negative = version.style_text, version.style_negative
    return PromptSource(version.text, version.negative, style, negative, version.parameters)


def get_template(user: User, brand: Brand, slug: str) -> PromptTemplate:
    """Return a brand's template. Raises NotFound."""
    message = _("There is no prompt %(slug)r in %(brand)s.") % {"slug": slug, "brand": brand.name}
    return first_or_refuse(PromptTemplate.objects.visible_to(user).filter(brand=brand, slug=slug), message)


def list_versions_of_brand(user: User, brand: Brand) -> QuerySet[Any]:
    """Return the versions of all templates of a brand, with template, brand and style."""
    rows = PromptVersion.objects.visible_to(user).filter(template__brand=brand)
    return rows.select_related("template__brand", "style")


def get_version_by_number(user: User, brand: Brand, slug: str, number: int) -> PromptVersion:
    """Return one version of a template. Raises NotFound."""
    message = _("There is no version %(number)d of a prompt %(slug)r in %(brand)s.")
    rows = list_versions_of_brand(user, brand).filter(template__slug=slug, number=number)
    return first_or_refuse(rows, message % {"number": number, "slug": slug, "brand": brand.name})


def get_style(user: User, brand: Brand, slug: str) -> StylePreset:
    """Return a style preset of a brand. Raises NotFound."""
    message = _("There is no style %(slug)r in %(brand)s.") % {"slug": slug, "brand": brand.name}
    return first_or_refuse(StylePreset.objects.visible_to(user).filter(brand=brand, slug=slug), message)
