"""Read brand guides: versions, the current one, differences, values for engines and pages, images to review again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext as _

from campaigns import thresholds
from campaigns.choices import GuideStatus, ImageUse
from campaigns.models import GuideImage, GuideVersion
from core.models import Brand, User
from core.plugin_config import Setting
from core.selectors.rows import first_or_refuse

Side = Mapping[str, Any]
"""An entry of one version: {"text", "hex", "value", "image"}, each key only if it has one; empty if it is not there."""

_approved_image_counters: list[Callable[[User, Brand], int]] = []


@dataclass(frozen=True)
class GuideChange:
    """One difference between two versions."""

    part: str
    before: Side
    after: Side

    @property
    def kind(self) -> str:
        """Return "added", "removed" or "changed"."""
        if self.before and self.after:
            return "changed"
        return "added" if self.after else "removed"

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.before, self.after


@dataclass(frozen=True)
class GuideThreshold:
    """A check threshold with its value in a guide."""

    check: str
    threshold: Setting
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

    @property
    def pointer(self) -> str:
        return f"thresholds/{self.check}/{self.threshold.name}"


def list_versions(user: User, brand: Brand) -> QuerySet[Any]:
    """Return every version of the brand's guide, newest first, with users and images. Two queries."""
    rows = GuideVersion.objects.visible_to(user).filter(brand=brand).select_related("created_by", "published_by")
    images = Prefetch("images", GuideImage.objects.order_by("use", "position", "id"))
    return rows.prefetch_related(images).order_by("-number")


def get_published(brand_id: int) -> GuideVersion | None:
    """Return the published version with the highest number; None before the first. The caller checks rights."""
    versions = GuideVersion.objects.filter(brand_id=brand_id, status=GuideStatus.PUBLISHED)
    return versions.order_by("-number").first()


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
        GuideThreshold(check, threshold, float(chosen.get(check, {}).get(threshold.name, threshold.default)))
        for check, declared in thresholds.thresholds_by_check().items()
        for threshold in declared
    ]


def compare(older: GuideVersion, newer: GuideVersion) -> list[GuideChange]:
    """Return the differences of `newer`, part by part in the order in which a guide is read."""
    before, after = _sides_by_part(older), _sides_by_part(newer)
    changes = []
    for part in before:
        for name in before[part] | after[part]:
            was, now = before[part].get(name, {}), after[part].get(name, {})
            # An image with the same file and caption is the same, though each version has a row of its own.
            if {**was, "image": None} != {**now, "image": None}:
                changes.append(GuideChange(part, was, now))
    return changes


def _sides_by_part(guide: GuideVersion) -> dict[str, dict[str, Side]]:
    """Return label of the part -> {name or file of an entry: its side}."""
    colours = {_("Palette"): guide.palette, _("Backdrops"): guide.backdrops}
    plain = {
        _("Default backdrop"): guide.backdrop,
        _("Light"): guide.light,
        _("Fill"): _("%(percent)s of the height") % {"percent": f"{guide.fill_ratio:.0%}"},
        _("Baseline"): _("at %(percent)s of the height") % {"percent": f"{guide.baseline:.0%}"},
    }
    wording = {
        _("Required wording"): guide.required_wording,
        _("Approved wording"): guide.approved_wording,
        _("Banned wording"): guide.banned_wording,
    }
    uses = {
        _("Logos"): ImageUse.LOGO,
        _("Do"): ImageUse.DO,
        _("Don’t"): ImageUse.DONT,
        _("Reference images"): ImageUse.REFERENCE,
    }
    sides: dict[str, dict[str, Side]] = {
        part: {colour["name"]: {"text": colour["name"], "hex": colour["hex"]} for colour in listed}
        for part, listed in colours.items()
    }
    sides |= {part: {"": {"text": text}} if text else {} for part, text in plain.items()}
    sides |= {part: {word: {"text": word} for word in words} for part, words in wording.items()}
    for row in list_thresholds(guide):
        sides.setdefault(row.threshold.label, {})[row.field] = {"text": row.text, "value": row.value}
    for part, use in uses.items():
        images = images_of_use(guide, use)
        sides[part] = {image.sha256: {"text": image.caption, "image": image} for image in images}
    return sides


def get_image(user: User, brand: Brand, pk: int) -> GuideImage:
    """Return one image of a brand's guide. Raises NotFound."""
    rows = GuideImage.objects.visible_to(user).filter(pk=pk, guide__brand=brand)
    return first_or_refuse(rows, _("The guide has no image %(id)d.") % {"id": pk})


def register_counter(count: Callable[[User, Brand], int]) -> Callable[[User, Brand], int]:
    """Decorator: register a function of a higher app that counts the approved images of a brand."""
    _approved_image_counters.append(count)
    return count


def count_approved_images(user: User, brand: Brand) -> int:
    """Return how many approved images a new guide could send back to review."""
    return sum(count(user, brand) for count in _approved_image_counters)
