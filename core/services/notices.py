"""Notices, made by subscribers in the transaction of an event. They publish no event; notice_mail.py mails them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from core import clock
from core.choices import Role
from core.errors import NotFound
from core.fetching import redact_text
from core.models import Brand, Notice, User

DELAY = timedelta(minutes=2)
"""The time to read a notice before it is mailed."""


def notify(
    *, brand: Brand, users: Iterable[User | None], kind: str, sentence: str, href: str, is_repetitive: bool = False
) -> int:
    """Create the notice for each of these people who is active and belongs to the brand; return their number.

    href: a path of this site. An unread, unmailed notice of the same kind for the same page is updated instead. With
    `is_repetitive` a mailed one is updated too (three hundred failed deliveries are one notice).
    """
    if not href.startswith("/") or href.startswith("//"):
        raise ValueError(f"{href!r} is not a path of this site")
    sentence = redact_text(sentence)
    ids = {user.pk for user in users if user is not None}
    is_member = Q(is_superuser=True) | Q(memberships__brand=brand)
    people = list(User.objects.filter(is_member, pk__in=ids, is_active=True).distinct())
    unread_notices = Notice.objects.filter(brand=brand, user__in=people, kind=kind, href=href, read_at=None)
    unmailed = unread_notices.filter(mailed_at=None, lease_token=None)
    due_at = timezone.now() + DELAY
    renewed_notices = unread_notices if is_repetitive else unmailed
    renewed = set(renewed_notices.values_list("user_id", flat=True))
    renewed_notices.update(sentence=sentence[:300], created_at=clock.now())
    unmailed.update(due_at=due_at, attempts=0)
    Notice.objects.bulk_create(
        Notice(brand=brand, user=person, kind=kind, sentence=sentence[:300], href=href[:300], due_at=due_at)
        for person in people
        if person.pk not in renewed
    )
    return len(people)


def list_people_with_roles(brand: Brand, *roles: Role) -> list[User]:
    """Return the active people who have one of these roles in the brand."""
    return list(User.objects.filter(memberships__brand=brand, memberships__role__in=roles, is_active=True).distinct())


def list_operators() -> list[User]:
    """Return the active superusers."""
    return list(User.objects.filter(is_superuser=True, is_active=True))


def mark_read(*, notice_id: int, by: User) -> Notice:
    """Mark a notice of this person as read; a second call changes nothing. Raises NotFound."""
    notice = Notice.objects.visible_to(by).select_related("brand").filter(pk=notice_id, user=by).first()
    if notice is None:
        raise NotFound(_("You have no notice %(id)d.") % {"id": notice_id})
    now = clock.now()
    if Notice.objects.filter(pk=notice.pk, read_at=None).update(read_at=now):
        notice.read_at = now
    return notice


def mark_all_read(*, brand: Brand, by: User) -> int:
    """Mark all notices of this person in the brand as read; return how many."""
    unread_notices = Notice.objects.visible_to(by).filter(brand=brand, user=by, read_at=None)
    return int(unread_notices.update(read_at=clock.now()))


def set_mail(*, by: User, is_wanted: bool) -> None:
    """Set whether a person's notices are mailed too, in all brands."""
    User.objects.filter(pk=by.pk).update(notices_by_email=is_wanted)
    by.notices_by_email = is_wanted
