"""Facts about masters that people add: whether the image was rejected, so that it is never reused silently."""

from __future__ import annotations

from generation.models import Master


def mark_rejected(master_id: int, *, is_rejected: bool = True) -> None:
    """Record a rejection, or that it was taken back. Call it in the transaction of the decision's consequences."""
    Master.objects.filter(pk=master_id).update(was_rejected=is_rejected)
