"""API views of subjects, photos, campaigns, prompts and guides: parse, call one service or selector, render."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from campaigns import models
from campaigns.selectors import guides
from campaigns.selectors import subjects as subject_rows
from campaigns.services import archives, campaigns, prompts
from campaigns.services import guides as guide_services
from core.api.conventions import BrandRowsViewSet, ensure_match, get_caller, idempotent, read_input, response_with_etag
from core.api.inputs import OwnKey, OwnSlug
from core.errors import Conflict
from core.models import Brand, User
from core.selectors import brands as brand_rows


class VariantSerializer(serializers.ModelSerializer[models.Variant]):
    class Meta:
        model = models.Variant
        fields = ["key", "options", "attributes", "position"]


class PhotoSerializer(serializers.ModelSerializer[models.ReferencePhoto]):
    source = serializers.CharField(  # type: ignore[assignment]  # `source` is an attribute of every serializer field
        source="redacted_source", read_only=True, help_text="A URL is returned without its query."
    )

    class Meta:
        model = models.ReferencePhoto
        fields = ["id", "role", "position", "source", "status", "notes", "sha256", "width", "height", "alt_text",
            "rights_end_on",
        ]  # fmt: skip


class SubjectSerializer(serializers.ModelSerializer[models.Subject]):
    brand = serializers.SlugRelatedField[Brand](slug_field="slug", read_only=True)
    variants = VariantSerializer(many=True, read_only=True)
    photos = PhotoSerializer(many=True, read_only=True)

    class Meta:
        model = models.Subject
        fields = ["id", "brand", "kind", "key", "name", "attributes", "is_active", "variants", "photos", "updated_at"]


class PhotosUpload(serializers.Serializer[Any]):
    """multipart/form-data: a ZIP whose file names are those that the feed named, or one image and its subject."""

    brand = serializers.SlugField()
    file = serializers.FileField()


class OutputSpecSerializer(serializers.ModelSerializer[models.OutputSpec]):
    class Meta:
        model = models.OutputSpec
        fields = [
            "id", "slug", "asset_type", "width", "height", "image_format", "max_bytes", "background", "name_pattern",
            "label_text", "label_corner", "label_percent", "aspect",
        ]  # fmt: skip
        read_only_fields = ["id", "aspect"]


class CampaignSerializer(serializers.ModelSerializer[models.Campaign]):
    brand = OwnSlug(slug_field="slug", queryset=Brand.objects.all())
    output_specs = OutputSpecSerializer(many=True, required=False)
    subjects = serializers.ListField(
        child=serializers.CharField(), required=False, write_only=True, help_text='SKUs, or ["*"] for every product'
    )

    class Meta:
        model = models.Campaign
        fields = [
            "id", "brand", "slug", "name", "purpose", "audience", "channel", "starts_on", "ends_on", "budget",
            "patience_seconds", "pilot_decisions", "pilot_approval_percent", "output_specs", "subjects", "created_at",
            "updated_at",
        ]  # fmt: skip
        read_only_fields = ["id", "created_at", "updated_at"]
        validators: list[Any] = []  # a taken slug is the service's Conflict


class StyleSerializer(serializers.ModelSerializer[models.StylePreset]):
    class Meta:
        model = models.StylePreset
        fields = ["id", "slug", "name", "text", "negative"]


class PromptTemplateSerializer(serializers.ModelSerializer[models.PromptTemplate]):
    brand = OwnSlug(slug_field="slug", queryset=Brand.objects.all())

    class Meta:
        model = models.PromptTemplate
        fields = ["id", "brand", "slug", "name", "created_at"]
        validators: list[Any] = []


class PromptVersionSerializer(serializers.ModelSerializer[models.PromptVersion]):
    template = OwnKey(queryset=models.PromptTemplate.objects.all())
    style = OwnKey(  # type: ignore[assignment]  # a Field has an attribute of this name
        queryset=models.StylePreset.objects.all(), required=False, allow_null=True
    )

    class Meta:
        model = models.PromptVersion
        fields = [
            "id", "template", "number", "text", "negative", "style", "axes", "parameters", "needs", "policy",
            "seed_strategy", "seed", "candidates", "status", "used_at", "created_at",
        ]  # fmt: skip
        read_only_fields = ["id", "number", "status", "used_at", "created_at"]


class SubjectViewSet(BrandRowsViewSet[models.Subject]):
    """Products, articles and concepts with their photos."""

    serializer_class = SubjectSerializer
    filterset_fields = ["brand__slug", "kind", "key", "is_active"]
    queryset = (
        models.Subject.objects.filter(studio=None)
        .select_related("brand")
        .prefetch_related("variants", subject_rows.prefetch_photos())
    )


class PhotosView(APIView):
    """Upload a ZIP of photos. Each file is added to the product whose feed row names it."""

    @extend_schema(request={"multipart/form-data": PhotosUpload}, responses={201: dict})
    @idempotent
    def post(self, request: Request) -> Response:
        upload = read_input(PhotosUpload, request)
        brand = brand_rows.get(get_caller(request), upload["brand"])
        report = archives.attach_zip(brand=brand, file=upload["file"], by=get_caller(request))
        return Response(asdict(report), status=201)


class CampaignViewSet(BrandRowsViewSet[models.Campaign]):
    """Briefs with their output specs and subjects."""

    serializer_class = CampaignSerializer
    filterset_fields = ["brand__slug", "slug"]
    queryset = models.Campaign.objects.select_related("brand").prefetch_related("output_specs")

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return response_with_etag(self.get_serializer(self.get_object()).data)

    @idempotent
    def create(self, request: Request) -> Response:
        fields = read_input(CampaignSerializer, request)
        brand = fields.pop("brand")
        specs = [campaigns.SpecInput(**spec) for spec in fields.pop("output_specs", [])]
        keys = fields.pop("subjects", [])
        with transaction.atomic():
            made = campaigns.create_campaign(brand=brand, by=get_caller(request), specs=specs, **fields)
            if keys:
                ids = subject_rows.get_ids_by_key(brand, keys)
                campaigns.add_subjects(campaign_id=made.pk, by=get_caller(request), subject_ids=ids)
        shown = self.get_serializer(self.get_queryset().get(pk=made.pk)).data
        address = reverse("api:campaign-detail", args=[made.pk])
        return response_with_etag(shown, status=201, headers={"Location": address})

    def partial_update(self, request: Request, pk: str) -> Response:
        """Change fields of the brief; `output_specs` replaces the list, `subjects` adds to it."""
        current = self.get_object()
        serializer = self.get_serializer(current, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        fields = dict(serializer.validated_data)
        specs, keys = fields.pop("output_specs", None), fields.pop("subjects", None)
        with transaction.atomic():
            locked = campaigns.lock(current.pk)
            ensure_match(request, self.get_serializer(locked).data)
            if fields:
                campaigns.update_campaign(campaign_id=locked.pk, by=get_caller(request), **fields)
            if specs is not None:
                inputs = [campaigns.SpecInput(**spec) for spec in specs]
                campaigns.set_output_specs(campaign_id=locked.pk, specs=inputs, by=get_caller(request))
            if keys is not None:
                ids = subject_rows.get_ids_by_key(locked.brand, keys)
                campaigns.add_subjects(campaign_id=locked.pk, by=get_caller(request), subject_ids=ids)
        return response_with_etag(self.get_serializer(self.get_queryset().get(pk=locked.pk)).data)


class StyleViewSet(BrandRowsViewSet[models.StylePreset]):
    """Style presets: reusable prompt text."""

    serializer_class = StyleSerializer
    filterset_fields = ["brand__slug"]
    queryset = models.StylePreset.objects.all()


class PromptTemplateViewSet(BrandRowsViewSet[models.PromptTemplate]):
    """Prompts by name. Their texts are in the versions."""

    serializer_class = PromptTemplateSerializer
    filterset_fields = ["brand__slug", "slug"]
    queryset = models.PromptTemplate.objects.filter(studio=None).select_related("brand")

    @idempotent
    def create(self, request: Request) -> Response:
        fields = read_input(PromptTemplateSerializer, request)
        made = prompts.create_template(by=get_caller(request), **fields)
        return Response(self.get_serializer(made).data, status=201)


class PromptVersionViewSet(BrandRowsViewSet[models.PromptVersion]):
    """Numbered versions of a prompt. A version that a run has used never changes."""

    serializer_class = PromptVersionSerializer
    filterset_fields = ["template", "status"]
    queryset = models.PromptVersion.objects.filter(template__studio=None).select_related("template__brand")

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return response_with_etag(self.get_serializer(self.get_object()).data)

    @idempotent
    def create(self, request: Request) -> Response:
        fields = read_input(PromptVersionSerializer, request)
        made = prompts.add_version(template_id=fields.pop("template").pk, by=get_caller(request), **fields)
        return response_with_etag(self.get_serializer(made).data, status=201)

    def partial_update(self, request: Request, pk: str) -> Response:
        """Change a draft that no run has used."""
        current = self.get_object()
        serializer = self.get_serializer(current, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        fields = dict(serializer.validated_data)
        with transaction.atomic():
            ensure_match(request, self.get_serializer(prompts.lock(current.pk)).data)
            changed = prompts.edit_draft_version(version_id=current.pk, by=get_caller(request), **fields)
        return response_with_etag(self.get_serializer(changed).data)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        """Approve the version for production. Leads only."""
        approved = prompts.approve_version(version_id=self.get_object().pk, by=get_caller(request))
        return response_with_etag(self.get_serializer(approved).data)


class GuideImageSerializer(serializers.ModelSerializer[models.GuideImage]):
    class Meta:
        model = models.GuideImage
        fields = ["id", "use", "caption", "position", "sha256", "width", "height"]


class GuideVersionSerializer(serializers.ModelSerializer[models.GuideVersion]):
    """Fields that replace those of the draft; colours are {"name", "hex"}, thresholds {check: {limit: number}}."""

    images = GuideImageSerializer(many=True, read_only=True)
    palette = serializers.ListField(child=serializers.DictField(child=serializers.CharField()), required=False)
    backdrops = serializers.ListField(child=serializers.DictField(child=serializers.CharField()), required=False)
    required_wording = serializers.ListField(child=serializers.CharField(), required=False)
    approved_wording = serializers.ListField(child=serializers.CharField(), required=False)
    banned_wording = serializers.ListField(child=serializers.CharField(), required=False)
    thresholds = serializers.DictField(child=serializers.DictField(child=serializers.FloatField()), required=False)

    class Meta:
        model = models.GuideVersion
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
        return response_with_etag(_guide(get_caller(request), brand_rows.get(get_caller(request), slug)))

    @extend_schema(request=GuideVersionSerializer, responses=GuideSerializer)
    def patch(self, request: Request, slug: str) -> Response:
        """Change fields of the draft. Without one, the published guide is copied to a new draft. Needs If-Match."""
        brand = brand_rows.get(get_caller(request), slug)
        serializer = GuideVersionSerializer(data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        with transaction.atomic():
            Brand.objects.select_for_update(no_key=True).get(pk=brand.pk)
            ensure_match(request, _guide(get_caller(request), brand))
            guide_services.edit_draft(brand=brand, by=get_caller(request), **serializer.validated_data)
        return response_with_etag(_guide(get_caller(request), brand))


class PublishGuideView(APIView):
    """Publish the draft of the guide."""

    @extend_schema(responses=PublishingSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """Return the open draft, and how many approved images its publication could send back to review."""
        brand = brand_rows.get(get_caller(request), slug)
        draft = guides.open_draft(guides.list_versions(get_caller(request), brand))
        count = guides.count_approved_images(get_caller(request), brand)
        return Response({"draft": draft.number if draft else None, "approved_images": count})

    @extend_schema(request=PublishSerializer, responses=GuideSerializer)
    @idempotent
    def post(self, request: Request, slug: str) -> Response:
        """Publish the open draft; it can no longer be changed. 409 without an open draft.

        Approved images stay approved unless `look_again` is true.
        """
        brand = brand_rows.get(get_caller(request), slug)
        choices = read_input(PublishSerializer, request)
        draft = guides.open_draft(guides.list_versions(get_caller(request), brand))
        if draft is None:
            raise Conflict(_("The guide of %(brand)s has no open draft.") % {"brand": brand.name})
        guide_services.publish(guide_id=draft.pk, by=get_caller(request), **choices)
        return response_with_etag(_guide(get_caller(request), brand))


def _guide(user: User, brand: Brand) -> dict[str, Any]:
    versions = list(guides.list_versions(user, brand))
    both = {"current": guides.current(versions), "draft": guides.open_draft(versions)}
    return {name: GuideVersionSerializer(version).data if version else None for name, version in both.items()}
