"""Brands and who belongs to them."""

from __future__ import annotations

import re
import zoneinfo
from decimal import Decimal

from django.db import transaction
from django.utils.text import slugify

from campaigns import events
from campaigns.access import Action, require
from campaigns.choices import BannedWords, Role, StaleUse
from campaigns.errors import Conflict, Invalid, NotAllowed, NotFound, Problem
from campaigns.models import Brand, Membership, User
from campaigns.services import styles

MOST_BUDGET = 10**10


@transaction.atomic
def create_brand(*, slug: str, name: str, by: User, currency: str = "EUR", time_zone: str = "") -> Brand:
    """Begin a brand; its founder becomes its admin. Only superusers found brands: there is no brand yet to ask.
    time_zone: of its dates, empty for that of the installation.

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
    problems += _time_zone_problems(time_zone)
    if problems:
        raise Invalid("This brand cannot be created as it is.", problems)
    given = {"name": name.strip(), "currency": currency, "time_zone": time_zone}
    brand, is_new = Brand.objects.get_or_create(slug=slug, defaults=given)
    if not is_new:
        raise Conflict(f"There already is a brand {slug!r}.", slug=slug)
    Membership.objects.create(brand=brand, user=by, role=Role.ADMIN)
    payload = {"slug": slug, "name": brand.name, "currency": currency, "time_zone": time_zone}
    events.publish(events.BrandCreated(brand_id=brand.pk, object_id=brand.pk, payload=payload), by=by)
    styles.add_presets(brand=brand, by=by)
    return brand


@transaction.atomic
def set_monthly_budget(*, brand_id: int, amount: Decimal | None, by: User) -> Brand:
    """What all campaigns together may spend in a calendar month, in the brand's currency; None for no limit. What is
    promised already stays promised. Raises NotAllowed and Invalid."""
    brand = Brand.objects.select_for_update().get(pk=brand_id)
    require(by, Action.EDIT_BRAND, brand)
    if amount is not None and not 0 <= amount < MOST_BUDGET:
        raise Invalid(
            "This is no budget.", [Problem("monthly_budget", "Give an amount of 0 or more, or none.", str(amount))]
        )
    before, brand.monthly_budget = brand.monthly_budget, amount
    if before != amount:
        brand.save(update_fields=["monthly_budget"])
        payload = {"before": _text(before), "after": _text(amount)}
        events.publish(events.BrandBudgetSet(brand_id=brand.pk, object_id=brand.pk, payload=payload), by=by)
    return brand


@transaction.atomic
def set_time_zone(*, brand_id: int, time_zone: str, by: User) -> Brand:
    """Change the time zone of the brand's dates; empty for that of the installation. Files that were delivered keep
    their names until they are delivered again. Raises NotAllowed and Invalid."""
    brand = Brand.objects.select_for_update().get(pk=brand_id)
    require(by, Action.EDIT_BRAND, brand)
    if problems := _time_zone_problems(time_zone):
        raise Invalid("This is no time zone.", problems)
    before, brand.time_zone = brand.time_zone, time_zone
    if before != time_zone:
        brand.save(update_fields=["time_zone"])
        payload = {"before": before, "after": time_zone}
        events.publish(events.BrandTimeZoneSet(brand_id=brand.pk, object_id=brand.pk, payload=payload), by=by)
    return brand


def _time_zone_problems(time_zone: str) -> list[Problem]:
    if not time_zone or time_zone in zoneinfo.available_timezones():
        return []
    return [Problem("time_zone", "Use a name of the IANA list, such as Europe/Berlin, or leave it empty.", time_zone)]


@transaction.atomic
def set_stale_use(*, brand_id: int, stale_use: str, by: User) -> Brand:
    """Choose what happens to published images that go stale from now on: "keep" them until a person decides, or
    "withdraw" them at once. Raises NotAllowed and Invalid."""
    brand = Brand.objects.select_for_update().get(pk=brand_id)
    require(by, Action.EDIT_BRAND, brand)
    if stale_use not in StaleUse.values:
        problem = Problem("stale_use", f"Use one of {', '.join(StaleUse.values)}.", stale_use)
        raise Invalid(f"{stale_use[:40]!r} is not a choice for stale images.", [problem])
    before, brand.stale_use = brand.stale_use, stale_use
    if before != stale_use:
        brand.save(update_fields=["stale_use"])
        payload = {"before": str(before), "after": str(stale_use)}
        events.publish(events.BrandStaleUseSet(brand_id=brand.pk, object_id=brand.pk, payload=payload), by=by)
    return brand


@transaction.atomic
def set_banned_words(*, brand_id: int, banned_words: str, by: User) -> Brand:
    """Choose what happens when a prompt has a word that the brand guide bans: "warn" in the preview of a run, or
    "block" the run. Raises NotAllowed and Invalid."""
    brand = Brand.objects.select_for_update().get(pk=brand_id)
    require(by, Action.EDIT_BRAND, brand)
    if banned_words not in BannedWords.values:
        problem = Problem("banned_words", f"Use one of {', '.join(BannedWords.values)}.", banned_words)
        raise Invalid(f"{banned_words[:40]!r} is not a choice for banned words.", [problem])
    before, brand.banned_words = brand.banned_words, banned_words
    if before != banned_words:
        brand.save(update_fields=["banned_words"])
        payload = {"before": str(before), "after": str(banned_words)}
        events.publish(events.BrandBannedWordsSet(brand_id=brand.pk, object_id=brand.pk, payload=payload), by=by)
    return brand


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)


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
