"""The length of prompt that an engine's model reads, where the engine knows.

An engine that can say it has a method `text_encoder() -> Encoder`; it loads no model for that. SDXL has two encoders of
77 tokens that get the same text. Nothing here cuts a long prompt into chunks: what is behind the limit is not read.
"""

from __future__ import annotations

from campaigns.prompts.tokens import Encoder
from generation.engines.base import Engine


def encoder_of(engine: Engine) -> Encoder | None:
    """None for an engine that reads no prompt, or whose limit nobody knows."""
    ask = getattr(engine, "text_encoder", None)
    if ask is None or not engine.capabilities().obeys_prompt:
        return None
    found: Encoder = ask()
    return found
