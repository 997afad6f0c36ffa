"""Encode prompts to the embeddings that a pipeline takes; each text is encoded once, also a shared negative prompt."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from generation.engines.base import Spec
from generation.engines.diffusers.embedding_cache import EmbeddingCache

if TYPE_CHECKING:
    from generation.engines.diffusers.embedding_cache import Encoded
    from generation.engines.diffusers.pipelines import LoadedPipeline


def arguments(loaded: LoadedPipeline, specs: Sequence[Spec], cache: EmbeddingCache, key: Hashable) -> dict[str, Any]:
    """Return a pipeline's embedding arguments for a batch. key: what else decides an embedding, such as LoRAs."""
    import torch

    rows = {"": [_encoded(loaded, spec.prompt, cache, key) for spec in specs]}
    if loaded.family.obeys_negative:
        pairs = zip(specs, rows[""], strict=True)
        rows["negative_"] = [_negative(loaded, spec.negative, positive, cache, key) for spec, positive in pairs]
    embeddings: dict[str, Any] = {}
    for prefix, encoded in rows.items():
        for name, column in zip(("prompt_embeds", "pooled_prompt_embeds"), zip(*encoded, strict=True), strict=True):
            if column[0] is not None:
                embeddings[f"{prefix}{name}"] = torch.cat(column)
    return embeddings


def _negative(loaded: LoadedPipeline, text: str, positive: Encoded, cache: EmbeddingCache, key: Hashable) -> Encoded:
    """Encode a negative prompt. SDXL was trained with zeros for an empty one, and says so in its configuration."""
    if not text and getattr(loaded.text.config, "force_zeros_for_empty_prompt", False):
        return tuple(None if tensor is None else tensor * 0 for tensor in positive)
    return _encoded(loaded, text, cache, key)


def _encoded(loaded: LoadedPipeline, text: str, cache: EmbeddingCache, key: Hashable) -> Encoded:
    """Return (embedding 1 × tokens × width, pooled 1 × width or None) of one text."""
    import torch

    family, device = loaded.family, loaded.device

    def encode() -> Encoded:
        options: dict[str, Any] = {f"prompt_{number}": None for number in range(2, family.encoders + 1)}
        if family.obeys_negative:
            options["do_classifier_free_guidance"] = False
        if family.tokens:
            options["max_sequence_length"] = family.tokens
        with torch.inference_mode():
            answer = loaded.text.encode_prompt(prompt=text, device=device, num_images_per_prompt=1, **options)
        return tuple(answer[place] if place >= 0 else None for place in family.encoded)

    return cache.get((text, key), device, encode)
