"""Webhooks from services that make images: a message only makes a job due to be polled now; its content is not used.

So it does not matter how often a message comes, in which submission, or whether it comes at all: only polling counts.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping

import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from core import encryption, signing
from core.services import wake_ups
from generation.choices import JobState
from generation.models import Attempt, Endpoint, Job

log = structlog.get_logger(__name__)


@transaction.atomic
def receive(*, slug: str, marker: uuid.UUID, headers: Mapping[str, str], body: bytes) -> bool:
    """Process one signed message: make the waiting job with this `marker` due to be polled now, and wake its lane.

    headers: names in lower case. False if no endpoint `slug` has the key of the signature; then nothing happens. An
    unknown marker, or one of a submission that has ended, is no error: messages are repeated and arrive in any order.
    A job whose answer was lost keeps its time: looked up too early, it would seem never to have arrived.
    """
    endpoint = Endpoint.objects.filter(slug=slug).first()
    if endpoint is None or not _is_signed(endpoint, headers, body):
        return False
    now = timezone.now()
    submissions = Attempt.objects.filter(endpoint=endpoint, marker=marker, number=F("job__attempts"))
    waiting = Job.objects.filter(pk__in=submissions.values("job_id"), status=JobState.WAITING, poll_at__gt=now)
    if waiting.exclude(remote_id="").update(poll_at=now):
        wake_ups.wake(endpoint.lane)
    return True


def _is_signed(endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        key = endpoint.plugin.webhook_key(endpoint.secret)
        return bool(key) and signing.is_signed(key, headers, body, now=time.time())
    except (signing.BadSecret, encryption.Unreadable) as error:
        log.warning("hook.secret_unusable", endpoint=endpoint.slug, error=str(error))
        return False
