"""Forms of the campaigns pages: they read what was typed; whether it is allowed is the services' business."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.utils.text import slugify

from campaigns.choices import ImageFormat, SeedStrategy
from campaigns.errors import Invalid
from campaigns.models import Brand, Campaign, StylePreset, User


def add_problems(form: forms.BaseForm, refusal: Invalid) -> None:
    """Put a service's refusal where the person typed: beside the field it names, else on top."""
    for problem in refusal.problems:
        name = problem.pointer.strip("/").split("/")[0]
        form.add_error(name if name in form.fields else None, problem.message)
    if not refusal.problems:
        form.add_error(None, refusal.message)


class BriefForm(forms.ModelForm[Campaign]):
    """The brief. The slug is made of the name when the campaign is created and stays."""

    class Meta:
        model = Campaign
        fields = [
            "name",
            "purpose",
            "audience",
            "channel",
            "starts_on",
            "ends_on",
            "budget",
            "review_owner",
            "pilot_decisions",
            "pilot_approval_percent",
        ]
        widgets = {
            "purpose": forms.Textarea(attrs={"rows": 3}),
            "audience": forms.Textarea(attrs={"rows": 2}),
            "starts_on": forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
            "ends_on": forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        }
        labels = {
            "starts_on": "Starts",
            "ends_on": "Ends",
            "review_owner": "Review owner",
            "pilot_decisions": "Decisions a pilot needs",
            "pilot_approval_percent": "Approved in the pilot, %",
        }

    def __init__(self, *args: Any, brand: Brand, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        members = User.objects.filter(memberships__brand=brand).distinct().order_by("first_name", "username")
        self.fields["review_owner"] = forms.ModelChoiceField(members, required=False, empty_label="Nobody yet")
        self.fields["review_owner"].label = "Review owner"
        self.fields["budget"].label = f"Budget, {brand.currency}"
        self.fields["budget"].help_text = "Empty means no limit."

    @property
    def slug(self) -> str:
        return slugify(self.cleaned_data["name"])[:50].strip("-")


class SpecForm(forms.Form):
    """One output spec: what a channel wants."""

    slug = forms.SlugField(label="Name", help_text="Such as shop or marketplace")
    width = forms.IntegerField(label="Width, px", min_value=16, max_value=8192, initial=1600)
    height = forms.IntegerField(label="Height, px", min_value=16, max_value=8192, initial=1600)
    image_format = forms.ChoiceField(label="Format", choices=ImageFormat.choices, initial=ImageFormat.JPEG)
    max_bytes = forms.IntegerField(label="At most, bytes", required=False, min_value=1000)
    background = forms.CharField(label="Background", required=False, max_length=9, help_text="#ffffff, or empty")
    name_pattern = forms.CharField(
        label="File name", max_length=200, initial="{brand}_{sku}_{asset_type}_{spec}_{date}_{variation}"
    )


class PromptForm(forms.Form):
    """One prompt version. Axes are written one per line: "backdrop: white, clay"; parameters as JSON."""

    text = forms.CharField(
        label="Prompt", widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "true"}), required=False
    )
    negative = forms.CharField(label="Not in the picture", widget=forms.Textarea(attrs={"rows": 2}), required=False)
    style = forms.ModelChoiceField(StylePreset.objects.none(), required=False, empty_label="No style preset")
    axes = forms.CharField(
        label="Axes",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono"}),
        help_text="One per line, such as “backdrop: white, clay”. Each combination is one picture.",
    )
    parameters = forms.CharField(
        label="Engine parameters",
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "class": "mono"}),
        help_text='JSON; strings may hold placeholders, such as {"backdrop": "{backdrop}"}.',
    )
    engine = forms.ChoiceField(label="Engine", required=False)
    seed_strategy = forms.ChoiceField(label="Seed", choices=SeedStrategy.choices, initial=SeedStrategy.PER_SUBJECT)
    seed = forms.IntegerField(label="Seed number", initial=0, min_value=0)
    candidates = forms.IntegerField(label="Candidates per picture", initial=1, min_value=1, max_value=8)

    def __init__(self, *args: Any, brand: Brand, engines: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["style"].queryset = StylePreset.objects.filter(brand=brand)  # type: ignore[attr-defined]
        self.fields["engine"].choices = [("", "Any")] + [(name, name) for name in engines]  # type: ignore[attr-defined]

    def clean_axes(self) -> dict[str, list[str]]:
        axes: dict[str, list[str]] = {}
        for line in self.cleaned_data["axes"].splitlines():
            if not line.strip():
                continue
            name, colon, values = line.partition(":")
            given = [value.strip() for value in values.split(",") if value.strip()]
            if not colon or not given:
                raise forms.ValidationError(f"“{line.strip()}” is not an axis; write “name: value, value”.")
            axes[name.strip()] = given
        return axes

    def clean_parameters(self) -> dict[str, Any]:
        try:
            parameters = json.loads(self.cleaned_data["parameters"] or "{}")
        except ValueError as error:
            raise forms.ValidationError(f"This is not JSON: {error}.") from None
        if not isinstance(parameters, dict):
            raise forms.ValidationError('Write an object, such as {"fill": 0.8}.')
        return parameters

    def version_fields(self) -> dict[str, Any]:
        """The cleaned fields as the prompt services take them."""
        given = dict(self.cleaned_data)
        engine = given.pop("engine")
        return given | {"needs": {"engine": engine} if engine else {}}
