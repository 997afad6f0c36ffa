"""Serializers of endpoints, runs, jobs and assets."""

from __future__ import annotations

from functools import partial
from typing import Any

from rest_framework import serializers

from campaigns.models import Campaign, PromptVersion
from core.api.inputs import OwnKey, OwnSlug
from generation.choices import RunShape, Stage
from generation.models import Asset, AssetVersion, Endpoint, Finding, Job, Rendition, Run
from generation.services.planning.job_templates import BY_SLUG

#: An endpoint that the caller may use, by its slug.
EndpointSlug = partial(OwnSlug, slug_field="slug", or_shared=True, queryset=Endpoint.objects.all())


class EndpointSerializer(serializers.ModelSerializer[Endpoint]):
    class Meta:
        model = Endpoint
        fields = [
            "id", "slug", "name", "engine", "lane", "price_per_image", "seconds_per_image", "batch_size",
            "max_concurrent", "max_per_second", "max_per_minute", "licence_note", "disclaimer", "is_enabled",
        ]  # fmt: skip


class RunRequest(serializers.Serializer[Any]):
    """The request for a run: a matrix (subjects × axes) or a list (one row, one image)."""

    campaign = OwnKey(queryset=Campaign.objects.all())
    prompt_version = OwnKey(queryset=PromptVersion.objects.all())
    endpoint = EndpointSlug()
    stage = serializers.ChoiceField(choices=Stage.choices)
    shape = serializers.ChoiceField(choices=RunShape.choices, default=RunShape.MATRIX)
    subjects = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="SKUs; default: all of the campaign"
    )
    axes = serializers.DictField(child=serializers.ListField(), required=False)
    rows = serializers.ListField(child=serializers.DictField(), required=False)
    sample = serializers.IntegerField(
        min_value=1, required=False, help_text="number of subjects to sample, spread over all"
    )
    aspects = serializers.ListField(
        child=serializers.CharField(), required=False, help_text='only these aspects of the campaign, such as ["4:5"]'
    )
    missing_only = serializers.BooleanField(
        default=False, help_text="only subjects × aspects without an image that exists or is being made"
    )


class RunPlanRequest(RunRequest):
    name = serializers.CharField(max_length=160, required=False)
    priority = serializers.IntegerField(min_value=-100, max_value=100, default=0)
    job_template = serializers.ChoiceField(choices=list(BY_SLUG), required=False, help_text="the job template")
    release_at = serializers.DateTimeField(
        required=False, help_text="when the clock releases the run, if the pilot gate and the budget allow it"
    )
    alternates = EndpointSlug(
        many=True, required=False, help_text="endpoints that its jobs may go to when the first is slow or down"
    )


class RunAgain(serializers.Serializer[Any]):
    """The differences from the run that is planned again."""

    prompt_version = OwnKey(queryset=PromptVersion.objects.all(), required=False)
    endpoint = EndpointSlug(required=False)
    stage = serializers.ChoiceField(choices=Stage.choices, required=False)
    name = serializers.CharField(max_length=160, required=False)
    release_at = serializers.DateTimeField(required=False)


class ScheduleRequest(serializers.Serializer[Any]):
    release_at = serializers.DateTimeField(allow_null=True, help_text="null: no scheduled release")


class RunSerializer(serializers.ModelSerializer[Run]):
    endpoint = serializers.SlugRelatedField[Endpoint](slug_field="slug", read_only=True)
    alternates = serializers.SlugRelatedField[Endpoint](slug_field="slug", read_only=True, many=True)

    class Meta:
        model = Run
        fields = [
            "id", "campaign", "prompt_version", "endpoint", "alternates", "name", "stage", "shape",
            "definition", "state", "pause_reason", "priority", "cell_count", "job_count", "quoted_cost",
            "left_out", "override_reason", "job_template", "cloned_from", "release_at", "created_at",
            "released_at", "finished_at",
        ]  # fmt: skip


class ProgressSerializer(serializers.Serializer[Any]):
    funnel = serializers.DictField(
        child=serializers.DictField(child=serializers.IntegerField()), help_text="number of images by state"
    )
    rate = serializers.FloatField(allow_null=True, help_text="images per second, null while unknown")
    eta = serializers.DateTimeField(allow_null=True, help_text="likely end, null while unknown")


class RunDetailSerializer(RunSerializer):
    """A run with its progress."""

    progress = ProgressSerializer(read_only=True)

    class Meta(RunSerializer.Meta):
        fields = [*RunSerializer.Meta.fields, "progress"]


class ReleaseRequest(serializers.Serializer[Any]):
    override_reason = serializers.CharField(
        required=False, default="", allow_blank=True, help_text="why a lead releases a full run before its pilot"
    )
    reuse_rejected = serializers.BooleanField(default=False, help_text="also bring back images rejected before")


class PriorityRequest(serializers.Serializer[Any]):
    priority = serializers.IntegerField(min_value=-100, max_value=100)


class AlternatesRequest(serializers.Serializer[Any]):
    alternates = EndpointSlug(many=True)


class Explanation(serializers.Serializer[Any]):
    sentences = serializers.ListField(child=serializers.CharField())


class JobSerializer(serializers.ModelSerializer[Job]):
    subject = serializers.CharField(source="cell.subject.key", read_only=True)

    class Meta:
        model = Job
        fields = [
            "id", "run", "cell", "subject", "status", "hold_reason", "attempts", "deaths", "error_kind",
            "error", "step", "steps", "priority",
        ]  # fmt: skip


class FindingSerializer(serializers.ModelSerializer[Finding]):
    class Meta:
        model = Finding
        fields = ["check_name", "outcome", "score", "message", "box", "duplicate"]


class RenditionSerializer(serializers.ModelSerializer[Rendition]):
    spec = serializers.CharField(source="output_spec.slug", read_only=True)

    class Meta:
        model = Rendition
        fields = ["id", "spec", "image_format", "width", "height", "bytes", "sha256", "quality"]


class VersionSerializer(serializers.ModelSerializer[AssetVersion]):
    sha256 = serializers.CharField(source="master.sha256", read_only=True)
    disclaimer = serializers.CharField(
        read_only=True, help_text="text that must be shown beside the image; usually empty"
    )
    findings = FindingSerializer(many=True, read_only=True)
    renditions = RenditionSerializer(many=True, read_only=True)

    class Meta:
        model = AssetVersion
        fields = [
            "id", "round", "candidate", "source", "worst_outcome", "disclaimer", "sha256", "findings",
            "renditions", "created_at",
        ]  # fmt: skip


class AssetSerializer(serializers.ModelSerializer[Asset]):
    sku = serializers.CharField(source="subject.key", read_only=True)
    axis_values = serializers.JSONField(source="cell.axis_values", read_only=True)
    aspect = serializers.CharField(source="cell.aspect", read_only=True)
    current_version = VersionSerializer(read_only=True, allow_null=True)

    class Meta:
        model = Asset
        fields = [
            "id", "campaign", "sku", "axis_values", "aspect", "state", "round", "current_version", "created_at",
            "changed_at",
        ]  # fmt: skip
