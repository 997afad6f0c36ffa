"""Small words of the page language: icons, states, pictures, lengths of time."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from core.fetching import shown, shown_settings

register = template.Library()


@register.filter
def shown_address(text: Any) -> str:
    """Show an address, or a text with addresses, without logins and queries, which may hold keys."""
    return str(shown_settings(str(text))) if "://" in str(text) else shown(str(text))


#: Attributes that may hold a product's colour as hex; the first that does is drawn.
SWATCHES = ("colour_hex", "color_hex", "hex")

_TONES = {
    "good": {
        "approved",
        "present",
        "succeeded",
        "finished",
        "applied",
        "pass",
        "ready",
        "published",
        "decided",
        "live",
    },
    "warn": {
        "held",
        "paused",
        "stale",
        "revising",
        "needs_revision",
        "flag",
        "quarantined",
        "awaiting_version",
        "pending",
    },
    "bad": {"failed", "rejected", "revoked", "refused", "fail", "cancelled"},
    "info": {"running", "making", "in_review", "sending", "removing", "waiting", "open", "queued"},
}


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """One symbol of templates/icons.svg; decoration only, the words stand beside it."""
    return format_html('<svg class="icon {}" aria-hidden="true"><use href="#i-{}"></use></svg>', extra, name)


@register.simple_tag
def state(value: str, label: str = "") -> SafeString:
    """A state as shape, colour and word."""
    tone = next((tone for tone, values in _TONES.items() if value in values), "")
    return format_html('<span class="state {}">{}</span>', tone, label or str(value).replace("_", " "))


@register.simple_tag
def caution(text: str, extra: str = "") -> SafeString:
    """Show a disclaimer ("demo model") as a small badge, if there is one. `extra`: "over" lays it over a
    corner of the box that holds both."""
    if not text:
        return SafeString("")
    return format_html('<span class="caution {}" title="{}">{}</span>', extra, text, text)


@register.simple_tag
def picture(kind: str, item: Any, px: int = 0) -> str:
    """The address of a picture ("master", "rendition", "photo", "cutout"); with `px`, small enough for that edge.

    The content's hash is part of the address, so browsers may keep the file for ever.
    """
    address = reverse("file", args=[kind, item.pk])
    return f"{address}?v={item.sha256[:12]}" + (f"&px={px}" if px else "")


@register.filter
def seconds(value: float | None) -> str:
    """A length of time in the two units that matter: 75 -> "1 min 15 s"."""
    if value is None:
        return "–"
    whole = round(value)
    if whole < 60:
        return f"{whole} s" if value >= 10 or whole == value else f"{value:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole < 600 and whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 >= 60 else "")


@register.filter
def between(low: float, high: float) -> str:
    """Two lengths of time: "20 s to 1 min 15 s", one where both read the same."""
    first, last = seconds(low), seconds(high)
    return first if first == last else f"{first} to {last}"


@register.filter
def money(value: Decimal, digits: int = 0) -> str:
    """An amount without idle zeros: "0.04", "10"; with `digits` no more of them than matter: 0.021734 -> "0.022"."""
    if digits and value:
        value = round(value, max(2, digits - 1 - value.adjusted()))
    return f"{value.normalize():f}"


@register.filter
def ago(value: datetime | None) -> str:
    """Show how long ago it was, in one unit: "4 s ago", "3 days ago"."""
    if value is None:
        return "never"
    passed = (timezone.now() - value).total_seconds()
    for size, unit in ((86400, "day"), (3600, "h"), (60, "min"), (1, "s")):
        if passed >= size:
            count = int(passed // size)
            plural = "s" if unit == "day" and count > 1 else ""
            return f"{count} {unit}{plural} ago"
    return "just now"


@register.filter
def timeleft(value: datetime) -> str:
    """Show how long it is until then: "3 min 20 s"."""
    return seconds(max(0.0, (value - timezone.now()).total_seconds()))


@register.filter
def per_minute(rate: float) -> int:
    return round(60 * rate)


@register.filter
def percent(part: float, whole: float) -> int:
    return round(100 * part / whole) if whole else 0


@register.filter
def item(mapping: dict[Any, Any], key: Any) -> Any:
    """`mapping[key]`, or nothing."""
    return mapping.get(key, "") if mapping else ""


@register.filter
def pairs(mapping: dict[str, Any]) -> list[tuple[str, Any]]:
    """Names and values of plain JSON; `mapping.items` in a template would find a key called "items" first."""
    return list(mapping.items()) if mapping else []


@register.filter
def swatch(attributes: dict[str, Any]) -> str:
    """The product's colour as "#rrggbb" where the feed gives one, else nothing; safe to write into a style."""
    for name in SWATCHES:
        value = str(attributes.get(name, ""))
        if re.fullmatch(r"#[0-9a-fA-F]{6}", value):
            return value
    return ""


@register.filter
def words(value: str) -> str:
    """ "needs_revision" as a person writes it: "needs revision"."""
    return str(value).replace("_", " ")


@register.filter
def share(part: float) -> str:
    """A share 0–1 of a picture as CSS writes a percentage: 0.25 -> "25.00"."""
    return f"{100 * min(1.0, max(0.0, float(part))):.2f}"


@register.filter
def rest(part: float) -> str:
    """Show the rest of a share 0–1, as `share`: 0.75 -> "25.00"."""
    return share(1 - float(part))


@register.filter
def until(start: datetime, end: datetime) -> str:
    """Show how long it was from start to end: "3.2 s"."""
    return seconds((end - start).total_seconds())
