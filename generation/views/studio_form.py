"""The studio's form: its initial values, also from an earlier try or an example, and the request that it sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns import channels
from campaigns.selectors import photos, subjects
from campaigns.selectors import prompts as prompt_selectors
from core.pages import BrandRequest, parse_row_id
from generation import control_values
from generation.engines.base import MAP, SCENE, Capabilities, Control
from generation.forms import CONTROL, ControlField, LinesField
from generation.models import AssetVersion, Run
from generation.selectors import concepts, endpoints
from generation.selectors import tryouts as selectors
from generation.selectors.endpoints import Offer
from generation.services import studio
from generation.services.planning import plan_requests
from generation.services.studio import TryOutRequest

FIRST_SIDE: Final = 1024
MIN_SIDE: Final = 64
#: Larger images belong to the last step of production, not to a try.
MAX_SIDE: Final = 2048
#: Controls that say what an image shows, not how it is made: the form never starts with those of another image.
OWN_LOOK: Final = ("colour", "choice", SCENE, MAP, "text")
_SIDE: Final = {"class": "input", "min": 16, "max": 8192, "inputmode": "numeric"}


def _integer_field(message: Any, widget: forms.Widget, **options: Any) -> forms.IntegerField:
    messages = dict.fromkeys(("required", "invalid"), message)
    return forms.IntegerField(error_messages=messages, widget=widget, **options)


class StudioForm(forms.Form):
    """One try on the chosen endpoint (offer), else on the first usable one. It has only the fields that this endpoint
    obeys, and a field for each control of its engine. An unbound form for another endpoint than `settings_of` begins
    with that endpoint's own size and usual settings. troubles: problems of endpoints that cannot be used."""

    text = LinesField(
        required=False, widget=forms.Textarea({"rows": 4, "spellcheck": "true", "autofocus": True})
    )  # fmt: skip
    style: Any = forms.ModelChoiceField(None, required=False, empty_label=gettext_lazy("none"))
    endpoint = forms.ChoiceField(required=False)
    negative = LinesField(required=False, widget=forms.Textarea({"rows": 2}))
    photo: Any = forms.ModelChoiceField(
        None, required=False,
        error_messages={"invalid_choice": gettext_lazy("This reference image is not there any more; drop it again.")},
    )  # fmt: skip
    product: Any = forms.ModelChoiceField(
        None, required=False,
        error_messages={"invalid_choice": gettext_lazy("This product is not there any more; choose another.")},
    )  # fmt: skip
    width = _integer_field(gettext_lazy("Give the width in pixels."), forms.NumberInput(_SIDE))
    height = _integer_field(gettext_lazy("Give the height in pixels."), forms.NumberInput(_SIDE))
    count = _integer_field(
        gettext_lazy("Say how many images as a number."),
        forms.Select(choices=[(n, n) for n in range(1, studio.MAX_IMAGES + 1)]),
        required=False,
    )
    seed = _integer_field(
        gettext_lazy("A seed is a whole number."),
        forms.NumberInput({"min": 0, "inputmode": "numeric", "placeholder": gettext_lazy("a new one each time")}),
        required=False,
    )
    is_locked = forms.BooleanField(required=False)

    def __init__(self, data: Any = None, *, request: BrandRequest, initial: Mapping[str, Any] | None = None) -> None:
        self.request = request
        offers = endpoints.list_offers(request.brand)
        self.troubles = [offer.problem for offer in offers if offer.problem]
        self.offers = [offer for offer in offers if not offer.problem]
        # Engines that read a prompt come first, because most people come here with one.
        self.offers.sort(key=lambda offer: not (offer.capabilities and offer.capabilities.obeys_prompt))
        given = initial or {} if data is None else data
        self.offer = self._find_offer(given.get("endpoint")) or next(iter(self.offers), None)
        self.capabilities = self.offer.capabilities if self.offer else None
        self.reference = studio.reference(self.capabilities) if self.capabilities else None
        super().__init__(data, auto_id="studio-%s", initial=self._complete(given) if data is None else None)
        choices = {
            "style": prompt_selectors.list_styles(request.user, brand_id=request.brand.pk).filter(is_active=True),
            "photo": photos.list_of_brand(request.user, request.brand),
            "product": subjects.list_with_photos(request.user, request.brand),
        }
        for name, rows in choices.items():
            self.fields[name].queryset = rows  # type: ignore[attr-defined]
        names = [(str(offer.endpoint.pk), offer.endpoint.name) for offer in self.offers]
        self.fields["endpoint"].choices = names  # type: ignore[attr-defined]
        self._fit_fields()

    def _find_offer(self, endpoint_id: Any) -> Offer | None:
        return next((offer for offer in self.offers if str(offer.endpoint.pk) == str(endpoint_id)), None)

    def _complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the initial values for the chosen endpoint."""
        initial = {"count": 1, **given}
        if self.offer is None or self.capabilities is None:
            return initial
        own = str(self.offer.endpoint.pk)
        if str(given.get("settings_of", "")) != own:
            before = self._find_offer(given.get("settings_of"))
            size = given.get("width"), given.get("height")
            if before and before.capabilities and size == tuple(map(str, _fit_typed_size("", "", before.capabilities))):
                initial |= {"width": "", "height": ""}
            usual = selectors.load_last_settings(self.request.user, self.request.brand, self.offer)
            for control in self.capabilities.controls:
                has_usual = control.kind not in OWN_LOOK and control.parameter in usual
                initial[CONTROL + control.parameter] = str(usual[control.parameter]) if has_usual else ""
        width, height = _fit_typed_size(initial.get("width"), initial.get("height"), self.capabilities)
        return initial | {"endpoint": own, "width": width, "height": height}

    def _fit_fields(self) -> None:
        """Remove the fields that the endpoint does not obey, and add those of its engine's controls."""
        capabilities = self.capabilities
        is_used = {
            **dict.fromkeys(("width", "height"), capabilities is not None),
            "negative": bool(capabilities and "negative" in capabilities.obeys),
            **dict.fromkeys(("photo", "product"), self.reference is not None),
            **dict.fromkeys(("count", "seed", "is_locked"), bool(capabilities and "seed" in capabilities.obeys)),
        }
        for name in (name for name, used in is_used.items() if not used):
            del self.fields[name]
        for control in capabilities.controls if capabilities else ():
            if control.parameter not in control_values.SPEC_FIELDS:
                name = CONTROL + control.parameter
                used = (self.data if self.is_bound else self.initial).get(name, "")
                self.fields[name] = _control_field(control, self.request, str(used))

    @property
    def control_fields(self) -> list[forms.BoundField]:
        return [field for field in self if isinstance(field.field, ControlField)]

    @property
    def has_settings(self) -> bool:
        return any(field.value() for field in self.control_fields)

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height that the endpoint makes for the entered size, or its default size for none."""
        assert self.capabilities is not None
        return _fit_typed_size(self["width"].value(), self["height"].value(), self.capabilities)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if self.offer is None:
            self.add_error("endpoint", _("There is no endpoint to try on. An operator adds one."))
        if given.get("is_locked") and given.get("seed") is None and not self.has_error("seed"):
            message = _("There is no seed to keep yet: write a number, or take one from an image.")
            self.add_error("seed", message)
        return given

    def tryout_request(self) -> TryOutRequest:
        """Return the request of a valid form. The service checks what a try may ask for."""
        given = self.cleaned_data
        values = {field.name.removeprefix(CONTROL): given[field.name] for field in self.control_fields}
        return TryOutRequest(
            text=given["text"],
            negative=given.get("negative", ""),
            style=given["style"],
            parameters={name: value for name, value in values.items() if value != ""},
            width=given["width"],
            height=given["height"],
            seed=given.get("seed") if given.get("is_locked") else None,
            # Without scripts, the page of an engine that makes one image sends no count for the next endpoint.
            count=1 if given.get("count") is None else given["count"],
            photo=given.get("photo"),
            subject=given.get("product"),
        )

    def error_sentences(self) -> list[str]:
        """Return every error as a sentence that is clear apart from its field."""
        return [
            f"{self[name].label}: {message}" if name.startswith(CONTROL) else str(message)
            for name, messages in self.errors.items()
            for message in messages
        ]


def values_of_run(run: Run) -> dict[str, Any]:
    """Return the values of a form that would repeat an earlier try, with a new seed."""
    wish = studio.request_of_run(run)
    return {
        "text": wish.text,
        "negative": wish.negative,
        "style": wish.style.pk if wish.style else "",
        "endpoint": run.endpoint_id,
        "width": wish.width or "",
        "height": wish.height or "",
        "seed": "" if wish.seed is None else wish.seed,
        "count": wish.count,
        "photo": wish.photo.pk if wish.photo else "",
        "product": wish.subject.pk if wish.subject else "",
        "settings_of": run.endpoint_id,
        **{CONTROL + name: str(value) for name, value in wish.parameters.items()},
    }


def values_of_example(version: AssetVersion) -> dict[str, Any]:
    """Return the values of a form that would make an existing image again. Its prompt is the rendered text, so braces
    in it are escaped."""
    assert version.job is not None
    spec: Mapping[str, Any] = version.job.frozen.spec
    words, negative = (str(spec.get(name, "")) for name in ("prompt", "negative"))
    has_photo = bool(set(spec.get("images", {})) - concepts.concept_roles(spec.get("parameters", {})))
    return {
        "text": words.replace("{", "{{").replace("}", "}}"),
        "negative": negative.replace("{", "{{").replace("}", "}}"),
        "endpoint": version.job.endpoint_id,
        "width": spec["width"],
        "height": spec["height"],
        "product": version.asset.subject_id if has_photo else "",
        "settings_of": version.job.endpoint_id,
        **{CONTROL + name: str(value) for name, value in spec.get("parameters", {}).items()},
    }


def sizes(capabilities: Capabilities) -> list[dict[str, Any]]:
    """Return the channels' presets, each with the size that is "made" of it, without repeated sizes: a small model
    makes the same square of all squares. A size beyond the sliders is scaled down in proportion."""
    by_size: dict[tuple[int, int], dict[str, Any]] = {}
    for preset in channels.PRESETS:
        requested = (preset.width, preset.height)
        scale = min(1.0, MAX_SIDE / max(requested))
        made = plan_requests.master_size(round(preset.width * scale), round(preset.height * scale), capabilities)
        channel = f"{preset.channel}, {preset.width} × {preset.height} px"
        size = {"label": preset.label, "channel": channel, "made": made, "is_exact": made == requested}
        by_size.setdefault(made, size)
    return list(by_size.values())


def size_limits(capabilities: Capabilities) -> dict[str, int]:
    """Return the limits of the size sliders ("least", "widest", "highest") and their step, in pixels."""
    step = capabilities.size_multiple if capabilities.size_multiple > 1 else 8
    widest, highest = (min(most, MAX_SIDE) // step * step for most in (capabilities.max_width, capabilities.max_height))
    return {"least": min(MIN_SIDE, widest, highest), "widest": widest, "highest": highest, "step": step}


def _control_field(control: Control, request: BrandRequest, used: str) -> ControlField:
    """Return the field of a control. used: its present value, which is offered in any case."""
    if control.kind == "choice":
        others = [(choice, choice) for choice in control.choices if choice != control.default]
        return ControlField(control, widget=forms.Select(choices=[("", control.default or _("as it is")), *others]))
    if control.kind in concepts.USES:
        names = concepts.list_names(concepts.USES[control.kind], request.user, request.brand, used)
        none = _("no %(kind)s") % {"kind": control.kind}
        return ControlField(control, widget=forms.Select(choices=[("", none), *names]))
    field = ControlField.with_hints(control)
    if control.kind == "number":
        limits = {"min": control.minimum, "max": control.maximum, "step": "any"}
        field.widget = forms.NumberInput(
            field.widget.attrs | {n: limit for n, limit in limits.items() if limit is not None}
        )
    return field


def _fit_typed_size(width: Any, height: Any, capabilities: Capabilities) -> tuple[int, int]:
    wide, high = (parse_row_id(str(side)) or 0 for side in (width, height))
    size = (wide, high) if wide and high else (FIRST_SIDE, FIRST_SIDE)
    return plan_requests.master_size(*size, capabilities)
