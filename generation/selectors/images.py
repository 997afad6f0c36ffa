"""Find stored images that people may look at, and the disclaimers ("demo model") that must stand beside them."""

from __future__ import annotations

from typing import Any, Final

from django.db.models.functions import Coalesce

from campaigns.models import BriefImage, Cutout, GuideImage, ReferencePhoto
from core.models import User
from generation.models import AssetVersion, Master, Rendition

#: The disclaimer of an asset's current version, for queries that load no versions (code that has one reads
#: `version.disclaimer`): that of the endpoint that made it, or of its run's endpoint where a person made it.
DISCLAIMER_OF_ASSET = Coalesce("current_version__job__endpoint__disclaimer", "cell__run__endpoint__disclaimer")
#: The same for a version.
DISCLAIMER_OF_VERSION = Coalesce("job__endpoint__disclaimer", "asset__cell__run__endpoint__disclaimer")

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
