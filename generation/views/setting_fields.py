"""Form fields for the settings of an engine: a field per kind, and the conversion from and to JSON values."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.forms import SettingInput, SettingsArea
from core import storable
from generation.engines.settings import Kind, Setting

_CODE: Final = {"class": "mono", "spellcheck": "false"}
_MOST_ROWS: Final = 16
_YES_NO: Final = {"true": gettext_lazy("Yes"), "false": gettext_lazy("No")}
_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")


def field(setting: Setting, shown: str = "") -> forms.Field:
    """Return an optional field with room for `shown`; an empty field leaves the setting out, so its default applies."""
    common: dict[str, Any] = {"label": setting.label, "required": False, "help_text": setting.hint}
    usual = _("As usual: %(value)s") % {"value": setting.default_text} if setting.default_text else _("As usual")
    hints = {"placeholder": setting.default_text or setting.example, "autocomplete": "off"}
    match setting.kind:
        case Kind.SWITCH | Kind.CHOICE:
            choices = _YES_NO if setting.kind == Kind.SWITCH else {choice: choice for choice in setting.choices}
            labels = {"": usual, **choices}
            # A stored value that is not a choice is posted back unchanged: it is refused instead of lost.
            labels.setdefault(shown, shown)
            return forms.ChoiceField(choices=list(labels.items()), **common)
        case Kind.NUMBER | Kind.WHOLE:
            # The allowed range is checked with the other settings, not by the browser.
            return forms.CharField(widget=forms.TextInput({**hints, "inputmode": "decimal"}), **common)
        case Kind.LINES | Kind.JSON:
            rows = min(max(shown.count("\n") + 1, 2 if setting.kind == Kind.LINES else 3), _MOST_ROWS)
            return forms.CharField(
                widget=SettingsArea({**hints, **_CODE, "rows": rows, "placeholder": setting.example}), **common
            )
    return forms.CharField(widget=SettingInput(hints), **common)


def text(setting: Setting, value: Any) -> str:
    """Return a value of the config as its field shows it; a value of the wrong kind is shown as JSON."""
    if value is None or (isinstance(value, str) and setting.kind != Kind.ANY):
        return value or ""
    if isinstance(value, str):
        return value if _word(value) == value else json.dumps(value)
    if setting.kind == Kind.LINES and isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return json.dumps(value, indent=2 if setting.kind in (Kind.JSON, Kind.LINES) else None, ensure_ascii=False)


def value(setting: Setting, given: str) -> Any:
    """Return the input as a JSON value; None for an empty field. Raises ValueError with a message for people."""
    given = given.strip()
    if not given:
        return None
    match setting.kind:
        case Kind.SWITCH:
            return given == "true"
        case Kind.NUMBER | Kind.WHOLE:
            if _GROUPED.fullmatch(given):
                raise ValueError(
                    _("%(number)s can be read in two ways; write it without the comma.") % {"number": given}
                )
            try:
                number = float(given.replace(",", "."))
            except ValueError:
                raise ValueError(setting.problem(given)) from None
            if not math.isfinite(number):
                raise ValueError(setting.problem(given))
            return int(number) if number.is_integer() else number
        case Kind.LINES:
            return [line.strip() for line in given.splitlines() if line.strip()]
        case Kind.JSON:
            return storable.read_json_field(given)
        case Kind.ANY:
            return storable.read_json_field(given) if given.startswith(("{", "[")) else _word(given)
    return given


def _word(text: str) -> Any:
    try:
        return storable.read_json_field(text)
    except ValueError:
        return text
