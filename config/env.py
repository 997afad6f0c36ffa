"""Typed readers of environment variables. All variables of Proofline are read in settings.py or embedded.py.

environs is not used: it refuses values that are empty or have spaces around them, and its errors name no value.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def flag(name: str, *, default: bool = False) -> bool:
    """Return True for 1, true, yes, on, and False for 0, false, no, off. Raises ValueError for other values."""
    raw = text(name).lower()
    if raw in {"1", "true", "yes", "on"}:
        return True
    if raw in {"0", "false", "no", "off"}:
        return False
    if not raw:
        return default
    raise ValueError(f"{name}={raw!r}: expected one of 1, true, yes, on, 0, false, no, off")


def number(name: str, default: int) -> int:
    try:
        return int(text(name, str(default)))
    except ValueError:
        raise ValueError(f"{name}={text(name)!r}: expected a whole number") from None


def words(name: str, default: str = "") -> list[str]:
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


def networks(name: str) -> list[str]:
    """Return a comma-separated list of networks such as 10.2.0.0/16; raises ValueError if one is not valid."""
    valid_networks = []
    for part in words(name):
        try:
            valid_networks.append(str(ipaddress.ip_network(part)))
        except ValueError as error:
            raise ValueError(f"{name}={part!r}: expected a network such as 10.2.0.0/16 ({error})") from None
    return valid_networks


def ports(name: str) -> list[int]:
    parts = words(name)
    if wrong := [part for part in parts if not (part.isdecimal() and 0 < int(part) < 65536)]:
        raise ValueError(f"{name}={wrong[0]!r}: expected a port number from 1 to 65535")
    return [int(part) for part in parts]


def tls(site_url: str) -> dict[str, Any]:
    """Return Django's settings for https, with PROOFLINE_TLS_PROXY also those behind a proxy. Raises ValueError."""
    is_https = site_url.startswith("https://")
    settings: dict[str, Any] = {"SESSION_COOKIE_SECURE": is_https, "CSRF_COOKIE_SECURE": is_https}
    if not flag("PROOFLINE_TLS_PROXY"):
        return settings
    if not is_https:
        raise ValueError(f"PROOFLINE_TLS_PROXY is on, but SITE_URL={site_url!r} does not begin with https://")
    return settings | {
        "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
        "SECURE_SSL_REDIRECT": True,
        "SECURE_HSTS_SECONDS": number("PROOFLINE_HSTS_SECONDS", 31_536_000),
        "SECURE_HSTS_INCLUDE_SUBDOMAINS": True,
        # The preload list of browsers covers a whole domain, so its owner must decide about it.
        "SILENCED_SYSTEM_CHECKS": ["security.W021"],
    }


def mail(url: str) -> dict[str, Any]:
    """Return Django's EMAIL_ settings for an address. Raises ValueError.

    smtp://user:password@host:25 is unencrypted, smtp+tls:// uses STARTTLS (587), smtps:// is encrypted from the start
    (465), console:// writes to the log, and "" sends nothing.
    """
    backend = "django.core.mail.backends."
    if not url:
        return {"EMAIL_BACKEND": f"{backend}dummy.EmailBackend"}
    parts = urlsplit(url)
    if parts.scheme == "console":
        return {"EMAIL_BACKEND": f"{backend}console.EmailBackend"}
    ports = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
    if parts.scheme not in ports or not parts.hostname or parse_qs(parts.query):
        raise ValueError(
            f"EMAIL_URL={parts.scheme}://…: expected one of smtp, smtp+tls, smtps, as in smtps://user:password@host"
        )
    return {
        "EMAIL_BACKEND": f"{backend}smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or ports[parts.scheme],
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
    }


def var_dir() -> Path:
    """Return the folder for all run-time data: database, queue, files, logs."""
    return Path(text("PROOFLINE_VAR", str(ROOT / "var"))).resolve()
