"""Forms of the campaigns pages. They parse the input; the services decide whether it is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeVar

from django import forms
from django.http import QueryDict
from django.utils.text import slugify
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from campaigns import visible_labels
from campaigns.choices import ImageFormat, LabelCorner, Light
from campaigns.models import Campaign, GuideVersion
from campaigns.photos import colours
from campaigns.selectors import guides as guide_rows
from campaigns.services import campaigns as services
from campaigns.services import guides
from campaigns.services.campaigns import SpecInput
from core.config_fields import HiddenQueries
from core.errors import Conflict, DomainError, Invalid, Problem
from core.models import Brand, User

Saved = TypeVar("Saved")


def add_problems(form: forms.BaseForm, refusal: DomainError) -> None:
    """Add a service's refusal to the form: to the field that it names, else to the whole form."""
    problems = refusal.problems if isinstance(refusal, Invalid) else []
    for problem in problems:
        name = problem.pointer.strip("/").split("/")[0]
        form.add_error(name if name in form.fields else None, problem.message)
    if not problems:
        form.add_error(None, refusal.message)


def save(form: forms.BaseForm, service: Callable[..., Saved], *, taken: str = "", **arguments: Any) -> Saved | None:
    """Call a service with the values of the form.

    Return None if nothing was posted, or if the form or the service refuses it; the mistakes are in the form then.
    taken: the mistake at the field `name` if another row has this name.
    """
    if not form.is_valid():
        return None
    try:
        return service(**arguments, **form.cleaned_data)
    except Invalid as refusal:
        add_problems(form, refusal)
    except Conflict as refusal:
        form.add_error("name" if taken else None, taken or refusal.message)
    return None


def add_new_problems(form: forms.BaseForm, problems: Iterable[Problem]) -> None:
    """Add what a service finds in the valid fields, so that the page shows all mistakes at once."""
    for problem in problems:
        if problem.pointer in form.fields and problem.pointer not in form.errors:
            form.add_error(problem.pointer, problem.message)


class RowForm(forms.Form):
    """One row of a RowFormSet."""

    def add_prefix(self, field_name: str) -> str:
        return f"{self.prefix}_{field_name}"


class RowFormSet(forms.BaseFormSet):
    """Rows whose fields have the same names in every row, such as palette_name, so that a page can add and remove rows.

    Rows without any text are left out. Some empty ones follow.
    """

    def __init__(
        self, data: QueryDict | None = None, *, prefix: str, initial: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        self.typed_rows: list[dict[str, str]] = []
        counts = None
        if data is not None:
            names = [f"{prefix}_{name}" for name in self.form.base_fields]
            rows = [dict(zip(names, row, strict=True)) for row in zip(*map(data.getlist, names), strict=False)]
            self.typed_rows = [row for row in rows if any(text.strip() for text in row.values())]
            counts = {f"{prefix}-TOTAL_FORMS": len(self.typed_rows) + self.extra, f"{prefix}-INITIAL_FORMS": 0}
            initial = None
        super().__init__(counts, prefix=prefix, initial=initial, auto_id="")

    def add_prefix(self, index: Any) -> str:
        return str(self.prefix)

    def get_form_kwargs(self, index: Any) -> dict[str, Any]:
        if not self.is_bound:
            return {}
        return {"data": self.typed_rows[index] if index < len(self.typed_rows) else {}}

    def add_refusal(self, refusal: Invalid) -> None:
        """Show each problem, such as that at "palette/2/hex", at its field."""
        for problem in refusal.problems:
            name, *place = problem.pointer.split("/")
            if name == self.prefix and place:
                self.forms[int(place[0])].add_error(place[1] if len(place) > 1 else None, problem.message)
            else:
                self.non_form_errors().append(problem.message)

    def non_field_errors(self) -> Any:
        return self.non_form_errors()


class AddressInput(HiddenQueries, forms.URLInput):
    pass


class LineListField(forms.CharField):
    """A list with one entry on each line; empty lines are left out."""

    widget = forms.Textarea

    def clean(self, value: Any) -> list[str]:
        return [line.strip() for line in super().clean(value).splitlines() if line.strip()]

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value


class PersonField(forms.ModelChoiceField):
    """A choice of people, shown by display name."""

    def label_from_instance(self, obj: Any) -> str:
        return str(obj.display_name)


class BriefForm(forms.ModelForm[Campaign]):
    """The brief. The slug is made from the name when the campaign is created, and does not change later."""

    class Meta:
        model = Campaign
        fields = [
            "name", "purpose", "audience", "channel", "starts_on", "ends_on", "budget", "review_owner",
            "pilot_decisions", "pilot_approval_percent",
        ]  # fmt: skip
        widgets = {
            "purpose": forms.Textarea(attrs={"rows": 3}),
            "audience": forms.Textarea(attrs={"rows": 2}),
            "starts_on": forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
            "ends_on": forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        }
        labels = {
            "starts_on": _("Starts"),
            "ends_on": _("Ends"),
            "pilot_decisions": _("Decisions a pilot needs"),
            "pilot_approval_percent": _("Approved in the pilot, %"),
        }
        help_texts = {"pilot_decisions": ""}  # the label says it

    def __init__(self, *args: Any, brand: Brand, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.brand = brand
        members = User.objects.filter(memberships__brand=brand).distinct().order_by("first_name", "username")
        self.fields["review_owner"] = PersonField(
            members, required=False, empty_label=_("Nobody yet"), label=_("Review owner")
        )
        self.fields["budget"].label = _("Budget, %(currency)s") % {"currency": brand.currency}
        self.fields["budget"].help_text = _("Empty means no limit.")

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        add_new_problems(self, services.find_brief_problems(given, self.brand))
        if self.instance.pk is None and "name" in given:
            given["slug"] = slugify(given["name"])[:50].strip("-")
            if not given["slug"]:
                self.add_error("name", _("Give it a name with letters or digits."))
            elif Campaign.objects.filter(brand=self.brand, slug=given["slug"]).exists():
                self.add_error("name", _("There already is a campaign of this name; give this one another."))
        return given


class SpecForm(forms.Form):
    """One output spec: the requirements of a channel."""

    slug = forms.SlugField(label=_("Name"), help_text=_("Such as shop or marketplace"))
    width = forms.IntegerField(label=_("Width, px"), min_value=16, max_value=8192, initial=1600)
    height = forms.IntegerField(label=_("Height, px"), min_value=16, max_value=8192, initial=1600)
    image_format = forms.ChoiceField(label=_("Format"), choices=ImageFormat.choices, initial=ImageFormat.JPEG)
    max_bytes = forms.IntegerField(label=_("At most, bytes"), required=False, min_value=1000)
    background = forms.CharField(label=_("Background"), required=False, max_length=9, help_text=_("#ffffff, or empty"))
    asset_type = forms.SlugField(
        label=_("Kind of image"), max_length=40, required=False, empty_value="packshot", initial="packshot",
        help_text=_("Such as packshot, social or header"),
    )  # fmt: skip
    name_pattern = forms.CharField(
        label=_("File name"), max_length=200, initial="{brand}_{sku}_{asset_type}_{spec}_{date}_{variation}"
    )
    label_text = forms.CharField(
        label=_("Visible label"), max_length=visible_labels.MAX_LENGTH, required=False,
        widget=forms.TextInput({"placeholder": _("AI-generated")}),
        help_text=_(
            "Drawn into the image before it is reviewed; empty for none. Article 50 of the EU AI Act may oblige you, "
            "as the deployer who publishes the images, to say that AI made them."
        ),
    )  # fmt: skip
    label_corner = forms.ChoiceField(
        label=_("Place of the label"), choices=LabelCorner.choices, initial=LabelCorner.BOTTOM_RIGHT, required=False
    )
    label_percent = forms.IntegerField(
        label=_("Height of the label, %"), min_value=visible_labels.PERCENT[0], max_value=visible_labels.PERCENT[1],
        initial=visible_labels.USUAL_PERCENT, required=False, help_text=_("Of the shorter side"),
    )  # fmt: skip

    def clean_label_corner(self) -> str:
        return self.cleaned_data["label_corner"] or LabelCorner.BOTTOM_RIGHT.value

    def clean_label_percent(self) -> int:
        return self.cleaned_data["label_percent"] or visible_labels.USUAL_PERCENT

    def clean(self) -> None:
        valid: dict[str, Any] = {"slug": "new", "width": 1600, "height": 1600} | self.cleaned_data
        mistakes = services.find_spec_mistakes(SpecInput(**valid), is_kept=False)
        add_new_problems(self, [Problem(name, sentence) for name, sentence in mistakes])


class StyleForm(forms.Form):
    """One style preset: words that are added to a prompt unchanged."""

    name = forms.CharField(label=_("Name"), max_length=80)
    text = forms.CharField(
        label=_("Words added to the prompt"), max_length=2000, widget=forms.Textarea({"rows": 4}), required=False
    )
    negative = forms.CharField(
        label=_("Added to the negative prompt"), max_length=2000, widget=forms.Textarea({"rows": 2}), required=False
    )


class ColourForm(RowForm):
    """One row: a colour with its name. is_default: whether it is the default backdrop."""

    name = forms.CharField(required=False, widget=forms.TextInput({
        "class": "input", "maxlength": 40, "placeholder": _("Name"), "aria-label": _("Name"),
    }))  # fmt: skip
    hex = forms.CharField(required=False, widget=forms.TextInput({
        "class": "input mono guide-hex", "maxlength": 7, "placeholder": "#b5651d", "spellcheck": "false",
        "aria-label": _("Colour as #rrggbb"),
    }))  # fmt: skip
    is_default = False

    @property
    def picker_value(self) -> str:
        """Return the colour as "#rrggbb" for the browser's colour field, which accepts nothing else."""
        try:
            return colours.normalise_hex(self["hex"].value() or "")
        except ValueError:
            return "#ffffff"


class ColourFormSet(RowFormSet):
    """The colours of a list of the guide. default: the name of the default backdrop."""

    field_names: ClassVar[tuple[str, ...]]

    def __init__(self, guide: GuideVersion, data: QueryDict | None = None) -> None:
        prefix = self.field_names[0]
        self.default = guide.backdrop
        if data is not None:
            names = data.getlist(f"{prefix}_name")
            labels = data.getlist(f"{prefix}_row") or map(str, range(len(names)))
            chosen = data.get("default", "")
            pairs = zip(labels, names, strict=False)
            self.default = next((" ".join(name.split()) for label, name in pairs if label == chosen), "")
        super().__init__(data, prefix=prefix, initial=getattr(guide, prefix))

    def add_fields(self, form: Any, index: Any) -> None:
        super().add_fields(form, index)
        name = " ".join((form["name"].value() or "").split()).casefold()
        form.is_default = bool(name) and self.field_names[-1] == "backdrop" and name == self.default.casefold()

    def guide_fields(self) -> dict[str, Any]:
        rows = [form.cleaned_data for form in self.forms[: len(self.typed_rows)]]
        return dict(zip(self.field_names, [rows, self.default], strict=False))


class _Palette(ColourFormSet):
    field_names = ("palette",)


class _Backdrops(ColourFormSet):
    field_names = ("backdrops", "backdrop")


PaletteFormSet: Any = forms.formset_factory(ColourForm, formset=_Palette, extra=2)
BackdropFormSet: Any = forms.formset_factory(ColourForm, formset=_Backdrops, extra=1)


class NumberField(forms.FloatField):
    """A number such as "80", "80 %" or "0,8". scale: the number in the field that means 1."""

    default_error_messages = dict.fromkeys(("required", "invalid"), _("Give a number."))

    def __init__(self, *, scale: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.scale = scale

    def to_python(self, value: Any) -> Any:
        number = super().to_python(str(value or "").strip().removesuffix("%").strip().replace(",", "."))
        return None if number is None else number / self.scale

    def prepare_value(self, value: Any) -> Any:
        return f"{value * self.scale:g}" if isinstance(value, int | float) else value


class GuidePartForm(forms.Form):
    """A part of the guide whose fields are fields of the guide."""

    field_names: ClassVar[tuple[str, ...]]

    def __init__(self, guide: GuideVersion, data: QueryDict | None = None) -> None:
        initial = {name: getattr(guide, name) for name in self.field_names}
        super().__init__(data, initial=initial, auto_id="%s")

    def guide_fields(self) -> dict[str, Any]:
        return self.cleaned_data

    def add_refusal(self, refusal: Invalid) -> None:
        add_problems(self, refusal)


class SettingForm(GuidePartForm):
    field_names = ("light", "fill_ratio", "baseline")

    fill_ratio = NumberField(
        label=_("A product fills, % of the frame"), scale=100,
        widget=forms.NumberInput({"min": 10, "max": 100, "step": "any", "data-sets": "--fill"}),
        help_text=_(
            "Of its height and width, whichever is reached first. 80 is usual for packshots; Google asks for 75 to 90."
        ),
    )  # fmt: skip
    baseline = NumberField(
        label=_("It stands at, % of the height"), scale=100,
        widget=forms.NumberInput({"min": 20, "max": 100, "step": "any", "data-sets": "--baseline"}),
        help_text=_("0 is the top edge, 100 the bottom edge."),
    )  # fmt: skip
    light = forms.CharField(
        label=_("The light comes from"), required=False,
        widget=forms.Select(
            {"data-light-of": True},
            choices=[("", _("each prompt’s own")), *((value, value) for value in Light.values)],
        ),
    )  # fmt: skip

    def drawn_values(self) -> dict[str, Any]:
        """Return fill, baseline and light for the drawing, as far as they are valid."""
        return {**self.initial, **(self.cleaned_data if self.is_bound else {})}


class WordingForm(GuidePartForm):
    field_names = guides.WORDING

    def __init__(self, guide: GuideVersion, data: QueryDict | None = None) -> None:
        super().__init__(guide, data)
        labels = {
            "required_wording": gettext("Must be said"), "approved_wording": gettext("Our words"),
            "banned_wording": gettext("Never"),
        }  # fmt: skip
        for name, label in labels.items():
            self.fields[name] = LineListField(
                label=label, required=False, widget=forms.Textarea({"rows": 5, "data-chips": name}),
                help_text=gettext("One per line; whole words, capitals do not matter."),
            )  # fmt: skip


class LimitsForm(GuidePartForm):
    """A number for each threshold of a check; an empty field stands for the usual number."""

    field_names = ("thresholds",)

    def __init__(self, guide: GuideVersion, data: QueryDict | None = None) -> None:
        super().__init__(guide, data)
        self.limits = guide_rows.list_thresholds(guide)
        for limit in self.limits:
            threshold = limit.threshold
            bounds = {"min": threshold.minimum, "max": threshold.maximum, "step": threshold.step}
            attributes = {"class": "guide-number", **{name: f"{bound:g}" for name, bound in bounds.items()}}
            usual = gettext("Usually %(usual)s.") % {"usual": f"{threshold.default:g}"}
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


#: The parts of the page of a guide's draft, which are saved separately.
GUIDE_PARTS: Final[dict[str, Callable[..., Any]]] = {
    "palette": PaletteFormSet,
    "backdrops": BackdropFormSet,
    "setting": SettingForm,
    "wording": WordingForm,
    "limits": LimitsForm,
}
