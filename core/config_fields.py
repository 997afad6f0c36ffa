"""Form fields for the settings of plug-ins: a field per kind, and the conversion from and to JSON values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core import storable
from core.fetching import redact_settings
from core.plugin_config import Config, Kind, Setting

_CODE: Final = {"class": "mono", "spellcheck": "false"}
_MOST_ROWS: Final = 16
_YES_NO: Final = {"true": gettext_lazy("Yes"), "false": gettext_lazy("No")}
_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")


class HiddenQueries:
    """Mixin for text widgets that show addresses without login and query, also after a refused input."""

    def format_value(self, value: Any) -> str | None:
        text = super().format_value(value)  # type: ignore[misc]
        return "\n".join(redact_settings(line) for line in text.split("\n")) if text else text


class SettingInput(HiddenQueries, forms.TextInput):
    pass


class SettingsArea(HiddenQueries, forms.Textarea):
    pass


class LongTextField(forms.CharField):
    """A text of several lines, which takes a whole row of the form."""

    spans_row = True


class ConfigFields:
    """The fields of one config in a form, named by a prefix and the setting. config: as people may see it."""

    def __init__(self, model: type[Config], config: Mapping[str, Any], prefix: str) -> None:
        self.settings = {f"{prefix}{setting.name}": setting for setting in model.model_of(config).form_settings()}
        self.initial = {
            name: format_value(setting, config.get(setting.name)) for name, setting in self.settings.items()
        }

    def make(self) -> dict[str, forms.Field]:
        return {name: make_field(setting, self.initial[name]) for name, setting in self.settings.items()}

    def read(self, form: forms.BaseForm, given: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings in the cleaned values. Mistakes become errors; unchanged fields are as in `kept`."""
        config: dict[str, Any] = {}
        for name, setting in self.settings.items():
            entered = given.get(name, "").replace("\r\n", "\n")
            is_unchanged = setting.name in kept and entered.strip() == self.initial[name].strip()
            if is_unchanged and (form.fields[name].disabled or entered or kept[setting.name] == []):
                config[setting.name] = kept[setting.name]
                continue
            try:
                entry = parse_value(setting, entered)
            except ValueError as error:
                form.add_error(name, str(error))
            else:
                config |= {} if entry is None else {setting.name: entry}
        return config


def make_field(setting: Setting, shown: str = "") -> forms.Field:
    """Return an optional field with room for `shown`; an empty field leaves the setting out, so its default applies."""
    common: dict[str, Any] = {"label": setting.label, "required": False, "help_text": setting.hint}
    usual = _("Default: %(value)s") % {"value": setting.default_text} if setting.default_text else _("Default")
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
        case Kind.LINES | Kind.JSON | Kind.LONG_TEXT:
            least = {Kind.LINES: 2, Kind.JSON: 3}.get(setting.kind, setting.rows)
            rows = min(max(shown.count("\n") + 1, least), max(_MOST_ROWS, setting.rows))
            attributes = {**hints, **_CODE, "rows": rows, "placeholder": setting.example}
            field_class = LongTextField if setting.kind == Kind.LONG_TEXT else forms.CharField
            return field_class(widget=SettingsArea(attributes), **common)
    return forms.CharField(widget=SettingInput(hints), **common)


def format_value(setting: Setting, value: Any) -> str:
    """Return a value of the config as its field shows it; a value of the wrong kind is shown as JSON."""
    if value is None or (isinstance(value, str) and setting.kind != Kind.ANY):
        return value or ""
    if isinstance(value, str):
        return value if _word(value) == value else json.dumps(value)
    if setting.kind == Kind.LINES and isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return json.dumps(value, indent=2 if setting.kind in (Kind.JSON, Kind.LINES) else None, ensure_ascii=False)


def parse_value(setting: Setting, given: str) -> Any:
    """Return the input as a JSON value; None for an empty field. Raises ValueError with a message for people."""
    given = given.strip()
    if not given:
        return None
    match setting.kind:
        case Kind.SWITCH:
            return given == "true"
        case Kind.NUMBER | Kind.WHOLE:
            if _GROUPED.fullmatch(given):
                sentence = _("%(number)s can be read in two ways; write it without the comma.")
                raise ValueError(sentence % {"number": given})
            try:
                number = float(given.replace(",", "."))
            except ValueError:
                raise ValueError(setting.expectation) from None
            if not math.isfinite(number):
                raise ValueError(setting.expectation)
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
