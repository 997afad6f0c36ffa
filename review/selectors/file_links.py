"""URLs of delivered files: a stable one that needs a token, and the short-lived one that it redirects to."""

from __future__ import annotations

from django.conf import settings
from django.utils.translation import gettext as _

from core import access, stored_files
from core.access import Action
from core.errors import NotFound
from core.models import User
from generation.choices import AssetState
from generation.models import Rendition
from review.models import Decision
from review.selectors import staleness

EXPIRES_SECONDS = 600


def stable_url(rendition_id: int) -> str:
    """Return the URL that integrators may keep. It redirects users who may pull to the file."""
    return f"{settings.SITE_URL.rstrip('/')}/api/v1/files/{rendition_id}/"


def expiring_url(*, user: User, rendition_id: int) -> str:
    """Return a URL of the file that works for ten minutes without a token.

    Raises NotFound outside the user's brands and for a file that no approval in effect is pinned to (never approved,
    revoked, replaced). Raises NotAllowed for viewers.
    """
    rows = Rendition.objects.visible_to(user).select_related("version__asset__brand")
    rendition = rows.filter(pk=rendition_id).first()
    if rendition is None:
        raise NotFound(_("There is no file %(number)s.") % {"number": rendition_id})
    access.require(user, Action.PULL, rendition.version.asset.brand)
    _ensure_released(rendition)
    return stored_files.open_url(rendition.storage_key, seconds=EXPIRES_SECONDS)


def _ensure_released(rendition: Rendition) -> None:
    asset = rendition.version.asset
    approvals = Decision.objects.filter(staleness.VALID_APPROVALS, version=rendition.version_id)
    approval = approvals.filter(consequences_at__isnull=False).order_by("-id").first()
    is_approved = asset.state in {AssetState.APPROVED, AssetState.STALE}
    is_current = is_approved and asset.current_version_id == rendition.version_id
    if not is_current or approval is None or rendition.sha256 not in approval.pinned.get("renditions", {}).values():
        sentence = _("File %(number)s is not released: its image is not approved, or no longer.")
        raise NotFound(sentence % {"number": rendition.pk})
