"""The form of an endpoint, which turns input into the service's arguments. The secret has a form of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core import storable
from core.choices import Lane
from core.config_fields import ConfigFields, SettingsArea
from core.fetching import redact_settings
from core.models import Brand
from core.plugin_config import Kind, Source
from generation import prices
from generation.choices import WhenUncertain
from generation.engines import base as engines
from generation.models import Endpoint

LANES: Final = [
    (Lane.CLOUD, gettext_lazy("cloud: a service is asked")),
    (Lane.GPU, gettext_lazy("gpu: our own cards")),
    (Lane.CPU, gettext_lazy("cpu: our own machines")),
]
PRICE: Final = "price_"
SETTING: Final = "setting_"


def list_engines(*, is_operator: bool) -> dict[str, str]:
    """Return the engines for which this person may set up an endpoint, as name -> label."""
    plugins = engines.list_declarations()
    return {plugin.name: _(plugin.label) for plugin in plugins if is_operator or not plugin.is_operator_only}


class EndpointForm(forms.Form):
    """The form of an endpoint without its secret. A new endpoint also has a short name and a switch to share it.

    engine: the engine of a new endpoint. Each setting that the engine declares has a field of its own; all other
    settings are JSON. Only an operator can change the operator's settings.
    """

    slug = forms.CharField(
        label=gettext_lazy("Short name"), max_length=50,
        help_text=gettext_lazy("For addresses and the API; it stays. Letters, digits, - and _."),
    )  # fmt: skip
    is_shared = forms.BooleanField(label=gettext_lazy("Serves all brands"), required=False)
    name = forms.CharField(label=gettext_lazy("Name"), max_length=120)
    lane = forms.ChoiceField(label=gettext_lazy("Where it works"), choices=LANES, initial=Lane.CLOUD)
    config = forms.CharField(
        label=gettext_lazy("Other settings of the engine"), required=False,
        widget=SettingsArea(attrs={"rows": 4, "class": "mono", "spellcheck": "false"}),
        help_text=gettext_lazy("JSON. No keys or passwords: they are the secret."),
    )  # fmt: skip
    max_concurrent = forms.IntegerField(
        label=gettext_lazy("Submissions at once, at most"), required=False,
        help_text=gettext_lazy("Empty: found out by itself; of a Cog server 1."),
    )  # fmt: skip
    max_per_second = forms.FloatField(
        label=gettext_lazy("Submissions a second, at most"), required=False, help_text=gettext_lazy("Empty: found out.")
    )
    max_per_minute = forms.FloatField(
        label=gettext_lazy("Submissions a minute, at most"), required=False, help_text=gettext_lazy("Empty: found out.")
    )
    when_uncertain = forms.ChoiceField(
        label=gettext_lazy("A submission whose answer was lost"),
        choices=[
            (WhenUncertain.HOLD, gettext_lazy("waits for a person")),
            (WhenUncertain.RESUBMIT, gettext_lazy("is submitted again; it may be paid twice")),
        ],
        help_text=gettext_lazy("Only where the service cannot be asked afterwards."),
    )
    batch_size = forms.IntegerField(
        label=gettext_lazy("Images per batch"), initial=1, help_text=gettext_lazy("Of our own machines.")
    )
    seconds_per_image = forms.FloatField(
        label=gettext_lazy("Seconds for one image"), initial=10, help_text=gettext_lazy("For quotes.")
    )
    price_per_image = forms.DecimalField(
        label=gettext_lazy("Fixed price of one image"), initial=0, decimal_places=6,
        help_text=gettext_lazy("Where the service counts nothing."),
    )  # fmt: skip
    licence_note = forms.CharField(
        label=gettext_lazy("Terms of use"), required=False, widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy("Licence of the model, and what its images may be used for. Shown where it is picked."),
    )  # fmt: skip
    disclaimer = forms.CharField(
        label=gettext_lazy("What must stand beside its images"), required=False, max_length=40,
        widget=forms.TextInput(attrs={"placeholder": gettext_lazy("demo model")}),
        help_text=gettext_lazy("Most need nothing."),
    )  # fmt: skip

    def __init__(
        self, data: Any = None, *, endpoint: Endpoint | None = None, engine: str = "", is_operator: bool = False
    ) -> None:
        self.engine = endpoint.engine if endpoint else engine
        self.plugin = engines.find_declaration(self.engine)
        config, own = redact_settings(endpoint.config) if endpoint else {}, _settings_of_other_pages(endpoint)
        self.config_fields = ConfigFields(self.plugin.config, config, SETTING)
        self.settings = self.config_fields.settings
        others = {key: config[key] for key in config if SETTING + key not in self.settings and key not in own}
        initial = (_initial(endpoint) if endpoint else {}) | self.config_fields.initial
        initial["config"] = json.dumps(others, indent=2, ensure_ascii=False) if others else ""
        super().__init__(data, initial=initial)
        self.endpoint = endpoint
        is_locked = not is_operator and self.plugin.is_local
        self.fields |= self.config_fields.make()
        for name, setting in self.settings.items():
            self.fields[name].disabled = is_locked or (setting.is_operator_only and not is_operator)
        self.fields["config"].disabled = is_locked
        if self.settings and not others:
            del self.fields["config"]
        if endpoint is not None and endpoint.sealed_secret and is_operator:
            help_text = _("Only where an address above changes: the kept one is not sent elsewhere.")
            self.fields["secret"] = _secret(_("Secret, once more"), is_required=False, help_text=help_text)
        for name, unit in prices.UNITS.items():
            self.fields[PRICE + name] = forms.DecimalField(
                label=str(unit.words).capitalize(), required=False, max_digits=18, decimal_places=12
            )
        if endpoint is not None:
            del self.fields["slug"], self.fields["is_shared"]
        elif not is_operator:
            del self.fields["is_shared"]
        self._leave_out()

    def _leave_out(self) -> None:
        """Drop what does not concern this engine; limits and prices only while nobody has set them."""
        lanes = self.plugin.lanes
        self.fields["lane"].choices = [(lane, words) for lane, words in LANES if lane in lanes]  # type: ignore[attr-defined]
        self.fields["lane"].initial = lanes[0]
        if self.plugin.is_local:
            measures = ("max_concurrent", "max_per_second", "max_per_minute", *(PRICE + unit for unit in prices.UNITS))
            idle = ["when_uncertain", *(name for name in measures if self.initial.get(name) is None)]
        else:
            idle = ["lane", "batch_size"] if len(lanes) == 1 else []
        for name in idle:
            del self.fields[name]

    def groups(self) -> list[dict[str, Any]]:
        """Return the groups of the page, JSON fields last, without empty fields that this person cannot set. The fields
        that most endpoints leave empty ("seldom") are folded up unless the group "is_open"."""
        shown = [name for name in self.settings if not self.fields[name].disabled or self[name].value()]
        shown.sort(key=lambda name: self.settings[name].kind == Kind.JSON)
        seldom = [name for name in shown if self.settings[name].is_advanced]
        usual = [name for name in shown if name not in seldom]
        limits = ("max_concurrent", "max_per_second", "max_per_minute", "when_uncertain", "batch_size")
        costs = ("price_per_image", *(PRICE + unit for unit in prices.UNITS), "seconds_per_image")
        return [
            self._group("", ("name", "slug", "lane", "is_shared")),
            self._group(_("The engine"), (*usual, "config", "secret"), seldom),
            self._group(_("What it may be given"), limits),
            self._group(_("What it costs"), costs),
            self._group(_("What people read"), ("licence_note", "disclaimer")),
        ]

    def _group(self, heading: str, names: Sequence[str], seldom: Sequence[str] = ()) -> dict[str, Any]:
        fields, folded = [self[name] for name in names if name in self.fields], [self[name] for name in seldom]
        is_open = any(field.errors or field.value() for field in folded)
        return {"heading": heading, "fields": fields, "seldom": folded, "is_open": is_open}

    def clean_config(self) -> dict[str, Any]:
        try:
            config = storable.read_json_field(self.cleaned_data["config"] or "{}")
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        if not isinstance(config, dict):
            raise forms.ValidationError(_('Write an object such as {"model": "owner/name"}.'))
        return config

    def clean(self) -> dict[str, Any]:
        """Put the config together from settings of other pages, the JSON field and settings with fields."""
        given = super().clean() or {}
        config = {**_settings_of_other_pages(self.endpoint), **given.get("config", {})}
        config |= self.config_fields.read(self, given, self.endpoint.config if self.endpoint else {})
        return {name: value for name, value in given.items() if name not in self.settings} | {"config": config}

    def values(self) -> dict[str, Any]:
        """Return the service's arguments without engine and brand; prices are gathered into one table."""
        given = {"lane": self.plugin.lanes[0], **self.cleaned_data}  # there is no field for an only lane
        given.pop("is_shared", None)
        given.pop("secret", None)
        table = {unit: given.pop(PRICE + unit, None) for unit in prices.UNITS}
        return given | {"prices": {unit: _plain(price) for unit, price in table.items() if price is not None}}


class BudgetForm(forms.Form):
    monthly_budget = forms.DecimalField(
        required=False, min_value=0, max_digits=12, decimal_places=2,
        help_text=gettext_lazy("For all campaigns together. Empty: no limit but the campaigns' own."),
    )  # fmt: skip

    def __init__(self, brand: Brand, data: Any = None) -> None:
        super().__init__(data, initial={"monthly_budget": brand.monthly_budget})
        self.fields["monthly_budget"].label = _("Budget per month, %(currency)s") % {"currency": brand.currency}


class SecretForm(forms.Form):
    """A form that only takes a new secret. The page never shows the stored one."""

    def __init__(self, data: Any = None, *, is_required: bool = True) -> None:
        super().__init__(data, auto_id="secret_%s")
        help_text = _("API key or token. Kept encrypted, used by workers, shown to nobody.")
        self.fields["secret"] = _secret(_("Secret"), is_required=is_required, help_text=help_text)


def _secret(label: str, *, is_required: bool, help_text: str) -> forms.CharField:
    widget = forms.PasswordInput(attrs={"autocomplete": "new-password"}, render_value=False)
    return forms.CharField(label=label, required=is_required, max_length=10_000, widget=widget, help_text=help_text)


def _settings_of_other_pages(endpoint: Endpoint | None) -> Mapping[str, Any]:
    """Return the settings that have a page of their own: an uploaded workflow and its marks."""
    if endpoint is None:
        return {}
    names = endpoint.plugin.config.names_from(Source.PAGE)
    return {name: value for name, value in endpoint.config.items() if name in names}


def _initial(endpoint: Endpoint) -> dict[str, Any]:
    plain = ("name", "lane", "max_concurrent", "when_uncertain", "batch_size", "licence_note", "disclaimer")
    rates = ("max_per_second", "max_per_minute", "seconds_per_image")
    table = endpoint.prices if isinstance(endpoint.prices, dict) else {}
    return {
        **{name: getattr(endpoint, name) for name in plain},
        **{name: _short(value) for name in rates if (value := getattr(endpoint, name)) is not None},
        "price_per_image": _plain(endpoint.price_per_image),
        **{PRICE + unit: price for unit, price in table.items()},
    }


def _short(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else str(value)


def _plain(price: Decimal) -> str:
    return f"{price.normalize():f}"
