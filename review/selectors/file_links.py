"""Addresses of delivered files: a stable one that asks for a token, and the short-lived one it leads to."""

from __future__ import annotations

from django.conf import settings

from core import access, stored_files
from core.access import Action
from core.errors import NotFound
from core.models import User
from generation.choices import AssetState
from generation.models import Rendition
from review.models import Decision
from review.selectors import staleness

EXPIRES_SECONDS = 600


def stable_path(rendition_id: int) -> str:
    return f"/api/v1/files/{rendition_id}/"


def stable_url(rendition_id: int) -> str:
    """Return the address that integrators may keep: it stays, and answers with a redirect to those who may pull."""
    return settings.SITE_URL.rstrip("/") + stable_path(rendition_id)


def expiring_url(*, user: User, rendition_id: int, download_name: str = "") -> str:
    """Return an address of the file that works for ten minutes without a token.

    Raises NotFound outside one's brands and for a file that no approval in effect is pinned to (never approved,
    revoked, replaced), NotAllowed for viewers.
    """
    found = Rendition.objects.visible_to(user).select_related("version__asset__brand").filter(pk=rendition_id).first()
    if found is None:
        raise NotFound(f"There is no file {rendition_id}.")
    access.require(user, Action.PULL, found.version.asset.brand)
    _ensure_released(found)
    return stored_files.open_url(found.storage_key, seconds=EXPIRES_SECONDS, download_name=download_name)


def _ensure_released(found: Rendition) -> None:
    asset = found.version.asset
    approval = (
        Decision.objects.filter(
            staleness.standing_approvals(asset.pk), version=found.version_id, consequences_at__isnull=False
        )
        .order_by("-id")
        .first()
    )
    is_approved = asset.state in {AssetState.APPROVED, AssetState.STALE}
    is_current = is_approved and asset.current_version_id == found.version_id
    if not is_current or approval is None or found.sha256 not in approval.pinned.get("renditions", {}).values():
        raise NotFound(f"File {found.pk} is not released: its image is not approved, or no longer.")
