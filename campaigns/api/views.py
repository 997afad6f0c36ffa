"""API views of subjects, photos, campaigns and prompts: parse, call one service or selector, render."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db import transaction
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from campaigns.api import serializers
from campaigns.models import Campaign, PromptTemplate, PromptVersion, StylePreset, Subject
from campaigns.selectors import subjects as subject_rows
from campaigns.services import archives, campaigns, prompts
from core.api.conventions import BrandRowsViewSet, ensure_match, get_caller, idempotent, read_input, response_with_etag
from core.selectors import brands as brand_rows


class SubjectViewSet(BrandRowsViewSet[Subject]):
    """Products, articles and concepts with their photos."""

    serializer_class = serializers.SubjectSerializer
    filterset_fields = ["brand__slug", "kind", "key", "is_active"]
    queryset = (
        Subject.objects.filter(studio=None)
        .select_related("brand")
        .prefetch_related("variants", subject_rows.prefetch_photos())
    )


class PhotosView(APIView):
    """Upload a ZIP of photos. Each file is added to the product whose feed row names it."""

    @extend_schema(request={"multipart/form-data": serializers.PhotosUpload}, responses={201: dict})
    @idempotent
    def post(self, request: Request) -> Response:
        upload = read_input(serializers.PhotosUpload, request)
        brand = brand_rows.get(get_caller(request), upload["brand"])
        report = archives.attach_zip(brand=brand, file=upload["file"], by=get_caller(request))
        return Response(asdict(report), status=201)


class CampaignViewSet(BrandRowsViewSet[Campaign]):
    """Briefs with their output specs and subjects."""

    serializer_class = serializers.CampaignSerializer
    filterset_fields = ["brand__slug", "slug"]
    queryset = Campaign.objects.select_related("brand").prefetch_related("output_specs")

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return response_with_etag(self.get_serializer(self.get_object()).data)

    @idempotent
    def create(self, request: Request) -> Response:
        fields = read_input(serializers.CampaignSerializer, request)
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


class StyleViewSet(BrandRowsViewSet[StylePreset]):
    """Style presets: reusable prompt text."""

    serializer_class = serializers.StyleSerializer
    filterset_fields = ["brand__slug"]
    queryset = StylePreset.objects.all()


class PromptTemplateViewSet(BrandRowsViewSet[PromptTemplate]):
    """Prompts by name. Their texts are in the versions."""

    serializer_class = serializers.PromptTemplateSerializer
    filterset_fields = ["brand__slug", "slug"]
    queryset = PromptTemplate.objects.filter(studio=None).select_related("brand")

    @idempotent
    def create(self, request: Request) -> Response:
        fields = read_input(serializers.PromptTemplateSerializer, request)
        made = prompts.create_template(by=get_caller(request), **fields)
        return Response(self.get_serializer(made).data, status=201)


class PromptVersionViewSet(BrandRowsViewSet[PromptVersion]):
    """Numbered versions of a prompt. A version that a run has used never changes."""

    serializer_class = serializers.PromptVersionSerializer
    filterset_fields = ["template", "status"]
    queryset = PromptVersion.objects.filter(template__studio=None).select_related("template__brand")

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return response_with_etag(self.get_serializer(self.get_object()).data)

    @idempotent
    def create(self, request: Request) -> Response:
        fields = read_input(serializers.PromptVersionSerializer, request)
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
