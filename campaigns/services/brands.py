"""Brands, who belongs to them, and the versions of their guide."""

from __future__ import annotations

import re
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.text import slugify

from campaigns import events
from campaigns.access import Action, require
from campaigns.choices import GuideStatus, Role
from campaigns.errors import Conflict, Invalid, NotAllowed, NotFound, Problem
from campaigns.models import Brand, GuideVersion, Membership, User

GUIDE_FIELDS = frozenset(
    {
        "palette",
        "required_wording",
        "approved_wording",
        "banned_wording",
        "backdrop",
        "light",
        "fill_ratio",
        "baseline",
    }
)
_HEX = re.compile(r"#[0-9a-fA-F]{6}")


@transaction.atomic
def create_brand(*, slug: str, name: str, by: User, currency: str = "EUR") -> Brand:
    """Begin a brand; its founder becomes its admin. Only superusers found brands: there is no brand yet to ask.

    Raises NotAllowed, Invalid, or Conflict for a slug that is taken.
    """
    if not by.is_superuser:
        raise NotAllowed("Only an operator (superuser) may create a brand.", action="create_brand")
    problems = []
    if slugify(slug) != slug or not slug:
        problems.append(Problem("slug", "Use lower-case letters, digits and hyphens, such as “north-kiln”.", slug))
    if not name.strip():
        problems.append(Problem("name", "A brand needs a name."))
    if not re.fullmatch(r"[A-Z]{3}", currency):
        problems.append(Problem("currency", "Use the three letters of ISO 4217, such as EUR.", currency))
    if problems:
        raise Invalid("This brand cannot be created as it is.", problems)
    brand, is_new = Brand.objects.get_or_create(slug=slug, defaults={"name": name.strip(), "currency": currency})
    if not is_new:
        raise Conflict(f"There already is a brand {slug!r}.", slug=slug)
    Membership.objects.create(brand=brand, user=by, role=Role.ADMIN)
    payload = {"slug": slug, "name": brand.name, "currency": currency}
    events.publish(events.BrandCreated(brand_id=brand.pk, object_id=brand.pk, payload=payload), by=by)
    return brand


@transaction.atomic
def add_member(*, brand: Brand, user: User, role: str, by: User) -> Membership:
    """Give `user` a role; one that they already have stays as it is and says nothing."""
    require(by, Action.EDIT_BRAND, brand)
    if role not in Role.values:
        raise Invalid(
            f"There is no role {role!r}.", [Problem("role", f"Known roles are {', '.join(Role.values)}.", role)]
        )
    membership, is_new = Membership.objects.get_or_create(brand=brand, user=user, role=role)
    if is_new:
        payload = {"user": user.pk, "name": user.display_name, "role": str(role)}
        events.publish(events.MemberAdded(brand_id=brand.pk, object_id=brand.pk, payload=payload), by=by)
    return membership


@transaction.atomic
def remove_member(*, membership_id: int, by: User) -> None:
    """Take a role away. The last person who may edit the brand stays: Conflict."""
    membership = Membership.objects.select_related("brand", "user").filter(pk=membership_id).first()
    if membership is None:
        raise NotFound(f"There is no membership {membership_id}.")
    brand = Brand.objects.select_for_update().get(pk=membership.brand_id)
    require(by, Action.EDIT_BRAND, brand)
    keepers = Membership.objects.filter(brand=brand, role__in=(Role.ADMIN, Role.LEAD)).exclude(pk=membership.pk)
    if membership.role in (Role.ADMIN, Role.LEAD) and not keepers.exists():
        raise Conflict(f"{membership.user.display_name} is the last who may edit {brand.name}; name another first.")
    membership.delete()
    payload = {"user": membership.user_id, "name": membership.user.display_name, "role": membership.role}
    events.publish(events.MemberRemoved(brand_id=brand.pk, object_id=brand.pk, payload=payload), by=by)


@transaction.atomic
def draft_guide(*, brand: Brand, by: User, **fields: Any) -> GuideVersion:
    """The next numbered version of the guide as a draft; what is not given is taken from the newest version."""
    require(by, Action.EDIT_BRAND, brand)
    _ensure_guide(fields)
    Brand.objects.select_for_update().get(pk=brand.pk)  # numbers are dealt one after the other
    newest = GuideVersion.objects.filter(brand=brand).order_by("-number").first()
    kept = {name: getattr(newest, name) for name in GUIDE_FIELDS} if newest else {}
    number = (GuideVersion.objects.filter(brand=brand).aggregate(last=Max("number"))["last"] or 0) + 1
    guide = GuideVersion.objects.create(brand=brand, number=number, **{**kept, **fields})
    payload = {"guide": guide.pk, "number": number}
    events.publish(events.GuideDrafted(brand_id=brand.pk, object_id=brand.pk, payload=payload), by=by)
    return guide


@transaction.atomic
def publish_guide(*, guide_id: int, by: User) -> GuideVersion:
    """Let a draft count from now on; frozen from then. Raises Conflict when it is published already."""
    guide = GuideVersion.objects.select_related("brand").filter(pk=guide_id).first()
    if guide is None:
        raise NotFound(f"There is no guide version {guide_id}.")
    require(by, Action.EDIT_BRAND, guide.brand)
    moved = GuideVersion.objects.filter(pk=guide_id, status=GuideStatus.DRAFT).update(status=GuideStatus.PUBLISHED)
    if not moved:
        raise Conflict(f"{guide} is published already.", status=guide.status)
    guide.status = GuideStatus.PUBLISHED
    payload = {"guide": guide.pk, "number": guide.number}
    events.publish(events.GuidePublished(brand_id=guide.brand_id, object_id=guide.brand_id, payload=payload), by=by)
    return guide


def _ensure_guide(fields: dict[str, Any]) -> None:
    problems = [Problem(name, "The guide has no such field.") for name in sorted(set(fields) - GUIDE_FIELDS)]
    for name in ("required_wording", "approved_wording", "banned_wording"):
        words = fields.get(name, [])
        if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
            problems.append(Problem(name, "Give a list of words or phrases, none of them empty.", str(words)[:100]))
    for index, colour in enumerate(fields.get("palette", [])):
        if not isinstance(colour, dict) or not colour.get("name") or not _HEX.fullmatch(str(colour.get("hex", ""))):
            problems.append(
                Problem(f"palette/{index}", 'Each colour is {"name": "Clay", "hex": "#b5651d"}.', str(colour)[:100])
            )
    for name in ("fill_ratio", "baseline"):
        value = fields.get(name, 0.5)
        if not isinstance(value, int | float) or not 0 < value <= 1:
            problems.append(Problem(name, "Give a share between 0 and 1.", str(value)))
    if problems:
        raise Invalid("The guide has mistakes.", problems)
