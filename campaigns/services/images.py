"""Images that people add: logos, "do" and "don't" examples of a guide, reference images of a brief."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from campaigns import events
from campaigns.choices import ImageUse
from campaigns.models import BriefImage, Campaign, GuideImage
from campaigns.photos import intake, reading
from campaigns.services import campaigns, guides
from core import stored_files
from core.access import Action, require
from core.errors import Invalid, Problem
from core.events import publish
from core.models import User
from core.selectors.rows import first_or_refuse

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
        message = _("Known uses are %(names)s.") % {"names": ", ".join(ImageUse.values)}
        raise Invalid(_("There is no use %(name)r.") % {"name": use}, [Problem("use", message, use[:100])])
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
        guides.publish_event(guide, events.GuideDrafted, by, fields=["images"])
    return made


@transaction.atomic
def change_in_guide(*, image_id: int, by: User, caption: str | None = None, move: int = 0) -> GuideImage:
    """Change an image's caption, or move it `move` places up (negative) or down among those of the same use."""
    image = _guide_image(image_id)
    guide = guides.lock_draft(image.guide_id, by)
    _change(image, GuideImage.objects.filter(guide=guide, use=image.use), caption, move)
    guides.publish_event(guide, events.GuideDrafted, by, fields=["images"])
    return image


@transaction.atomic
def remove_from_guide(*, image_id: int, by: User) -> None:
    """Remove an image from a draft; other versions that show it keep it."""
    image = _guide_image(image_id)
    guide = guides.lock_draft(image.guide_id, by)
    image.delete()
    guides.publish_event(guide, events.GuideDrafted, by, fields=["images"])


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
        images = {"added": [image.pk for image in made]} if made else {}
        publish(events.BriefImagesChanged.of(campaign, images=images), by=by)
    return made


@transaction.atomic
def change_in_brief(*, image_id: int, by: User, caption: str | None = None, move: int = 0) -> BriefImage:
    """Change an image's caption, or move it `move` places up (negative) or down."""
    image, campaign = _brief_image(image_id, by)
    _change(image, BriefImage.objects.filter(campaign=campaign), caption, move)
    publish(events.BriefImagesChanged.of(campaign, images={"changed": [image.pk]}), by=by)
    return image


@transaction.atomic
def remove_from_brief(*, image_id: int, by: User) -> None:
    image, campaign = _brief_image(image_id, by)
    image.delete()
    publish(events.BriefImagesChanged.of(campaign, images={"removed": [image_id]}), by=by)


def _store_images(given: Sequence[File]) -> list[dict[str, Any]]:
    """Store each file upright and without metadata; return the columns of its row. Call outside of a transaction."""
    if not given:
        raise Invalid(_("No image was given."), [Problem("file", _("Choose at least one image."))])
    if len(given) > MAX_IMAGES:
        message = _("Give at most %(most)d at once.") % {"most": MAX_IMAGES}
        raise Invalid(_("Too many images."), [Problem("file", message, str(len(given)))])
    admitted, problems = [], []
    for name, data in given:
        try:
            admitted.append(reading.admit(data))
        except intake.Refused as error:
            problems.append(Problem("file", f"{name}: {error}", name[:100]))
    if problems:
        raise Invalid(_("No image was added: some files cannot be used."), problems)
    columns = []
    for photo in admitted:
        stored = stored_files.put(photo.data, suffix=photo.suffix)
        columns.append(
            {"sha256": stored.sha256, "storage_key": stored.key, "width": photo.width, "height": photo.height}
        )
    return columns


def _new_rows(rows: Any, taken: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the columns of images that `rows` do not contain yet, each with its position after them."""
    there = set(rows.values_list("sha256", flat=True))
    last = rows.aggregate(last=Max("position"))["last"] or 0
    new = {columns["sha256"]: columns for columns in taken if columns["sha256"] not in there}
    if (count := len(there) + len(new)) > MAX_IMAGES:
        message = _("There is room for %(most)d images here; remove some first.") % {"most": MAX_IMAGES}
        raise Invalid(_("Too many images."), [Problem("file", message, str(count))])
    return [{**columns, "position": position} for position, columns in enumerate(new.values(), start=last + 1)]


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
        message = _("A caption has at most %(most)d characters.") % {"most": CAPTION_LENGTH}
        raise Invalid(_("The caption is too long."), [Problem("caption", message, caption[:100])])


def _guide_image(image_id: int) -> GuideImage:
    return first_or_refuse(
        GuideImage.objects.filter(pk=image_id), _("There is no guide image %(id)s.") % {"id": image_id}
    )


def _brief_image(image_id: int, by: User) -> tuple[BriefImage, Campaign]:
    message = _("There is no image %(id)s beside a brief.") % {"id": image_id}
    image = first_or_refuse(BriefImage.objects.filter(pk=image_id), message)
    campaign = campaigns.lock(image.campaign_id)
    require(by, Action.EDIT_CAMPAIGN, campaign.brand)
    return image, campaign
