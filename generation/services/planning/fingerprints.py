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
"""Characters that the beginning of a hash needs to name a version."""


@dataclass(frozen=True)
class Maker:
    """Everything besides the spec that decides an image. model, revision: as `Engine.model_identity` returns them.

    tier: the endpoint's quality tier (`config["tier"]`, "final" if it is not set; docs/adr/0013). A draft that was made
    with a quick setting is never used as the final image of the same prompt.
    """

    engine: str
    model: str
    revision: str
    tier: str = "final"

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Maker | None:
        """Return the maker that `to_json` wrote; None where nothing was recorded."""
        return cls(**plain) if plain else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        """Return the model and its shortened revision, for people."""
        parts = [part[:8] for part in self.revision.split("+") if part]
        text = f"{self.model} (revision {'+'.join(parts)})" if parts else self.model
        return text if self.tier == "final" else f"{text}, tier {self.tier}"


def get_maker(endpoint: Endpoint, engine: Engine) -> Maker:
    """Return the maker that the endpoint has at this moment. Engines whose model is a file read that file."""
    model, revision = engine.model_identity()
    return Maker(endpoint.engine, model, revision, endpoint.config.get("tier", "final"))


def maker_of_result(submitted: Maker, now: Maker, model: str, revision: str) -> Maker:
    """Return the maker of a service's image that was submitted to `submitted` and whose result names model, revision.

    now: the maker at the time when the result is read. A result with its model and revision only repeats the endpoint's
    settings, so the image was made by `submitted`. Any other revision begins with the version that the service used; if
    the plan names the beginning of that version's hash, the text of the plan is kept. The settings behind the "+" are
    always those of the submission.
    """
    if (model, revision) == (now.model, now.revision):
        return submitted
    version, (planned, plus, settings) = revision.partition("+")[0], submitted.revision.partition("+")
    if not version or (len(planned) >= SHORT_HASH and version.startswith(planned)):
        version = planned
    return replace(submitted, revision=f"{version}{plus}{settings}")


def canonical(plain: Any) -> str:
    """Return JSON with sorted keys and without spaces, so that equal values give equal text."""
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def prefix(*, brand_id: int, maker: Maker) -> str:
    """Return the part of a fingerprint's text that all jobs of one run share."""
    return canonical([brand_id, maker.engine, maker.model, maker.revision, maker.tier])


def fingerprint(shared: str, spec: str) -> str:
    """Return the hex sha256 of `prefix(...)` and the canonical JSON of the spec."""
    return hashlib.sha256(f"{shared}\n{spec}".encode()).hexdigest()


def fingerprint_spec(*, brand_id: int, maker: Maker, engine: Engine, spec: Mapping[str, Any]) -> str:
    """Return the fingerprint of a spec (`Spec.to_json`), candidate included, without what the engine ignores."""
    decisive = canonical({**spec, **neutral_values(engine.capabilities())})
    return fingerprint(prefix(brand_id=brand_id, maker=maker), decisive)


def short_key(batch_key: str) -> str:
    """Return an engine's batch key, shortened to fit its column."""
    if len(batch_key) <= BATCH_KEY_LENGTH:
        return batch_key
    return hashlib.sha256(batch_key.encode()).hexdigest()[:BATCH_KEY_LENGTH]


def neutral_values(capabilities: Capabilities) -> dict[str, Any]:
    """Return neutral values for the parts of a spec that the engine ignores, because these do not change the image."""
    still: dict[str, Any] = {} if capabilities.obeys_prompt else {"prompt": "", "negative": ""}
    return still if "seed" in capabilities.obeys else {**still, "seed": 0}
