"""Forms of the campaigns pages. They parse the input; the services decide whether it is allowed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.text import slugify

from campaigns.choices import ImageFormat
from campaigns.models import Campaign
from core.errors import Invalid
from core.fetching import redact_settings
from core.models import Brand, User


def add_problems(form: forms.BaseForm, refusal: Invalid) -> None:
    """Add a service's refusal to the form: to the field that it names, else to the whole form."""
    for problem in refusal.problems:
        name = problem.pointer.strip("/").split("/")[0]
        form.add_error(name if name in form.fields else None, problem.message)
    if not refusal.problems:
        form.add_error(None, refusal.message)


class HiddenQueries:
    """Mixin for text widgets that show addresses without login and query, also after a refused input."""

    def format_value(self, value: Any) -> str | None:
        text = super().format_value(value)  # type: ignore[misc]
        return "\n".join(redact_settings(line) for line in text.split("\n")) if text else text


class AddressInput(HiddenQueries, forms.URLInput):
    pass


class SettingInput(HiddenQueries, forms.TextInput):
    pass


class SettingsArea(HiddenQueries, forms.Textarea):
    pass


class PersonField(forms.ModelChoiceField):
    """A choice of people, shown by display name."""

    def label_from_instance(self, obj: Any) -> str:
        return str(obj.display_name)


class BriefForm(forms.ModelForm[Campaign]):
    """The brief. The slug is made from the name when the campaign is created, and does not change later."""

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
        help_texts = {"pilot_decisions": ""}  # the label says it

    def __init__(self, *args: Any, brand: Brand, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        members = User.objects.filter(memberships__brand=brand).distinct().order_by("first_name", "username")
        self.fields["review_owner"] = PersonField(members, required=False, empty_label="Nobody yet")
        self.fields["review_owner"].label = "Review owner"
        self.fields["budget"].label = f"Budget, {brand.currency}"
        self.fields["budget"].help_text = "Empty means no limit."

    @property
    def slug(self) -> str:
        return slugify(self.cleaned_data["name"])[:50].strip("-")


class SpecForm(forms.Form):
    """One output spec: the requirements of a channel."""

    slug = forms.SlugField(label="Name", help_text="Such as shop or marketplace")
    width = forms.IntegerField(label="Width, px", min_value=16, max_value=8192, initial=1600)
    height = forms.IntegerField(label="Height, px", min_value=16, max_value=8192, initial=1600)
    image_format = forms.ChoiceField(label="Format", choices=ImageFormat.choices, initial=ImageFormat.JPEG)
    max_bytes = forms.IntegerField(label="At most, bytes", required=False, min_value=1000)
    background = forms.CharField(label="Background", required=False, max_length=9, help_text="#ffffff, or empty")
    asset_type = forms.SlugField(
        label="Kind of image",
        max_length=40,
        required=False,
        initial="packshot",
        help_text="Such as packshot, social or header",
    )
    name_pattern = forms.CharField(
        label="File name", max_length=200, initial="{brand}_{sku}_{asset_type}_{spec}_{date}_{variation}"
    )

    def clean_asset_type(self) -> str:
        return self.cleaned_data["asset_type"] or "packshot"


class StyleForm(forms.Form):
    """One style preset: words that are added to a prompt unchanged."""

    name = forms.CharField(label="Name", max_length=80)
    text = forms.CharField(
        label="Words added to the prompt", max_length=2000, widget=forms.Textarea(attrs={"rows": 4}), required=False
    )
    negative = forms.CharField(
        label="Added to the negative prompt",
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2}),
        required=False,
    )
