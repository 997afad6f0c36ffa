"""Find the rows whose stored images people may look at, by the kind of row that an address names."""

from __future__ import annotations

from typing import Any, Final

from campaigns.models import BriefImage, Cutout, GuideImage, ReferencePhoto
from core.models import User
from generation.models import AssetVersion, Master, Rendition

_ROWS: Final[dict[str, Any]] = {
    "master": Master.objects,
    "rendition": Rendition.objects.select_related("version__asset__brand"),
    "photo": ReferencePhoto.objects,
    "cutout": Cutout.objects,
    "guide_picture": GuideImage.objects,
    "brief_picture": BriefImage.objects,
    "version": AssetVersion.objects.select_related("master"),
}


def find(user: User, kind: str, pk: int) -> Any:
    """Return the row of that kind, None where there is none in the person's brands."""
    return _ROWS[kind].visible_to(user).filter(pk=pk).first() if kind in _ROWS else None
