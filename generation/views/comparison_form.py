"""The form of a new comparison, and the columns that it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.forms import LineListField
from campaigns.selectors import prompts as prompt_selectors
from campaigns.selectors import subjects as subject_selectors
from core.errors import Invalid
from core.pages import BrandRequest
from generation.selectors import studio as studio_selectors
from generation.selectors.endpoints import Offer
from generation.services.comparisons import Side

WORDS, SUBJECTS = "words", "subjects"
SIDE: Final = 1024


class _PixelsField(forms.IntegerField):
    def __init__(self, label: Any) -> None:
        message = gettext_lazy("Give width and height in pixels, at most 4096.")
        messages = dict.fromkeys(("required", "invalid", "min_value", "max_value"), message)
        super().__init__(label=label, initial=SIDE, min_value=16, max_value=4096, error_messages=messages)


class ComparisonForm(forms.Form):
    """The rows are free prompts or products (kind); the columns are endpoints, for products each with each version."""

    kind = forms.ChoiceField(
        choices=[
            (WORDS, gettext_lazy("free prompts")),
            (SUBJECTS, gettext_lazy("products, with prompt versions")),
        ],
        widget=forms.RadioSelect,
    )
    words = LineListField(
        label=gettext_lazy("Prompts, one on each line"), required=False,
        widget=forms.Textarea({"rows": 6, "spellcheck": "true"}),
        help_text=gettext_lazy(
            "The settings are those that each endpoint was used with last; endpoints that read no words are left out."
        ),
    )  # fmt: skip
    skus = LineListField(
        label=gettext_lazy("Products, one SKU on each line"), required=False,
        widget=forms.Textarea({"rows": 6, "class": "mono"}),
    )  # fmt: skip
    version: Any = forms.ModelMultipleChoiceField(None, required=False)
    endpoint = forms.MultipleChoiceField(required=False)
    width = _PixelsField(gettext_lazy("Width, px"))
    height = _PixelsField(gettext_lazy("Height, px"))
    name = forms.CharField(
        label=gettext_lazy("Name"), required=False,
        widget=forms.TextInput({"maxlength": 160, "placeholder": gettext_lazy("taken from the rows")}),
    )  # fmt: skip

    def __init__(self, data: Any = None, *, request: BrandRequest, offers: Sequence[Offer], **kwargs: Any) -> None:
        super().__init__(data, auto_id="contest-%s", **kwargs)
        self.request, self.offers = request, offers
        versions = prompt_selectors.list_versions_of_brand(request.user, request.brand)
        self.fields["version"].queryset = versions.order_by("template__slug", "number")  # type: ignore[attr-defined]
        self.fields["endpoint"].choices = [  # type: ignore[attr-defined]
            (str(offer.endpoint.pk), offer.endpoint.name) for offer in offers
        ]

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        is_words = given.get("kind") == WORDS
        given["words"] = given.get("words", []) if is_words else []
        given["subjects"] = [] if is_words else self._find_subjects(given.get("skus", []))
        if is_words and not given["words"]:
            self.add_error("words", _("Write at least one prompt, each on a line of its own."))
        if not is_words and not given["subjects"] and not self.has_error("skus"):
            self.add_error("skus", _("Name at least one product."))
        return given

    def _find_subjects(self, lines: Sequence[str]) -> list[int]:
        keys = [key.strip() for line in lines for key in line.split(",") if key.strip()]
        try:
            return subject_selectors.get_ids_by_key(self.request.brand, keys) or []
        except Invalid as refusal:
            self.add_error("skus", [problem.message for problem in refusal.problems])
            return []

    def sides(self) -> list[Side]:
        """Return a side for every endpoint and version, without versions that were written for another engine."""
        offers = [offer for offer in self.offers if str(offer.endpoint.pk) in self.cleaned_data["endpoint"]]
        if self.cleaned_data["kind"] == WORDS:
            return [
                Side(offer.endpoint, None, _load_usual_settings(self.request, offer))
                for offer in list_prompt_readers(offers)
            ]
        return [
            Side(offer.endpoint, version)
            for version in self.cleaned_data["version"]
            for offer in offers
            if version.needs.get("engine", offer.endpoint.engine) == offer.endpoint.engine
        ]

    def service_arguments(self) -> dict[str, Any]:
        """Return the arguments of `comparisons.start`, without brand and person."""
        given, sides = self.cleaned_data, self.sides()
        copied = {name: given[name] for name in ("subjects", "words", "width", "height")}
        return {"name": given["name"] or _default_name(given["words"], sides), "sides": sides, **copied}


def list_prompt_readers(offers: Sequence[Offer]) -> list[Offer]:
    return [offer for offer in offers if offer.capabilities and offer.capabilities.obeys_prompt]


def _load_usual_settings(request: BrandRequest, offer: Offer) -> dict[str, Any]:
    """Return the usual settings of this endpoint in this brand. Only numbers: they say how an image is made, not what
    it shows."""
    assert offer.capabilities is not None
    usual = studio_selectors.load_last_settings(request.user, request.brand, offer)
    return {
        control.parameter: usual[control.parameter]
        for control in offer.capabilities.controls
        if control.kind == "number" and control.parameter in usual
    }


def _default_name(words: Sequence[str], sides: Sequence[Side]) -> str:
    """Return a name of the comparison that does not mention endpoints."""
    if words:
        rest = f" and {len(words) - 1} more" if len(words) > 1 else ""
        return f"{words[0][:100]}{rest}"
    return ", ".join(dict.fromkeys(side.version.template.name for side in sides if side.version))[:160] or "Comparison"
