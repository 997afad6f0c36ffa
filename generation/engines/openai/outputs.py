"""Get the image from an answer of OpenAI's images API: decode it, or fetch it at once or later.

An answer is paid for: whatever goes wrong with its image, the request is never sent again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urljoin

from generation.engines.base import MAX_REMOTE_ID_LENGTH, EngineError, ErrorKind, Pixels, Result, Submitted
from generation.engines.openai import answers
from generation.engines.service import Service, pixels_of

DOWNLOAD_TRIES: Final = 3
RETRIED_KINDS: Final = frozenset({ErrorKind.ENDPOINT, ErrorKind.TRANSIENT, ErrorKind.RATE})
"""Errors after which an image is fetched again later: its host is not allowed yet, or is unavailable."""


def read_pixels(entry: Mapping[str, Any], source: Service) -> Pixels:
    """Return the decoded image. If the answer has its address, it is fetched at once: such addresses expire soon."""
    image = answers.image(entry)
    assert image is not None
    return pixels_of(_download(image, source) if isinstance(image, str) else image)


def fetch_later(entry: Mapping[str, Any], source: Service, error: EngineError) -> Submitted:
    """Return a submission whose id is the address of an image that could not be fetched now, to fetch it later. Raises
    EngineError of kind UNCERTAIN if there is no address or another try would not help."""
    image = answers.image(entry)
    address = urljoin(source.base_url, image) if isinstance(image, str) else ""
    if error.kind in RETRIED_KINDS and 0 < len(address) <= MAX_REMOTE_ID_LENGTH:
        return Submitted(address, problem=error)
    raise lost_image_error(error) from error


def state_of(remote_id: str, named: Result, error: EngineError) -> Result:
    """Return the result of an answered submission: an image to fetch if its id is an address, else `error`."""
    if remote_id.startswith(("http://", "https://")):
        return replace(named, usage={"images": 1.0}, facts={"fetched_later": True}, outputs=(remote_id,))
    return replace(named, error=error)


def fetch(result: Result, source: Service) -> Result:
    """Return the result with its pixels. Raises EngineError: of RETRIED_KINDS if a retry may help, else UNCERTAIN."""
    if result.pixels is not None or not result.outputs:
        return result
    try:
        return replace(result, pixels=pixels_of(_download(result.outputs[0], source)), outputs=())
    except EngineError as error:
        if error.kind in RETRIED_KINDS:
            raise
        raise lost_image_error(error) from error


def lost_image_error(error: EngineError) -> EngineError:
    """Return the error of an image that is made and paid for, and that cannot be fetched or read."""
    message = f"The image was made and could not be taken over: {error.message}"
    return EngineError(ErrorKind.UNCERTAIN, message, log=error.log)


def _download(url: str, source: Service) -> bytes:
    for tried in range(1, DOWNLOAD_TRIES + 1):
        try:
            return source.download(url)
        except EngineError as error:
            if error.kind not in {ErrorKind.TRANSIENT, ErrorKind.RATE} or tried == DOWNLOAD_TRIES:
                raise
            time.sleep(min(error.retry_after_seconds or 0.5 * tried, 5.0))
    raise AssertionError("a download ends with its bytes or an error")
