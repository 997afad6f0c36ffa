"""Versions of the brand guide: one open draft per brand, changed in place, published once and then frozen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from campaigns import events
from campaigns.choices import GuideStatus
from campaigns.models import GuideImage, GuideVersion
from campaigns.services import guide_fields
from core import clock
from core import events as core_events
from core.access import Action, require
from core.errors import Conflict, Invalid, Problem, Stale
from core.models import Brand, User
from core.selectors.rows import first_or_refuse

NOTE_LENGTH = 2000


def draft_token(guide: GuideVersion, names: Iterable[str] = guide_fields.FIELDS) -> str:
    """Return a short hash of these fields: a form carries it, so that nobody overwrites what they have not seen."""
    content = json.dumps({name: getattr(guide, name) for name in sorted(names)}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@transaction.atomic
def edit_draft(*, brand: Brand, by: User, seen: str = "", **fields: Any) -> GuideVersion:
    """Change fields of the brand's open draft, creating it as a copy of the newest version if there is none.

    seen: `draft_token` of the same fields as the editor saw them; Stale when somebody changed one meanwhile.
    Raises NotAllowed, and Invalid with every mistake.
    """
    require(by, Action.EDIT_BRAND, brand)
    # The lock keeps version numbers unique. no_key, because events refer to the brand: with a full lock, drafting and
    # publishing at the same time would wait for each other.
    Brand.objects.select_for_update(no_key=True).get(pk=brand.pk)
    # Locked, because somebody may be publishing it: then it is no draft any more, and the next one is created.
    drafts = GuideVersion.objects.select_for_update().filter(brand=brand, status=GuideStatus.DRAFT)
    guide = drafts.order_by("-number").first()
    is_new = guide is None
    if guide is None:
        guide = _create_draft(brand, by)
    elif seen and seen != draft_token(guide, fields):
        raise Stale(_("Somebody changed this part of the draft after you opened it; look at it again."))
    cleaned = guide_fields.clean_fields(fields, beside={name: getattr(guide, name) for name in guide_fields.FIELDS})
    if cleaned.get("backdrop", "").casefold() == guide.backdrop.casefold():
        cleaned.pop("backdrop", None)  # capitals do not matter in the name of a backdrop, so nothing has changed
    moved = sorted(core_events.set_changed(guide, cleaned))
    if moved:
        guide.save(update_fields=moved)
    if moved or is_new:
        publish_event(guide, events.GuideDrafted, by, fields=moved)
    return guide


@transaction.atomic
def publish(*, guide_id: int, by: User, note: str = "", look_again: bool = False) -> GuideVersion:
    """Publish a draft: it and its images never change again. Runs planned before keep their version.

    note: what changed and why, for the reviewers. look_again: also send the brand's approved images back to review.
    Raises NotFound, NotAllowed, Invalid, and Conflict when it is published already.
    """
    guide = _lock(guide_id)
    require(by, Action.EDIT_BRAND, guide.brand)
    note = note.strip()
    if len(note) > NOTE_LENGTH:
        message = _("Say it in %(most)d characters.") % {"most": NOTE_LENGTH}
        raise Invalid(_("The note is too long."), [Problem("note", message)])
    moved = GuideVersion.objects.filter(pk=guide_id, status=GuideStatus.DRAFT).update(
        status=GuideStatus.PUBLISHED, note=note or guide.note, published_by=by, published_at=clock.now()
    )
    if not moved:
        raise Conflict(_("%(guide)s is published already.") % {"guide": guide}, guide_status=guide.status)
    guide.refresh_from_db()
    publish_event(guide, events.GuidePublished, by, look_again=look_again)
    return guide


@transaction.atomic
def discard(*, guide_id: int, by: User) -> None:
    """Delete a draft with its images; the published version stays. Conflict for a published one."""
    guide = lock_draft(guide_id, by)
    publish_event(guide, events.GuideDiscarded, by)
    guide.delete()


def lock_draft(guide_id: int, by: User) -> GuideVersion:
    """Lock a draft that `by` may change until the transaction ends. Raises NotFound, NotAllowed, Conflict."""
    guide = _lock(guide_id)
    require(by, Action.EDIT_BRAND, guide.brand)
    if guide.status != GuideStatus.DRAFT:
        message = _("%(guide)s is published and frozen; change the next draft instead.") % {"guide": guide}
        raise Conflict(message, guide_status=guide.status)
    return guide


def _create_draft(brand: Brand, by: User) -> GuideVersion:
    """Create the next numbered draft as a copy of the newest version; its images are the same files."""
    newest = GuideVersion.objects.filter(brand=brand).order_by("-number").first()
    kept = {name: getattr(newest, name) for name in guide_fields.FIELDS} if newest else {}
    number = newest.number + 1 if newest else 1
    guide: GuideVersion = GuideVersion.objects.create(brand=brand, number=number, created_by=by, **kept)
    if newest is not None:
        images = list(newest.images.order_by("id"))
        for image in images:
            image.pk, image.guide = None, guide
        GuideImage.objects.bulk_create(images)
    return guide


def _lock(guide_id: int) -> GuideVersion:
    rows = GuideVersion.objects.select_for_update(of=("self",)).select_related("brand")
    return first_or_refuse(rows.filter(pk=guide_id), _("There is no guide version %(id)s.") % {"id": guide_id})


def publish_event(guide: GuideVersion, kind: type[core_events.DomainEvent], by: User, **more: Any) -> None:
    payload = {"guide": guide.pk, "number": guide.number, **more}
    core_events.publish(kind(brand_id=guide.brand_id, object_id=guide.brand_id, payload=payload), by=by)
