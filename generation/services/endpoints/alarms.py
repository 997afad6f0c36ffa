"""Notify operators that an endpoint no longer works: once, and again only after it has worked in between."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q
from django.urls import reverse
from django.utils import timezone

from core.choices import Role
from core.models import Brand
from core.services import notices
from generation.choices import Breaker, HoldReason, JobState
from generation.models import EndpointStatus, Job

_EMPTY = Q(status=JobState.HELD, hold_reason=HoldReason.QUOTA)
_WAITING = _EMPTY | Q(status=JobState.QUEUED)
TRIPS = 2
"""A circuit breaker that opened once may be a restart of the service; if its probe fails too, somebody should look."""


def notify_all() -> int:
    """Notify operators of every endpoint that has stopped working; returns how many endpoints."""
    empty = Job.objects.filter(_EMPTY, endpoint=OuterRef("pk"))
    is_down = Q(trips__gte=TRIPS) & ~Q(breaker=Breaker.CLOSED)
    still = EndpointStatus.objects.filter(notified_at=None).filter(is_down | Exists(empty))
    return sum(_notify(status.pk) for status in still)


@transaction.atomic
def _notify(endpoint_id: int) -> bool:
    unlocked = EndpointStatus.objects.select_for_update(of=("self",), skip_locked=True).select_related("endpoint")
    status = unlocked.filter(pk=endpoint_id, notified_at=None).first()
    if status is None:
        return False
    waiting = Job.objects.filter(_WAITING, endpoint=status.endpoint).values_list("campaign__brand_id")
    counts = dict(waiting.annotate(Count("pk")).order_by())
    for brand in Brand.objects.filter(pk__in=counts):
        notices.notify(
            brand=brand,
            users=[*notices.list_operators(), *notices.list_people_with_roles(brand, Role.ADMIN)],
            kind="endpoint_stands",
            sentence=_sentence(status, counts[brand.pk]),
            href=reverse("endpoint", args=[brand.slug, status.endpoint.slug]),
        )
    EndpointStatus.objects.filter(pk=endpoint_id).update(notified_at=timezone.now())
    return True


def _sentence(status: EndpointStatus, count: int) -> str:
    images = "1 image waits" if count == 1 else f"{count} images wait"
    if status.breaker == Breaker.CLOSED:
        return f"{status.endpoint.name}: the account is empty or its credentials were refused. {images} for it."
    error = status.last_error.rstrip(".")
    return f"{status.endpoint.name} fails again and again ({error}). {images} for it."
