"""Serializers of review tasks, checklists and decisions."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.models import Brand
from review.choices import DecisionKind
from review.models import Checklist, Decision, ReviewTask

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
