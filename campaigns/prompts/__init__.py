"""Prompts as pure functions: placeholders, axes, seeds and wording. Plain values in and out, no models."""

from campaigns.prompts.axes import AxisError, expand_axes, values_key
from campaigns.prompts.rendering import (
    MissingValues,
    PromptSource,
    RenderedPrompt,
    Span,
    find_missing_names,
    placeholders,
    render,
)
from campaigns.prompts.seeds import MAX_SEED, seed_for
from campaigns.prompts.syntax import PromptSyntaxError, Slot, describe_position, is_name, parse
from campaigns.prompts.wording import Lint, lint, problems

__all__ = [
    "MAX_SEED",
    "AxisError",
    "Lint",
    "MissingValues",
    "PromptSource",
    "PromptSyntaxError",
    "RenderedPrompt",
    "Slot",
    "Span",
    "describe_position",
    "expand_axes",
    "find_missing_names",
    "is_name",
    "lint",
    "parse",
    "placeholders",
    "problems",
    "render",
    "seed_for",
    "values_key",
]
