"""Test how text and JSON become the values of an engine's controls."""

from __future__ import annotations

import re
from typing import Any

import pytest

from generation import control_values
from generation.engines.base import Control

STEPS = Control("steps", "Steps", "number", 20, 1, 50, 1)
STRENGTH = Control("strength", "Strength", "number", 0.6, 0.05, 1, 0.05)
OPEN = Control("cfg", "Guidance", "number")
SEED = Control("seed", "Seed", "seed")
MOOD = Control("mood", "Mood", "choice", choices=("calm", "loud"))
BACKDROP = Control("backdrop", "Backdrop", "colour", choices=("white",))
WORDS = Control("loras", "LoRAs", "text")


@pytest.mark.parametrize(
    ("control", "given", "value"),
    [
        (STEPS, "30", 30), (STEPS, " 30.0 ", 30), (STEPS, 30.0, 30), (STEPS, "1,5", 1.5), (STRENGTH, "0,6", 0.6),
        (STRENGTH, 1, 1.0), (OPEN, "7", 7), (OPEN, "-1e3", -1000), (SEED, str(2**63 - 1), 2**63 - 1), (SEED, 7, 7),
        (MOOD, "loud", "loud"), (BACKDROP, "#B5651D", "#B5651D"), (WORDS, "soft:0.5", "soft:0.5"),
    ],
)  # fmt: skip
def test_a_value_gets_the_type_of_its_control(control: Control, given: Any, value: Any) -> None:
    parsed = control_values.parse(control, given)
    assert (parsed, type(parsed)) == (value, type(value))
    if control.kind != "seed":
        assert control_values.parse_for_prompt(control, str(given)) == value


@pytest.mark.parametrize(
    ("control", "given", "sentence"),
    [
        (STEPS, "many", "Give a number from 1 to 50."),
        (STEPS, "51", "Give a number from 1 to 50."),
        (STEPS, "nan", "Give a number from 1 to 50."),
        (STEPS, True, "Give a number from 1 to 50."),
        (Control("n", "N", "number", minimum=2), "1", "Give a number from 2 up."),
        (Control("n", "N", "number", maximum=2), "3", "Give a number up to 2."),
        (OPEN, "inf", "Give a number."),
        (OPEN, "1e400", "Give a number."),
        (SEED, "7.5", "Give a whole number from 0 to 9223372036854775807."),
        (SEED, str(2**63), "Give a whole number from 0 to 9223372036854775807."),
        (SEED, "-1", "Give a whole number from 0 to 9223372036854775807."),
        (MOOD, "sad", "It is one of calm, loud."),
        (BACKDROP, "white", "Give a colour such as #b5651d."),
        (WORDS, "a" * 4001, "Write at most 4,000 characters."),
    ],
)
def test_a_value_that_a_control_does_not_take_is_refused_in_a_sentence(
    control: Control, given: Any, sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        control_values.parse(control, given)


@pytest.mark.parametrize(
    ("control", "text", "value"),
    [
        (STEPS, "", ""),
        (STEPS, "{steps}", "{steps}"),
        (MOOD, " {mood} ", "{mood}"),
        (BACKDROP, "Warm sand", "Warm sand"),
    ],
)
def test_a_prompt_takes_placeholders_and_names_of_colours_too(control: Control, text: str, value: str) -> None:
    assert control_values.parse_for_prompt(control, text) == value


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("51", "Give a number from 1 to 50. A placeholder such as {steps} is possible too."),
        ("{steps", "(character 1)."),
    ],
)
def test_a_prompt_refuses_what_is_neither_a_value_nor_a_placeholder(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"{re.escape(sentence)}$"):
        control_values.parse_for_prompt(STEPS, text)
