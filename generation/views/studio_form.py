"""The studio's form: its initial values, also from an earlier try or an example, and the wish that it sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from django.http import QueryDict
from django.utils.translation import gettext as _

from campaigns import channels
from campaigns.models import ReferencePhoto, StylePreset, Subject
from core.errors import Invalid, Problem
from core.pages import BrandRequest, parse_row_id
from core.selectors import brands
from generation import control_values
from generation.engines.base import MAP, SCENE, Capabilities, Control
from generation.forms import CONTROL
from generation.models import AssetVersion, Run
from generation.selectors import concepts
from generation.selectors.endpoints import Offer
from generation.services import studio
from generation.services.planning import plan_requests
from generation.services.studio import Reference, TryOutRequest

FIRST_SIDE: Final = 1024
MIN_SIDE: Final = 64
#: Larger images belong to the last step of production, not to a try.
MAX_SIDE: Final = 2048
#: Controls that say what an image shows, not how it is made: the form never starts with those of another image.
OWN_LOOK: Final = ("colour", "choice", SCENE, MAP, "text")


@dataclass(frozen=True)
class StudioForm:
    """The values of the form, all as text. settings: the engine's controls by parameter, as entered for the
    endpoint `settings_of`. errors: by field."""

    text: str = ""
    negative: str = ""
    style: str = ""
    endpoint: str = ""
    width: str = ""
    height: str = ""
    seed: str = ""
    is_locked: bool = False
    count: str = "1"
    settings_of: str = ""
    photo: str = ""
    product: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """One control of the engine as a field of the form."""

    control: Control
    value: str
    error: str = ""

    @property
    def name(self) -> str:
        return CONTROL + self.control.parameter


@dataclass(frozen=True)
class Size:
    """One size to click. channel: its channel and size there. made: the size that the endpoint makes of it."""

    label: str
    channel: str
    requested: tuple[int, int]
    made: tuple[int, int]

    @property
    def is_exact(self) -> bool:
        return self.requested == self.made


@dataclass(frozen=True)
class SizeLimits:
    """The limits of the size sliders of one endpoint, in pixels."""

    least: int
    widest: int
    highest: int
    step: int


TEXT_FIELDS: Final = tuple(named.name for named in fields(StudioForm) if named.type == "str")


def submitted_form(given: QueryDict) -> StudioForm:
    """Return the form as the browser sent it."""
    texts: dict[str, Any] = {name: given.get(name, "").strip() for name in TEXT_FIELDS}
    texts["count"] = texts["count"] or "1"  # an engine without a seed makes one image, so the form has no such field
    texts["text"] = texts["text"].replace("\r\n", "\n")
    settings = {name.removeprefix(CONTROL): given.get(name, "").strip() for name in given if name.startswith(CONTROL)}
    return StudioForm(**texts, is_locked="is_locked" in given, settings=settings)


def form_of_run(run: Run) -> StudioForm:
    """Return the form that would repeat an earlier try, with a new seed."""
    wish = studio.request_of_run(run)
    return StudioForm(
        text=wish.text,
        negative=wish.negative,
        style=str(wish.style.pk) if wish.style else "",
        endpoint=str(run.endpoint_id),
        width=str(wish.width or ""),
        height=str(wish.height or ""),
        seed="" if wish.seed is None else str(wish.seed),
        count=str(wish.count),
        photo=str(wish.photo.pk) if wish.photo else "",
        product=str(wish.subject.pk) if wish.subject else "",
        settings_of=str(run.endpoint_id),
        settings={name: str(value) for name, value in wish.parameters.items()},
    )


def form_of_example(version: AssetVersion) -> StudioForm:
    """Return the form that would make an existing image again. Its prompt is the rendered text, so braces in it are
    escaped."""
    assert version.job is not None
    spec: Mapping[str, Any] = version.job.frozen.spec
    words, negative = (str(spec.get(name, "")) for name in ("prompt", "negative"))
    has_photo = bool(set(spec.get("images", {})) - concepts.concept_roles(spec.get("parameters", {})))
    return StudioForm(
        text=words.replace("{", "{{").replace("}", "}}"),
        negative=negative.replace("{", "{{").replace("}", "}}"),
        endpoint=str(version.job.endpoint_id),
        width=str(spec["width"]),
        height=str(spec["height"]),
        product=str(version.asset.subject_id) if has_photo else "",
        settings_of=str(version.job.endpoint_id),
        settings={name: str(value) for name, value in spec.get("parameters", {}).items()},
    )


def with_last_settings(filled: StudioForm, offer: Offer, usual: Mapping[str, Any]) -> StudioForm:
    """Return the form with the endpoint's usual settings, because nobody entered any for this endpoint."""
    assert offer.capabilities is not None
    taken = {
        control.parameter: str(usual[control.parameter])
        for control in offer.capabilities.controls
        if control.kind not in OWN_LOOK and control.parameter in usual
    }
    return replace(filled, settings=taken, settings_of=str(offer.endpoint.pk))


def without_default_size(filled: StudioForm, before: Offer | None) -> StudioForm:
    """Return the form without its size, if that is only the default size of the previous endpoint."""
    if before is None or before.capabilities is None:
        return filled
    own = fitted_size(StudioForm(), before.capabilities)
    return replace(filled, width="", height="") if (filled.width, filled.height) == tuple(map(str, own)) else filled


def fitted_size(filled: StudioForm, capabilities: Capabilities) -> tuple[int, int]:
    """Return width and height that the endpoint makes for the entered size, or its default size for none."""
    width, height = (parse_row_id(text) or 0 for text in (filled.width, filled.height))
    size = (width, height) if width and height else (FIRST_SIDE, FIRST_SIDE)
    return plan_requests.master_size(*size, capabilities)


def sizes(capabilities: Capabilities) -> list[Size]:
    """Return the channels' presets without repeated sizes: a small model makes the same square of all squares."""
    by_size: dict[tuple[int, int], Size] = {}
    for preset in channels.PRESETS:
        requested = (preset.width, preset.height)
        channel = f"{preset.channel}, {preset.width} × {preset.height} px"
        size = Size(str(preset.label), channel, requested, _fit_size(requested, capabilities))
        by_size.setdefault(size.made, size)
    return list(by_size.values())


def size_limits(capabilities: Capabilities) -> SizeLimits:
    step = capabilities.size_multiple if capabilities.size_multiple > 1 else 8
    widest, highest = (min(most, MAX_SIDE) // step * step for most in (capabilities.max_width, capabilities.max_height))
    return SizeLimits(min(MIN_SIDE, widest, highest), widest, highest, step)


def settings(filled: StudioForm, offer: Offer | None) -> list[Setting]:
    """Return the controls of the endpoint's engine, without prompt, negative prompt and seed."""
    if offer is None or offer.capabilities is None:
        return []
    return [
        Setting(control, filled.settings.get(control.parameter, ""), filled.errors.get(CONTROL + control.parameter, ""))
        for control in offer.capabilities.controls
        if control.parameter not in control_values.SPEC_FIELDS
    ]


def reference(offer: Offer | None) -> Reference | None:
    return studio.reference(offer.capabilities) if offer and offer.capabilities else None


def parse_request(request: BrandRequest, filled: StudioForm, offer: Offer) -> TryOutRequest:
    """Return the wish of the form. Raises Invalid with the field of each mistake; the service checks what a try may
    ask for."""
    assert offer.capabilities is not None
    problems: list[Problem] = []
    whole = {name: _parse_integer(name, getattr(filled, name), problems) for name in ("width", "height", "count")}
    seed = _parse_integer("seed", filled.seed, problems) if filled.is_locked and filled.seed else None
    parameters = _parameters(filled, offer.capabilities.controls, problems)
    if filled.is_locked and not filled.seed:
        message = _("There is no seed to keep yet: write a number, or take one from an image.")
        problems.append(Problem("seed", message))
    if problems:
        raise Invalid(problems[0].message, problems)
    takes = reference(offer) is not None
    return TryOutRequest(
        text=filled.text,
        negative=filled.negative,
        style=_find_row(StylePreset, request, filled.style),
        parameters=parameters,
        width=whole["width"],
        height=whole["height"],
        seed=seed,
        count=whole["count"],
        photo=_find_row(ReferencePhoto, request, filled.photo, "subject__brand") if takes else None,
        subject=_find_row(Subject, request, filled.product) if takes else None,
    )


def _parameters(filled: StudioForm, controls: Sequence[Control], problems: list[Problem]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for control in controls:
        text = filled.settings.get(control.parameter, "")
        if control.parameter in control_values.SPEC_FIELDS or not text:
            continue
        try:
            parameters[control.parameter] = control_values.parse_for_prompt(control, text)
        except ValueError as error:
            problems.append(Problem(CONTROL + control.parameter, f"{control.label}: {error}", text[:100]))
    return parameters


def _parse_integer(name: str, text: str, problems: list[Problem]) -> int:
    whole = parse_row_id(text)
    if whole is None:
        messages = {
            "seed": _("A seed is a whole number."),
            "count": _("Say how many images as a number."),
            "width": _("Give the width in pixels."),
            "height": _("Give the height in pixels."),
        }
        problems.append(Problem(name, messages[name], text[:100]))
    return whole or 0


def _find_row(model: Any, request: BrandRequest, text: str, path: str = "brand") -> Any:
    """Return the brand's row with that id, None without an id or a row. The service refuses a row that is gone."""
    pk = parse_row_id(text)
    return brands.get_row_of_brand(model, request.user, request.brand, pk, path=path) if pk else None


def _fit_size(requested: tuple[int, int], capabilities: Capabilities) -> tuple[int, int]:
    """Return the size that the endpoint makes. A size beyond the sliders is scaled down in proportion."""
    scale = min(1.0, MAX_SIDE / max(requested))
    return plan_requests.master_size(round(requested[0] * scale), round(requested[1] * scale), capabilities)
