"""What the review app does, in the same transaction, when the generation app says that something happened."""

from __future__ import annotations

from campaigns.events import subscribe
from generation.events import VersionReady
from generation.models import Asset
from review.services import queue


@subscribe(VersionReady)
def open_review_task(happening: VersionReady) -> None:
    """A round is complete: have it judged. Sandbox pictures are looked at in the sandbox, not reviewed."""
    asset = Asset.objects.get(pk=happening.object_id)
    if not asset.is_sandbox:
        queue.open_task(asset=asset)
