"""The periodic tasks of this app: sealing the audit trail, forgetting stored responses."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from core.models import StoredResponse
from core.periodic import periodic_task
from core.services import audit


@periodic_task(every_seconds=2)
def seal_events() -> int:
    return audit.seal()


@periodic_task(every_seconds=3600)
def forget_stored_responses() -> int:
    deleted, _ = StoredResponse.objects.filter(created_at__lt=timezone.now() - timedelta(hours=24)).delete()
    return deleted
