"""Brands and their members."""

from __future__ import annotations

import re
import zoneinfo
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils.text import slugify
from django.utils.translation import gettext as _

from core import events
from core.access import Action, can, require
from core.choices import BannedWords, Role, StaleUse
from core.errors import Conflict, Invalid, NotAllowed, NotFound, Problem
from core.events import DomainEvent, publish
from core.models import Brand, Membership, User

MAX_BUDGET = 10**10


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
    payload = {"slug": slug, **defaults}
    publish(events.BrandCreated.of(brand, **payload), by=by)
    return brand


@transaction.atomic
def set_monthly_budget(*, brand_id: int, amount: Decimal | None, by: User) -> Brand:
    """Set the budget per calendar month; what is reserved stays reserved. Raises NotAllowed and Invalid."""
    brand = _lock_brand(brand_id, by)
    if amount is not None and not 0 <= amount < MAX_BUDGET:
        problem = Problem("monthly_budget", _("Give an amount of 0 or more, or none."), str(amount))
        raise Invalid(_("This is no budget."), [problem])
    return _save_setting(brand, "monthly_budget", amount, events.BrandBudgetSet, by)


@transaction.atomic
def set_time_zone(*, brand_id: int, time_zone: str, by: User) -> Brand:
    """Change the time zone of dates; delivered files keep their names. Raises NotAllowed and Invalid."""
    brand = _lock_brand(brand_id, by)
    if problems := _time_zone_problems(time_zone):
        raise Invalid(_("This time zone is not known."), problems)
    return _save_setting(brand, "time_zone", time_zone, events.BrandTimeZoneSet, by)


@transaction.atomic
def set_stale_use(*, brand_id: int, stale_use: str, by: User) -> Brand:
    """Set what happens to images that become stale from now on (StaleUse). Raises NotAllowed and Invalid."""
    brand = _lock_brand(brand_id, by)
    sentence = _("%(value)r is not a choice for stale images.")
    _ensure_choice("stale_use", stale_use, StaleUse.values, sentence)
    return _save_setting(brand, "stale_use", stale_use, events.BrandStaleUseSet, by)


@transaction.atomic
def set_banned_words(*, brand_id: int, banned_words: str, by: User) -> Brand:
    """Set what happens when a word that the guide bans is used (BannedWords). Raises NotAllowed and Invalid."""
    brand = _lock_brand(brand_id, by)
    sentence = _("%(value)r is not a choice for banned words.")
    _ensure_choice("banned_words", banned_words, BannedWords.values, sentence)
    return _save_setting(brand, "banned_words", banned_words, events.BrandBannedWordsSet, by)


def _lock_brand(brand_id: int, by: User) -> Brand:
    """Return the brand, locked, if this person may edit it. Raises NotAllowed."""
    brand = Brand.objects.select_for_update().get(pk=brand_id)
    require(by, Action.EDIT_BRAND, brand)
    return brand


def _save_setting(brand: Brand, field: str, value: Any, event: type[DomainEvent], by: User) -> Brand:
    """Save one setting of a locked brand and publish its event, if it changes."""
    before = getattr(brand, field)
    setattr(brand, field, value)
    if before != value:
        brand.save(update_fields=[field])
        payload = {"before": _text(before), "after": _text(value)}
        publish(event.of(brand, **payload), by=by)
    return brand


def _time_zone_problems(time_zone: str) -> list[Problem]:
    if not time_zone or time_zone in zoneinfo.available_timezones():
        return []
    sentence = _("Use a name of the IANA list, such as Europe/Berlin, or leave it empty.")
    return [Problem("time_zone", sentence, time_zone)]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _ensure_choice(field: str, value: str, values: list[str], sentence: str) -> None:
    if value not in values:
        problem = Problem(field, _("Use one of %(values)s.") % {"values": ", ".join(values)}, value)
        raise Invalid(sentence % {"value": value[:40]}, [problem])


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
