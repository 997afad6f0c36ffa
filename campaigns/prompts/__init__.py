"""Prompts as pure functions: placeholders, axes, seeds and wording. Plain values in and out, no models."""

from campaigns.prompts.axes import MAX_SEED, AxisError, expand_axes, seed_for, values_key
from campaigns.prompts.rendering import (
    MissingValues,
    PromptSource,
    PromptSyntaxError,
    RenderedPrompt,
    Slot,
    Span,
    describe_position,
    find_missing_names,
    parse,
    placeholders,
    render,
)  # fmt: skip
from campaigns.prompts.wording import Lint, lint, problems

__all__ = (
    "MAX_SEED", "AxisError", "Lint", "MissingValues", "PromptSource", "PromptSyntaxError", "RenderedPrompt", "Slot",
    "Span", "describe_position", "expand_axes", "find_missing_names", "lint", "parse", "placeholders", "problems",
    "render", "seed_for", "values_key",
)  # fmt: skip
