"""Template tags and filters: icons, states, images, durations."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django import template
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.fetching import redact_address, redact_settings

register = template.Library()


@register.filter
def shown_address(text: Any) -> str:
    """Show an address, or a text with addresses, without logins and queries, which may hold keys."""
    return str(redact_settings(str(text))) if "://" in str(text) else redact_address(str(text))


#: Attributes that may contain a product's colour as hex; the first with a colour is used.
SWATCHES = ("colour_hex", "color_hex", "hex")

#: Labels on pages by the name of the field, where they differ from its name in words.
FIELD_LABELS = {
    "alternates": gettext_lazy("When it is slow or down"),
    "aspects": gettext_lazy("Outputs"),
    "endpoint": gettext_lazy("Made by"),
    "every_minutes": gettext_lazy("Fetch it"),
    "hex": gettext_lazy("Colour"),
    "product": gettext_lazy("Product"),
    "prompt_version": gettext_lazy("Prompt"),
    "release_at": gettext_lazy("Date and time"),
    "rows": gettext_lazy("The list"),
    "skus": gettext_lazy("SKUs"),
    "subject_ids": gettext_lazy("Products"),
    "subject_kind": gettext_lazy("Its rows are"),
    "subjects": gettext_lazy("Products"),
    "url": gettext_lazy("Address"),
}
#: What one entry of a field is called, before its name or number.
ENTRY_LABELS = {
    "axes": gettext_lazy("Axis %(name)s"),
    "output_specs": gettext_lazy("Output spec %(name)s"),
    "rows": gettext_lazy("Row %(name)s"),
    "subjects": gettext_lazy("Product %(name)s"),
}

_TONES = {
    "good": "approved present succeeded finished applied pass ready published decided live",
    "warn": "held paused stale revising needs_revision flag quarantined awaiting_version pending",
    "bad": "failed rejected revoked refused fail cancelled",
    "info": "running making in_review sending removing waiting open queued",
}


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """Return a symbol of templates/icons.svg. It is only decoration; the text is beside it."""
    return format_html('<svg class="icon {}" aria-hidden="true"><use href="#i-{}"></use></svg>', extra, name)


@register.simple_tag
def state(value: str, label: str = "") -> SafeString:
    """Return a state as shape, colour and word."""
    tone = next((tone for tone, values in _TONES.items() if value in values.split()), "")
    return format_html('<span class="state {}">{}</span>', tone, label or words(value))


@register.simple_tag
def disclaimer(text: str, extra: str = "") -> SafeString:
    """Show a disclaimer ("demo model") as a badge, if there is one. extra: "over" puts it over a corner of its box."""
    if not text:
        return SafeString("")
    return format_html('<span class="disclaimer {}" title="{}">{}</span>', extra, text, text)


@register.simple_tag
def image(kind: str, item: Any, px: int = 0) -> str:
    """Return the address of an image ("master", "rendition", "photo", "cutout"), which never changes; px: of a copy."""
    return f"{reverse('file', args=[kind, item.pk])}?v={item.sha256[:12]}" + (f"&px={px}" if px else "")


@register.filter
def seconds(value: float | None) -> str:
    """Return a duration in its two largest units: 75 -> "1 min 15 s"; Django's filters count no seconds."""
    if value is None:
        return "–"
    whole = round(value)
    if whole < 60:
        return _("%(seconds)s s") % {"seconds": whole if value >= 10 or whole == value else f"{value:.1f}"}
    (hours, minutes), left = divmod(whole // 60, 60), whole % 60
    numbers = {"hours": hours, "minutes": minutes, "seconds": left}
    if hours:
        return (_("%(hours)d h %(minutes)d min") if minutes else _("%(hours)d h")) % numbers
    return (_("%(minutes)d min %(seconds)d s") if minutes < 10 and left else _("%(minutes)d min")) % numbers


@register.filter
def between(low: float, high: float) -> str:
    """Return two durations as "20 s to 1 min 15 s"; only one if both look the same."""
    first, last = seconds(low), seconds(high)
    return first if first == last else _("%(first)s to %(last)s") % {"first": first, "last": last}


@register.filter
def money(value: Decimal, digits: int = 0) -> str:
    """Return an amount without trailing zeros: "0.04", "10"; with `digits` it is rounded: 0.021734 -> "0.022"."""
    if digits and value:
        value = round(value, max(2, digits - 1 - value.adjusted()))
    return f"{value.normalize():f}"


@register.filter
def ago(value: datetime | None) -> str:
    """Return how long ago a time was: "4 seconds ago", "3 days ago"; `naturaltime` has two units from a day on."""
    if value is None:
        return _("never")
    if timezone.now() - value < timedelta(days=1):
        return str(naturaltime(value))
    return _("%(duration)s ago") % {"duration": timesince(value, depth=1)}


@register.filter
def per_minute(rate: float) -> int:
    return round(60 * rate)


@register.filter
def percent(part: float, whole: float) -> int:
    return round(100 * part / whole) if whole else 0


@register.filter
def item(mapping: dict[Any, Any], key: Any) -> Any:
    """Return `mapping[key]`, or ""."""
    return mapping.get(key, "") if mapping else ""


@register.filter
def pairs(mapping: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return names and values of plain JSON; in a template, `mapping.items` could be a key called "items"."""
    return list(mapping.items()) if mapping else []


@register.filter
def swatch(attributes: dict[str, Any]) -> str:
    """Return the product's colour as "#rrggbb" if the feed has one, else ""; safe to use in a style."""
    values = (str(attributes.get(name, "")) for name in SWATCHES)
    return next((value for value in values if re.fullmatch(r"#[0-9a-fA-F]{6}", value)), "")


@register.filter
def words(value: str) -> str:
    """Return "needs_revision" as "needs revision"."""
    return str(value).replace("_", " ")


@register.filter
def field_label(pointer: str) -> str:
    """Return the label of the field that a problem names: "SKUs" for "skus", "Product KM-1" for "subjects/KM-1".

    A cell of a table keeps its name. The result is empty for a problem of the whole form.
    """
    name, *places = pointer.strip("/?").split("/")
    if places and name in ENTRY_LABELS:
        entry = ENTRY_LABELS[name] % {"name": places[0]}
        return f"{entry}, {words(places[-1])}" if len(places) > 1 else str(entry)
    name = next((place for place in reversed(places) if not place.isdecimal()), name)
    return str(FIELD_LABELS.get(name) or capfirst(words(name)))


@register.filter
def share(part: float) -> str:
    """Return a share 0–1 of an image as a percentage for CSS: 0.25 -> "25.00"."""
    return f"{100 * min(1.0, max(0.0, float(part))):.2f}"


@register.filter
def rest(part: float) -> str:
    """Return the rest of a share 0–1, as `share` does: 0.75 -> "25.00"."""
    return share(1 - float(part))


@register.filter
def until(start: datetime, end: datetime) -> str:
    """Return the duration from start to end: "3.2 s"."""
    return seconds((end - start).total_seconds())
