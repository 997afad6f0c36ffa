"""The form of an endpoint: what people type, turned into what the service takes. The secret has a form of its own."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from django import forms

from campaigns.models import Brand
from generation import prices
from generation.choices import InDoubt, Lane
from generation.engines import base as engines
from generation.models import Endpoint
from generation.selectors.endpoint_cards import ENGINES
from generation.services import workflows

LANES = [
    (Lane.CLOUD, "cloud: a service is asked"),
    (Lane.GPU, "gpu: our own cards"),
    (Lane.CPU, "cpu: our own machines"),
]
PRICE = "price_"


class EndpointForm(forms.Form):
    """Everything of an endpoint but its secret. New ones also say what they are called, and for whom they are."""

    slug = forms.CharField(
        label="Short name", max_length=50, help_text="For addresses and the API; it stays. Letters, digits, - and _."
    )
    engine = forms.ChoiceField(label="Engine")
    is_shared = forms.BooleanField(label="Serves all brands", required=False)
    name = forms.CharField(label="Name", max_length=120)
    lane = forms.ChoiceField(label="Where it works", choices=LANES, initial=Lane.CLOUD)
    config = forms.CharField(
        label="Settings of the engine",
        required=False,
        widget=forms.Textarea(attrs={"rows": 8, "class": "mono", "spellcheck": "false"}),
        help_text="JSON, as docs/engines.md says for each engine. No keys or passwords: they are the secret.",
    )
    max_concurrent = forms.IntegerField(
        label="Orders at once, at most", required=False, help_text="Empty: found out by itself."
    )
    max_per_second = forms.FloatField(label="Orders a second, at most", required=False, help_text="Empty: found out.")
    max_per_minute = forms.FloatField(label="Orders a minute, at most", required=False, help_text="Empty: found out.")
    in_doubt = forms.ChoiceField(
        label="An order whose answer was lost",
        choices=[(InDoubt.HOLD, "waits for a person"), (InDoubt.RESUBMIT, "is ordered again; it may be paid twice")],
        help_text="Only where the service cannot be asked afterwards.",
    )
    batch_size = forms.IntegerField(label="Pictures in one go", initial=1, help_text="Of our own machines.")
    seconds_per_image = forms.FloatField(label="Seconds for one picture", initial=10, help_text="For quotes.")
    price_per_image = forms.DecimalField(
        label="Fixed price of one picture", initial=0, decimal_places=6, help_text="Where the service counts nothing."
    )
    licence_note = forms.CharField(
        label="Terms of use", required=False, widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Licence of the model, and what its pictures may be used for. Shown where it is picked.",
    )  # fmt: skip
    caution = forms.CharField(
        label="What must stand beside its pictures", required=False, max_length=40,
        widget=forms.TextInput(attrs={"placeholder": "demo model"}), help_text="Most need nothing.",
    )  # fmt: skip

    def __init__(self, data: Any = None, *, endpoint: Endpoint | None = None, is_operator: bool = False) -> None:
        super().__init__(data, initial=_initial(endpoint) if endpoint else {"config": "{}", "engine": "replicate"})
        self.endpoint = endpoint
        if endpoint is not None and endpoint.sealed_secret and is_operator:
            self.fields["secret"] = _secret("Secret, once more", is_required=False)
            self.fields["secret"].help_text = "Only where an address above changes: the kept one is not sent elsewhere."
        for unit in prices.UNITS.values():
            self.fields[PRICE + unit.name] = forms.DecimalField(label=unit.words.capitalize(), required=False)
        if endpoint is not None:
            del self.fields["slug"], self.fields["engine"], self.fields["is_shared"]
        else:
            known = [(name, f"{name}: {ENGINES[name]}" if name in ENGINES else name) for name in engines.names()]
            self.fields["engine"].choices = known  # type: ignore[attr-defined]
            if not is_operator:
                del self.fields["is_shared"]

    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        """(heading, fields) in the order of the page."""
        named = {
            "": ("name", "slug", "engine", "lane", "is_shared", "config", "secret"),
            "What it may be given": ("max_concurrent", "max_per_second", "max_per_minute", "in_doubt", "batch_size"),
            "What it costs": ("price_per_image", *(f"{PRICE}{name}" for name in prices.UNITS), "seconds_per_image"),
            "What people read": ("licence_note", "caution"),
        }
        return [(heading, [self[one] for one in names if one in self.fields]) for heading, names in named.items()]

    def clean_config(self) -> dict[str, Any]:
        try:
            config = json.loads(self.cleaned_data["config"] or "{}")
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, character {error.colno}"
            raise forms.ValidationError(f"This is no JSON: {error.msg} at {place}.") from None
        if not isinstance(config, dict):
            raise forms.ValidationError('Write an object such as {"model": "owner/name"}.')
        return _elsewhere(self.endpoint) | config

    def values(self) -> dict[str, Any]:
        """What the service takes; prices gathered into one table."""
        given = {
            name: value
            for name, value in self.cleaned_data.items()
            if not name.startswith(PRICE) or name == "price_per_image"
        }
        given.pop("is_shared", None)
        given.pop("secret", None)
        table = {name: self.cleaned_data.get(PRICE + name) for name in prices.UNITS}
        return given | {"prices": {name: _plain(price) for name, price in table.items() if price is not None}}


class BudgetForm(forms.Form):
    """What a brand may spend in a calendar month."""

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
    """The secret goes in and never comes out: the page does not know the one that is kept."""

    def __init__(self, data: Any = None, *, is_required: bool = True) -> None:
        super().__init__(data, auto_id="secret_%s")
        self.fields["secret"] = _secret("Secret", is_required=is_required)


def _secret(label: str, *, is_required: bool) -> forms.CharField:
    return forms.CharField(
        label=label, required=is_required, max_length=10_000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}, render_value=False),
        help_text="API key or token. Kept encrypted, used by workers, shown to nobody.",
    )  # fmt: skip


def _elsewhere(endpoint: Endpoint | None) -> dict[str, Any]:
    """The settings that a page of their own is for: an uploaded workflow and its marks."""
    if endpoint is None or endpoint.engine != workflows.ENGINE:
        return {}
    return {name: endpoint.config[name] for name in workflows.OWN if name in endpoint.config}


def _initial(endpoint: Endpoint) -> dict[str, Any]:
    plain = (
        "name", "lane", "max_concurrent", "in_doubt", "batch_size", "licence_note", "caution",
    )  # fmt: skip
    rates = ("max_per_second", "max_per_minute", "seconds_per_image")
    table = endpoint.prices if isinstance(endpoint.prices, dict) else {}
    return {
        **{name: getattr(endpoint, name) for name in plain},
        **{name: _short(value) for name in rates if (value := getattr(endpoint, name)) is not None},
        "config": json.dumps(
            {name: value for name, value in endpoint.config.items() if name not in _elsewhere(endpoint)},
            indent=2,
            ensure_ascii=False,
        ),
        "price_per_image": f"{endpoint.price_per_image.normalize():f}",
        **{f"{PRICE}{name}": price for name, price in table.items()},
    }


def _short(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else str(value)


def _plain(price: Decimal) -> str:
    return f"{price.normalize():f}"
