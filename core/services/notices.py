"""Notices, made by subscribers in the transaction of an event, and their mail. They publish no event.

A notice that a person has not read after two minutes is mailed, several in one mail. It is leased before and recorded
as mailed afterwards, so two processes never mail it at the same time. If a process dies in between, the mail is sent
once more when the lease ends: rather twice than never.
"""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from email.utils import make_msgid
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core import clock
from core.choices import Role
from core.errors import NotFound
from core.fetching import redact_text
from core.io_lane import io_work
from core.models import Brand, Notice, RetryPolicy, User
from core.services import leases

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
    return list(User.objects.filter(memberships__brand=brand, memberships__role__in=roles, is_active=True).distinct())


def list_operators() -> list[User]:
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
    User.objects.filter(pk=by.pk).update(notices_by_email=is_wanted)
    by.notices_by_email = is_wanted


log = structlog.get_logger(__name__)

#: Older notices are not mailed: after an outage of the server they are no news, and the demo creates old ones.
TOO_OLD = timedelta(days=1)
PEOPLE_PER_CONNECTION = 20
MAX_IN_MAIL = 30
POLICY = RetryPolicy((30, 120, 600, 1800, 3600, 10800, 21600), max_deaths=2)
SERVER_AWAY = timedelta(seconds=30)
"""The wait of everything that is due when the server cannot be reached. It does not count as an attempt."""


@io_work()
def mail_due() -> bool:
    """Mail what is due to some people, over one connection; returns False if nothing is due."""
    connection, people = get_connection(), 0
    try:
        while people < PEOPLE_PER_CONNECTION and (claimed := _claim()):
            people += 1
            _mail(claimed, connection)
    except OSError as error:  # which all errors of smtplib are
        log.warning("mail.interrupted", error=str(error))
    finally:
        connection.close()
    return people > 0


@transaction.atomic
def _claim() -> list[Notice]:
    """Lease the waiting notices of a person for whom one is due and no mail is being sent; empty if there is none.

    The person is locked first: two processes that lock single notices could each get some and send two mails.
    """
    of_person = Notice.objects.filter(user=OuterRef("pk"))
    being_sent = of_person.filter(lease_token__isnull=False, due_at__gt=timezone.now())
    people = User.objects.filter(Exists(leases.due(of_person)), ~Exists(being_sent))
    person = people.select_for_update(skip_locked=True, no_key=True).first()
    rows = Notice.objects.filter(user=person).select_related("brand", "user")
    return leases.claim_together(rows, POLICY, limit=MAX_IN_MAIL) if person else []


def _mail(claimed: Sequence[Notice], connection: Any) -> None:
    """Send one mail to one person and end the attempt; if its address is refused for good, give up. Raises the rest."""
    to_mail = [notice for notice in claimed if _is_wanted(notice)]
    _end((notice for notice in claimed if notice not in to_mail), Notice.give_up)
    if not to_mail:
        return
    try:
        connection.open()
    except OSError:
        _end(to_mail, lambda notice: notice.postpone(SERVER_AWAY))
        leases.due(Notice.objects.all()).update(due_at=timezone.now() + SERVER_AWAY)
        raise
    user = to_mail[0].user
    try:
        compose(user, sorted(to_mail, key=lambda notice: (notice.brand_id, -notice.pk)), connection).send()
    except Exception as error:
        answers = error.recipients if isinstance(error, smtplib.SMTPRecipientsRefused) else {}
        if not answers or any(code < 500 for code, _ in answers.values()):
            _end(to_mail, lambda notice: notice.retry(POLICY))
            raise
        log.warning("mail.address_refused", user=user.pk, answer=str(answers))
        _end(to_mail, Notice.give_up)
    else:
        _end(to_mail, _record_sent)


def _is_wanted(notice: Notice) -> bool:
    """Return whether to mail it: unread, of the last day, to a person with an address who wants mail."""
    user = notice.user
    is_news = notice.read_at is None and notice.created_at >= clock.now() - TOO_OLD
    has_address = user.is_active and user.notices_by_email and bool(user.email)
    return settings.PROOFLINE["mails_notices"] and is_news and has_address and notice.deaths <= POLICY.max_deaths


def _record_sent(notice: Notice) -> None:
    notice.mailed_at = clock.now()
    notice.succeed()


@transaction.atomic
def _end(claimed: Iterable[Notice], end: Callable[[Notice], object]) -> None:
    for notice in claimed:
        if locked := leases.lock(notice):
            end(locked)
            locked.save()


def compose(user: User, notices: Sequence[Notice], connection: Any = None) -> EmailMultiAlternatives:
    """Return the mail in text and HTML, each notice with its link. The sentence of a single notice is the subject."""
    site = settings.SITE_URL.rstrip("/")
    domain = urlsplit(site).hostname or "proofline"
    items = [
        (notice, f"{site}{reverse('notice', args=[notice.brand.slug, notice.pk])}", " ".join(notice.sentence.split()))
        for notice in notices
    ]
    brand = notices[0].brand
    first = {"n": len(items), "first": items[0][2]}
    subject = ngettext("%(first)s", "%(n)d notices: %(first)s", len(items)) % first
    context = {"user": user, "items": items, "settings_url": f"{site}{reverse('notices', args=[brand.slug])}"}
    mail = EmailMultiAlternatives(
        subject=subject[:140],
        body=render_to_string("core/mail/notices.txt", context),
        to=[user.email],
        connection=connection,
        headers={"Auto-Submitted": "auto-generated", "Message-ID": make_msgid(domain=domain)},
    )
    mail.attach_alternative(render_to_string("core/mail/notices.html", context), "text/html")
    return mail
