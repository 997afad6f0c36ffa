"""The `data` of webhook messages: what an integrator needs to know of an event, with ids and addresses of the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.urls import reverse

from campaigns.events import FeedImported, FeedRefused
from campaigns.models import FeedImport
from core.events import DomainEvent
from generation.choices import Stage
from generation.events import RunFinished, RunPaused, RunReleaseRefused
from generation.models import Asset, Run
from review.choices import WebhookEvent
from review.delivery.base import DeliveryError
from review.events import AssetRecalled, AssetReleased, DeliveryFailed
from review.models import Destination
from review.selectors.lineage import lineage
from review.services import packages

FILE_FIELDS = ("spec", "name", "url", "media_type", "width", "height")
"""Neither sha256 nor bytes: the marks of origin that change them are made after the transaction of the approval."""

Data = dict[str, Any]


def type_of(event: DomainEvent) -> WebhookEvent:
    """Return the type of the message about an event. A run that made no image at all has failed."""
    if isinstance(event, RunFinished) and event.payload["failed"] and not event.payload["succeeded"]:
        return WebhookEvent.RUN_FAILED
    return TYPES[type(event)]


def describe(event: DomainEvent) -> Data | None:
    """Return the data of the message about an event; None if nobody outside is told, as of a try-out."""
    return _DESCRIBE[type(event)](event)


def _describe_approval(event: DomainEvent) -> Data:
    data = _describe_asset(event) | {"version": event.payload["version"], "replaces": event.payload["replaces"]}
    try:
        approved = packages.load_approved_asset(event.payload["version"])
    except DeliveryError as error:
        return data | {"files": [], "lineage": {}, "problem": error.message}
    files = [{name: getattr(file, name) for name in FILE_FIELDS} for file in approved.files]
    return data | {"files": files, "lineage": lineage(approved.version, approved.approval)}


def _describe_recall(event: DomainEvent) -> Data:
    return _describe_asset(event) | {name: event.payload[name] for name in ("version", "cause")}


def _describe_delivery(event: DomainEvent) -> Data:
    payload = event.payload
    destination = Destination.objects.get(brand_id=event.brand_id, slug=payload["destination"])
    return _describe_asset(event) | {
        "delivery": payload["delivery"],
        "destination": {name: getattr(destination, name) for name in ("slug", "name", "kind")},
        "error": payload["message"],
        "attempts": payload["attempt"],
        "url": _api("delivery", payload["delivery"]),
    }


def _describe_asset(event: DomainEvent) -> Data:
    asset = Asset.objects.select_related("brand", "campaign", "subject").get(pk=event.object_id)
    return {
        "asset": asset.pk,
        "sku": asset.subject.key,
        "name": asset.subject.name,
        "brand": asset.brand.slug,
        "campaign": asset.campaign.slug,
        "url": _api("asset", asset.pk),
    }


def _describe_run(event: DomainEvent) -> Data | None:
    run = Run.objects.select_related("campaign__brand").get(pk=event.object_id)
    if run.stage == Stage.SANDBOX:
        return None
    names = ("succeeded", "failed", "cancelled", "reason", "by_itself", "held")
    data = {name: event.payload[name] for name in names if name in event.payload}
    if "message" in event.payload:
        data["reason"] = event.payload["message"]
    return data | {
        "run": run.pk,
        "name": run.name,
        "stage": run.stage,
        "brand": run.campaign.brand.slug,
        "campaign": run.campaign.slug,
        "url": _api("run", run.pk),
    }


def _describe_import(event: DomainEvent) -> Data:
    row = FeedImport.objects.select_related("brand", "source").get(pk=event.object_id)
    counts = {name: getattr(row, name) for name in ("rows", "created", "updated", "unchanged")}
    return counts | {
        "import": row.pk,
        "status": row.status,
        "file_name": row.file_name,
        "source": row.source.slug if row.source else None,
        "brand": row.brand.slug,
        "errors": row.error_count,
        "causes": dict(row.issue_counts),
        "url": _api("import", row.pk),
        "issues_url": _api("import", row.pk, page="issues"),
    }


def _api(resource: str, pk: int, *, page: str = "detail") -> str:
    return str(settings.SITE_URL.rstrip("/") + reverse(f"api:{resource}-{page}", args=[pk]))


TYPES: Mapping[type[DomainEvent], WebhookEvent] = {
    AssetReleased: WebhookEvent.ASSET_APPROVED,
    AssetRecalled: WebhookEvent.ASSET_RECALLED,
    RunFinished: WebhookEvent.RUN_FINISHED,
    RunPaused: WebhookEvent.RUN_PAUSED,
    RunReleaseRefused: WebhookEvent.RUN_FAILED,
    FeedImported: WebhookEvent.IMPORT_FINISHED,
    FeedRefused: WebhookEvent.IMPORT_FINISHED,
    DeliveryFailed: WebhookEvent.DELIVERY_FAILED,
}
_DESCRIBE: Mapping[type[DomainEvent], Callable[[DomainEvent], Data | None]] = {
    AssetReleased: _describe_approval,
    AssetRecalled: _describe_recall,
    RunFinished: _describe_run,
    RunPaused: _describe_run,
    RunReleaseRefused: _describe_run,
    FeedImported: _describe_import,
    FeedRefused: _describe_import,
    DeliveryFailed: _describe_delivery,
}
