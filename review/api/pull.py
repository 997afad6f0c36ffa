"""API views of integrators who pull: images that may be used now, changes of them, files, and a campaign's ZIP.

Every answer has an ETag, so that reading again what has not changed costs a 304.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.utils.cache import get_conditional_response
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from campaigns.selectors import campaigns as campaign_rows
from core import access, zip_stream
from core.access import Action
from core.api.conventions import get_brand, get_caller, read_whole_number, response_with_etag
from core.api.field_selection import FIELDS_PARAMETER, read_names, refuse_unknown, select_fields
from core.api.views import BRAND
from core.pages import parse_row_id
from generation.api.serializers import AssetSerializer
from generation.choices import AssetState
from generation.models import Asset
from review.api import pull_serializers as serializers
from review.choices import ArchiveLayout
from review.selectors import archive_contents, changes, usable_assets
from review.services import approved_archive, marked_files

LIMIT = OpenApiParameter("limit", int, description="The maximum number of changes, up to 1000.")
SINCE = OpenApiParameter("since", int, description="The `next` of the previous response; 0 for all changes.")
CAMPAIGN = OpenApiParameter("campaign", str, description="Only the images of this campaign: its slug.")
SKU = OpenApiParameter("sku", str, description="Only the images of this product or variant.")
RENDITIONS = OpenApiParameter(
    "renditions", str, description="Only the files of these output specs, separated by commas: “web,square”."
)


def read_renditions(request: Request, brand_id: int) -> list[str]:
    """Return the slugs of `?renditions=`. Raises Invalid for those that no campaign of the brand has."""
    slugs = read_names(request, "renditions")
    if not slugs:
        return []
    found, known = usable_assets.find_specs(brand_id, slugs)
    if unknown := [slug for slug in slugs if slug not in found]:
        raise refuse_unknown("renditions", unknown, known)
    return slugs


def _details(names: set[str]) -> dict[str, Any]:
    """Return what `usable_assets` reads so that these fields can be shown."""
    return {"related": serializers.related_rows(names), "has_files": "files" in names}


def _shown(serializer: BaseSerializer[Any], rows: Any) -> Any:
    serializer.instance = rows
    return serializer.data


class ApprovedAssetViewSet(GenericViewSet[Asset]):
    """The images that may be used now: approved, with the 30 seconds to undo over, and not recalled since."""

    serializer_class = serializers.UsableAssetSerializer
    queryset = Asset.objects.none()
    filter_backends = []

    @extend_schema(parameters=[BRAND, CAMPAIGN, SKU, RENDITIONS, FIELDS_PARAMETER])
    def list(self, request: Request) -> Response:
        """List them, newest first; with `renditions` only those that have one of these files."""
        brand, user = get_brand(request), get_caller(request)
        serializer = serializers.UsableAssetSerializer(many=True)
        names = select_fields(serializer, request)
        slug = request.query_params.get("campaign", "")
        campaign = campaign_rows.get_by_slug(user, brand.slug, slug) if slug else None
        rows = usable_assets.find(
            user=user,
            brand=brand,
            sku=request.query_params.get("sku", ""),
            campaign_id=campaign.pk if campaign else None,
            specs=read_renditions(request, brand.pk),
            **_details(names),
        )
        page = self.get_paginated_response(_shown(serializer, self.paginate_queryset(rows)))
        return response_with_etag(page.data)

    @extend_schema(
        parameters=[RENDITIONS, FIELDS_PARAMETER],
        responses={200: serializers.UsableAssetSerializer, 410: OpenApiTypes.OBJECT},
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """Return one image. 410: it could be used once, and was recalled; remove your copies of its files."""
        serializer = serializers.UsableAssetSerializer()
        names = select_fields(serializer, request)
        specs = read_names(request, "renditions")
        chosen: dict[str, Any] = {"asset_id": parse_row_id(pk) or 0, "specs": specs}
        asset = usable_assets.get(user=get_caller(request), **chosen, **_details(names))
        if specs:
            read_renditions(request, asset.brand_id)
        return response_with_etag(_shown(serializer, asset))


class ChangesView(APIView):
    """Changes of usable images, in the order of the sealed audit trail. No change is skipped or returned twice."""

    @extend_schema(
        parameters=[BRAND, SINCE, LIMIT, RENDITIONS, FIELDS_PARAMETER],
        responses={200: serializers.ChangesSerializer},
    )
    def get(self, request: Request) -> Response:
        """Return the changes after `since`. `recalled`: remove your copies of the files."""
        brand = get_brand(request)
        serializer = serializers.ChangeSerializer(many=True)
        names = select_fields(serializer, request)
        entries, following = changes.changes(
            user=get_caller(request),
            brand=brand,
            since=read_whole_number(request, "since", 0, most=10**18),
            limit=max(1, read_whole_number(request, "limit", 100, most=1000)),
            specs=read_renditions(request, brand.pk),
            has_products="sku" in names,
            has_files="files" in names,
            has_disclaimers="disclaimer" in names,
        )
        return response_with_etag({"changes": _shown(serializer, entries), "next": following})


class ProductAssetsView(APIView):
    """The images of one product that may be used now, with stable URLs of their files."""

    @extend_schema(
        parameters=[BRAND, RENDITIONS, FIELDS_PARAMETER],
        responses={200: serializers.UsableAssetsSerializer},
    )
    def get(self, request: Request, sku: str) -> Response:
        """Return all of them, newest first. `fields` names those of the entries in `assets`."""
        brand = get_brand(request)
        serializer = serializers.UsableAssetSerializer(many=True)
        names = select_fields(serializer, request)
        specs = read_renditions(request, brand.pk)
        rows = usable_assets.find(user=get_caller(request), brand=brand, sku=sku, specs=specs, **_details(names))
        return response_with_etag({"sku": sku, "assets": _shown(serializer, rows)})


class FileView(APIView):
    """The stable URL of a file. It redirects users who may pull the file to a URL that expires in ten minutes."""

    @extend_schema(responses={302: None, 304: None})
    def get(self, request: Request, pk: int) -> HttpResponse:
        """Redirect to the file. The ETag is its sha256: with `If-None-Match`, 304 if you have it already."""
        rendition = changes.get_released_file(user=get_caller(request), rendition_id=pk)
        file = marked_files.get_pulled_file(rendition)
        tag = f'"{file.sha256}"'
        answer = get_conditional_response(request._request, etag=tag)
        if answer is None:
            answer = HttpResponse(status=302, headers={"Location": changes.expiring_url(file)})
        answer["ETag"] = tag
        # A cache that kept the redirect would, upon a 304, use its target again, which has expired.
        answer["Cache-Control"] = "private, no-store"
        return answer


class ApprovedView(APIView):
    """A campaign's approved images: a list, or their files with manifests as a ZIP or a BagIt bag, streamed.

    `approved/sizes/` says before how many files there are, and how large.
    """

    @extend_schema(
        parameters=[
            OpenApiParameter("as", str, enum=["json", *ArchiveLayout.values]),
            OpenApiParameter("spec", str, many=True, description="Of an archive: only files of these output specs."),
        ],
        responses={
            (200, "application/json"): AssetSerializer(many=True),
            (200, "application/zip"): OpenApiTypes.BINARY,
        },
    )
    def get(self, request: Request, pk: int) -> Any:
        campaign = campaign_rows.get(get_caller(request), pk)
        access.require(get_caller(request), Action.PULL, campaign.brand)
        assets = Asset.objects.filter(campaign=campaign, state=AssetState.APPROVED, is_sandbox=False).order_by("pk")
        if request.query_params.get("as") in ArchiveLayout.values:
            archive = approved_archive.start(
                user=get_caller(request),
                brand=campaign.brand,
                assets=assets,
                specs=request.query_params.getlist("spec"),
                layout=request.query_params["as"],
                stem=campaign.slug,
            )
            return zip_stream.response(archive.file_name, archive.chunks)
        rows = assets.select_related("subject", "cell", "current_version__master").prefetch_related(
            "current_version__findings", "current_version__renditions__output_spec"
        )
        return response_with_etag(AssetSerializer(rows, many=True).data)


class ApprovedSizesView(APIView):
    """The number of approved files of a campaign, and their bytes, by output spec."""

    @extend_schema(responses=serializers.SpecSizeSerializer(many=True))
    def get(self, request: Request, pk: int) -> Response:
        campaign = campaign_rows.get(get_caller(request), pk)
        access.require(get_caller(request), Action.PULL, campaign.brand)
        sizes = archive_contents.list_spec_sizes(Asset.objects.filter(campaign=campaign, is_sandbox=False))
        return Response(serializers.SpecSizeSerializer(sizes, many=True).data)
