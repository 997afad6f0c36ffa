"""Read the parameters of a diffusers spec that are more than a number. Nothing here loads a model.

"loras": {"name": weight}, ["name"], or "name:0.8 + other", as in axes and placeholders. "none" disables those that are
on by default.

"outpaint": {"left": 0.25, "top": 100}: the pixels of the frame around the image by side, or below 1 a share of it.

"recipe": the passes in which an image is made, as a list of steps:

{"do": "text"}: the image as without a recipe; it comes first and may be left out.
{"do": "refine", "strength": 0.3, "model": "refiner"}: image to image; with the endpoint's refiner if named.
{"do": "enlarge", "scale": 1.5, "strength": 0.4}: enlarge, then image to image ("hires fix"). The spec has the size of
the finished image: the first pass is smaller by the scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

from generation.engines.base import Spec
from generation.engines.diffusers.equipment import Equipment
from generation.engines.diffusers.families import Family

SIDES: Final = ("left", "top", "right", "bottom")
MIN_IMAGE_SHARE: Final = 0.1
"""The least share of an outpainting's side for the image itself."""
MAX_MARGIN: Final = 1_000_000
RECIPE_STEPS: Final[Mapping[str, Mapping[str, Any]]] = {
    "text": {},
    "refine": {"strength": 0.3, "model": ""},
    "enlarge": {"scale": 1.5, "strength": 0.4},
}
RECIPE_RANGES: Final = {"strength": (0.01, 1.0), "scale": (1.05, 4.0)}
MAX_RECIPE_STEPS: Final = 6


def kind(spec: Spec) -> str:
    """Return "text", "image" or "inpaint", by the spec's images and its outpainting."""
    if is_on(spec, "keep_product"):
        return "inpaint"
    if "init" not in spec.images:
        return "text"
    is_part = "mask" in spec.images or is_on(spec, "outpaint") or is_on(spec, "extend")
    return "inpaint" if is_part else "image"


def is_on(spec: Spec, name: str) -> bool:
    """Return whether a parameter is on. Axes and placeholders give text: "yes", "true", "1" and "on" are on."""
    given = spec.parameters.get(name)
    return given.strip().lower() in ("yes", "true", "1", "on") if isinstance(given, str) else bool(given)


def is_number(value: Any, low: float, high: float) -> bool:
    """Return whether a value is a number in this range, or the text of one."""
    try:
        return low <= float(value) <= high
    except (TypeError, ValueError):
        return False


def lora_weights(spec: Spec, equipment: Equipment) -> dict[str, float]:
    """Return the weights of the LoRAs for an image, by name. Raises ValueError if the parameter is invalid."""
    own = {name: lora.weight for name, lora in equipment.loras.items() if lora.weight}
    given = spec.parameters.get("loras")
    if isinstance(given, str) and given.strip() == "none":
        return {}
    for name, weight in _parse_lora_weights(given).items():
        if name not in equipment.loras:
            there = ", ".join(equipment.loras) or "none"
            raise ValueError(f"There is no LoRA {name!r} at this endpoint; known are {there}.")
        if weight is not None and not is_number(weight, -4, 4):
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


def margins(given: Any, width: int, height: int) -> dict[str, int]:
    """Return the pixels of the frame around an outpainted image, by side. Raises ValueError if they are invalid."""
    if not isinstance(given, Mapping) or not given or set(given) - set(SIDES):
        raise ValueError(f'outpaint is {given!r}; write it as {{"left": 0.25}}, with {", ".join(SIDES)}.')
    pixels_by_side = dict.fromkeys(SIDES, 0)
    for side, amount in given.items():
        if not is_number(amount, 0, MAX_MARGIN):
            raise ValueError(f"outpaint: {side} is {amount!r}; expected pixels, or a share of the frame under 1.")
        whole = width if side in ("left", "right") else height
        pixels_by_side[side] = round(float(amount) * (whole if float(amount) < 1 else 1))
    if not any(pixels_by_side.values()):
        raise ValueError("outpaint adds nothing on any side.")
    for first, second, whole in (("left", "right", width), ("top", "bottom", height)):
        if whole - pixels_by_side[first] - pixels_by_side[second] < MIN_IMAGE_SHARE * whole:
            sides = f"{first} and {second}"
            raise ValueError(f"outpaint: {sides} leave less than a tenth of {whole} pixels to the image.")
    return pixels_by_side


def recipe_steps(given: Any) -> list[dict[str, Any]]:
    """Return the steps with their defaults, without "text". Raises ValueError with a sentence if invalid."""
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ValueError(f'recipe is {given!r}; it is a list of steps such as [{{"do": "refine", "strength": 0.3}}].')
    if len(given) > MAX_RECIPE_STEPS:
        raise ValueError(f"The recipe has {len(given)} steps; it takes at most {MAX_RECIPE_STEPS}.")
    steps = [_recipe_step(number, step) for number, step in enumerate(given, 1)]
    if late := [number for number, step in enumerate(steps, 1) if step["do"] == "text" and number > 1]:
        raise ValueError(f'Step {late[0]} of the recipe is "text", which comes first or not at all.')
    return [step for step in steps if step["do"] != "text"]


def _recipe_step(number: int, given: Any) -> dict[str, Any]:
    where = f"Step {number} of the recipe"
    if not isinstance(given, Mapping) or given.get("do") not in RECIPE_STEPS:
        raise ValueError(f'{where} is {given!r}; write {{"do": …}} with one of {", ".join(RECIPE_STEPS)}.')
    defaults = RECIPE_STEPS[str(given["do"])]
    if strange := sorted(set(given) - set(defaults) - {"do"}):
        words = ", ".join(defaults) or "nothing else"
        raise ValueError(f"{where} says {', '.join(strange)}; {given['do']!r} takes {words}.")
    step = {**defaults, **given}
    for name, (low, high) in RECIPE_RANGES.items():
        if name in step and not is_number(step[name], low, high):
            raise ValueError(f"{where}: {name} is {step[name]!r}; expected a number from {low:g} to {high:g}.")
    if step.get("model") not in (None, "", "refiner"):
        raise ValueError(f'{where} names the model {step["model"]!r}; it is "refiner", or left out for the same one.')
    return {name: float(value) if name in RECIPE_RANGES else value for name, value in step.items()}


@dataclass(frozen=True)
class Pass:
    """One run of a pipeline. kind: "text", "image" or "inpaint". steps: of the scheduler; worked: the number of them
    that are run."""

    kind: str
    width: int
    height: int
    steps: int
    worked: int
    strength: float
    is_first: bool = False
    is_refiner: bool = False


def passes(spec: Spec, settings: Mapping[str, Any], family: Family) -> list[Pass]:
    """Return the passes in which a spec is drawn; one without a recipe."""
    recipe = settings.get("recipe", ())
    scales = [step.get("scale", 1.0) for step in recipe]
    how, steps = kind(spec), int(settings["steps"])
    width, height = _size_before(spec, prod(scales), family)
    worked = worked_steps(how, steps, float(settings["strength"]), family)
    planned = [Pass(how, width, height, steps, worked, float(settings["strength"]), is_first=True)]
    for number, step in enumerate(recipe, 1):
        width, height = _size_before(spec, prod(scales[number:]), family)
        worked = max(1, worked_steps("image", steps, step["strength"], family))
        strength = max(step["strength"], 1 / steps)
        planned.append(Pass("image", width, height, steps, worked, strength, is_refiner=bool(step.get("model"))))
    return planned


def worked_steps(kind: str, steps: int, strength: float, family: Family) -> int:
    """Return the number of steps that are run: with a start image only the last ones, the share `strength`."""
    if kind == "text":
        return steps
    share = min(steps * strength, steps)
    return steps - int(steps - share) if family.is_flow else int(share)


def _size_before(spec: Spec, scale: float, family: Family) -> tuple[int, int]:
    """Return the size before enlarging `scale` times to the spec's size, in the family's multiples."""
    if scale == 1:
        return spec.width, spec.height
    each = family.size_multiple
    width, height = (max(each, round(side / scale / each) * each) for side in (spec.width, spec.height))
    return width, height
