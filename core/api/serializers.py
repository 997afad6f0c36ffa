"""Serializers of brands."""

from __future__ import annotations

from rest_framework import serializers

from core.models import Brand


class BrandSerializer(serializers.ModelSerializer[Brand]):
    class Meta:
        model = Brand
        fields = ["id", "slug", "name", "currency", "stale_use", "banned_words"]
        read_only_fields = ["id", "slug", "name", "currency"]
