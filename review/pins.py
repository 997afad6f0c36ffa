"""The pins of a decision: the exact files and the checklist that the reviewer had on screen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from generation.models import AssetVersion, Rendition
from generation.selectors import inputs
from review.models import ReviewTask


@dataclass(frozen=True)
class ReviewedState:
    """The state of one version as a reviewer saw it.

    master: sha256 of the pixels. recipe: version of the recipe, 0 without renditions. renditions: sha256 of each file,
    by output spec. checklist: id of the checklist version. round: the asset's round. inputs: the inputs that changed
    since the image was made or last approved, as generation.selectors.inputs.find_changes returns them.
    """

    master: str
    recipe: int
    renditions: Mapping[str, str]
    checklist: int
    round: int
    inputs: Sequence[Mapping[str, Any]] = ()

    def to_json(self) -> dict[str, Any]:
        plain = asdict(self)
        if not self.inputs:  # pins of earlier decisions have no such key
            del plain["inputs"]
        return plain

    @property
    def token(self) -> str:
        """Return the token that pages and API clients send back to say what they have seen (32 hex digits)."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def current_state(
    version: AssetVersion,
    task: ReviewTask,
    renditions: Iterable[Rendition] | None = None,
    moved: Sequence[Mapping[str, Any]] | None = None,
) -> ReviewedState:
    """Return the current pins of a version under a task; loaded `renditions` and `moved` inputs save a query each."""
    if renditions is None:
        renditions = version.renditions.select_related("output_spec")
    if moved is None:
        cell_id = version.asset.cell_id
        moved = inputs.find_changes([cell_id]).get(cell_id, [])
    newest = newest_by_spec(renditions)
    return ReviewedState(
        master=version.master.sha256,
        recipe=max((rendition.recipe_version for rendition in newest.values()), default=0),
        renditions={slug: rendition.sha256 for slug, rendition in sorted(newest.items())},
        checklist=task.checklist_version_id,
        round=version.round,
        inputs=moved,
    )


def newest_by_spec(renditions: Iterable[Rendition]) -> dict[str, Rendition]:
    """Return the rendition with the highest recipe version for each output spec, by the spec's slug."""
    oldest_first = sorted(renditions, key=lambda rendition: rendition.recipe_version)
    return {rendition.output_spec.slug: rendition for rendition in oldest_first}
