"""Prompts as pure functions: placeholders, axes, seeds and wording. Plain values in and out, no models."""

from campaigns.prompts.axes import AxisError, expand_axes, values_key
from campaigns.prompts.rendering import (
    MissingValues,
    PromptSource,
    Rendered,
    Span,
    missing,
    placeholders,
    render,
)
from campaigns.prompts.seeds import MAX_SEED, seed_for
from campaigns.prompts.syntax import PromptSyntaxError, Slot, is_name, parse, place
from campaigns.prompts.wording import Guide, Lint, lint, problems

__all__ = [
    "MAX_SEED",
    "AxisError",
    "Guide",
    "Lint",
    "MissingValues",
    "PromptSource",
    "PromptSyntaxError",
    "Rendered",
    "Slot",
    "Span",
    "expand_axes",
    "is_name",
    "lint",
    "missing",
    "parse",
    "place",
    "placeholders",
    "problems",
    "render",
    "seed_for",
    "values_key",
]
