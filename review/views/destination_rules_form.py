"""The form of a destination's rules: a row of choices for each rule, the preview of what they send, and their words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.forms import RowForm, RowFormSet
from core.models import Brand
from review.delivery.rules import Rule, Rules, find_mistakes
from review.models import Destination
from review.selectors import delivery_rules as selectors

PREFIX = "rules"
EFFECTS = [("send", gettext_lazy("Send")), ("never", gettext_lazy("Never send"))]
CONDITIONS = {
    "campaign": (gettext_lazy("Campaign"), gettext_lazy("Any campaign")),
    "spec": (gettext_lazy("Output spec"), gettext_lazy("Any output spec")),
    "kind": (gettext_lazy("Kind"), gettext_lazy("Any kind")),
    "category": (gettext_lazy("Category"), gettext_lazy("Any category")),
    "disclaimer": (gettext_lazy("Disclaimer"), gettext_lazy("Any disclaimer")),
}


def _choice(label: Any) -> forms.CharField:
    return forms.CharField(required=False, label=label, widget=forms.Select({"class": "input", "aria-label": label}))


class RuleForm(RowForm):
    """One rule. The service checks the values, so that its sentences stand at their fields."""

    effect = _choice(gettext_lazy("What to do"))
    campaign = _choice(CONDITIONS["campaign"][0])
    spec = _choice(CONDITIONS["spec"][0])
    kind = _choice(CONDITIONS["kind"][0])
    category = _choice(CONDITIONS["category"][0])
    disclaimer = _choice(CONDITIONS["disclaimer"][0])


class _Rows(RowFormSet):
    def __init__(self, brand: Brand, data: QueryDict | None = None, *, kept: Sequence[Mapping[str, Any]] = ()) -> None:
        self.choices = selectors.list_choices(brand)
        super().__init__(data, prefix=PREFIX, initial=kept)

    def get_form_kwargs(self, index: Any) -> dict[str, Any]:
        return {} if index is None else super().get_form_kwargs(index)

    def add_fields(self, form: Any, index: Any) -> None:
        super().add_fields(form, index)
        form.fields["effect"].widget.choices = EFFECTS
        for name, (_label, words) in CONDITIONS.items():
            labels = {"": words, **dict(self.choices[name])}
            if shown := form[name].value() or "":
                labels.setdefault(shown, shown)  # a campaign or category that is gone
            form.fields[name].widget.choices = list(labels.items())

    def given_rules(self) -> list[dict[str, str]]:
        """Return the rows as rules, without empty conditions."""
        if not self.is_bound:
            return [dict(rule) for rule in self.initial or ()]
        length = len(PREFIX) + 1
        return [{name[length:]: text for name, text in row.items() if text} for row in self.typed_rows]


RuleFormSet: Any = forms.formset_factory(RuleForm, formset=_Rows, extra=0)


def change_rows(data: QueryDict) -> QueryDict:
    """Return the posted rows with one more ("add"), or without one ("remove" gives its number)."""
    changed = data.copy()
    at = data.get("remove", "")
    for name in RuleForm.base_fields:
        values = data.getlist(f"{PREFIX}_{name}")
        if at.isdecimal():
            values = [value for index, value in enumerate(values) if index != int(at)]
        elif "add" in data:
            values = [*values, "send" if name == "effect" else ""]
        changed.setlist(f"{PREFIX}_{name}", values)
    return changed


def preview(brand: Brand, given: Sequence[Mapping[str, str]]) -> selectors.Preview | None:
    """Return what rules would send; rows without a condition are left out. None if the rules have mistakes."""
    complete = [rule for rule in given if rule.keys() - {"effect"}]
    if next(find_mistakes(complete), None):
        return None
    return selectors.preview(brand, Rules.read(complete))


def describe(destination: Destination) -> list[tuple[str, list[str]]]:
    """Return the rules in words: the effect, and its conditions."""
    if not destination.rules:
        return []
    labels = {name: dict(pairs) for name, pairs in selectors.list_choices(destination.brand).items()}
    described = []
    for rule in map(Rule.read, destination.rules):
        values = [(name, getattr(rule, name)) for name in CONDITIONS if getattr(rule, name)]
        words = [f"{CONDITIONS[name][0]}: {labels[name].get(value, value)}" for name, value in values]
        described.append((_(str(dict(EFFECTS)[rule.effect])), words))
    return described
