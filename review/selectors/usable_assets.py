"""Find the images that integrators may use now: approved, with the approval in effect. The pull API lists them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.utils.translation import gettext as _

from campaigns.models import OutputSpec, Variant
from core import access
from core.access import Action
from core.errors import Gone, NotFound
from core.models import Brand, Event, User
from core.selectors.rows import first_or_refuse
from generation.models import Asset, Rendition
from review.events import AssetReleased
from review.models import Decision, Delivery
from review.selectors import staleness

#: What `find` reads with the assets unless it is told otherwise.
RELATED = ("subject", "campaign", "current_version__master", "current_version__job__endpoint")
MAX_KNOWN_SPECS = 50


def find(
    *,
    user: User,
    brand: Brand,
    sku: str = "",
    campaign_id: int | None = None,
    specs: Collection[str] = (),
    related: Sequence[str] = RELATED,
    has_files: bool = True,
) -> QuerySet[Any]:
    """Return approved images whose approval is in effect, and stale ones that stay published until the next decision.

    Newest first. specs: only images with a file of these output specs, and only these files. Each asset has
    `approved_at` and `last_alt_text`, and `files_of` returns its files. has_files: False if nobody asks for files.
    """
    access.require(user, Action.PULL, brand)
    assets = released(Asset.objects.visible_to(user)).filter(brand=brand)
    if sku:
        # A shop's SKU may be that of a variant: it uses the images of the product.
        variant = Variant.objects.filter(subject=OuterRef("subject"), key=sku)
        assets = assets.filter(Q(subject__key=sku) | Exists(variant))
    if campaign_id is not None:
        assets = assets.filter(campaign=campaign_id)
    if specs:
        having = Rendition.objects.filter(version=OuterRef("current_version"), output_spec__slug__in=specs)
        assets = assets.filter(Exists(having))
    return _with_details(assets, specs, related, has_files).order_by("-pk")


def get(
    *, user: User, asset_id: int, specs: Collection[str] = (), related: Sequence[str] = RELATED, has_files: bool = True
) -> Any:
    """Return one asset as `find` does. Raises NotFound if it was never released, Gone if it may no longer be used."""
    rows = Asset.objects.visible_to(user).filter(pk=asset_id, is_sandbox=False).select_related("brand")
    asset = first_or_refuse(rows, _("There is no asset %(id)d.") % {"id": asset_id})
    access.require(user, Action.PULL, asset.brand)
    usable_rows = released(Asset.objects.visible_to(user)).filter(pk=asset_id)
    usable = _with_details(usable_rows, specs, related, has_files).first()
    if usable is None and _was_released(asset):
        raise Gone(_("The image %(id)d was recalled. Remove your copies of its files.") % {"id": asset_id})
    if usable is None:
        raise NotFound(_("The image %(id)d is not approved.") % {"id": asset_id})
    return usable


def files_of(asset: Any) -> list[Rendition]:
    """Return the files that the approval in effect is pinned to; `asset` is from `find` or `get`."""
    files: list[Rendition] = asset.current_version.usable_renditions
    return [file for file in files if is_pinned(asset.pinned, file.output_spec.slug, file.sha256)]


def is_pinned(pinned: Mapping[str, Any] | None, spec: str, sha256: str) -> bool:
    """Return True if the approval with these pins is about this file of an output spec."""
    return bool((pinned or {}).get("renditions", {}).get(spec) == sha256)


def find_specs(brand_id: int, slugs: Collection[str]) -> tuple[set[str], list[str]]:
    """Return those of the slugs that are output specs of the brand's campaigns; if some are not, also the known ones.

    At most MAX_KNOWN_SPECS are returned, in the order of the alphabet.
    """
    specs = OutputSpec.objects.filter(campaign__brand=brand_id).order_by("slug")
    found = set(specs.filter(slug__in=slugs).values_list("slug", flat=True))
    if found == set(slugs):
        return found, []
    return found, list(specs.values_list("slug", flat=True).distinct()[:MAX_KNOWN_SPECS])


def released(assets: QuerySet[Any]) -> QuerySet[Any]:
    """Return those of the assets that may be used now, with `pinned` and `approved_at` of the approval in effect.

    It is looked up for each row and not by Exists, which PostgreSQL would turn into a join of all approvals. So a page
    costs the same whatever the number of images.
    """
    in_effect = Decision.objects.valid_approvals().filter(
        task__asset=OuterRef("pk"), version=OuterRef("current_version"), consequences_at__isnull=False
    )
    newest = in_effect.order_by("-pk")
    assets = assets.filter(staleness.PUBLISHED_ASSETS, is_sandbox=False).annotate(
        pinned=Subquery(newest.values("pinned")[:1]), approved_at=Subquery(newest.values("decided_at")[:1])
    )
    return assets.filter(approved_at__isnull=False)


def with_alt_texts(assets: QuerySet[Any]) -> QuerySet[Any]:
    """Add `last_alt_text`: the one that people wrote last at any destination, None if nobody did."""
    written = Delivery.objects.filter(asset=OuterRef("pk")).exclude(alt_text="").order_by("-changed_at")
    return assets.annotate(last_alt_text=Subquery(written.values("alt_text")[:1]))


def _with_details(
    assets: QuerySet[Any], specs: Collection[str], related: Sequence[str], has_files: bool
) -> QuerySet[Any]:
    assets = with_alt_texts(assets).select_related(*related)
    if not has_files:
        return assets
    files = Rendition.objects.select_related("output_spec", "marked_file").order_by("output_spec_id", "-recipe_version")
    if specs:
        files = files.filter(output_spec__slug__in=specs)
    prefetched = Prefetch("current_version__renditions", files, to_attr="usable_renditions")
    return assets.select_related("current_version").prefetch_related(prefetched)


def _was_released(asset: Asset) -> bool:
    happened = Event.objects.filter(object_type=AssetReleased.object_type, object_id=asset.pk)
    return happened.filter(type=AssetReleased.type).exists()
