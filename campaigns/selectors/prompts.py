"""Reading prompts: templates, versions, and a version as the plain source that renders."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Max, QuerySet

from campaigns.errors import NotFound
from campaigns.models import PromptTemplate, PromptVersion, StylePreset, User
from campaigns.prompts import PromptSource


def templates(user: User, *, brand_id: int | None = None) -> QuerySet[Any]:
    """Templates by slug, with brand, `version_count` and `last_number`."""
    rows = PromptTemplate.objects.visible_to(user).select_related("brand")
    if brand_id is not None:
        rows = rows.filter(brand_id=brand_id)
    return rows.annotate(version_count=Count("versions"), last_number=Max("versions__number")).order_by("brand", "slug")


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
    """Style presets of a brand by slug."""
    return StylePreset.objects.visible_to(user).filter(brand_id=brand_id).order_by("slug")


def source(version: PromptVersion) -> PromptSource:
    """The version as plain values, with the words of its style as they were when it was written."""
    return PromptSource(
        text=version.text,
        negative=version.negative,
        style=version.style_text,
        style_negative=version.style_negative,
        parameters=version.parameters,
    )
