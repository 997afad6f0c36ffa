"""Sends notices by e-mail that a person has not read after two minutes: several in one mail, each once.

A notice is claimed before its mail is sent, and released if the server refuses it. So two processes never send it
twice. If the process is killed in between, the notice is only on the page.
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
from django.utils.translation import ngettext

from core import clock
from core.models import Notice, User

log = structlog.get_logger(__name__)

DELAY = timedelta(minutes=2)
#: Older notices are not mailed: after an outage of the server they are no news, and the demo creates old ones.
TOO_OLD = timedelta(days=1)
PEOPLE_PER_PASS = 20
MAX_IN_MAIL = 30


def mail_due(now: datetime | None = None) -> int:
    """Mail the due notices; return how many were sent. Nothing is claimed while the server cannot be reached."""
    if not settings.PROOFLINE["mails_notices"]:
        return 0
    now = now or clock.now()
    due = _due_notices(now).filter(created_at__lte=now - DELAY).order_by("user_id").values_list("user_id", flat=True)
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
            sent += _send_mail(user_id, connection, now)
    except (OSError, smtplib.SMTPException) as error:
        # The claimed notices are released and retried later.
        log.warning("mail.interrupted", error=str(error), sent=sent)
    finally:
        connection.close()
    return sent


def _due_notices(now: datetime) -> Any:
    """Return the notices to mail: unread, of the last day, to people with an address who want mail."""
    rows = Notice.objects.filter(mailed_at=None, read_at=None, created_at__gte=now - TOO_OLD)
    return rows.filter(user__is_active=True, user__notices_by_email=True).exclude(user__email="")


@transaction.atomic
def _claim(user_id: int, now: datetime) -> list[Notice]:
    """Claim and return the person's notices; empty if another process was first.

    The person is locked, because two processes that lock single notices could each get some and send two mails.
    """
    if not User.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=user_id).first():
        return []
    rows = _due_notices(now).filter(user_id=user_id).select_related("brand")
    claimed = list(rows.order_by("brand_id", "-id")[:MAX_IN_MAIL])
    Notice.objects.filter(pk__in=[notice.pk for notice in claimed], mailed_at=None).update(mailed_at=now)
    return claimed


def _send_mail(user_id: int, connection: Any, now: datetime) -> int:
    """Send one mail to one person; return how many notices it has.

    If the server refuses the mail, the notices are released and its exception is raised. If it refuses the address for
    good, the notices stay claimed; otherwise every pass would start with this address.
    """
    claimed = _claim(user_id, now)
    if not claimed:
        return 0
    user = User.objects.get(pk=user_id)
    try:
        compose(user, claimed, connection).send()
    except BaseException as error:
        answers = error.recipients if isinstance(error, smtplib.SMTPRecipientsRefused) else {}
        if answers and all(code >= 500 for code, _ in answers.values()):
            log.warning("mail.address_refused", user=user_id, answer=str(answers))
            return 0
        Notice.objects.filter(pk__in=[notice.pk for notice in claimed], mailed_at=now).update(mailed_at=None)
        raise
    return len(claimed)


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
