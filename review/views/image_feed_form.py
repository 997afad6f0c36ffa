"""The form of an image feed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.models import Brand
from review.image_feeds.base import LAYOUTS
from review.models import ImageFeed
from review.selectors import image_feeds as selectors
from review.services.image_feeds import FeedSettings


class ImageFeedForm(forms.Form):
    """The form of a new or a stored image feed."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=120)
    layout = forms.ChoiceField(label=gettext_lazy("Layout"), widget=forms.RadioSelect)
    campaign: Any = forms.ModelChoiceField(
        label=gettext_lazy("Images of"), queryset=None, required=False,
        empty_label=gettext_lazy("All campaigns"),
    )  # fmt: skip
    main_spec = forms.ChoiceField(
        label=gettext_lazy("Main image"), required=False,
        help_text=gettext_lazy("The output of its file. The newest approved image of a product is its main image."),
    )  # fmt: skip
    additional_specs = forms.MultipleChoiceField(
        label=gettext_lazy("Additional images"), required=False, widget=forms.CheckboxSelectMultiple
    )
    id_attribute = forms.CharField(
        label=gettext_lazy("Column with the product’s id"), max_length=100, required=False,
        help_text=gettext_lazy(
            "The column of your product feed with the id that the receiver knows. Empty: the product’s key; for "
            "Shopify its handle, if the feed has one."
        ),
    )  # fmt: skip
    destination: Any = forms.ModelChoiceField(
        label=gettext_lazy("Addresses of the images"), queryset=None, required=False,
        empty_label=gettext_lazy("Proofline"),
        help_text=gettext_lazy("Images that are live at a destination may have the address that they have there."),
    )  # fmt: skip
    takes_disclaimers = forms.BooleanField(
        label=gettext_lazy("Include images with a disclaimer, such as “demo model”"), required=False
    )

    def __init__(self, data: Any = None, *, brand: Brand, feed: ImageFeed | None = None) -> None:
        super().__init__(data, initial=self._initial(feed))
        self._kept = feed.additional_specs if feed else []
        fields: Any = self.fields
        fields["layout"].choices = [(layout.name, layout.label) for layout in LAYOUTS]
        fields["campaign"].queryset = selectors.list_campaigns(brand)
        fields["destination"].queryset = selectors.list_destinations(brand)
        specs = [(choice.slug, f"{choice.slug} ({choice.sizes})") for choice in selectors.list_spec_choices(brand)]
        kept = [(slug, slug) for slug in self._kept_slugs(feed) if slug not in dict(specs)]
        fields["main_spec"].choices = [("", _("Any output")), *specs, *kept]
        fields["additional_specs"].choices = [*specs, *kept]

    def layout_rows(self) -> list[tuple[Any, str]]:
        """Return (radio button, description) of each layout."""
        return list(zip(self["layout"], [layout.description for layout in LAYOUTS], strict=True))

    def settings(self) -> FeedSettings:
        """Return the values. Additional outputs that were chosen before keep their order."""
        values = dict(self.cleaned_data)
        chosen = values["additional_specs"]
        kept = [slug for slug in self._kept if slug in chosen]
        values["additional_specs"] = [*kept, *(slug for slug in chosen if slug not in kept)]
        return FeedSettings(**values)

    @staticmethod
    def _initial(feed: ImageFeed | None) -> dict[str, Any]:
        if feed is None:
            return {"layout": next(iter(LAYOUTS)).name}
        return {name: getattr(feed, name) for name in ImageFeedForm.base_fields}

    @staticmethod
    def _kept_slugs(feed: ImageFeed | None) -> list[str]:
        """Return the chosen outputs, which no campaign may have any more; the service then says so."""
        return [slug for slug in dict.fromkeys([feed.main_spec, *feed.additional_specs]) if slug] if feed else []
