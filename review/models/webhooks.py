"""Models of webhooks: the addresses that are told about events, their messages, and each attempt to send one."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from core import encryption
from core.access import BrandOwned
from core.clock import MomentField
from core.fetching import redact_address
from core.models import Brand, LeasedRow
from review.choices import MessageState, WebhookEvent


class WebhookEndpoint(models.Model):
    """An address that gets signed messages about chosen events of a brand. Written by services/webhooks.py.

    `secret` signs; until `previous_secret_until` the previous secret signs too, so that a receiver can change over. A
    person can read a secret once: `secret_shown_at`. The row is never deleted, only disabled.
    """

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="webhooks")
    name = models.CharField(max_length=120)
    url = models.CharField(max_length=2000)
    events = models.JSONField(default=list, help_text=_("the types of messages that it gets, see WebhookEvent"))
    sealed_secret = models.TextField(editable=False)
    secret_shown_at = models.DateTimeField(null=True, blank=True, editable=False)
    sealed_previous_secret = models.TextField(blank=True, editable=False)
    previous_secret_until = models.DateTimeField(null=True, blank=True, editable=False)
    is_enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=300, blank=True)
    failing_since = models.DateTimeField(
        null=True, blank=True, help_text=_("the first failed attempt since a message last arrived")
    )
    created_at = MomentField(auto_now_add=True)

    secret = encryption.encrypted_property("sealed_secret")
    previous_secret = encryption.encrypted_property("sealed_previous_secret")
    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand", "name", "id"]

    def __str__(self) -> str:
        return self.name

    @property
    def redacted_url(self) -> str:
        """Return the address as people may see it, because its query may contain a key."""
        return redact_address(self.url)

    @property
    def event_labels(self) -> list[str]:
        return [str(WebhookEvent(value).label) for value in self.events if value in WebhookEvent]


class WebhookMessage(LeasedRow):
    """One message to one address, inserted in the transaction of the event. Removed after 30 days.

    event_id: names the business event; the same at all addresses and for all attempts, so that a receiver can
    recognise a message that it has already handled. payload: {"type", "timestamp", "data"}, sent as it is.
    """

    id = models.BigAutoField(primary_key=True)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.PROTECT, related_name="messages", db_index=False)
    event_id = models.CharField(max_length=40)
    type = models.CharField(max_length=40)
    payload = models.JSONField()
    state = models.CharField(max_length=10, choices=MessageState.choices, default=MessageState.WAITING)
    error = models.CharField(max_length=500, blank=True)
    created_at = MomentField(auto_now_add=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    objects = BrandOwned.through("endpoint__brand").as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["endpoint", "event_id"], name="webhook_message_once")]
        indexes = [
            # The next message of an address.
            models.Index(fields=["endpoint", "due_at"], name="webhook_message_due", condition=Q(due_at__isnull=False)),
            # Is a message being sent to this address? One at a time, so that a slow receiver holds up only itself.
            models.Index(fields=["endpoint"], name="webhook_message_sent", condition=Q(lease_token__isnull=False)),
            # The log of an address, newest first.
            models.Index(fields=["endpoint", "-id"], name="webhook_message_log"),
            # The removal of old messages.
            models.Index(fields=["created_at"], name="webhook_message_age"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


class WebhookAttempt(models.Model):
    """One attempt to send a message, inserted before it is sent. Removed with its message.

    answer: the beginning of what the receiver answered. error: why it counts as failed, empty if it arrived.
    """

    id = models.BigAutoField(primary_key=True)
    message = models.ForeignKey(WebhookMessage, on_delete=models.CASCADE, related_name="attempt_rows", db_index=False)
    number = models.PositiveSmallIntegerField()
    started_at = models.DateTimeField()
    milliseconds = models.PositiveIntegerField(null=True, help_text=_("null while it runs, and if it was cut off"))
    status_code = models.PositiveSmallIntegerField(null=True)
    answer = models.CharField(max_length=1000, blank=True)
    error = models.CharField(max_length=500, blank=True)

    objects = BrandOwned.through("message__endpoint__brand").as_manager()

    class Meta:
        ordering = ["message", "number"]
        constraints = [models.UniqueConstraint(fields=["message", "number"], name="webhook_attempt_once")]

    def __str__(self) -> str:
        return f"attempt {self.number} of message {self.message_id}"
