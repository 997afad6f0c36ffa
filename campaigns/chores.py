"""This app's housekeeping: sealing the trail, forgetting old answers."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from campaigns.housekeeping import periodic
from campaigns.models import StoredResponse
from campaigns.services import audit


@periodic(every_seconds=2)
def seal_events() -> int:
    return audit.seal()


@periodic(every_seconds=3600)
def forget_stored_responses() -> int:
    gone, _ = StoredResponse.objects.filter(created_at__lt=timezone.now() - timedelta(hours=24)).delete()
    return gone
