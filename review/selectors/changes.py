"""The pull API: changes in sealed order, and files at stable URLs. What may be used now is in usable_assets.py."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils.translation import gettext as _

from core import access, stored_files
from core.access import Action
from core.errors import NotFound
from core.models import Brand, SealedEvent, User
from core.selectors.rows import first_or_refuse
from generation.choices import AssetState
from generation.models import Asset, AssetVersion, MarkedFile, Rendition
from generation.selectors import images, inputs
from review.models import Decision
from review.selectors import lineage

EXPIRES_SECONDS = 600


def stable_url(rendition_id: int) -> str:
    """Return the URL that integrators may keep. It redirects users who may pull to the file."""
    return f"{settings.SITE_URL.rstrip('/')}/api/v1/files/{rendition_id}/"


def get_file(*, user: User, rendition_id: int) -> Rendition:
    """Return a file with all that its lineage needs. Raises NotFound outside the user's brands."""
    related = ("output_spec", "marked_file", *(f"version__{path}" for path in lineage.RELATED))
    rows = Rendition.objects.visible_to(user).filter(pk=rendition_id).select_related(*related)
    return first_or_refuse(rows, _("There is no file %(number)s.") % {"number": rendition_id})


def get_released_file(*, user: User, rendition_id: int) -> Rendition:
    """Return a file that may be pulled.

    Raises NotFound outside the user's brands and for a file that no approval in effect is pinned to (never approved,
    revoked, replaced). Raises NotAllowed for viewers.
    """
    rendition = get_file(user=user, rendition_id=rendition_id)
    access.require(user, Action.PULL, rendition.version.asset.brand)
    _ensure_released(rendition)
    return rendition


def expiring_url(file: MarkedFile) -> str:
    """Return a URL of the file that works for ten minutes without a token."""
    return stored_files.open_url(file.storage_key, seconds=EXPIRES_SECONDS)


def _ensure_released(rendition: Rendition) -> None:
    asset = rendition.version.asset
    approvals = Decision.objects.valid_approvals().filter(task__asset=asset, version=rendition.version_id)
    approval = approvals.filter(consequences_at__isnull=False).order_by("-id").first()
    is_approved = asset.state in {AssetState.APPROVED, AssetState.STALE}
    is_current = is_approved and asset.current_version_id == rendition.version_id
    if not is_current or approval is None or rendition.sha256 not in approval.pinned.get("renditions", {}).values():
        sentence = _("File %(number)s is not released: its image is not approved, or no longer.")
        raise NotFound(sentence % {"number": rendition.pk})


#: Event types that integrations receive, and the kind of their entry.
ENTRY_KINDS = {
    "review.asset.released": "approved",
    "review.asset.recalled": "recalled",
    "generation.asset.moved": "stale",
}
REPORTED_EVENTS = Q(event__type__in=["review.asset.released", "review.asset.recalled"]) | Q(
    event__type="generation.asset.moved", event__payload__to=AssetState.STALE
)


def changes(
    *,
    user: User,
    brand: Brand,
    since: int = 0,
    limit: int = 100,
    specs: Collection[str] = (),
    has_products: bool = True,
    has_files: bool = True,
    has_disclaimers: bool = True,
) -> tuple[list[dict[str, Any]], int]:
    """Return the entries after the number `since` in sealed order, and the `since` of the next call.

    The numbers are those of the audit trail: without gaps and never reused, so no entry is skipped or returned twice.
    kind: approved, replaced, stale or recalled. cursor: pass it as `since`. files: those of the approved version; empty
    for stale and recalled. because: the causes of a stale image, as sentences. A stale image may be used until the next
    decision, unless a recall follows. specs: only the files of these output specs. disclaimer: the
    words that must stand beside the image. has_products, has_files, has_disclaimers: False saves the query for `sku`,
    `files` or `disclaimer`, which are then empty.
    """
    access.require(user, Action.PULL, brand)
    newest = SealedEvent.objects.filter(brand=brand).order_by("-seq").values_list("seq", flat=True).first() or 0
    rows = SealedEvent.objects.filter(REPORTED_EVENTS, brand=brand, seq__gt=since, seq__lte=newest)
    seals = list(rows.select_related("event").order_by("seq")[:limit])
    keys = _product_keys(seals) if has_products else {}
    files = _find_files(seals, specs) if has_files else {}
    disclaimers = _find_disclaimers(seals) if has_disclaimers else {}
    entries = [_change(seal, keys, files) | {"disclaimer": _disclaimer(seal, disclaimers)} for seal in seals]
    # A page that is not full covers everything up to `newest`. Events sealed meanwhile have higher numbers.
    return entries, seals[-1].seq if len(seals) == limit else max(newest, since)


def _product_keys(seals: Sequence[SealedEvent]) -> dict[int, str]:
    assets = Asset.objects.filter(pk__in={seal.event.object_id for seal in seals})
    return dict(assets.order_by().values_list("pk", "subject__key"))


def _find_disclaimers(seals: Sequence[SealedEvent]) -> dict[int, str]:
    """Return the disclaimer of each version that the entries name, by its id."""
    versions = AssetVersion.objects.filter(pk__in=[seal.event.payload.get("version") for seal in seals])
    return dict(versions.order_by().values_list("pk", images.DISCLAIMER_OF_VERSION))


def _disclaimer(seal: SealedEvent, disclaimers: Mapping[int, str]) -> str:
    return disclaimers.get(seal.event.payload.get("version") or 0) or ""


def _find_files(seals: Sequence[SealedEvent], specs: Collection[str]) -> dict[tuple[int, str, str], Rendition]:
    """Return (version, spec, sha256) -> file, for the entries with files."""
    versions = [seal.event.payload.get("version") for seal in seals if seal.event.type == "review.asset.released"]
    rows = Rendition.objects.filter(version_id__in=versions).select_related("output_spec", "marked_file")
    if specs:
        rows = rows.filter(output_spec__slug__in=specs)
    return {(row.version_id, row.output_spec.slug, row.sha256): row for row in rows}


def _change(seal: SealedEvent, keys: dict[int, str], files: dict[tuple[int, str, str], Rendition]) -> dict[str, Any]:
    event, payload = seal.event, seal.event.payload
    kind = ENTRY_KINDS[event.type]
    pinned: dict[str, str] = {}
    if kind == "approved":
        kind = "replaced" if payload.get("replaces") else "approved"
        pinned = payload.get("renditions", {})
    found = [files.get((payload["version"], spec, sha256)) for spec, sha256 in pinned.items()]
    return {
        "cursor": seal.seq,
        "kind": kind,
        "asset_id": event.object_id,
        "sku": keys.get(event.object_id, ""),
        "version_id": payload.get("version"),
        "at": event.at,
        "files": [file for file in found if file],
        "because": inputs.sentences(payload.get("causes", ())) if kind == "stale" else [],
    }
