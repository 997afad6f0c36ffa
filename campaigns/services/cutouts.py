"""Which cut-out a photo is used with: accepted, repaired by hand, taken back."""

from __future__ import annotations

from django.db import transaction

from campaigns import events
from campaigns.access import Action, require
from campaigns.errors import NotFound
from campaigns.models import Cutout, ReferencePhoto, User


@transaction.atomic
def accept(*, cutout_id: int, by: User) -> Cutout:
    """Use this cut-out for its photo from now on. Raises NotFound, NotAllowed."""
    found = Cutout.objects.visible_to(by).select_related("photo__subject__brand").filter(pk=cutout_id).first()
    if found is None:
        raise NotFound(f"There is no cut-out {cutout_id}.")
    brand = found.photo.subject.brand
    require(by, Action.EDIT_CAMPAIGN, brand)
    ReferencePhoto.objects.select_for_update().get(pk=found.photo_id)
    if not Cutout.objects.filter(pk=found.pk, is_accepted=True).exists():
        Cutout.objects.filter(photo_id=found.photo_id, is_accepted=True).update(is_accepted=False)
        Cutout.objects.filter(pk=found.pk).update(is_accepted=True)
        events.publish(
            events.CutoutAccepted(brand_id=brand.pk, object_id=found.photo_id, payload={"cutout": found.pk}), by=by
        )
    found.refresh_from_db()
    return found
