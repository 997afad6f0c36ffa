"""The capabilities of an endpoint: parameters, controls and images, the settings of a batch, and problems of a spec.

Besides prompt and steps a job may have LoRAs, a control map, a reference image, a kept product, outpainting, a recipe.
Nothing here loads a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, prod
from typing import Any, Final

from generation.engines.base import CONTROL, CONTROL_MAP, MAP, Capabilities, Control, Spec
from generation.engines.diffusers import parameters, sources
from generation.engines.diffusers.equipment import COMPUTED, Equipment
from generation.engines.diffusers.families import Family
from generation.engines.diffusers.parameters import is_number, is_on, kind

PARAMETERS: Final = ("steps", "guidance", "scheduler", "strength")
FRAMING_PARAMETERS: Final = ("extend", "outpaint", "keep_product", *sources.PRODUCT_PARAMETERS, "recipe")
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "steps": (1, 150), "guidance": (0, 30), "strength": (0.01, 1),
    "control_strength": (0.0, 2.0), "control_start": (0.0, 1.0), "control_end": (0.0, 1.0),
    "reference_strength": (0.0, 1.5),
}  # fmt: skip
STRENGTH: Final = 0.6
CONTROL_DEFAULTS: Final = {"control_strength": 1.0, "control_start": 0.0, "control_end": 1.0}
REFERENCE_STRENGTH: Final = 0.6
NO_CONTROL: Final = "none"
MIN_RECIPE_SIDE: Final = 64
"""Of the first image of a recipe, in pixels."""


def capabilities(family: Family, equipment: Equipment, max_side: int) -> Capabilities:
    words = {"prompt", "negative"} if family.obeys_negative else {"prompt"}
    unread = set() if family.obeys_guidance else {"guidance"}
    obeys = frozenset({*words, "seed", *parameter_names(equipment)} - unread)
    roles = {
        "init", "mask", "cutout",
        *(("photo",) if equipment.controlnets else ()),
        *((CONTROL,) if equipment.takes_maps else ()),
        *(("reference",) if equipment.adapter else ()),
    }  # fmt: skip
    return Capabilities(
        is_remote=False,
        obeys=obeys,
        controls=tuple(control for control in _controls(family, equipment) if control.parameter in obeys),
        optional_images=frozenset(roles),
        max_width=max_side,
        max_height=max_side,
        size_multiple=family.size_multiple,
    )


def parameter_names(equipment: Equipment) -> tuple[str, ...]:
    """Return the parameters of an endpoint: the common ones and those of its equipment."""
    return (
        *PARAMETERS,
        *FRAMING_PARAMETERS,
        *(("loras",) if equipment.loras else ()),
        *(("control", *CONTROL_DEFAULTS) if equipment.controlnets else ()),
        *((CONTROL_MAP,) if equipment.takes_maps else ()),
        *(("reference_strength",) if equipment.adapter else ()),
    )


def _controls(family: Family, equipment: Equipment) -> tuple[Control, ...]:
    """Return the controls of all endpoints of a family."""
    return (
        Control("prompt", "Prompt", "text"),
        Control("negative", "Negative prompt", "text"),
        Control("seed", "Seed", "seed"),
        Control("guidance", "Guidance", "number", family.guidance, minimum=0, maximum=20, step=0.5),
        Control("steps", "Steps", "number", family.steps, minimum=1, maximum=150, step=1),
        Control("strength", "Change of the start image", "number", STRENGTH, minimum=0.05, maximum=1, step=0.05),
        Control("loras", "LoRAs", "text"),
        Control("control", "Follows", "choice", NO_CONTROL, choices=(NO_CONTROL, *equipment.controlnets)),
        Control(CONTROL_MAP, "Map", MAP, NO_CONTROL),
        Control("control_strength", "How closely", "number", 1.0, 0.0, 2.0, 0.05),
        Control("reference_strength", "Likeness to the reference", "number", REFERENCE_STRENGTH, 0.0, 1.5, 0.05),
    )


def settings(spec: Spec, family: Family, equipment: Equipment) -> dict[str, Any]:
    """Return the parameters that a whole batch shares and that make the image again: with defaults, without unused
    ones. Raises ValueError if `problems` reports any."""
    given = spec.parameters
    shared = {**_defaults(spec, family), **{name: given[name] for name in PARAMETERS if name in given}}
    shared["steps"] = int(float(shared["steps"]))
    shared["guidance"] = float(shared["guidance"]) if family.obeys_guidance else family.guidance
    shared["strength"] = float(shared["strength"])
    if loras := parameters.lora_weights(spec, equipment):
        shared["loras"] = loras
    if control := _control_name(spec):
        shared["control"] = control
        shared |= {name: float(given.get(name, default)) for name, default in CONTROL_DEFAULTS.items()}
    if "reference" in spec.images:
        shared["reference_strength"] = float(given.get("reference_strength", REFERENCE_STRENGTH))
    if is_on(spec, "keep_product"):
        place = {name: given[name] for name in sources.PRODUCT_PARAMETERS if name in given}
        shared["product"] = {"shadow": "contact", **place}
    elif given.get("outpaint"):
        shared["extend"] = parameters.margins(given["outpaint"], spec.width, spec.height)
    elif is_on(spec, "extend"):
        shared["extend"] = True
    if given.get("recipe"):
        shared["recipe"] = parameters.recipe_steps(given["recipe"])
    return shared


def _defaults(spec: Spec, family: Family) -> dict[str, Any]:
    """Return the default values. A masked part is repainted completely, so its strength is 1."""
    strength = 1.0 if kind(spec) == "inpaint" else STRENGTH
    return {"steps": family.steps, "guidance": family.guidance, "scheduler": "", "strength": strength}


def problems(spec: Spec, family: Family, equipment: Equipment) -> list[str]:
    """Return sentences about what this endpoint cannot do in a spec."""
    names = parameter_names(equipment)
    strange = sorted(set(spec.parameters) - set(names))
    return [
        *(f"Unknown parameter {name!r}; known are {', '.join(names)}." for name in strange),
        *_common_problems(spec, family),
        *_problems_of_check(lambda: parameters.lora_weights(spec, equipment)),
        *_control_problems(spec, family, equipment),
        *_reference_problems(spec, family, equipment),
        *_framing_problems(spec),
        *_recipe_problems(spec, equipment),
        *equipment.missing(),
    ]


def _common_problems(spec: Spec, family: Family) -> list[str]:
    """Return problems of the size and of the parameters of all endpoints."""
    sentences = []
    multiple = family.size_multiple
    if spec.width % multiple or spec.height % multiple:
        sentences.append(f"{spec.width}×{spec.height}: width and height must be multiples of {multiple}.")
    scheduler = str(spec.parameters.get("scheduler", ""))
    if scheduler and scheduler not in family.schedulers:
        sentences.append(f"Unknown scheduler {scheduler!r}; {family.title} runs with {', '.join(family.schedulers)}.")
    values = {**_defaults(spec, family), **spec.parameters}
    sentences += _range_problems({name: values[name] for name in ("steps", "guidance", "strength")})
    if "mask" in spec.images and "init" not in spec.images:
        sentences.append("There is a mask, but no image to repaint: give it the start image too.")
    if not sentences:
        steps, strength = int(float(values["steps"])), float(values["strength"])
        if parameters.worked_steps(kind(spec), steps, strength, family) < 1:
            sentences.append(
                f"A change of {strength:g} in {steps} steps leaves no step to work in; "
                f"take at least {ceil(1 / strength)} steps."
            )
    return sentences


def _control_name(spec: Spec) -> str:
    """Return "canny", "depth", "pose", or "" for none."""
    named = str(spec.parameters.get("control") or "").strip()
    return "" if named == NO_CONTROL else named


def _control_problems(spec: Spec, family: Family, equipment: Equipment) -> list[str]:
    if not (name := _control_name(spec)):
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
    values = {name: spec.parameters.get(name, default) for name, default in CONTROL_DEFAULTS.items()}
    sentences += _range_problems(values)
    if not sentences and float(values["control_start"]) >= float(values["control_end"]):
        sentences.append("control_start is not before control_end: the map would never be followed.")
    return sentences


def _reference_problems(spec: Spec, family: Family, equipment: Equipment) -> list[str]:
    if "reference" not in spec.images:
        return []
    if not family.has_adapter:
        return [f"{family.title} takes no reference image here; IP-Adapters are run for Stable Diffusion 1.5 and SDXL."]
    if equipment.adapter is None:
        return ['There is a reference image, and this endpoint has no "ip_adapter" in its config to read it with.']
    strength = spec.parameters.get("reference_strength", REFERENCE_STRENGTH)
    return _range_problems({"reference_strength": strength})


def _framing_problems(spec: Spec) -> list[str]:
    """Return problems of keeping the product and of outpainting."""
    modes = [name for name in ("keep_product", "outpaint", "extend") if is_on(spec, name)]
    if len(modes) > 1:
        return [f"{modes[0]} and {modes[1]} exclude each other; ask for one of them."]
    if "keep_product" in modes:
        sentences = [] if "cutout" in spec.images else ["keep_product needs the product's accepted cut-out."]
        clashing = sorted({"init", "mask"} & set(spec.images))
        sentences += [f"keep_product draws around the cut-out; leave out the {role} image." for role in clashing]
        return sentences + sources.parse_product(spec.parameters)[1]
    if not modes:
        return []
    sentences = [] if "init" in spec.images else [f"{modes[0]} needs a start image, around which is drawn."]
    sentences += [f"{modes[0]} marks by itself what is drawn; leave out the mask."] if "mask" in spec.images else []
    if "outpaint" in modes:
        outpaint = spec.parameters["outpaint"]
        sentences += _problems_of_check(lambda: parameters.margins(outpaint, spec.width, spec.height))
    return sentences


def _recipe_problems(spec: Spec, equipment: Equipment) -> list[str]:
    if "recipe" not in spec.parameters:
        return []
    try:
        steps = parameters.recipe_steps(spec.parameters["recipe"])
    except ValueError as error:
        return [str(error)]
    sentences = []
    if any(step.get("model") for step in steps) and equipment.refiner is None:
        sentences.append('The recipe refines with a refiner, and this endpoint has none: give its config a "refiner".')
    scale = prod(step.get("scale", 1.0) for step in steps)
    if scale > 1 and kind(spec) != "text":
        sentences.append("A recipe enlarges only what is made from words; leave out the start image, or the enlarging.")
    if min(spec.width, spec.height) / scale < MIN_RECIPE_SIDE:
        size = f"{spec.width}×{spec.height}"
        sentences.append(f"Before it is enlarged {scale:g} times, {size} would be under {MIN_RECIPE_SIDE} pixels.")
    return sentences


def _range_problems(values: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each parameter whose value is not in its range."""
    return [
        f"{name} is {value!r}; expected a number from {RANGES[name][0]:g} to {RANGES[name][1]:g}."
        for name, value in values.items()
        if not is_number(value, *RANGES[name])
    ]


def _problems_of_check(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except ValueError as error:
        return [str(error)]
    return []
