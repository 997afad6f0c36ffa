"""Recipes: images made in several passes, such as a base and its refiner, or a small image enlarged and refined.

The parameter "recipe" is a list of steps:

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
from generation.engines.diffusers.parameters import is_number, kind, worked_steps

STEPS: Final[Mapping[str, Mapping[str, Any]]] = {
    "text": {},
    "refine": {"strength": 0.3, "model": ""},
    "enlarge": {"scale": 1.5, "strength": 0.4},
}
RANGES: Final = {"strength": (0.01, 1.0), "scale": (1.05, 4.0)}
MAX_STEPS: Final = 6
MIN_SIDE: Final = 64


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


def read(given: Any) -> list[dict[str, Any]]:
    """Return the steps with their defaults, without "text". Raises ValueError with a sentence if invalid."""
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ValueError(f'recipe is {given!r}; it is a list of steps such as [{{"do": "refine", "strength": 0.3}}].')
    if len(given) > MAX_STEPS:
        raise ValueError(f"The recipe has {len(given)} steps; it takes at most {MAX_STEPS}.")
    steps = [_step(number, step) for number, step in enumerate(given, 1)]
    if late := [number for number, step in enumerate(steps, 1) if step["do"] == "text" and number > 1]:
        raise ValueError(f'Step {late[0]} of the recipe is "text", which comes first or not at all.')
    return [step for step in steps if step["do"] != "text"]


def _step(number: int, given: Any) -> dict[str, Any]:
    where = f"Step {number} of the recipe"
    if not isinstance(given, Mapping) or given.get("do") not in STEPS:
        raise ValueError(f'{where} is {given!r}; write {{"do": …}} with one of {", ".join(STEPS)}.')
    defaults = STEPS[str(given["do"])]
    if strange := sorted(set(given) - set(defaults) - {"do"}):
        words = ", ".join(defaults) or "nothing else"
        raise ValueError(f"{where} says {', '.join(strange)}; {given['do']!r} takes {words}.")
    step = {**defaults, **given}
    for name, (low, high) in RANGES.items():
        if name in step and not (is_number(step[name]) and low <= float(step[name]) <= high):
            raise ValueError(f"{where}: {name} is {step[name]!r}; expected a number from {low:g} to {high:g}.")
    if step.get("model") not in (None, "", "refiner"):
        raise ValueError(f'{where} names the model {step["model"]!r}; it is "refiner", or left out for the same one.')
    return {name: float(value) if name in RANGES else value for name, value in step.items()}


def problems(spec: Spec, family: Family, equipment: Equipment) -> list[str]:
    if "recipe" not in spec.parameters:
        return []
    try:
        steps = read(spec.parameters["recipe"])
    except ValueError as error:
        return [str(error)]
    sentences = []
    if any(step.get("model") for step in steps) and equipment.refiner is None:
        sentences.append('The recipe refines with a refiner, and this endpoint has none: give its config a "refiner".')
    scale = prod(step.get("scale", 1.0) for step in steps)
    if scale > 1 and kind(spec) != "text":
        sentences.append("A recipe enlarges only what is made from words; leave out the start image, or the enlarging.")
    if min(spec.width, spec.height) / scale < MIN_SIDE:
        size = f"{spec.width}×{spec.height}"
        sentences.append(f"Before it is enlarged {scale:g} times, {size} would be under {MIN_SIDE} pixels.")
    return sentences


def passes(spec: Spec, settings: Mapping[str, Any], family: Family) -> list[Pass]:
    """Return the passes in which a spec is drawn; one without a recipe."""
    steps = settings.get("recipe", ())
    scales = [step.get("scale", 1.0) for step in steps]
    how, divided = kind(spec), int(settings["steps"])
    width, height = _size_before(spec, prod(scales), family)
    worked = worked_steps(how, settings, family)
    planned = [Pass(how, width, height, divided, worked, float(settings["strength"]), is_first=True)]
    for number, step in enumerate(steps):
        width, height = _size_before(spec, prod(scales[number + 1 :]), family)
        worked = max(1, worked_steps("image", {**settings, "strength": step["strength"]}, family))
        strength = max(float(step["strength"]), 1 / divided)
        planned.append(Pass("image", width, height, divided, worked, strength, is_refiner=bool(step.get("model"))))
    return planned


def _size_before(spec: Spec, scale: float, family: Family) -> tuple[int, int]:
    """Return the size before enlarging `scale` times to the spec's size, in the family's multiples."""
    if scale == 1:
        return spec.width, spec.height
    each = family.size_multiple
    width, height = (max(each, round(side / scale / each) * each) for side in (spec.width, spec.height))
    return width, height
