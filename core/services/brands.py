"""Brands and their members."""

from __future__ import annotations

import re
import zoneinfo
from typing import Any

from django.db import transaction
from django.utils.text import slugify
from django.utils.translation import gettext as _

from core import events
from core.access import Action, can, require
from core.choices import BannedWords, Role, StaleUse
from core.errors import Conflict, Invalid, NotAllowed, NotFound, Problem
from core.events import DomainEvent, publish, set_changed
from core.models import Brand, Membership, User

MAX_BUDGET = 10**10
EVENT_OF_SETTING: dict[str, type[DomainEvent]] = {
    "monthly_budget": events.BrandBudgetSet,
    "time_zone": events.BrandTimeZoneSet,
    "stale_use": events.BrandStaleUseSet,
    "banned_words": events.BrandBannedWordsSet,
}


@transaction.atomic
def create_brand(*, slug: str, name: str, by: User, currency: str = "EUR", time_zone: str = "") -> Brand:
    """Create a brand with its founder, an operator, as admin. Raises NotAllowed, Invalid, Conflict for a taken slug."""
    if not can(by, Action.CREATE_BRAND):
        raise NotAllowed(_("Only an operator (superuser) may create a brand."), action="create_brand")
    problems = []
    if slugify(slug) != slug or not slug:
        problems.append(Problem("slug", _("Use lower-case letters, digits and hyphens, such as “north-kiln”."), slug))
    if not name.strip():
        problems.append(Problem("name", _("A brand needs a name.")))
    if not re.fullmatch(r"[A-Z]{3}", currency):
        problems.append(Problem("currency", _("Use the three letters of ISO 4217, such as EUR."), currency))
    problems += _time_zone_problems(time_zone)
    if problems:
        raise Invalid(_("This brand cannot be created as it is."), problems)
    defaults = {"name": name.strip(), "currency": currency, "time_zone": time_zone}
    brand, is_new = Brand.objects.get_or_create(slug=slug, defaults=defaults)
    if not is_new:
        raise Conflict(_("There already is a brand %(slug)r.") % {"slug": slug}, slug=slug)
    Membership.objects.create(brand=brand, user=by, role=Role.ADMIN)
    publish(events.BrandCreated.of(brand, slug=slug, **defaults), by=by)
    return brand


@transaction.atomic
def change(*, brand_id: int, by: User, **settings: Any) -> Brand:
    """Change those of EVENT_OF_SETTING that are given. Raises NotAllowed and Invalid.

    monthly_budget: None for no limit; what is reserved stays reserved. time_zone: of dates; delivered files keep their
    names. stale_use (StaleUse): for images that become stale from now on. banned_words: BannedWords.
    """
    brand = _lock_brand(brand_id, by)
    for name, value in settings.items():
        _ensure_setting(name, value)
    for name, values in set_changed(brand, settings).items():
        brand.save(update_fields=[name])
        before, after = (None if value is None else str(value) for value in values)
        publish(EVENT_OF_SETTING[name].of(brand, before=before, after=after), by=by)
    return brand


def _lock_brand(brand_id: int, by: User) -> Brand:
    brand = Brand.objects.select_for_update().get(pk=brand_id)
    require(by, Action.EDIT_BRAND, brand)
    return brand


def _ensure_setting(name: str, value: Any) -> None:
    if name == "monthly_budget" and value is not None and not 0 <= value < MAX_BUDGET:
        raise Invalid(_("This is no budget."), [Problem(name, _("Give an amount of 0 or more, or none."), str(value))])
    if name == "time_zone" and (problems := _time_zone_problems(value)):
        raise Invalid(_("This time zone is not known."), problems)
    choices, sentence = {
        "stale_use": (StaleUse.values, _("%(value)r is not a choice for stale images.")),
        "banned_words": (BannedWords.values, _("%(value)r is not a choice for banned words.")),
    }.get(name, ([value], ""))
    if value not in choices:
        problem = Problem(name, _("Use one of %(values)s.") % {"values": ", ".join(choices)}, value)
        raise Invalid(sentence % {"value": value[:40]}, [problem])


def _time_zone_problems(time_zone: str) -> list[Problem]:
    if not time_zone or time_zone in zoneinfo.available_timezones():
        return []
    sentence = _("Use a name of the IANA list, such as Europe/Berlin, or leave it empty.")
    return [Problem("time_zone", sentence, time_zone)]


@transaction.atomic
def add_member(*, brand: Brand, user: User, role: str, by: User) -> Membership:
    """Give `user` a role. If they already have it, nothing changes and no event is published."""
    require(by, Action.EDIT_BRAND, brand)
    if role not in Role.values:
        message = _("Known roles are %(roles)s.") % {"roles": ", ".join(Role.values)}
        raise Invalid(_("There is no role %(role)r.") % {"role": role}, [Problem("role", message, role)])
    membership, is_new = Membership.objects.get_or_create(brand=brand, user=user, role=role)
    if is_new:
        payload = {"user": user.pk, "name": user.display_name, "role": str(role)}
        publish(events.MemberAdded.of(brand, **payload), by=by)
    return membership


@transaction.atomic
def remove_member(*, membership_id: int, by: User) -> None:
    """Remove a role. Raises Conflict for the last person who may edit the brand."""
    membership = Membership.objects.select_related("brand", "user").filter(pk=membership_id).first()
    if membership is None:
        raise NotFound(_("There is no membership %(id)d.") % {"id": membership_id})
    brand = _lock_brand(membership.brand_id, by)
    keepers = Membership.objects.filter(brand=brand, role__in=(Role.ADMIN, Role.LEAD)).exclude(pk=membership.pk)
    if membership.role in (Role.ADMIN, Role.LEAD) and not keepers.exists():
        sentence = _("%(person)s is the last who may edit %(brand)s; name another first.")
        raise Conflict(sentence % {"person": membership.user.display_name, "brand": brand.name})
    membership.delete()
    payload = {"user": membership.user_id, "name": membership.user.display_name, "role": membership.role}
    publish(events.MemberRemoved.of(brand, **payload), by=by)
