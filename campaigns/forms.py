"""Forms of the campaigns pages. They parse the input; the services decide whether it is allowed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.text import slugify
from django.utils.translation import gettext_lazy as _

from campaigns.choices import ImageFormat
from campaigns.models import Campaign
from core.config_fields import HiddenQueries
from core.errors import DomainError, Invalid
from core.models import Brand, User


def add_problems(form: forms.BaseForm, refusal: DomainError) -> None:
    """Add a service's refusal to the form: to the field that it names, else to the whole form."""
    problems = refusal.problems if isinstance(refusal, Invalid) else []
    for problem in problems:
        name = problem.pointer.strip("/").split("/")[0]
        form.add_error(name if name in form.fields else None, problem.message)
    if not problems:
        form.add_error(None, refusal.message)


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
        members = User.objects.filter(memberships__brand=brand).distinct().order_by("first_name", "username")
        self.fields["review_owner"] = PersonField(
            members, required=False, empty_label=_("Nobody yet"), label=_("Review owner")
        )
        self.fields["budget"].label = _("Budget, %(currency)s") % {"currency": brand.currency}
        self.fields["budget"].help_text = _("Empty means no limit.")

    @property
    def slug(self) -> str:
        return slugify(self.cleaned_data["name"])[:50].strip("-")


class SpecForm(forms.Form):
    """One output spec: the requirements of a channel."""

    slug = forms.SlugField(label=_("Name"), help_text=_("Such as shop or marketplace"))
    width = forms.IntegerField(label=_("Width, px"), min_value=16, max_value=8192, initial=1600)
    height = forms.IntegerField(label=_("Height, px"), min_value=16, max_value=8192, initial=1600)
    image_format = forms.ChoiceField(label=_("Format"), choices=ImageFormat.choices, initial=ImageFormat.JPEG)
    max_bytes = forms.IntegerField(label=_("At most, bytes"), required=False, min_value=1000)
    background = forms.CharField(label=_("Background"), required=False, max_length=9, help_text=_("#ffffff, or empty"))
    asset_type = forms.SlugField(
        label=_("Kind of image"),
        max_length=40,
        required=False,
        empty_value="packshot",
        initial="packshot",
        help_text=_("Such as packshot, social or header"),
    )
    name_pattern = forms.CharField(
        label=_("File name"), max_length=200, initial="{brand}_{sku}_{asset_type}_{spec}_{date}_{variation}"
    )


class StyleForm(forms.Form):
    """One style preset: words that are added to a prompt unchanged."""

    name = forms.CharField(label=_("Name"), max_length=80)
    text = forms.CharField(
        label=_("Words added to the prompt"), max_length=2000, widget=forms.Textarea({"rows": 4}), required=False
    )
    negative = forms.CharField(
        label=_("Added to the negative prompt"), max_length=2000, widget=forms.Textarea({"rows": 2}), required=False
    )
