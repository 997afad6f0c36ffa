"""The pins of a decision: the exact bytes and the checklist that the reviewer had on screen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from generation.models import AssetVersion, Rendition
from generation.selectors import inputs
from review.models import ReviewTask


@dataclass(frozen=True)
class Pinned:
    """master and renditions: sha256 of the pixels and of each file by output spec; recipe: its version, 0 without
    renditions; checklist: id of the checklist version; round: of the asset; inputs: what has moved since the image was
    made or last approved, as generation.selectors.inputs.moved says it."""

    master: str
    recipe: int
    renditions: Mapping[str, str]
    checklist: int
    round: int
    inputs: Sequence[Mapping[str, Any]] = ()

    def to_json(self) -> dict[str, Any]:
        plain = {
            "master": self.master,
            "recipe": self.recipe,
            "renditions": dict(self.renditions),
            "checklist": self.checklist,
            "round": self.round,
        }
        return {**plain, "inputs": [dict(one) for one in self.inputs]} if self.inputs else plain

    @property
    def token(self) -> str:
        """A short name for exactly this: a page or an API client sends it back as what it has seen (32 hex digits)."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def pinned(
    version: AssetVersion,
    task: ReviewTask,
    renditions: Iterable[Rendition] | None = None,
    moved: Sequence[Mapping[str, Any]] | None = None,
) -> Pinned:
    """Return what is there now for one version under one task. `renditions` and `moved` (changed inputs of its asset)
    each save a query when they are loaded already."""
    if renditions is None:
        renditions = version.renditions.select_related("output_spec")
    if moved is None:
        cell_id = version.asset.cell_id
        moved = inputs.moved([cell_id]).get(cell_id, [])
    newest = newest_by_spec(renditions)
    return Pinned(
        master=version.master.sha256,
        recipe=max((one.recipe_version for one in newest.values()), default=0),
        renditions={slug: one.sha256 for slug, one in sorted(newest.items())},
        checklist=task.checklist_version_id,
        round=version.round,
        inputs=moved,
    )


def newest_by_spec(renditions: Iterable[Rendition]) -> dict[str, Rendition]:
    """Of each output spec the rendition of the highest recipe version, by the spec's slug."""
    newest: dict[str, Rendition] = {}
    for one in renditions:
        known = newest.get(one.output_spec.slug)
        if known is None or known.recipe_version < one.recipe_version:
            newest[one.output_spec.slug] = one
    return newest
