"""The length of prompt that an engine's model reads, if the engine knows it.

Such an engine has a method `text_encoder() -> Encoder`, which loads no model. SDXL has two encoders of 77 tokens that
get the same text. Nothing here splits a long prompt into chunks: text after the limit is not read.
"""

from __future__ import annotations

from campaigns.prompts.tokens import Encoder
from generation.engines.base import Engine


def encoder_of(engine: Engine) -> Encoder | None:
    """Return the text encoder; None for an engine that reads no prompt, or whose limit is unknown."""
    ask = getattr(engine, "text_encoder", None)
    if ask is None or not engine.capabilities().obeys_prompt:
        return None
    encoder: Encoder = ask()
    return encoder
