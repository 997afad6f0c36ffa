"""Notices: one sentence to one person, with the page where they can act on it. Mailing them is in notice_mail.py.

Subscribers call `tell` in the transaction that gave the reason: no notice of what did not happen. A notice publishes no
event of its own, it follows from one.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q

from core import clock
from core.choices import Role
from core.errors import NotFound
from core.fetching import without_secrets
from core.models import Brand, Notice, User


def tell(
    *, brand: Brand, users: Iterable[User | None], kind: str, sentence: str, href: str, is_repetitive: bool = False
) -> int:
    """Leave the sentence for each of these people who is active and of this brand; returns how many are told.

    href: a path of this site. An unread notice of the same kind for the same page that was not mailed yet is brought up
    to date; `is_repetitive` does so with a mailed one too (three hundred failed deliveries are one notice).
    """
    if not href.startswith("/") or href.startswith("//"):
        raise ValueError(f"{href!r} is not a path of this site")
    sentence = without_secrets(sentence)
    ids = {user.pk for user in users if user is not None}
    here = Q(is_superuser=True) | Q(memberships__brand=brand)
    people = list(User.objects.filter(here, pk__in=ids, is_active=True).distinct())
    known = Notice.objects.filter(brand=brand, user__in=people, kind=kind, href=href, read_at=None)
    if not is_repetitive:
        known = known.filter(mailed_at=None)
    renewed = set(known.values_list("user_id", flat=True))
    known.update(sentence=sentence[:300], created_at=clock.now())
    Notice.objects.bulk_create(
        Notice(brand=brand, user=person, kind=kind, sentence=sentence[:300], href=href[:300])
        for person in people
        if person.pk not in renewed
    )
    return len(people)


def people(brand: Brand, *roles: Role) -> list[User]:
    """Everybody who has one of these roles in the brand."""
    return list(User.objects.filter(memberships__brand=brand, memberships__role__in=roles, is_active=True).distinct())


def operators() -> list[User]:
    """Return the active superusers."""
    return list(User.objects.filter(is_superuser=True, is_active=True))


def mark_read(*, notice_id: int, by: User) -> Notice:
    """Only the person told can have read it. Reading twice is reading once. Raises NotFound."""
    notice = Notice.objects.visible_to(by).select_related("brand").filter(pk=notice_id, user=by).first()
    if notice is None:
        raise NotFound(f"You have no notice {notice_id}.")
    now = clock.now()
    if Notice.objects.filter(pk=notice.pk, read_at=None).update(read_at=now):
        notice.read_at = now
    found: Notice = notice
    return found


def mark_all_read(*, brand: Brand, by: User) -> int:
    """Everything that this person has unread in the brand; returns how many."""
    mine = Notice.objects.visible_to(by).filter(brand=brand, user=by, read_at=None)
    return int(mine.update(read_at=clock.now()))


def set_mail(*, by: User, is_wanted: bool) -> User:
    """Choose whether a person's notices are mailed too; their own choice, for all brands."""
    User.objects.filter(pk=by.pk).update(notices_by_email=is_wanted)
    by.notices_by_email = is_wanted
    return by
