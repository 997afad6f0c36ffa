"""Recipes: a picture made in several passes, as a base and its refiner, or a small one that is enlarged and refined.

A recipe is a list of steps, as the parameter "recipe" gives them:

{"do": "text"}: the picture as without a recipe; it comes first, and may be left out.
{"do": "refine", "strength": 0.3, "model": "refiner"}: over the picture again; with the endpoint's refiner where named.
{"do": "enlarge", "scale": 1.5, "strength": 0.4}: enlarged, then over it again ("hires fix"). The size of the spec is
that of the finished picture: the first pass is smaller by the scale.
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
MOST_STEPS: Final = 6
LEAST_SIDE: Final = 64


@dataclass(frozen=True)
class Pass:
    """One run of a pipeline. kind: "text", "image" or "inpaint". steps: as the scheduler divides them; worked: how many
    of them are done."""

    kind: str
    width: int
    height: int
    steps: int
    worked: int
    strength: float
    is_first: bool = False
    is_refiner: bool = False


def read(given: Any) -> list[dict[str, Any]]:
    """The steps with their defaults, without "text". ValueError says in a sentence what in it cannot be."""
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ValueError(f'recipe is {given!r}; it is a list of steps such as [{{"do": "refine", "strength": 0.3}}].')
    if len(given) > MOST_STEPS:
        raise ValueError(f"The recipe has {len(given)} steps; it takes at most {MOST_STEPS}.")
    steps = [_step(number, one) for number, one in enumerate(given, 1)]
    if late := [number for number, one in enumerate(steps, 1) if one["do"] == "text" and number > 1]:
        raise ValueError(f'Step {late[0]} of the recipe is "text", which comes first or not at all.')
    return [one for one in steps if one["do"] != "text"]


def _step(number: int, given: Any) -> dict[str, Any]:
    where = f"Step {number} of the recipe"
    if not isinstance(given, Mapping) or given.get("do") not in STEPS:
        raise ValueError(f'{where} is {given!r}; write {{"do": …}} with one of {", ".join(STEPS)}.')
    known = STEPS[str(given["do"])]
    if strange := sorted(set(given) - set(known) - {"do"}):
        words = ", ".join(known) or "nothing else"
        raise ValueError(f"{where} says {', '.join(strange)}; {given['do']!r} takes {words}.")
    step = {**known, **given}
    for name, (low, high) in RANGES.items():
        if name in step and not (is_number(step[name]) and low <= float(step[name]) <= high):
            raise ValueError(f"{where}: {name} is {step[name]!r}; expected a number from {low:g} to {high:g}.")
    if step.get("model") not in (None, "", "refiner"):
        raise ValueError(f'{where} names the model {step["model"]!r}; it is "refiner", or left out for the same one.')
    return {name: float(value) if name in RANGES else value for name, value in step.items()}


def problems(spec: Spec, family: Family, equipment: Equipment) -> list[str]:
    """Sentences about what in a spec's recipe cannot be."""
    if "recipe" not in spec.parameters:
        return []
    try:
        steps = read(spec.parameters["recipe"])
    except ValueError as error:
        return [str(error)]
    found = []
    if any(step.get("model") for step in steps) and equipment.refiner is None:
        found.append('The recipe refines with a refiner, and this endpoint has none: give its config a "refiner".')
    scale = prod(step.get("scale", 1.0) for step in steps)
    if scale > 1 and kind(spec) != "text":
        found.append("A recipe enlarges only what is made from words; leave out the start image, or the enlarging.")
    if min(spec.width, spec.height) / scale < LEAST_SIDE:
        found.append(
            f"Before it is enlarged {scale:g} times, {spec.width}×{spec.height} would be under {LEAST_SIDE} pixels."
        )
    return found


def passes(spec: Spec, settings: Mapping[str, Any], family: Family) -> list[Pass]:
    """Return what a spec is drawn in; one pass without a recipe."""
    steps = settings.get("recipe", ())
    scales = [step.get("scale", 1.0) for step in steps]
    how, divided = kind(spec), int(settings["steps"])
    width, height = _before(spec, prod(scales), family)
    worked = worked_steps(how, settings, family)
    found = [Pass(how, width, height, divided, worked, float(settings["strength"]), is_first=True)]
    for number, step in enumerate(steps):
        width, height = _before(spec, prod(scales[number + 1 :]), family)
        worked = max(1, worked_steps("image", {**settings, "strength": step["strength"]}, family))
        strength = max(float(step["strength"]), 1 / divided)
        found.append(Pass("image", width, height, divided, worked, strength, is_refiner=bool(step.get("model"))))
    return found


def _before(spec: Spec, scale: float, family: Family) -> tuple[int, int]:
    """The size from which enlarging `scale` times makes the spec's, in the family's multiples."""
    if scale == 1:
        return spec.width, spec.height
    each = family.size_multiple
    width, height = (max(each, round(side / scale / each) * each) for side in (spec.width, spec.height))
    return width, height
