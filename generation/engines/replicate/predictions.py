"""Read predictions, and the refusals of Replicate and Cog servers.

Both use the same object (https://replicate.com/docs/reference/http#predictions.get,
https://github.com/replicate/cog/blob/main/docs/http.md). Nothing here touches the network.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from math import inf
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import httpx

from generation.engines import service
from generation.engines.base import EngineError, ErrorKind, Pending, Result

SUCCEEDED, FAILED, CANCELED, ABORTED = "succeeded", "failed", "canceled", "aborted"
ENDED: Final = frozenset({SUCCEEDED, FAILED, CANCELED, ABORTED})
MAX_LOG_LENGTH = 4000
_FACTS: Final = ("id", "created_at", "started_at", "completed_at")

_UNSAFE = re.compile(r"nsfw|flagged as sensitive|\bE005\b|safety (?:checker|filter|system)|content polic|moderat", re.I)
_MEMORY = re.compile(r"out of memory|OutOfMemoryError|CUDNN_STATUS_ALLOC_FAILED", re.I)
_CRASHED = re.compile(
    r"worker (?:process )?(?:has )?(?:crashed|died|exited|terminated|was killed)|failed for an unknown reason"
    r"|exit ?code -?\d+|segmentation fault|\bSIG(?:KILL|SEGV|ABRT|BUS)\b",
    re.I,
)
"""Messages of a Cog server whose process ended during a prediction. If it blames memory, that is only a guess."""
_TRANSIENT = re.compile(
    r"please retry|interrupted|unexpected error|internal (?:server )?error|temporar|time[ds]? ?out|unavailable"
    r"|\bE(?:6716|8765|1000|9243|004|003)\b|high demand|connection (?:reset|refused|error)",
    re.I,
)
_RESETS = re.compile(r"resets? in ~?\s*(\d+(?:\.\d+)?)\s*(ms|s|m)?", re.I)
_STEPS = re.compile(r"\d%\|[^|\n\r]*\|\s*(\d+)/(\d+)")


def state_of(
    prediction: Mapping[str, Any], *, seed_input: str, takes_early: bool = False, deadline_seconds: float = inf
) -> Pending | Result:
    """Return the state of a prediction.

    seed_input: the model's name for the seed. takes_early: the whole output counts although its status is still
    "processing", as it may be in an answer that was waited for; its metrics are missing then. deadline_seconds: the
    time since its creation after which the service cancels it.
    """
    status = str(prediction.get("status", ""))
    log = str(prediction.get("logs") or "")[-MAX_LOG_LENGTH:]
    if status not in ENDED and not (takes_early and any(output_urls(prediction.get("output")))):
        matches = _STEPS.findall(log)
        return Pending(step=int(matches[-1][0]), steps=int(matches[-1][1])) if matches else Pending()
    error = _error(prediction, deadline_seconds, log) if status in ENDED else None
    outputs = tuple(output_urls(prediction.get("output"))) if error is None else ()
    if error is None and not outputs:
        error = _no_image_error(prediction)
    metrics = service.as_mapping(prediction.get("metrics"))
    seconds = service.as_number(metrics.get("predict_time"))
    usage = {"seconds": seconds} if seconds is not None else {}
    if outputs:
        usage["images"] = float(len(outputs))
    seed = service.as_mapping(prediction.get("input")).get(seed_input) if seed_input else None
    facts = {name: prediction[name] for name in _FACTS if prediction.get(name)}
    facts |= {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    facts |= {"outputs": len(outputs)} if len(outputs) > 1 else {}
    return Result(
        0,
        None,
        model=str(prediction.get("model") or ""),
        revision=str(prediction.get("version") or ""),
        seed=seed if isinstance(seed, int) else 0,
        seconds=seconds or 0.0,
        facts=facts,
        log=log,
        error=error,
        usage=usage,
        outputs=outputs,
    )


def prediction_from(response: httpx.Response, name: str, prediction_id: str = "") -> Mapping[str, Any]:
    """Return the prediction in the answer to a submission. prediction_id: ours, if the service may leave it out. Raises
    EngineError (UNCERTAIN) if it cannot be read, because the submission was taken."""
    prediction = service.json_object(response)
    if not prediction or not (prediction.get("id") or prediction_id):
        message = f"{name} took the submission, and its answer cannot be read (HTTP {response.status_code})."
        raise EngineError(ErrorKind.UNCERTAIN, message, log=response.text[:MAX_LOG_LENGTH])
    return prediction


def lost_result(prediction_id: str) -> Result:
    message = f"The service no longer knows the prediction {prediction_id}."
    return Result(0, None, error=EngineError(ErrorKind.LOST, message))


def output_urls(output: Any) -> Iterator[str]:
    """Yield the addresses (https or data) in an output, which is one, a list, or a mapping of names to them."""
    if isinstance(output, str):
        if output.startswith(("http://", "https://", "data:")):
            yield output
    else:
        for value in service.as_mapping(output).values() or service.as_list(output):
            yield from output_urls(value)


def decode_data_url(url: str) -> bytes:
    """Return the bytes in a data URL (RFC 2397). Raises EngineError (TRANSIENT) if it was cut off."""
    head, comma, body = url.partition(",")
    try:
        if not comma:
            raise ValueError("it has no content")
        return base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
    except (ValueError, binascii.Error) as error:
        raise EngineError(ErrorKind.TRANSIENT, f"The image that came in the answer is broken: {error}") from error


def refusal(response: httpx.Response, name: str, *, is_submission: bool = False) -> EngineError:
    """Return the error for an answer without success, with the service's message and the seconds to wait."""
    body = service.json_object(response)
    words = "; ".join(_fields(body)) or _detail(body)
    status = response.status_code
    if status == 429:
        error = service.refusal(response, name, words=words or "asked too often")
        error.retry_after_seconds = _retry_after(body, response)
        return error
    if status == 401:
        words = f"the token was refused; enter the endpoint's secret anew ({words or 'unauthenticated'})"
    elif status == 402:
        words = f"the account has no credit ({words or 'payment required'})"
    if is_submission and status == 500:
        # The answer does not say whether it was taken; the list of predictions does.
        message = f"{name}: {words or 'internal error'} (HTTP 500)"
        return EngineError(ErrorKind.UNCERTAIN, message, log=response.text[:MAX_LOG_LENGTH])
    return service.refusal(response, name, words=words, is_submission=is_submission)


def is_version_refused(response: httpx.Response) -> bool:
    """Return whether a submission was refused for its version ("Invalid version or not permitted"), not its input."""
    body = service.json_object(response)
    return response.status_code == 422 and not list(_fields(body)) and "version" in str(body.get("title", "")).lower()


def parse_time(text: Any) -> datetime | None:
    """Parse a service's ISO 8601 time, with or without nanoseconds; None if it is none."""
    try:
        at = datetime.fromisoformat(str(text or ""))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _error(prediction: Mapping[str, Any], deadline_seconds: float, log: str) -> EngineError | None:
    status = prediction["status"]
    words = str(prediction.get("error") or "").strip()
    if status == SUCCEEDED:
        return None
    if status == ABORTED:
        message = 'It was not begun before the endpoint\'s "cancel_after" ran out, and is not charged for.'
        return EngineError(ErrorKind.TRANSIENT, message, log=log)
    if status == CANCELED:
        began, ended = parse_time(prediction.get("created_at")), parse_time(prediction.get("completed_at"))
        if began and ended and (ended - began).total_seconds() >= deadline_seconds:
            message = (
                f'It took longer than the endpoint\'s "cancel_after" of {deadline_seconds:g} s and was stopped, '
                "which is charged for: allow it more time."
            )
            return EngineError(ErrorKind.INPUT, message, log=log)
        return EngineError(ErrorKind.CANCELLED, words or "It was cancelled at the service.", log=log)
    if _UNSAFE.search(words):
        return EngineError(ErrorKind.MODERATION, f"The service refuses the image: {words}", log=log)
    if _CRASHED.search(words):
        return EngineError(ErrorKind.TRANSIENT, f"The server crashed while it made this: {words}"[:500], log=log)
    if _MEMORY.search(words):
        return EngineError(ErrorKind.MEMORY, f"It does not fit on the service's card: {words}"[:500], log=log)
    if not words or _TRANSIENT.search(words):
        return EngineError(ErrorKind.TRANSIENT, f"The prediction failed: {words or 'without a word why'}", log=log)
    return EngineError(ErrorKind.INPUT, f"The model failed: {words}"[:500], log=log)


def _no_image_error(prediction: Mapping[str, Any]) -> EngineError:
    if prediction.get("data_removed"):
        return EngineError(ErrorKind.LOST, "The service has deleted the image, as it does an hour after it was made.")
    output = prediction.get("output")
    shown = f"{output!r}"[:200] if output not in (None, [], {}) else "nothing"
    return EngineError(ErrorKind.INPUT, f"The model answered with {shown}, which is no image.")


def _retry_after(body: Mapping[str, Any], response: httpx.Response) -> float | None:
    """Return the seconds to wait. Replicate gives them in the body, as a number or text; proxies in the header."""
    if (seconds := service.as_number(body.get("retry_after"))) is not None:
        return min(max(seconds, 0.0), service.MAX_RETRY_AFTER_SECONDS)
    if match := _RESETS.search(str(body.get("detail") or "")):
        scale = {"ms": 0.001, "m": 60.0}.get((match[2] or "s").lower(), 1.0)
        return min(float(match[1]) * scale, service.MAX_RETRY_AFTER_SECONDS)
    return service.retry_after(response)


def _fields(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield "seed: must be at least 0", from Replicate's invalid_fields or Cog's list in detail."""
    for entry in body.get("invalid_fields") or ():
        if isinstance(entry, Mapping):
            field = str(entry.get("field", "")).removeprefix("input.")
            yield f"{field}: {entry.get('description', 'not accepted')}"
    for entry in service.as_list(body.get("detail")):
        if isinstance(entry, Mapping):
            place = [str(part) for part in entry.get("loc", ()) if part not in ("body", "input")]
            yield f"{'.'.join(place) or 'input'}: {entry.get('msg', 'not accepted')}"


def _detail(body: Mapping[str, Any]) -> str:
    detail = body.get("detail") or body.get("error") or body.get("title") or ""
    if not isinstance(detail, str):
        return ""
    return " ".join(line.strip().removeprefix("- input.").removeprefix("- ") for line in detail.strip().splitlines())
