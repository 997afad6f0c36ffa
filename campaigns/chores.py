"""This app's housekeeping: sealing the trail, reading waiting imports, forgetting old answers and files."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from campaigns import background
from campaigns.housekeeping import periodic
from campaigns.models import StoredResponse
from campaigns.services import audit, imports, notice_mail, photo_loading, sources


@periodic(every_seconds=2)
def seal_events() -> int:
    return audit.seal()


@periodic(every_seconds=3600)
def forget_stored_responses() -> int:
    gone, _ = StoredResponse.objects.filter(created_at__lt=timezone.now() - timedelta(hours=24)).delete()
    return gone


@periodic(every_seconds=2)
def read_waiting_imports() -> int:
    return background.start_reading()


@periodic(every_seconds=2)
def load_photos() -> int:
    return photo_loading.work(seconds=1.0)


@periodic(every_seconds=5)
def fetch_sources() -> int:
    return sources.fetch_due()


@periodic(every_seconds=3600)
def forget_feed_files() -> int:
    return imports.forget_files()


@periodic(every_seconds=30)
def mail_notices() -> int:
    return notice_mail.mail_due()
