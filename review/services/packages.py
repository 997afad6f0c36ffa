"""Build the package of one delivery: the files that the approval is pinned to, named by their output specs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from campaigns.models import Subject
from core import stored_files
from generation.finishing import names
from generation.models import Asset, AssetVersion, Rendition
from review.choices import DesiredState
from review.delivery.base import DeliveryError, DeliveryFile, Need, Package
from review.delivery.rules import Rules
from review.models import Decision, Delivery, Destination
from review.selectors import changes, delivery_rules, staleness
from review.selectors.lineage import lineage, load_versions
from review.services.marked_files import Marker, MarkOptions


@dataclass(frozen=True)
class ApprovedAsset:
    """An approved asset that may be delivered: its version, the decision that pins it, and the pinned files.

    renditions: that of each file, by output spec. storage_keys: where each file is stored, by output spec. The files
    are as approved, or as `with_marks` returns them.
    """

    asset: Asset
    version: AssetVersion
    approval: Decision
    files: tuple[DeliveryFile, ...]
    renditions: Mapping[str, Rendition]
    storage_keys: Mapping[str, str]


def load_approved_assets(version_ids: Iterable[int]) -> dict[int, ApprovedAsset | DeliveryError]:
    """Return each version with its pinned files, by version id, in six queries.

    A DeliveryError takes the place of a version that is not approved or of which a file is missing.
    """
    versions = load_versions(version_ids)
    approvals = staleness.valid_approvals(versions)
    return {pk: _approved_asset(version, approvals.get(pk)) for pk, version in versions.items()}


def _approved_asset(version: AssetVersion, approval: Decision | None) -> ApprovedAsset | DeliveryError:
    if approval is None:
        return DeliveryError("This version has no valid approval; nothing is delivered.", is_final=True)
    try:
        renditions = _pinned_renditions(version, approval)
        files = tuple(_file(version, rendition, approval) for rendition in renditions)
    except DeliveryError as error:
        return error
    by_spec = {rendition.output_spec.slug: rendition for rendition in renditions}
    keys = {slug: rendition.storage_key for slug, rendition in by_spec.items()}
    return ApprovedAsset(version.asset, version, approval, files, by_spec, keys)


def load_approved_asset(version_id: int) -> ApprovedAsset:
    """Return the version with its pinned files. Raises DeliveryError if it is not approved or a file is missing."""
    approved = load_approved_assets([version_id])[version_id]
    if isinstance(approved, DeliveryError):
        raise approved
    return approved


def with_marks(approved: ApprovedAsset, marker: Marker, specs: Collection[str] = ()) -> ApprovedAsset:
    """Return the asset with the files that leave Proofline: marked ones, of these output specs if some are given.

    Raises DeliveryError if a file cannot be marked.
    """
    files = [file for file in approved.files if not specs or file.spec in specs]
    rows = {file.spec: marker.mark(approved.version, approved.renditions[file.spec]) for file in files}
    marked = [
        replace(file, sha256=row.sha256, bytes=row.bytes, read=partial(stored_files.read, row.storage_key))
        for file, row in zip(files, rows.values(), strict=True)
    ]
    keys = {spec: row.storage_key for spec, row in rows.items()}
    return replace(approved, files=tuple(marked), storage_keys=keys)


def build_package(delivery: Delivery) -> Package:
    """Return the package of one delivery. A removal needs only the delivered files and no approval."""
    asset = delivery.asset
    common: dict[str, Any] = {
        "event_id": f"msg_{delivery.pk}_{delivery.wish}",
        "asset_id": asset.pk,
        "sku": asset.subject.key,
        "brand": asset.brand.slug,
        "campaign": asset.campaign.slug,
        "previous": delivery.files,
        "title": asset.subject.name,
        "alt_text": delivery.alt_text or default_alt_text(asset),
        "subject": _describe_subject(asset.subject),
    }
    if delivery.desired == DesiredState.ABSENT:
        return Package(files=(), lineage={}, **common)
    approved = load_approved_asset(delivery.version_id)
    files = _files_for(delivery.destination, approved)
    options = MarkOptions(delivery.destination.tells_prompt, delivery.destination.tells_prompt_writer)
    marker = Marker(approved.renditions.values(), options)
    marked = with_marks(replace(approved, files=files), marker)
    return Package(files=marked.files, lineage=lineage(approved.version, approved.approval), **common)


def _files_for(destination: Destination, approved: ApprovedAsset) -> tuple[DeliveryFile, ...]:
    """Return the files that the destination's rules send. Raises DeliveryError if they send none."""
    if not destination.rules:
        return approved.files
    rules, facts = Rules.read(destination.rules), delivery_rules.facts_of(approved.version)
    files = tuple(file for file in approved.files if rules.sends_file(facts, file.spec))
    if not files and not rules.sends(facts, [file.spec for file in approved.files]):
        message = f"The rules of {destination.name} do not send this image. Recall it, or change the rules."
        raise DeliveryError(message, is_final=True, needs=Need.RULES)
    return files


def default_alt_text(asset: Asset) -> str:
    """Return the alt text of an image to which nobody gave another."""
    return asset.subject.name[:512]


def _describe_subject(subject: Subject) -> dict[str, Any]:
    """Return what a destination finds the product or article by: its key, kind and name, and the values of its feed."""
    return {**subject.attributes, "key": subject.key, "kind": subject.kind, "name": subject.name}


def _pinned_renditions(version: AssetVersion, approval: Decision) -> list[Rendition]:
    pinned = approval.pinned.get("renditions", {})
    by_hash = {(rendition.output_spec.slug, rendition.sha256): rendition for rendition in version.renditions.all()}
    missing = [slug for slug, sha256 in pinned.items() if (slug, sha256) not in by_hash]
    if missing:
        raise DeliveryError(f"The approved file for {', '.join(missing)} is no longer there.", is_final=True)
    return [by_hash[pin] for pin in pinned.items()]


def _file(version: AssetVersion, rendition: Rendition, approval: Decision) -> DeliveryFile:
    return DeliveryFile(
        spec=rendition.output_spec.slug,
        name=file_name(version, rendition, approval),
        media_type=stored_files.MEDIA_TYPES[rendition.image_format],
        sha256=rendition.sha256,
        width=rendition.width,
        height=rendition.height,
        bytes=rendition.bytes,
        read=partial(stored_files.read, rendition.storage_key),
        url=changes.stable_url(rendition.pk),
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
