"""The brand guide beside a picture being judged: the version that counted when its run was planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from campaigns import prompts
from campaigns.choices import GuideStatus, PictureUse
from campaigns.models import GuidePicture, GuideVersion
from campaigns.photos import colours
from campaigns.prompts import Lint
from campaigns.selectors import guides
from generation.models import Run

EXAMPLES = 2
"""Do and don't pictures of each kind: what fits beside a picture."""


@dataclass(frozen=True)
class GuideBeside:
    """The part of the guide that is shown beside an image. is_planned: the run recorded it.

    newer: the version that counts now where that is another one. remarks: what the guide's wording says of the prompt
    that made the picture. ground, ground_name: the backdrop that this picture was to have, "" where it is none of the
    guide's.
    """

    guide: GuideVersion
    is_planned: bool
    newer: GuideVersion | None
    dos: Sequence[GuidePicture]
    donts: Sequence[GuidePicture]
    remarks: Sequence[Lint]
    ground: str
    ground_name: str


def beside(run: Run, *, brand_id: int, prompt: str, backdrop: str = "") -> GuideBeside | None:
    """The guide for one picture of `run`; None where the brand has no published guide. Three queries."""
    current = guides.published(brand_id)
    guide = run.guide_version or current
    if guide is None:
        return None
    shown = list(guide.pictures.filter(use__in=(PictureUse.DO, PictureUse.DONT)).order_by("use", "position", "id"))
    ground = _ground(guide, backdrop)
    return GuideBeside(
        guide=guide,
        is_planned=run.guide_version_id is not None,
        newer=current if current and current.number > guide.number else None,
        dos=[one for one in shown if one.use == PictureUse.DO][:EXAMPLES],
        donts=[one for one in shown if one.use == PictureUse.DONT][:EXAMPLES],
        remarks=prompts.problems(prompt, guide) if prompt and guide.status == GuideStatus.PUBLISHED else [],
        ground=ground["hex"],
        ground_name=ground["name"],
    )


def _ground(guide: GuideVersion, backdrop: str) -> dict[str, str]:
    """The guide's backdrop that a picture's spec names, by its name or by its colour."""
    asked = backdrop.strip().casefold()
    for one in guide.backdrops:
        if asked and asked in (one["name"].casefold(), one["hex"]):
            return dict(one)
    try:
        return {"name": "", "hex": colours.normal(asked)}
    except ValueError:
        return {"name": "", "hex": ""}
