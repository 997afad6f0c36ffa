"""Typed configurations of plug-ins: a pydantic model whose fields are settings, with the words that people read.

Forms (config_fields.py), services, the documentation and the plug-ins read the same model, which imports no plug-in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Final, Literal, Self, TypedDict, Union, Unpack, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.fields import FieldInfo


def _drop_empty_fraction(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_drop_empty_fraction)]
"""A number without a fraction, also written as 5.0."""
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""A needed text without space around it; a blank one is missing."""


class Kind(StrEnum):
    TEXT = "text"
    LONG_TEXT = "long text"  # a text of several lines
    NUMBER = "number"
    WHOLE = "whole"  # a number without a fraction
    SWITCH = "switch"  # true or false
    CHOICE = "choice"
    LINES = "lines"  # a list of texts
    JSON = "json"  # an object or a list
    ANY = "any"  # JSON, or a word


class Source(StrEnum):
    """The writer of a setting."""

    FORM = "form"  # a person, in a field of the plug-in's form
    JSON = "json"  # a person, as JSON; it has no field
    PAGE = "page"  # a page of its own
    PROGRAM = "program"  # the program that builds the plug-in; it is never stored


_KINDS: Final = {str: Kind.TEXT, float: Kind.NUMBER, int: Kind.WHOLE, bool: Kind.SWITCH, list[str]: Kind.LINES}


class Remarks(TypedDict, total=False):
    """The optional arguments of `setting`. Those that are left out have the defaults of `Setting`."""

    default_text: str  # a description of the default, if its value does not say it
    example: str
    step: float  # by which people change a number
    unit: str
    rows: int  # of a text with several lines: how many the form shows at least
    is_advanced: bool  # most never need it
    is_operator_only: bool  # only the operator may set it, because it reaches the server's files or network
    source: Source


def setting(
    label: str,
    hint: str = "",
    *,
    default: Any = None,
    minimum: float | None = None,
    maximum: float | None = None,
    needed: str = "",
    name: str | None = None,
    **remarks: Unpack[Remarks],
) -> Any:
    """Declare a field of a `Config`. minimum, maximum: of numbers, both included. name: in JSON, if it cannot be the
    field's. needed: the sentence if it is missing; without one the setting may be left out.
    """
    given: Any = ... if needed else default
    bounds = {name: bound for name, bound in (("minimum", minimum), ("maximum", maximum)) if bound is not None}
    extra: Any = {"needed": needed, **bounds, **remarks}
    return Field(given, alias=name, title=label, description=hint, ge=minimum, le=maximum, json_schema_extra=extra)


@dataclass(frozen=True)
class Setting:
    """One setting as forms and documents show it, read from a field of a `Config`."""

    name: str
    label: str
    kind: Kind
    hint: str = ""
    default: Any = None
    default_text: str = ""
    example: str = ""
    minimum: float = 0
    maximum: float = 86_400
    step: float = 1
    unit: str = ""
    choices: tuple[str, ...] = ()
    rows: int = 1
    needed: str = ""
    is_advanced: bool = False
    is_operator_only: bool = False
    source: Source = Source.FORM

    @classmethod
    def from_field(cls, name: str, field: FieldInfo) -> Setting:
        words: dict[str, Any] = dict(field.json_schema_extra)  # type: ignore[arg-type]
        kind, choices = _kind_of(field.annotation)
        if kind == Kind.TEXT and words.get("rows", 1) > 1:
            kind = Kind.LONG_TEXT
        default = None if field.is_required() else field.default
        return cls(
            name=field.alias or name,
            label=field.title or name,
            kind=kind,
            hint=field.description or "",
            default=default,
            default_text=words.pop("default_text", "") or _describe(default),
            choices=choices,
            **words,
        )

    @property
    def expectation(self) -> str:
        """Return a sentence that says what a value must be."""
        match self.kind:
            case Kind.TEXT | Kind.LONG_TEXT:
                return "Write a text."
            case Kind.NUMBER | Kind.WHOLE:
                noun = "whole number" if self.kind == Kind.WHOLE else "number"
                return f"Give a {noun} from {self.minimum:.15g} to {self.maximum:.15g}."
            case Kind.SWITCH:
                return "It is true or false."
            case Kind.CHOICE:
                return f"It is one of {', '.join(self.choices)}."
            case Kind.LINES:
                return 'Write a list of texts, such as ["one", "two"].'
        return f"Write JSON, such as {self.example}." if self.example else "Write JSON."


class Config(BaseModel):
    """The base of all configurations. Fields are declared with `setting`; an unset one has its default."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False, protected_namespaces=()
    )

    @classmethod
    def model_of(cls, config: Mapping[str, Any]) -> type[Self]:
        """Return the model for this config: another one if some settings depend on the values of others."""
        return cls

    @classmethod
    @cache
    def settings(cls) -> dict[str, Setting]:
        """Return the settings by name, in the order of the form."""
        listed = (Setting.from_field(name, field) for name, field in cls.model_fields.items())
        return {setting.name: setting for setting in listed}

    @classmethod
    def names_from(cls, source: Source) -> frozenset[str]:
        return frozenset(name for name, setting in cls.settings().items() if setting.source == source)

    @classmethod
    def form_settings(cls) -> list[Setting]:
        return [setting for setting in cls.settings().values() if setting.source == Source.FORM]

    @classmethod
    def problems(cls, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield (setting, sentence) for every setting that is not known, invalid, or missing."""
        model = cls.model_of(config)
        settings = {name: setting for name, setting in model.settings().items() if setting.source != Source.PROGRAM}
        given = {name: value for name, value in config.items() if name in settings}
        if model.model_config["extra"] == "forbid":
            for name in config:
                if name not in settings:
                    yield name, _unknown(name, list(settings))
        for name, value in config.items():
            if name in settings and value in (None, "") and settings[name].source == Source.FORM:
                del given[name]
                if not settings[name].needed:
                    yield name, "Leave it out, and what is usual counts."
        try:
            model.model_validate(given, strict=True)
        except ValidationError as refusal:
            yield from model._sentences(refusal).items()

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """Return the config, without stored settings that are empty or unknown. Raises ValueError with sentences."""
        model = cls.model_of(config)
        settings, is_open = model.settings(), model.model_config["extra"] != "forbid"
        given = {
            name: value for name, value in config.items() if value not in (None, "") and (is_open or name in settings)
        }
        try:
            return model.model_validate(given)
        except ValidationError as refusal:
            sentences = model._sentences(refusal)
        raise ValueError(" ".join(_with_name(name, sentence) for name, sentence in sentences.items()))

    @classmethod
    def _sentences(cls, refusal: ValidationError) -> dict[str, str]:
        """Return sentence by setting; the first one of each."""
        settings, sentences = cls.settings(), dict[str, str]()
        for error in refusal.errors(include_url=False, include_input=False):
            name = str(error["loc"][0]) if error["loc"] else ""
            if error["type"] == "value_error":
                sentence = str(error["ctx"]["error"])
            else:
                is_missing = error["type"] in ("missing", "string_too_short")
                sentence = settings[name].needed if is_missing else settings[name].expectation
            sentences.setdefault(name, sentence)
        return sentences


class OpenConfig(Config):
    """A configuration without declared settings: plain JSON, which the plug-in checks itself."""

    model_config = ConfigDict(extra="allow")


def _kind_of(annotation: Any) -> tuple[Kind, tuple[str, ...]]:
    """Return the kind of an annotation such as `str | None`, and its choices."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        inner = [part for part in get_args(annotation) if part is not type(None)]
        return _kind_of(inner[0]) if len(inner) == 1 else (Kind.JSON, ())
    if origin is Annotated:
        return _kind_of(get_args(annotation)[0])
    if origin is Literal:
        return Kind.CHOICE, get_args(annotation)
    if annotation is Any:
        return Kind.ANY, ()
    return _KINDS.get(annotation, Kind.JSON), ()


def _describe(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:.15g}" if isinstance(default, int | float) else default if isinstance(default, str) else ""


def _unknown(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(sorted(names))}."
    return f"There is no setting {name!r}. {hint}"


def _with_name(name: str, sentence: str) -> str:
    return sentence if not name or f'"{name}"' in sentence else f'"{name}": {sentence}'
