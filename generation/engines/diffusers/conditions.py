"""Conditions of a diffusers job besides prompt and steps: LoRAs, a control map, a reference image, keeping the product,
outpainting, a recipe. This module says which an endpoint has, which a batch shares, and which are invalid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from generation.engines.base import CONTROL, CONTROL_MAP, MAP, Control, Spec
from generation.engines.diffusers import extending, parameters, products, recipes
from generation.engines.diffusers.equipment import COMPUTED, Equipment
from generation.engines.diffusers.families import Family
from generation.engines.diffusers.parameters import is_number, is_on, kind

CONTROL_RANGES: Final[Mapping[str, tuple[float, float, float]]] = {
    "control_strength": (1.0, 0.0, 2.0),
    "control_start": (0.0, 0.0, 1.0),
    "control_end": (1.0, 0.0, 1.0),
}
"""By parameter: (default, least, most)."""
REFERENCE_RANGE: Final = (0.6, 0.0, 1.5)
FRAMING_PARAMETERS: Final = ("extend", "outpaint", "keep_product", *products.PARAMETERS, "recipe")
NO_CONTROL: Final = "none"


def parameter_names(equipment: Equipment) -> tuple[str, ...]:
    """Return the parameters of an endpoint: the common ones and those of its equipment."""
    return (
        *parameters.PARAMETERS,
        *FRAMING_PARAMETERS,
        *(("loras",) if equipment.loras else ()),
        *(("control", *CONTROL_RANGES) if equipment.controlnets else ()),
        *((CONTROL_MAP,) if equipment.takes_maps else ()),
        *(("reference_strength",) if equipment.adapter else ()),
    )


def obeyed_names(family: Family, equipment: Equipment) -> frozenset[str]:
    unread = set() if family.obeys_guidance else {"guidance"}
    words = {"prompt", "negative"} if family.obeys_negative else {"prompt"}
    return frozenset({*words, "seed", *parameter_names(equipment)} - unread)


def image_roles(equipment: Equipment) -> frozenset[str]:
    return frozenset({
        "init", "mask", "cutout",
        *(("photo",) if equipment.controlnets else ()),
        *((CONTROL,) if equipment.takes_maps else ()),
        *(("reference",) if equipment.adapter else ()),
    })  # fmt: skip


def controls(family: Family, equipment: Equipment) -> tuple[Control, ...]:
    """Return the controls that a reviewer may change, of those that the endpoint obeys."""
    offered = list(parameters.controls(family))
    if equipment.loras:
        offered.append(Control("loras", "LoRAs", "text"))
    if equipment.controlnets:
        choices = (NO_CONTROL, *equipment.controlnets)
        offered.append(Control("control", "Follows", "choice", NO_CONTROL, choices=choices))
        offered += [Control(CONTROL_MAP, "Map", MAP, NO_CONTROL)] if equipment.takes_maps else []
        offered.append(Control("control_strength", "How closely", "number", *CONTROL_RANGES["control_strength"], 0.05))
    if equipment.adapter:
        offered.append(Control("reference_strength", "Likeness to the reference", "number", *REFERENCE_RANGE, 0.05))
    return tuple(offered)


def settings(spec: Spec, family: Family, equipment: Equipment) -> dict[str, Any]:
    """Return the parameters that a whole batch shares, with defaults, without unused ones. Raises ValueError if
    `problems` reports any."""
    shared = parameters.settings(spec, family)
    if loras := lora_weights(spec, equipment):
        shared["loras"] = loras
    if control := _control_name(spec):
        shared["control"] = control
        shared |= {name: float(spec.parameters.get(name, row[0])) for name, row in CONTROL_RANGES.items()}
    if "reference" in spec.images:
        shared["reference_strength"] = float(spec.parameters.get("reference_strength", REFERENCE_RANGE[0]))
    if is_on(spec, "keep_product"):
        given = {name: spec.parameters[name] for name in products.PARAMETERS if name in spec.parameters}
        shared["product"] = {"shadow": "contact", **given}
    elif spec.parameters.get("outpaint"):
        shared["extend"] = extending.margins(spec.parameters["outpaint"], spec.width, spec.height)
    elif is_on(spec, "extend"):
        shared["extend"] = True
    if spec.parameters.get("recipe"):
        shared["recipe"] = recipes.read(spec.parameters["recipe"])
    return shared


def problems(spec: Spec, family: Family, equipment: Equipment) -> list[str]:
    """Return sentences about what this endpoint cannot do in a spec."""
    taken = parameter_names(equipment)
    strange = sorted(set(spec.parameters) - set(taken))
    sentences = [f"Unknown parameter {name!r}; known are {', '.join(taken)}." for name in strange]
    sentences += parameters.problems(spec, family)
    sentences += _problems_of_check(lambda: lora_weights(spec, equipment))
    sentences += _control_problems(spec, family, equipment)
    sentences += _reference_problems(spec, family, equipment)
    sentences += _framing_problems(spec)
    sentences += recipes.problems(spec, family, equipment)
    return [*sentences, *equipment.missing()]


def lora_weights(spec: Spec, equipment: Equipment) -> dict[str, float]:
    """Return the weights of the LoRAs for an image, by name. Raises ValueError if the parameter is invalid.

    The parameter is {"name": weight}, ["name"], or "name:0.8 + other", as in axes and placeholders; "none" disables
    those that are on by default.
    """
    own = {name: lora.weight for name, lora in equipment.loras.items() if lora.weight}
    given = spec.parameters.get("loras")
    if isinstance(given, str) and given.strip() == "none":
        return {}
    for name, weight in _parse_lora_weights(given).items():
        if name not in equipment.loras:
            there = ", ".join(equipment.loras) or "none"
            raise ValueError(f"There is no LoRA {name!r} at this endpoint; known are {there}.")
        if weight is not None and not (is_number(weight) and -4 <= float(weight) <= 4):
            raise ValueError(f"The LoRA {name!r} has the weight {weight!r}; expected a number from -4 to 4.")
        own[name] = float(weight) if weight is not None else equipment.loras[name].weight or 1.0
    return {name: weight for name, weight in sorted(own.items()) if weight}


def _parse_lora_weights(given: Any) -> dict[str, Any]:
    """Return the LoRA weights of a parameter by name; None for a weight that is not given."""
    if given is None:
        return {}
    if isinstance(given, str):
        parts = [part.partition(":") for part in given.replace(",", "+").split("+") if part.strip()]
        return {name.strip(): weight.strip() or None for name, _, weight in parts}
    if isinstance(given, Mapping):
        return {str(name): weight for name, weight in given.items()}
    if isinstance(given, (list, tuple)):
        return {str(name): None for name in given}
    raise ValueError(f'loras is {given!r}; write it as {{"name": 0.8}}.')


def _control_name(spec: Spec) -> str:
    """Return "canny", "depth", "pose", or "" for none."""
    named = str(spec.parameters.get("control") or "").strip()
    return "" if named == NO_CONTROL else named


def _control_problems(spec: Spec, family: Family, equipment: Equipment) -> list[str]:
    name = _control_name(spec)
    if not name:
        if CONTROL_MAP in spec.parameters and not spec.parameters.get("control"):
            return [f"{CONTROL_MAP} names a map, and control does not say what it shows, such as depth or pose."]
        return []
    if name not in equipment.controlnets:
        there = ", ".join(equipment.controlnets) or "none"
        return [f"There is no ControlNet {name!r} at this endpoint; known are {there}."]
    how = {"text": "from words", "image": "from a start image", "inpaint": "in a part of an image"}[kind(spec)]
    sentences = []
    if not family.pipeline_class_of(kind(spec), controlled=True):
        sentences.append(f"{family.title} follows no map when it draws {how}; leave out the control.")
    has_image = "photo" in spec.images or kind(spec) != "text"
    if CONTROL not in spec.images and name != COMPUTED:
        how_given = f"name a concept whose photo it is in {CONTROL_MAP}"
        sentences.append(f"{name} needs a finished map: {how_given}; only the edges of {COMPUTED} are found here.")
    elif CONTROL not in spec.images and not has_image:
        sentences.append(f'{name} needs the reference photo, whose edges are found, or a map as the image "control".')
    for parameter, row in CONTROL_RANGES.items():
        sentences += _range_problems(spec, parameter, row)
    start, end = (spec.parameters.get(name, CONTROL_RANGES[name][0]) for name in ("control_start", "control_end"))
    if not sentences and float(start) >= float(end):
        sentences.append("control_start is not before control_end: the map would never be followed.")
    return sentences


def _reference_problems(spec: Spec, family: Family, equipment: Equipment) -> list[str]:
    if "reference" not in spec.images:
        return []
    if not family.has_adapter:
        return [f"{family.title} takes no reference image here; IP-Adapters are run for Stable Diffusion 1.5 and SDXL."]
    if equipment.adapter is None:
        return ['There is a reference image, and this endpoint has no "ip_adapter" in its config to read it with.']
    return _range_problems(spec, "reference_strength", REFERENCE_RANGE)


def _framing_problems(spec: Spec) -> list[str]:
    """Return problems of keeping the product and of outpainting."""
    modes = [name for name in ("keep_product", "outpaint", "extend") if is_on(spec, name)]
    if len(modes) > 1:
        return [f"{modes[0]} and {modes[1]} exclude each other; ask for one of them."]
    if "keep_product" in modes:
        sentences = [] if "cutout" in spec.images else ["keep_product needs the product's accepted cut-out."]
        clashing = sorted({"init", "mask"} & set(spec.images))
        sentences += [f"keep_product draws around the cut-out; leave out the {role} image." for role in clashing]
        return sentences + products.parse(spec.parameters)[1]
    if modes:
        sentences = [] if "init" in spec.images else [f"{modes[0]} needs a start image, around which is drawn."]
        sentences += [f"{modes[0]} marks by itself what is drawn; leave out the mask."] if "mask" in spec.images else []
        if "outpaint" in modes:
            outpaint = spec.parameters["outpaint"]
            sentences += _problems_of_check(lambda: extending.margins(outpaint, spec.width, spec.height))
        return sentences
    return []


def _range_problems(spec: Spec, parameter: str, row: tuple[float, float, float]) -> list[str]:
    return parameters.range_problems(parameter, spec.parameters.get(parameter, row[0]), *row[1:])


def _problems_of_check(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except ValueError as error:
        return [str(error)]
    return []
