"""The form of a destination, made from the settings of its kind. Its secret can be entered but never read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.config_fields import ConfigFields
from core.errors import DomainError, Invalid
from core.fetching import redact_settings
from core.plugin_config import Setting
from review.delivery import base
from review.models import Destination

SETTING: Final = "setting_"
SWITCHES: Final = ("needs_release", "starts_with_campaign", "ends_with_campaign", "tells_prompt", "tells_prompt_writer")


@dataclass(frozen=True)
class KindOffer:
    """A kind of destination as it is offered: what it is for, what must be given, and what its secret is."""

    name: str
    label: str
    description: str
    needed: Sequence[Setting]
    credentials_hint: str


def list_kinds() -> list[KindOffer]:
    """Return the kinds by label."""
    offers = []
    for kind in base.DESTINATIONS:
        needed = [setting for setting in kind.config.form_settings() if setting.needed]
        description = _(kind.description) if kind.description else ""
        offers.append(KindOffer(kind.kind, _(kind.label), description, needed, kind.credentials_hint))
    return sorted(offers, key=lambda offer: offer.label.casefold())


class DestinationForm(forms.Form):
    """kind: that of a new destination. A field is left empty for the usual value; an empty secret keeps the stored one.
    Folders have no secret.

    The kind of a stored destination may be gone; then only its name and whether it needs releases can be changed.
    """

    name = forms.CharField(label=gettext_lazy("Name"), max_length=120)
    slug = forms.SlugField(
        label=gettext_lazy("Short name"), max_length=50,
        help_text=gettext_lazy("For the API; it stays. Letters, digits, - and _."),
    )  # fmt: skip
    secret = forms.CharField(
        label=gettext_lazy("Secret"), required=False, max_length=10_000, strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}, render_value=False),
    )  # fmt: skip
    needs_release = forms.BooleanField(
        label=gettext_lazy("A lead releases each image before it is published"), required=False
    )
    starts_with_campaign = forms.BooleanField(
        label=gettext_lazy("Publish nothing before the first day of its campaign"), required=False
    )
    ends_with_campaign = forms.BooleanField(
        label=gettext_lazy("Take images down after the last day of their campaign"), required=False
    )
    tells_prompt = forms.BooleanField(
        label=gettext_lazy("Write the prompt into the files, where everybody can read it"), required=False
    )
    tells_prompt_writer = forms.BooleanField(
        label=gettext_lazy("Write the name of the prompt’s writer into the files"), required=False
    )

    def __init__(self, data: Any = None, *, destination: Destination | None = None, kind: str = "") -> None:
        self.destination, self.kind = destination, destination.kind if destination else kind
        self.plugin = base.DESTINATIONS.get(self.kind) if self.kind in base.DESTINATIONS else None
        config = redact_settings(destination.config) if destination else {}
        self.config_fields = ConfigFields(self.plugin.config, config, SETTING) if self.plugin else None
        initial: dict[str, Any] = dict(self.config_fields.initial) if self.config_fields else {}
        if destination:
            initial |= {name: getattr(destination, name) for name in ("name", *SWITCHES)}
        super().__init__(data, initial=initial)
        if self.config_fields:
            self.fields |= self.config_fields.make()
            self._mark_needed(self.config_fields)
        if destination:
            del self.fields["slug"]
        if self.plugin and self.plugin.reach == base.Reach.FOLDER:
            del self.fields["secret"]
        else:
            self.fields["secret"].help_text = self._secret_hint()

    def _mark_needed(self, config_fields: ConfigFields) -> None:
        for name, setting in config_fields.settings.items():
            if setting.needed:
                self.fields[name].widget.attrs["aria-required"] = "true"

    def _secret_hint(self) -> str:
        hint = _(self.plugin.credentials_hint) if self.plugin and self.plugin.credentials_hint else ""
        if self.destination and self.destination.sealed_secret:
            return f"{hint} " + _("One is kept, which nobody can read again. Left empty, it stays.")
        return f"{hint} " + _("Kept encrypted, shown to nobody.")

    def groups(self) -> list[dict[str, Any]]:
        """Return the groups of fields of the page; settings that most leave empty ("seldom") are folded up."""
        settings = self.config_fields.settings if self.config_fields else {}
        seldom = [name for name, setting in settings.items() if setting.is_advanced]
        usual = [name for name in settings if name not in seldom]
        folded = [self[name] for name in seldom]
        is_open = any(field.errors or field.value() for field in folded)
        names = ["name", "slug"] if "slug" in self.fields else ["name"]
        groups: list[dict[str, Any]] = [{"heading": "", "fields": [self[name] for name in names]}]
        if self.plugin:
            fields = [self[name] for name in (*usual, "secret") if name in self.fields]
            heading = _(self.plugin.label)
            groups.append({"heading": heading, "fields": fields, "seldom": folded, "is_open": is_open})
        return groups

    def switches(self) -> list[forms.BoundField]:
        return [self[name] for name in SWITCHES]

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if self.config_fields is None:
            return given
        kept = self.destination.config if self.destination else {}
        config = self.config_fields.read(self, given, kept)
        # Settings that have no field stay; those that the kind no longer knows go.
        known = self.plugin.config.settings() if self.plugin else {}
        hidden = {
            name: kept[name] for name in known if name in kept and SETTING + name not in self.config_fields.settings
        }
        return {name: value for name, value in given.items() if not name.startswith(SETTING)} | {
            "config": {**hidden, **config}
        }

    def changes(self) -> dict[str, Any]:
        """Return the arguments of `destinations.change`: without settings and secret, if nobody changed these."""
        given = {name: self.cleaned_data[name] for name in ("name", *SWITCHES)}
        if any(name.startswith(SETTING) for name in self.changed_data):
            given["config"] = self.cleaned_data["config"]
        return given | {"secret": self.cleaned_data.get("secret") or None}

    def add_refusal(self, refusal: DomainError) -> None:
        """Show each problem at its field, or on top."""
        if not isinstance(refusal, Invalid) or not refusal.problems:
            self.add_error(None, refusal.message)
            return
        for problem in refusal.problems:
            group, _slash, name = problem.pointer.partition("/")
            field = SETTING + name if group == "config" else group
            field = "secret" if problem.pointer == "config/secret" else field
            sentence = problem.message.removeprefix(f"{name}: ") if name else problem.message
            if field in self.fields:
                self.add_error(field, sentence[:1].upper() + sentence[1:])
            else:
                self.add_error(None, problem.message)
