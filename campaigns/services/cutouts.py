"""Choose the cut-out of a photo: accept one, repair it by hand, take it back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import transaction

from campaigns import events
from campaigns.choices import CutoutMethod
from campaigns.models import Cutout, ReferencePhoto
from campaigns.photos import cutout, intake, reading
from campaigns.selectors import photos as selectors
from core import stored_files
from core.access import Action, require
from core.errors import Conflict, Invalid, NotFound, Problem
from core.events import DomainEvent, publish_all
from core.models import Brand, User

AT_ONCE = 2000
"""Cut-outs accepted or taken back in one go."""


@dataclass(frozen=True)
class Step:
    """The change of one photo's cut-out, so that it can be taken back. Ids of cut-outs; None: none accepted.

    looked: the id of who had looked at the cut-out before.
    """

    photo: int
    before: int | None
    after: int | None
    looked: int | None = None


def accept(*, cutout_id: int, by: User) -> Cutout:
    """Use this cut-out for its photo from now on. Raises NotFound, NotAllowed."""
    accept_many(cutout_ids=[cutout_id], by=by)
    return Cutout.objects.get(pk=cutout_id)


@transaction.atomic
def accept_many(*, cutout_ids: Sequence[int], by: User) -> list[Step]:
    """Use these cut-outs from now on, at most one per photo; the steps can be given to `take_back`.

    All of one brand. Raises NotFound, NotAllowed, and Invalid for more than AT_ONCE or two of one photo.
    """
    found, brand = _loaded(cutout_ids, by)
    if len({one.photo_id for one in found}) < len(found):
        raise Invalid("Two of these cut-outs are of one photo; accept one of them.")
    before = _accepted(one.photo_id for one in found)
    fresh = [one for one in found if before.get(one.photo_id) != one or one.accepted_by_id is None]
    steps = [
        Step(one.photo_id, _pk(before.get(one.photo_id)), one.pk, before[one.photo_id].accepted_by_id)
        if before.get(one.photo_id) == one
        else Step(one.photo_id, _pk(before.get(one.photo_id)), one.pk, one.accepted_by_id)
        for one in fresh
    ]
    _switch(steps)
    Cutout.objects.filter(pk__in=[one.pk for one in fresh]).update(accepted_by=by)
    _publish(brand, steps, by)
    return steps


@transaction.atomic
def refuse_many(*, cutout_ids: Sequence[int], by: User) -> list[Step]:
    """Take these cut-outs out of use: their photos have none until another is accepted. Raises as `accept_many`."""
    found, brand = _loaded(cutout_ids, by)
    steps = [Step(one.photo_id, one.pk, None, one.accepted_by_id) for one in found if one.is_accepted]
    _switch(steps)
    _publish(brand, steps, by)
    return steps


@transaction.atomic
def take_back(*, steps: Sequence[Step], by: User) -> int:
    """Undo what `accept_many`, `refuse_many` or `repair` did, where nobody has changed it since; returns how many."""
    ids = [pk for step in steps for pk in (step.before, step.after) if pk is not None]
    if not ids:
        return 0
    found, brand = _loaded(ids, by)
    known = {one.pk: one for one in found}
    now = _accepted(step.photo for step in steps)
    backwards = [
        Step(step.photo, step.after, step.before, step.looked)
        for step in steps
        if _pk(now.get(step.photo)) == step.after and {step.before, step.after} - {None} <= known.keys()
    ]
    if not backwards:
        raise Conflict("Somebody has chosen other cut-outs meanwhile; nothing was taken back.")
    _switch(backwards)
    for step in backwards:
        if step.before is not None:
            Cutout.objects.filter(pk=step.before).update(accepted_by=step.looked)
    _publish(brand, backwards, by)
    return len(backwards)


def repair(*, photo_id: int, mask: bytes, by: User, seen: int | None = None) -> tuple[Cutout, Step]:
    """Make a cut-out of the photo by a mask and use it from now on: a PNG whose transparency, or brightness where it
    has none, says what is product.

    seen: the cut-out that the editor began with; Conflict if the photo has another one meanwhile. Raises NotFound,
    NotAllowed, and Invalid for what is no picture, another shape than the photo's, or empty.
    """
    photo = selectors.get(photo_id=photo_id, user=by)
    brand = photo.subject.brand
    require(by, Action.EDIT_PHOTO, brand)
    if not photo.storage_key:
        raise Invalid("This photo has no file yet; add it first.")
    made = _masked(photo, mask)
    stored = stored_files.put(made.png, suffix="png")
    with transaction.atomic():
        ReferencePhoto.objects.select_for_update().get(pk=photo_id)
        before = _accepted([photo_id]).get(photo_id)
        newest = Cutout.objects.filter(photo_id=photo_id).order_by("-id").first()
        if seen is not None and seen != _pk(before or newest):
            raise Conflict("Somebody has changed this photo's cut-out since you opened it. Open it again to see it.")
        row = Cutout.objects.create(
            photo_id=photo_id,
            method=CutoutMethod.MANUAL,
            is_accepted=False,
            confidence=made.confidence,
            sha256=stored.sha256,
            storage_key=stored.key,
            box=list(made.box),
            made_by=by,
            accepted_by=by,
        )
        step = Step(photo_id, _pk(before), row.pk, before.accepted_by_id if before else None)
        _switch([step])
        _publish(brand, [step], by)
    row.refresh_from_db()
    return row, step


def _masked(photo: ReferencePhoto, mask: bytes) -> reading.CutOutFile:
    try:
        return reading.painted(stored_files.read(photo.storage_key), mask, width=photo.width, height=photo.height)
    except intake.Refused as error:
        raise Invalid(str(error), [Problem("mask", str(error))]) from error
    except cutout.NoProduct as error:
        message = "The mask leaves nothing of the product; paint what belongs to it."
        raise Invalid(message, [Problem("mask", message)]) from error


def _loaded(ids: Sequence[int], by: User) -> tuple[list[Cutout], Brand]:
    """The cut-outs, their photos locked, after the right was checked."""
    wanted = sorted(set(ids))
    if len(wanted) > AT_ONCE * 2:
        raise Invalid(f"{len(wanted):,} cut-outs at once are too many; take at most {AT_ONCE:,}.")
    rows = Cutout.objects.visible_to(by).select_related("photo__subject__brand").filter(pk__in=wanted)
    brands = {one.photo.subject.brand for one in rows}
    missing = set(wanted) - {one.pk for one in rows}
    if missing or not wanted:
        raise NotFound(f"There is no cut-out {min(missing)}." if missing else "No cut-out was chosen.")
    if len(brands) > 1:
        raise Invalid("These cut-outs are of several brands; do one brand after the other.")
    brand = brands.pop()
    require(by, Action.EDIT_PHOTO, brand)
    photos = ReferencePhoto.objects.filter(cutouts__in=wanted).order_by("pk").values_list("pk", flat=True)
    list(ReferencePhoto.objects.select_for_update().filter(pk__in=list(photos)).order_by("pk"))
    return list(Cutout.objects.filter(pk__in=wanted)), brand


def _accepted(photo_ids: Iterable[int]) -> dict[int, Cutout]:
    return {one.photo_id: one for one in Cutout.objects.filter(photo_id__in=list(photo_ids), is_accepted=True)}


def _switch(steps: Sequence[Step]) -> None:
    Cutout.objects.filter(photo_id__in=[step.photo for step in steps], is_accepted=True).update(is_accepted=False)
    Cutout.objects.filter(pk__in=[step.after for step in steps if step.after]).update(is_accepted=True)


def _publish(brand: Brand, steps: Sequence[Step], by: User) -> None:
    """One event per photo, with what no longer counts; one INSERT."""
    ids = [pk for step in steps for pk in (step.before, step.after) if pk is not None]
    sums = dict(Cutout.objects.filter(pk__in=ids).values_list("pk", "sha256"))
    told: list[DomainEvent] = []
    for step in steps:
        replaced = [sums[step.before]] if step.before and step.before != step.after else []
        payload = {"cutout": step.after, "before": step.before, "replaced": replaced}
        kind = events.CutoutAccepted if step.after else events.CutoutRefused
        told.append(kind(brand_id=brand.pk, object_id=step.photo, payload=payload))
    publish_all(told, by=by)


def _pk(found: Cutout | None) -> int | None:
    return found.pk if found else None
