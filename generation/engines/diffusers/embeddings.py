"""Encode prompts to the embeddings that a pipeline takes; each text is encoded once, also a shared negative prompt."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from generation.engines.base import Spec
from generation.engines.diffusers.families import Family

if TYPE_CHECKING:
    import torch

    from generation.engines.diffusers.pipelines import LoadedPipeline

    Encoded = tuple[torch.Tensor | None, ...]


class Cache(Protocol):
    """The interface of a store of encoded texts (embedding_cache.py)."""

    def get(self, key: Hashable, device: str, encode: Callable[[], Encoded]) -> Encoded: ...


def arguments(loaded: LoadedPipeline, specs: Sequence[Spec], cache: Cache, key: Hashable = ()) -> dict[str, Any]:
    """Return a pipeline's embedding arguments for a batch. key: what else decides an embedding, such as LoRAs."""
    import torch

    pipe, family, device = loaded.text, loaded.family, loaded.device
    rows = {"": [_encoded(pipe, family, device, spec.prompt, cache, key) for spec in specs]}
    if family.obeys_negative:
        rows["negative_"] = [
            _negative(pipe, family, device, spec.negative, positive, cache, key)
            for spec, positive in zip(specs, rows[""], strict=True)
        ]
    embeddings: dict[str, Any] = {}
    for prefix, encoded in rows.items():
        for name, column in zip(("prompt_embeds", "pooled_prompt_embeds"), zip(*encoded, strict=True), strict=True):
            if column[0] is not None:
                embeddings[f"{prefix}{name}"] = torch.cat(column)
    return embeddings


def _negative(
    pipe: Any, family: Family, device: str, text: str, positive: Encoded, cache: Cache, key: Hashable
) -> Encoded:
    """Encode a negative prompt. SDXL was trained with zeros for an empty one, and says so in its configuration."""
    if not text and getattr(pipe.config, "force_zeros_for_empty_prompt", False):
        return tuple(None if tensor is None else tensor * 0 for tensor in positive)
    return _encoded(pipe, family, device, text, cache, key)


def _encoded(pipe: Any, family: Family, device: str, text: str, cache: Cache, key: Hashable) -> Encoded:
    """Return (embedding 1 × tokens × width, pooled 1 × width or None) of one text."""
    import torch

    def encode() -> Encoded:
        options: dict[str, Any] = {f"prompt_{number}": None for number in range(2, family.encoders + 1)}
        if family.obeys_negative:
            options["do_classifier_free_guidance"] = False
        if family.tokens:
            options["max_sequence_length"] = family.tokens
        with torch.inference_mode():
            answer = pipe.encode_prompt(prompt=text, device=device, num_images_per_prompt=1, **options)
        return tuple(answer[place] if place >= 0 else None for place in family.encoded)

    return cache.get((text, key), device, encode)
