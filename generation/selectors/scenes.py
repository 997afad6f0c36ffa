"""Scenes: the approved images of a brand's concepts, which an engine sets behind a product.

concepts.py says which image that is and how a scene is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.utils.translation import gettext as _

from campaigns.choices import SubjectKind
from campaigns.prompts import PromptSource
from generation.models import AssetVersion
from generation.selectors import concepts

#: Axes of a studio that are not visible where a scene is behind the product.
HIDDEN: Final = ("backdrop", "surface")
LOOKED_AT: Final = 8


def find_hidden_axes(source: PromptSource, axes: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Return the axes that change nothing in the images of this run, each with a sentence that says so. The rows of a
    list have no axes; each row may name its own."""
    if not axes or not concepts.list_named_keys(concepts.SCENES, source, axes):
        return {}
    sentence = _(
        "The %(axis)s is not seen before a scene, so these images would be equal: leave out this axis or the scene."
    )
    return {name: sentence % {"axis": name} for name in HIDDEN if name in axes}


def find_shown_scene(version: AssetVersion, sha256: str, key: str) -> AssetVersion | None:
    """Return the scene that an image shows: the version of the concept `key` whose pixels have this hash."""
    rows = AssetVersion.objects.filter(asset__brand_id=version.asset.brand_id, master__sha256=sha256)
    rows = rows.filter(asset__subject__kind=SubjectKind.CONCEPT).order_by("-pk")
    candidates = list(rows.select_related("asset__subject", "master", "job__endpoint")[:LOOKED_AT])
    of_key = [candidate for candidate in candidates if candidate.asset.subject.key == key]
    return next(iter([*of_key, *candidates]), None)
