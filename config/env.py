"""Typed readers of environment variables. Every variable that Proofline knows is read in settings.py or embedded.py."""

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
    """True for 1, true, yes, on; raises ValueError for anything that is neither true nor false."""
    raw = os.environ.get(name, "").strip().lower()
    if not raw:
        return default
    if raw in {"1", "true", "yes", "on"}:
        return True
    if raw in {"0", "false", "no", "off"}:
        return False
    raise ValueError(f"{name}={raw!r}: expected one of 1, true, yes, on, 0, false, no, off")


def number(name: str, default: int) -> int:
    raw = os.environ.get(name, "").strip()
    if not raw:
        return default
    try:
        return int(raw)
    except ValueError:
        raise ValueError(f"{name}={raw!r}: expected a whole number") from None


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list."""
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


def networks(name: str) -> list[str]:
    """A comma-separated list of networks such as 10.2.0.0/16; raises ValueError for what is none."""
    found = []
    for part in words(name):
        try:
            found.append(str(ipaddress.ip_network(part)))
        except ValueError as error:
            raise ValueError(f"{name}={part!r}: expected a network such as 10.2.0.0/16 ({error})") from None
    return found


def ports(name: str) -> list[int]:
    """A comma-separated list of port numbers."""
    found = words(name)
    if wrong := [part for part in found if not (part.isdecimal() and 0 < int(part) < 65536)]:
        raise ValueError(f"{name}={wrong[0]!r}: expected a port number from 1 to 65535")
    return [int(part) for part in found]


def tls(site_url: str) -> dict[str, Any]:
    """Django's settings for https: secure cookies where `site_url` begins with it, and all that a proxy in front
    allows (PROOFLINE_TLS_PROXY), which ends TLS and says so in X-Forwarded-Proto. Raises ValueError."""
    is_https = site_url.startswith("https://")
    found: dict[str, Any] = {"SESSION_COOKIE_SECURE": is_https, "CSRF_COOKIE_SECURE": is_https}
    if not flag("PROOFLINE_TLS_PROXY"):
        return found
    if not is_https:
        raise ValueError(f"PROOFLINE_TLS_PROXY is on, but SITE_URL={site_url!r} does not begin with https://")
    return found | {
        "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
        "SECURE_SSL_REDIRECT": True,
        "SECURE_HSTS_SECONDS": number("PROOFLINE_HSTS_SECONDS", 31_536_000),
        "SECURE_HSTS_INCLUDE_SUBDOMAINS": True,
        # The preload list of browsers covers a whole domain, so its owner decides about it, not this site.
        "SILENCED_SYSTEM_CHECKS": ["security.W021"],
    }


def mail(url: str) -> dict[str, Any]:
    """Django's EMAIL_ settings out of one address: smtp://user:password@host:25 in the clear, smtp+tls:// with STARTTLS
    (587), smtps:// encrypted from the start (465), console:// for the log; "" sends nothing. Raises ValueError."""
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
    """Return the folder of everything that is made at run time: database, queue, files, logs."""
    return Path(text("PROOFLINE_VAR", str(ROOT / "var"))).resolve()
