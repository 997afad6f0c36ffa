"""Forms of the generation pages. They parse the input; the services decide whether it is allowed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns import prompts
from campaigns.choices import SeedStrategy
from campaigns.models import PromptVersion, StylePreset
from campaigns.services.prompts import FAILURE_POLICIES, MAX_REGENERATIONS
from core import storable
from core.models import Brand
from generation import control_values
from generation.engines.base import SCENE, Capabilities, Control
from generation.selectors.concepts import USES

CONTROL = "control_"
FEW = 7
#: Suffix of the text field for a scene or map that a placeholder names per product, beside the choice by image.
FROM = "_from"
_COPIED = ("text", "negative", "seed_strategy", "seed", "candidates")
ON_FAIL = {
    "flag": gettext_lazy("Flag it for the reviewers"),
    "regenerate": gettext_lazy("Make it again with another seed"),
    "reject": gettext_lazy("Reject it"),
}
_ROLES = {
    "init": gettext_lazy("as the image to start from"),
    "mask": gettext_lazy("as a mask"),
    "photo": gettext_lazy("as a reference"),
    "cutout": gettext_lazy("cut out"),
    "control": gettext_lazy("as the map, of concepts and articles"),
    "reference": gettext_lazy("Reference"),
}


@dataclass(frozen=True)
class EngineChoice:
    """One engine that a prompt may be written for. capabilities: None if it has no usable endpoint."""

    name: str
    label: str
    capabilities: Capabilities | None


class LinesField(forms.CharField):
    """A text of several lines, which end as in Unix."""

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).replace("\r\n", "\n")


class ControlField(forms.CharField):
    """The text field of an engine's control. Its value is what a prompt version stores."""

    def __init__(self, control: Control, **options: Any) -> None:
        label = f"{control.label}, {control.unit}" if control.unit else control.label
        super().__init__(**{"label": label, "required": False, "max_length": control_values.MAX_TEXT_LENGTH, **options})
        self.control = control

    @classmethod
    def with_hints(cls, control: Control) -> ControlField:
        """Return the field as a text input with the control's default, its range and its choices as hints."""
        hints = {"autocomplete": "off", "placeholder": "" if control.default is None else str(control.default)}
        help_text = ", ".join(control.choices) if len(control.choices) < FEW else ""
        if control.choices:
            hints["list"] = f"choices_{control.parameter}"
        if control.kind == "colour":
            help_text = _("a name of the palette, or #rrggbb")
        elif control.kind == "number":
            hints["inputmode"] = "decimal"
            help_text = control_values.describe_range(control)
        return cls(control, widget=forms.TextInput(hints), help_text=help_text)

    def clean(self, value: Any) -> Any:
        try:
            return control_values.parse_for_prompt(self.control, super().clean(value))
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None


class PromptForm(forms.Form):
    """The form of one prompt version. Axes are written one per line: "backdrop: white, clay". Each control of the
    engine has a field of its own; other parameters are JSON."""

    text = LinesField(
        label=gettext_lazy("Prompt"), required=False,
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "true", "data-ink": ""}),
    )  # fmt: skip
    negative = LinesField(
        label=gettext_lazy("Negative prompt"), required=False,
        widget=forms.Textarea(attrs={"rows": 2, "data-ink": ""}),
    )  # fmt: skip
    style = forms.ModelChoiceField(
        StylePreset.objects.none(), required=False, empty_label=gettext_lazy("No style preset")
    )
    axes = forms.CharField(
        label=gettext_lazy("Axes"), required=False, widget=forms.Textarea(attrs={"rows": 2, "class": "mono"}),
        help_text=gettext_lazy("One per line, such as “backdrop: white, clay”. Each combination is one image."),
    )  # fmt: skip
    engine = forms.ChoiceField(label=gettext_lazy("Engine"), required=False)
    images = forms.MultipleChoiceField(
        label=gettext_lazy("Give it the product’s photo"), required=False, widget=forms.CheckboxSelectMultiple
    )
    candidates = forms.IntegerField(label=gettext_lazy("Candidates per image"), initial=1, min_value=1, max_value=8)
    seed_strategy = forms.ChoiceField(
        label=gettext_lazy("Seed"), choices=SeedStrategy.choices, initial=SeedStrategy.PER_SUBJECT
    )
    seed = forms.IntegerField(label=gettext_lazy("Seed number"), initial=0, min_value=0, max_value=prompts.MAX_SEED)
    on_fail = forms.ChoiceField(
        label=gettext_lazy("When a check fails"), required=False,
        choices=[(name, ON_FAIL[name]) for name in FAILURE_POLICIES],
    )  # fmt: skip
    max_regenerations = forms.IntegerField(
        label=gettext_lazy("How many times at most"), required=False, min_value=0, max_value=MAX_REGENERATIONS
    )
    parameters = forms.CharField(
        label=gettext_lazy("Other parameters"), required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono", "spellcheck": "false"}),
        help_text=gettext_lazy('JSON, for what has no field; strings may hold placeholders: {"scheduler": "euler"}.'),
    )  # fmt: skip
    note = forms.CharField(
        label=gettext_lazy("What changed, and why"), required=False, max_length=300,
        widget=forms.TextInput(attrs={"placeholder": gettext_lazy("“luxury” is gone: the guide bans it")}),
    )  # fmt: skip

    def __init__(
        self, *args: Any, brand: Brand, engines: Sequence[EngineChoice], base: PromptVersion | None, **kwargs: Any
    ) -> None:
        kwargs["initial"] = initial_values(base, engines) | kwargs.get("initial", {})
        super().__init__(*args, **kwargs)
        self.base = base
        is_offered = Q(is_active=True) | Q(pk=base.style_id if base else None)
        styles = StylePreset.objects.filter(is_offered, brand=brand)
        self.fields["style"].queryset = styles.order_by("name")  # type: ignore[attr-defined]
        named = [(engine.name, engine.label) for engine in engines]
        self.fields["engine"].choices = [("", _("Any that is there")), *named]  # type: ignore[attr-defined]
        chosen = self.data.get("engine", "") if self.is_bound else self.initial.get("engine", "")
        capabilities = _capabilities(engines, chosen)
        self.controls = _controls(capabilities)
        for control in self.controls:
            self.fields[CONTROL + control.parameter] = ControlField.with_hints(control)
            if control.kind in USES:
                hints = {"autocomplete": "off", "placeholder": f"{{{control.parameter}}}"}
                self.fields[control.parameter + FROM] = ControlField(
                    control, label=_("Or as the axis or each product says"), widget=forms.TextInput(hints)
                )
        roles = capabilities.optional_images - {SCENE} if capabilities else frozenset()
        self.fields["images"].choices = _role_choices(roles)  # type: ignore[attr-defined]

    def control_fields(self) -> Iterator[forms.BoundField]:
        for control in self.controls:
            if control.kind not in USES:
                yield self[CONTROL + control.parameter]

    def concept_fields(self) -> Iterator[tuple[forms.BoundField, forms.BoundField]]:
        """Return the fields of controls that name a concept: (choice by image, text that names one per product)."""
        for control in self.controls:
            if control.kind in USES:
                yield self[CONTROL + control.parameter], self[control.parameter + FROM]

    def clean_axes(self) -> dict[str, list[Any]]:
        axes: dict[str, list[Any]] = {}
        for number, line in enumerate(self.cleaned_data["axes"].splitlines(), start=1):
            if not line.strip():
                continue
            name, colon, values = line.partition(":")
            given = [value.strip() for value in values.split(",") if value.strip()]
            if not colon or not given:
                sentence = _("Line %(n)d, “%(line)s”, is no axis; write “name: value, value”.")
                raise forms.ValidationError(sentence % {"n": number, "line": line.strip()})
            if name.strip() in axes:
                sentence = _("Line %(n)d: “%(name)s” stands above already.")
                raise forms.ValidationError(sentence % {"n": number, "name": name.strip()})
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
            raise forms.ValidationError(_('Write an object, such as {"scheduler": "euler"}.'))
        for control in self.controls:
            if control.parameter in parameters:
                sentence = _("“%(name)s” has a field of its own; set it there.")
                raise forms.ValidationError(sentence % {"name": control.label})
        return parameters

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        for control in self.controls:
            if written := given.get(control.parameter + FROM):
                given[CONTROL + control.parameter] = written
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
        if self.base and {"on_fail": "flag", **self.base.policy} == policy:
            policy = self.base.policy
        return {name: given[name] for name in (*_COPIED, "style", "note") if name in given} | {
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


def _role_choices(roles: Iterable[str]) -> list[tuple[str, str]]:
    """Return (role, label) of image roles; "reference_2" is "Reference 2" and stands before "Reference 10"."""
    choices = []
    for role in roles:
        stem = role.rstrip("0123456789")
        name, number = stem.rstrip("_"), role[len(stem) :]
        label = str(_ROLES.get(name, name.replace("_", " ").capitalize()))
        choices.append((name, int(number or 0), role, f"{label} {number}".strip()))
    return [(role, label) for _name, _number, role, label in sorted(choices)]


def _capabilities(engines: Sequence[EngineChoice], name: str) -> Capabilities | None:
    return next((engine.capabilities for engine in engines if engine.name == name), None)


def _controls(capabilities: Capabilities | None) -> list[Control]:
    controls = capabilities.controls if capabilities else ()
    return [control for control in controls if control.parameter not in control_values.SPEC_FIELDS]


def initial_values(version: PromptVersion | None, engines: Sequence[EngineChoice]) -> dict[str, Any]:
    if version is None:
        return {"engine": engines[0].name if engines else "", "on_fail": "flag"}
    name = str(version.needs.get("engine", ""))
    controlled = {control.parameter for control in _controls(_capabilities(engines, name))}
    others = {key: value for key, value in version.parameters.items() if key not in controlled}
    shown = {CONTROL + key: value for key, value in version.parameters.items() if key in controlled}
    for use in USES.values():
        if "{" in str(shown.get(CONTROL + use.parameter, "")):
            shown[use.parameter + FROM] = shown.pop(CONTROL + use.parameter)
    axes = [f"{axis}: {', '.join(str(value) for value in values)}" for axis, values in version.axes.items()]
    return {
        **{field: getattr(version, field) for field in _COPIED},
        "style": version.style_id,
        "axes": "\n".join(axes),
        "engine": name,
        "images": version.needs.get("images", []),
        "on_fail": version.policy.get("on_fail", "flag"),
        "max_regenerations": version.policy.get("max_regenerations"),
        "parameters": json.dumps(others, indent=2, ensure_ascii=False) if others else "",
        **shown,
    }
