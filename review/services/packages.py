"""Build the package of one delivery: the files that the approval is pinned to, named by their output specs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from core import stored_files
from generation.finishing import names
from generation.models import Asset, AssetVersion, Rendition
from review.delivery.base import DeliveryError, DeliveryFile, Package
from review.models import Decision, Delivery
from review.selectors import file_links, staleness
from review.selectors.lineage import lineage

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True)
class ApprovedAsset:
    """An approved asset that may be delivered: its version, the decision that pins it, and the pinned files."""

    asset: Asset
    version: AssetVersion
    approval: Decision
    files: tuple[DeliveryFile, ...]


def load_approved_asset(version_id: int) -> ApprovedAsset:
    """Return the version with its pinned files. Raises DeliveryError if it is not approved or a file is missing."""
    rows = AssetVersion.objects.select_related("asset__brand", "asset__campaign", "asset__subject", "master", "made_by")
    rows = rows.select_related("asset__cell__run__prompt_version__template", "job__endpoint")
    version = rows.prefetch_related("findings").get(pk=version_id)
    approval = staleness.valid_approval(version.asset_id, version.pk)
    if approval is None:
        raise DeliveryError("This version has no valid approval; nothing is delivered.", is_final=True)
    return ApprovedAsset(version.asset, version, approval, tuple(_files(version, approval)))


def build_package(delivery: Delivery) -> Package:
    """Return the package of one delivery. A removal needs only the delivered files and no approval."""
    asset = delivery.asset
    common: dict[str, Any] = {
        "event_id": f"msg_{delivery.pk}_{delivery.wish}",
        "asset_id": asset.pk,
        "sku": asset.subject.key,
        "brand": asset.brand.slug,
        "campaign": asset.campaign.slug,
        "previous_names": [entry["name"] for entry in delivery.files],
    }
    if delivery.desired == "absent":
        return Package(files=(), lineage={}, **common)
    approved = load_approved_asset(delivery.version_id)
    return Package(files=approved.files, lineage=lineage(approved.version, approved.approval), **common)


def _files(version: AssetVersion, approval: Decision) -> list[DeliveryFile]:
    pinned = approval.pinned.get("renditions", {})
    rows = Rendition.objects.filter(version=version).select_related("output_spec")
    by_hash = {(rendition.output_spec.slug, rendition.sha256): rendition for rendition in rows}
    missing = [slug for slug, sha256 in pinned.items() if (slug, sha256) not in by_hash]
    if missing:
        raise DeliveryError(f"The approved file for {', '.join(missing)} is no longer there.", is_final=True)
    return [_file(version, by_hash[pin], approval) for pin in pinned.items()]


def _file(version: AssetVersion, rendition: Rendition, approval: Decision) -> DeliveryFile:
    return DeliveryFile(
        spec=rendition.output_spec.slug,
        name=file_name(version, rendition, approval),
        media_type=MEDIA_TYPES[rendition.image_format],
        sha256=rendition.sha256,
        width=rendition.width,
        height=rendition.height,
        bytes=rendition.bytes,
        read=partial(stored_files.read, rendition.storage_key),
        url=file_links.stable_url(rendition.pk),
    )


def file_name(version: AssetVersion, rendition: Rendition, approval: Decision) -> str:
    """Return the rendition's name by its output spec's pattern. Raises DeliveryError if a value is missing."""
    asset, spec = version.asset, rendition.output_spec
    values = {
        "brand": asset.brand.slug,
        "campaign": asset.campaign.slug,
        "sku": asset.subject.key,
        "asset_type": spec.asset_type,
        "spec": spec.slug,
        "variation": "-".join(str(value) for value in asset.cell.axis_values.values()),
        "date": f"{asset.brand.local_date(approval.decided_at):%Y%m%d}",
        "status": "approved",
    }
    try:
        return names.name_for(spec.name_pattern, values, image_format=rendition.image_format)
    except ValueError as error:
        raise DeliveryError(str(error), is_final=True) from None
