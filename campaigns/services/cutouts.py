"""Choose the cut-out of a photo: accept it, repair it by hand, undo the choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.utils.translation import gettext as _

from campaigns import events
from campaigns.choices import CutoutMethod
from campaigns.models import Cutout, ReferencePhoto
from campaigns.photos import intake, reading
from campaigns.photos.cutout import NoProduct
from campaigns.selectors import photos as selectors
from core import stored_files
from core.access import Action, require
from core.errors import Conflict, Invalid, NotFound, Problem
from core.events import DomainEvent, publish
from core.models import Brand, User

MAX_AT_ONCE = 2000


@dataclass(frozen=True)
class CutoutChange:
    """The change of one photo's cut-out, kept so that it can be undone."""

    photo: int
    before: int | None  # the accepted cut-out, None for none
    after: int | None
    looked: int | None = None  # the user who had accepted the cut-out before


@transaction.atomic
def accept_many(*, cutout_ids: Sequence[int], by: User) -> list[CutoutChange]:
    """Use these cut-outs from now on, at most one per photo; return the steps that `undo_changes` undoes.

    All must belong to one brand. Raises NotFound, NotAllowed, and Invalid for too many or two of one photo.
    """
    cutouts, brand = _lock_cutouts(cutout_ids, by)
    if len({cutout.photo_id for cutout in cutouts}) < len(cutouts):
        raise Invalid(_("Two of these cut-outs are of one photo; accept one of them."))
    before = _accepted_ids(cutout.photo_id for cutout in cutouts)
    steps = [
        CutoutChange(cutout.photo_id, before.get(cutout.photo_id), cutout.pk, cutout.accepted_by_id)
        for cutout in cutouts
        if before.get(cutout.photo_id) != cutout.pk or cutout.accepted_by_id is None
    ]
    _switch_cutouts(steps)
    Cutout.objects.filter(pk__in=[step.after for step in steps]).update(accepted_by=by)
    _publish(brand, steps, by)
    return steps


@transaction.atomic
def refuse_many(*, cutout_ids: Sequence[int], by: User) -> list[CutoutChange]:
    """Take these cut-outs out of use; their photos have none until another is accepted. Raises as `accept_many`."""
    cutouts, brand = _lock_cutouts(cutout_ids, by)
    steps = [
        CutoutChange(cutout.photo_id, cutout.pk, None, cutout.accepted_by_id)
        for cutout in cutouts
        if cutout.is_accepted
    ]
    _switch_cutouts(steps)
    _publish(brand, steps, by)
    return steps


@transaction.atomic
def undo_changes(*, steps: Sequence[CutoutChange], by: User) -> int:
    """Undo the given steps where nobody has changed the photo's cut-out since; return the number of undone steps."""
    ids = [pk for step in steps for pk in (step.before, step.after) if pk is not None]
    if not ids:
        return 0
    cutouts, brand = _lock_cutouts(ids, by)
    known_ids = {cutout.pk for cutout in cutouts}
    now = _accepted_ids(step.photo for step in steps)
    backwards = [
        CutoutChange(step.photo, step.after, step.before, step.looked)
        for step in steps
        if now.get(step.photo) == step.after and {step.before, step.after} - {None} <= known_ids
    ]
    if not backwards:
        raise Conflict(_("Somebody has chosen other cut-outs meanwhile; nothing was taken back."))
    _switch_cutouts(backwards)
    for step in backwards:
        if step.before is not None:
            Cutout.objects.filter(pk=step.before).update(accepted_by=step.looked)
    _publish(brand, backwards, by)
    return len(backwards)


def repair_with_mask(*, photo_id: int, mask: bytes, by: User, seen: int | None = None) -> tuple[Cutout, CutoutChange]:
    """Make a cut-out of the photo from a mask and use it from now on.

    The mask is a PNG. Its transparency marks the product, or its brightness if it has no transparency. seen: the
    cut-out that the editor began with; Conflict if the photo has another one meanwhile. Raises NotFound, NotAllowed,
    and Invalid for a mask that is no image, is empty, or has another shape than the photo.
    """
    photo = selectors.get(photo_id=photo_id, user=by)
    brand = photo.subject.brand
    require(by, Action.EDIT_PHOTO, brand)
    if not photo.storage_key:
        raise Invalid(_("This photo has no file yet; add it first."))
    made = _apply_mask(photo, mask)
    stored = stored_files.put(made.png, suffix="png")
    with transaction.atomic():
        ReferencePhoto.objects.select_for_update().get(pk=photo_id)
        # The accepted one, else the newest.
        shown = Cutout.objects.filter(photo_id=photo_id).order_by("-is_accepted", "-id").first()
        if seen is not None and (shown is None or seen != shown.pk):
            raise Conflict(_("Somebody has changed this photo's cut-out since you opened it. Open it again to see it."))
        row = Cutout.objects.create(
            photo_id=photo_id, method=CutoutMethod.MANUAL, is_accepted=False, confidence=made.confidence,
            sha256=stored.sha256, storage_key=stored.key, box=list(made.box), made_by=by, accepted_by=by,
        )  # fmt: skip
        before = shown if shown and shown.is_accepted else None
        step = CutoutChange(photo_id, before.pk if before else None, row.pk, before.accepted_by_id if before else None)
        _switch_cutouts([step])
        _publish(brand, [step], by)
    row.refresh_from_db()
    return row, step


def _apply_mask(photo: ReferencePhoto, mask: bytes) -> reading.CutOutFile:
    try:
        return reading.apply_mask(stored_files.read(photo.storage_key), mask, width=photo.width, height=photo.height)
    except intake.Refused as error:
        raise Invalid(str(error), [Problem("mask", str(error))]) from error
    except NoProduct as error:
        message = _("The mask leaves nothing of the product; paint what belongs to it.")
        raise Invalid(message, [Problem("mask", message)]) from error


def _lock_cutouts(ids: Sequence[int], by: User) -> tuple[list[Cutout], Brand]:
    """Check the user's right, lock the photos of these cut-outs, and return the cut-outs and their brand."""
    cutout_ids = sorted(set(ids))
    if len(cutout_ids) > MAX_AT_ONCE * 2:
        message = _("%(count)s cut-outs at once are too many; take at most %(most)s.")
        raise Invalid(message % {"count": f"{len(cutout_ids):,}", "most": f"{MAX_AT_ONCE:,}"})
    rows = Cutout.objects.visible_to(by).select_related("photo__subject__brand").filter(pk__in=cutout_ids)
    brands = {cutout.photo.subject.brand for cutout in rows}
    if missing := set(cutout_ids) - {cutout.pk for cutout in rows}:
        raise NotFound(_("There is no cut-out %(id)s.") % {"id": min(missing)})
    if not cutout_ids:
        raise NotFound(_("No cut-out was chosen."))
    if len(brands) > 1:
        raise Invalid(_("These cut-outs are of several brands; do one brand after the other."))
    brand = brands.pop()
    require(by, Action.EDIT_PHOTO, brand)
    photos = ReferencePhoto.objects.filter(cutouts__in=cutout_ids).order_by("pk").values_list("pk", flat=True)
    list(ReferencePhoto.objects.select_for_update().filter(pk__in=list(photos)).order_by("pk"))
    return list(Cutout.objects.filter(pk__in=cutout_ids)), brand


def _accepted_ids(photo_ids: Iterable[int]) -> dict[int, int]:
    rows = Cutout.objects.filter(photo_id__in=list(photo_ids), is_accepted=True)
    return dict(rows.values_list("photo_id", "pk"))


def _switch_cutouts(steps: Sequence[CutoutChange]) -> None:
    Cutout.objects.filter(photo_id__in=[step.photo for step in steps], is_accepted=True).update(is_accepted=False)
    Cutout.objects.filter(pk__in=[step.after for step in steps if step.after]).update(is_accepted=True)


def _publish(brand: Brand, steps: Sequence[CutoutChange], by: User) -> None:
    """Publish one event per photo, with the replaced cut-out, in one INSERT."""
    ids = [pk for step in steps for pk in (step.before, step.after) if pk is not None]
    sums = dict(Cutout.objects.filter(pk__in=ids).values_list("pk", "sha256"))
    domain_events: list[DomainEvent] = []
    for step in steps:
        replaced = [sums[step.before]] if step.before and step.before != step.after else []
        payload = {"cutout": step.after, "before": step.before, "replaced": replaced}
        kind = events.CutoutAccepted if step.after else events.CutoutRefused
        domain_events.append(kind(brand_id=brand.pk, object_id=step.photo, payload=payload))
    publish(*domain_events, by=by)
