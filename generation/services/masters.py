"""Masters after they were made: what reviewers thought of the pixels."""

from __future__ import annotations

from django.db import transaction

from campaigns import events as spine
from campaigns.models import User
from generation import events
from generation.models import Master


@transaction.atomic
def mark_rejected(*, master_id: int, by: User, was_rejected: bool = True) -> None:
    """Remember that these pixels were rejected (or that this was taken back), so that no run reuses them silently.

    Says nothing when it is so already. Rights were asked for by the decision that this follows from.
    """
    moved = Master.objects.filter(pk=master_id).exclude(was_rejected=was_rejected).update(was_rejected=was_rejected)
    if moved:
        brand_id = Master.objects.values_list("brand_id", flat=True).get(pk=master_id)
        payload = {"was_rejected": was_rejected}
        spine.publish(events.MasterRejected(brand_id=brand_id, object_id=master_id, payload=payload), by=by)
