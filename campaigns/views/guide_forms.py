"""Forms of the parts of a brand guide's draft. They parse the input; the service decides what the guide may say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.choices import Light
from campaigns.forms import LineListField, add_problems
from campaigns.models import GuideVersion
from campaigns.photos import colours
from campaigns.selectors import guides as selectors
from campaigns.services import guides
from core.errors import Invalid


class ColourForm(forms.Form):
    """One row: a colour with its name. is_default: whether it is the default backdrop."""

    name = forms.CharField(
        required=False,
        widget=forms.TextInput(
            {"class": "input", "maxlength": 40, "placeholder": gettext_lazy("Name"), "aria-label": gettext_lazy("Name")}
        ),
    )
    hex = forms.CharField(
        required=False,
        widget=forms.TextInput(
            {
                "class": "input mono guide-hex", "maxlength": 7, "placeholder": "#b5651d", "spellcheck": "false",
                "aria-label": gettext_lazy("Colour as #rrggbb"),
            }
        ),
    )  # fmt: skip
    is_default = False

    def add_prefix(self, field_name: str) -> str:
        return f"{self.prefix}_{field_name}"

    @property
    def picker_value(self) -> str:
        """Return the colour as "#rrggbb" for the browser's colour field, which accepts nothing else."""
        try:
            return colours.normalise_hex(self["hex"].value() or "")
        except ValueError:
            return "#ffffff"


class ColourFormSet(forms.BaseFormSet):
    """The colours of a list of the guide, then some empty rows. All rows have the same names of fields, as in
    palette_name and palette_hex, so the page can add and remove rows; the empty ones are left out."""

    field_names: ClassVar[tuple[str, ...]]

    def __init__(self, guide: GuideVersion, data: QueryDict | None = None) -> None:
        name = self.field_names[0]
        self.typed_rows = [] if data is None else _read_rows(data, name)
        self.default = _find_default(self.typed_rows, name, data) if data is not None else guide.backdrop
        counts = {f"{name}-TOTAL_FORMS": len(self.typed_rows) + self.extra, f"{name}-INITIAL_FORMS": 0}
        is_bound = data is not None
        initial = None if is_bound else getattr(guide, name)
        super().__init__(counts if is_bound else None, prefix=name, initial=initial, auto_id="")

    def add_prefix(self, index: Any) -> str:
        return str(self.prefix)

    def get_form_kwargs(self, index: Any) -> dict[str, Any]:
        if not self.is_bound:
            return {}
        return {"data": self.typed_rows[index] if index < len(self.typed_rows) else {}}

    def add_fields(self, form: Any, index: Any) -> None:
        super().add_fields(form, index)
        name = " ".join((form["name"].value() or "").split()).casefold()
        form.is_default = bool(name) and self.field_names[-1] == "backdrop" and name == self.default.casefold()

    def guide_fields(self) -> dict[str, Any]:
        rows = [form.cleaned_data for form in self.forms[: len(self.typed_rows)]]
        values = [rows, self.default]
        return dict(zip(self.field_names, values, strict=False))

    def add_refusal(self, refusal: Invalid) -> None:
        """Show each problem, such as that at "palette/2/hex", at its field."""
        for problem in refusal.problems:
            name, *place = problem.pointer.split("/")
            if name == self.prefix and place:
                self.forms[int(place[0])].add_error(place[1] if len(place) > 1 else None, problem.message)
            else:
                self.non_form_errors().append(problem.message)

    def errors_of_part(self) -> list[Any]:
        return list(self.non_form_errors())


def _read_rows(data: QueryDict, name: str) -> list[dict[str, str]]:
    names, hexes = data.getlist(f"{name}_name"), data.getlist(f"{name}_hex")
    labels = data.getlist(f"{name}_row") or [str(place) for place in range(len(names))]
    keys = (f"{name}_row", f"{name}_name", f"{name}_hex")
    rows = [dict(zip(keys, row, strict=True)) for row in zip(labels, names, hexes, strict=False)]
    return [row for row in rows if row[keys[1]].strip() or row[keys[2]].strip()]


def _find_default(rows: list[dict[str, str]], name: str, data: QueryDict) -> str:
    """Return the name in the row that is chosen as the default."""
    chosen = data.get("default", "")
    return next((" ".join(row[f"{name}_name"].split()) for row in rows if row[f"{name}_row"] == chosen), "")


class _Palette(ColourFormSet):
    field_names = ("palette",)


class _Backdrops(ColourFormSet):
    field_names = ("backdrops", "backdrop")


PaletteFormSet: Any = forms.formset_factory(ColourForm, formset=_Palette, extra=2)
BackdropFormSet: Any = forms.formset_factory(ColourForm, formset=_Backdrops, extra=1)


class NumberField(forms.FloatField):
    """A number such as "80", "80 %" or "0,8". scale: the number in the field that means 1."""

    default_error_messages = dict.fromkeys(("required", "invalid"), gettext_lazy("Give a number."))

    def __init__(self, *, scale: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.scale = scale

    def to_python(self, value: Any) -> Any:
        number = super().to_python(str(value or "").strip().removesuffix("%").strip().replace(",", "."))
        return None if number is None else number / self.scale

    def prepare_value(self, value: Any) -> Any:
        return f"{value * self.scale:g}" if isinstance(value, int | float) else value


class _PartForm(forms.Form):
    """A part of the guide whose fields are fields of the guide."""

    field_names: ClassVar[tuple[str, ...]]

    def __init__(self, guide: GuideVersion, data: QueryDict | None = None) -> None:
        initial = {name: getattr(guide, name) for name in self.field_names}
        super().__init__(data, initial=initial, auto_id="%s")

    def guide_fields(self) -> dict[str, Any]:
        return self.cleaned_data

    def add_refusal(self, refusal: Invalid) -> None:
        add_problems(self, refusal)

    def errors_of_part(self) -> list[Any]:
        return list(self.non_field_errors())


class SettingForm(_PartForm):
    field_names = ("light", "fill_ratio", "baseline")

    fill_ratio = NumberField(
        label=gettext_lazy("A product fills, % of the frame"), scale=100,
        widget=forms.NumberInput({"min": 10, "max": 100, "step": "any", "data-sets": "--fill"}),
        help_text=gettext_lazy(
            "Of its height and width, whichever is reached first. 80 is usual for packshots; Google asks for 75 to 90."
        ),
    )  # fmt: skip
    baseline = NumberField(
        label=gettext_lazy("It stands at, % of the height"), scale=100,
        widget=forms.NumberInput({"min": 20, "max": 100, "step": "any", "data-sets": "--baseline"}),
        help_text=gettext_lazy("0 is the top edge, 100 the bottom edge."),
    )  # fmt: skip
    light = forms.CharField(
        label=gettext_lazy("The light comes from"), required=False,
        widget=forms.Select(
            {"data-light-of": True},
            choices=[("", gettext_lazy("each prompt’s own")), *((value, value) for value in Light.values)],
        ),
    )  # fmt: skip

    def drawn_values(self) -> dict[str, Any]:
        """Return fill, baseline and light for the drawing, as far as they are valid."""
        return {**self.initial, **(self.cleaned_data if self.is_bound else {})}


class WordingForm(_PartForm):
    field_names = guides.WORDING

    def __init__(self, guide: GuideVersion, data: QueryDict | None = None) -> None:
        super().__init__(guide, data)
        labels = {
            "required_wording": _("Must be said"), "approved_wording": _("Our words"), "banned_wording": _("Never")
        }  # fmt: skip
        for name, label in labels.items():
            self.fields[name] = LineListField(
                label=label, required=False, widget=forms.Textarea({"rows": 5, "data-chips": name}),
                help_text=_("One per line; whole words, capitals do not matter."),
            )  # fmt: skip


class LimitsForm(_PartForm):
    """A number for each threshold of a check; an empty field stands for the usual number."""

    field_names = ("thresholds",)

    def __init__(self, guide: GuideVersion, data: QueryDict | None = None) -> None:
        super().__init__(guide, data)
        self.limits = selectors.list_thresholds(guide)
        for limit in self.limits:
            threshold = limit.threshold
            bounds = {"min": threshold.minimum, "max": threshold.maximum, "step": threshold.step}
            attributes = {"class": "guide-number", **{name: f"{bound:g}" for name, bound in bounds.items()}}
            usual = _("Usually %(usual)s.") % {"usual": f"{threshold.default:g}"}
            self.fields[limit.field] = NumberField(
                label=threshold.label, required=False, initial=limit.value, widget=forms.NumberInput(attributes),
                help_text=f"{threshold.hint} {usual}",
            )  # fmt: skip

    def fields_with_units(self) -> list[tuple[forms.BoundField, str]]:
        return [(self[limit.field], limit.threshold.unit) for limit in self.limits]

    def guide_fields(self) -> dict[str, Any]:
        chosen: dict[str, dict[str, float]] = {}
        for limit in self.limits:
            if (value := self.cleaned_data[limit.field]) is not None:
                chosen.setdefault(limit.check, {})[limit.threshold.name] = value
        return {"thresholds": chosen}

    def add_refusal(self, refusal: Invalid) -> None:
        fields = {limit.pointer: limit.field for limit in self.limits}
        for problem in refusal.problems:
            self.add_error(fields.get(problem.pointer), problem.message)


#: The parts of the page, which are saved separately.
PARTS: Final[dict[str, Callable[..., Any]]] = {
    "palette": PaletteFormSet,
    "backdrops": BackdropFormSet,
    "setting": SettingForm,
    "wording": WordingForm,
    "limits": LimitsForm,
}
