"""Serializers of review tasks, decisions, destinations and deliveries."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.api.inputs import OwnSlug
from core.fetching import redact_settings
from core.models import Brand
from review.choices import DecisionKind
from review.models import Checklist, Decision, Delivery, Destination, ReviewTask

DECIDABLE = (DecisionKind.APPROVED, DecisionKind.REJECTED, DecisionKind.NEEDS_REVISION)


class DecisionSerializer(serializers.ModelSerializer[Decision]):
    decision = serializers.ChoiceField(source="kind", choices=DecisionKind.choices, read_only=True)
    decided_by = serializers.CharField(source="decided_by.display_name", read_only=True)
    reason = serializers.CharField(source="reason.code", default=None, read_only=True, allow_null=True)

    class Meta:
        model = Decision
        fields = [
            "id", "task", "version", "decision", "decided_by", "decided_at", "effective_at", "reason", "note",
            "answers", "controls", "pinned", "voids",
        ]  # fmt: skip


class TaskSerializer(serializers.ModelSerializer[ReviewTask]):
    sku = serializers.CharField(source="asset.subject.key", read_only=True)
    claimed_by = serializers.CharField(source="claimed_by.display_name", default=None, read_only=True, allow_null=True)

    class Meta:
        model = ReviewTask
        fields = [
            "id", "asset", "sku", "stage", "state", "round", "checklist_version", "claimed_by", "claimed_until",
            "due_at", "opened_at",
        ]  # fmt: skip


class ChecklistSerializer(serializers.ModelSerializer[Checklist]):
    """A stage with the newest version of its checklist."""

    brand = serializers.SlugRelatedField[Brand](slug_field="slug", read_only=True)
    number = serializers.SerializerMethodField()
    items = serializers.SerializerMethodField()

    class Meta:
        model = Checklist
        fields = ["id", "brand", "stage", "name", "position", "slots", "due_hours", "number", "items"]

    def get_number(self, checklist: Checklist) -> int:
        return int(checklist.versions.all()[0].number)

    @extend_schema_field(serializers.ListField(child=serializers.DictField(child=serializers.CharField())))
    def get_items(self, checklist: Checklist) -> list[dict[str, str]]:
        return list(checklist.versions.all()[0].items)


class ChecklistVersionRequest(serializers.Serializer[Any]):
    """`items`: [{"code", "sentence", "mode": "ask" or "by_exception"}]."""

    items = serializers.ListField(child=serializers.DictField(child=serializers.CharField()), allow_empty=True)
    look_again = serializers.BooleanField(
        required=False, default=False, help_text="also send the brand's approved images back to review"
    )


class ChecklistVersionPreview(serializers.Serializer[Any]):
    """The effect that a new version would have."""

    number = serializers.IntegerField(help_text="the number that the next version gets")
    approved_images = serializers.IntegerField(help_text="how many `look_again` would send back to review")


class CandidateSerializer(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    candidate = serializers.IntegerField()
    seen = serializers.CharField(help_text="token to send with a decision about this version")


class TaskDetailSerializer(TaskSerializer):
    """A task with its checklist, the versions that can be decided, and what changed since they were made."""

    checklist = serializers.ListField(child=serializers.DictField(), source="checklist_version.items", read_only=True)
    candidates: Any = CandidateSerializer(many=True, read_only=True)
    changed = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text="the inputs of the image that have changed since it was made, a sentence each",
    )

    class Meta(TaskSerializer.Meta):
        fields = [*TaskSerializer.Meta.fields, "checklist", "candidates", "changed"]


class DecisionRequest(serializers.Serializer[Any]):
    """`seen`: the token of the candidate that you decided about, as the task returned it."""

    decision = serializers.ChoiceField(choices=[(kind.value, kind.label) for kind in DECIDABLE])
    version = serializers.IntegerField()
    seen = serializers.CharField()
    reason = serializers.CharField(required=False, default="", allow_blank=True)
    note = serializers.CharField(required=False, default="", allow_blank=True)
    answers = serializers.DictField(child=serializers.CharField(), required=False)
    controls = serializers.DictField(required=False)


class SettingsWithoutQueries(serializers.DictField):
    """Settings in which the URLs are returned without their queries."""

    def to_representation(self, value: Any) -> Any:
        return super().to_representation(redact_settings(value))


class RulesField(serializers.ListField):
    """The rules of a destination. The service checks them, because their mistakes have places of their own."""

    def __init__(self, **options: Any) -> None:
        rule = serializers.DictField(child=serializers.CharField())
        words = "Each {effect: send | never, campaign, spec, kind, category, disclaimer}; [] sends every image."
        super().__init__(child=rule, help_text=words, **options)


class RulesRequest(serializers.Serializer[Any]):
    rules = RulesField()


class DestinationSerializer(serializers.ModelSerializer[Destination]):
    brand = OwnSlug(slug_field="slug", queryset=Brand.objects.all())
    config = SettingsWithoutQueries(required=False, help_text="URLs are returned with “?…” in place of their query.")
    secret = serializers.CharField(write_only=True, required=False)
    rules = RulesField(required=False)

    class Meta:
        model = Destination
        fields = [
            "id", "brand", "slug", "name", "kind", "config", "secret", "rules", "starts_with_campaign",
            "ends_with_campaign", "is_enabled", "disabled_reason",
        ]  # fmt: skip
        read_only_fields = ["id", "is_enabled", "disabled_reason"]
        validators: list[Any] = []


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    destination = serializers.SlugRelatedField[Destination](slug_field="slug", read_only=True)
    sku = serializers.CharField(source="asset.subject.key", read_only=True)
    next_attempt_at = serializers.DateTimeField(source="due_at", read_only=True, allow_null=True)

    class Meta:
        model = Delivery
        fields = [
            "id", "asset", "sku", "destination", "version", "desired", "observed", "files", "attempts",
            "next_attempt_at", "error", "changed_at",
        ]  # fmt: skip
