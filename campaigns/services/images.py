"""Images that people add: logos, "do" and "don't" examples of a guide, reference images of a brief."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Max

from campaigns import events
from campaigns.choices import ImageUse
from campaigns.models import BriefImage, GuideImage, GuideVersion
from campaigns.photos import intake, reading
from campaigns.services import campaigns, guides
from core import stored_files
from core.access import Action, require
from core.errors import Invalid, NotFound, Problem
from core.events import publish
from core.models import User

MAX_IMAGES = 24
"""The most images beside one brief, or of one use in a guide. Nobody looks at more."""
CAPTION_LENGTH = 300

File = tuple[str, bytes]
"""The name that the user's file has, and its content."""


def add_to_guide(
    *, guide_id: int, use: str, files_given: Sequence[File], by: User, caption: str = ""
) -> list[GuideImage]:
    """Add images to a draft, after those of the same use. An image that is there already is not added again.

    Adds all or none: Invalid names each file that cannot be used. Raises NotFound, NotAllowed, Conflict for a published
    guide.
    """
    if use not in ImageUse.values:
        uses = ", ".join(ImageUse.values)
        raise Invalid(f"There is no use {use!r}.", [Problem("use", f"Known uses are {uses}.", use[:100])])
    _check_caption(caption)
    with transaction.atomic():
        guides.lock_draft(guide_id, by)  # checks the rights before files are decoded
    taken = _store_images(files_given)
    with transaction.atomic():
        guide = guides.lock_draft(guide_id, by)
        rows = GuideImage.objects.filter(guide=guide, use=use)
        made = [
            GuideImage.objects.create(guide=guide, use=use, caption=caption.strip(), **columns)
            for columns in _new_rows(rows, taken)
        ]
        _publish_guide_change(guide, by)
    return made


@transaction.atomic
def change_in_guide(*, image_id: int, by: User, caption: str | None = None, move: int = 0) -> GuideImage:
    """Change an image's caption, or move it `move` places up (negative) or down among those of the same use."""
    image = _guide_image(image_id)
    guide = guides.lock_draft(image.guide_id, by)
    _change(image, GuideImage.objects.filter(guide=guide, use=image.use), caption, move)
    _publish_guide_change(guide, by)
    return image


@transaction.atomic
def remove_from_guide(*, image_id: int, by: User) -> None:
    """Remove an image from a draft; other versions that show it keep it."""
    image = _guide_image(image_id)
    guide = guides.lock_draft(image.guide_id, by)
    image.delete()
    _publish_guide_change(guide, by)


def add_to_brief(*, campaign_id: int, files_given: Sequence[File], by: User, caption: str = "") -> list[BriefImage]:
    """Add images to the brief, after those that are there; all or none. Raises NotFound, NotAllowed, Invalid."""
    _check_caption(caption)
    with transaction.atomic():
        require(by, Action.EDIT_CAMPAIGN, campaigns.lock(campaign_id).brand)
    taken = _store_images(files_given)
    with transaction.atomic():
        campaign = campaigns.lock(campaign_id)
        rows = BriefImage.objects.filter(campaign=campaign)
        made = [
            BriefImage.objects.create(campaign=campaign, caption=caption.strip(), **columns)
            for columns in _new_rows(rows, taken)
        ]
        _publish_brief_change(campaign, by, added=[image.pk for image in made])
    return made


@transaction.atomic
def change_in_brief(*, image_id: int, by: User, caption: str | None = None, move: int = 0) -> BriefImage:
    """Change an image's caption, or move it `move` places up (negative) or down."""
    image, campaign = _brief_image(image_id, by)
    _change(image, BriefImage.objects.filter(campaign=campaign), caption, move)
    _publish_brief_change(campaign, by, changed=[image.pk])
    return image


@transaction.atomic
def remove_from_brief(*, image_id: int, by: User) -> None:
    image, campaign = _brief_image(image_id, by)
    image.delete()
    _publish_brief_change(campaign, by, removed=[image_id])


def _store_images(given: Sequence[File]) -> list[dict[str, Any]]:
    """Store each file upright and without metadata; return the columns of its row. Call outside of a transaction."""
    if not given:
        raise Invalid("No image was given.", [Problem("file", "Choose at least one image.")])
    if len(given) > MAX_IMAGES:
        raise Invalid("Too many images.", [Problem("file", f"Give at most {MAX_IMAGES} at once.", str(len(given)))])
    admitted, problems = [], []
    for name, data in given:
        try:
            admitted.append(reading.admit(data))
        except intake.Refused as error:
            problems.append(Problem("file", f"{name}: {error}", name[:100]))
    if problems:
        raise Invalid("No image was added: some files cannot be used.", problems)
    columns = []
    for photo in admitted:
        stored = stored_files.put(photo.data, suffix=photo.suffix)
        size = {"width": photo.width, "height": photo.height}
        columns.append({"sha256": stored.sha256, "storage_key": stored.key, **size})
    return columns


def _new_rows(rows: Any, taken: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the columns of images that `rows` do not contain yet, each with its position after them."""
    there = set(rows.values_list("sha256", flat=True))
    place = rows.aggregate(last=Max("position"))["last"] or 0
    added = []
    for columns in taken:
        if columns["sha256"] not in there:
            place += 1
            there.add(columns["sha256"])
            added.append({**columns, "position": place})
    if len(there) > MAX_IMAGES:
        message = f"There is room for {MAX_IMAGES} images here; remove some first."
        raise Invalid("Too many images.", [Problem("file", message, str(len(there)))])
    return added


def _change(image: Any, rows: Any, caption: str | None, move: int) -> None:
    if caption is not None:
        _check_caption(caption)
        image.caption = caption.strip()
        image.save(update_fields=["caption"])
    if not move:
        return
    order = list(rows.order_by("position", "id"))
    old = order.index(image)
    new = min(max(0, old + move), len(order) - 1)
    order.insert(new, order.pop(old))
    for place, sibling in enumerate(order, start=1):
        if sibling.position != place:
            sibling.position = place
            sibling.save(update_fields=["position"])
    image.position = new + 1


def _check_caption(caption: str) -> None:
    if len(caption.strip()) > CAPTION_LENGTH:
        message = f"A caption has at most {CAPTION_LENGTH} characters."
        raise Invalid("The caption is too long.", [Problem("caption", message, caption[:100])])


def _guide_image(image_id: int) -> GuideImage:
    image: GuideImage | None = GuideImage.objects.filter(pk=image_id).first()
    if image is None:
        raise NotFound(f"There is no guide image {image_id}.")
    return image


def _brief_image(image_id: int, by: User) -> tuple[BriefImage, Any]:
    image: BriefImage | None = BriefImage.objects.filter(pk=image_id).first()
    if image is None:
        raise NotFound(f"There is no image {image_id} beside a brief.")
    campaign = campaigns.lock(image.campaign_id)
    require(by, Action.EDIT_CAMPAIGN, campaign.brand)
    return image, campaign


def _publish_guide_change(guide: GuideVersion, by: User) -> None:
    payload = {"guide": guide.pk, "number": guide.number, "fields": ["images"]}
    publish(events.GuideDrafted(brand_id=guide.brand_id, object_id=guide.brand_id, payload=payload), by=by)


def _publish_brief_change(campaign: Any, by: User, **what: list[int]) -> None:
    payload = {"images": {name: ids for name, ids in what.items() if ids}}
    event = events.BriefImagesChanged(brand_id=campaign.brand_id, object_id=campaign.pk, payload=payload)
    publish(event, by=by)
