"""Facts about masters that people add: whether the pixels were rejected, so that reuse never brings them back
silently."""

from __future__ import annotations

from generation.models import Master


def mark_rejected(master_id: int, *, is_rejected: bool = True) -> None:
    """Note a rejection, or that it was taken back. Called in the transaction of what follows from the decision."""
    Master.objects.filter(pk=master_id).update(was_rejected=is_rejected)
