"""Reading the inputs of a model on Replicate or a Cog server, and which of our names each of them could go by.

Source: `openapi_schema` of a version (https://replicate.com/docs/reference/http#models.versions.get): an input is an
OpenAPI schema object, its choices stand in a schema of their own (`allOf`, `$ref`), the order in `x-order`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from generation.engines.service import mapping_of

_RATIO = re.compile(r"[1-9]\d*(?:\.\d+)?:[1-9]\d*(?:\.\d+)?")
MOST_INPUTS: Final = 200
LONGEST: Final = 100
GREATEST: Final = 2**63
#: Their usual name by ours; the first that the model has is it.
_PROMPTS: Final = {"prompt": ("prompt", "text_prompt", "text"), "negative": ("negative_prompt",)}
_PICTURES: Final = {
    "image": "init",
    "init_image": "init",
    "mask": "mask",
    "mask_image": "mask",
    "control_image": "control",
    "input_image": "reference",
    "image_input": "reference",
    "input_images": "reference",
    "image_prompt": "reference",
    "reference_image": "reference",
    "reference_images": "reference",
    "ip_adapter_image": "reference",
}
_PARAMETERS: Final = {
    "guidance_scale": "guidance",
    "num_inference_steps": "steps",
    "prompt_strength": "strength",
}
#: One picture of an order, as good as it comes.
_FIXED: Final = {"num_outputs": 1, "number_of_images": 1, "output_format": "png"}
_SIZES: Final = frozenset({"width", "height", "aspect_ratio"})
#: Not what a picture looks like.
_LEFT: Final = frozenset({"output_quality", "disable_safety_checker", "seed", "width", "height", "aspect_ratio"})


@dataclass(frozen=True)
class Input:
    """One input of a model. type: "string", "integer", "number", "boolean", "array", or "" where it is not said."""

    name: str
    type: str = ""
    format: str = ""
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    default: float | None = None
    is_needed: bool = False

    @property
    def is_picture(self) -> bool:
        return self.name in _PICTURES and (self.format == "uri" or self.type == "array")


def inputs(model: Mapping[str, Any]) -> tuple[Input, ...]:
    """A model's inputs in their order, from its OpenAPI schema: of a Cog server as it is, of Replicate inside a
    version, a model or a deployment. Empty where there is none."""
    version = mapping_of(model.get("latest_version"))
    schema = mapping_of(model.get("openapi_schema") or version.get("openapi_schema") or model)
    parts = mapping_of(mapping_of(schema.get("components")).get("schemas"))
    whole = mapping_of(parts.get("Input"))
    needed = _list(whole.get("required"))
    given = [(name, _resolved(mapping_of(one), parts)) for name, one in mapping_of(whole.get("properties")).items()]
    given.sort(key=lambda pair: _number(pair[1].get("x-order"), float("inf")))
    return tuple(
        Input(
            name=name,
            type=str(one.get("type") or ""),
            format=str(one.get("format") or mapping_of(one.get("items")).get("format") or ""),
            choices=tuple(_choices(_list(one.get("enum"))))[:MOST_INPUTS],
            minimum=_number(one.get("minimum")),
            maximum=_number(one.get("maximum")),
            default=_number(one.get("default")),
            is_needed=name in needed,
        )
        for name, one in given[:MOST_INPUTS]
        if len(name) <= LONGEST
    )


def problem(known: Collection[Input], named: Collection[str]) -> str:
    """A sentence about inputs that an endpoint names and the model does not have, or the other way; "" if all fits, or
    the model says nothing of itself."""
    names = {one.name for one in known}
    if known and (unknown := sorted(set(named) - names)):
        return f"The model has no input {', '.join(unknown)}; it has {', '.join(sorted(names))}."
    if needed := [one.name for one in known if one.is_needed and one.name not in named]:
        return f"The model needs {', '.join(needed)}, and its inputs here do not name it."
    return ""


def offer(known: Sequence[Input], config: Mapping[str, Any], *, fits: bool) -> dict[str, Any]:
    """Settings that would fit the model, where the endpoint's do not or say nothing: {} or {"inputs": …}."""
    given = config.get("inputs") or {}
    mended = {} if fits and given else _mended(given, known)
    return {"inputs": mended} if mended and mended != given else {}


def _mended(given: Mapping[str, Any], known: Sequence[Input]) -> dict[str, Any]:
    """Somebody's inputs without those that the model does not have, and with what they do not name yet."""
    names = {one.name for one in known}
    fresh = suggested(known)
    if not fresh:
        return {}
    groups = {group: dict(mapping_of(given.get(group))) for group in ("images", "parameters", "fixed")}
    kept = {ours: value for ours, value in given.items() if ours not in groups and _theirs(value) in names}
    groups["fixed"] = {name: value for name, value in groups["fixed"].items() if name in names}
    for group in ("images", "parameters"):
        groups[group] = {ours: value for ours, value in groups[group].items() if _theirs(value) in names}
    used = {_theirs(value) for part in (kept, groups["images"], groups["parameters"]) for value in part.values()}
    used |= groups["fixed"].keys()
    if ("width" in kept) != ("height" in kept):
        kept = {ours: value for ours, value in kept.items() if ours not in _SIZES}
    has_size = bool(kept.keys() & _SIZES)
    for ours, value in fresh.items():
        if ours in groups:
            new = {name: one for name, one in value.items() if (name if ours == "fixed" else _theirs(one)) not in used}
            groups[ours] = {**new, **groups[ours]}
        elif ours not in kept and not (has_size and ours in _SIZES):
            kept[ours] = value
    return kept | {group: part for group, part in groups.items() if part}


def _theirs(value: Any) -> str:
    """The model's name in an entry of "inputs": "seed", or {"input": "seed", …}."""
    return str(value.get("input") if isinstance(value, Mapping) else value)


def suggested(known: Sequence[Input]) -> dict[str, Any]:
    """Return what an endpoint's "inputs" could be for this model (replicate_inputs.py); {} where it has no prompt to go
    by."""
    named = {one.name: one for one in known}
    found: dict[str, Any] = {}
    for ours, theirs in _PROMPTS.items():
        found |= next(({ours: name} for name in theirs if name in named), {})
    if "prompt" not in found:
        return {}
    if (seed := named.get("seed")) is not None:
        found["seed"] = {"input": "seed", "maximum": int(seed.maximum)} if seed.maximum else "seed"
    found |= _size(named)
    images: dict[str, Any] = {}
    for one in known:
        if one.is_picture:
            images.setdefault(_PICTURES[one.name], _picture(one))
    parameters = dict(_parameters(one for one in known if one.name not in (*_LEFT, *_FIXED, found["prompt"])))
    if "init" not in images:
        parameters.pop("strength", None)
    fixed = {name: value for name, value in _FIXED.items() if name in named and _takes(named[name], value)}
    parts = {"images": images, "parameters": parameters, "fixed": fixed}
    return found | {name: part for name, part in parts.items() if part}


def _size(named: Mapping[str, Input]) -> dict[str, Any]:
    """By shape where the model has shapes: one that also has width and height reads them for a shape of their own."""
    shape = named.get("aspect_ratio")
    ratios = [one for one in (shape.choices if shape else ()) if _RATIO.fullmatch(str(one))]
    if ratios:
        return {"aspect_ratio": {"input": "aspect_ratio", "choices": ratios}}
    return {"width": "width", "height": "height"} if {"width", "height"} <= named.keys() else {}


def _picture(one: Input) -> Any:
    plain: dict[str, Any] = {"input": one.name}
    plain |= {"is_list": True} if one.type == "array" else {}
    plain |= {"is_needed": True} if one.is_needed else {}
    return plain if len(plain) > 1 else one.name


def _parameters(known: Iterator[Input]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Choices, switches and numbers with bounds; free texts are nothing that a form could ask for."""
    for one in known:
        plain: dict[str, Any] = {"input": one.name}
        if one.choices:
            plain["choices"] = list(one.choices)
        elif one.type == "boolean":
            plain["choices"] = {"yes": True, "no": False}
        elif one.type in ("integer", "number") and None not in (one.minimum, one.maximum):
            plain |= {"minimum": one.minimum, "maximum": one.maximum, "step": 1 if one.type == "integer" else 0.1}
            is_within = one.default is not None and one.minimum <= one.default <= one.maximum  # type: ignore[operator]
            plain |= {"default": one.default} if is_within else {}
        else:
            continue
        yield _PARAMETERS.get(one.name, one.name), plain


def _takes(one: Input, value: Any) -> bool:
    return value in one.choices if one.choices else one.type == ("integer" if isinstance(value, int) else "string")


def _resolved(one: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """An input with what it refers to: `$ref`, or the one schema of `allOf`, or the one of `anyOf` that is not null."""
    whole = dict(one)
    for other in (one, *_list(one.get("allOf")), *_list(one.get("anyOf"))):
        other = mapping_of(other)
        target = mapping_of(parts.get(str(other.get("$ref") or "").rpartition("/")[2]))
        for source in (other, target):
            if source.get("type") != "null":
                whole = {**source, **whole}
    return whole


def _choices(given: list[Any]) -> Iterator[Any]:
    for one in given:
        if _number(one) is not None or (isinstance(one, str) and len(one) <= LONGEST):
            yield one


def _number(value: Any, otherwise: Any = None) -> Any:
    return value if isinstance(value, int | float) and -GREATEST <= value <= GREATEST else otherwise


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
