"""What OpenAI's images API answers, and what servers like it do: refusals as the error kind that fits, pictures, usage,
limits.

From openai-python 3.52 (https://github.com/openai/openai-python) and https://developers.openai.com/api/docs/guides/
error-codes. An order that was taken is paid for: an answer that cannot be read is DOUBT, never "again".
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

import httpx

from generation.engines import service
from generation.engines.base import EngineError, ErrorKind

MODERATION: Final = frozenset({"moderation_blocked", "content_policy_violation", "content_filter"})
EMPTY: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
#: Cloudflare's "no answer from behind" (https://developers.cloudflare.com/support/troubleshooting/http-status-codes/).
UNANSWERED: Final = frozenset({502, 504, 520, 524})
_KEY = re.compile(r"\b(?:sk|sess|pk)-[\w*.…-]{6,}|(?<=[Bb]earer )\S+")
_TRY_AGAIN = re.compile(r"try again in ((?:[\d.]+(?:ms|h|m|s))+)", re.IGNORECASE)
_SPAN = re.compile(r"(?<![\d.])([\d.]+)(ms|d|h|m|s)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def refused(response: httpx.Response, host: str, model: str) -> EngineError:
    """The error that an answer without success means."""
    said = _said(response)
    code, kind, words = said["code"], said["type"], said["message"]
    log = f"x-request-id: {request_id(response)}\n{response.text[:4000]}"
    status = response.status_code
    named = f"{host}: {words} (HTTP {status})"
    if code in MODERATION or kind in MODERATION:
        message = f"{host} refuses to make this, by its rules: {words} Change the words or the pictures."
        return EngineError(ErrorKind.MODERATION, message, log=log)
    if code in EMPTY or kind in EMPTY:
        message = f"The account at {host} has no credit left: {words} Fill it or raise its limit, then go on."
        return EngineError(ErrorKind.QUOTA, message, log=log)
    if status == 429:
        return EngineError(ErrorKind.RATE, named, retry_after_seconds=wait_seconds(response, words), log=log)
    if status == 401:
        return EngineError(ErrorKind.QUOTA, f"{host} does not accept the endpoint's key: {words}", log=log)
    if status in {402, 403}:
        message = f"{host} does not let this account use {model}: {words}"
        return EngineError(ErrorKind.QUOTA, message, log=log)
    if status == 404 and (code == "model_not_found" or said["param"] == "model"):
        # Every other order would fail likewise: held for the operator, not failed one by one.
        message = f"{host} has no model {model} for this account: {words} Set another in the endpoint."
        return EngineError(ErrorKind.QUOTA, message, log=log)
    if status in UNANSWERED:
        return EngineError(ErrorKind.DOUBT, f"{host} was sent the order and a proxy answered: {named}", log=log)
    if status < 500 and status not in {408, 409, 425}:
        where = f" (parameter {said['param']})" if said["param"] else ""
        return EngineError(ErrorKind.INPUT, f"{host} cannot carry this order out{where}: {words}", log=log)
    wait = service.retry_after(response)
    return EngineError(ErrorKind.TRANSIENT, named, retry_after_seconds=wait, log=log)


def _said(response: httpx.Response) -> dict[str, str]:
    """code, type, param and message of an error in OpenAI's form, "" for what is not said."""
    found: Any = None
    try:
        answer = response.json()
        found = answer.get("error", answer) if isinstance(answer, Mapping) else answer
    except ValueError:
        found = response.text[:300].strip()
    said = found if isinstance(found, Mapping) else {"message": found}
    plain = {name: str(said.get(name) or "") for name in ("code", "type", "param", "message")}
    plain["message"] = plain["message"] or str(said.get("detail") or "")[:300] or response.reason_phrase
    return plain


def wait_seconds(response: httpx.Response, words: str) -> float | None:
    """How long a 429 asks to wait: by retry-after-ms or retry-after, else until the used-up limit is free again, else
    by its words ("Please try again in 7.2s")."""
    asked = service.retry_after(response)
    if asked is not None:
        return asked
    resets = [
        span(response.headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in ("requests", "tokens")
        if response.headers.get(f"x-ratelimit-remaining-{what}", "0") == "0"
    ]
    known = [one for one in resets if one is not None]
    found = _TRY_AGAIN.search(words)
    wait = max(known) if known else span(found[1]) if found else None
    return None if wait is None else min(wait, service.LONGEST_WAIT_SECONDS)


def span(text: str) -> float | None:
    """Seconds in "6m0s", "1s", "350ms" or "1h2m"; None for what is no such span."""
    parts = _SPAN.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    try:
        return round(sum(float(number) * _SECONDS[unit] for number, unit in parts), 3)
    except ValueError:
        return None


def request_id(response: httpx.Response) -> str:
    """The service's own name of this call; its support asks for it."""
    return response.headers.get("x-request-id", "")[:120]


def limits(response: httpx.Response) -> dict[str, dict[str, float]]:
    """{"requests": {"limit": 50, "remaining": 49, "reset_seconds": 1.2}, "tokens": …}, of what the headers tell."""
    found: dict[str, dict[str, float]] = {}
    for what in ("requests", "tokens"):
        told: dict[str, float] = {}
        for name in ("limit", "remaining"):
            value = response.headers.get(f"x-ratelimit-{name}-{what}", "")
            if value.isdigit():
                told[name] = int(value)
        reset = span(response.headers.get(f"x-ratelimit-reset-{what}", ""))
        if reset is not None:
            told["reset_seconds"] = reset
        if told:
            found[what] = told
    return found


def usage(answer: Mapping[str, Any], images: int) -> dict[str, float]:
    """Units as in engines.base.Result.usage. Input tokens of no said kind are text's."""
    counted: dict[str, float] = {"images": images}
    said = answer.get("usage")
    if not isinstance(said, Mapping):
        return counted
    details = said.get("input_tokens_details")
    details = details if isinstance(details, Mapping) else {}
    of_images = _count(details.get("image_tokens"))
    of_text = _count(details.get("text_tokens")) if details else _count(said.get("input_tokens"))
    counted |= {
        "text_input_tokens": of_text,
        "image_input_tokens": of_images,
        "output_tokens": _count(said.get("output_tokens")),
    }
    return counted


def _count(value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return max(value, 0) if is_number else 0


def picture(entry: Mapping[str, Any]) -> bytes | str | None:
    """The file's bytes, or the address where it lies; None if this entry holds neither. Raises EngineError (DOUBT)."""
    text = str(entry.get("b64_json") or "")
    url = str(entry.get("url") or "")
    if not text and not url.startswith("data:"):
        return url or None
    encoded = (text or url).rpartition(",")[2]  # some servers put a data URL where the others put plain base64
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EngineError(ErrorKind.DOUBT, f"The picture in the answer is cut off or garbled: {error}") from error


def without_secrets(text: str, secret: str) -> str:
    """The text without the key, which some services repeat in their refusals, whole or in part."""
    cleaned = text.replace(secret, "…") if secret else text
    return _KEY.sub("…", cleaned)
