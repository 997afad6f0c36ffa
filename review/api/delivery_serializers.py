"""Serializers of destinations and deliveries: their state, and what is requested of them."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.api.inputs import OwnSlug
from core.fetching import redact_settings
from core.models import Brand
from review.models import Delivery, Destination
from review.selectors import deliveries as selectors
from review.services.delivery_requests import MAX_ALT_TEXT

STATES = list(selectors.STATE_LABELS.items())
#: What is left of the marks of origin in what a destination serves.
MARKS = (
    ("kept", gettext_lazy("all")),
    ("label", gettext_lazy("the label of AI alone")),
    ("lost", gettext_lazy("none")),
)
ACTIONS = ("retry", "release", "schedule", "recall", "restore", "send")
MAX_CHOSEN = 10_000


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


class DestinationSerializer(serializers.ModelSerializer[Destination]):
    brand = OwnSlug(slug_field="slug", queryset=Brand.objects.all())
    config = SettingsWithoutQueries(required=False, help_text="URLs are returned with “?…” in place of their query.")
    secret = serializers.CharField(write_only=True, required=False)
    rules = RulesField(required=False)

    class Meta:
        model = Destination
        fields = [
            "id", "brand", "slug", "name", "kind", "config", "secret", "rules", "starts_with_campaign",
            "ends_with_campaign", "tells_prompt", "tells_prompt_writer", "needs_release", "is_enabled",
            "disabled_reason",
        ]  # fmt: skip
        read_only_fields = ["id", "is_enabled", "disabled_reason"]
        validators: list[Any] = []


class DestinationChange(DestinationSerializer):
    """The changeable fields of a destination. Omitted fields stay; `config` and `rules` are replaced as a whole."""

    secret = serializers.CharField(write_only=True, allow_blank=True, help_text="empty: forget the secret")

    class Meta(DestinationSerializer.Meta):
        fields = [
            "name", "config", "secret", "rules", "starts_with_campaign", "ends_with_campaign", "tells_prompt",
            "tells_prompt_writer", "needs_release", "is_enabled",
        ]  # fmt: skip
        read_only_fields: list[str] = []


class MarksAdviceSerializer(serializers.Serializer[Any]):
    cause = serializers.CharField(help_text="where marks are lost at this kind of destination")
    remedy = serializers.CharField(help_text="what a person can do about it")


class MarksSummarySerializer(serializers.Serializer[Any]):
    """How many of the last 200 files that the destination serves have kept their marks of origin."""

    kept = serializers.IntegerField(help_text="files with all marks")
    label_only = serializers.IntegerField(
        source="label", help_text="files with the label of AI, but without valid Content Credentials"
    )
    lost = serializers.IntegerField(help_text="files without marks")
    unknown = serializers.IntegerField(help_text="files that could not be fetched, or are not the image that was sent")


class DestinationStateSerializer(DestinationSerializer):
    """A destination with the number of its deliveries by state. The secret is never returned."""

    marks = serializers.SerializerMethodField(help_text="of the last 200 files that it serves")
    marks_advice = serializers.SerializerMethodField(help_text="null: no file lost its marks")
    counts = serializers.SerializerMethodField(
        help_text="number of deliveries by state; states without one are left out"
    )
    last_success_at = serializers.SerializerMethodField()

    class Meta(DestinationSerializer.Meta):
        fields = [*DestinationSerializer.Meta.fields, "counts", "last_success_at", "marks", "marks_advice"]

    @extend_schema_field(MarksSummarySerializer)
    def get_marks(self, destination: Destination) -> dict[str, Any]:
        return dict(MarksSummarySerializer(self.context["summaries"][destination.pk].marks).data)

    @extend_schema_field(MarksAdviceSerializer(allow_null=True))
    def get_marks_advice(self, destination: Destination) -> dict[str, Any] | None:
        advice = self.context["summaries"][destination.pk].advice
        return dict(MarksAdviceSerializer(advice).data) if advice else None

    @extend_schema_field(serializers.DictField(child=serializers.IntegerField()))
    def get_counts(self, destination: Destination) -> dict[str, int]:
        return dict(self.context["summaries"][destination.pk].counts)

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_last_success_at(self, destination: Destination) -> str | None:
        last_at = self.context["summaries"][destination.pk].last_at
        return last_at.isoformat() if last_at else None


class ConnectionTestSerializer(serializers.Serializer[Any]):
    """The answer of a destination that was asked whether it can be used; nothing is changed there."""

    can_be_used = serializers.BooleanField()
    was_asked = serializers.BooleanField(help_text="false: this kind cannot be asked; its settings were checked")
    problems = serializers.ListField(child=serializers.CharField(), help_text="what is missing, a sentence each")


class PlannedDeliverySerializer(serializers.Serializer[Any]):
    asset = serializers.IntegerField(source="asset.pk")
    sku = serializers.CharField(source="asset.subject.key")
    changes = serializers.ListField(
        child=serializers.CharField(), source="sentences", help_text="what the delivery would do there"
    )
    error = serializers.CharField(allow_blank=True, help_text="why it would fail; usually empty")


class VerificationSerializer(serializers.Serializer[Any]):
    """The comparison of a file with the served one. distance: differing bits of the two hashes of 256 bits, or null."""

    name = serializers.CharField()
    url = serializers.CharField(allow_blank=True, required=False)
    outcome = serializers.ChoiceField(choices=selectors.OUTCOMES)
    distance = serializers.IntegerField(allow_null=True, required=False)
    message = serializers.CharField(allow_blank=True, required=False, help_text="why it could not be fetched")
    marks = serializers.ChoiceField(
        choices=MARKS,
        allow_blank=True,
        required=False,
        help_text="what is left of the marks; empty: unknown",
    )


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    destination = serializers.SlugRelatedField[Destination](slug_field="slug", read_only=True)
    campaign = serializers.CharField(source="asset.campaign.slug", read_only=True)
    sku = serializers.CharField(source="asset.subject.key", read_only=True)
    state = serializers.ChoiceField(choices=STATES, read_only=True, help_text="desired and observed in one word")
    mend = serializers.SerializerMethodField(
        help_text="what mends it: retry, release or send (POST it), product (choose the product on the destination's "
        "page), open (enable the destination), or empty"
    )
    next_attempt_at = serializers.DateTimeField(source="due_at", read_only=True, allow_null=True)
    verification = VerificationSerializer(many=True, read_only=True)

    class Meta:
        model = Delivery
        fields = [
            "id", "asset", "sku", "campaign", "destination", "version", "state", "mend", "desired", "observed",
            "is_released", "publish_at", "alt_text", "files", "verification", "verified_at", "attempts",
            "next_attempt_at", "error", "changed_at",
        ]  # fmt: skip

    def get_mend(self, delivery: Delivery) -> str:
        return selectors.find_mend(delivery)


class AltTextRequest(serializers.Serializer[Any]):
    alt_text = serializers.CharField(
        allow_blank=True, max_length=MAX_ALT_TEXT, help_text="read to people who do not see the image; empty: the name"
    )
    everywhere = serializers.BooleanField(default=False, help_text="at all destinations of the image")


class PublishAtRequest(serializers.Serializer[Any]):
    publish_at = serializers.DateTimeField(allow_null=True, help_text="null: as soon as possible")


class MatchingDeliveries(serializers.Serializer[Any]):
    """A selection of deliveries: those that match every given condition. At least one condition is required."""

    ids = serializers.ListField(child=serializers.IntegerField(min_value=1), max_length=MAX_CHOSEN, required=False)
    state = serializers.ChoiceField(choices=STATES, required=False)
    destination = serializers.SlugField(required=False)
    campaign = serializers.SlugField(required=False)
    text = serializers.CharField(required=False, max_length=200, help_text="words in the product's key or name")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError(_("Give ids, a state, destination, campaign or text."))
        return attrs


class DeliveriesRequest(serializers.Serializer[Any]):
    """A request for all deliveries of a brand that match."""

    brand = serializers.SlugField()
    action = serializers.ChoiceField(choices=ACTIONS)
    matching = MatchingDeliveries()
    publish_at = serializers.DateTimeField(
        allow_null=True, required=False, help_text="for “schedule”, and needed there; null: as soon as possible"
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if (attrs["action"] == "schedule") != ("publish_at" in attrs):
            raise serializers.ValidationError({"publish_at": _("Give it with “schedule”, and with no other action.")})
        return attrs


class ChangedDeliveries(serializers.Serializer[Any]):
    changed = serializers.IntegerField(help_text="deliveries for which it was done; others are in no state for it")
