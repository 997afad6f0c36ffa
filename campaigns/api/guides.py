"""API views of the brand guide: read the published version and the draft, change the draft, publish it."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from campaigns.models import GuideImage, GuideVersion
from campaigns.selectors import guides
from campaigns.services import guides as services
from core.api.conventions import ensure_match, get_caller, idempotent, read_input, response_with_etag
from core.errors import Conflict
from core.models import Brand, User
from core.selectors import brands


class GuideImageSerializer(serializers.ModelSerializer[GuideImage]):
    class Meta:
        model = GuideImage
        fields = ["id", "use", "caption", "position", "sha256", "width", "height"]


class GuideVersionSerializer(serializers.ModelSerializer[GuideVersion]):
    """Fields that replace those of the draft; colours are {"name", "hex"}, thresholds {check: {limit: number}}."""

    images = GuideImageSerializer(many=True, read_only=True)
    palette = serializers.ListField(child=serializers.DictField(child=serializers.CharField()), required=False)
    backdrops = serializers.ListField(child=serializers.DictField(child=serializers.CharField()), required=False)
    required_wording = serializers.ListField(child=serializers.CharField(), required=False)
    approved_wording = serializers.ListField(child=serializers.CharField(), required=False)
    banned_wording = serializers.ListField(child=serializers.CharField(), required=False)
    thresholds = serializers.DictField(child=serializers.DictField(child=serializers.FloatField()), required=False)

    class Meta:
        model = GuideVersion
        fields = [
            "number", "status", "palette", "backdrops", "backdrop", "light", "fill_ratio", "baseline",
            "required_wording", "approved_wording", "banned_wording", "thresholds", "images", "note", "created_at",
            "published_at",
        ]  # fmt: skip
        read_only_fields = ["number", "status", "note", "created_at", "published_at"]


class GuideSerializer(serializers.Serializer[Any]):
    """`current`: the published version. `draft`: the open draft. Either may be null."""

    current = GuideVersionSerializer(allow_null=True)
    draft = GuideVersionSerializer(allow_null=True)


class PublishSerializer(serializers.Serializer[Any]):
    note = serializers.CharField(required=False, allow_blank=True, max_length=2000)
    look_again = serializers.BooleanField(
        required=False, default=False, help_text="also send the brand's approved images back to review"
    )


class PublishingSerializer(serializers.Serializer[Any]):
    """The consequences of publishing. draft: the number of the open draft, or null."""

    draft = serializers.IntegerField(allow_null=True)
    approved_images = serializers.IntegerField(help_text="how many `look_again` would send back to review")


class GuideView(APIView):
    """The guide of one brand."""

    @extend_schema(responses=GuideSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """Return the published guide, and the open draft if there is one."""
        return response_with_etag(_shown(get_caller(request), brands.get(get_caller(request), slug)))

    @extend_schema(request=GuideVersionSerializer, responses=GuideSerializer)
    def patch(self, request: Request, slug: str) -> Response:
        """Change fields of the draft. Without one, the published guide is copied to a new draft. Needs If-Match."""
        brand = brands.get(get_caller(request), slug)
        serializer = GuideVersionSerializer(data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        with transaction.atomic():
            Brand.objects.select_for_update(no_key=True).get(pk=brand.pk)
            ensure_match(request, _shown(get_caller(request), brand))
            services.edit_draft(brand=brand, by=get_caller(request), **serializer.validated_data)
        return response_with_etag(_shown(get_caller(request), brand))


class PublishGuideView(APIView):
    """Publish the draft of the guide."""

    @extend_schema(responses=PublishingSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """Return the open draft, and how many approved images its publication could send back to review."""
        brand = brands.get(get_caller(request), slug)
        draft = guides.open_draft(guides.list_versions(get_caller(request), brand))
        count = guides.count_approved_images(get_caller(request), brand)
        return Response({"draft": draft.number if draft else None, "approved_images": count})

    @extend_schema(request=PublishSerializer, responses=GuideSerializer)
    @idempotent
    def post(self, request: Request, slug: str) -> Response:
        """Publish the open draft; it can no longer be changed. 409 without an open draft.

        Approved images stay approved unless `look_again` is true.
        """
        brand = brands.get(get_caller(request), slug)
        choices = read_input(PublishSerializer, request)
        draft = guides.open_draft(guides.list_versions(get_caller(request), brand))
        if draft is None:
            raise Conflict(_("The guide of %(brand)s has no open draft.") % {"brand": brand.name})
        services.publish(guide_id=draft.pk, by=get_caller(request), **choices)
        return response_with_etag(_shown(get_caller(request), brand))


def _shown(user: User, brand: Brand) -> dict[str, Any]:
    versions = list(guides.list_versions(user, brand))
    both = {"current": guides.current(versions), "draft": guides.open_draft(versions)}
    return {name: GuideVersionSerializer(version).data if version else None for name, version in both.items()}
