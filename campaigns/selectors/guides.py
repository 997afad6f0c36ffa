"""Read brand guides: versions, the current one, differences, and values for engines and pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Prefetch, QuerySet

from campaigns import thresholds
from campaigns.choices import GuideStatus, ImageUse
from campaigns.models import GuideImage, GuideVersion
from campaigns.thresholds import Threshold
from core.errors import NotFound
from core.models import Brand, User

_WORDING: Final = {
    "required_wording": "Required wording",
    "approved_wording": "Approved wording",
    "banned_wording": "Banned wording",
}
_COLOURS: Final = {"palette": "Palette", "backdrops": "Backdrops"}
_IMAGE_USES: Final = {
    ImageUse.LOGO: "Logos",
    ImageUse.DO: "Do",
    ImageUse.DONT: "Don’t",
    ImageUse.REFERENCE: "Reference images",
}


@dataclass(frozen=True)
class GuideChange:
    """One difference between two versions.

    kind: "added", "removed" or "changed". before, after: {"text", "hex", "image"}, each key only if it has a value.
    """

    part: str
    kind: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def sides(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return self.before, self.after


@dataclass(frozen=True)
class GuideThreshold:
    """A check threshold with its value in a guide."""

    check: str
    threshold: Threshold
    value: float

    @property
    def text(self) -> str:
        """Return the number with its unit: "1.4 times"."""
        return f"{self.value:g} {self.threshold.unit}".strip()

    @property
    def is_changed(self) -> bool:
        return self.value != self.threshold.default

    @property
    def field(self) -> str:
        """Return the name of its form field."""
        return f"limit:{self.check}:{self.threshold.name}"


def list_versions(user: User, brand: Brand) -> QuerySet[Any]:
    """Return every version of the brand's guide, newest first, with users and images. Two queries."""
    rows = GuideVersion.objects.visible_to(user).filter(brand=brand).select_related("created_by", "published_by")
    images = Prefetch("images", GuideImage.objects.order_by("use", "position", "id"))
    return rows.prefetch_related(images).order_by("-number")


def get(user: User, brand: Brand, number: int) -> GuideVersion:
    """Return one version by its number. Raises NotFound."""
    guide: GuideVersion | None = list_versions(user, brand).filter(number=number).first()
    if guide is None:
        raise NotFound(f"The guide of {brand.name} has no version {number}.")
    return guide


def get_published(brand_id: int) -> GuideVersion | None:
    """Return the published version with the highest number; None before the first. The caller checks rights."""
    versions = GuideVersion.objects.filter(brand_id=brand_id, status=GuideStatus.PUBLISHED)
    guide: GuideVersion | None = versions.order_by("-number").first()
    return guide


def current(versions: Iterable[GuideVersion]) -> GuideVersion | None:
    """Return the published version with the highest number from `list_versions`."""
    return next((version for version in versions if version.status == GuideStatus.PUBLISHED), None)


def open_draft(versions: Iterable[GuideVersion]) -> GuideVersion | None:
    """Return the draft from `list_versions`, if there is one."""
    return next((version for version in versions if version.status == GuideStatus.DRAFT), None)


def images_of_use(guide: GuideVersion, use: str) -> list[GuideImage]:
    """Return the guide's images of one use, in their order; prefetched by `list_versions`."""
    return [image for image in guide.images.all() if image.use == use]


def colours_by_name(guide: GuideVersion) -> dict[str, str]:
    """Return case-folded colour name -> "#rrggbb" of palette and backdrops; for equal names the backdrop wins."""
    return {str(colour["name"]).casefold(): colour["hex"] for colour in (*guide.palette, *guide.backdrops)}


def choices_by_axis(guide: GuideVersion | None) -> dict[str, list[dict[str, str]]]:
    """Return the values that the guide offers for each axis: axis name -> [{"name", "hex"}], its default first."""
    if guide is None or not guide.backdrops:
        return {}
    default = guide.backdrop.casefold()
    return {"backdrop": sorted(guide.backdrops, key=lambda backdrop: backdrop["name"].casefold() != default)}


def list_thresholds(guide: GuideVersion | None) -> list[GuideThreshold]:
    """Return every check threshold, with the guide's value or the default."""
    chosen = guide.thresholds if guide else {}
    return [
        GuideThreshold(check, threshold, thresholds.threshold_value(chosen, check, threshold.name))
        for check, declared in thresholds.thresholds_by_check().items()
        for threshold in declared
    ]


def compare(older: GuideVersion, newer: GuideVersion) -> list[GuideChange]:
    """Return the differences of `newer`, part by part in the order in which a guide is read."""
    changes: list[GuideChange] = []
    for name, part in _COLOURS.items():
        changes += _colour_changes(part, getattr(older, name), getattr(newer, name))
    changes += _plain_changes(older, newer)
    for name, part in _WORDING.items():
        was, now = getattr(older, name), getattr(newer, name)
        changes += [GuideChange(part, "removed", {"text": word}, {}) for word in was if word not in now]
        changes += [GuideChange(part, "added", {}, {"text": word}) for word in now if word not in was]
    for old, new in zip(list_thresholds(older), list_thresholds(newer), strict=True):
        if old.value != new.value:
            changes.append(GuideChange(old.threshold.label, "changed", {"text": old.text}, {"text": new.text}))
    return changes + _image_changes(older, newer)


def _colour_changes(part: str, was: Sequence[Mapping[str, str]], now: Sequence[Mapping[str, str]]) -> list[GuideChange]:
    before, after = ({colour["name"]: colour["hex"] for colour in side} for side in (was, now))
    changes = []
    for name in [*before, *(name for name in after if name not in before)]:
        sides = [{"text": name, "hex": side[name]} if name in side else {} for side in (before, after)]
        if sides[0] != sides[1]:
            changes.append(GuideChange(part, _kind(*sides), *sides))
    return changes


def _plain_changes(older: GuideVersion, newer: GuideVersion) -> list[GuideChange]:
    def texts(guide: GuideVersion) -> dict[str, str]:
        return {
            "Default backdrop": guide.backdrop,
            "Light": guide.light,
            "Fill": f"{guide.fill_ratio:.0%} of the height",
            "Baseline": f"at {guide.baseline:.0%} of the height",
        }

    before, after = texts(older), texts(newer)
    return [
        GuideChange(part, _kind(*sides), *sides)
        for part in before
        if before[part] != after[part]
        for sides in [[{"text": text} if text else {} for text in (before[part], after[part])]]
    ]


def _image_changes(older: GuideVersion, newer: GuideVersion) -> list[GuideChange]:
    changes = []
    for use, part in _IMAGE_USES.items():
        before, after = ({image.sha256: image for image in images_of_use(side, use)} for side in (older, newer))
        for sha256 in [*before, *(key for key in after if key not in before)]:
            was, now = before.get(sha256), after.get(sha256)
            if was is None or now is None or was.caption != now.caption:
                sides = [{"text": image.caption, "image": image} if image else {} for image in (was, now)]
                changes.append(GuideChange(part, _kind(*sides), *sides))
    return changes


def _kind(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if before and after:
        return "changed"
    return "added" if after else "removed"


def get_image(user: User, brand: Brand, pk: int) -> GuideImage:
    """Return one image of a brand's guide. Raises NotFound."""
    image: GuideImage | None = GuideImage.objects.visible_to(user).filter(pk=pk, guide__brand=brand).first()
    if image is None:
        raise NotFound(f"The guide has no image {pk}.")
    return image
