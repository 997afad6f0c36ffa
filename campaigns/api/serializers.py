"""Serializers of subjects, imports, campaigns and prompts."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

from campaigns import models
from campaigns.choices import SubjectKind
from campaigns.feeds.encodings import LABELS as ENCODINGS
from core.api.inputs import OwnKey, OwnSlug
from core.models import Brand


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
        fields = ["id", "role", "position", "source", "status", "notes", "sha256", "width", "height", "alt_text"]


class SubjectSerializer(serializers.ModelSerializer[models.Subject]):
    brand = serializers.SlugRelatedField[Brand](slug_field="slug", read_only=True)
    variants = VariantSerializer(many=True, read_only=True)
    photos = PhotoSerializer(many=True, read_only=True)

    class Meta:
        model = models.Subject
        fields = ["id", "brand", "kind", "key", "name", "attributes", "is_active", "variants", "photos", "updated_at"]


class ImportSerializer(serializers.ModelSerializer[models.FeedImport]):
    brand = serializers.SlugRelatedField[Brand](slug_field="slug", read_only=True)
    source: Any = serializers.SlugRelatedField[models.FeedSource](slug_field="slug", read_only=True, allow_null=True)
    mapping: Any = serializers.DictField(child=serializers.CharField(), read_only=True)
    issue_counts: Any = serializers.DictField(child=serializers.IntegerField(), read_only=True)
    undone_counts: Any = serializers.DictField(child=serializers.IntegerField(), read_only=True)

    class Meta:
        model = models.FeedImport
        fields = [
            "id", "brand", "file_name", "file_sha256", "file_bytes", "dialect", "status", "rows", "created",
            "updated", "unchanged", "error_count", "issue_counts", "subject_kind", "source", "mapping", "encoding",
            "fixes", "bytes_read", "undone_at", "undone_counts", "created_at",
        ]  # fmt: skip


class ImportIssueSerializer(serializers.ModelSerializer[models.ImportIssue]):
    class Meta:
        model = models.ImportIssue
        fields = ["row", "column", "cell", "value", "cause", "message"]


class ImportShown(ImportSerializer):
    """An import with its first hundred mistakes."""

    errors: Any = ImportIssueSerializer(many=True, read_only=True)

    class Meta(ImportSerializer.Meta):
        fields = [*ImportSerializer.Meta.fields, "errors"]


class ImportFix(serializers.Serializer[Any]):
    """One fix for all cells with a cause; without columns, it applies to every column in which the cause can occur."""

    cause = serializers.CharField(max_length=60)
    fix = serializers.CharField(max_length=60)
    columns = serializers.ListField(child=serializers.CharField(max_length=200), required=False)


class ImportUpload(serializers.Serializer[Any]):
    """multipart/form-data; `mapping` and `fixes` are JSON. mapping: heading -> field, and what is not in it is
    detected; without one, that which people saved for such headings is used. kind: of rows that name none."""

    brand = serializers.SlugField()
    file = serializers.FileField(allow_empty_file=True)
    dry_run = serializers.BooleanField(default=False)
    kind = serializers.ChoiceField(choices=SubjectKind.choices, default=SubjectKind.PRODUCT)
    mapping = serializers.JSONField(required=False, help_text='{"Artikel": "key", "Was": "name", …}')
    fixes = serializers.JSONField(required=False, help_text='[{"cause": "price_unreadable", "fix": "leave_empty"}]')
    encoding = serializers.ChoiceField(
        choices=list(ENCODINGS.items()), required=False, help_text="of a text that is not UTF-8; default: detected"
    )

    def validate_mapping(self, value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise serializers.ValidationError(_("Expected an object: heading -> field."))
        return value

    def validate_fixes(self, value: Any) -> list[dict[str, Any]]:
        fixes = ImportFix(data=value, many=True)
        fixes.is_valid(raise_exception=True)
        return [dict(fix) for fix in fixes.validated_data]


class ImportChange(serializers.Serializer[Any]):
    """New settings for reading a file. Missing settings stay unchanged."""

    kind = serializers.ChoiceField(choices=SubjectKind.choices, required=False)
    mapping = serializers.DictField(child=serializers.CharField(max_length=200), required=False)
    fixes = ImportFix(many=True, required=False)
    encoding = serializers.ChoiceField(
        choices=list(ENCODINGS.items()), required=False, allow_blank=True, help_text="empty: detected"
    )


class PhotosUpload(serializers.Serializer[Any]):
    """multipart/form-data: a ZIP whose file names are those that the feed named, or one image and its subject."""

    brand = serializers.SlugField()
    file = serializers.FileField()


class OutputSpecSerializer(serializers.ModelSerializer[models.OutputSpec]):
    class Meta:
        model = models.OutputSpec
        fields = [
            "id", "slug", "asset_type", "width", "height", "image_format", "max_bytes", "background", "name_pattern",
            "aspect",
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
