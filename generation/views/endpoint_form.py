"""The form of an endpoint, which turns input into the service's arguments. The secret has a form of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django import forms

from campaigns.forms import SettingsArea
from core.choices import Lane
from core.fetching import redact_settings
from core.models import Brand
from generation import prices
from generation.choices import WhenUncertain
from generation.engines import base as engines
from generation.engines import settings
from generation.models import Endpoint
from generation.selectors.endpoint_cards import ENGINES
from generation.views import setting_fields

LANES: Final = [
    (Lane.CLOUD, "cloud: a service is asked"),
    (Lane.GPU, "gpu: our own cards"),
    (Lane.CPU, "cpu: our own machines"),
]
LOCAL_LANES: Final = [lane for lane in LANES if lane[0] != Lane.CLOUD]
USUAL_ENGINE: Final = "replicate"
PRICE: Final = "price_"
SETTING: Final = "setting_"


@dataclass(frozen=True)
class Group:
    """Fields under a heading. seldom: fields that most endpoints leave empty; they are folded up while empty."""

    heading: str
    fields: Sequence[forms.BoundField]
    seldom: Sequence[forms.BoundField] = ()

    @property
    def is_open(self) -> bool:
        return any(field.errors or field.value() for field in self.seldom)


def list_engines(*, is_operator: bool) -> dict[str, str]:
    """Return the engines for which this person may set up an endpoint, as name -> label."""
    names = [name for name in engines.names() if is_operator or name not in settings.OPERATOR_ENGINES]
    return {name: str(ENGINES.get(name, name)) for name in names}


class EndpointForm(forms.Form):
    """The form of an endpoint without its secret. A new endpoint also has a short name and a switch to share it.

    engine: the engine of a new endpoint. Each setting that engines/settings.py lists has a field of its own; all
    other settings are JSON. Only an operator can change the operator's settings.
    """

    slug = forms.CharField(
        label="Short name", max_length=50, help_text="For addresses and the API; it stays. Letters, digits, - and _."
    )
    is_shared = forms.BooleanField(label="Serves all brands", required=False)
    name = forms.CharField(label="Name", max_length=120)
    lane = forms.ChoiceField(label="Where it works", choices=LANES, initial=Lane.CLOUD)
    config = forms.CharField(
        label="Other settings of the engine",
        required=False,
        widget=SettingsArea(attrs={"rows": 4, "class": "mono", "spellcheck": "false"}),
        help_text="JSON. No keys or passwords: they are the secret.",
    )
    max_concurrent = forms.IntegerField(
        label="Submissions at once, at most", required=False, help_text="Empty: found out by itself; of a Cog server 1."
    )
    max_per_second = forms.FloatField(
        label="Submissions a second, at most", required=False, help_text="Empty: found out."
    )
    max_per_minute = forms.FloatField(
        label="Submissions a minute, at most", required=False, help_text="Empty: found out."
    )
    when_uncertain = forms.ChoiceField(
        label="A submission whose answer was lost",
        choices=[
            (WhenUncertain.HOLD, "waits for a person"),
            (WhenUncertain.RESUBMIT, "is submitted again; it may be paid twice"),
        ],
        help_text="Only where the service cannot be asked afterwards.",
    )
    batch_size = forms.IntegerField(label="Images per batch", initial=1, help_text="Of our own machines.")
    seconds_per_image = forms.FloatField(label="Seconds for one image", initial=10, help_text="For quotes.")
    price_per_image = forms.DecimalField(
        label="Fixed price of one image", initial=0, decimal_places=6, help_text="Where the service counts nothing."
    )
    licence_note = forms.CharField(
        label="Terms of use", required=False, widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Licence of the model, and what its images may be used for. Shown where it is picked.",
    )  # fmt: skip
    disclaimer = forms.CharField(
        label="What must stand beside its images", required=False, max_length=40,
        widget=forms.TextInput(attrs={"placeholder": "demo model"}), help_text="Most need nothing.",
    )  # fmt: skip

    def __init__(
        self, data: Any = None, *, endpoint: Endpoint | None = None, engine: str = "", is_operator: bool = False
    ) -> None:
        self.engine = endpoint.engine if endpoint else engine
        config, own = redact_settings(endpoint.config) if endpoint else {}, _settings_of_other_pages(endpoint)
        self.settings = {SETTING + setting.name: setting for setting in settings.list_settings(self.engine, config)}
        others = {key: config[key] for key in config if SETTING + key not in self.settings and key not in own}
        initial = _initial(endpoint) if endpoint else {}
        initial["config"] = json.dumps(others, indent=2, ensure_ascii=False) if others else ""
        initial |= {
            name: setting_fields.text(setting, config.get(setting.name)) for name, setting in self.settings.items()
        }
        super().__init__(data, initial=initial)
        self.endpoint = endpoint
        for name, setting in self.settings.items():
            self.fields[name] = setting_fields.field(setting, initial[name])
            self.fields[name].disabled = not is_operator and (
                setting.is_operator_only or self.engine in settings.LOCAL_ENGINES
            )
        self.fields["config"].disabled = not is_operator and self.engine in settings.LOCAL_ENGINES
        if self.settings and not others:
            del self.fields["config"]
        if endpoint is not None and endpoint.sealed_secret and is_operator:
            self.fields["secret"] = _secret("Secret, once more", is_required=False)
            self.fields["secret"].help_text = "Only where an address above changes: the kept one is not sent elsewhere."
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
        if self.engine in settings.LOCAL_ENGINES:
            self.fields["lane"].choices = LOCAL_LANES  # type: ignore[attr-defined]
            self.fields["lane"].initial = Lane.GPU if self.engine == "diffusers" else Lane.CPU
            measures = ("max_concurrent", "max_per_second", "max_per_minute", *(PRICE + unit for unit in prices.UNITS))
            idle = ["when_uncertain", *(name for name in measures if self.initial.get(name) is None)]
        else:
            idle = ["lane", "batch_size"] if self.engine in settings.SETTINGS_BY_ENGINE else []
        for name in idle:
            del self.fields[name]

    def groups(self) -> list[Group]:
        """Return the groups in page submission, JSON fields last, without empty fields that this person cannot set."""
        shown = [name for name in self.settings if not self.fields[name].disabled or self[name].value()]
        shown.sort(key=lambda name: self.settings[name].kind == settings.Kind.JSON)
        seldom = [name for name in shown if self.settings[name].is_advanced]
        named = {
            "": ("name", "slug", "lane", "is_shared"),
            "What it may be given": (
                "max_concurrent",
                "max_per_second",
                "max_per_minute",
                "when_uncertain",
                "batch_size",
            ),
            "What it costs": ("price_per_image", *(f"{PRICE}{name}" for name in prices.UNITS), "seconds_per_image"),
            "What people read": ("licence_note", "disclaimer"),
        }
        groups = [
            Group(heading, [self[name] for name in names if name in self.fields]) for heading, names in named.items()
        ]
        usual = [*(name for name in shown if name not in seldom), "config", "secret"]
        engine = Group(
            "The engine", [self[name] for name in usual if name in self.fields], [self[name] for name in seldom]
        )
        return [groups[0], engine, *groups[1:]]

    def clean_config(self) -> dict[str, Any]:
        try:
            config = setting_fields.from_json(self.cleaned_data["config"] or "{}")
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        if not isinstance(config, dict):
            raise forms.ValidationError('Write an object such as {"model": "owner/name"}.')
        return config

    def clean(self) -> dict[str, Any]:
        """Put the config together from settings of other pages, settings with fields and the JSON field. The setting
        of an unchanged field keeps its value and its type."""
        given = super().clean() or {}
        kept = self.endpoint.config if self.endpoint else {}
        config = {**_settings_of_other_pages(self.endpoint), **given.get("config", {})}
        for name, setting in self.settings.items():
            text = given.pop(name, "")
            if (
                setting.name in kept
                and text == self.initial[name]
                and (self.fields[name].disabled or text or kept[setting.name] == [])
            ):
                config[setting.name] = kept[setting.name]
                continue
            try:
                value = setting_fields.value(setting, text)
            except ValueError as error:
                self.add_error(name, str(error))
            else:
                config |= {} if value is None else {setting.name: value}
        return given | {"config": config}

    def values(self) -> dict[str, Any]:
        """Return the service's arguments without engine and brand; prices are gathered into one table."""
        given = {
            name: value
            for name, value in self.cleaned_data.items()
            if not name.startswith(PRICE) or name == "price_per_image"
        }
        given.pop("is_shared", None)
        given.pop("secret", None)
        given.setdefault("lane", Lane.CLOUD)  # of an engine that only asks a service
        table = {name: self.cleaned_data.get(PRICE + name) for name in prices.UNITS}
        return given | {"prices": {name: _plain(price) for name, price in table.items() if price is not None}}


class BudgetForm(forms.Form):
    """The budget of a brand for a calendar month."""

    monthly_budget = forms.DecimalField(
        required=False,
        min_value=0,
        max_digits=12,
        decimal_places=2,
        help_text="For all campaigns together. Empty: no limit but the campaigns' own.",
    )

    def __init__(self, brand: Brand, data: Any = None) -> None:
        super().__init__(data, initial={"monthly_budget": brand.monthly_budget})
        self.fields["monthly_budget"].label = f"Budget per month, {brand.currency}"


class SecretForm(forms.Form):
    """A form that only takes a new secret. The page never shows the stored one."""

    def __init__(self, data: Any = None, *, is_required: bool = True) -> None:
        super().__init__(data, auto_id="secret_%s")
        self.fields["secret"] = _secret("Secret", is_required=is_required)


def _secret(label: str, *, is_required: bool) -> forms.CharField:
    return forms.CharField(
        label=label, required=is_required, max_length=10_000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}, render_value=False),
        help_text="API key or token. Kept encrypted, used by workers, shown to nobody.",
    )  # fmt: skip


def _settings_of_other_pages(endpoint: Endpoint | None) -> Mapping[str, Any]:
    """Return the settings that have a page of their own: an uploaded workflow and its marks."""
    if endpoint is None:
        return {}
    names = settings.EDITED_ELSEWHERE.get(endpoint.engine, frozenset())
    return {name: value for name, value in endpoint.config.items() if name in names}


def _initial(endpoint: Endpoint) -> dict[str, Any]:
    plain = (
        "name", "lane", "max_concurrent", "when_uncertain", "batch_size", "licence_note", "disclaimer",
    )  # fmt: skip
    rates = ("max_per_second", "max_per_minute", "seconds_per_image")
    table = endpoint.prices if isinstance(endpoint.prices, dict) else {}
    return {
        **{name: getattr(endpoint, name) for name in plain},
        **{name: _short(value) for name in rates if (value := getattr(endpoint, name)) is not None},
        "price_per_image": f"{endpoint.price_per_image.normalize():f}",
        **{f"{PRICE}{name}": price for name, price in table.items()},
    }


def _short(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else str(value)


def _plain(price: Decimal) -> str:
    return f"{price.normalize():f}"
