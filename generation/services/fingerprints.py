"""Fingerprints: one sha256 over everything that decides the pixels of an image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from generation.engines.base import Capabilities, Engine
from generation.models import Endpoint

BATCH_KEY_LENGTH = 32


def canonical(plain: Any) -> str:
    """JSON with sorted keys and without spaces: equal text for equal values."""
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def prefix(*, brand_id: int, endpoint: Endpoint, engine: Engine) -> str:
    """The part of a fingerprint's text that all jobs of one run share.

    The quality tier is the endpoint's (`config["tier"]`, "final" if it says nothing; docs/adr/0013): a draft made on a
    quick setting is never taken for a final picture of the same words, nor a fast one for an exact one.
    """
    model, revision = engine.model_identity()
    return canonical([brand_id, endpoint.engine, model, revision, endpoint.config.get("tier", "final")])


def fingerprint(shared: str, spec: str) -> str:
    """sha256, hex, of `prefix(...)` and the canonical JSON of the spec."""
    return hashlib.sha256(f"{shared}\n{spec}".encode()).hexdigest()


def of_spec(*, brand_id: int, endpoint: Endpoint, engine: Engine, spec: Mapping[str, Any]) -> str:
    """The fingerprint of one spec as plain JSON (`Spec.to_json`), candidate number included."""
    decisive = canonical({**spec, **indifferent(engine.capabilities())})
    return fingerprint(prefix(brand_id=brand_id, endpoint=endpoint, engine=engine), decisive)


def short_key(batch_key: str) -> str:
    """An engine's batch key as its column holds it."""
    if len(batch_key) <= BATCH_KEY_LENGTH:
        return batch_key
    return hashlib.sha256(batch_key.encode()).hexdigest()[:BATCH_KEY_LENGTH]


def indifferent(capabilities: Capabilities) -> dict[str, Any]:
    """What of a spec does not touch this engine's pixels, at rest: other words or another seed make no other picture
    where the engine reads neither, and so no other fingerprint."""
    still: dict[str, Any] = {} if capabilities.obeys_prompt else {"prompt": "", "negative": ""}
    return still if "seed" in capabilities.obeys else {**still, "seed": 0}
