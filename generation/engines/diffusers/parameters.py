"""The parameters of a diffusers spec: those of a family, their defaults, and their validation.

`settings` returns the parameters that a batch shares and that are needed to make the image again; `problems` returns
sentences about what is wrong. Nothing here loads a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

from generation.engines.base import Control, Spec
from generation.engines.diffusers.families import Family

PARAMETERS: Final = ("steps", "guidance", "scheduler", "strength")
RANGES: Final[Mapping[str, tuple[float, float]]] = {"steps": (1, 150), "guidance": (0, 30), "strength": (0.01, 1)}
STRENGTH: Final = 0.6


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


def defaults(spec: Spec, family: Family) -> dict[str, Any]:
    """Return the default values. A masked part is repainted completely, so its strength is 1."""
    strength = 1.0 if kind(spec) == "inpaint" else STRENGTH
    return {"steps": family.steps, "guidance": family.guidance, "scheduler": "", "strength": strength}


def settings(spec: Spec, family: Family) -> dict[str, Any]:
    """Return the parameters that a whole batch shares, with defaults."""
    values = defaults(spec, family)
    values |= {name: spec.parameters[name] for name in PARAMETERS if name in spec.parameters}
    values["steps"] = int(float(values["steps"]))
    values["guidance"] = float(values["guidance"]) if family.obeys_guidance else family.guidance
    values["strength"] = float(values["strength"])
    return values


def worked_steps(kind: str, settings: Mapping[str, Any], family: Family) -> int:
    """Return the number of steps that are run: with a start image only the last ones, the share `strength`."""
    steps = int(settings["steps"])
    if kind == "text":
        return steps
    share = min(steps * float(settings["strength"]), steps)
    return steps - int(steps - share) if family.is_flow else int(share)


def controls(family: Family) -> tuple[Control, ...]:
    """Return the controls that a reviewer may change, of those that the family obeys."""
    every = (
        Control("prompt", "Prompt", "text"),
        Control("negative", "Negative prompt", "text"),
        Control("seed", "Seed", "seed"),
        Control("guidance", "Guidance", "number", default=family.guidance, minimum=0, maximum=20, step=0.5),
        Control("steps", "Steps", "number", default=family.steps, minimum=1, maximum=150, step=1),
        Control("strength", "Change of the start image", "number", STRENGTH, minimum=0.05, maximum=1, step=0.05),
    )
    is_read = {"guidance": family.obeys_guidance, "negative": family.obeys_negative}
    return tuple(control for control in every if is_read.get(control.parameter, True))


def problems(spec: Spec, family: Family) -> list[str]:
    """Return sentences about what this endpoint cannot do in the spec's size and parameters."""
    sentences = []
    multiple = family.size_multiple
    if spec.width % multiple or spec.height % multiple:
        sentences.append(f"{spec.width}×{spec.height}: width and height must be multiples of {multiple}.")
    scheduler = str(spec.parameters.get("scheduler", ""))
    if scheduler and scheduler not in family.schedulers:
        sentences.append(f"Unknown scheduler {scheduler!r}; {family.title} runs with {', '.join(family.schedulers)}.")
    standard = defaults(spec, family)
    for name, (low, high) in RANGES.items():
        sentences += range_problems(name, spec.parameters.get(name, standard[name]), low, high)
    if "mask" in spec.images and "init" not in spec.images:
        sentences.append("There is a mask, but no image to repaint: give it the start image too.")
    if not sentences:
        chosen = settings(spec, family)
        if worked_steps(kind(spec), chosen, family) < 1:
            sentences.append(
                f"A change of {chosen['strength']:g} in {chosen['steps']} steps leaves no step to work in; "
                f"take at least {ceil(1 / chosen['strength'])} steps."
            )
    return sentences


def range_problems(name: str, value: Any, low: float, high: float) -> list[str]:
    """Return a sentence if the value of a parameter is not in its range."""
    if is_number(value) and low <= float(value) <= high:
        return []
    return [f"{name} is {value!r}; expected a number from {low:g} to {high:g}."]


def is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
