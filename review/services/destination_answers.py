"""Clean the answers of destinations before they are stored or shown: a server may be broken or hostile."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from core import encryption, storable
from core.plain_json import with_strings
from review.delivery.base import DeliveryError, Receipt
from review.delivery.hidden_secrets import HiddenSecret
from review.models import Destination

MAX_TEXT = 1000
"""Characters of a message. They are kept for good: in attempts and in the audit trail."""
MAX_ADDRESS = 2000
MAX_KEPT = 1_000_000
"""Characters of what the journal of a delivery keeps of one change, as JSON."""
LINKED = ("https://", "http://")

Hide = Callable[[str], str]


def hide_secret_of(destination: Destination) -> Hide:
    """Return what hides the destination's secret in a text. A server may repeat the login that it got."""
    try:
        return HiddenSecret(destination.secret).hide
    except encryption.Unreadable:  # then it was not sent either
        return str


def tidy_text(text: str, hide: Hide) -> str:
    """Return a text that can be stored and shown: without the secret, not too long, unstorable characters escaped."""
    return storable.escape_unstorable(hide(text[: 4 * MAX_TEXT])[:MAX_TEXT])[:MAX_TEXT]


def tidy(value: Any, hide: Hide) -> Any:
    """Return plain JSON with `tidy_text` applied to each string; an address that is no web page becomes empty."""
    if isinstance(value, list):
        return [tidy(element, hide) for element in value]
    return {name: _tidy_address(each) if name in _ADDRESSES else _tidy(each, hide) for name, each in value.items()}


def tidy_error(error: DeliveryError, hide: Hide) -> DeliveryError:
    error.message = tidy_text(error.message, hide)
    error.args = (error.message,)
    return error


def tidy_receipt(receipt: Receipt, hide: Hide) -> Receipt:
    return replace(receipt, files=tidy(list(receipt.files), str), message=tidy_text(receipt.message, hide))


def ensure_keepable(answer: Mapping[str, Any]) -> None:
    """Raise DeliveryError for an answer that the journal cannot keep, such as an id with a NUL or of a megabyte."""
    if faults := storable.problems(dict(answer)):
        message = f"The destination answered what cannot be kept ({faults[0].pointer}): {faults[0].message}"
        raise DeliveryError(message, is_final=True, is_uncertain=True)
    if len(json.dumps(answer)) > MAX_KEPT:
        message = "The destination answered more than can be kept of one change; is it the right address?"
        raise DeliveryError(message, is_final=True, is_uncertain=True)


_ADDRESSES = ("url", "original_url")


def _tidy(value: Any, hide: Hide) -> Any:
    return with_strings(value, lambda text: tidy_text(text, hide))


def _tidy_address(address: Any) -> str:
    """Return an address that pages may link to; empty for a script or what is too long to be fetched."""
    is_web = isinstance(address, str) and address.lower().startswith(LINKED) and len(address) <= MAX_ADDRESS
    return storable.escape_unstorable(address) if is_web else ""
