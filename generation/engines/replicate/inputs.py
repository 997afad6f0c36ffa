"""Turn a spec into the input of one model: the mapping from our names to the names of the model.

Every model on Replicate has its own input names ("prompt", "guidance_scale", "image"); an endpoint's config says what
they mean. Nothing here touches the network.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log
from typing import Any, Final

from generation.engines.base import Capabilities, Control, Spec
from generation.engines.replicate.config import Config

KNOWN_INPUTS: Final = ("prompt", "negative", "seed", "width", "height", "aspect_ratio", "images", "parameters", "fixed")
DEFAULT_INPUTS: Final = {"prompt": "prompt", "seed": "seed", "width": "width", "height": "height"}
"""The mapping that is assumed if an endpoint gives none."""
MAX_SEED: Final = 2**31 - 1
MAX_SIDE: Final = 2048
_RATIO = re.compile(r"(\d+(?:\.\d+)?)\s*[:x/]\s*(\d+(?:\.\d+)?)")
_LABELS = {"prompt": "Prompt", "negative": "Negative prompt", "seed": "Seed"}


@dataclass(frozen=True)
class Image:
    """An input that takes an image. is_list: it takes a list of them. is_needed: the model requires it."""

    input: str
    is_list: bool = False
    is_needed: bool = False


@dataclass(frozen=True)
class Parameter:
    """A parameter of ours that the model has. control: its default None leaves it to the model. choices: the model's
    value by ours."""

    input: str
    control: Control
    choices: Mapping[str, Any]

    def value(self, given: Any) -> Any:
        """Return the value to send. A whole number stays an integer, because models check the type."""
        if self.choices:
            return self.choices[str(given)]
        if self.control.kind == "text":
            return str(given)
        number = float(given)
        return int(number) if number.is_integer() and isinstance(self.control.default, int | None) else number

    def problem(self, given: Any) -> str:
        """Return a sentence if the model would refuse the value, else ""."""
        name, least, most = self.control.parameter, self.control.minimum, self.control.maximum
        if self.choices:
            choices = ", ".join(self.choices)
            return "" if str(given) in self.choices else f"{name} is {given!r}; the model knows {choices}."
        if self.control.kind == "text":
            return ""
        try:
            number = float(given)
        except (TypeError, ValueError):
            return f"{name} is {given!r}; expected a number."
        if least is not None and number < least:
            return f"{name} is {number:g}; the least is {least:g}."
        if most is not None and number > most:
            return f"{name} is {number:g}; the most is {most:g}."
        return ""


@dataclass(frozen=True)
class Inputs:
    """One model's inputs. texts: "prompt", "negative", "width", "height" to the model's names. ratios: the aspect
    ratios that it can make, by its own spelling, in `ratio_input`. fixed: values that are always sent."""

    texts: Mapping[str, str]
    seed: str = ""
    greatest_seed: int = MAX_SEED
    ratio_input: str = ""
    ratios: Mapping[str, float] = field(default_factory=dict)
    images: Mapping[str, Image] = field(default_factory=dict)
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    max_side: int = MAX_SIDE
    multiple: int = 8

    @property
    def names(self) -> set[str]:
        """All inputs of the model that may be sent."""
        names = {*self.texts.values(), self.seed, self.ratio_input, *self.fixed} - {""}
        names |= {image.input for image in self.images.values()}
        return names | {parameter.input for parameter in self.parameters.values()}

    @property
    def has_size(self) -> bool:
        return "width" in self.texts and "height" in self.texts

    def revision_suffix(self) -> str:
        """Return the end of a revision: "+" and a digest of the settings that decide pixels, "" without any."""
        if self == read(Config()):
            return ""
        parameters = {
            name: [parameter.input, parameter.control.default, dict(parameter.choices)]
            for name, parameter in sorted(self.parameters.items())
        }
        images = {role: [image.input, image.is_list] for role, image in sorted(self.images.items())}
        others = [self.texts, self.seed, self.greatest_seed, self.ratio_input, self.ratios, self.fixed]
        plain = json.dumps([parameters, images, *others, self.max_side, self.multiple], sort_keys=True, default=str)
        return f"+{hashlib.sha256(plain.encode()).hexdigest()[:12]}"

    def capabilities(self) -> Capabilities:
        obeys = {name for name in ("prompt", "negative") if name in self.texts} | set(self.parameters)
        obeys |= {"seed"} if self.seed else set()
        kinds = {"prompt": "text", "negative": "text", "seed": "seed"}
        controls = [Control(name, _LABELS[name], kind) for name, kind in kinds.items() if name in obeys]
        controls += [parameter.control for parameter in self.parameters.values()]
        return Capabilities(
            is_remote=True,
            obeys=frozenset(obeys),
            controls=tuple(controls),
            needs_images=frozenset(role for role, image in self.images.items() if image.is_needed),
            optional_images=frozenset(role for role, image in self.images.items() if not image.is_needed),
            obeys_prompt="prompt" in self.texts,
            max_width=self.max_side,
            max_height=self.max_side,
            size_multiple=self.multiple if self.has_size else 1,
        )

    def problems(self, spec: Spec) -> list[str]:
        """Return sentences about what the model cannot do in the spec."""
        names, unknown = ", ".join(self.parameters) or "none", sorted(set(spec.parameters) - set(self.parameters))
        problems = [f"Unknown parameter {name!r}; this endpoint knows {names}." for name in unknown]
        for name, parameter in self.parameters.items():
            if name in spec.parameters and (problem := parameter.problem(spec.parameters[name])):
                problems.append(problem)
        if self.texts.get("prompt") and not spec.prompt.strip():
            problems.append("There is no prompt, and the model makes nothing without one.")
        problems += [f"The model takes no image as {role!r}." for role in sorted(set(spec.images) - set(self.images))]
        missing = [role for role, image in self.images.items() if image.is_needed and role not in spec.images]
        problems += [f"The model needs an image as {role!r}." for role in missing]
        if self.has_size and max(spec.width, spec.height) > self.max_side:
            problems.append(f"{spec.width}×{spec.height}: the longest side that the model makes is {self.max_side} px.")
        return problems

    def model_input(self, spec: Spec) -> dict[str, Any]:
        """Return the model's input without its images. It is the same for equal specs, and contains the seed."""
        made: dict[str, Any] = {**self.fixed}
        if "prompt" in self.texts:
            made[self.texts["prompt"]] = spec.prompt
        if "negative" in self.texts and spec.negative:
            made[self.texts["negative"]] = spec.negative
        if self.seed:
            made[self.seed] = self.seed_of(spec)
        if self.has_size:
            made[self.texts["width"]], made[self.texts["height"]] = self.size(spec)
        if self.ratio_input:  # the nearest to the spec's, in the model's spelling
            target = log(spec.width / spec.height)
            made[self.ratio_input] = min(self.ratios, key=lambda choice: abs(log(self.ratios[choice]) - target))
        for name, parameter in self.parameters.items():
            if (given := spec.parameters.get(name, parameter.control.default)) is not None:
                made[parameter.input] = parameter.value(given)
        return made

    def seed_of(self, spec: Spec) -> int:
        """Return the seed in the model's range: ours has 63 bits; most models take 31 or 32."""
        return spec.seed % (self.greatest_seed + 1)

    def size(self, spec: Spec) -> tuple[int, int]:
        """Return the nearest (width, height) that the model makes, in pixels."""
        most = self.max_side // self.multiple
        width, height = (min(max(round(side / self.multiple), 1), most) for side in (spec.width, spec.height))
        return width * self.multiple, height * self.multiple

    def requested_size(self, sent: Any) -> dict[str, Any]:
        """Return the size or shape that a sent input asked for: {"asked_width": 1024, "asked_height": 768}."""
        names = {"width": self.texts.get("width"), "height": self.texts.get("height"), "ratio": self.ratio_input}
        given = sent if isinstance(sent, Mapping) else {}
        return {f"asked_{ours}": given[theirs] for ours, theirs in names.items() if theirs and theirs in given}


def read(config: Config) -> Inputs:
    """Read an endpoint's "inputs", "max_side" and "size_multiple". Raises ValueError with a sentence if invalid."""
    given: Mapping[str, Any] = DEFAULT_INPUTS if config.inputs is None else config.inputs
    if unknown := sorted(set(given) - set(KNOWN_INPUTS)):
        raise ValueError(f'"inputs" names {", ".join(unknown)}; known are {", ".join(KNOWN_INPUTS)}.')
    if ("width" in given) != ("height" in given):
        raise ValueError('"inputs" names only one of width and height; a model takes both or an aspect_ratio.')
    max_side, multiple = config.max_side, config.size_multiple
    if not 1 <= multiple <= max_side:
        raise ValueError(f'"size_multiple" is {multiple} and "max_side" {max_side}: no size is left.')
    seed, ratio = _named(given.get("seed", ""), "seed"), _named(given.get("aspect_ratio", ""), "aspect_ratio")
    return Inputs(
        texts={name: str(given[name]) for name in ("prompt", "negative", "width", "height") if given.get(name)},
        seed=seed["input"],
        greatest_seed=max(1, int(seed.get("maximum", MAX_SEED))),
        ratio_input=ratio["input"],
        ratios=_ratios(ratio),
        images={role: _image(role, entry) for role, entry in _mapping(given, "images").items()},
        parameters={name: _parameter(name, entry) for name, entry in _mapping(given, "parameters").items()},
        fixed=dict(_mapping(given, "fixed")),
        max_side=max_side,
        multiple=multiple,
    )


def _mapping(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = given.get(name, {})
    if not isinstance(value, Mapping):
        raise ValueError(f'"inputs.{name}" is {value!r}; expected a mapping.')
    return value


def _named(value: Any, where: str) -> dict[str, Any]:
    """Return {"input": "seed", …} for "seed" or for that form itself."""
    if isinstance(value, str):
        return {"input": value}
    if isinstance(value, Mapping) and isinstance(value.get("input"), str):
        return dict(value)
    raise ValueError(f'"inputs.{where}" is {value!r}; expected the model\'s name for it or {{"input": name}}.')


def _ratios(ratio: Mapping[str, Any]) -> dict[str, float]:
    if not ratio["input"]:
        return {}
    matches = [_RATIO.fullmatch(str(choice)) for choice in ratio.get("choices", ())]
    if not matches or not all(match and float(match[1]) and float(match[2]) for match in matches):
        raise ValueError('"inputs.aspect_ratio" needs the "choices" of the model, such as ["1:1", "4:5", "16:9"].')
    return {match[0]: float(match[1]) / float(match[2]) for match in matches if match}


def _image(role: str, value: Any) -> Image:
    named = _named(value, f"images.{role}")
    return Image(named["input"], bool(named.get("is_list")), bool(named.get("is_needed")))


def _parameter(name: str, value: Any) -> Parameter:
    named = _named(value, f"parameters.{name}")
    given = named.get("choices", ())
    choices = {str(choice): given[choice] if isinstance(given, Mapping) else choice for choice in given}
    bounds = ("minimum", "maximum", "step")
    least, most, step = (None if named.get(bound) is None else float(named[bound]) for bound in bounds)
    kind = "choice" if choices else "text" if least is None and most is None else "number"
    label = str(named.get("label") or name.replace("_", " ").capitalize())
    control = Control(name, label, kind, named.get("default"), least, most, step, tuple(choices))
    return Parameter(named["input"], control, choices)
