"""The brand guide that is shown beside an image in review: the version that was valid when its run was planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from campaigns import prompts
from campaigns.choices import GuideStatus, ImageUse
from campaigns.models import GuideImage, GuideVersion
from campaigns.photos import colours
from campaigns.prompts import Lint
from campaigns.selectors import guides
from generation.models import Run

MAX_EXAMPLES = 2
"""The number of do images and of don't images; more do not fit beside an image."""


@dataclass(frozen=True)
class GuideExcerpt:
    """The part of the guide that is shown beside an image. is_planned: the run recorded it.

    newer_guide: the guide version that is valid now, if it is another one. remarks: problems of the image's prompt by
    the guide's wording rules. backdrop_hex, backdrop_name: the backdrop that the image should have, "" if it is not in
    the guide.
    """

    guide: GuideVersion
    is_planned: bool
    newer_guide: GuideVersion | None
    dos: Sequence[GuideImage]
    donts: Sequence[GuideImage]
    remarks: Sequence[Lint]
    backdrop_hex: str
    backdrop_name: str


def guide_excerpt(run: Run, *, brand_id: int, prompt: str, backdrop: str = "") -> GuideExcerpt | None:
    """Return the guide for one image of `run`, or None if the brand has no published guide. Three queries."""
    current = guides.get_published(brand_id)
    guide = run.guide_version or current
    if guide is None:
        return None
    examples = list(guide.images.filter(use__in=(ImageUse.DO, ImageUse.DONT)).order_by("use", "position", "id"))
    guide_backdrop = _find_backdrop(guide, backdrop)
    return GuideExcerpt(
        guide=guide,
        is_planned=run.guide_version_id is not None,
        newer_guide=current if current and current.number > guide.number else None,
        dos=[image for image in examples if image.use == ImageUse.DO][:MAX_EXAMPLES],
        donts=[image for image in examples if image.use == ImageUse.DONT][:MAX_EXAMPLES],
        remarks=prompts.problems(prompt, guide) if prompt and guide.status == GuideStatus.PUBLISHED else [],
        backdrop_hex=guide_backdrop["hex"],
        backdrop_name=guide_backdrop["name"],
    )


def _find_backdrop(guide: GuideVersion, backdrop: str) -> dict[str, str]:
    """Return the guide's backdrop that an image's spec names, by its name or by its colour."""
    requested = backdrop.strip().casefold()
    for guide_backdrop in guide.backdrops:
        if requested and requested in (guide_backdrop["name"].casefold(), guide_backdrop["hex"]):
            return dict(guide_backdrop)
    try:
        return {"name": "", "hex": colours.normalise_hex(requested)}
    except ValueError:
        return {"name": "", "hex": ""}
