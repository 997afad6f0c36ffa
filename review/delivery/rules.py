"""The rules of a destination: which images go there, and which of their files.

A file goes there if a rule "send" fits it, or there is none, and no rule "never" fits it. An image goes there if one of
its files does. The order of the rules does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from core.plugin_config import Config, setting

CATEGORY_ATTRIBUTES: Final = ("category", "product_type", "product_category", "google_product_category")
"""The attributes of a feed that may have a product's category; the first that is not empty counts."""
WITH, WITHOUT = "with", "without"
MAX_RULES = 50


@dataclass(frozen=True)
class ImageFacts:
    """The values of an image that rules compare. campaign: its slug. category, disclaimer: "" if it has none."""

    campaign: str
    kind: str
    category: str
    disclaimer: str

    @property
    def has_disclaimer(self) -> bool:
        return bool(self.disclaimer)


class Rule(Config):
    """One rule. A condition that is left out fits every image."""

    effect: Literal["send", "never"] = setting("Effect", default="send")
    campaign: str = setting("Campaign", "Its short name.", default="")
    spec: str = setting("Output spec", "Its short name; the rule is then about these files only.", default="")
    kind: str = setting("Kind", "product, article or concept", default="")
    category: str = setting("Category", "As the feed writes it.", default="")
    disclaimer: str = setting("Disclaimer", "with, without, or its words", default="")

    @property
    def conditions(self) -> dict[str, str | bool]:
        """Return the value that each of these `ImageFacts` must have. The output spec is not among them."""
        names = ("campaign", "kind", "category")
        conditions: dict[str, str | bool] = {name: getattr(self, name) for name in names if getattr(self, name)}
        if self.disclaimer in {WITH, WITHOUT}:
            conditions["has_disclaimer"] = self.disclaimer == WITH
        elif self.disclaimer:
            conditions["disclaimer"] = self.disclaimer
        return conditions

    def as_json(self) -> dict[str, str]:
        return {name: value for name, value in self.model_dump().items() if value}


@dataclass(frozen=True)
class FileRule:
    """The rules as they are for files of one output spec: lists of conditions as of `Rule.conditions`.

    A file goes there if it meets all conditions of one entry of `send`, and of no entry of `never`.
    """

    send: Sequence[Mapping[str, str | bool]]
    never: Sequence[Mapping[str, str | bool]]

    def fits(self, facts: ImageFacts) -> bool:
        return _meets_one(self.send, facts) and not _meets_one(self.never, facts)


@dataclass(frozen=True)
class Rules:
    rules: tuple[Rule, ...] = ()

    @classmethod
    def read(cls, given: Iterable[Mapping[str, Any]]) -> Rules:
        """Return stored rules. Raises ValueError if there are mistakes in them."""
        return cls(tuple(Rule.read(rule) for rule in given))

    @property
    def named_specs(self) -> list[str]:
        """Return the output specs that rules name; files of all others are treated alike."""
        return sorted({rule.spec for rule in self.rules if rule.spec})

    def for_spec(self, spec: str) -> FileRule:
        """Return the rules for the files of one output spec; "" stands for all that no rule names."""
        fitting = [rule for rule in self.rules if rule.spec in {"", spec}]
        has_send = any(rule.effect == "send" for rule in self.rules)
        send = [rule.conditions for rule in fitting if rule.effect == "send"] if has_send else [{}]
        return FileRule(send, [rule.conditions for rule in fitting if rule.effect == "never"])

    def keeps_away(self, disclaimer: str) -> bool:
        """Return whether no image with this disclaimer goes there, whatever else is known of the image."""
        about = [rule for rule in self.rules if not (rule.spec or rule.campaign or rule.kind or rule.category)]
        if any(rule.effect == "never" and rule.disclaimer in {WITH, disclaimer} for rule in about):
            return True
        sends = [rule for rule in self.rules if rule.effect == "send"]
        return bool(sends) and all(rule.disclaimer not in {"", WITH, disclaimer} for rule in sends)

    def sends_file(self, facts: ImageFacts, spec: str) -> bool:
        return self.for_spec(spec).fits(facts)

    def sends(self, facts: ImageFacts, specs: Iterable[str]) -> bool:
        """Return whether an image with files of these output specs goes there."""
        return any(self.sends_file(facts, spec) for spec in list(specs) or [""])


def find_mistakes(given: Any) -> Iterator[tuple[str, str]]:
    """Yield (place, sentence) for every mistake in rules; a place is such as "2/campaign", the rules counted from 0."""
    if not isinstance(given, list | tuple):
        yield "", 'Give a list of rules, such as [{"effect": "send", "campaign": "autumn"}].'
        return
    if len(given) > MAX_RULES:
        yield "", f"Give at most {MAX_RULES} rules; these are {len(given)}."
        return
    for index, rule in enumerate(given):
        if not isinstance(rule, Mapping):
            yield str(index), 'Give an object, such as {"effect": "send", "campaign": "autumn"}.'
            continue
        mistakes = list(Rule.problems(rule))
        for name, sentence in mistakes:
            yield f"{index}/{name}", sentence
        if not mistakes and not rule.keys() - {"effect"}:
            yield str(index), "Say which images the rule is about; without rules every image is sent."


def find_category(attributes: Mapping[str, Any]) -> str:
    """Return the category in the attributes of a feed; "" if there is none."""
    return next((str(attributes[name]) for name in CATEGORY_ATTRIBUTES if attributes.get(name)), "")


def _meets_one(entries: Iterable[Mapping[str, str | bool]], facts: ImageFacts) -> bool:
    return any(all(getattr(facts, name) == value for name, value in conditions.items()) for conditions in entries)
