"""Tests of notices by e-mail with a real SMTP server: sent once, grouped in one mail, retried after a failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.mail import get_connection
from django.db import connection, transaction
from django.db.models import F

from config import env
from core import io_lane
from core.models import Notice, User
from core.services import notices
from tests.support.mail_server import Mailbox, mail_server, use
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.django_db


@pytest.fixture
def box(settings: Any) -> Iterator[Mailbox]:
    with mail_server() as made:
        use(settings, made)
        yield made


def create_notices(user: User, brand: Any, *sentences: str, minutes_ago: float = 3) -> None:
    for place, sentence in enumerate(sentences):
        notices.notify(
            brand=brand, users=[user], kind=f"kind_{place}", sentence=sentence, href=f"/brands/{brand.slug}/"
        )
    make_older(Notice.objects.filter(user=user, mailed_at=None), minutes=minutes_ago)


def make_older(rows: Any, *, minutes: float) -> None:
    past = timedelta(minutes=minutes)
    rows.update(created_at=F("created_at") - past, due_at=F("due_at") - past)


def mail_all() -> int:
    """Mail everything that is due; return how many notices were mailed."""
    unmailed = Notice.objects.filter(mailed_at=None)
    before = unmailed.count()
    while notices.mail_due():
        pass
    return before - unmailed.count()


def test_a_notice_is_mailed_after_a_while_with_its_link(brand: Any, lead: User, box: Mailbox) -> None:
    create_notices(lead, brand, "Pilot 3 is finished: 10 images made.", minutes_ago=1)
    assert mail_all() == 0
    make_older(Notice.objects.all(), minutes=2)
    assert mail_all() == 1
    [(recipients, mail)] = box.mails
    notice = Notice.objects.get()
    assert recipients == [lead.email]
    assert mail["Subject"] == "Pilot 3 is finished: 10 images made."
    assert mail["Auto-Submitted"] == "auto-generated"
    link = f"https://proofline.example.com/brands/{brand.slug}/notices/{notice.pk}/"
    for kind in ("plain", "html"):
        part = mail.get_body((kind,))
        assert part is not None
        assert link in part.get_content()
        assert "10 images made." in part.get_content()
    assert mail_all() == 0
    assert len(box.mails) == 1


def test_several_notices_are_one_mail(brand: Any, lead: User, manager: User, box: Mailbox) -> None:
    create_notices(lead, brand, "One.", "Two.", "Three.")
    create_notices(manager, brand, "Four.")
    assert mail_all() == 4
    assert sorted(mail["Subject"] for _, mail in box.mails) == ["3 notices: Three.", "Four."]
    assert box.sessions == 1


def test_a_notice_that_was_read_is_not_mailed(brand: Any, lead: User, box: Mailbox) -> None:
    create_notices(lead, brand, "One.")
    notices.mark_all_read(brand=brand, by=lead)
    assert mail_all() == 0
    assert box.mails == []


@pytest.mark.parametrize("change", [{"notices_by_email": False}, {"email": ""}, {"is_active": False}])
def test_some_people_get_no_mail(change: dict[str, Any], brand: Any, lead: User, box: Mailbox) -> None:
    create_notices(lead, brand, "One.")
    User.objects.filter(pk=lead.pk).update(**change)
    assert mail_all() == 0
    assert box.sessions == 0, "nobody to write to, so the server is left alone"


def test_a_notice_older_than_a_day_is_not_mailed(brand: Any, lead: User, box: Mailbox) -> None:
    create_notices(lead, brand, "One.", minutes_ago=25 * 60)
    assert mail_all() == 0
    assert Notice.objects.get().due_at is None
    assert box.mails == []


def test_without_a_server_nothing_is_tried(brand: Any, lead: User, settings: Any) -> None:
    create_notices(lead, brand, "One.")
    assert settings.PROOFLINE["mails_notices"] is False
    assert mail_all() == 0
    assert Notice.objects.get().mailed_at is None


def test_a_server_that_is_away_gets_it_later(brand: Any, lead: User, settings: Any) -> None:
    create_notices(lead, brand, "One.")
    with mail_server() as gone:
        use(settings, gone)
    assert mail_all() == 0
    assert Notice.objects.get().mailed_at is None
    with mail_server() as back:
        use(settings, back)
        assert mail_all() == 0, "it is left alone for half a minute"
        make_older(Notice.objects.all(), minutes=0.5)
        assert mail_all() == 1
        assert len(back.mails) == 1


def test_a_mail_that_is_refused_for_the_moment_is_sent_again(brand: Any, lead: User, box: Mailbox) -> None:
    create_notices(lead, brand, "One.")
    box.data_answer = "451 try later"
    assert mail_all() == 0
    assert Notice.objects.get().mailed_at is None
    box.refusals[lead.email] = "450 greylisted"
    make_older(Notice.objects.all(), minutes=1)
    assert mail_all() == 0
    assert (Notice.objects.get().mailed_at, Notice.objects.get().attempts) == (None, 2)
    box.data_answer, box.refusals = "250 kept", {}
    assert mail_all() == 0, "the second wait is longer"
    make_older(Notice.objects.all(), minutes=3)
    assert mail_all() == 1
    assert len(box.mails) == 1


def test_an_address_that_does_not_exist_delays_no_other_mail(
    brand: Any, lead: User, manager: User, box: Mailbox
) -> None:
    first, second = sorted((lead, manager), key=lambda user: user.pk)
    create_notices(first, brand, "One.")
    create_notices(second, brand, "Two.")
    box.refusals[first.email] = "550 no such user"
    assert mail_all() == 1
    assert [recipients for recipients, _ in box.mails] == [[second.email]]
    make_older(Notice.objects.all(), minutes=60)
    assert mail_all() == 0, "it is not tried again"


def test_a_process_that_dies_while_it_mails_costs_one_more_mail_and_no_notice(
    brand: Any, lead: User, box: Mailbox
) -> None:
    create_notices(lead, brand, "One.")
    for _ in range(2):
        assert notices._claim(), "as a process that is killed before it records what came of it"
        assert mail_all() == 0, "its lease has not ended"
        make_older(Notice.objects.all(), minutes=6)
    assert mail_all() == 0
    notice = Notice.objects.get()
    assert (notice.due_at, notice.mailed_at, box.mails) == (None, None, []), "it may be the notice that kills"


def test_the_notice_of_a_process_that_died_is_mailed_later(brand: Any, lead: User, box: Mailbox) -> None:
    create_notices(lead, brand, "One.")
    assert notices._claim()
    make_older(Notice.objects.all(), minutes=6)
    assert mail_all() == 1
    assert len(box.mails) == 1


def test_a_person_gets_the_next_mail_after_the_one_that_is_being_sent(
    brand: Any, lead: User, manager: User, box: Mailbox
) -> None:
    create_notices(lead, brand, "One.")
    first = notices._claim()
    create_notices(lead, brand, "Two.")
    create_notices(manager, brand, "Three.")
    assert mail_all() == 1
    notices._mail(first, get_connection())
    assert mail_all() == 1
    assert [mail["Subject"] for _, mail in box.mails] == ["Three.", "One.", "Two."]


def test_a_notice_that_changes_while_it_is_mailed_is_another_notice(brand: Any, lead: User, box: Mailbox) -> None:
    create_notices(lead, brand, "1 made.")
    first = notices._claim()
    create_notices(lead, brand, "2 made.")
    notices._mail(first, get_connection())
    assert mail_all() == 1
    assert [mail["Subject"] for _, mail in box.mails] == ["1 made.", "2 made."]


def test_a_mail_that_cannot_be_made_delays_no_other_mail(
    brand: Any, lead: User, manager: User, box: Mailbox, settings: Any
) -> None:
    create_notices(lead, brand, "One.", minutes_ago=4)
    create_notices(manager, brand, "Two.")
    User.objects.filter(pk=lead.pk).update(email="two\nlines@example.com")
    with pytest.raises(ValueError, match="cannot contain newlines"):
        notices.mail_due()
    assert mail_all() == 1
    assert [recipients for recipients, _ in box.mails] == [[manager.email]]


def test_the_lane_mails() -> None:
    assert notices.mail_due in [kind.run_next for kind in io_lane._kinds]


def test_a_sentence_cannot_add_headers(brand: Any, lead: User, box: Mailbox) -> None:
    create_notices(lead, brand, "One.\r\nBcc: everybody@example.com")
    assert mail_all() == 1
    [(recipients, mail)] = box.mails
    assert (recipients, mail["Bcc"]) == ([lead.email], None)


def test_markup_in_a_sentence_stays_words(brand: Any, lead: User, box: Mailbox) -> None:
    create_notices(lead, brand, 'Run <img src="x"> & Co is finished.')
    mail_all()
    [(_, mail)] = box.mails
    html, plain = mail.get_body(("html",)), mail.get_body(("plain",))
    assert html is not None
    assert plain is not None
    assert "<img" not in html.get_content()
    assert 'Run <img src="x"> & Co is finished.' in plain.get_content()


@pytest.mark.django_db(transaction=True)
def test_two_clocks_mail_everything_once(brand: Any, person: Any, box: Mailbox) -> None:
    people = [person("lead") for _ in range(8)]
    for user in people:
        create_notices(user, brand, "One.", "Two.")
    race_without_errors(mail_all, mail_all)
    assert Notice.objects.exclude(mailed_at=None).count() == 16
    assert sorted(recipients[0] for recipients, _ in box.mails) == sorted(user.email for user in people)


@pytest.mark.django_db(transaction=True)
def test_a_person_whom_one_clock_is_mailing_is_skipped_by_the_other(brand: Any, lead: User, box: Mailbox) -> None:
    create_notices(lead, brand, "One.", "Two.")
    counts: list[int] = []

    def work() -> None:
        counts.append(mail_all())
        connection.close()

    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=lead.pk)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)
        assert counts == [0]
    assert mail_all() == 2
    assert len(box.mails) == 1


# -- the address of the server --------------------------------------------------------------------------------------


def test_the_address_says_how_mail_leaves() -> None:
    mail_settings = env.mail("smtps://post%40example.com:s%2Fcret@mail.example.com")
    assert mail_settings["EMAIL_PORT"] == 465
    assert (mail_settings["EMAIL_HOST_USER"], mail_settings["EMAIL_HOST_PASSWORD"]) == ("post@example.com", "s/cret")
    assert (mail_settings["EMAIL_USE_SSL"], mail_settings["EMAIL_USE_TLS"]) == (True, False)
    assert env.mail("smtp+tls://mail.example.com")["EMAIL_PORT"] == 587
    assert env.mail("smtp://mail.example.com:2525")["EMAIL_PORT"] == 2525
    assert env.mail("")["EMAIL_BACKEND"].endswith("dummy.EmailBackend")


@pytest.mark.parametrize("url", ["mail.example.com", "https://mail.example.com", "smtp://", "smtp://h/?tls=1"])
def test_a_wrong_address_says_what_is_expected_without_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="expected one of smtp") as refusal:
        env.mail(url.replace("://", "://user:secret@"))
    assert "secret" not in str(refusal.value)
