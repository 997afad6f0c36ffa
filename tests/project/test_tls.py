"""Test that behind a TLS proxy one variable makes the installation pass Django's deployment checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client, override_settings

from config import env
from generation.provenance import signers

SITE = "https://proofline.example.com"
PAGE = "/accounts/login/"


@pytest.fixture
def behind_tls(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return `behind_tls(**variables)`, which makes the settings of an installation behind a TLS proxy."""

    def changed(**variables: str) -> Any:
        for name, value in ({"PROOFLINE_TLS_PROXY": "1"} | variables).items():
            monkeypatch.setenv(name, value)
        return override_settings(**env.tls(SITE))

    return changed


def test_the_deployment_checks_find_nothing(
    behind_tls: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    monkeypatch.delenv("DJANGO_ALLOW_ASYNC_UNSAFE", raising=False)  # set by the browser's driver in other tests
    identity = signers.self_made(tmp_path)
    monkeypatch.setattr(signers, "SELF_MADE", "another name")  # as a certificate of an authority has
    own = {"certificate": identity.certificates, "key": identity.key, "anchors": identity.anchors}
    marks = override_settings(PROVENANCE=settings.PROVENANCE | own)
    with behind_tls(), marks, override_settings(SECRET_KEY="0123456789abcdefghij" * 3, DEBUG=False):
        call_command("check", "--deploy", "--fail-level", "WARNING")


@pytest.mark.parametrize("proto", [None, "http", "HTTPS, http", "ftp"])
def test_what_did_not_come_over_https_is_redirected(proto: str | None, behind_tls: Callable[..., Any]) -> None:
    with behind_tls():
        answer = Client(headers={"X-Forwarded-Proto": proto} if proto else {}).get(PAGE)
    assert (answer.status_code, answer["Location"]) == (301, f"https://testserver{PAGE}")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({}, "max-age=31536000; includeSubDomains"),
        ({"PROOFLINE_HSTS_SECONDS": "60"}, "max-age=60; includeSubDomains"),
        ({"PROOFLINE_HSTS_SECONDS": "0"}, None),
        ({"PROOFLINE_TLS_PROXY": "0"}, None),
    ],
)
def test_browsers_get_the_header_to_stay_with_https(
    variables: dict[str, str], header: str | None, behind_tls: Callable[..., Any]
) -> None:
    with behind_tls(**variables):
        answer = Client(headers={"X-Forwarded-Proto": "https"}).get(PAGE)
    assert (answer.status_code, answer.get("Strict-Transport-Security")) == (200, header)
    assert all(cookie["secure"] for cookie in answer.cookies.values())


def test_a_site_without_https_cannot_be_behind_a_tls_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROOFLINE_TLS_PROXY", "1")
    with pytest.raises(ValueError, match=r"SITE_URL='http://proofline.example.com' does not begin with https://"):
        env.tls("http://proofline.example.com")
