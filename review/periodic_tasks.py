"""Periodic tasks of this app: carry out decisions, announce deliveries, mark files, tidy up."""

from __future__ import annotations

from core.choices import Lane
from core.periodic_tasks import periodic_task
from core.services import wake_ups
from review.services import (
    consequences,
    deliveries,
    delivery_dates,
    delivery_rules,
    released_files,
    webhook_messages,
    webhooks,
)


@periodic_task(every_seconds=2)
def carry_out_decisions() -> int:
    return consequences.carry_out_due()


@periodic_task(every_seconds=5)
def wake_delivery_lane() -> int:
    """Announce deliveries that are due. The wake-up message for the first try comes too early for its retries."""
    if not deliveries.has_due():
        return 0
    wake_ups.send(Lane.DELIVERY)
    return 1


@periodic_task(every_seconds=15)
def take_down_expired_images() -> int:
    return delivery_dates.take_down_expired()


@periodic_task(every_seconds=2)
def update_destinations() -> int:
    return delivery_rules.continue_updates()


@periodic_task(every_seconds=300)
def mark_released_files() -> int:
    return released_files.request_missing() + released_files.request_outdated()


@periodic_task(every_seconds=3600)
def remove_old_webhook_messages() -> int:
    return webhook_messages.remove_old()


@periodic_task(every_seconds=600)
def forget_previous_webhook_secrets() -> int:
    return webhooks.forget_previous_secrets()
