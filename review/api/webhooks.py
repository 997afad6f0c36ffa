"""API of webhooks: list, create and change them, rotate secrets, send tests, read the log, and send messages again."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Model, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.access import Action
from core.api.conventions import (
    BrandRowsViewSet,
    ensure_match,
    get_caller,
    idempotent,
    read_input,
    response_with_etag,
)
from core.api.inputs import OwnSlug
from core.fetching import redact_json
from core.models import Brand
from core.selectors import brands as brand_rows
from review.choices import WebhookEvent
from review.models import WebhookAttempt, WebhookEndpoint, WebhookMessage
from review.services import webhook_messages, webhooks

Row = TypeVar("Row", bound=Model)


class WebhookSerializer(serializers.ModelSerializer[WebhookEndpoint]):
    brand = OwnSlug(slug_field="slug", queryset=Brand.objects.all())
    url = serializers.CharField(max_length=2000, help_text="Returned with “?…” in place of its query.")
    events = serializers.ListField(child=serializers.ChoiceField(choices=WebhookEvent.choices), allow_empty=False)

    class Meta:
        model = WebhookEndpoint
        fields = [
            "id", "brand", "name", "url", "events", "is_enabled", "disabled_reason", "failing_since",
            "secret_shown_at", "previous_secret_until",
        ]  # fmt: skip
        read_only_fields = [
            "id", "is_enabled", "disabled_reason", "failing_since", "secret_shown_at", "previous_secret_until",
        ]  # fmt: skip

    def to_representation(self, instance: WebhookEndpoint) -> dict[str, Any]:
        return {**super().to_representation(instance), "url": instance.redacted_url}


class WebhookChange(WebhookSerializer):
    """The changeable fields of a webhook. Omitted fields stay as they are."""

    class Meta(WebhookSerializer.Meta):
        fields = ["name", "url", "events", "is_enabled"]
        read_only_fields: list[str] = []


class WebhookSecretResponse(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="“whsec_” and base64; the key of the signatures")


class WebhookAttemptSerializer(serializers.ModelSerializer[WebhookAttempt]):
    class Meta:
        model = WebhookAttempt
        fields = ["number", "started_at", "milliseconds", "status_code", "answer", "error"]


class WebhookMessageSerializer(serializers.ModelSerializer[WebhookMessage]):
    webhook = serializers.PrimaryKeyRelatedField[WebhookEndpoint](source="endpoint", read_only=True)
    next_attempt_at = serializers.DateTimeField(source="due_at", read_only=True, allow_null=True)

    class Meta:
        model = WebhookMessage
        fields = [
            "id", "webhook", "event_id", "type", "state", "error", "attempts", "next_attempt_at", "created_at",
            "delivered_at",
        ]  # fmt: skip


class WebhookMessageDetailSerializer(WebhookMessageSerializer):
    """A message with its payload and its attempts."""

    payload = serializers.SerializerMethodField()
    attempt_rows: Any = WebhookAttemptSerializer(many=True, read_only=True)

    class Meta(WebhookMessageSerializer.Meta):
        fields = [*WebhookMessageSerializer.Meta.fields, "payload", "attempt_rows"]

    def get_payload(self, message: WebhookMessage) -> dict[str, Any]:
        return dict(redact_json(message.payload))


class ReplayRequest(serializers.Serializer[Any]):
    since = serializers.DateTimeField(help_text="messages that were recorded before this time are left alone")


class ReplayResponse(serializers.Serializer[Any]):
    count = serializers.IntegerField(help_text="how many messages are sent again")


class DelivererRowsViewSet(BrandRowsViewSet[Row]):
    """Base of viewsets whose rows only those see who may deliver."""

    def get_queryset(self) -> QuerySet[Row]:
        rows: Any = super().get_queryset()
        allowed: QuerySet[Row] = rows.allowed_to(get_caller(self.request), Action.DELIVER)
        return allowed


class WebhookViewSet(DelivererRowsViewSet[WebhookEndpoint]):
    """Webhooks: addresses that are told about chosen events of a brand by signed messages."""

    serializer_class = WebhookSerializer
    filterset_fields = ["brand__slug", "is_enabled"]
    queryset = WebhookEndpoint.objects.select_related("brand")

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return response_with_etag(self.get_serializer(self.get_object()).data)

    @extend_schema(request=WebhookChange, responses=WebhookSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change name, address or events, or switch the webhook on or off. Needs If-Match.

        When it is switched on, what waits is sent at once.
        """
        current, fields = self.get_object(), read_input(WebhookChange, request, is_partial=True)
        with transaction.atomic():
            locked = self.get_queryset().select_for_update(of=("self",)).get(pk=current.pk)
            ensure_match(request, self.get_serializer(locked).data)
            changed = webhooks.change(endpoint_id=locked.pk, by=get_caller(request), **fields)
        return response_with_etag(self.get_serializer(changed).data)

    @idempotent
    def create(self, request: Request) -> Response:
        """Create a webhook; `POST …/secret/` then returns its secret, once."""
        fields = read_input(WebhookSerializer, request)
        brand = brand_rows.get(get_caller(request), fields.pop("brand").slug)
        made = webhooks.create(brand=brand, by=get_caller(request), **fields)
        return response_with_etag(self.get_serializer(made).data, status=201)

    @extend_schema(request=None, responses=WebhookSecretResponse)
    @action(detail=True, methods=["post"])
    def secret(self, request: Request, pk: str) -> Response:
        """Return the secret, which works once after it was made. 409: it was shown before; rotate it."""
        secret = webhooks.show_secret(endpoint_id=self.get_object().pk, by=get_caller(request))
        return Response({"secret": secret}, headers={"Cache-Control": "no-store"})

    @extend_schema(request=None, responses=WebhookSerializer)
    @action(detail=True, methods=["post"])
    @idempotent
    def rotate(self, request: Request, pk: str) -> Response:
        """Make a new secret. For 24 hours the previous one signs too."""
        endpoint = webhooks.rotate_secret(endpoint_id=self.get_object().pk, by=get_caller(request))
        return response_with_etag(self.get_serializer(endpoint).data)

    @extend_schema(request=None, responses=WebhookMessageDetailSerializer)
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:
        """Send a message of type `webhook.test` now and return it with its only attempt."""
        message = webhook_messages.send_test(endpoint_id=self.get_object().pk, by=get_caller(request))
        return Response(WebhookMessageDetailSerializer(message).data)

    @extend_schema(request=ReplayRequest, responses=ReplayResponse)
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, pk: str) -> Response:
        """Send again what was given up since a time, each message with its id."""
        since = read_input(ReplayRequest, request)["since"]
        endpoint_id = self.get_object().pk
        count = webhook_messages.replay_failed(endpoint_id=endpoint_id, since=since, by=get_caller(request))
        return Response({"count": count})


class WebhookMessageViewSet(DelivererRowsViewSet[WebhookMessage]):
    """Messages of the last 30 days."""

    serializer_class = WebhookMessageSerializer
    filterset_fields = ["endpoint", "state", "type", "event_id"]
    queryset = WebhookMessage.objects.prefetch_related("attempt_rows")

    @extend_schema(responses=WebhookMessageDetailSerializer)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return a message with its payload and its attempts."""
        return Response(WebhookMessageDetailSerializer(self.get_object()).data)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, pk: str) -> Response:
        """Send a message again now, with the same id."""
        message = webhook_messages.replay(message_id=self.get_object().pk, by=get_caller(request))
        return Response(self.get_serializer(message).data)
