"""Read the inputs of a model on Replicate or a Cog server, and suggest our name for each of them.

Source: `openapi_schema` of a version (https://replicate.com/docs/reference/http#models.versions.get): an input is an
OpenAPI schema object, its choices are in a separate schema (`allOf`, `$ref`), the order is in `x-order`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from generation.engines.service import as_list, as_mapping

_RATIO = re.compile(r"[1-9]\d*(?:\.\d+)?:[1-9]\d*(?:\.\d+)?")
MAX_INPUTS: Final = 200
LONGEST: Final = 100
GREATEST: Final = 2**63
#: The usual names by our name; the first that the model has is used.
_PROMPTS: Final = {"prompt": ("prompt", "text_prompt", "text"), "negative": ("negative_prompt",)}
_REFERENCES: Final = (
    "input_image", "image_input", "input_images", "image_prompt", "reference_image", "reference_images",
    "ip_adapter_image",
)  # fmt: skip
_IMAGES: Final = {
    "image": "init", "init_image": "init", "mask": "mask", "mask_image": "mask", "control_image": "control",
    **dict.fromkeys(_REFERENCES, "reference"),
}  # fmt: skip
_PARAMETERS: Final = {"guidance_scale": "guidance", "num_inference_steps": "steps", "prompt_strength": "strength"}
#: One image per submission, in the best quality.
_FIXED: Final = {"num_outputs": 1, "number_of_images": 1, "output_format": "png"}
_SIZES: Final = frozenset({"width", "height", "aspect_ratio"})
#: Not offered as parameters: they do not change the look of an image, or are handled elsewhere.
_IGNORED: Final = frozenset({"output_quality", "disable_safety_checker", "seed", "width", "height", "aspect_ratio"})


@dataclass(frozen=True)
class Input:
    """One input of a model. type: "string", "integer", "number", "boolean", "array", or "" if unknown."""

    name: str
    type: str = ""
    format: str = ""
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    default: float | None = None
    is_needed: bool = False

    @property
    def is_image(self) -> bool:
        return self.name in _IMAGES and (self.format == "uri" or self.type == "array")


def inputs(model: Mapping[str, Any]) -> tuple[Input, ...]:
    """Return a model's inputs in order, from its OpenAPI schema: a Cog server's own, or the one inside a version, model
    or deployment of Replicate. Empty if there is none."""
    version = as_mapping(model.get("latest_version"))
    schema = as_mapping(model.get("openapi_schema") or version.get("openapi_schema") or model)
    parts = as_mapping(as_mapping(schema.get("components")).get("schemas"))
    whole = as_mapping(parts.get("Input"))
    needed = as_list(whole.get("required"))
    given = [
        (name, _resolve_references(as_mapping(definition), parts))
        for name, definition in as_mapping(whole.get("properties")).items()
    ]
    given.sort(key=lambda pair: _number(pair[1].get("x-order"), float("inf")))
    return tuple(
        Input(
            name=name,
            type=str(definition.get("type") or ""),
            format=str(definition.get("format") or as_mapping(definition.get("items")).get("format") or ""),
            choices=tuple(filter(_is_choice, as_list(definition.get("enum"))))[:MAX_INPUTS],
            minimum=_number(definition.get("minimum")),
            maximum=_number(definition.get("maximum")),
            default=_number(definition.get("default")),
            is_needed=name in needed,
        )
        for name, definition in given[:MAX_INPUTS]
        if len(name) <= LONGEST
    )


def problem(model_inputs: Collection[Input], named: Collection[str]) -> str:
    """Return a sentence about inputs that the endpoint names and the model lacks, or that the model needs and the
    endpoint does not name; "" if all fits or the model has no schema."""
    names = {field.name for field in model_inputs}
    if model_inputs and (unknown := sorted(set(named) - names)):
        return f"The model has no input {', '.join(unknown)}; it has {', '.join(sorted(names))}."
    if needed := [field.name for field in model_inputs if field.is_needed and field.name not in named]:
        return f"The model needs {', '.join(needed)}, and its inputs here do not name it."
    return ""


def suggest_settings(model_inputs: Sequence[Input], inputs: Mapping[str, Any] | None, *, fits: bool) -> dict[str, Any]:
    """Return {"inputs": …} that would fit the model if the endpoint's do not fit or are missing, else {}."""
    given = inputs or {}
    mended = {} if fits and given else _repair_inputs(given, model_inputs)
    return {"inputs": mended} if mended and mended != given else {}


def _repair_inputs(given: Mapping[str, Any], model_inputs: Sequence[Input]) -> dict[str, Any]:
    """Return the given inputs without those that the model lacks, and with those that are not named yet."""
    names = {field.name for field in model_inputs}
    if not (fresh := suggest_inputs(model_inputs)):
        return {}
    groups = {group: dict(as_mapping(given.get(group))) for group in ("images", "parameters", "fixed")}
    kept = {ours: value for ours, value in given.items() if ours not in groups and _model_name(value) in names}
    groups["fixed"] = {name: value for name, value in groups["fixed"].items() if name in names}
    for group in ("images", "parameters"):
        groups[group] = {ours: value for ours, value in groups[group].items() if _model_name(value) in names}
    used = {_model_name(value) for part in (kept, groups["images"], groups["parameters"]) for value in part.values()}
    used |= groups["fixed"].keys()
    if ("width" in kept) != ("height" in kept):
        kept = {ours: value for ours, value in kept.items() if ours not in _SIZES}
    has_size = bool(kept.keys() & _SIZES)
    for ours, value in fresh.items():
        if ours in groups:
            model_names = {name: name if ours == "fixed" else _model_name(entry) for name, entry in value.items()}
            new = {name: entry for name, entry in value.items() if model_names[name] not in used}
            groups[ours] = {**new, **groups[ours]}
        elif ours not in kept and not (has_size and ours in _SIZES):
            kept[ours] = value
    return kept | {group: part for group, part in groups.items() if part}


def _model_name(value: Any) -> str:
    """Return the model's name in an entry of "inputs": "seed", or {"input": "seed", …}."""
    return str(value.get("input") if isinstance(value, Mapping) else value)


def suggest_inputs(model_inputs: Sequence[Input]) -> dict[str, Any]:
    """Suggest an endpoint's "inputs" for this model (inputs.py); {} if it has no prompt."""
    named = {field.name: field for field in model_inputs}
    suggestion: dict[str, Any] = {}
    for ours, theirs in _PROMPTS.items():
        suggestion |= next(({ours: name} for name in theirs if name in named), {})
    if "prompt" not in suggestion:
        return {}
    if (seed := named.get("seed")) is not None:
        suggestion["seed"] = {"input": "seed", "maximum": int(seed.maximum)} if seed.maximum else "seed"
    suggestion |= _size(named)
    images: dict[str, Any] = {}
    for field in model_inputs:
        if field.is_image:
            images.setdefault(_IMAGES[field.name], _image(field))
    others = [field for field in model_inputs if field.name not in (*_IGNORED, *_FIXED, suggestion["prompt"])]
    parameters = dict(_parameters(others))
    if "init" not in images:
        parameters.pop("strength", None)
    fixed = {name: value for name, value in _FIXED.items() if name in named and _accepts(named[name], value)}
    parts = {"images": images, "parameters": parameters, "fixed": fixed}
    return suggestion | {name: part for name, part in parts.items() if part}


def _size(named: Mapping[str, Input]) -> dict[str, Any]:
    """Return the inputs for the size. Aspect ratios come first: next to them, width and height are custom sizes."""
    shape = named.get("aspect_ratio")
    if ratios := [ratio for ratio in (shape.choices if shape else ()) if _RATIO.fullmatch(str(ratio))]:
        return {"aspect_ratio": {"input": "aspect_ratio", "choices": ratios}}
    return {"width": "width", "height": "height"} if {"width", "height"} <= named.keys() else {}


def _image(field: Input) -> Any:
    plain: dict[str, Any] = {"input": field.name}
    plain |= {"is_list": True} if field.type == "array" else {}
    plain |= {"is_needed": True} if field.is_needed else {}
    return plain if len(plain) > 1 else field.name


def _parameters(model_inputs: Sequence[Input]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield parameters for choices, switches and numbers with bounds; free texts do not fit a form."""
    for field in model_inputs:
        plain: dict[str, Any] = {"input": field.name}
        if field.choices:
            plain["choices"] = list(field.choices)
        elif field.type == "boolean":
            plain["choices"] = {"yes": True, "no": False}
        elif field.type in ("integer", "number") and None not in (field.minimum, field.maximum):
            plain |= {"minimum": field.minimum, "maximum": field.maximum, "step": 1 if field.type == "integer" else 0.1}
            is_within = field.default is not None and field.minimum <= field.default <= field.maximum  # type: ignore[operator]
            plain |= {"default": field.default} if is_within else {}
        else:
            continue
        yield _PARAMETERS.get(field.name, field.name), plain


def _accepts(field: Input, value: Any) -> bool:
    if field.choices:
        return value in field.choices
    return field.type == ("integer" if isinstance(value, int) else "string")


def _resolve_references(definition: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return an input merged with what it refers to: `$ref`, the schema in `allOf`, or the non-null one in `anyOf`."""
    whole = dict(definition)
    for other in (definition, *as_list(definition.get("allOf")), *as_list(definition.get("anyOf"))):
        other = as_mapping(other)
        target = as_mapping(parts.get(str(other.get("$ref") or "").rpartition("/")[2]))
        for source in (other, target):
            if source.get("type") != "null":
                whole = {**source, **whole}
    return whole


def _is_choice(choice: Any) -> bool:
    return _number(choice) is not None or (isinstance(choice, str) and len(choice) <= LONGEST)


def _number(value: Any, otherwise: Any = None) -> Any:
    return value if isinstance(value, int | float) and -GREATEST <= value <= GREATEST else otherwise
