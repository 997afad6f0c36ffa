"""Forms of the generation pages. They parse the input; the services decide whether it is allowed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from django import forms
from django.db.models import Q

from campaigns import prompts
from campaigns.choices import SeedStrategy
from campaigns.models import PromptVersion, StylePreset
from campaigns.services.prompts import FAILURE_POLICIES, MAX_REGENERATIONS
from core import storable
from core.models import Brand
from generation.engines.base import SCENE, Capabilities, Control
from generation.selectors.concepts import USES

CONTROL = "control_"
FEW = 7
#: Controls that are fields of the prompt already.
OWN_FIELDS = frozenset({"prompt", "negative", "seed"})
#: Suffix of the text field for a scene or map that a placeholder names per product, beside the choice by image.
FROM = "_from"
ON_FAIL = {
    "flag": "Flag it for the reviewers",
    "regenerate": "Make it again with another seed",
    "reject": "Reject it",
}


@dataclass(frozen=True)
class EngineChoice:
    """One engine that a prompt may be written for. capabilities: None if it has no usable endpoint."""

    name: str
    label: str
    capabilities: Capabilities | None


class PromptForm(forms.Form):
    """The form of one prompt version. Axes are written one per line: "backdrop: white, clay". Each control of the
    engine has a field of its own; other parameters are JSON."""

    text = forms.CharField(
        label="Prompt", widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "true", "data-ink": ""}), required=False
    )
    negative = forms.CharField(
        label="Negative prompt", widget=forms.Textarea(attrs={"rows": 2, "data-ink": ""}), required=False
    )
    style = forms.ModelChoiceField(StylePreset.objects.none(), required=False, empty_label="No style preset")
    axes = forms.CharField(
        label="Axes",
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "class": "mono"}),
        help_text="One per line, such as “backdrop: white, clay”. Each combination is one image.",
    )
    engine = forms.ChoiceField(label="Engine", required=False)
    images = forms.MultipleChoiceField(
        label="Give it the product’s photo", required=False, widget=forms.CheckboxSelectMultiple
    )
    candidates = forms.IntegerField(label="Candidates per image", initial=1, min_value=1, max_value=8)
    seed_strategy = forms.ChoiceField(label="Seed", choices=SeedStrategy.choices, initial=SeedStrategy.PER_SUBJECT)
    seed = forms.IntegerField(label="Seed number", initial=0, min_value=0, max_value=prompts.MAX_SEED)
    on_fail = forms.ChoiceField(
        label="When a check fails", required=False, choices=[(name, ON_FAIL[name]) for name in FAILURE_POLICIES]
    )
    max_regenerations = forms.IntegerField(
        label="How many times at most", required=False, min_value=0, max_value=MAX_REGENERATIONS
    )
    parameters = forms.CharField(
        label="Other parameters",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono", "spellcheck": "false"}),
        help_text='JSON, for what has no field; strings may hold placeholders: {"scheduler": "euler"}.',
    )
    note = forms.CharField(
        label="What changed, and why",
        required=False,
        max_length=300,
        widget=forms.TextInput(attrs={"placeholder": "“luxury” is gone: the guide bans it"}),
    )

    def __init__(
        self, *args: Any, brand: Brand, engines: Sequence[EngineChoice], base: PromptVersion | None, **kwargs: Any
    ) -> None:
        kwargs["initial"] = initial_values(base, engines) | kwargs.get("initial", {})
        super().__init__(*args, **kwargs)
        self.base = base
        offered = StylePreset.objects.filter(brand=brand).filter(
            Q(is_active=True) | Q(pk=base.style_id if base else None)
        )
        self.fields["style"].queryset = offered.order_by("name")  # type: ignore[attr-defined]
        named = [(engine.name, engine.label) for engine in engines]
        self.fields["engine"].choices = [("", "Any that is there"), *named]  # type: ignore[attr-defined]
        chosen = self.data.get("engine", "") if self.is_bound else self.initial.get("engine", "")
        self.written_for = next((engine for engine in engines if engine.name == chosen), None)
        self.controls = controls_of(self.written_for)
        for control in self.controls:
            self.fields[CONTROL + control.parameter] = _field(control)
            if control.kind in USES:
                self.fields[control.parameter + FROM] = _from(control)
        roles = (
            sorted(self.written_for.capabilities.optional_images - {SCENE})
            if self.written_for and self.written_for.capabilities
            else []
        )
        self.fields["images"].choices = [(role, _ROLES.get(role, role)) for role in roles]  # type: ignore[attr-defined]

    def control_fields(self) -> Iterator[forms.BoundField]:
        for control in self.controls:
            if control.kind not in USES:
                yield self[CONTROL + control.parameter]

    def concept_fields(self) -> Iterator[tuple[forms.BoundField, forms.BoundField]]:
        """Return the fields of controls that name a concept: (choice by image, text that names one per product)."""
        for control in self.controls:
            if control.kind in USES:
                yield self[CONTROL + control.parameter], self[control.parameter + FROM]

    def clean_text(self) -> str:
        return str(self.cleaned_data["text"]).replace("\r\n", "\n")

    def clean_negative(self) -> str:
        return str(self.cleaned_data["negative"]).replace("\r\n", "\n")

    def clean_axes(self) -> dict[str, list[Any]]:
        axes: dict[str, list[Any]] = {}
        for number, line in enumerate(self.cleaned_data["axes"].splitlines(), start=1):
            if not line.strip():
                continue
            name, colon, values = line.partition(":")
            given = [value.strip() for value in values.split(",") if value.strip()]
            if not colon or not given:
                raise forms.ValidationError(f"Line {number}, “{line.strip()}”, is no axis; write “name: value, value”.")
            if name.strip() in axes:
                raise forms.ValidationError(f"Line {number}: “{name.strip()}” stands above already.")
            axes[name.strip()] = given
        was = self.base.axes if self.base else {}
        # Numbers and booleans are text in the field; unchanged axes keep their types.
        return was if {name: [str(value) for value in values] for name, values in was.items()} == axes else axes

    def clean_parameters(self) -> dict[str, Any]:
        try:
            parameters = storable.read_json_field(self.cleaned_data["parameters"] or "{}")
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        if not isinstance(parameters, dict):
            raise forms.ValidationError('Write an object, such as {"scheduler": "euler"}.')
        twice = [control.label for control in self.controls if control.parameter in parameters]
        if twice:
            raise forms.ValidationError(f"“{twice[0]}” has a field of its own; set it there.")
        return parameters

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        for control in self.controls:
            name = CONTROL + control.parameter
            written = control.parameter + FROM
            place = written if given.get(written) else name
            if place in given:
                try:
                    given[name] = parse_control_value(control, given[place])
                except ValueError as error:
                    self.add_error(place, str(error))
        return given

    def version_fields(self) -> dict[str, Any]:
        """Return the input as the prompt services take it; values without a field here are kept from `base`."""
        given = self.cleaned_data
        engine, images = given.get("engine", ""), given.get("images") or []
        kept = {name: value for name, value in (self.base.needs if self.base else {}).items() if name != "images"}
        if engine != kept.get("engine", ""):
            kept = {"engine": engine} if engine else {}
        policy: dict[str, Any] = {"on_fail": given.get("on_fail") or "flag"}
        if policy["on_fail"] == "regenerate":
            policy["max_regenerations"] = given.get("max_regenerations") or 1
        was = {"on_fail": "flag", **self.base.policy} if self.base else {}
        if self.base and was == policy:
            policy = self.base.policy
        same = ("text", "negative", "style", "seed_strategy", "seed", "candidates", "note")
        return {name: given[name] for name in same if name in given} | {
            "axes": given.get("axes", {}),
            "parameters": self.engine_parameters(),
            "needs": kept | ({"images": images} if images else {}),
            "policy": policy,
        }

    def engine_parameters(self) -> dict[str, Any]:
        """Return the engine's parameters: its controls that are filled in, then the others."""
        given = self.cleaned_data
        controlled = {control.parameter: given.get(CONTROL + control.parameter) for control in self.controls}
        filled = {name: value for name, value in controlled.items() if value not in ("", None)}
        return filled | dict(given.get("parameters") or {})


_ROLES = {
    "init": "as the image to start from",
    "mask": "as a mask",
    "photo": "as a reference",
    "cutout": "cut out",
    "control": "as the map, of concepts and articles",
}


def controls_of(engine: EngineChoice | None) -> tuple[Control, ...]:
    if engine is None or engine.capabilities is None:
        return ()
    return tuple(control for control in engine.capabilities.controls if control.parameter not in OWN_FIELDS)


def initial_values(version: PromptVersion | None, engines: Sequence[EngineChoice]) -> dict[str, Any]:
    """Return the initial values of the form for a version."""
    if version is None:
        return {"engine": engines[0].name if engines else "", "on_fail": "flag"}
    name = str(version.needs.get("engine", ""))
    controlled = {
        control.parameter for control in controls_of(next((engine for engine in engines if engine.name == name), None))
    }
    others = {key: value for key, value in version.parameters.items() if key not in controlled}
    shown = {CONTROL + key: value for key, value in version.parameters.items() if key in controlled}
    for use in USES.values():
        if "{" in str(shown.get(CONTROL + use.parameter, "")):
            shown[use.parameter + FROM] = shown.pop(CONTROL + use.parameter)
    return {
        "text": version.text,
        "negative": version.negative,
        "style": version.style_id,
        "axes": "\n".join(
            f"{name}: {', '.join(str(value) for value in values)}" for name, values in version.axes.items()
        ),
        "engine": name,
        "images": version.needs.get("images", []),
        "seed_strategy": version.seed_strategy,
        "seed": version.seed,
        "candidates": version.candidates,
        "on_fail": version.policy.get("on_fail", "flag"),
        "max_regenerations": version.policy.get("max_regenerations"),
        "parameters": json.dumps(others, indent=2, ensure_ascii=False) if others else "",
        **shown,
    }


def parse_control_value(control: Control, text: str) -> Any:
    """Return the value of a control's field: a number, a word, or a text with placeholders. Raises ValueError with a
    message for people."""
    text = text.strip()
    if not text:
        return ""
    if "{" in text or "}" in text:
        try:
            prompts.parse(text)
        except prompts.PromptSyntaxError as error:
            raise ValueError(f"{error.message} ({prompts.describe_position(text, error.position)}).") from None
        return text
    if control.kind == "choice" and text not in control.choices:
        raise ValueError(
            f"It is one of {', '.join(control.choices)}, or a placeholder such as {{{control.parameter}}}."
        )
    if control.kind != "number":
        return text
    low, high = control.minimum, control.maximum
    message = f"Give a number{_span(control)}, or a placeholder such as {{{control.parameter}}}."
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        raise ValueError(message) from None
    if not isfinite(number) or (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(message)
    return int(number) if number.is_integer() and float(control.step or 1).is_integer() else number


def _field(control: Control) -> forms.Field:
    unit = f", {control.unit}" if control.unit else ""
    standard = f"{control.default}" if control.default not in (None, "") else ""
    hints: Mapping[str, str] = {
        "autocomplete": "off",
        "placeholder": standard,
        **({"list": f"choices_{control.parameter}"} if control.choices else {}),
        **({"inputmode": "decimal"} if control.kind == "number" else {}),
    }
    help_text = ", ".join(control.choices) if len(control.choices) < FEW else ""
    if control.kind == "colour":
        help_text = "a name of the palette, or #rrggbb"
    elif control.kind == "number":
        help_text = _span(control).strip()
    field = forms.CharField(
        label=f"{control.label}{unit}", required=False, max_length=200, widget=forms.TextInput(attrs=dict(hints)),
        help_text=help_text,
    )  # fmt: skip
    field.kind = control.kind  # type: ignore[attr-defined]  # a concept is chosen by its image
    field.parameter = control.parameter  # type: ignore[attr-defined]
    field.choices = control.choices  # type: ignore[attr-defined]  # the template draws them as a datalist
    return field


def _from(control: Control) -> forms.Field:
    hints = {"autocomplete": "off", "placeholder": f"{{{control.parameter}}}"}
    return forms.CharField(
        label="Or as the axis or each product says", required=False, max_length=200, widget=forms.TextInput(attrs=hints)
    )


def _span(control: Control) -> str:
    if control.minimum is None or control.maximum is None:
        return ""
    return f" from {control.minimum:g} to {control.maximum:g}"
