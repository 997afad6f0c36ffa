"""Typed readers of environment variables. Every variable that Proofline knows is read in settings.py or embedded.py."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

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


def var_dir() -> Path:
    """Where everything that is made at run time lies: database, queue, files, logs."""
    return Path(text("PROOFLINE_VAR", str(ROOT / "var"))).resolve()
