"""Scenes: the approved pictures of a brand's concepts, which an engine sets behind a product. Which picture that is,
and how one is named, is in concepts.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from campaigns.choices import SubjectKind
from campaigns.prompts import PromptSource
from generation.models import AssetVersion
from generation.selectors import concepts

#: What is not seen of a studio before a scene.
HIDDEN: Final = ("backdrop", "surface")
LOOKED_AT: Final = 8


def hidden(source: PromptSource, axes: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Axes of what no picture of this order shows, each with the sentence that says so. A list's rows, which have no
    axes, may each name their own."""
    if not axes or not concepts.named(concepts.SCENES, source, axes):
        return {}
    sentence = "The {} is not seen before a scene, so these pictures would be equal: leave out this axis or the scene."
    return {name: sentence.format(name) for name in HIDDEN if name in axes}


def made_before(version: AssetVersion, sha256: str, key: str) -> AssetVersion | None:
    """The scene that stands in a picture: the version of the concept `key` whose pixels have this hash."""
    rows = AssetVersion.objects.filter(asset__brand_id=version.asset.brand_id, master__sha256=sha256)
    rows = rows.filter(asset__subject__kind=SubjectKind.CONCEPT).select_related(
        "asset__subject", "master", "job__endpoint"
    )
    found = list(rows.order_by("-pk")[:LOOKED_AT])
    return next((one for one in found if one.asset.subject.key == key), found[0] if found else None)
