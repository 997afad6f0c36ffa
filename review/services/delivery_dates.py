"""Keep up to date from when until when each image may be at its destination, and have taken down what has expired.

A destination may ask that nothing is published before the first day of its campaign, and that images are taken down
after the last one. The end of the rights of a product photo counts everywhere. Days begin at midnight in the brand's
time zone.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from core import sql
from core.models import Brand
from review.choices import AbsenceCause, DesiredState
from review.models import Delivery
from review.services import delivery_requests

CHUNK = 500
"""Images taken down in one transaction."""

# By hand: the ORM cannot update from a join. What waits for its time only is due at the new one.
_REFRESH = """
UPDATE review_delivery AS d
SET embargo_until = n.embargo, expires_at = n.expires, due_at = CASE
    WHEN d.due_at IS NOT NULL AND d.lease_token IS NULL AND d.desired = 'present' AND d.is_released AND d.error = ''
    THEN greatest(now(), d.publish_at, n.embargo) ELSE d.due_at END
FROM (
    SELECT w.id,
        CASE WHEN t.starts_with_campaign THEN c.starts_on::timestamp AT TIME ZONE %s END AS embargo,
        (least(CASE WHEN t.ends_with_campaign THEN c.ends_on END, f.rights_end_on) + 1)::timestamp
            AT TIME ZONE %s AS expires
    FROM review_delivery w
    JOIN review_destination t ON t.id = w.destination_id
    JOIN generation_asset a ON a.id = w.asset_id
    JOIN campaigns_campaign c ON c.id = a.campaign_id
    LEFT JOIN generation_pinnedinputs p ON p.cell_id = a.cell_id
    LEFT JOIN campaigns_referencephoto f ON f.id = p.photo_pk
    WHERE t.brand_id = %s AND {scope}
) AS n
WHERE n.id = d.id AND (d.embargo_until, d.expires_at) IS DISTINCT FROM (n.embargo, n.expires)
"""
_SCOPES = {
    "campaign": "c.id = %s",
    "destination": "t.id = %s",
    "deliveries": "w.id = ANY(%s)",
    "subject": "a.subject_id = %s",
    "": "%s",
}


def refresh(
    brand: Brand,
    *,
    campaign_id: int | None = None,
    destination_id: int | None = None,
    delivery_ids: Sequence[int] | None = None,
    subject_id: int | None = None,
) -> int:
    """Set embargo and expiry of a brand's deliveries, or of some, anew; return how many changed."""
    given: dict[str, int | Sequence[int] | None] = {
        "campaign": campaign_id,
        "destination": destination_id,
        "deliveries": delivery_ids,
        "subject": subject_id,
    }
    scope, value = next(((name, value) for name, value in given.items() if value is not None), ("", True))
    zone = str(brand.zone)
    return sql.execute(_REFRESH.format(scope=_SCOPES[scope]), [zone, zone, brand.pk, value])


def take_down_expired() -> int:
    """Have taken down everywhere what has expired, in chunks of one brand; return how many deliveries changed."""
    done = 0
    while (count := _take_down_chunk()) > 0:
        done += count
    return done


@transaction.atomic(durable=True)
def _take_down_chunk() -> int:
    rows = Delivery.objects.filter(desired=DesiredState.PRESENT, expires_at__lte=timezone.now())
    first = rows.order_by("expires_at").select_related("destination__brand").first()
    if first is None:
        return 0
    brand = first.destination.brand
    ids = rows.filter(destination__brand=brand).order_by("expires_at").values_list("pk", flat=True)[:CHUNK]
    chosen = rows.filter(pk__in=list(ids))
    return delivery_requests.take_down(brand, chosen, None, "expired", AbsenceCause.EXPIRED)
