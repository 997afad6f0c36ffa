"""Turning a spec into the input of one model: which of our names the model knows under which of its own.

Every model on Replicate names its inputs as it likes ("prompt", "guidance_scale", "image"); an endpoint's config says
what they mean. Nothing here touches the network.
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

NAMES: Final = ("prompt", "negative", "seed", "width", "height", "aspect_ratio", "images", "parameters", "fixed")
PLAIN: Final = {"prompt": "prompt", "seed": "seed", "width": "width", "height": "height"}
"""What is taken for granted of a model when an endpoint says nothing."""
GREATEST_SEED: Final = 2**31 - 1
MOST_SIDE: Final = 2048
_RATIO = re.compile(r"(\d+(?:\.\d+)?)\s*[:x/]\s*(\d+(?:\.\d+)?)")
_LABELS = {"prompt": "Prompt", "negative": "Avoid", "seed": "Seed"}


@dataclass(frozen=True)
class Picture:
    """An input that takes a picture. is_list: the model wants a list of them. is_needed: it does not work without."""

    input: str
    is_list: bool = False
    is_needed: bool = False


@dataclass(frozen=True)
class Parameter:
    """A parameter of ours that the model has: a choice where `choices` are given, by what we call each and what the
    model does, a number where a bound is, else text. default None leaves it to the model."""

    name: str
    input: str
    label: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        if self.choices:
            return "choice"
        return "text" if self.minimum is None and self.maximum is None else "number"

    def value(self, given: Any) -> Any:
        """Return what is sent for it: a whole number stays one, because models check."""
        if self.choices:
            return self.choices[str(given)]
        if self.kind == "text":
            return str(given)
        number = float(given)
        return int(number) if number.is_integer() and isinstance(self.default, int | None) else number

    def problem(self, given: Any) -> str:
        """A sentence if the model would refuse it."""
        if self.choices:
            known = ", ".join(self.choices)
            return "" if str(given) in self.choices else f"{self.name} is {given!r}; the model knows {known}."
        if self.kind == "text":
            return ""
        try:
            number = float(given)
        except (TypeError, ValueError):
            return f"{self.name} is {given!r}; expected a number."
        if self.minimum is not None and number < self.minimum:
            return f"{self.name} is {number:g}; the least is {self.minimum:g}."
        if self.maximum is not None and number > self.maximum:
            return f"{self.name} is {number:g}; the most is {self.maximum:g}."
        return ""


@dataclass(frozen=True)
class Inputs:
    """One model's inputs. texts: "prompt", "negative", "width", "height" to the model's names. ratios: the aspect
    ratios that it can make, by its own spelling, in `ratio_input`. fixed: sent as they are."""

    texts: Mapping[str, str]
    seed: str = ""
    greatest_seed: int = GREATEST_SEED
    ratio_input: str = ""
    ratios: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    max_side: int = MOST_SIDE
    multiple: int = 8

    @property
    def names(self) -> set[str]:
        """Every input of the model that is ever sent."""
        found = {*self.texts.values(), self.seed, self.ratio_input, *self.fixed} - {""}
        found |= {picture.input for picture in self.pictures.values()}
        return found | {parameter.input for parameter in self.parameters.values()}

    @property
    def has_size(self) -> bool:
        return "width" in self.texts and "height" in self.texts

    def suffix(self) -> str:
        """Return the end of a revision: "+" and a digest of the settings that decide pixels, "" without any."""
        if self == read({}):
            return ""
        parameters = {
            name: [one.input, one.default, dict(one.choices)] for name, one in sorted(self.parameters.items())
        }
        pictures = {role: [one.input, one.is_list] for role, one in sorted(self.pictures.items())}
        others = [self.texts, self.seed, self.greatest_seed, self.ratio_input, self.ratios, self.fixed]
        sizes = [self.max_side, self.multiple]
        plain = json.dumps([parameters, pictures, *others, *sizes], sort_keys=True, default=str)
        return f"+{hashlib.sha256(plain.encode()).hexdigest()[:12]}"

    def capabilities(self) -> Capabilities:
        obeys = {name for name in ("prompt", "negative") if name in self.texts} | set(self.parameters)
        obeys |= {"seed"} if self.seed else set()
        kinds = {"prompt": "text", "negative": "text", "seed": "seed"}
        controls = [Control(name, _LABELS[name], kind) for name, kind in kinds.items() if name in obeys]
        controls += [
            Control(
                one.name,
                one.label,
                one.kind,
                default=one.default,
                minimum=one.minimum,
                maximum=one.maximum,
                step=one.step,
                choices=tuple(one.choices),
            )
            for one in self.parameters.values()
        ]
        return Capabilities(
            is_remote=True,
            obeys=frozenset(obeys),
            controls=tuple(controls),
            needs_images=frozenset(role for role, one in self.pictures.items() if one.is_needed),
            optional_images=frozenset(role for role, one in self.pictures.items() if not one.is_needed),
            obeys_prompt="prompt" in self.texts,
            max_width=self.max_side,
            max_height=self.max_side,
            size_multiple=self.multiple if self.has_size else 1,
        )

    def problems(self, spec: Spec) -> list[str]:
        """Sentences about what in the spec the model cannot do."""
        known = ", ".join(self.parameters) or "none"
        found = [
            f"Unknown parameter {name!r}; this endpoint knows {known}."
            for name in sorted(set(spec.parameters) - set(self.parameters))
        ]
        found += [
            problem
            for name, one in self.parameters.items()
            if name in spec.parameters and (problem := one.problem(spec.parameters[name]))
        ]
        if self.texts.get("prompt") and not spec.prompt.strip():
            found.append("There is no prompt, and the model makes nothing without one.")
        found += [f"The model takes no picture as {role!r}." for role in sorted(set(spec.images) - set(self.pictures))]
        found += [
            f"The model needs a picture as {role!r}."
            for role, one in self.pictures.items()
            if one.is_needed and role not in spec.images
        ]
        if self.has_size and max(spec.width, spec.height) > self.max_side:
            found.append(f"{spec.width}×{spec.height}: the longest side that the model makes is {self.max_side} px.")
        return found

    def plain(self, spec: Spec) -> dict[str, Any]:
        """The model's input without its pictures: what equal specs have in common, the seed among it."""
        made: dict[str, Any] = {**self.fixed}
        if "prompt" in self.texts:
            made[self.texts["prompt"]] = spec.prompt
        if "negative" in self.texts and spec.negative:
            made[self.texts["negative"]] = spec.negative
        if self.seed:
            made[self.seed] = self.seed_of(spec)
        if self.has_size:
            made[self.texts["width"]], made[self.texts["height"]] = self.size(spec)
        if self.ratio_input:
            made[self.ratio_input] = self.ratio(spec)
        for name, one in self.parameters.items():
            given = spec.parameters.get(name, one.default)
            if given is not None:
                made[one.input] = one.value(given)
        return made

    def seed_of(self, spec: Spec) -> int:
        """Ours has 63 bits; most models take 31 or 32."""
        return spec.seed % (self.greatest_seed + 1)

    def size(self, spec: Spec) -> tuple[int, int]:
        """The nearest (width, height) that the model makes, in pixels."""
        most = self.max_side // self.multiple

        def nearest(side: int) -> int:
            return min(max(round(side / self.multiple), 1), most) * self.multiple

        return nearest(spec.width), nearest(spec.height)

    def ratio(self, spec: Spec) -> str:
        """The aspect ratio, as the model spells it, whose shape is nearest to the spec's."""
        wanted = log(spec.width / spec.height)
        return min(self.ratios, key=lambda one: abs(log(self.ratios[one]) - wanted))

    def asked(self, sent: Any) -> dict[str, Any]:
        """Of an input that was sent, which size or shape it asked for: {"asked_width": 1024, "asked_height": 768}."""
        names = {"width": self.texts.get("width"), "height": self.texts.get("height"), "ratio": self.ratio_input}
        given = sent if isinstance(sent, Mapping) else {}
        return {f"asked_{ours}": given[theirs] for ours, theirs in names.items() if theirs and theirs in given}


def read(config: Mapping[str, Any]) -> Inputs:
    """An endpoint's "inputs", "max_side" and "size_multiple". ValueError with a sentence where they make no sense."""
    given = config.get("inputs", PLAIN)
    if not isinstance(given, Mapping):
        raise ValueError('"inputs" maps our names to the model\'s, such as {"prompt": "prompt", "seed": "seed"}.')
    unknown = sorted(set(given) - set(NAMES))
    if unknown:
        raise ValueError(f'"inputs" names {", ".join(unknown)}; known are {", ".join(NAMES)}.')
    if ("width" in given) != ("height" in given):
        raise ValueError('"inputs" names only one of width and height; a model takes both or an aspect_ratio.')
    max_side, multiple = int(config.get("max_side") or MOST_SIDE), int(config.get("size_multiple") or 8)
    if not 1 <= multiple <= max_side:
        raise ValueError(f'"size_multiple" is {multiple} and "max_side" {max_side}: no size is left.')
    seed, ratio = _named(given.get("seed", ""), "seed"), _named(given.get("aspect_ratio", ""), "aspect_ratio")
    return Inputs(
        texts={name: str(given[name]) for name in ("prompt", "negative", "width", "height") if given.get(name)},
        seed=seed["input"],
        greatest_seed=max(1, int(seed.get("maximum", GREATEST_SEED))),
        ratio_input=ratio["input"],
        ratios=_ratios(ratio),
        pictures={role: _picture(role, one) for role, one in _mapping(given, "images").items()},
        parameters={name: _parameter(name, one) for name, one in _mapping(given, "parameters").items()},
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
    """ "seed" or {"input": "seed", …} as the latter."""
    if isinstance(value, str):
        return {"input": value}
    if isinstance(value, Mapping) and isinstance(value.get("input"), str):
        return dict(value)
    raise ValueError(f'"inputs.{where}" is {value!r}; expected the model\'s name for it or {{"input": name}}.')


def _ratios(ratio: Mapping[str, Any]) -> dict[str, float]:
    if not ratio["input"]:
        return {}
    choices = {str(one): _RATIO.fullmatch(str(one)) for one in ratio.get("choices", ())}
    found = {one: float(match[1]) / float(match[2]) for one, match in choices.items() if match and float(match[2])}
    if not found or len(found) < len(choices) or not all(found.values()):
        raise ValueError('"inputs.aspect_ratio" needs the "choices" of the model, such as ["1:1", "4:5", "16:9"].')
    return found


def _picture(role: str, value: Any) -> Picture:
    named = _named(value, f"images.{role}")
    return Picture(named["input"], bool(named.get("is_list")), bool(named.get("is_needed")))


def _parameter(name: str, value: Any) -> Parameter:
    named = _named(value, f"parameters.{name}")
    choices = named.get("choices", ())
    return Parameter(
        name=name,
        input=named["input"],
        label=str(named.get("label") or name.replace("_", " ").capitalize()),
        default=named.get("default"),
        minimum=_number(named, "minimum"),
        maximum=_number(named, "maximum"),
        step=_number(named, "step"),
        choices={str(one): choices[one] if isinstance(choices, Mapping) else one for one in choices},
    )


def _number(named: Mapping[str, Any], bound: str) -> float | None:
    return None if named.get(bound) is None else float(named[bound])
