"""The pull API: changes in sealed order, the assets that may be used now, and stable URLs, which redirect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet
from django.utils.translation import gettext as _

from campaigns.models import Variant
from core import access, stored_files
from core.access import Action
from core.errors import NotFound
from core.models import Brand, SealedEvent, User
from core.selectors.rows import first_or_refuse
from generation.choices import AssetState
from generation.models import Asset, Rendition
from generation.selectors import inputs
from review.models import Decision
from review.selectors import staleness

EXPIRES_SECONDS = 600


def stable_url(rendition_id: int) -> str:
    """Return the URL that integrators may keep. It redirects users who may pull to the file."""
    return f"{settings.SITE_URL.rstrip('/')}/api/v1/files/{rendition_id}/"


def expiring_url(*, user: User, rendition_id: int) -> str:
    """Return a URL of the file that works for ten minutes without a token.

    Raises NotFound outside the user's brands and for a file that no approval in effect is pinned to (never approved,
    revoked, replaced). Raises NotAllowed for viewers.
    """
    rows = Rendition.objects.visible_to(user).select_related("version__asset__brand")
    rows = rows.filter(pk=rendition_id)
    rendition = first_or_refuse(rows, _("There is no file %(number)s.") % {"number": rendition_id})
    access.require(user, Action.PULL, rendition.version.asset.brand)
    _ensure_released(rendition)
    return stored_files.open_url(rendition.storage_key, seconds=EXPIRES_SECONDS)


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


def changes(*, user: User, brand: Brand, since: int = 0, limit: int = 100) -> tuple[list[dict[str, Any]], int]:
    """Return the entries after the number `since` in sealed order, and the `since` of the next call.

    The numbers are those of the audit trail: without gaps and never reused, so no entry is skipped or returned twice.
    kind: approved, replaced, stale or recalled. cursor: pass it as `since`. files: those of the approved version; empty
    for stale and recalled. because: the causes of a stale image, as sentences. A stale image may be used until the next
    decision, unless a recall follows.
    """
    access.require(user, Action.PULL, brand)
    newest = SealedEvent.objects.filter(brand=brand).order_by("-seq").values_list("seq", flat=True).first() or 0
    rows = SealedEvent.objects.filter(REPORTED_EVENTS, brand=brand, seq__gt=since, seq__lte=newest)
    seals = list(rows.select_related("event").order_by("seq")[:limit])
    assets = Asset.objects.select_related("subject").in_bulk({seal.event.object_id for seal in seals})
    renditions = _renditions(seals)
    entries = [_change(seal, assets, renditions) for seal in seals]
    # A page that is not full covers everything up to `newest`. Events sealed meanwhile have higher numbers.
    return entries, seals[-1].seq if len(seals) == limit else max(newest, since)


def _renditions(seals: Sequence[SealedEvent]) -> dict[tuple[int, str, str], int]:
    """Return (version, spec, sha256) -> rendition id, for the entries with files."""
    versions = [seal.event.payload.get("version") for seal in seals if seal.event.type == "review.asset.released"]
    rows = Rendition.objects.filter(version_id__in=versions)
    columns = rows.values_list("version_id", "output_spec__slug", "sha256", "pk")
    return {(version, spec, sha256): pk for version, spec, sha256, pk in columns}


def _change(seal: SealedEvent, assets: dict[int, Asset], renditions: dict[tuple[int, str, str], int]) -> dict[str, Any]:
    event, payload = seal.event, seal.event.payload
    asset, kind = assets[event.object_id], ENTRY_KINDS[event.type]
    files: list[dict[str, Any]] = []
    if kind == "approved":
        kind = "replaced" if payload.get("replaces") else "approved"
        for spec, sha256 in payload.get("renditions", {}).items():
            if pk := renditions.get((payload["version"], spec, sha256)):
                files.append({"spec": spec, "sha256": sha256, "url": stable_url(pk)})
    return {
        "cursor": seal.seq,
        "kind": kind,
        "asset_id": asset.pk,
        "sku": asset.subject.key,
        "version_id": payload.get("version"),
        "at": event.at,
        "files": files,
        "because": inputs.sentences(payload.get("causes", ())) if kind == "stale" else [],
    }


def usable_assets(*, user: User, brand: Brand, sku: str = "", spec: str = "") -> QuerySet[Any]:
    """Return approved images whose approval is in effect, and stale ones that stay published until the next decision.

    `asset.current_version.usable_renditions` lists the renditions, of one output spec when `spec` names it.
    """
    access.require(user, Action.PULL, brand)
    in_effect = Decision.objects.valid_approvals().filter(
        task__asset=OuterRef("pk"), version=OuterRef("current_version"), consequences_at__isnull=False
    )
    renditions = Rendition.objects.select_related("output_spec").order_by("output_spec_id", "-recipe_version")
    if spec:
        renditions = renditions.filter(output_spec__slug=spec)
    assets = (
        Asset.objects.visible_to(user)
        .filter(staleness.PUBLISHED_ASSETS, Exists(in_effect), brand=brand)
        .select_related("subject", "campaign", "current_version__master", "current_version__job__endpoint")
        .prefetch_related(Prefetch("current_version__renditions", renditions, to_attr="usable_renditions"))
    )
    if sku:
        # A shop's SKU may be that of a variant: it uses the images of the product.
        variant = Variant.objects.filter(subject=OuterRef("subject"), key=sku)
        assets = assets.filter(Q(subject__key=sku) | Exists(variant))
    if spec:
        having = Rendition.objects.filter(version=OuterRef("current_version"), output_spec__slug=spec)
        assets = assets.filter(Exists(having))
    return assets.order_by("-pk")
