"""Read the answers of OpenAI's images API and of compatible servers: refusals, usage and rate limits.

From openai-python 3.52 (https://github.com/openai/openai-python) and https://developers.openai.com/api/docs/guides/
error-codes. A submission that was taken is paid for: if its answer cannot be read, it is UNCERTAIN and never sent
again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import httpx

from generation.engines import service
from generation.engines.base import EngineError, ErrorKind

MODERATION_CODES: Final = frozenset({"moderation_blocked", "content_policy_violation", "content_filter"})
NO_CREDIT_CODES: Final = frozenset({
    "insufficient_quota", "insufficient_credits", "billing_hard_limit_reached", "billing_not_active",
    "budget_exceeded",
})  # fmt: skip
KEY_CODES: Final = frozenset({"invalid_api_key", "auth_error", "authentication_error", "no_db_connection"})
"""Types and codes of a refused key; "no_db_connection" is of a LiteLLM proxy that only knows its master key."""
WRONG_MODEL_CODES: Final = frozenset({"model_not_found", "model_not_supported", "invalid_model", "unsupported_model"})
UNKNOWN_PARAMETER_CODES: Final = frozenset(
    {"unknown_parameter", "unsupported_parameter", "unrecognized_parameter", "extra_forbidden", "value_error.extra"}
)
TRANSPORT_FIELDS: Final = frozenset({"n", "response_format", "output_format"})
"""Fields about how the image is returned. Images are made without them too, so any refusal leaves them out."""
#: Cloudflare's "no answer from behind" (https://developers.cloudflare.com/support/troubleshooting/http-status-codes/).
UNCERTAIN_STATUSES: Final = frozenset({502, 504, 520, 524})
# Messages of services that give no code, or of proxies that lose it (LiteLLM).
_SAFETY = re.compile(
    r"safety (?:system|checker|filter|polic)|content[ _-]?(?:policy|policies|filter|moderation)|contentpolicyviolation"
    r"|\bnsfw\b|moderation (?:system|filter|polic)|(?:blocked|rejected|flagged) by (?:\w+ ){0,3}(?:moderation|safety)"
    r"|responsible ai|usage polic(?:y|ies)|(?:prohibited|sensitive|inappropriate|explicit) content",
    re.I,
)
_NO_CREDIT = re.compile(
    r"exceeded your (?:current |monthly )?quota|insufficient[ _](?:quota|credits?|funds|balance)|credit balance"
    r"|billing (?:hard )?limit|billing is not active|out of credits?|(?:no|not enough|no more) credits?\b"
    r"|payment required|budget has been exceeded|exceeded ?budget|spend(?:ing)? limit"
    r"|quota (?:is |has been )?(?:exhausted|used up)",
    re.I,
)
_PER_TIME = re.compile(r"\bper (?:second|minute|hour|day)\b|/ ?(?:s|min|h|hour|day)\b|try again in", re.I)
_WRONG_KEY = re.compile(
    r"(?:incorrect|invalid|expired|missing|unknown|no) (?:api |access )?(?:key|token)\b(?! parameter)"
    r"|(?:api[ _-]?key|access token)(?: is| was)? (?:not valid|invalid|expired|missing|required)",
    re.I,
)
_WRONG_MODEL = re.compile(
    r"\bmodel\b[^.\n]{0,80}(?:not found|n.t exist|not exist|is unknown|is not available|is not supported|not loaded"
    r"|decommissioned|been (?:removed|retired|shut down))|(?:unknown|invalid|unsupported|no such) (?:image )?model\b"
    r"|model_not_found|no access to (?:the )?model|not have access to (?:the )?model",
    re.I,
)
_UNKNOWN = re.compile(
    r"unknown|unsupported|unrecogni[sz]ed|unexpected|no such|invalid (?:param|arg|field|propert|key|option)"
    r"|\bextra (?:input|field|param|propert)|not (?:be )?(?:supported|recogni[sz]ed|permitted|allowed|accepted|known)"
    r"|(?:not|n.t) (?:support|accept|take|know|allow|recogni[sz]e)",
    re.I,
)
_OF_VALUE = re.compile(r"\bvalues?\b|must be|one of|between", re.I)
_PARAMETERS = re.compile(
    r"\b(?:param(?:eter)?|arg(?:ument)?|field|propert(?:y|ie)|option|key|input)s?(?: \w{1,20}){0,2}[:=]? "
    r"([\w, ]{1,200})",
    re.I,
)
"""Names after a word such as "arguments", as in "Unrecognized request arguments supplied: n, seed"."""
MAX_TEXT_LENGTH: Final = 2000
_TRY_AGAIN = re.compile(r"try again in ((?:[\d.]+(?:ms|h|m|s))+)", re.IGNORECASE)
_SPAN = re.compile(r"(?<![\d.])([\d.]+)(ms|d|h|m|s)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def refusal_error(
    response: httpx.Response, host: str, model: str, sent: Collection[str] = (), prompt: str = ""
) -> EngineError:
    """Return the error for an answer without success. sent: the fields of the request, without model and prompt."""
    details = _error_fields(response)
    refused = refused_parameters(response, sent, prompt)
    kind, message = _refusal(response.status_code, details, host, model, refused)
    wait = None
    if kind == ErrorKind.RATE:
        wait = wait_seconds(response, details["message"])
    elif kind == ErrorKind.TRANSIENT:
        wait = service.retry_after(response)
    log = f"x-request-id: {request_id(response)}\n{response.text[:4000]}"
    return EngineError(kind, message, retry_after_seconds=wait, log=log)


def _refusal(
    status: int, details: Mapping[str, str], host: str, model: str, refused: Collection[str]
) -> tuple[ErrorKind, str]:
    """Return the kind of a refusal and a sentence about it. refused: fields that the service does not know."""
    words, codes = details["message"], {details["code"], details["type"]}
    is_refusal = status in {400, 403, 422, 451}
    if codes & MODERATION_CODES or (is_refusal and _SAFETY.search(words)):
        message = f"{host} refuses to make this, by its rules: {words} Change the words or the images."
        return ErrorKind.MODERATION, message
    is_empty = (is_refusal or status in {402, 429}) and _NO_CREDIT.search(words) and not _PER_TIME.search(words)
    if codes & NO_CREDIT_CODES or is_empty:
        message = f"The account at {host} has no credit left: {words} Fill it or raise its limit, then go on."
        return ErrorKind.QUOTA, message
    named = f"{host}: {words} (HTTP {status})"
    if status == 429:
        return ErrorKind.RATE, named
    if status == 401 or (is_refusal and (codes & KEY_CODES or _WRONG_KEY.search(words))):
        return ErrorKind.QUOTA, f"{host} does not accept the endpoint's key: {words}"
    is_unknown_model = codes & WRONG_MODEL_CODES or (status == 404 and details["param"] == "model")
    if is_unknown_model or (status in {400, 403, 404, 422} and _WRONG_MODEL.search(words)):
        return ErrorKind.ENDPOINT, f"{host} has no model {model} for this account: {words} Set another in the endpoint."
    if status in {402, 403}:
        return ErrorKind.QUOTA, f"{host} does not let this account use {model}: {words}"
    if refused:
        names, advice = ", ".join(sorted(refused)), "Take it out of the endpoint's settings and of the prompt."
        return ErrorKind.ENDPOINT, f"{host} does not take {names}: {words} {advice}"
    if status in {404, 405}:
        message = f"{host} makes no images at this address: {words} (HTTP {status}) Set another in the endpoint."
        return ErrorKind.ENDPOINT, message
    if status in UNCERTAIN_STATUSES:
        return ErrorKind.UNCERTAIN, f"{host} was sent the submission and a proxy answered: {named}"
    if status < 500 and status not in {408, 409, 425}:
        where = f" (parameter {details['param']})" if details["param"] else ""
        return ErrorKind.INPUT, f"{host} cannot carry out this job{where}: {words}"
    return ErrorKind.TRANSIENT, named


def refused_parameters(response: httpx.Response, sent: Collection[str], prompt: str = "") -> frozenset[str]:
    """Return those of the fields `sent` that the service refuses because it does not know or support them. Only answers
    that come before anything is made count (400 or 422). A field whose value is refused is not unknown, unless it is
    one of TRANSPORT_FIELDS. prompt: removed from the message, as its words are no field names."""
    if response.status_code not in {400, 422}:
        return frozenset()
    details = _error_fields(response)
    words = details["message"].replace(prompt, "") if prompt.strip() else details["message"]
    is_unknown = bool({details["code"], details["type"]} & UNKNOWN_PARAMETER_CODES or _UNKNOWN.search(words))
    is_of_value = _OF_VALUE.search(words) is not None
    if not is_unknown and not is_of_value:
        return frozenset()
    named = frozenset(name for name in sent if name == details["param"] or _is_named(name, words))
    return named if is_unknown and not is_of_value else named & TRANSPORT_FIELDS


def _is_named(name: str, words: str) -> bool:
    """Return whether a message names the field. "size" and "n" are ordinary words too, so they need quotes or such."""
    own = re.escape(name)
    if "_" in name:
        return re.search(rf"(?<!\w){own}(?!\w)", words) is not None
    if re.search(rf"""(?<!\w)["'`]{own}["'`]""", words):
        return True
    if re.search(rf"(?<!\w){own}\b\s*(?:[:=]\s*|(?:is|are|was) )(?:an? )?(?:not|un|extra)", words, re.I):
        return True
    return any(name in re.findall(r"\w+", match[1]) for match in _PARAMETERS.finditer(words))


def _error_fields(response: httpx.Response) -> dict[str, str]:
    """Return code, type, param and message of an error in OpenAI's form; "" for missing ones."""
    try:
        answer = response.json()
    except ValueError:
        answer = response.text[:300].strip()
    error = answer.get("error", answer) if isinstance(answer, Mapping) else answer
    details = error if isinstance(error, Mapping) else {"message": error}
    plain = {name: _text(details.get(name)) for name in ("code", "type", "param", "message")}
    plain["message"] = plain["message"] or _detail(details.get("detail"))[:300] or response.reason_phrase
    return plain


def _text(value: Any) -> str:
    """Return a text of an answer; "" for nothing, which LiteLLM writes as "None"."""
    return "" if value in (None, "None", "null") else str(value)[:MAX_TEXT_LENGTH]


def _detail(detail: Any) -> str:
    """Return FastAPI's reason for a refused request, from a text or a list of places and messages."""
    if not isinstance(detail, list):
        return _text(detail)
    lines = []
    for entry in detail:
        if isinstance(entry, Mapping):
            places = [str(part) for part in entry.get("loc") or () if part != "body"]
            lines.append(f"{'.'.join(places)}: {_text(entry.get('msg')) or 'not accepted'}")
    return "; ".join(lines)


def wait_seconds(response: httpx.Response, words: str) -> float | None:
    """Return the seconds that a 429 asks to wait: by retry-after-ms or retry-after, else until the used-up limit
    resets, else from its message ("Please try again in 7.2s")."""
    if (requested := service.retry_after(response)) is not None:
        return requested
    limits = rate_limits(response).values()
    waits = [limit["reset_seconds"] for limit in limits if "reset_seconds" in limit and not limit.get("remaining")]
    match = _TRY_AGAIN.search(words)
    wait = max(waits) if waits else parse_duration(match[1]) if match else None
    return None if wait is None else min(wait, service.MAX_RETRY_AFTER_SECONDS)


def parse_duration(text: str) -> float | None:
    """Parse "6m0s", "1s", "350ms" or "1h2m" to seconds; None for other texts."""
    parts = _SPAN.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    try:
        return round(sum(float(number) * _SECONDS[unit] for number, unit in parts), 3)
    except ValueError:
        return None


def request_id(response: httpx.Response) -> str:
    """Return the service's id of this call; its support asks for it."""
    return response.headers.get("x-request-id", "")[:120]


def rate_limits(response: httpx.Response) -> dict[str, dict[str, float]]:
    """Return the rate limits: {"requests": {"limit": 50, "remaining": 49, "reset_seconds": 1.2}, "tokens": …}."""
    limits_by_kind: dict[str, dict[str, float]] = {}
    for what in ("requests", "tokens"):
        values = {name: response.headers.get(f"x-ratelimit-{name}-{what}", "") for name in ("limit", "remaining")}
        counts: dict[str, float] = {name: int(value[:15]) for name, value in values.items() if value.isdecimal()}
        if (reset := parse_duration(response.headers.get(f"x-ratelimit-reset-{what}", ""))) is not None:
            counts["reset_seconds"] = reset
        if counts:
            limits_by_kind[what] = counts
    return limits_by_kind


def usage(answer: Mapping[str, Any], images: int) -> dict[str, float]:
    """Return usage in the units of engines.base.Result.usage. Input tokens of no named kind count as text."""
    reported = answer.get("usage")
    if not isinstance(reported, Mapping):
        return {"images": images}
    details = service.as_mapping(reported.get("input_tokens_details"))
    tokens = {
        "text_input_tokens": details.get("text_tokens") if details else reported.get("input_tokens"),
        "image_input_tokens": details.get("image_tokens"),
        "output_tokens": reported.get("output_tokens"),
    }
    return {"images": images} | {name: max(service.as_number(count) or 0, 0) for name, count in tokens.items()}
