"""Reactions of the review app to events of all apps, in the same transaction."""

from __future__ import annotations

from django.urls import reverse
from django.utils.translation import gettext as _

from campaigns.events import CampaignChanged, FeedImported, FeedRefused, PhotoChanged
from core.choices import Role
from core.events import BrandCreated, BrandTimeZoneSet, DomainEvent, current_actor, subscribe
from core.models import Brand
from core.services import notices
from generation.events import (
    AssetsBecameStale,
    InputsMovedInReview,
    InputsReturned,
    RunFinished,
    RunPaused,
    RunReleaseRefused,
    VersionReady,
)
from generation.models import Asset
from review.events import (
    AssetRecalled,
    AssetReleased,
    DeliveryFailed,
    DestinationDisabled,
    TaskEscalated,
    WebhookDisabled,
)
from review.models import Destination, ReviewTask, WebhookEndpoint
from review.services import delivery_dates, queue, reasons, stale_assets, webhook_messages


@subscribe(BrandCreated)
def add_default_reasons(event: BrandCreated) -> None:
    """Give a new brand reasons to reject an image; without one nothing can be rejected."""
    if founder := current_actor():
        reasons.add_defaults(brand=Brand.objects.get(pk=event.brand_id), by=founder)


@subscribe(VersionReady)
def open_review_task(event: VersionReady) -> None:
    """Open a review task when a round is complete. Sandbox images are not reviewed."""
    if not event.asset.is_sandbox:
        queue.open_task(asset=event.asset)


@subscribe(AssetsBecameStale)
def review_stale_images_again(event: AssetsBecameStale) -> None:
    stale_assets.return_to_first_stage(brand_id=event.brand_id, asset_ids=event.asset_ids)


@subscribe(InputsMovedInReview)
def void_approvals_of_earlier_stages(event: InputsMovedInReview) -> None:
    stale_assets.reset_approvals(brand_id=event.brand_id, asset_ids=event.asset_ids)


@subscribe(InputsReturned)
def restore_approvals_of_unchanged_images(event: InputsReturned) -> None:
    stale_assets.restore_approvals(asset_ids=event.asset_ids)


@subscribe(CampaignChanged)
def move_dates_of_deliveries(event: CampaignChanged) -> None:
    if event.payload["changes"].keys() & {"starts_on", "ends_on"}:
        delivery_dates.refresh(Brand.objects.get(pk=event.brand_id), campaign_id=event.object_id)


@subscribe(PhotoChanged)
def move_end_of_rights(event: PhotoChanged) -> None:
    if "rights_end_on" in event.payload["changes"]:
        delivery_dates.refresh(Brand.objects.get(pk=event.brand_id), subject_id=event.payload["subject"])


@subscribe(BrandTimeZoneSet)
def move_dates_to_another_zone(event: BrandTimeZoneSet) -> None:
    delivery_dates.refresh(Brand.objects.get(pk=event.brand_id))


@subscribe(TaskEscalated)
def notify_of_escalation(event: TaskEscalated) -> None:
    """Notify the campaign manager about an image that used up its rounds or that no engine can correct."""
    task = ReviewTask.objects.select_related("brand", "escalated_to", "asset__subject").get(pk=event.payload["task"])
    facts = {"key": task.asset.subject.key, "name": task.asset.subject.name, "cause": event.payload.get("cause", "")}
    if facts["cause"] == "retouch":
        sentence = _("%(key)s %(name)s needs a retouch. You decide how to go on.") % facts
    else:
        sentence = _("%(key)s %(name)s was sent back: %(cause)s. You decide how to go on.") % facts
    notices.notify(
        brand=task.brand,
        users=[user for user in (task.escalated_to,) if user != current_actor()],
        kind="image_escalated",
        sentence=sentence,
        href=reverse("asset", args=[task.brand.slug, task.asset_id]),
    )


@subscribe(DeliveryFailed)
def notify_of_failed_delivery(event: DeliveryFailed) -> None:
    """Notify the campaign's owner. There is one notice for all failures of a brand until it is read."""
    asset = Asset.objects.select_related("brand", "campaign__owner", "subject").get(pk=event.object_id)
    sentence = _("%(key)s could not be delivered to %(destination)s: %(message)s")
    notices.notify(
        brand=asset.brand,
        users=[asset.campaign.owner],
        kind="delivery_failed",
        sentence=sentence % {"key": asset.subject.key, **event.payload},
        href=reverse("deliveries", args=[asset.brand.slug]) + "?state=failed",
        is_repetitive=True,
    )


@subscribe(DestinationDisabled)
def notify_of_disabled_destination(event: DestinationDisabled) -> None:
    """Notify leads, admins and integrators: nothing is sent there until a lead switches the destination on."""
    destination = Destination.objects.select_related("brand").get(pk=event.object_id)
    people = notices.list_people_with_roles(destination.brand, Role.LEAD, Role.ADMIN, Role.INTEGRATOR)
    facts = {"name": destination.name, "reason": event.payload.get("reason", "")}
    notices.notify(
        brand=destination.brand,
        users=[user for user in people if user != current_actor()],
        kind="destination_off",
        sentence=_("%(name)s was switched off: %(reason)s") % facts,
        href=reverse("deliveries", args=[destination.brand.slug]),
    )


@subscribe(WebhookDisabled)
def notify_of_disabled_webhook(event: WebhookDisabled) -> None:
    """Notify leads, admins and integrators: nothing is sent there until a lead switches the webhook on."""
    endpoint = WebhookEndpoint.objects.select_related("brand").get(pk=event.object_id)
    notices.notify(
        brand=endpoint.brand,
        users=list(notices.list_people_with_roles(endpoint.brand, Role.LEAD, Role.ADMIN, Role.INTEGRATOR)),
        kind="webhook_off",
        sentence=_("The webhook %(name)s was switched off: %(reason)s") % event.payload,
        href=reverse("webhook", args=[endpoint.brand.slug, endpoint.pk]),
    )


@subscribe(AssetReleased)
@subscribe(AssetRecalled)
@subscribe(RunFinished)
@subscribe(RunPaused)
@subscribe(RunReleaseRefused)
@subscribe(FeedImported)
@subscribe(FeedRefused)
@subscribe(DeliveryFailed)
def record_webhook_messages(event: DomainEvent) -> None:
    webhook_messages.record(event)
