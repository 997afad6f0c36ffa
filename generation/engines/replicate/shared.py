"""The common part of the Replicate and Cog clients: credentials, the answer to a submission, its image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import httpx

from generation.engines import service
from generation.engines.base import EngineError, ErrorKind, Result
from generation.engines.replicate import predictions
from generation.engines.service import Service

SIGNING_PREFIX: Final = "whsec_"


def credentials(secret: str) -> tuple[str, str]:
    """Return (API token, signing secret) of an endpoint's secret, "token" or "token whsec_…"; "" for a missing part."""
    words = secret.split()
    token = next((word for word in words if not word.startswith(SIGNING_PREFIX)), "")
    return token, next((word for word in words if word.startswith(SIGNING_PREFIX)), "")


def prediction_from(response: httpx.Response, name: str, prediction_id: str = "") -> Mapping[str, Any]:
    """Return the prediction in the answer to a submission. prediction_id: ours, if the service may leave it out. Raises
    EngineError (UNCERTAIN) if it cannot be read, because the submission was taken."""
    try:
        prediction = response.json()
    except ValueError:
        prediction = None
    if not isinstance(prediction, Mapping) or not (prediction.get("id") or prediction_id):
        message = f"{name} took the submission, and its answer cannot be read (HTTP {response.status_code})."
        raise EngineError(ErrorKind.UNCERTAIN, message, log=response.text[:4000])
    return prediction


def fetch_pixels(result: Result, source: Service) -> Result:
    """Return the result with the pixels of its first output, from a data URL or by download."""
    if result.pixels is not None or not result.outputs:
        return result
    first = result.outputs[0]
    data = predictions.decode_data_url(first) if first.startswith("data:") else source.download(first)
    pixels = service.pixels_of(data)
    facts = {**result.facts, "bytes": len(data), "width": pixels.shape[1], "height": pixels.shape[0]}
    return replace(result, pixels=pixels, outputs=(), facts=facts)
