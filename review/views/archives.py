"""The page on which approved images are chosen for a download, and the download as a ZIP or a BagIt bag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from campaigns.models import Campaign
from campaigns.selectors import campaigns
from core import zip_stream
from core.access import Action
from core.errors import Invalid, NotFound
from core.pages import BrandRequest, brand_page
from generation.models import Asset
from review.choices import ArchiveLayout
from review.selectors import archive_contents, library
from review.selectors.archive_contents import SpecSize
from review.services import approved_archive
from review.views.library import parse_filters

FILTER_NAMES = ("q", "state", "campaign", "run", "problem", "live")


@require_safe
@brand_page(Action.PULL)
def choose(request: BrandRequest) -> HttpResponseBase:
    """Show the output specs with count and size, and the layouts. htmx requests the total of what is chosen."""
    filters = parse_filters(request)
    sizes = archive_contents.list_spec_sizes(_assets(request))
    chosen = _chosen_specs(request, sizes)
    context: dict[str, Any] = {
        "sizes": sizes,
        "chosen": chosen,
        "files": sum(size.files for size in sizes if size.slug in chosen),
        "bytes": sum(size.bytes for size in sizes if size.slug in chosen),
    }
    if request.headers.get("HX-Request"):
        return render(request, "review/download_total.html", context)
    kept = [(name, value) for name in FILTER_NAMES for value in request.GET.getlist(name)]
    context |= {"kept": kept, "campaign": _campaign(request), "run_id": filters.run_id, "layout": _layout(request)}
    context |= {"is_filtered": bool(filters.text or filters.problem or filters.live)}
    return render(request, "review/download.html", context)


@require_safe
@brand_page(Action.PULL)
def download(request: BrandRequest) -> HttpResponseBase:
    """Stream the files of the chosen output specs; those of all without the form, as for a link."""
    specs, campaign = request.GET.getlist("spec"), _campaign(request)
    if _is_choice(request) and not specs:
        raise Invalid(_("Choose at least one output."))
    archive = approved_archive.start(
        user=request.user,
        brand=request.brand,
        assets=_assets(request),
        specs=specs,
        layout=_layout(request),
        stem=campaign.slug if campaign else "",
    )
    return zip_stream.response(archive.file_name, archive.chunks)


def _assets(request: BrandRequest) -> QuerySet[Asset]:
    return library.matching_assets(user=request.user, brand=request.brand, filters=parse_filters(request))


def _campaign(request: BrandRequest) -> Campaign | None:
    """Return the campaign of the filters, if there is one. Raises NotFound for one of another brand."""
    campaign_id = parse_filters(request).campaign_id
    if campaign_id is None:
        return None
    campaign = campaigns.get(request.user, campaign_id)
    if campaign.brand_id != request.brand.pk:
        raise NotFound(_("There is no campaign %(id)d in this brand.") % {"id": campaign_id})
    return campaign


def _layout(request: BrandRequest) -> str:
    layout = request.GET.get("as", ArchiveLayout.ZIP)
    return layout if layout in ArchiveLayout.values else ArchiveLayout.ZIP


def _is_choice(request: BrandRequest) -> bool:
    """Return whether the form was sent; without it all outputs are meant."""
    return "chosen" in request.GET


def _chosen_specs(request: BrandRequest, sizes: Sequence[SpecSize]) -> list[str]:
    return request.GET.getlist("spec") if _is_choice(request) else [size.slug for size in sizes]
