"""The parameters of a diffusers spec: which a family knows, what they are when nothing is said, and what cannot be.

`settings` is what a whole batch shares and what making the picture again needs; `problems` says in sentences what is
wrong. Nothing here loads a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

from generation.engines.base import Control, Spec
from generation.engines.equipment import Equipment
from generation.engines.families import Family

PARAMETERS: Final = ("steps", "guidance", "scheduler", "strength")
RANGES: Final[Mapping[str, tuple[float, float]]] = {"steps": (1, 150), "guidance": (0, 30), "strength": (0.01, 1)}
STRENGTH: Final = 0.6


def kind(spec: Spec) -> str:
    """ "text", "image" or "inpaint": by which pictures the spec carries."""
    if "init" not in spec.images:
        return "text"
    return "inpaint" if "mask" in spec.images else "image"


def defaults(spec: Spec, family: Family) -> dict[str, Any]:
    """What a mask marks is made wholly anew."""
    strength = 1.0 if kind(spec) == "inpaint" else STRENGTH
    return {"steps": family.steps, "guidance": family.guidance, "scheduler": "", "strength": strength}


def settings(spec: Spec, family: Family, equipment: Equipment) -> dict[str, Any]:
    """The parameters that a whole batch shares, defaults filled in; what is not used is left out."""
    found = defaults(spec, family)
    found |= {name: spec.parameters[name] for name in PARAMETERS if name in spec.parameters}
    found["steps"] = int(float(found["steps"]))
    found["guidance"] = float(found["guidance"]) if family.obeys_guidance else family.guidance
    found["strength"] = float(found["strength"])
    if loras := lora_weights(spec, equipment):
        found["loras"] = loras
    return found


def lora_weights(spec: Spec, equipment: Equipment) -> dict[str, float]:
    """The LoRAs that a picture is drawn with, by name. ValueError says what in the parameter cannot be.

    The parameter is {"name": weight}, ["name"], or, as axes and placeholders write it, "name:0.8 + other"; "none" takes
    off those that are on by themselves.
    """
    own = {name: lora.weight for name, lora in equipment.loras.items() if lora.weight}
    given = spec.parameters.get("loras")
    if isinstance(given, str):
        parts = [part.strip() for part in given.replace(",", "+").split("+") if part.strip()]
        if parts == ["none"]:
            return {}
        named = {name.strip(): weight.strip() or None for name, _, weight in (part.partition(":") for part in parts)}
    elif isinstance(given, Mapping):
        named = {str(name): weight for name, weight in given.items()}
    elif isinstance(given, (list, tuple)):
        named = {str(name): None for name in given}
    elif given is None:
        named = {}
    else:
        raise ValueError(f'loras is {given!r}; write it as {{"name": 0.8}}.')
    for name, weight in named.items():
        if name not in equipment.loras:
            there = ", ".join(equipment.loras) or "none"
            raise ValueError(f"There is no LoRA {name!r} at this endpoint; known are {there}.")
        if weight is not None and not (is_number(weight) and -4 <= float(weight) <= 4):
            raise ValueError(f"The LoRA {name!r} has the weight {weight!r}; expected a number from -4 to 4.")
        own[name] = float(weight) if weight is not None else equipment.loras[name].weight or 1.0
    return {name: weight for name, weight in sorted(own.items()) if weight}


def worked_steps(kind: str, settings: Mapping[str, Any], family: Family) -> int:
    """The steps that are worked: from a start image only the last ones, the share `strength` of them."""
    steps = int(settings["steps"])
    if kind == "text":
        return steps
    share = min(steps * float(settings["strength"]), steps)
    return steps - int(steps - share) if family.is_flow else int(share)


def known(equipment: Equipment) -> tuple[str, ...]:
    """The parameters of an endpoint: everybody's, and those of what it has."""
    return (*PARAMETERS, *(("loras",) if equipment.loras else ()))


def obeyed(family: Family, equipment: Equipment) -> frozenset[str]:
    unread = set() if family.obeys_guidance else {"guidance"}
    words = {"prompt", "negative"} if family.obeys_negative else {"prompt"}
    return frozenset({*words, "seed", *known(equipment)} - unread)


def controls(family: Family, equipment: Equipment) -> tuple[Control, ...]:
    """What a reviewer may change, of what the family obeys."""
    every = (
        Control("prompt", "Prompt", "text"),
        Control("negative", "Avoid", "text"),
        Control("seed", "Seed", "seed"),
        Control("guidance", "Guidance", "number", default=family.guidance, minimum=0, maximum=20, step=0.5),
        Control("steps", "Steps", "number", default=family.steps, minimum=1, maximum=150, step=1),
        Control("strength", "Change of the start image", "number", STRENGTH, minimum=0.05, maximum=1, step=0.05),
    )
    return tuple(control for control in every if control.parameter in obeyed(family, equipment))


def problems(spec: Spec, family: Family, equipment: Equipment) -> list[str]:
    """Sentences about what in the spec's size and parameters this endpoint cannot do."""
    taken = known(equipment)
    strange = sorted(set(spec.parameters) - set(taken))
    found = [f"Unknown parameter {name!r}; known are {', '.join(taken)}." for name in strange]
    multiple = family.size_multiple
    if spec.width % multiple or spec.height % multiple:
        found.append(f"{spec.width}×{spec.height}: width and height must be multiples of {multiple}.")
    scheduler = str(spec.parameters.get("scheduler", ""))
    if scheduler and scheduler not in family.schedulers:
        runs_with = ", ".join(family.schedulers)
        found.append(f"Unknown scheduler {scheduler!r}; {family.title} runs with {runs_with}.")
    standard = defaults(spec, family)
    for name, (low, high) in RANGES.items():
        value = spec.parameters.get(name, standard[name])
        if not is_number(value) or not low <= float(value) <= high:
            found.append(f"{name} is {value!r}; expected a number from {low} to {high}.")
    if "mask" in spec.images and "init" not in spec.images:
        found.append("There is a mask, but no picture to repaint: give it the start image too.")
    try:
        lora_weights(spec, equipment)
    except ValueError as error:
        found.append(str(error))
    found += equipment.missing()
    if not found:
        chosen = settings(spec, family, equipment)
        if worked_steps(kind(spec), chosen, family) < 1:
            found.append(
                f"A change of {chosen['strength']:g} in {chosen['steps']} steps leaves no step to work in; "
                f"take at least {ceil(1 / chosen['strength'])} steps."
            )
    return found


def is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
