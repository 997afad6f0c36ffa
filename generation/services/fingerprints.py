"""Fingerprints: one sha256 over everything that decides the pixels of an image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from generation.engines.base import Capabilities, Engine
from generation.models import Endpoint

BATCH_KEY_LENGTH = 32
SHORT_HASH = 12
"""So many characters of a hash name a version."""


@dataclass(frozen=True)
class Maker:
    """What makes an image, beside its spec. model, revision: as `Engine.model_identity` gives them.

    tier: the endpoint's quality tier (`config["tier"]`, "final" if it says nothing; docs/adr/0013): a draft made on a
    quick setting is never taken for a final image of the same words, nor a fast one for an exact one.
    """

    engine: str
    model: str
    revision: str
    tier: str = "final"

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Maker | None:
        """The maker that `to_json` wrote; None where nothing was recorded."""
        return cls(**plain) if plain else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        """The model and its revision in a few characters, for people."""
        parts = [part[:8] for part in self.revision.split("+") if part]
        words = f"{self.model} (revision {'+'.join(parts)})" if parts else self.model
        return words if self.tier == "final" else f"{words}, tier {self.tier}"


def maker(endpoint: Endpoint, engine: Engine) -> Maker:
    """What the endpoint's engine is at this moment. Reads files where the model lies in files: not in a transaction."""
    model, revision = engine.model_identity()
    return Maker(endpoint.engine, model, revision, endpoint.config.get("tier", "final"))


def reported(now: Maker, model: str, revision: str) -> Maker:
    """Return what made an image by its local engine's own report; what the report leaves out is as it is `now`."""
    return Maker(now.engine, model or now.model, revision or now.revision, now.tier)


def made_by(submitted: Maker, now: Maker, model: str, revision: str) -> Maker:
    """What made an image of a service that was submitted to `submitted` and whose result says `model` and `revision`.

    now: what the engine is when the result is read. A result that repeats this says only how the endpoint is set up
    now: the image is of what it was submitted to. Else the revision begins with the version that the service took, in
    full where the endpoint has the beginning of its hash; settings are those of the submission.
    """
    if (model, revision) == (now.model, now.revision):
        return submitted
    version, (planned, plus, settings) = revision.partition("+")[0], submitted.revision.partition("+")
    if not version or (len(planned) >= SHORT_HASH and version.startswith(planned)):
        version = planned
    return replace(submitted, revision=f"{version}{plus}{settings}")


def canonical(plain: Any) -> str:
    """JSON with sorted keys and without spaces: equal text for equal values."""
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def prefix(*, brand_id: int, endpoint: Endpoint, engine: Engine) -> str:
    """The part of a fingerprint's text that all jobs of one run share."""
    return prefix_of(brand_id=brand_id, maker=maker(endpoint, engine))


def prefix_of(*, brand_id: int, maker: Maker) -> str:
    """`prefix` of what makes the image, where that is known already."""
    return canonical([brand_id, maker.engine, maker.model, maker.revision, maker.tier])


def fingerprint(shared: str, spec: str) -> str:
    """sha256, hex, of `prefix(...)` and the canonical JSON of the spec."""
    return hashlib.sha256(f"{shared}\n{spec}".encode()).hexdigest()


def of_spec(*, brand_id: int, endpoint: Endpoint, engine: Engine, spec: Mapping[str, Any]) -> str:
    """The fingerprint of one spec as plain JSON (`Spec.to_json`), candidate number included."""
    return of_maker(brand_id=brand_id, maker=maker(endpoint, engine), engine=engine, spec=spec)


def of_maker(*, brand_id: int, maker: Maker, engine: Engine, spec: Mapping[str, Any]) -> str:
    """`of_spec` of what makes the image, where that is known already. engine: says what of the spec it obeys."""
    decisive = canonical({**spec, **indifferent(engine.capabilities())})
    return fingerprint(prefix_of(brand_id=brand_id, maker=maker), decisive)


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
