"""Profiles of the models behind OpenAI's images API and compatible servers: parameters, sizes, input images.

A model's id is free text in an endpoint's config. Its family is the one with the longest matching prefix; the config
can override each field. From the documentation of the API as of autumn 2026
(https://developers.openai.com/api/docs/guides/image-generation) and of openai-python 3.52.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import log
from typing import Any, Final

Size = tuple[int, int]  # width and height in pixels

MEGABYTE: Final = 1024 * 1024
IMAGE_ROLES: Final = ("init", "photo", "cutout", "reference", *(f"reference_{n}" for n in range(2, 17)))
"""Roles of input images, in the order in which they are sent. A mask belongs to the first."""
ASPECT_TOLERANCE: Final = 0.01  # the difference in aspect ratio that does not matter: finishing crops the rest


@dataclass(frozen=True)
class Profile:
    """The profile of one family of models.

    sizes: the only ones that it makes; () for every size whose sides are multiples of `multiple` within the bounds.
    max_ratio: long side by short side. parameters: the values that it knows by name, () for any; sent if a spec or the
    endpoint sets them. always: sent with every request. negative: the field of the negative prompt, "prompt" to add a
    sentence to the prompt, "" if not supported. seed: the field of the seed, "" if the model takes none. image_field:
    the form's name of images. max_images: 0 if it takes none. roles: of the images that it takes.
    """

    name: str
    sizes: tuple[Size, ...] = ()
    multiple: int = 16
    min_pixels: int = 0
    max_pixels: int = 4096 * 4096
    max_side: int = 4096
    max_ratio: float = 16.0
    parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    always: Mapping[str, Any] = field(default_factory=dict)
    negative: str = ""
    seed: str = ""
    image_field: str = "image[]"
    max_images: int = 16
    max_image_bytes: int = 50 * MEGABYTE
    has_mask: bool = True
    max_mask_bytes: int = 4 * MEGABYTE
    roles: tuple[str, ...] = IMAGE_ROLES
    max_prompt: int = 32_000
    seconds: float = 30.0

    def allows(self, width: int, height: int) -> bool:
        if self.sizes:
            return (width, height) in self.sizes
        return (
            not (width % self.multiple or height % self.multiple)
            and min(width, height) > 0
            and max(width, height) <= min(self.max_side, self.max_ratio * min(width, height))
            and self.min_pixels <= width * height <= self.max_pixels
        )

    def nearest_size(self, width: int, height: int) -> Size:
        """Return the size to request for width × height: of the same shape if possible, larger rather than smaller, and
        as near as possible."""
        if self.allows(width, height):
            return width, height
        ratio = min(max(width / height, 1 / self.max_ratio), self.max_ratio)
        area = min(max(width * height, self.min_pixels), self.max_pixels)

        def distance(size: Size) -> tuple[float, bool, float]:
            bent = abs(log(size[0] / size[1] / ratio))
            is_small = size[0] < width or size[1] < height
            return (0.0 if bent <= ASPECT_TOLERANCE else round(bent, 2), is_small, abs(log(size[0] * size[1] / area)))

        return min(self.sizes or self._sizes_near(ratio), key=distance)

    def _sizes_near(self, ratio: float) -> list[Size]:
        """Return every size of about this shape."""
        step = self.multiple
        pairs = (
            (width, high)
            for width in range(step, self.max_side + 1, step)
            for high in {int(width / ratio / step) * step, -int(-width / ratio // step) * step}
        )
        return [pair for pair in pairs if self.allows(*pair)]

    @property
    def limits(self) -> Size:
        """The greatest width and the greatest height that it makes."""
        sizes = self.sizes or ((self.max_side, self.max_side),)
        return max(width for width, _ in sizes), max(height for _, height in sizes)


def cut_off(made: Size, width: int, height: int) -> float:
    """Return the share of an image that has to be cut off to get the shape of width × height: 0 to 1."""
    bent = made[0] * height / (made[1] * width)
    return 1 - min(bent, 1 / bent)


_THREE_SIZES: Final = ((1024, 1024), (1536, 1024), (1024, 1536))
_QUALITIES: Final = ("low", "medium", "high", "auto")
_GPT: Final[dict[str, tuple[str, ...]]] = {
    "quality": _QUALITIES,
    "background": ("transparent", "opaque", "auto"),
    "moderation": ("low", "auto"),
}
_FIXED: Final = Profile(
    "gpt-image", sizes=_THREE_SIZES, parameters=_GPT, always={"n": 1, "output_format": "png"}, negative="prompt"
)
_FREE: Final = replace(
    _FIXED, name="gpt-image-2", sizes=(), min_pixels=655_360, max_pixels=3840 * 2160, max_side=3840, max_ratio=3.0
)
_FINER: Final = {**_GPT, "quality": (*_QUALITIES, "xhigh", "max"), "complexity": ()}

FAMILIES: Final = {
    profile.name: profile
    for profile in (
        _FIXED,
        replace(_FIXED, name="gpt-image-1-mini", parameters={**_GPT, "input_fidelity": ("low",)}),
        replace(_FIXED, name="gpt-image-1.5", parameters={**_GPT, "input_fidelity": ("high", "low")}),
        replace(_FIXED, name="chatgpt-image"),
        _FREE,
        replace(_FREE, name="gpt-image-2.5", parameters=_FINER),
        replace(_FREE, name="gpt-image-2.6", parameters=_FINER),
        Profile("compatible", always={"response_format": "b64_json"}, max_prompt=100_000, seconds=15.0),
    )
}
"""The profiles by prefix of the model's id; "compatible" is for servers that only know a prompt and a size."""

# Annotations are text in this module.
_NUMBERS: Final = frozenset(attribute.name for attribute in fields(Profile) if attribute.type in ("int", "float"))
_MAY_BE_NONE: Final = frozenset({"max_images", "min_pixels"})


def profile_of_model(model: str) -> Profile:
    """Return the family of a model by its id: the longest matching prefix, else "compatible"."""
    fitting = [name for name in FAMILIES if model.startswith(name)]
    return FAMILIES[max(fitting, key=len)] if fitting else FAMILIES["compatible"]


def read(plain: Any, model: str) -> Profile:
    """Return the profile for an endpoint's config: empty (by the model's id), a family's name, or
    {"base": name, and whatever differs from it}. Raises ValueError with a sentence."""
    if not plain:
        return profile_of_model(model)
    if isinstance(plain, str):
        return _named(plain)
    if not isinstance(plain, Mapping):
        raise ValueError('The "profile" of an openai endpoint is a name or an object such as {"base": "compatible"}.')
    base = _named(str(plain["base"])) if "base" in plain else profile_of_model(model)
    names = {attribute.name for attribute in fields(Profile)} - {"name"}
    changes = {name: value for name, value in plain.items() if name != "base"}
    if unknown := [name for name in changes if name not in names]:
        raise ValueError(f"A profile knows no {unknown[0]!r}; it knows {', '.join(sorted(names))}.")
    return replace(base, **{name: _value(name, value) for name, value in changes.items()})


def _named(name: str) -> Profile:
    if name not in FAMILIES:
        raise ValueError(f"There is no profile {name!r}; known are {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def _value(name: str, value: Any) -> Any:
    """Convert the JSON value of one field of a profile. Raises ValueError."""
    if name == "sizes" and isinstance(value, (list, tuple)):
        return tuple(_size(text) for text in value)
    if name == "roles" and isinstance(value, (list, tuple)) and all(role in IMAGE_ROLES for role in value):
        return tuple(role for role in IMAGE_ROLES if role in value)
    has_choices = isinstance(value, Mapping) and all(isinstance(each, list | tuple | None) for each in value.values())
    if name == "parameters" and has_choices:
        return {str(parameter): tuple(map(str, choices or ())) for parameter, choices in value.items()}
    if name == "always" and isinstance(value, Mapping):
        return dict(value)
    is_switch = name == "has_mask" and isinstance(value, bool)
    is_text = name in {"negative", "seed", "image_field"} and isinstance(value, str)
    is_number = name in _NUMBERS and type(value) in (int, float)
    if is_switch or is_text or (is_number and (value > 0 or (value == 0 and name in _MAY_BE_NONE))):
        return value
    raise ValueError(f"A profile's {name!r} cannot be {value!r}; docs/engines.md shows what it may be.")


def _size(text: Any) -> Size:
    match = re.fullmatch(r"([1-9]\d{1,4})\s*[x×]\s*([1-9]\d{1,4})", str(text))
    if match is None:
        raise ValueError(f'A profile\'s size is written like "1024x1024", not {text!r}.')
    return int(match[1]), int(match[2])


_TOKENS: Final = {"low": 272, "medium": 1056, "high": 4160, "xhigh": 8320, "max": 16640}
_TOKENS_OF_A_IMAGE: Final = 1000


def typical_usage(profile: Profile, size: Size, *, prompt: str, quality: str, images: int) -> dict[str, float]:
    """Estimate the usage of one image for a quote, in the units of engines.base.Result.usage.

    From the documentation's table for 1024 × 1024, scaled by area; four letters per token; 1000 tokens per input image;
    "auto" counts as "high".
    """
    usage: dict[str, float] = {"images": 1}
    if "quality" in profile.parameters:
        share = size[0] * size[1] / (1024 * 1024)
        usage["text_input_tokens"] = -(-len(prompt) // 4)
        usage["image_input_tokens"] = images * _TOKENS_OF_A_IMAGE
        usage["output_tokens"] = round(_TOKENS.get(quality, _TOKENS["high"]) * share)
    return usage
