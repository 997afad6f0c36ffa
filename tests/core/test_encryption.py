"""Tests of secrets at rest: stored values do not show them, and keys can be rotated."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from core import encryption
from generation.models import Endpoint
from tests.support import factories


@pytest.mark.django_db
def test_what_is_stored_does_not_show_the_secret() -> None:
    endpoint = factories.EndpointFactory(secret="r8_a-token-of-replicate")
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(e)::text FROM generation_endpoint e WHERE id = %s", [endpoint.pk])
        stored = cursor.fetchone()[0]
    assert "a-token" not in stored
    assert Endpoint.objects.get(pk=endpoint.pk).secret == "r8_a-token-of-replicate"


def test_the_same_secret_is_stored_differently_each_time() -> None:
    assert encryption.encrypt("key") != encryption.encrypt("key")
    assert encryption.encrypt("") == encryption.decrypt("") == ""


def test_a_new_first_key_still_reads_what_the_old_one_wrote(settings: Any) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"secret_keys": ["old"]}
    token = encryption.encrypt("key")
    settings.PROOFLINE = settings.PROOFLINE | {"secret_keys": ["new", "old"]}
    assert encryption.decrypt(token) == "key"
    newer = encryption.encrypt("key")
    settings.PROOFLINE = settings.PROOFLINE | {"secret_keys": ["new"]}
    assert encryption.decrypt(newer) == "key"
    with pytest.raises(encryption.Unreadable, match="enter it again"):
        encryption.decrypt(token)
