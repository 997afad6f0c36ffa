"""Images that people add to a guide (logos, "do" and "don't" examples) or a brief; small copies of stored images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from django.core.cache import cache
from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from campaigns import events
from campaigns.choices import ImageUse
from campaigns.models import BriefImage, Campaign, GuideImage, GuideVersion
from campaigns.photos import intake, reading
from campaigns.services import campaigns, guides
from core import stored_files
from core.access import Action, require
from core.errors import Invalid, Problem
from core.events import publish
from core.models import User
from core.selectors.rows import first_or_refuse

MAX_IMAGES = 24  # beside one brief, or of one use in a guide; nobody looks at more
CAPTION_LENGTH = 300
EDGES = (96, 192, 384, 768)  # the long edges of small copies, in pixels

File = tuple[str, bytes]  # the name that the user's file has, and its content


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
    return _add(partial(guides.lock_draft, guide_id, by), files_given, by, use=use, caption=caption.strip())


def add_to_brief(*, campaign_id: int, files_given: Sequence[File], by: User) -> list[BriefImage]:
    """Add images to the brief, after those that are there; all or none. Raises NotFound, NotAllowed, Invalid."""
    return _add(partial(_lock_campaign, campaign_id, by), files_given, by)


@transaction.atomic
def change(*, image: GuideImage | BriefImage, by: User, caption: str | None = None, move: int = 0) -> None:
    """Change an image's caption, or move it `move` places up (negative) or down among those of the same use.

    Raises NotFound, NotAllowed, Invalid, Conflict for an image of a published guide.
    """
    owner = _lock_owner(image, by)
    if caption is not None:
        _check_caption(caption)
        image.caption = caption.strip()
        image.save(update_fields=["caption"])
    if move:
        uses = {"use": image.use} if isinstance(image, GuideImage) else {}
        order = list(owner.images.filter(**uses).order_by("position", "id"))
        old = order.index(image)
        order.insert(min(max(0, old + move), len(order) - 1), order.pop(old))
        for position, sibling in enumerate(order, start=1):
            sibling.position = position
        type(image).objects.bulk_update(order, ["position"])
    _publish(owner, by, "changed", [image.pk])


@transaction.atomic
def remove(*, image: GuideImage | BriefImage, by: User) -> None:
    """Remove an image from a draft or a brief; other versions of the guide that show it keep it."""
    owner, image_id = _lock_owner(image, by), image.pk
    image.delete()
    _publish(owner, by, "removed", [image_id])


def _add(lock: Callable[[], GuideVersion | Campaign], files_given: Sequence[File], by: User, **fields: str) -> Any:
    """Add images to the guide or campaign that `lock` returns. fields: the use and caption of each image."""
    with transaction.atomic():
        lock()  # checks the rights before files are decoded
    taken = _store_images(files_given)
    with transaction.atomic():
        owner = lock()
        uses = {"use": fields["use"]} if "use" in fields else {}
        made = [owner.images.create(**fields, **row) for row in _new_rows(owner.images.filter(**uses), taken)]
        _publish(owner, by, "added", [image.pk for image in made])
    return made


def _publish(owner: GuideVersion | Campaign, by: User, verb: str, ids: list[int]) -> None:
    if isinstance(owner, GuideVersion):
        guides.publish_event(owner, events.GuideDrafted, by, fields=["images"])
    else:
        publish(events.BriefImagesChanged.of(owner, images={verb: ids} if ids else {}), by=by)


def _lock_campaign(campaign_id: int, by: User) -> Campaign:
    campaign = campaigns.lock(campaign_id)
    require(by, Action.EDIT_CAMPAIGN, campaign.brand)
    return campaign


def _lock_owner(image: GuideImage | BriefImage, by: User) -> Any:
    """Lock and return the image's guide or campaign, which still has the image. Raises NotFound."""
    if isinstance(image, GuideImage):
        owner: Any = guides.lock_draft(image.guide_id, by)
        message = _("There is no guide image %(id)s.")
    else:
        owner = _lock_campaign(image.campaign_id, by)
        message = _("There is no image %(id)s beside a brief.")
    first_or_refuse(owner.images.filter(pk=image.pk), message % {"id": image.pk})
    return owner


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


def _check_caption(caption: str) -> None:
    if len(caption.strip()) > CAPTION_LENGTH:
        message = _("A caption has at most %(most)d characters.") % {"most": CAPTION_LENGTH}
        raise Invalid(_("The caption is too long."), [Problem("caption", message, caption[:100])])


def get_small_copy(key: str, edge: int) -> str:
    """Return the storage key of a WebP copy whose long edge is the smallest of EDGES that is at least `edge` pixels.

    It is made at the first request and then kept. If the original is no larger, its own key is returned. Pixels keep
    their aspect ratio and alpha and become sRGB; metadata is dropped.
    """
    edge = next((size for size in EDGES if size >= edge), EDGES[-1])
    cache_key = f"preview:srgb:{key}:{edge}"  # keys without "srgb:" hold copies whose colour profile was ignored
    if (stored_key := cache.get(cache_key)) and stored_files.exists(stored_key):  # the sweeper may have taken it
        return str(stored_key)
    try:
        copy = reading.small_copy(stored_files.read(key), edge)
    except intake.Refused as error:
        raise Invalid(_("The stored file %(key)s is not a readable image.") % {"key": key}) from error
    made = stored_files.put(copy, suffix="webp", durable=False).key if copy else key
    cache.set(cache_key, made, timeout=None)
    return made
