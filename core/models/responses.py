"""Responses of the API that are kept for repeated requests."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.clock import MomentField
from core.models.brands import User


class StoredResponse(models.Model):
    """The first response for an Idempotency-Key, replayed for 24 h. Written by the API, removed by a periodic task."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    request_sha256 = models.CharField(max_length=64)
    status_code = models.PositiveSmallIntegerField(null=True, help_text=_("null while the first request still runs"))
    body = models.JSONField(null=True)
    headers = models.JSONField(default=dict)
    rights = models.JSONField(null=True, help_text=_("[[action, brand id]] that the first request needed"))
    created_at = MomentField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotency_key_once")]

    def __str__(self) -> str:
        return self.key
