"""Serializers of the pull API: images that may be used now, their files, and changes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rest_framework import serializers

from campaigns.models import Campaign, Subject
from core.api.field_selection import SelectableFields
from generation.choices import AssetState
from generation.models import Rendition
from review.selectors import changes, usable_assets
from review.selectors.changes import ENTRY_KINDS

USABLE_STATES = [(state.value, state.label) for state in (AssetState.APPROVED, AssetState.STALE)]


class FileSerializer(SelectableFields, serializers.ModelSerializer[Rendition]):
    """A file for one output spec. The URL is stable: it redirects to one that expires after ten minutes."""

    spec = serializers.CharField(source="output_spec.slug", read_only=True)
    sha256 = serializers.CharField(
        source="marked_file.sha256",
        read_only=True,
        allow_null=True,
        help_text="of the file at `url`, and its ETag; null in the seconds until its marks of origin are made",
    )
    bytes = serializers.IntegerField(
        source="marked_file.bytes", read_only=True, allow_null=True, help_text="of the file at `url`; null as `sha256`"
    )
    url = serializers.SerializerMethodField()

    class Meta:
        model = Rendition
        fields = ["spec", "url", "sha256", "width", "height", "bytes", "image_format"]

    def get_url(self, rendition: Rendition) -> str:
        return changes.stable_url(rendition.pk)


class _UsableFiles(serializers.ListSerializer[Any]):
    def get_attribute(self, instance: Any) -> list[Rendition]:
        return usable_assets.files_of(instance)


class UsableFileSerializer(FileSerializer):
    class Meta(FileSerializer.Meta):
        list_serializer_class = _UsableFiles


class ProductOfAssetSerializer(SelectableFields, serializers.ModelSerializer[Subject]):
    class Meta:
        model = Subject
        fields = ["key", "name", "attributes"]


class CampaignOfAssetSerializer(SelectableFields, serializers.ModelSerializer[Campaign]):
    class Meta:
        model = Campaign
        fields = ["id", "slug", "name"]


class UsableAssetSerializer(SelectableFields, serializers.Serializer[Any]):
    """An image that may be used now."""

    asset = serializers.IntegerField(source="pk", read_only=True)
    version = serializers.IntegerField(source="current_version_id", read_only=True)
    sku = serializers.CharField(source="subject.key", read_only=True)
    state = serializers.ChoiceField(
        choices=USABLE_STATES,
        read_only=True,
        help_text="stale: its product has changed since; it may be used until the next decision",
    )
    approved_at = serializers.DateTimeField(read_only=True)
    alt_text = serializers.SerializerMethodField(help_text="as last written for a delivery, or the product's name")
    disclaimer = serializers.CharField(
        source="current_version.disclaimer", read_only=True, help_text="text that must be shown beside the image"
    )
    aspect = serializers.CharField(source="cell.aspect", read_only=True)
    axis_values = serializers.JSONField(source="cell.axis_values", read_only=True)
    product = ProductOfAssetSerializer(source="subject", read_only=True)
    campaign = CampaignOfAssetSerializer(read_only=True)
    files: Any = UsableFileSerializer(many=True, read_only=True)

    def get_alt_text(self, asset: Any) -> str:
        return str(asset.last_alt_text or asset.subject.name[:512])


#: The rows that each field needs beside the asset.
_RELATED = {
    "sku": ("subject",),
    "alt_text": ("subject",),
    "product": ("subject",),
    "disclaimer": ("current_version__job__endpoint", "current_version__asset__cell__run__endpoint"),
    "aspect": ("cell",),
    "axis_values": ("cell",),
    "campaign": ("campaign",),
}


def related_rows(names: Collection[str]) -> list[str]:
    """Return what the query must read with the assets to show these fields."""
    return sorted({path for name in names for path in _RELATED.get(name, ())})


class UsableAssetsSerializer(serializers.Serializer[Any]):
    """The images of one product."""

    sku = serializers.CharField()
    assets = UsableAssetSerializer(many=True)


class ChangeSerializer(SelectableFields, serializers.Serializer[Any]):
    """A change of an image that may be used, or that may no longer be used (`recalled`)."""

    cursor = serializers.IntegerField(read_only=True, help_text="the number of the event in the audit trail")
    kind = serializers.ChoiceField(choices=sorted({*ENTRY_KINDS.values(), "replaced"}), read_only=True)
    asset_id = serializers.IntegerField(read_only=True)
    sku = serializers.CharField(read_only=True)
    version_id = serializers.IntegerField(read_only=True, allow_null=True)
    at = serializers.DateTimeField(read_only=True)
    files: Any = FileSerializer(many=True, read_only=True)
    disclaimer = serializers.CharField(read_only=True, help_text="text that must be shown beside the image")
    because = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text="why an image is stale, a sentence each"
    )


class ChangesSerializer(serializers.Serializer[Any]):
    """`next`: the `since` of the next request."""

    changes: Any = ChangeSerializer(many=True)
    next = serializers.IntegerField()


class SpecSizeSerializer(serializers.Serializer[Any]):
    """The approved files of one output spec."""

    spec = serializers.CharField(source="slug")
    files = serializers.IntegerField()
    bytes = serializers.IntegerField()
