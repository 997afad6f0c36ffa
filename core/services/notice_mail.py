"""Notices by e-mail: what a person has not seen after two minutes, several in one mail, each once.

A notice is claimed before its mail leaves and given back when the server refuses: two clocks never send it twice, and a
server that is away costs nothing but time. A process killed between the two leaves that notice on the page only.
"""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import make_msgid
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse

from core import clock
from core.models import Notice, User

log = structlog.get_logger(__name__)

DELAY = timedelta(minutes=2)
#: After a day a mail is no news any more: neither while the server was away, nor of a past that the demo made up.
TOO_OLD = timedelta(days=1)
PEOPLE_PER_PASS = 20
MOST_IN_MAIL = 30


def mail_due(now: datetime | None = None) -> int:
    """Mail what is due; returns how many notices left. Nothing is claimed while the server cannot be reached."""
    if not settings.PROOFLINE["mails_notices"]:
        return 0
    now = now or clock.now()
    due = _due(now).filter(created_at__lte=now - DELAY).order_by("user_id").values_list("user_id", flat=True)
    people = list(due.distinct()[:PEOPLE_PER_PASS])
    if not people:
        return 0
    connection = get_connection()
    try:
        connection.open()
    except (OSError, smtplib.SMTPException) as error:
        log.warning("mail.unreachable", error=str(error))
        return 0
    sent = 0
    try:
        for user_id in people:
            sent += _mail(user_id, connection, now)
    except (OSError, smtplib.SMTPException) as error:
        log.warning("mail.interrupted", error=str(error), sent=sent)  # what was claimed is back; a minute later again
    finally:
        connection.close()
    return sent


def _due(now: datetime) -> Any:
    """Notices that may be mailed: unread, of the last day, to somebody who wants them and has an address."""
    rows = Notice.objects.filter(mailed_at=None, read_at=None, created_at__gte=now - TOO_OLD)
    return rows.filter(user__is_active=True, user__notices_by_email=True).exclude(user__email="")


@transaction.atomic
def _claim(user_id: int, now: datetime) -> list[Notice]:
    """The person's notices, ours from here on; empty when another clock was first. It is the person who is locked: two
    clocks that lock notices one by one could each get some of them, and send two mails."""
    if not User.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=user_id).first():
        return []
    rows = _due(now).filter(user_id=user_id).select_related("brand")
    claimed = list(rows.order_by("brand_id", "-id")[:MOST_IN_MAIL])
    Notice.objects.filter(pk__in=[one.pk for one in claimed], mailed_at=None).update(mailed_at=now)
    return claimed


def _mail(user_id: int, connection: Any, now: datetime) -> int:
    """One mail to one person. Raises what the server said, after giving the notices back; an address that it will never
    accept keeps them claimed, or every pass would begin with it."""
    claimed = _claim(user_id, now)
    if not claimed:
        return 0
    user = User.objects.get(pk=user_id)
    try:
        compose(user, claimed, connection).send()
    except smtplib.SMTPRecipientsRefused as error:
        if all(code >= 500 for code, _ in error.recipients.values()):
            log.warning("mail.address_refused", user=user_id, answer=str(error.recipients))
            return 0
        _give_back(claimed, now)
        raise
    except BaseException:
        _give_back(claimed, now)
        raise
    return len(claimed)


def _give_back(claimed: Sequence[Notice], now: datetime) -> None:
    Notice.objects.filter(pk__in=[one.pk for one in claimed], mailed_at=now).update(mailed_at=None)


def compose(user: User, notices: Sequence[Notice], connection: Any = None) -> EmailMultiAlternatives:
    """The mail: the sentence itself as subject where it is one, text and HTML, each notice with its link."""
    site = settings.SITE_URL.rstrip("/")
    items = [
        (one, f"{site}{reverse('notice', args=[one.brand.slug, one.pk])}", " ".join(one.sentence.split()))
        for one in notices
    ]
    brand = notices[0].brand
    subject = items[0][2] if len(items) == 1 else f"{len(items)} notices: {items[0][2]}"
    context = {"user": user, "items": items, "settings_url": f"{site}{reverse('notices', args=[brand.slug])}"}
    mail = EmailMultiAlternatives(
        subject=subject[:140],
        body=render_to_string("core/mail/notices.txt", context),
        to=[user.email],
        connection=connection,
        headers={
            "Auto-Submitted": "auto-generated",
            "Message-ID": make_msgid(domain=urlsplit(site).hostname or "proofline"),
        },
    )
    mail.attach_alternative(render_to_string("core/mail/notices.html", context), "text/html")
    return mail
