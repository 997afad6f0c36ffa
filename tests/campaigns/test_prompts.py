"""Tests of prompt texts, axes, seeds and wording rules (pure functions)."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from math import prod
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from campaigns import prompts
from campaigns.prompts import AxisError, MissingValues, PromptSource, PromptSyntaxError

NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,11}", fullmatch=True)
TEXTS = st.text(max_size=40)
FILLED = st.text(min_size=1, max_size=20).filter(lambda text: bool(text.strip()))


@dataclass
class Guide:
    required_wording: list[str] = field(default_factory=list)
    approved_wording: list[str] = field(default_factory=list)
    banned_wording: list[str] = field(default_factory=list)


def escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def test_values_fill_placeholders_and_their_places_are_kept() -> None:
    rendered = prompts.render(
        PromptSource(text="A {colour} {name|thing} on {surface|white paper}", negative="no {colour} text"),
        {"colour": "sage", "name": "mug"},
    )
    assert rendered.text == "A sage mug on white paper"
    assert rendered.negative == "no sage text"
    assert [(span.name, rendered.text[span.start : span.end], span.is_default) for span in rendered.spans] == [
        ("colour", "sage", False),
        ("name", "mug", False),
        ("surface", "white paper", True),
    ]


def test_a_style_is_appended_after_one_comma() -> None:
    styled = PromptSource(text="a mug, ", style="soft window light", style_negative="harsh shadow")
    rendered = prompts.render(styled, {})
    assert rendered.text == "a mug, soft window light"
    assert rendered.negative == "harsh shadow"


def test_a_parameter_that_is_one_placeholder_keeps_the_type_of_its_value() -> None:
    source = PromptSource(
        text="",
        parameters={
            "fill": "{fill}",
            "backdrop": "{backdrop|white}",
            "note": "{fill} of all",
            "deep": [{"a": "{fill}"}],
        },
    )
    assert prompts.render(source, {"fill": 0.8}).parameters == {
        "fill": 0.8,
        "backdrop": "white",
        "note": "0.8 of all",
        "deep": [{"a": 0.8}],
    }


def test_missing_names_are_listed_once_and_defaults_are_not_missing() -> None:
    source = PromptSource(text="{a} {b|x} {a}", negative="{c}", parameters={"p": "{d}"})
    assert prompts.find_missing_names(source, {"c": "  "}) == ["a", "c", "d"]
    with pytest.raises(MissingValues) as refusal:
        prompts.render(source, {})
    assert refusal.value.names == ["a", "c", "d"]


@pytest.mark.parametrize(
    ("text", "position"),
    [("ab {cd", 3), ("ab } cd", 3), ("{a{b}}", 2), ("x {}", 2), ("x { |d}", 2), ("{9lives}", 1), ("{a,b}", 1)],
)
def test_a_syntax_error_names_its_place(text: str, position: int) -> None:
    with pytest.raises(PromptSyntaxError) as refusal:
        prompts.parse(text)
    assert refusal.value.position == position


def test_names_from_feeds_may_hold_spaces_and_any_letters() -> None:
    assert (
        prompts.render(PromptSource("{Größe in cm} {farbe-2}"), {"Größe in cm": "12", "farbe-2": "blau"}).text
        == "12 blau"
    )


@given(TEXTS)
def test_escaped_text_is_rendered_unchanged(text: str) -> None:
    assert prompts.render(PromptSource(escaped(text)), {}).text == text


@given(TEXTS)
def test_any_text_parses_or_names_a_place_inside_it(text: str) -> None:
    place = 0
    try:
        prompts.parse(text)
    except PromptSyntaxError as error:
        place = error.position
    assert 0 <= place <= max(0, len(text) - 1)


@given(st.lists(st.tuples(TEXTS, NAMES), min_size=1, max_size=5), st.dictionaries(NAMES, FILLED), FILLED)
def test_spans_always_point_at_their_values(parts: list[tuple[str, str]], values: dict[str, str], default: str) -> None:
    assume("}" not in default and "{" not in default)
    text = "".join(f"{escaped(literal)}{{{name}|{default}}}" for literal, name in parts)
    rendered = prompts.render(PromptSource(text, style="soft light"), values)
    assert len(rendered.spans) == len(parts)
    for span, (_, name) in zip(rendered.spans, parts, strict=True):
        expected = values.get(name, default).strip()
        assert span.value == expected
        assert rendered.text[span.start : span.end] == expected


@given(NAMES, FILLED)
def test_braces_inside_values_are_text(name: str, value: str) -> None:
    wrapped = f"{{{value}}}"
    assert prompts.render(PromptSource(f"{{{name}}}"), {name: wrapped}).text == wrapped


@given(st.dictionaries(NAMES, st.lists(st.text(max_size=5), min_size=1, max_size=4, unique=True), max_size=4))
def test_axes_give_every_combination_once(axes: dict[str, list[str]]) -> None:
    variants = prompts.expand_axes(axes)
    assert len(variants) == prod(len(values) for values in axes.values())
    assert len({prompts.values_key(variant) for variant in variants}) == len(variants)
    assert all(variant[name] in axes[name] for variant in variants for name in axes)


def test_without_axes_there_is_one_variant() -> None:
    assert prompts.expand_axes({}) == [{}]


@pytest.mark.parametrize(
    "axes", [{"a": []}, {"a": "white"}, {"a": ["x", "x"]}, {"a": [["x"]]}, {"a": list(range(40)), "b": list(range(40))}]
)
def test_axes_that_cannot_be_used_are_refused_by_name(axes: dict[str, Any]) -> None:
    with pytest.raises(AxisError) as refusal:
        prompts.expand_axes(axes)
    assert refusal.value.axis == "a"


@given(TEXTS, TEXTS, st.integers(1, 8), st.integers(0, 2**40))
def test_a_subject_keeps_its_seeds(subject: str, template: str, candidate: int, base: int) -> None:
    def seed(number: int) -> int:
        return prompts.seed_for("per_subject", base=base, subject_key=subject, template_key=template, candidate=number)

    assert seed(candidate) == seed(candidate)
    assert 0 <= seed(candidate) <= prompts.MAX_SEED
    assert seed(candidate) != seed(candidate + 1)


def test_fixed_seeds_count_up_with_the_candidate_and_random_ones_differ() -> None:
    assert [prompts.seed_for("fixed", base=7, candidate=number) for number in (1, 2, 3)] == [7, 8, 9]
    assert len({prompts.seed_for("random") for _ in range(50)}) > 45
    with pytest.raises(ValueError, match="known are"):
        prompts.seed_for("lucky")


def test_wording_is_marked_where_it_stands() -> None:
    guide = Guide(["stoneware"], ["cheap and cheerful"], ["cheap", "best  ever"])
    text = "A CHEAP mug, cheap and cheerful, the best ever. Cheaper."
    marks = [(remark.kind, text[remark.start : remark.end]) for remark in prompts.lint(text, guide)]
    assert marks == [("banned", "CHEAP"), ("approved", "cheap and cheerful"), ("banned", "best ever"), ("required", "")]
    assert [remark.kind for remark in prompts.problems(text, guide)] == ["banned", "banned", "required"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_wording_is_found_in_composed_and_decomposed_letters(form: str) -> None:
    text = unicodedata.normalize(form, "Ein Café für Größe")
    marks = prompts.problems(text, Guide(banned_wording=["café", "grösse", "GRÖßE", "cafe"]))
    assert [remark.word for remark in marks] == ["café", "GRÖßE"]


@given(st.from_regex(r"[a-z]{2,8}", fullmatch=True), TEXTS, TEXTS)
def test_a_banned_word_is_found_only_as_a_whole_word(word: str, before: str, after: str) -> None:
    text = f"{before} {word} {after}"
    marks = prompts.problems(text, Guide(banned_wording=[word]))
    assert (len(before) + 1, len(before) + 1 + len(word)) in [(mark.start, mark.end) for mark in marks]
    glued = prompts.problems(f"x{word}x", Guide(banned_wording=[word]))
    assert glued == []
