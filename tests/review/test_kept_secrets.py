"""Test that a kept secret of a destination goes nowhere else when somebody changes the settings without knowing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import Invalid
from core.models import Brand, User
from review.delivery import base
from review.models import Destination
from review.services import destinations

pytestmark = pytest.mark.django_db

BEARER = "Authorization: Bearer {secret}"
TEMPLATE = 'upload: {method: POST, url: /files, headers: {X-Key: "{secret}"}, raw: "{file}", answer: {id: /id}}'
HTTPS = {"url": "https://cms.example.com"}
#: The settings of each kind, its secret, and each change that would send the secret to another server.
KINDS: dict[str, tuple[dict[str, Any], str, list[dict[str, Any]]]] = {
    "contentful": (
        {**HTTPS, "space": "cfexampleapi"},
        "key",
        [{"url": "https://evil.example.net"}, {"upload_url": "https://evil.example.net"}],
    ),
    "folder": (
        {"public_url": "https://cdn.example.com", "purge_url": "{url}", "purge_header": BEARER},
        "key of the purge",
        [{"public_url": "https://evil.example.net"}, {"purge_url": "https://evil.example.net"}],
    ),
    "s3": (
        {
            "bucket": "shop-images",
            "endpoint_url": "https://192.0.33.8",
            "public_url": "https://cdn.example.com",
            "purge_url": "{url}",
            "purge_header": BEARER,
        },
        "id:key purge",
        [
            {"public_url": "https://evil.example.net"},
            {"purge_url": "https://evil.example.net"},
            {"endpoint_url": "https://192.0.33.9"},
            {"bucket": "others"},
        ],
    ),
    "sftp": (
        {
            "host": "files.example.com",
            "user": "proofline",
            "host_keys": ["SHA256:" + "A" * 43],
            "public_url": "https://cdn.example.com",
            "purge_url": "{url}",
            "purge_header": BEARER,
        },
        "password purge",
        [
            {"host": "evil.example.net"},
            {"port": 2222},
            {"host_keys": ["SHA256:" + "B" * 43]},
            {"public_url": "https://evil.example.net"},
        ],
    ),
    "http": (
        {**HTTPS, "template": TEMPLATE},
        "key",
        [
            {"url": "https://evil.example.net"},
            {"template": TEMPLATE.replace("/files", "https://evil.example.net/files")},
        ],
    ),
    **{
        kind: (HTTPS, "user:key", [{"url": "https://evil.example.net"}])
        for kind in ("bynder", "resourcespace", "strapi", "wagtail", "woocommerce", "wordpress")
    },
    "sanity": (
        {**HTTPS, "project": "abc12def"},
        "key",
        [{"url": "https://evil.example.net"}, {"url": "", "project": "other"}],
    ),
    "cloudinary": ({**HTTPS, "cloud_name": "demo"}, "key:secret", [{"url": "https://evil.example.net"}]),
    "shopify": ({**HTTPS, "client_id": "app"}, "key", [{"url": "https://evil.example.net"}, {"client_id": "other"}]),
}


@pytest.fixture
def hand_over(brand: Brand, settings: Any, tmp_path: Path) -> Path:
    settings.PROOFLINE = settings.PROOFLINE | {"handover_folders": [str(tmp_path)]}
    folder = tmp_path / brand.slug
    folder.mkdir()
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_of_who_gets_the_secret_needs_the_secret_again(
    kind: str, brand: Brand, lead: User, hand_over: Path
) -> None:
    config, secret, changes = KINDS[kind]
    config = config | ({"path": str(hand_over / "shop")} if kind == "folder" else {})
    made = destinations.create(brand=brand, by=lead, slug=kind, name=kind, kind=kind, config=config, secret=secret)
    for change in changes:
        with pytest.raises(Invalid, match="Enter the keys again"):
            destinations.change(destination_id=made.pk, by=lead, config={**config, **change})
    assert Destination.objects.get(pk=made.pk).config == config


def test_every_kind_whose_secret_is_sent_is_tried_here() -> None:
    assert set(KINDS) | {"webhook"} == set(base.DESTINATIONS.names())


@pytest.mark.parametrize("purge_url", ["https://{path}", "https://api.example.com{path}", "https://{url}", "{path}"])
def test_no_file_name_is_part_of_the_host_that_gets_the_secret(
    purge_url: str, brand: Brand, lead: User, hand_over: Path
) -> None:
    config = {"path": str(hand_over / "shop"), "public_url": "https://cdn.example.com", "purge_url": purge_url}
    with pytest.raises(Invalid, match="purge_url"):
        destinations.create(brand=brand, by=lead, slug="f", name="F", kind="folder", config=config, secret="key")


def test_a_secret_of_a_megabyte_is_refused(brand: Brand, lead: User) -> None:
    with pytest.raises(Invalid, match="characters"):
        destinations.create(
            brand=brand, by=lead, slug="w", name="W", kind="wordpress", config=HTTPS, secret="u:" + "k" * 1_000_000
        )
